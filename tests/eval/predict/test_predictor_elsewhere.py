"""The recipes of eval/predict/README.md, as they stand there: one Predictor in Ray, Spark, datasets and joblib."""

import json
import os
import re
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.eval import Predictor, predict_files
from salience.eval.predict.inputs import find_files
from salience.eval.predict.on_ray import done_on_ray
from salience.eval.predict.output import choose_place
from salience.eval.predict.planning import PredictArguments, make_job
from tests.helpers.paths import ROOT
from tests.helpers.predicting import many_texts, read_jsonl, save_model

PAGE = (ROOT / "eval" / "predict" / "README.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^##+ ([^\n]+)$.*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TEXTS = [text if number % 10 else None for number, text in enumerate(many_texts(60))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model and texts, some of them missing."""
    folder = tmp_path_factory.mktemp("elsewhere")
    save_model(folder / "runs" / "mine")
    pd.DataFrame({"id": range(60), "text": TEXTS}).to_csv(folder / "new_texts.csv", index=False)
    return folder


@pytest.fixture
def names(folder, monkeypatch):
    """What the page's first block defines."""
    monkeypatch.chdir(folder)
    names = {"__name__": "__main__"}  # else functions would be sent to workers by their name
    exec(RECIPES["In Python"], names)
    return names


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, which nothing may have imported before")
def test_a_cluster_that_does_not_answer_is_told_before_anything_is_begun(folder, tmp_path):
    (tmp_path / "in.csv").write_text("text\na goal\n")
    with pytest.raises(UserError, match="--ray 127.0.0.1:9: no such cluster answers"):
        predict_files(folder / "runs" / "mine", tmp_path / "in.csv", tmp_path / "out.csv", ray="127.0.0.1:9")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    workers = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": workers})
    yield ray
    ray.shutdown()


def check(folder, labels, scores):
    """Answers are those of this process; in bfloat16, where it is read in that, they depend on the batch a little."""
    expected = Predictor(folder / "runs" / "mine")({"text": TEXTS})
    scores = [np.nan if score is None else score for score in scores]
    np.testing.assert_allclose(scores, expected["score"], atol=0.01)
    for label, right, each in zip(labels, expected["label"], expected["probabilities"], strict=True):
        if each is None:
            assert pd.isna(label)
        elif np.diff(sorted(each)[-2:]) > 0.02:
            assert label == right


def test_every_recipe_is_run():
    assert list(RECIPES) == ["In Python", "datasets", "joblib", "Ray Data", "Spark"]


def test_columns_of_a_data_frame(folder, names):
    assert list(names["answers"]) == ["id", "text", "label", "score", "probabilities"]
    check(folder, names["answers"]["label"], names["answers"]["score"])


def test_datasets_with_two_processes(folder, names):
    exec(RECIPES["datasets"], names)
    check(folder, names["answers"]["label"], names["answers"]["score"])
    assert names["answers"]["id"][:] == list(range(60))


@pytest.mark.slow
def test_joblib_with_two_processes(folder, names):
    exec(RECIPES["joblib"].replace("1000", "25"), names)
    check(folder, names["answers"]["label"], names["answers"]["score"])


@pytest.mark.slow
def test_ray_data_with_two_actors(ray, folder, names):
    exec(RECIPES["Ray Data"].replace("1024", "16"), names)
    found = names["answers"].sort("id").take_all()
    check(folder, [row["label"] for row in found], [row["score"] for row in found])


@pytest.mark.slow
def test_spark_with_two_workers(folder, names, monkeypatch):
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    exec(RECIPES["Spark"].replace("1024", "16"), names)
    try:
        found = [row.answer for row in names["answers"].orderBy("id").collect()]
    finally:
        names["spark"].stop()
    check(folder, [row.label for row in found], [row.score for row in found])


@pytest.mark.slow
def test_predict_on_ray_writes_the_bytes_of_one_process(ray, folder, tmp_path):
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(many_texts(90))]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, "{", '{"text": ""}']) + "\n")
    run, flags = folder / "runs" / "mine", {"bf16": False, "rows_per_part": 10}
    one = predict_files(run, tmp_path / "in.jsonl", tmp_path / "one.jsonl", **flags)
    two = predict_files(run, tmp_path / "in.jsonl", tmp_path / "two.jsonl", **flags, ray="auto", ray_actors=2)
    assert (one.rows, one.rejected) == (two.rows, two.rejected) == (92, 2)
    assert [row["label"] for row in read_jsonl(one.output)] == [row["label"] for row in read_jsonl(two.output)]
    assert one.rejected_file.read_bytes() == two.rejected_file.read_bytes()
    assert one.output.read_bytes() == two.output.read_bytes()


@pytest.mark.slow
def test_what_an_actor_refuses_is_one_sentence(ray, folder, tmp_path):
    file = tmp_path / "in.csv"
    file.write_text("text\na goal\nthe bank\n")
    arguments = PredictArguments(str(folder / "runs" / "mine"), bf16=False)
    place = choose_place(str(tmp_path / "out"), [str(file)])
    job = make_job(arguments, TextArguments(), find_files([str(file)]), place, None)
    (stretch,) = job.stretches
    changed = replace(job, stretches=[replace(stretch, rows=stretch.rows + 1)])
    with pytest.raises(UserError, match="changed"):
        list(done_on_ray(changed, [0], 1))

"""After training, the method that explains the model most faithfully is measured and kept."""

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from salience.eval.explain.choice import MAX_TOKENS, most_faithful
from salience.eval.explain.faithfulness import faithfulness
from salience.eval.reading.reader import Reader
from salience.model_cards.markdown import against_random
from salience.modeling.attributions import METHODS
from salience.modeling.explaining_pipeline import ExplainingPipeline
from tests.helpers.run_folders import load
from tests.helpers.toy import toy_csv, toy_texts, write_csv
from tests.helpers.training import read, train

WORDS = ["--model", "hierarchical_attn", "--embedding_dim", 8, "--hidden_dim", 8, "--num_train_epochs", 2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    return train(folder / "run", *WORDS, "--explained_texts", 3, *toy_csv(folder))


def test_the_method_of_highest_comprehensiveness_is_kept_with_its_figures(run):
    found = read(run / "config.json")["explanation"]
    figures = found["comprehensiveness"]
    assert figures.keys() == METHODS.keys() and found["texts"] == 3
    assert figures[found["method"]] == max(figures.values())
    assert isinstance(found["random"], float)
    model, tokenizer = load(run)
    classify = ExplainingPipeline(model=model, tokenizer=tokenizer, device="cpu")
    (answer,) = classify("the bank raised its profit", explain=True)
    assert answer["method"] == found["method"]
    naopc = found["naopc"]
    assert naopc["methods"].keys() == naopc["p_values"].keys() == METHODS.keys() and 3 < naopc["texts"] <= 8
    own = naopc["methods"][found["method"]]
    assert answer["faithfulness"] == {
        "comprehensiveness": figures[found["method"]], "random": found["random"], "texts": 3,
        "naopc": {
            "method": own, "random": naopc["random"], "texts": naopc["texts"],
            "p_value": naopc["p_values"][found["method"]],
        },
    }  # fmt: skip
    card = (run / "README.md").read_text(encoding="utf-8").replace("\\", "")
    assert f"`explain=True` goes by {found['method']}." in card and "random words" in card
    place = against_random(own, naopc["random"], naopc["p_values"][found["method"]])
    assert f"{found['method']} is {place}." in card


def test_the_figures_are_those_of_the_report(run):
    reader = Reader(*load(run))
    texts = [text for text, _ in toy_texts(6, seed=5)]
    found = most_faithful(reader, texts, 4)
    documents = reader.documents([texts[row] for row in np.random.default_rng(0).permutation(6)])  # ties by place
    reported, apart = (
        faithfulness(reader, part, reader.read([each.ids for each in part]), num_documents=4, max_tokens=MAX_TOKENS)
        for part in (documents[:4], documents[4:])
    )
    assert (found["texts"], found["naopc"]["texts"]) == (4, 2)
    for name, fall in found["comprehensiveness"].items():
        assert fall == pytest.approx(reported["attributions"][name]["comprehensiveness"]["mean"], abs=1e-6)
    normalized = apart["normalized"]["attributions"]
    for name, figure in (found["naopc"]["methods"] | {"random": found["naopc"]["random"]}).items():
        assert figure == pytest.approx(normalized[name]["comprehensiveness"]["mean"], abs=1e-6)
    for name, p_value in found["naopc"]["p_values"].items():
        assert p_value == pytest.approx(normalized[name]["against_random"]["p_value"], abs=1e-6)
    assert most_faithful(reader, ["one", ""], 3) is None


def test_nothing_is_measured_where_it_is_switched_off_or_makes_no_sense(tmp_path):
    off = train(tmp_path / "off", *WORDS, "--explained_texts", 0, *toy_csv(tmp_path))
    assert read(off / "config.json")["explanation"] is None
    assert "explain=True" in (off / "README.md").read_text(encoding="utf-8")
    numbers = write_csv(tmp_path / "numbers.csv", [(text, f"{len(text)}.5") for text, _ in toy_texts(40)])
    regression = train(tmp_path / "regression", *WORDS, "--train_file", numbers)
    assert read(regression / "config.json")["explanation"] is None


@pytest.mark.slow
def test_adapters_and_caches_are_measured_and_a_cache_keeps_no_parts_of_texts(tmp_path, encoder_folder):
    flags = ["--encoder", encoder_folder, "--num_train_epochs", 1, *toy_csv(tmp_path)]
    cache = tmp_path / "states.sqlite"
    sizes = []
    for number in (0, 3):
        frozen = ["--freeze_encoder", "true", "--encoder_cache", cache, "--explained_texts", number]
        folder = train(tmp_path / f"frozen{number}", *flags, *frozen)
        sizes.append(cache.stat().st_size)
    assert sizes[0] == sizes[1]
    assert read(folder / "config.json")["explanation"]["texts"] == 3
    folder = train(tmp_path / "lora", *flags, "--lora", "true", "--explained_texts", 3)
    assert read(folder / "config.json")["explanation"]["texts"] == 3
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.explanation["texts"] == 3
    assert AutoTokenizer.from_pretrained(folder).is_fast

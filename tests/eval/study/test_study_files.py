"""The studies that ship with the package can start: every flag is accepted, and every model is built."""

from dataclasses import replace

import pytest

from salience.configuration.flags.parser import RecipeParser, recipe_tokens
from salience.configuration.problem_types import MULTI_LABEL, SINGLE_LABEL
from salience.eval.baseline.models import build_baseline
from salience.eval.study.command import check_cells
from salience.eval.study.file import read_study
from salience.train.building.build import build_model
from tests.helpers.paths import ROOT
from tests.helpers.slow import others_slow
from tests.helpers.tiny import save_tiny_encoder
from tests.helpers.toy import toy_texts

OF_SEVERAL_LABELS = {"elife"}
STUDIES = sorted((ROOT / "configuration/studies").glob("*.yaml"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_tiny_encoder(tmp_path_factory.mktemp("encoder")))


LARGE = ("ag_news_imbalance", "20_newsgroups_ablation", "20_newsgroups_sensitivity")


@pytest.mark.parametrize(
    "file", others_slow(STUDIES, *(file for file in STUDIES if file.stem not in LARGE)), ids=lambda file: file.stem
)
def test_every_row_starts(file, encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes are named from there
    study = replace(read_study(str(file.relative_to(ROOT)), {}), seeds=[0])
    cells = study.cells(tmp_path)
    check_cells(study, cells)
    assert {cell.row for cell in cells} == {*study.sparse, *study.rows}
    texts, parser = [text for text, _ in toy_texts(12)], RecipeParser()
    problem_type = MULTI_LABEL if file.stem in OF_SEVERAL_LABELS else SINGLE_LABEL
    for cell in cells:
        model_args, data_args, _, _ = parser.parse(recipe_tokens(cell.recipe))
        assert data_args.dataset_name or data_args.train_file
        if study.kind(cell.row) == "model":
            # Files of other packages and many positions aren't needed to see that the flags fit the model.
            model_args.word_vectors = model_args.word_vectors_vocabulary = model_args.window_size = None
            model_args.encoder = model_args.encoder and encoder
            model, _ = build_model(model_args, texts, ["no", "yes"], problem_type)
            assert model.config.num_labels == 2
        elif study.kind(cell.row) == "frozen":
            assert model_args.encoder
        else:
            build_baseline(cell.program[-1], problem_type)


def test_the_grid_of_unbalanced_classes_is_complete():
    rows = read_study(str(ROOT / "configuration/studies/ag_news_imbalance.yaml"), {}).rows
    by_ratio = {ratio: {name.rpartition("_")[0] for name, row in rows.items() if row.get("minority_ratio") == ratio}
                for ratio in (2, 3, 4, 6)}  # fmt: skip
    assert all(methods == by_ratio[6] for methods in by_ratio.values())
    assert all(name.endswith(f"_{row.get('minority_ratio', 1)}") for name, row in rows.items() if name != "balanced")

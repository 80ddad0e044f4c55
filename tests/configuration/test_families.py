"""One record is all that is known of a family, and each record is complete."""

import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from salience import configuration, modeling
from salience.configuration.errors import UserError
from salience.configuration.families import FAMILIES, codes
from salience.configuration.flags.model_arguments import ModelArguments, chosen_options, model_options
from salience.eval.failures.remedies import own_ablation
from salience.train.building.build import build_model
from tests.helpers.paths import ROOT

TEXTS = ["The rise of prices. It goes on!", "The match of the day, and a goal."] * 3


@pytest.mark.parametrize("code", codes().values(), ids=codes())
def test_a_records_classes_are_registered_exported_and_named_alike(code):
    config_class = code.config_class()
    classifier = getattr(modeling, f"{code.stem}ForSequenceClassification")
    assert config_class.model_type == code.model_type and config_class.code_name == code.name
    assert getattr(configuration, f"{code.stem}Config") is getattr(modeling, f"{code.stem}Config") is config_class
    assert type(AutoConfig.for_model(code.model_type)) is config_class
    assert AutoModel._model_mapping[config_class] is getattr(modeling, f"{code.stem}Model")
    assert AutoModelForSequenceClassification._model_mapping[config_class] is classifier
    assert (ROOT / "modeling" / f"configuration_{code.name}.py").is_file()  # the shim that goes to the Hub
    assert code.scratch_options <= model_options(config_class).keys()
    assert code.insides is None or callable(resolve_name(code.insides))
    assert code.ablation is None or own_ablation(code.model_type).is_file()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_built_as_its_record_says(name, encoder_folder):
    family = FAMILIES[name]
    assert family.help and family.sentence.startswith("It ") and not family.sentence.endswith(".")
    assert family.on_encoder or family.from_scratch
    for has_encoder in (False, True):
        arguments = ModelArguments(model=name, encoder=str(encoder_folder) if has_encoder else None)
        if (family.on_encoder if has_encoder else family.from_scratch) is None:
            with pytest.raises(UserError, match="leave out --encoder" if has_encoder else "needs --encoder"):
                chosen_options(arguments)
            with pytest.raises(ValueError, match=family.encoder):
                family.builder(has_encoder)
            continue
        model, tokenizer = build_model(arguments, TEXTS, ["a", "b"], "single_label_classification")
        output = model(**tokenizer(TEXTS[:2], padding=True, return_tensors="pt"))
        assert output.logits.shape == (2, 2)
        # A vocabulary has no more words than the texts.
        sizes = {name: value for name, value in family.options.items() if name != "vocab_size"}
        assert all(getattr(model.config, name) == value for name, value in sizes.items())
        assert ("pooling_weights" in output) == bool(family.code and family.code.gives_weights)
        if family.code:
            assert type(model) is getattr(modeling, f"{family.code.stem}ForSequenceClassification")


def test_no_other_module_knows_a_family_by_name():
    """Only the records, the classes' own files, defaults, and the benchmark's list of contestants."""
    own = {"families.py", "model_arguments.py"}
    for package in ("configuration", "model_cards", "train", "eval"):
        for path in Path(ROOT, package).rglob("*.py"):
            known = path.name in own or path.name.startswith("configuration_") or "benchmark" in path.parts
            text = path.read_text(encoding="utf-8")
            named = [f'"{name}"' for name in (*FAMILIES, *codes()) if f'"{name}"' in text]
            assert known or path.name == "frozen.py" or not named, (path, named)


def fresh(code: str) -> set[str]:
    """Names of the packages that a process has imported."""
    code += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_records_and_rules_need_neither_torch_nor_transformers():
    loaded = fresh("import salience.configuration.flags.flag_rules, salience.configuration.families")
    assert not {"torch", "transformers", "accelerate"} & loaded


@pytest.mark.slow
def test_models_need_no_package_that_transformers_models_do_not():
    theirs = fresh("from transformers import PreTrainedModel, AutoModelForSequenceClassification, AutoTokenizer")
    assert fresh("import salience.modeling") - theirs <= {"salience"}

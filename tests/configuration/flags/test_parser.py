from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from salience.configuration import AttnPoolConfig, BaselineConfig, HierarchicalAttnConfig
from salience.configuration.errors import UserError
from salience.configuration.families import FAMILIES
from salience.configuration.flags.library_errors import blame
from salience.configuration.flags.model_arguments import chosen_options, model_options
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.train.cli import main
from salience.train.flag_checks import check_flags
from tests.helpers.paths import RECIPES

ACCELERATE = sorted(RECIPES.glob("accelerate/*.yaml"))
TRAINING = sorted(path for path in RECIPES.glob("*/*.yaml") if path not in ACCELERATE)


def parse(*argv: object):
    """Model, data, tuning and training arguments."""
    return RecipeParser().parse([str(word) for word in argv])


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def refusal(*argv: object) -> str:
    with pytest.raises(UserError) as error:
        model, _, tuning, training = parse(*argv)
        check_flags(model, tuning, training)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_flags_win_over_recipes_and_later_recipes_over_earlier(tmp_path):
    first = write(tmp_path, "alpha: 0.3\nseed: 1\ntrain_file: [a.csv, b.csv]\noutput_dir: one\n")
    second = write(tmp_path, "seed: 2\noutput_dir: two\n", "second.yaml")
    model, data, _, training = parse(first, second, "--output_dir", "three", "--train_file", "c.csv")
    assert (model.alpha, training.seed, training.output_dir, data.train_file) == (0.3, 2, "three", ["c.csv"])
    assert parse("--output_dir", "x", "--seed=3")[3].seed == 3


def test_every_kind_of_yaml_value(tmp_path):
    lines = """
        output_dir: out
        train_file: one.csv            # one value where several may stand
        clean: [headers, quotes]
        kernel_sizes: [2, 3]
        lr_scheduler_type: cosine_with_min_lr
        lr_scheduler_kwargs: {min_lr: 0.001}
        label_separator: "--|"         # begins with a dash
        text_column: a column
        dataset_name: ""
        learning_rate: 1e-3            # a string in YAML 1.1
        length_grouped: false
        plain_adam: true
        eval_strategy: no              # False in YAML 1.1
        save_strategy: no
        load_best_model_at_end: no
        max_length:                    # null: the default
        """
    model, data, tuning, training = parse(write(tmp_path, lines))
    assert data.train_file == ["one.csv"] and data.clean == ["headers", "quotes"] and model.kernel_sizes == [2, 3]
    assert data.label_separator == "--|" and data.text_column == ["a column"] and data.dataset_name == ""
    assert data.max_length is None and training.learning_rate == 1e-3
    assert training.lr_scheduler_kwargs == {"min_lr": 0.001}
    assert tuning.length_grouped is False and tuning.plain_adam is True
    assert training.eval_strategy == training.save_strategy == "no" and training.load_best_model_at_end is False


def test_null_takes_back_nothing_and_unset_model_flags_stay_unset(tmp_path):
    model, _, _, _ = parse(write(tmp_path, "alpha: null\noutput_dir: out\n"))
    set_anyway = {name for name, value in vars(model).items() if value is not None}
    assert set_anyway == {"model", "min_frequency", "vocabulary"}


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("modle", "model"), ("learning_rat", "learning_rate"), ("filter_ration", "filter_ratio"), ("xyzzy", None)],
)
def test_unknown_names_suggest_the_nearest(key, suggestion, tmp_path):
    recipe = write(tmp_path, f"output_dir: out\n{key}: 1\n")
    hint = f"did you mean {suggestion}?" if suggestion else "see train.py --help"
    assert refusal(recipe) == f"recipe {recipe}: unknown key {key}; {hint}"
    hint = f"did you mean --{suggestion}?" if suggestion else "see train.py --help"
    # also where another mistake would be found later
    assert refusal(f"--{key}", "1") == f"unknown flag --{key}; {hint}"


def test_data_in_the_place_of_a_recipe_are_told(tmp_path):
    file = write(tmp_path, "text,label\na,b\n", "texts.csv")
    assert refusal(file) == f"{file} is no recipe: if it holds texts, write --train_file {file}"


@pytest.mark.parametrize("recipe", TRAINING, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_recipes_hold_flags_of_their_model_only(recipe):
    model, data, tuning, training = parse(recipe)
    chosen_options(model)
    assert model.model in FAMILIES and bool(data.train_file) != bool(data.dataset_name)
    assert recipe.parent.name in training.output_dir
    assert ("lora" in recipe.stem) == tuning.lora and not (tuning.lora and model.encoder is None)


def test_every_recipe_writes_to_a_folder_of_its_own():
    folders = [parse(recipe)[3].output_dir for recipe in TRAINING]
    assert len(folders) == len(set(folders)) >= 6


def test_20_newsgroups_is_the_reports_section_8_1():
    model, data, tuning, training = parse(RECIPES / "20_newsgroups" / "report.yaml")
    assert model.model == "hierarchical_attn" and model.encoder is None
    assert data.resplit and not data.clean  # the Hub has the posts cleaned
    assert (data.validation_size, data.test_size) == (0.15, 0.15)
    assert tuning.plain_adam and tuning.early_stopping_patience == 5
    assert (training.learning_rate, training.weight_decay, training.max_grad_norm) == (1e-3, 1e-5, 5.0)
    assert training.lr_scheduler_type == "reduce_lr_on_plateau"
    assert {"factor": 0.5, "patience": 2}.items() <= training.lr_scheduler_kwargs.items()
    assert training.per_device_train_batch_size == 16 and training.per_device_eval_batch_size == 32
    assert training.num_train_epochs == 20


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    config = load_config_from_file(str(path))
    is_distributed = config.distributed_type != "NO"
    assert config.compute_environment == "LOCAL_MACHINE" and (config.num_processes > 1) == is_distributed
    assert config.mixed_precision == "no"  # --bf16 decides


def test_a_list_that_is_given_twice_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("train_file: z.csv\n")
    given = ["--output_dir", "o", "--seed", "1", "--seed", "2"]
    _, data, _, training = RecipeParser().parse([str(tmp_path / "a.yaml"), "--train_file", "a.csv", "b.csv", *given])
    assert data.train_file == ["a.csv", "b.csv"] and training.seed == 2
    for words in (
        ["--train_file", "a.csv", "--train_file", "b.csv"],
        ["--train_file=a.csv", "--train_file=b.csv"],
        ["--train_file", "a.csv", "--train-file", "b.csv"],
    ):
        with pytest.raises(UserError, match="--train_file stands twice; write all its values behind one"):
            RecipeParser().parse([*words, *given])


def test_what_the_environment_breaks_is_no_flag_s_fault(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "int3")

    def attempt(left_out):
        raise ValueError("Unknown mixed_precision mode: int3")

    with pytest.raises(UserError, match="can't start here with .*ACCELERATE_MIXED_PRECISION=int3 .*in the environment"):
        blame(attempt, {"seed": 1})


def test_help_shows_every_flag(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    names = [name for name in RecipeParser().known() if "-" not in name]
    assert [name for name in names if f"--{name}" not in text] == []
    assert {"model", "encoder", "train_file", "validation_file", "test_file", "dataset_name", "text_column"} <= {*names}
    assert {"label_column", "output_dir", "push_to_hub", "gradient_accumulation_steps", "lora", "loss"} <= {*names}


@pytest.mark.parametrize("config", [AttnPoolConfig, HierarchicalAttnConfig, BaselineConfig])
def test_model_flags_are_the_configurations_fields(config):
    options = model_options(config)
    assert set(options) <= set(RecipeParser().known())
    assert not {"encoder_config", "pad_token_id", "sentence_end_ids", "prior_correction", "architecture"} & set(options)
    made = config(**{name: each.default for name, each in options.items()})
    assert all(hasattr(made, name) for name in options)


@pytest.mark.parametrize(
    "flags",
    [
        "--per_device_train_batch_size 0", "--per_device_eval_batch_size -1", "--gradient_accumulation_steps 0",
        "--learning_rate -1", "--learning_rate nan", "--num_train_epochs 0", "--label_smoothing_factor 1",
        "--warmup_steps -1", "--save_steps 0", "--seed -1", "--seed 4294967296", "--dataloader_num_workers -1",
        "--eval_strategy weekly", "--save_strategy weekly", "--logging_strategy weekly", "--lr_scheduler_type no_such",
        "--optim no_such", "--load_best_model_at_end true --eval_strategy no", "--lr_scheduler_kwargs {1",
        "--lr_scheduler_kwargs text", '--lr_scheduler_kwargs {"no_such":1}', "--report_to no_such",
        "--torch_compile_backend no_such", "--dataloader_drop_last true", "--hub_strategy every_save",
        "--focal_gamma -1", "--logit_adjustment_tau nan", "--ldam_max_margin inf", "--prior_correction -1",
        "--class_balanced_beta 1", "--early_stopping_patience 0", "--lora_r 0", "--lora_alpha 0", "--lora_dropout 1",
        "--lora true --freeze_encoder true", "--lora maybe", "--validation_size 1", "--max_length 0",
    ],
)  # fmt: skip
def test_values_out_of_range_name_their_flag(flags):
    assert flags.split()[0] in refusal("--output_dir", "out", "--model", "lstm", *flags.split())


def test_warmup_is_a_number_of_steps_or_a_share_of_them():
    assert parse("--output_dir", "out", "--warmup_steps", "0.1")[3].get_warmup_steps(200) == 20
    assert parse("--output_dir", "out", "--warmup_steps", "30")[3].get_warmup_steps(200) == 30


def test_training_defaults():
    training = SalienceTrainingArguments(output_dir="out")
    assert isinstance(training.bf16, bool) and not training.fp16
    assert training.eval_strategy == training.save_strategy == "epoch" and training.load_best_model_at_end
    assert SalienceTrainingArguments(output_dir="out", bf16=False).bf16 is False


@pytest.mark.parametrize("value", ["-1e-3", "-.5e2", "-3.", "-2E+5", "-0.001", "-7"])
def test_negative_numbers_are_values_however_they_are_written(value):
    words = ["--output_dir", "out", "--model", "hierarchical_attn"]
    assert f"--learning_rate {float(value)} must be at least 0" in refusal(*words, "--learning_rate", value)
    if float(value) >= -1000:
        assert parse(*words, "--entropy_weight", value)[0].entropy_weight == float(value)


@pytest.mark.parametrize("value", ["-inf", "-Infinity", "-nan", "inf", "nan"])
def test_what_is_no_finite_number_is_called_so(value):
    for flag in ("learning_rate", "weight_decay", "save_steps", "minority_ratio", "num_train_epochs", "max_grad_norm"):
        assert f"--{flag} {float(value)} must be a finite number" in refusal("--output_dir", "out", f"--{flag}", value)


@pytest.mark.parametrize(("metric", "greater"), [("loss", False), ("eval_mse", False), ("mae", False), ("r2", True)])
def test_which_way_a_metric_is_better(metric, greater):
    assert SalienceTrainingArguments(output_dir="out", metric_for_best_model=metric).greater_is_better is greater

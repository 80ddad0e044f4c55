"""Every row of the table of flag rules is met by a case, and what libraries refuse is told as ours is."""

import re
from types import SimpleNamespace

import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.flag_rules import CHOICES, NOT_OFFERED, VALUES, check, check_together
from salience.configuration.flags.flags_together import MODEL_RULES, TOGETHER
from salience.configuration.flags.library_errors import blame
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.rule_kinds import Choice, Fixed, Together, Values
from salience.eval.predict.planning import PredictArguments
from salience.train.flag_checks import check_flags

ROWS = (*VALUES, *CHOICES, *NOT_OFFERED, *TOGETHER, *MODEL_RULES)
ENCODER = "--model attn_pool --encoder some/encoder"
HIERARCHICAL = "--model hierarchical_attn"
COMMANDS = {
    "--learning_rate -1": "--learning_rate -1.0 must be at least 0",
    "--adversarial_size nan": "--adversarial_size nan must lie between 0 and 1000",
    "--neftune_noise_alpha nan": "--neftune_noise_alpha nan must lie between 0 and 1000",
    "--dataloader_prefetch_factor 0": "--dataloader_prefetch_factor 0 must be at least 1",
    "--min_frequency 0": "--min_frequency 0 must be at least 1",
    "--minority_ratio 0.5": "--minority_ratio 0.5 must be a number of at least 1",
    "--save_steps 0": "--save_steps 0.0 must be a number above 0",
    "--adam_beta1 1": "--adam_beta1 1.0 must lie in [0, 1)",
    "--validation_size 1": "--validation_size 1.0 must lie between 0 and 1",
    "--test_size 1": "--test_size 1.0 must be at least 0 and less than 1",
    "--data_seed 99999999999999999999": "--data_seed 99999999999999999999 must be at least 0 and less than 2**32",
    "--seed 4294967296": "--seed 4294967296 must be less than 2**32",
    "--max_steps 2147483648": "--max_steps 2147483648 must be less than 2**31",
    "--lr_scheduler_kwargs {1": """--lr_scheduler_kwargs {1 is not a JSON object such as '{"key": 1}'""",
    "--fsdp_config {1": """--fsdp_config {1 is not a JSON object such as '{"key": 1}'""",
    "--label_separator=": "--label_separator is empty: name the characters between two labels, or leave it out",
    "--eval_strategy weekly": "--eval_strategy weekly is unknown; choose from no, steps, epoch",
    "--save_strategy weekly": "--save_strategy weekly is unknown; choose from no, steps, epoch, best",
    "--torch_compile_backend x": "--torch_compile_backend x is unknown; choose from no, eager, aot_eager, inductor",
    "--problem_type clustering": "--problem_type clustering is unknown; choose from single_label_classification, multi",
    "--separator ;;": "--separator ;; must be one character, such as ; or \\t",
    "--max_steps 0": "--max_steps 0 must be at least 1, or -1 to count epochs instead",
    "--max_steps -2": "--max_steps -2 must be at least 1, or -1 to count epochs instead",
    "--class_names=": "--class_names names a label with no character",
    "--class_names a b a": "--class_names has a name twice; give each label its own",
    "--label_column=": "--label_column names no column",
    "--encoder_cache a\0b": "--encoder_cache a b has a character that no name of a file can have; rename it",
    "--model lstm --num_heads 3": "--num_heads is not an option of --model lstm",
    "--model cnn --graph_window 3": "--graph_window is not an option of --model cnn",
    "--model cnn --hidden_dim 8": "--hidden_dim is not an option of --model cnn",
    "--model cnn --num_layers 1": "--num_layers is not an option of --model cnn",
    "--model gat --kernel_sizes 3": "--kernel_sizes is not an option of --model gat",
    "--model lstm --num_filters 3": "--num_filters is not an option of --model lstm",
    f"{ENCODER} --alpha 1 --query cls": "--query has no effect here: it belongs to --alpha below 1",
    "--model transformer --key_dim 8": "--key_dim has no effect here: it belongs to --alpha below 1",
    "--model transformer --num_heads 2": "--num_heads has no effect here: it belongs to --alpha below 1",
    f"{ENCODER} --min_frequency 3": "--min_frequency belongs to models from scratch; leave it out with --encoder",
    f"{ENCODER} --vocabulary wordpieces": "--vocabulary belongs to models from scratch; leave it out with --encoder",
    "--attention_dropout 0.1": "--attention_dropout belongs to --encoder; leave it out",
    "--encoder_revision main": "--encoder_revision belongs to --encoder; leave it out",
    "--base_model a/b": "--base_model belongs to --encoder; leave it out",
    "--dataset_config x": "--dataset_config belongs to --dataset_name; leave it out",
    "--dataset_revision x": "--dataset_revision belongs to --dataset_name; leave it out",
    "--text_separator x": "--text_separator has no effect here: it stands between the texts of several columns",
    "--prior_correction 1e308": "--prior_correction 1e+308 must lie between 0 and 1000",
    "--target_accuracy 95": "--target_accuracy 95.0 must lie between 0 and 1",
    "--target_precision 95": "--target_precision 95.0 must lie above 0, and be at most 1",
    "--sampled_parts true": "--sampled_parts needs --max_length",
    "--loss focal --focal_gamma 1e9": "--focal_gamma 1000000000.0 must lie between 0 and 1000",
    f"{HIERARCHICAL} --entropy_weight nan": "--entropy_weight nan must lie between -1000 and 1000",
    "--learning_rate 1e300": "--learning_rate 1e+300 must be at most 1e6",
    "--max_length 99999999999": "--max_length 99999999999 must be less than 2**31",
    "--embedding_dim 10000000000": "--embedding_dim 10000000000 must be at most 65536",
    "--num_layers 1000000": "--num_layers 1000000 must be at most 1000",
    "--ngram_size 11": "--ngram_size 11 must be at most 10",
    "--train_file=": "--train_file names no file",
    "--data_name \udce9": "--data_name isn't valid UTF-8; rename it",
    "--quoting some": "--quoting some is unknown; choose from checked, trusted, none",
    "--clean headers x": "--clean x is unknown; choose from headers, footers, quotes",
    "--hub_strategy every_save": "--hub_strategy every_save is not offered: the Hub gets finished models only",
    "--dataloader_drop_last true": "--dataloader_drop_last true is not offered: it would leave texts out of the scores",
    "--prediction_loss_only true": "--prediction_loss_only true is not offered; leave it out",
    "--batch_eval_metrics true": "--batch_eval_metrics true is not offered; leave it out",
    "--eval_do_concat_batches false": "--eval_do_concat_batches false is not offered; leave it out",
    "--eval_use_gather_object true": "--eval_use_gather_object true is not offered; leave it out",
    "--include_for_metrics loss": "--include_for_metrics loss is not offered; leave it out",
    "--label_names x": "--label_names x is not offered; leave it out",
    "--remove_unused_columns false": "--remove_unused_columns false is not offered; leave it out",
    "--debug underflow_overflow": "--debug underflow_overflow is not offered; leave it out",
    "--do_train true": "--do_train true is not offered; leave it out",
    "--do_eval true": "--do_eval true is not offered; leave it out",
    "--do_predict true": "--do_predict true is not offered; leave it out",
    "--accelerator_config {}": "--accelerator_config {} is not offered; leave it out",
    "--license BSD-3": "--license BSD-3 is no name of the Hub for a licence, such as mit or apache-2.0",
    "--language en German": "--language en German is no code of a language, such as en, de or zh",
    "--loss weighted --class_weights 1 2 --balanced_sampling true": "--class_weights and --balanced_sampling exclude",
    "--class_weights 1 2": "--class_weights belongs to --loss weighted; leave it out",
    "--lora true --freeze_encoder true": "--lora and --freeze_encoder exclude each other",
    "--focal_gamma 3": "--focal_gamma belongs to --loss focal; leave it out",
    "--class_balanced_beta 0.5": "--class_balanced_beta belongs to --loss class_balanced; leave it out",
    "--logit_adjustment_tau 3": "--logit_adjustment_tau belongs to --loss logit_adjusted; leave it out",
    "--ldam_max_margin 3": "--ldam_max_margin belongs to --loss ldam; leave it out",
    "--lora_r 3": "--lora_r belongs to --lora true; leave it out",
    "--lora_alpha 3": "--lora_alpha belongs to --lora true; leave it out",
    "--lora_dropout 0.5": "--lora_dropout belongs to --lora true; leave it out",
    "--lora_target_modules x": "--lora_target_modules belongs to --lora true; leave it out",
    "--hub_handler true": "--hub_handler belongs to --push_to_hub true; leave it out",
    "--plain_adam true --optim sgd": "--optim belongs to --plain_adam false; leave it out",
    "--plain_adam true --optim_args eps=1": "--optim_args belongs to --plain_adam false; leave it out",
    "--word_vectors_vocabulary x": "--word_vectors_vocabulary belongs to --word_vectors; leave it out",
    f"{ENCODER} --encoder_cache x": "--encoder_cache belongs to --freeze_encoder true: what is trained can't be kept",
    "--lora true": "--lora needs a pretrained encoder, and --encoder names none",
    "--freeze_encoder true": "--freeze_encoder needs a pretrained encoder, and --encoder names none",
    "--minority_ratio 2": "--minority_ratio needs --minority_labels: name the labels that shall become rare",
    "--test_size 0.9": "--validation_size 0.15 and --test_size 0.9 leave nothing to train on",
    "--num_train_epochs nan": "--num_train_epochs nan must be a finite number",
    "--num_train_epochs 0": "--num_train_epochs 0.0 must be a number above 0",
    "--learning_rate -inf": "--learning_rate -inf must be a finite number",
    "--learning_rate inf": "--learning_rate inf must be a finite number",
    "--num_train_epochs 1e300": "--num_train_epochs 1e+300 must be less than 2**31",
    "--save_strategy steps": "--load_best_model_at_end needs --eval_strategy and --save_strategy to be the same",
    "--eval_strategy steps --save_strategy steps --eval_steps 5 --save_steps 20": "--load_best_model_at_end needs what "
    "is evaluated to be saved, and --save_steps 20.0 is another number than --eval_steps; set both to one",
    "--greater_is_better false": "--greater_is_better belongs to --metric_for_best_model; leave it out",
    "--early_stopping_patience 1 --eval_strategy no --save_strategy no": "--early_stopping_patience needs",
    "--model sequence_classification --encoder a/b --freeze_encoder true --encoder_cache x": "--encoder_cache is for",
    f"{ENCODER} --freeze_encoder true --attention_dropout 0.1": "--attention_dropout has no effect on an encoder that",
    f"{ENCODER} --freeze_encoder true --encoder_cache x --torch_compile true": "--encoder_cache is not offered",
    "--model sequence_classification --encoder a/b --prior_correction 1": "--prior_correction is kept in our",
    "--model sequence_classification --encoder a/b --target_accuracy 0.9": "--target_accuracy is kept in our",
    "--model sequence_classification --encoder a/b --target_precision 0.9": "--target_precision is kept in our",
    "--fit_thresholds false --target_precision 0.9": "--target_precision belongs to --fit_thresholds true; leave",
    "--model a/b --lora true": "--lora is not offered with --model a/b: its adapters would belong to that model",
    "--model lstm --model_revision main": "--model_revision belongs to a --model of the Hub; leave it out with --mod",
    "--model a/b --encoder c/d": "--encoder c/d is of a new model, and --model a/b goes on with a trained one; leave",
    "--model a/b --vocabulary wordpieces": "--vocabulary wordpieces is of a new model, and --model a/b goes on",
    "--model a/b --alpha 0.5": "--alpha 0.5 is of a new model, and --model a/b goes on with a trained one",
    f"{ENCODER} --lora true --fsdp full_shard": "--lora is not offered with FSDP: the merged model is put together",
    f"{ENCODER} --freeze_encoder true --adversarial_size 1": "--adversarial_size changes what",
    "--adversarial_size 1 --torch_compile true": "--adversarial_size is not offered with --torch_compile, -",
    f"{HIERARCHICAL} --linear_features 8": "--linear_features has no effect here",
    f"{HIERARCHICAL} --filter none --filter_ratio 1": "--filter_ratio has no effect here",
    f"{HIERARCHICAL} --segment_size 9": "--segment_size has no effect here",
    f"{HIERARCHICAL} --segment_stride 9": "--segment_stride has no effect here",
    f"{HIERARCHICAL} --segmentation sliding_window --max_words 9": "--max_words has no effect here",
    "--bf16_full_eval true": "--bf16_full_eval true is not offered: --bf16 true reads in bfloat16",
    "--fp16_full_eval true": "--fp16_full_eval true is not offered: --fp16 true reads in float16",
    "--ngram_evidence false --ngram_size 3": "--ngram_size belongs to --ngram_evidence true; leave it out",
    "--balanced_sampling true --ngram_size 3": "--ngram_size belongs to --balanced_sampling false; leave it out",
    "--balanced_sampling true --max_ngrams 3": "--max_ngrams belongs to --balanced_sampling false; leave it out",
    "--loss weighted --ngram_size 3": "--ngram_size belongs to --loss cross_entropy or focal; leave it out",
    "--loss ldam --max_ngrams 3": "--max_ngrams belongs to --loss cross_entropy or focal; leave it out",
    "--ngram_evidence false --max_ngrams 3": "--max_ngrams belongs to --ngram_evidence true; leave it out",
}
# Flags of one of the two versions of transformers that are supported, or that a command line can't spell.
GROUPS = {
    "class_names": (["x", " "], "--class_names x names a label with no character, or white space only"),
    "save_safetensors": (False, "--save_safetensors false is not offered; leave it out"),
    "group_by_length": (True, "--group_by_length true is not offered: --length_grouped does it"),
    "train_sampling_strategy": ("sequential", "--train_sampling_strategy sequential is not offered; leave it out"),
    "parallelism_config": ("x", "--parallelism_config x is not offered; leave it out"),
    "max_rejected": (2, "--max_rejected 2 must be at least 0 and at most 1"),
}
OF_PREDICT = {
    "--ray_actors belongs to --ray; leave it out": {"ray_actors": 4},
    "--input and --dataset_name exclude each other": {"input": ["a.csv"], "dataset_name": "a/b"},
    "--dataset_split belongs to --dataset_name; leave it out": {"dataset_split": "test"},
}


def refusal(command: str) -> str:
    words = command.split()
    model = [] if "--model" in words else ["--model", "lstm"]
    with pytest.raises(UserError) as error:
        model_args, _, tuning, training = RecipeParser().parse(
            ["--output_dir", "out", "--report_to", "none", *model, *words]
        )
        check_flags(model_args, tuning, training)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_row_is_told_in_its_sentence(command):
    assert refusal(command).startswith(COMMANDS[command])


@pytest.mark.parametrize("flag", GROUPS)
def test_flags_that_train_py_has_not_or_only_with_some_versions(flag):
    value, sentence = GROUPS[flag]
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        check(SimpleNamespace(**{flag: value}))


@pytest.mark.parametrize("sentence", OF_PREDICT)
def test_flags_that_predict_alone_has(sentence):
    with pytest.raises(UserError, match=f"^{sentence}$"):
        check_together(PredictArguments(**OF_PREDICT[sentence]))
    check_together(PredictArguments(ray_actors=4, ray="local", dataset_name="a/b", dataset_split="test"))


def is_told(row: object, sentence: str) -> bool:
    flag = sentence.split()[0].removeprefix("--")
    if isinstance(row, Values):
        return flag in row.flags and sentence.endswith(row.says)
    if isinstance(row, Choice):
        return flag in row.flags and "is unknown; choose" in sentence
    if isinstance(row, Fixed):
        return flag == row.flag and "is not offered" in sentence
    assert isinstance(row, Together)
    return bool(re.fullmatch(re.sub(r"\\{\w+\\}", r"\\S+", re.escape(row.says)), sentence))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_row_has_a_case():
    told = [*map(refusal, COMMANDS), *(sentence for _, sentence in GROUPS.values()), *OF_PREDICT]
    assert [row for row in ROWS if not any(is_told(row, sentence) for sentence in told)] == []


@pytest.mark.parametrize(
    ("flags", "guilty", "reason"),
    [
        ("--torch_compile true --torch_compile_mode x", "--torch_compile_mode x", "Unrecognized mode=x"),
        (
            '--gradient_checkpointing true --gradient_checkpointing_kwargs {"a":1}',
            "--gradient_checkpointing_kwargs",
            "a",
        ),
        ("--dataloader_prefetch_factor 2", "--dataloader_prefetch_factor 2", "--dataloader_num_workers > 0"),
        ("--dataloader_persistent_workers true", "--dataloader_persistent_workers true", "needs num_workers > 0"),
        ("--fsdp full_shard", "--fsdp", "distributed"),
        ("--fsdp nonsense", "--fsdp nonsense", "nonsense"),
        ('--lr_scheduler_kwargs {"num_cycles":"x"} --lr_scheduler_type cosine', "--lr_scheduler_kwargs", "x"),
        ("--report_to no_such", "--report_to no_such", "not supported"),
        ("--use_liger_kernel true", "--use_liger_kernel true", "pip install liger-kernel"),
        ("--bf16 true --fp16 true", "--fp16 true", "bf16"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_what_libraries_refuse_names_the_flag_before_data_is_read(flags, guilty, reason, in_tmp_path):
    sentence = refusal(f"{flags} --seed 3")
    assert sentence.startswith(guilty) and "can't be used here: " in sentence and reason in sentence


def test_the_flags_without_which_it_works_are_to_blame():
    def attempt(left_out):
        if not {"a", "c"} <= left_out:
            raise RuntimeError("two\nlines")

    with pytest.raises(UserError, match=r"^--a 1 --c true can't be used here: two lines$"):
        blame(attempt, {"a": 1, "b": 2, "c": True})
    assert blame(lambda left_out: len(left_out), {"a": 1}) == 0
    with pytest.raises(UserError, match="^ours$"):
        blame(lambda left_out: (_ for _ in ()).throw(UserError("ours")), {})


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("FSDP", f"{ENCODER} --lora true"),
        ("FSDP", "--adversarial_size 0.1"),
        ("FSDP", f"{ENCODER} --freeze_encoder true --encoder_cache x"),
        ("DEEPSPEED", "--adversarial_size 0.1"),
    ],
)
def test_what_accelerate_is_configured_for_is_looked_at_too(monkeypatch, variable, command):
    model = [] if "--encoder" in command else ["--model", "lstm"]
    model_args, _, tuning, training = RecipeParser().parse(["--output_dir", "out", *model, *command.split()])
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    with pytest.raises(UserError, match="is not offered with .*, for which accelerate is configured"):
        check_flags(model_args, tuning, training)

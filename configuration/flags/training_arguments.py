"""transformers' TrainingArguments with the defaults that suit text classification."""

from dataclasses import dataclass, field

import torch
import transformers
from accelerate.utils import parse_flag_from_env
from packaging.version import Version
from transformers import TrainingArguments

from salience.configuration.errors import UserError
from salience.configuration.flags.flag_rules import check

LOWER_IS_BETTER = ("loss", "mse", "mae")


def does_bf16_well(on_cpu: bool) -> bool:
    """Whether the device computes bfloat16 in hardware, so that it is faster than float32 and not an emulation."""
    if torch.cuda.is_available() and not on_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def has_accelerator() -> bool:
    """Whether there is anything faster than the CPU."""
    return torch.accelerator.is_available()


@dataclass
class SalienceTrainingArguments(TrainingArguments):
    """Every flag of `TrainingArguments`, with these differences.

    bf16 unset means: where the device does it well; epochs and learning rate unset: see `train.loop.schedule`. The
    model is evaluated and saved each epoch, the best checkpoint is kept, curves go to TensorBoard, and the Hub gets the
    finished model only.

    Raises:
        UserError: `output_dir` is missing, a value is out of its range, or a flag asks for what we don't do; the
            message names the flag.
    """

    output_dir: str = field(
        default="", metadata={"help": "Folder of the run; in the end it is the Hub repository of the model."}
    )
    bf16: bool | None = field(  # type: ignore[assignment]  # plain after __post_init__, as transformers has it
        default=None, metadata={"help": "Train in bfloat16; unset: where the device does it in hardware."}
    )
    num_train_epochs: float | None = field(  # type: ignore[assignment]  # chosen when the texts are known
        default=None,
        metadata={"help": "Passes over the training texts; unset: as many as make 150 steps, at least 3, at most 20."},
    )
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Training texts of a step, by process."})
    per_device_eval_batch_size: int = field(
        default=32, metadata={"help": "Held-out texts that are read together, by process, those of like length."}
    )
    learning_rate: float | None = field(  # type: ignore[assignment]  # chosen when the model is known
        default=None,
        metadata={
            "help": "Peak learning rate; unset: 1e-3 where all that is trained is new (a network from scratch, "
            "adapters, what stands on a frozen encoder; 5e-4 for a transformer from scratch, 5e-2 for a bag of words), "
            "else 1e-4 for an encoder of width 384, less for a wider one."
        },
    )
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Steps over which the learning rate rises; below 1: their share of all steps."}
    )
    lr_scheduler_kwargs: dict | str | None = field(
        default=None, metadata={"help": "Of --lr_scheduler_type, as a JSON object such as '{\"min_lr\": 1e-6}'."}
    )
    max_tokens_per_pass: int = field(
        default=8_192,
        metadata={
            "help": "Tokens that are read at once, which bounds the memory: a batch of more is read in several passes, "
            "with the same gradient; what attention pooling and the hierarchical model keep of a longer text for "
            "the gradient is computed again (others keep it all). 0: no limit. DeepSpeed reads whole batches."
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "no, steps, epoch or best."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, beside the best one."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint's weights."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "Validation metric of the best checkpoint. Unset: f1_macro (of several labels by thresholds that "
            "are fitted), and of checkpoints that are below the highest by less than its standard error the last; for "
            "regression loss."
        },
    )
    logging_steps: float = field(default=10, metadata={"help": "Steps between two points of the training curve."})
    report_to: None | str | list[str] = field(default="tensorboard", metadata={"help": "Where curves go, or none."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run goes on counting evaluations without a better one."}
    )
    license: str | None = field(
        default=None,
        metadata={"help": "Licence of the model for its card, by its name on the Hub: mit, apache-2.0, cc-by-4.0, ..."},
    )
    hub_strategy: str = field(default="end", metadata={"help": "Only end: the Hub gets finished models."})
    hub_handler: bool = field(
        default=False, metadata={"help": "Push handler.py too, with which Inference Endpoints answer as the pipeline."}
    )

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise UserError("--output_dir is missing: name the folder that the model shall be saved in")
        check(self)
        if self.bf16 is None:
            on_cpu = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
            self.bf16 = not self.fp16 and does_bf16_well(on_cpu)
        if not has_accelerator():
            self.use_cpu = True  # else Trainer refuses bf16
        self.label_names = ["labels"]
        self.remove_unused_columns = False  # the data sets hold what the model takes and nothing else
        self.chooses_best_metric = self.metric_for_best_model is None
        if self.chooses_best_metric and self.greater_is_better is not None:
            raise UserError("--greater_is_better belongs to --metric_for_best_model; leave it out")
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = self.metric_for_best_model.removeprefix("eval_") not in LOWER_IS_BETTER
        if Version(transformers.__version__).major < 5:  # two fields: a whole number of steps, and a share
            if 0 < self.warmup_steps < 1:
                self.warmup_ratio = self.warmup_steps
            self.warmup_steps = int(self.warmup_steps)
        super().__post_init__()

    @property
    def device(self) -> torch.device:
        """Where this process computes; the CPU without a number, to which transformers 4 can't load a checkpoint."""
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device

    @property
    def texts_of_step(self) -> int:
        """Training texts of an optimizer step, on all processes."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.world_size

"""transformers' TrainingArguments with the defaults that suit text classification."""

import json
import math
from dataclasses import dataclass, field
from enum import Enum

import torch
import transformers
from accelerate.utils import DynamoBackend, parse_flag_from_env
from packaging.version import Version
from transformers import TrainingArguments, get_scheduler
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.utils import is_liger_kernel_available

LEAST = {
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1,
    "learning_rate": 0, "weight_decay": 0, "warmup_steps": 0, "max_grad_norm": 0, "dataloader_num_workers": 0,
    "seed": 0, "eval_accumulation_steps": 1, "adam_epsilon": 0,
}  # fmt: skip
STRATEGIES: dict[str, type[Enum]] = {
    "eval_strategy": IntervalStrategy,
    "save_strategy": SaveStrategy,
    "logging_strategy": IntervalStrategy,
}
# These take a JSON object only; the other dict fields also take the name of a JSON file.
JSON_ONLY = ("lr_scheduler_kwargs", "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs")
# What training, scores or the safety of the run folder rest on.
NOT_OFFERED = {
    "prediction_loss_only": False, "batch_eval_metrics": False, "accelerator_config": None, "save_safetensors": True,
    "train_sampling_strategy": "random", "group_by_length": False, "label_names": None, "remove_unused_columns": True,
    "do_train": False, "do_eval": False, "do_predict": False,
}  # fmt: skip
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

    bf16 unset means: where the device does it well. The model is evaluated and saved each epoch, the best checkpoint is
    kept, curves go to TensorBoard, and the Hub gets the finished model only.

    Raises:
        ValueError: `output_dir` is missing, a value is out of its range, or a flag asks for what we don't do; the
            message names the flag.
    """

    output_dir: str = field(
        default="", metadata={"help": "Folder of the run; in the end it is the Hub repository of the model."}
    )
    bf16: bool | None = field(  # type: ignore[assignment]  # plain after __post_init__, as transformers has it
        default=None, metadata={"help": "Train in bfloat16; unset: where the device does it in hardware."}
    )
    learning_rate: float = field(default=5e-5, metadata={"help": "Peak learning rate."})
    warmup_steps: float = field(
        default=0, metadata={"help": "Steps over which the learning rate rises; below 1: their share of all steps."}
    )
    lr_scheduler_kwargs: dict | str | None = field(
        default=None, metadata={"help": "Of --lr_scheduler_type, as a JSON object such as '{\"min_lr\": 1e-6}'."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "no, steps, epoch or best."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, beside the best one."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint's weights."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={"help": "Validation metric of the best checkpoint; unset: f1_macro, or loss for regression."},
    )
    logging_steps: float = field(default=10, metadata={"help": "Steps between two points of the training curve."})
    report_to: None | str | list[str] = field(default="tensorboard", metadata={"help": "Where curves go, or none."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run goes on counting evaluations without a better one."}
    )
    hub_strategy: str = field(default="end", metadata={"help": "Only end: the Hub gets finished models."})

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise ValueError("--output_dir is missing: name the folder that the model shall be saved in")
        self._check_offered()
        if self.bf16 is None:
            on_cpu = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
            self.bf16 = not self.fp16 and does_bf16_well(on_cpu)
        if not has_accelerator():
            self.use_cpu = True  # else Trainer refuses bf16
        self.label_names = ["labels"]
        self.remove_unused_columns = False  # the data sets hold what the model takes and nothing else
        self.chooses_best_metric = self.metric_for_best_model is None
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = self.metric_for_best_model.removeprefix("eval_") not in LOWER_IS_BETTER
        self._check_ranges()
        self._check_choices()
        self._check_json()
        if Version(transformers.__version__).major < 5:  # two fields: a whole number of steps, and a share
            if 0 < self.warmup_steps < 1:
                self.warmup_ratio = self.warmup_steps
            self.warmup_steps = int(self.warmup_steps)
        super().__post_init__()
        self._check_scheduler()
        self._check_packages()

    @property
    def device(self) -> torch.device:
        """Where this process computes; the CPU without a number, to which transformers 4 can't load a checkpoint."""
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device

    def _check_offered(self) -> None:
        if self.hub_strategy != "end":
            raise ValueError(f"--hub_strategy {self.hub_strategy} is not offered: the Hub gets finished models only")
        if self.dataloader_drop_last:
            raise ValueError("--dataloader_drop_last is not offered: it would leave texts out of the scores, too")
        for name, needed in NOT_OFFERED.items():
            if getattr(self, name, needed) != needed:
                raise ValueError(f"--{name} {getattr(self, name)} is not offered; leave it out")

    def _check_ranges(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f"--{name} {value} must be at least {least}")
        for name in ("eval_steps", "save_steps", "logging_steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name} {value} must be a number above 0")
        if not 0 < self.num_train_epochs < math.inf and self.max_steps <= 0:
            raise ValueError(f"--num_train_epochs {self.num_train_epochs} must be a number above 0")
        for name in ("label_smoothing_factor", "adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must lie in [0, 1)")
        if self.seed >= 2**32:
            raise ValueError(f"--seed {self.seed} must be less than 2**32")

    def _check_choices(self) -> None:
        for name, strategy in STRATEGIES.items():
            known = [each.value for each in strategy]
            if getattr(self, name) not in known:
                raise ValueError(f"--{name} {getattr(self, name)} is unknown; choose from {', '.join(known)}")
        if self.load_best_model_at_end and self.save_strategy not in ("best", self.eval_strategy):
            raise ValueError(
                "--load_best_model_at_end needs --eval_strategy and --save_strategy to be the same, not "
                f"{self.eval_strategy} and {self.save_strategy}; set both, or add --load_best_model_at_end false"
            )

        backends = [backend.value.lower() for backend in DynamoBackend]
        if self.torch_compile_backend and self.torch_compile_backend.lower() not in backends:
            raise ValueError(
                f"--torch_compile_backend {self.torch_compile_backend} is unknown; choose from {', '.join(backends)}"
            )

    def _check_json(self) -> None:
        for name in self._VALID_DICT_FIELDS:
            value = getattr(self, name)
            if not isinstance(value, str) or not (value.startswith("{") or name in JSON_ONLY):
                continue
            try:
                is_object = isinstance(json.loads(value), dict)
            except ValueError:
                is_object = False
            if not is_object:
                raise ValueError(f"--{name} {value} is not a JSON object such as '{{\"key\": 1}}'")

    def _check_scheduler(self) -> None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        options: dict | None = self.lr_scheduler_kwargs  # type: ignore[assignment]  # JSON was read by now
        try:
            get_scheduler(self.lr_scheduler_type, optimizer, 1, 2, scheduler_specific_kwargs=options)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"--lr_scheduler_kwargs {self.lr_scheduler_kwargs} doesn't fit "
                f"--lr_scheduler_type {SchedulerType(self.lr_scheduler_type).value}: {error}"
            ) from error

    def _check_packages(self) -> None:
        if self.use_liger_kernel and not is_liger_kernel_available():
            raise ValueError("--use_liger_kernel needs a package; run: pip install liger-kernel")
        available = get_available_reporting_integrations()
        for name in self.report_to or []:
            if name not in available:
                raise ValueError(
                    f"--report_to {name} is unknown or not installed; choose from none, {', '.join(available)}"
                )

"""transformers' TrainingArguments with the defaults that suit text classification."""

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments


def does_bf16_well() -> bool:
    """Whether this machine computes bfloat16 in hardware, so that it is faster than float32 and not an emulation."""
    if torch.cuda.is_available():
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
        ValueError: `output_dir` is missing, or a flag asks for what we don't do.
    """

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the run; in the end it is the Hub repository of the model."}
    )
    bf16: bool | None = field(
        default=None, metadata={"help": "Train in bfloat16; unset: where the device does it in hardware."}
    )
    learning_rate: float = field(default=5e-5, metadata={"help": "Peak learning rate."})
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
    hub_strategy: str = field(default="end", metadata={"help": "Only end: the Hub gets finished models."})

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise ValueError("--output_dir is missing: name the folder that the model shall be saved in")
        if self.hub_strategy != "end":
            raise ValueError(f"--hub_strategy {self.hub_strategy} is not offered: the Hub gets finished models only")
        if self.bf16 is None:
            self.bf16 = not self.fp16 and does_bf16_well()
        if not has_accelerator():
            self.use_cpu = True  # else Trainer refuses bf16
        self.label_names = ["labels"]
        self.remove_unused_columns = False  # the data sets hold what the model takes and nothing else
        self.chooses_best_metric = self.metric_for_best_model is None
        super().__post_init__()

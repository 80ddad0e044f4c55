"""From labelled texts to a trained model: what `train.py` does, as functions."""

from typing import TYPE_CHECKING

from salience.configuration.lazy import lazy_names

if TYPE_CHECKING:
    from salience.configuration.errors import UserError
    from salience.configuration.flags.data_arguments import DataArguments
    from salience.train.building.lora import load_adapter
    from salience.train.cli import TrainedRun, train_model
    from salience.train.data.load import load_splits
    from salience.train.publish.push import push_folder

__all__ = ["DataArguments", "TrainedRun", "UserError", "load_adapter", "load_splits", "push_folder", "train_model"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DataArguments": "salience.configuration.flags.data_arguments",
        "TrainedRun": "salience.train.cli",
        "UserError": "salience.configuration.errors",
        "load_adapter": "salience.train.building.lora",
        "load_splits": "salience.train.data.load",
        "push_folder": "salience.train.publish.push",
        "train_model": "salience.train.cli",
    },
)

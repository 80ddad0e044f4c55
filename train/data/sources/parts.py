"""Where the splits come from: files, a data set of the Hub, or memory; exactly one of them."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.paths import resolve_path
from salience.train.data.sources.files import COLUMN_FLAGS, FORMAT_FLAGS, read_file, reader_of, refuse_unused
from salience.train.data.sources.hub import read_hub
from salience.train.data.sources.memory import describe_table, read_memory
from salience.train.data.tables import Part


def read_parts(args: DataArguments, given: Mapping[str, Any] | None) -> dict[str, list[Part]]:
    """Read every split that is given.

    Args:
        args: The data flags.
        given: See `load_splits`.

    Raises:
        UserError: There are no data, or two sources of them, or they can't be read.
    """
    files = {"train_file": args.train_file, "validation_file": args.validation_file, "test_file": args.test_file}
    if given:
        for flag, value in {**files, "dataset_name": args.dataset_name}.items():
            if value:
                raise UserError(f"both texts in memory and --{flag} are given; leave out one of them")
        refuse_unused([], args, FORMAT_FLAGS)
        return read_memory(given, args)
    if bool(args.train_file) == bool(args.dataset_name):
        both = "both --train_file and --dataset_name are" if args.train_file else "no data is"
        raise UserError(f"{both} given; use either --train_file or --dataset_name")
    if args.train_file:
        return _read_files(args)
    if args.validation_file or args.test_file:
        raise UserError("--validation_file and --test_file go with --train_file, not with --dataset_name")
    return read_hub(args)


def _read_files(args: DataArguments) -> dict[str, list[Part]]:
    names = [*(args.train_file or []), args.validation_file, args.test_file]
    readers = [reader_of(resolve_path(name), name) for name in names if name]
    refuse_unused(readers, args, FORMAT_FLAGS | COLUMN_FLAGS)
    parts = {"train": [read_file(name, args) for name in args.train_file or []]}
    for split, name in (("validation", args.validation_file), ("test", args.test_file)):
        if name:
            parts[split] = [read_file(name, args)]
    return parts


def default_name(args: DataArguments) -> str:
    """Name of the data, from the Hub or the first file."""
    if args.dataset_name:
        return args.dataset_name.rstrip("/").rpartition("/")[2]
    return PurePath((args.train_file or [""])[0]).stem


def describe_source(args: DataArguments, given: Mapping[str, Any] | None) -> str:
    """The files, the Hub data set or the kinds of objects, without the folders of this machine."""
    if given:
        return ", ".join(dict.fromkeys(describe_table(table) for table in given.values()))
    if args.dataset_name:
        config = f" ({args.dataset_config})" if args.dataset_config else ""
        revision = f" at {args.dataset_revision}" if args.dataset_revision else ""
        return f"{args.dataset_name}{config}{revision}"
    names = [*(args.train_file or []), args.validation_file, args.test_file]
    return ", ".join(name if name.startswith("package:") else PurePath(name).name for name in names if name)

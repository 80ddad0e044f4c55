"""Finds a data set of the Hub, or a folder that `datasets` understands, and the files that it is made of."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import datasets
import yaml
from datasets.data_files import FILES_TO_IGNORE
from datasets.exceptions import DatasetsError
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import HubArguments
from salience.configuration.hub import find_commit, refuse_revision_of_folder
from salience.train.data.formats.texts import TABLE_ENDINGS
from salience.train.data.paths import refuse_pointer

logger = logging.getLogger(__name__)

SHARD = re.compile(r"-\d+-of-\d+\b")
ADDRESS = re.compile(r"hf://datasets/[^@]+@[^/]+/")
# What a data set's card may say of its files and our readers heed, or what isn't about their content at all.
HEEDED = {
    "name", "version", "data_dir", "data_files", "description", "sep", "features",
    "chunksize", "block_size", "batch_size", "use_threads", "fragment_scan_options",
}  # fmt: skip


@contextmanager
def loading(args: HubArguments) -> Iterator[None]:
    """Tell what goes wrong with a data set in one sentence.

    Args:
        args: Which it is.

    Raises:
        UserError: It can't be loaded.
    """
    name = args.dataset_name
    try:
        yield
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(
            f"the card README.md of the data set '{name}' (--dataset_name) is not valid YAML between its lines ---; "
            f"correct it, or give --{args.files_flag}: {one_line(error, 200)}"
        ) from error
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise UserError(
            f"the data set '{name}' (--dataset_name) can't be loaded; check its name, --dataset_config, "
            f"--dataset_revision and the connection, or give --{args.files_flag}: {one_line(error, 300)}"
        ) from error


def open_builder(args: HubArguments) -> datasets.DatasetBuilder:
    """Find a data set, and tell what of it is read; nothing is downloaded but its card.

    Args:
        args: Which it is.

    Raises:
        UserError: It isn't one.
        Exception: See `loading`.
    """
    name = str(args.dataset_name)
    if name in _PACKAGED_DATASETS_MODULES:  # it would read all files of the working folder
        raise UserError(
            f"--dataset_name {name} is a format and no data set; give the files by --{args.files_flag}, or write "
            f"./{name} for a folder of that name"
        )
    refuse_revision_of_folder(name, args.dataset_revision, "--dataset_name", "--dataset_revision")
    if "/" in name:
        args.dataset_revision = find_commit(name, args.dataset_revision, "dataset")
    builder = datasets.load_dataset_builder(name, args.dataset_config, revision=args.dataset_revision)
    _tell_files(builder, name)
    _tell_unread_files(builder, name, args.files_flag)
    return builder


def refuse_unheeded(builder: datasets.DatasetBuilder, args: HubArguments) -> None:
    """Refuse a data set whose card sets how its files are read, where our readers haven't that.

    Args:
        builder: Of the data set.
        args: Which it is.

    Raises:
        UserError: It does.
    """
    plain = type(builder.config)()
    for each in fields(builder.config):
        if each.name not in HEEDED and getattr(builder.config, each.name) != getattr(plain, each.name):
            raise UserError(
                f"the card of the data set '{args.dataset_name}' reads its {builder.name} files with {each.name}, "
                f"which isn't offered here; give the files by --{args.files_flag}"
            )


def files_of_split(args: HubArguments, split: str | None) -> tuple[list[tuple[str, Path]], str | None]:
    """The files of one split, for readers that go through them in parts; those of the Hub are in its cache then.

    Args:
        args: Which data set it is.
        split: As the data set calls it; None for the only one.

    Returns:
        Names for people, and paths; and what stands between the cells of csv files, where the card tells it.

    Raises:
        UserError: It can't be loaded, or has no such split, or several.
    """
    name = str(args.dataset_name)
    with loading(args):
        builder = open_builder(args)
        refuse_unheeded(builder, args)
        splits = {str(each): [str(file) for file in files] for each, files in builder.config.data_files.items()}
        if split is None and len(splits) > 1:
            raise UserError(f"the data set '{name}' has the splits {', '.join(splits)}: name one with --dataset_split")
        files = splits.get(next(iter(splits)) if split is None else split)
        if files is None:
            raise UserError(
                f"the data set '{name}' has no split named {split} (--dataset_split), only {', '.join(splits)}"
            )
        loader = datasets.DownloadManager(dataset_name=name)  # files of this machine stay where they are
        paths = [Path(path) for path in loader.download(files)]
        names = [f"{name.rstrip('/')}/{_place(file, name)}" for file in files]
        separator = getattr(builder.config, "sep", None)
        is_plain = separator == getattr(type(builder.config)(), "sep", None)
        return list(zip(names, paths, strict=True)), None if is_plain else separator


def _place(file: str, name: str) -> str:
    """Where a file stands in its data set."""
    folder = os.path.abspath(name) + "/"
    if file.startswith(folder) and Path(name).is_dir():
        return file.removeprefix(folder)
    return ADDRESS.sub("", file) if ADDRESS.match(file) else file.rpartition("/")[2]


def _tell_files(builder: datasets.DatasetBuilder, name: str) -> None:
    """Tell which files make up a split, as an old copy beside a file can be one of them; shards count as one."""
    told = []
    for split, paths in (builder.config.data_files or {}).items():
        files = [str(path) for path in paths]
        place = len(os.path.commonprefix(files).rpartition("/")[0] + "/")
        shown = list(dict.fromkeys(SHARD.sub("-*", file[place:]) for file in files))
        if len(shown) > 1:
            told.append(f"{split} is read from {len(shown)} files ({', '.join(shown[:5])}{', ...' * (len(shown) > 5)})")
    if told:
        logger.warning("--dataset_name %s: %s", name, "; ".join(told))


def _tell_unread_files(builder: datasets.DatasetBuilder, name: str, files_flag: str) -> None:
    """Warn of the tables of a folder that `datasets` leaves out, as it reads files of one ending and one naming.

    Raises:
        UserError: One that it reads is a pointer of Git LFS.
    """
    folder = Path(name)
    if not folder.is_dir():
        return
    read = {Path(str(file)).resolve() for files in (builder.config.data_files or {}).values() for file in files}
    for path in sorted(read):
        refuse_pointer(path, str(path))
    unread = sorted(
        str(inside)
        for inside in (path.relative_to(folder) for path in folder.rglob("*"))
        if {*inside.suffixes} & TABLE_ENDINGS
        and inside.name not in FILES_TO_IGNORE
        and not any(part.startswith((".", "__")) for part in inside.parts)
        and (folder / inside).is_file()
        and (folder / inside).resolve() not in read
    )
    if unread:
        logger.warning(
            "--dataset_name %s: %d files of the folder are not read (%s); give all that you want by --%s",
            name, len(unread), ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else ""), files_flag,
        )  # fmt: skip

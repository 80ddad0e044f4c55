"""Reads folders of .txt files, one sub-folder for each class, and fastText's files of labelled lines."""

import logging
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import FileArguments
from salience.train.data.formats.decoding import encodings, read_utf8
from salience.train.data.formats.json import has_half_a_character
from salience.train.data.paths import refuse_pointer
from salience.train.data.spelling import label_texts
from salience.train.data.tables import Part, make_part

logger = logging.getLogger(__name__)

TABLE_ENDINGS = {".csv", ".tsv", ".jsonl", ".json", ".parquet"}
FASTTEXT_LINE = r"^\s*(?P<labels>__label__\S+(?:\s+__label__\S+)*)(?:\s+(?P<text>.*))?$"


BLANK_LABEL = r"^\s*(__label__\S+\s+)*__label__(\s|$)"


def read_folder(path: Path, name: str, args: FileArguments) -> Part:
    """Read `path/CLASS/ANY.txt`; what isn't read is counted in the log.

    Args:
        path: The folder.
        name: Of it, for the messages.
        args: Encodings.

    Raises:
        UserError: There are no such files, or one is empty or in another encoding.
    """
    files, left_out = _class_files(path)
    if not files:
        if ending := _ending_of_tables(path):
            raise UserError(f"folder '{name}' holds {ending} files; name them, as in --train_file {name}/*{ending}")
        raise UserError(f"folder '{name}' has no .txt files in sub-folders; lay it out as '{name}/CLASS/ANY.txt'")
    if left_out:
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items())
        logger.warning("%d files of the folder '%s' are not read: %s", left_out.total(), name, reasons)
    for file in files:
        if has_half_a_character(str(file)):
            shown = str(file.relative_to(path)).encode("utf-8", "backslashreplace").decode()
            raise UserError(f"'{name}/{shown}' has a name that isn't valid UTF-8; rename it")
    _refuse_equal_names({file.parent.name for file in files}, name)
    files.sort(key=lambda file: (file.parent.name, file.name))
    names = [f"{file.parent.name}/{file.name}" for file in files]
    texts = [_read_text(file, f"{name}/{inside}", args) or None for file, inside in zip(files, names, strict=True)]
    table = pa.table({"text": pa.array(texts, pa.string()), "label": [file.parent.name for file in files]})
    plain = FileArguments(label_separator=args.label_separator, keep_empty_texts=args.keep_empty_texts)
    return make_part(table, name, plain, find_line=lambda row: f" ({names[row - 1]})")


def read_fasttext(path: Path, name: str, args: FileArguments) -> Part:
    """Read a file of lines that begin with their labels, such as `__label__sport __label__news`.

    Args:
        path: The file, which may end in .gz.
        name: Of it, for the messages.
        args: Encodings.

    Raises:
        UserError: A line has no label at its start, or one behind its text's words.
    """
    content = read_utf8(path, name, args).to_pybytes().decode()
    lines = pa.array(content.replace("\r\n", "\n").removesuffix("\n").split("\n"), pa.large_string())
    found = pc.extract_regex(lines, FASTTEXT_LINE)
    bad = pc.index(pc.is_null(found), True).as_py()
    nameless = pc.index(pc.match_substring_regex(lines, BLANK_LABEL), True).as_py()
    if nameless >= 0 and (bad < 0 or nameless <= bad):
        raise UserError(f"'{name}' line {nameless + 1} has a label without a name; write `__label__NAME`")
    if bad >= 0:
        raise UserError(
            f"'{name}' line {bad + 1} doesn't begin with __label__; a .txt file is read as fastText's, with "
            f"`__label__NAME` before each text; texts without labels belong into a folder '{path.stem}/CLASS/ANY.txt'"
        )
    text, labels = pc.struct_field(found, "text"), pc.struct_field(found, "labels")
    late = pc.index(pc.match_substring_regex(text, r"(^|\s)__label__"), True).as_py()
    if late >= 0:
        raise UserError(
            f"'{name}' line {late + 1} has a label behind words of its text; write all labels before the text"
        )
    names = pc.utf8_split_whitespace(pc.replace_substring_regex(labels, r"(^|\s)__label__", r"\1"))
    text = pc.if_else(pc.equal(text, ""), None, text)
    table = pa.table({"text": text, "label": names})
    plain = FileArguments(keep_empty_texts=args.keep_empty_texts)
    return make_part(table, name, plain, find_line=lambda row: f" (line {row})", lists_of_one=True)


def _ending_of_tables(path: Path) -> str | None:
    """What most tables of a folder end in, a .json beside others being about them; None without any."""
    endings = Counter(
        "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
        for file in path.iterdir()
        if TABLE_ENDINGS & {file.suffix, file.suffix == ".gz" and file.with_suffix("").suffix}
    )
    return max(sorted(endings), key=lambda ending: (ending != ".json", endings[ending]), default=None)


def _class_files(path: Path) -> tuple[list[Path], Counter[str]]:
    """The texts of a folder, and how many other files there are, by the reason why they aren't read."""
    files: list[Path] = []
    left_out = Counter[str]()
    for folder in path.iterdir():
        if not folder.is_dir():
            left_out["beside the class folders"] += 1
        elif folder.name.startswith((".", "__")):
            left_out["in hidden folders"] += sum(file.is_file() for file in folder.rglob("*"))
        else:
            before = len(files)
            for file in folder.iterdir():
                if file.is_dir():
                    left_out["in folders inside of class folders"] += sum(each.is_file() for each in file.rglob("*"))
                elif not file.is_file():
                    left_out["no plain files"] += 1
                elif file.name.startswith("."):
                    left_out["hidden"] += 1
                elif file.suffix != ".txt":
                    left_out["with another ending than .txt"] += 1
                else:
                    files.append(file)
            if len(files) == before:
                logger.warning("class folder '%s' holds no .txt file: there is no such class", one_line(folder.name))
    return files, +left_out


def _refuse_equal_names(names: set[str], where: str) -> None:
    """Refuse class folders that would be one class, as labels are read without spaces around them."""
    ordered = sorted(names)
    labels = label_texts(pa.array(ordered, pa.string()), f"'{where}'").to_pylist()
    seen: dict[str, str] = {}
    for name, label in zip(ordered, labels, strict=True):
        if label in seen:
            raise UserError(
                f"the class folders '{seen[label]}' and '{name}' of '{where}' would be one class, '{label}'; rename "
                "one or put their files together"
            )
        seen[label] = name


def _read_text(file: Path, name: str, args: FileArguments) -> str:
    if file.stat().st_size == 0:
        encodings(args)
        return ""
    refuse_pointer(file, name)
    return str(read_utf8(file, name, args), "utf-8").replace("\r\n", "\n").replace("\r", "\n")

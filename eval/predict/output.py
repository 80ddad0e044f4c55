"""Where answers go: parts that are whole or not there, what they are parts of, and how they become the output.

A folder gets parquet files; a file is joined from parts in a folder beside it, which is gone at the end.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from salience.configuration.errors import UserError
from salience.configuration.flags.rule_kinds import shown
from salience.eval.predict.inputs import kind_of
from salience.eval.predict.writing import join_parts, publish
from salience.model_cards.files import TORN, read_json, whole_file, write_json
from salience.model_cards.run_folder import LOCK_FILE
from salience.train.data.sources.files import PACKED
from salience.train.folder.output import check_own_folder, check_writable

KIND = "prediction"
MANIFEST, REJECTED = ".manifest.json", ".rejected.jsonl"
"""In a folder of parts; whatever reads such a folder as one table passes over names that begin with a dot."""
ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/")
FILE_ENDING = re.compile(r"\.\d*[A-Za-z]\w*")  # not that of v1.2
ELSEWHERE = "choose another --output, or move it away"


@dataclass(frozen=True)
class Place:
    """Where the answers go.

    Attributes:
        output: What the user named.
        folder: Where the parts lie: the output itself, or a folder beside a file.
        ending: Of the parts.
    """

    output: Path
    folder: Path
    ending: str

    @property
    def is_file(self) -> bool:
        """Whether the output is one file."""
        return self.folder != self.output

    @property
    def rejected(self) -> Path:
        """The list of rows without an answer."""
        return self.output.with_name(f"{self.output.name}{REJECTED}") if self.is_file else self.folder / REJECTED

    @property
    def manifest(self) -> Path:
        """What the parts are parts of."""
        return self.folder / MANIFEST

    @property
    def joined(self) -> Path:
        """The whole file, before it gets its own name."""
        return self.folder / f"joined{self.ending}"

    def part(self, number: int) -> Path:
        """The rows of a stretch with their answers."""
        return self.folder / f"part-{number:05}{self.ending}"

    def rejected_part(self, number: int) -> Path:
        """The rows of a stretch without an answer; it is there only if there are any."""
        return self.folder / f"rejected-{number:05}.jsonl"

    def record(self, number: int) -> Path:
        """What was written of a stretch, and fingerprints of those files; itself written behind them."""
        return self.folder / f"done-{number:05}.json"

    def remove_records(self) -> None:
        """Leave nothing in a finished folder that only served to go on."""
        for pattern in ("rejected-*.jsonl", "done-*.json"):
            for file in self.folder.glob(pattern):
                file.unlink()


def choose_place(output: str, names: Sequence[str]) -> Place:
    """Where the answers to these files go.

    Args:
        output: What `--output` says: a file that ends as the only input does, or a folder.
        names: Of the inputs.

    Raises:
        UserError: It is a file of another format, or one of several inputs, or can't be written.
    """
    if output == "-" or ADDRESS.match(output):
        raise UserError(f"--output {output} is neither a file nor a folder of this machine: name one, and copy it on")
    path = Path(output).absolute()
    kind = kind_of(path.name)
    if kind is None and FILE_ENDING.fullmatch(path.suffix) and not path.is_dir():
        raise UserError(
            f"--output {output} ends in {path.suffix}, which isn't written: end it as the only input does, or name a "
            "folder without an ending, which gets parquet files"
        )
    if kind is None or path.is_dir():
        check_own_folder(path, "--output")
        return Place(path, path, ".parquet")
    if len(names) > 1:
        raise UserError(f"--output {output} is one file, and there are {len(names)} inputs; name a folder")
    if kind != kind_of(names[0]):
        raise UserError(f"--output {output} must end as '{names[0]}' does, or be a folder, which gets parquet files")
    check_writable(path.parent, f"--output {output}:")
    packed = PACKED if path.suffix.lower() == PACKED else ""
    return Place(path, path.with_name(f".{path.name}.parts"), kind + packed)


@contextmanager
def begun(place: Place, plan: Mapping[str, Any]) -> Iterator[None]:
    """Hold the output for one command that makes it or goes on with it.

    Args:
        place: Where it goes.
        plan: What its parts are parts of: `model`, `inputs`, `flags` and `versions`, and more that isn't compared.

    Raises:
        UserError: It is finished, is being made, is of another plan, or something else is there.
    """
    _refuse_others(place)
    place.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.folder / LOCK_FILE)
    try:
        lock.acquire(timeout=1)
    except Timeout as error:
        raise UserError(f"another command is writing --output {place.output}: wait for its end") from error
    try:
        _refuse_others(place)  # the command that held it may have finished it
        if place.manifest.exists():
            _refuse_other_plan(place, read_json(place.manifest, ELSEWHERE), plan)
        for torn in place.folder.glob(f"{TORN}*"):
            torn.unlink()
        write_json(place.manifest, {"kind": KIND, **plan})
        yield
    finally:
        with suppress(OSError):  # the folder may be gone, or Windows removes it when it is released
            (place.folder / LOCK_FILE).unlink()
        lock.release()
        with suppress(OSError):  # not empty
            place.folder.rmdir()


def finish(place: Place, num_parts: int, head: str) -> int:
    """Make the output of its parts. Returns how many rows got no answer.

    Args:
        place: Where they are.
        num_parts: How many; all are there.
        head: What stands before the rows of a file.

    Raises:
        UserError: Others have made a file of its name meanwhile.
    """
    numbers = range(num_parts)
    parts = [part for number in numbers if (part := place.rejected_part(number)).exists()]
    count = 0
    if parts:
        listed = place.folder / REJECTED
        with whole_file(listed) as file:
            for part in parts:
                lines = part.read_bytes()
                count += lines.count(b"\n")
                file.write(lines)
    if place.is_file:
        join_parts(place.joined, [place.part(number) for number in numbers], head)
        if parts:
            publish(listed, place.rejected)
        publish(place.joined, place.output)
        shutil.rmtree(place.folder)
        return count
    write_json(place.manifest, {**read_json(place.manifest), "rejected": count, "finished": True})
    place.remove_records()
    return count


def _refuse_others(place: Place) -> None:
    """Refuse an output that is finished, or that no prediction has begun."""
    mine = place.manifest.is_file() and read_json(place.manifest, ELSEWHERE).get("kind") == KIND
    if place.is_file:
        if os.path.lexists(place.output):
            if mine and _is_same(place.output, place.joined):  # it was stopped between the last two steps
                shutil.rmtree(place.folder)
            raise UserError(f"--output {place.output} exists; {ELSEWHERE}")
        if place.rejected.exists() and not mine:
            raise UserError(f"{place.rejected} exists, and a list of rejected rows may go there; {ELSEWHERE}")
    names = sorted(each.name for each in place.folder.iterdir()) if place.folder.is_dir() else []
    there = [name for name in names if name != LOCK_FILE and not name.startswith(TORN)]
    if there and not mine:
        raise UserError(f"--output {place.output}: {place.folder.name} holds {there[0]}, which would be lost among the "
                        f"answers; {ELSEWHERE}")  # fmt: skip
    if mine and read_json(place.manifest).get("finished"):
        place.remove_records()  # it was stopped before that
        raise UserError(f"--output {place.output} holds a finished prediction; {ELSEWHERE}")


def _is_same(output: Path, joined: Path) -> bool:
    return output.exists() and joined.exists() and output.samefile(joined)


def _refuse_other_plan(place: Place, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    begun_with = f"--output {place.output} was begun with"
    way_out = f"choose another --output, or delete what was begun ({place.folder})"
    # A folder's or a file's name may be spelled otherwise; what it holds may not.
    if _unnamed(old.get("model", {})) != _unnamed(new["model"]):
        raise UserError(f"{begun_with} another model; give the same, {way_out}")
    if list(map(_unnamed, old.get("inputs", []))) != list(map(_unnamed, new["inputs"])):
        pairs = zip(old.get("inputs", []), new["inputs"], strict=False)
        name = next((mine["name"] for theirs, mine in pairs if _unnamed(theirs) != _unnamed(mine)), "their number")
        raise UserError(f"{begun_with} other input ({name} differs); give the same, {way_out}")
    if old.get("versions", new["versions"]) != new["versions"]:
        raise UserError(f"{begun_with} other versions of the packages; go on with those, {way_out}")
    for flag, value in new["flags"].items():
        before = old.get("flags", {}).get(flag)
        if before != value:
            told = f"no --{flag}" if before in (None, "") else f"--{flag} {shown(before)}"
            raise UserError(f"{begun_with} {told}; give the same, {way_out}")


def _unnamed(known: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a model or a file from others: all but its name, where there is a fingerprint."""
    return {name: value for name, value in known.items() if name != "name" or not known.get("sha256")}

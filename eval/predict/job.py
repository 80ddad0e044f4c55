"""All that a process must know to label any stretch of the input, and to write it where it belongs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from salience.configuration.errors import UserError
from salience.eval.predict.output import Place
from salience.eval.predict.predictor import Predictor
from salience.eval.predict.rows import Input, Rejected, Stretch
from salience.eval.predict.writing import write_part
from salience.model_cards.files import sha256_of, whole_file

FEW_REJECTED = 10
"""So many never stop a prediction, unless they are all rows of the input."""


class Done(NamedTuple):
    """What became of a stretch."""

    rows: int
    rejected: int


@dataclass(frozen=True)
class Job:
    """A prediction, in stretches that any process can do in any order; it can be pickled.

    Attributes:
        predictor: Labels texts.
        inputs: The files.
        stretches: Of them, in order; the number of each is that of its part.
        place: Where the parts go.
        between: See `write_part`.
    """

    predictor: Predictor
    inputs: Sequence[Input]
    stretches: Sequence[Stretch]
    place: Place
    between: str

    def found(self, number: int) -> Done | None:
        """What became of a stretch that is done; None for one that isn't, or whose files were damaged since."""
        try:
            known = json.loads(self.place.record(number).read_bytes())
            files = known["sha256"].items()
            is_whole = all(sha256_of(self.place.folder / name) == digest for name, digest in files)
            return Done(known["rows"], known["rejected"]) if is_whole else None
        except (OSError, ValueError, KeyError):  # a file isn't there, or the record itself is damaged
            return None

    def rejected(self, number: int) -> int:
        """Rows without an answer of a stretch that is done, by whichever process."""
        return int(json.loads(self.place.record(number).read_bytes())["rejected"])

    def run(self, number: int, advance: Callable[[int], object] | None = None) -> Done:
        """Label the rows of a stretch, and write them and those that got no answer.

        Args:
            number: Of the stretch.
            advance: See `Predictor.answers`.

        Raises:
            UserError: A row that can't be read stops it all, or the file isn't the one that was divided.
        """
        stretch = self.stretches[number]
        source, predictor = self.inputs[stretch.file], self.predictor
        with source.unchanged():
            rows = source.read(stretch)
        if len(rows.places) + len(rows.rejected) != stretch.rows:
            raise source.changed()
        texts = predictor.texts(rows.texts)
        columns = " or ".join(f"'{name}'" for name in predictor.text_arguments.text_column)
        rejected = [
            Rejected(*place, f"it has no text in column {columns}")
            for place, text in zip(rows.places, texts, strict=True)
            if text is None
        ]
        rejected = sorted([*rows.rejected, *rejected])
        answers = predictor.answers(texts, advance)
        files = [self.place.part(number)]
        if rejected:
            files.append(self.place.rejected_part(number))
            with whole_file(files[1]) as file:
                file.writelines(_line(source.name, each) for each in rejected)
        write_part(files[0], source, rows, answers, predictor.added, self.between)
        done = Done(stretch.rows, len(rejected))
        with whole_file(self.place.record(number)) as file:
            file.write(json.dumps(done._asdict() | {"sha256": {each.name: sha256_of(each) for each in files}}).encode())
        if number + 1 == len(self.stretches) or self.stretches[number + 1].file != stretch.file:
            source.close()
        if advance:
            advance(stretch.rows - sum(text is not None for text in texts))
        return done


class Tally:
    """Counts rejected rows, and stops as soon as they are too many of all that there are.

    Args:
        share: Of the rows that may be.
        job: The prediction.
    """

    def __init__(self, share: float, job: Job) -> None:
        self.share, self.job, self.rejected = share, job, 0
        self.rows = sum(each.rows for each in job.stretches)

    def add(self, number: int, rejected: int) -> None:
        """Count a stretch.

        Args:
            number: Of it.
            rejected: Its rows that got no answer.

        Raises:
            UserError: More than the share of all rows were rejected.
        """
        self.rejected += rejected
        allowed = max(self.share * self.rows, FEW_REJECTED)
        if rejected and self.share < 1 and (self.rejected > allowed or self.rejected == self.rows):
            file = self.job.place.rejected_part(number)
            first = json.loads(file.read_text(encoding="utf-8").split("\n")[0])
            raise UserError(
                f"{self.rejected} of {self.rows} rows are rejected, as row {first['row']} of '{first['file']}': "
                f"{first['reason']}; look at {file}; go on with a higher --max_rejected, or mend "
                f"the input or its flags and choose another --output"
            )


def _line(name: str, rejected: Rejected) -> bytes:
    where = {"file": name, "row": rejected.row} | ({"line": rejected.line} if rejected.line else {})
    return (json.dumps(where | {"reason": rejected.reason}, ensure_ascii=False) + "\n").encode()

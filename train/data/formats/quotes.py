"""Finds quoted cells of a csv file that end in the middle of a cell, or that seem to have swallowed rows."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from salience.configuration.errors import UserError
from salience.train.data.formats.decoding import line_at

QUOTE, LINE_FEED, CARRIAGE_RETURN = b'"\n\r'
PUNCTUATION = b",;:"
DIGITS = np.frombuffer(b"0123456789", np.uint8)
WAY_OUT = "if quotes are letters like others in this file, pass --quoting none"


def swallows(closes: int) -> str:
    """What to say of a quoted cell that seems to have swallowed rows, and ends in line `closes`."""
    return (
        f"the quote that opens there is closed in line {closes} and swallows the rows between; {WAY_OUT}; if that cell "
        "is right, pass --quoting trusted"
    )


@dataclass(frozen=True)
class QuotedCells:
    """The quoted cells of a csv file.

    Attributes:
        content: The file.
        name: Of it, for the messages.
        separator: One byte.
        starts: Where each opening quote stands, (cells,).
        ends: Where each closing quote stands, (cells,).
    """

    content: pa.Buffer
    name: str
    separator: int
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def find(cls, content: pa.Buffer, name: str, separator: str) -> "QuotedCells":
        """Find the quoted cells.

        Raises:
            UserError: A quote isn't closed, or something else than a separator or a line's end follows a closing one.
        """
        data = np.frombuffer(content, np.uint8)
        found = _strict_cells(data, ord(separator))
        starts, ends = _lenient_cells(content, name, separator) if found is None else found
        return cls(content, name, ord(separator), starts, ends)

    def refuse_lone_returns(self) -> None:
        r"""Refuse a carriage return within a cell without quotes: readers take it for the end of a row.

        Raises:
            UserError: There is one, in a file whose lines end in \n or \r\n.
        """
        data = np.frombuffer(self.content, np.uint8)
        returns = np.flatnonzero(data[:-1] == CARRIAGE_RETURN)
        returns = returns[(data[returns + 1] != LINE_FEED) & (data[returns + 1] != CARRIAGE_RETURN)]
        is_inside = np.searchsorted(self.starts, returns) > np.searchsorted(self.ends, returns)
        if not is_inside.all() and (data == LINE_FEED).any():
            line = line_at(self.content, returns[~is_inside][0])
            raise UserError(
                f"'{self.name}' line {line} has a carriage return within it; quote that cell or take the character out"
            )

    def refuse_swallowed_rows(self, num_columns: int) -> None:
        """Refuse a cell of several lines that have as many cells as rows have.

        Args:
            num_columns: Cells of a row.

        Raises:
            UserError: There is such a cell.
        """
        for cell in self.swallowing(num_columns)[:1]:
            opens, closes = (line_at(self.content, each[cell]) for each in (self.starts, self.ends))
            raise UserError(f"'{self.name}' line {opens}: {swallows(closes)}")

    def swallowing(self, num_columns: int) -> np.ndarray:
        """Which cells hold several lines that have as many cells as rows have, (found,).

        Whether their labels are known tells nothing: a class may stand in swallowed rows only. Prose is told by the
        space or the line's end behind each comma, and decimal commas by their digits.

        Args:
            num_columns: Cells of a row.
        """
        data = np.frombuffer(self.content, np.uint8)
        lines = np.flatnonzero(data == LINE_FEED)
        if not len(lines):
            lines = np.flatnonzero(data == CARRIAGE_RETURN)
        first, last = np.searchsorted(lines, self.starts), np.searchsorted(lines, self.ends)
        several = np.flatnonzero(last > first)
        width = num_columns - 1
        if not width or not len(several):
            return several[:0]
        separators = np.flatnonzero(data == self.separator)
        is_prose = self._is_prose(data, separators)
        first, last = first[several], last[several]
        begin, end = (np.searchsorted(separators, each[several]) for each in (self.starts, self.ends))
        at_line = np.searchsorted(separators, lines)
        # The rest of a row and the beginning of another are one row together.
        outer = at_line[first] - begin + end - at_line[last - 1]
        found = []
        for cell in np.flatnonzero(outer == width):
            between = slice(first[cell], last[cell])
            is_blank = np.diff(lines[between]) <= 2  # \n or \r\n
            is_row = np.diff(at_line[between]) == width
            if (is_row | is_blank).all() and not is_prose[begin[cell] : end[cell]].all():
                found.append(several[cell])
        return np.array(found, np.int64)

    def _is_prose(self, data: np.ndarray, separators: np.ndarray) -> np.ndarray:
        """Whether each separator looks like a comma in prose or in a decimal number.

        That counts in a file whose rows have no space behind their separators, and no digits around any.
        """
        before, followed = data[np.maximum(separators - 1, 0)], data[np.minimum(separators + 1, len(data) - 1)]
        outside = np.searchsorted(self.starts, separators) == np.searchsorted(self.ends, separators)
        is_prose = np.zeros(len(separators), bool)
        if self.separator in PUNCTUATION and not (followed[outside] == ord(" ")).mean() > 0.5:
            is_prose |= np.isin(followed, [ord(" "), LINE_FEED, CARRIAGE_RETURN])
        is_decimal = np.isin(before, DIGITS) & np.isin(followed, DIGITS)
        if self.separator == ord(",") and not is_decimal[outside].any():
            is_prose |= is_decimal
        return is_prose


def _strict_cells(data: np.ndarray, separator: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The quoted cells where no quote stands elsewhere; None where one does."""
    quotes = np.flatnonzero(data == QUOTE)
    if len(quotes) % 2:
        return None
    opening, closing = quotes[0::2], quotes[1::2]
    if not len(quotes):
        return opening, closing
    is_border = np.zeros(256, bool)
    is_border[[separator, LINE_FEED, CARRIAGE_RETURN]] = True
    begins = is_border[data[np.maximum(opening - 1, 0)]] | (opening == 0)
    stops = is_border[data[np.minimum(closing + 1, len(data) - 1)]] | (closing == len(data) - 1)
    doubled = opening[1:] == closing[:-1] + 1  # "" inside of a cell
    if not (begins[0] and stops[-1] and (doubled | (begins[1:] & stops[:-1])).all()):
        return None
    return opening[np.r_[True, ~doubled]], closing[np.r_[~doubled, True]]


def _lenient_cells(content: pa.Buffer, name: str, separator: str) -> tuple[np.ndarray, np.ndarray]:
    """The quoted cells where quotes may stand inside of other cells, as in 5" or he said "no"."""
    border = rb"[%b\r\n]" % re.escape(separator.encode())
    cell = re.compile(rb'(?:\A|(?<=%b))"[^"]*(?:""[^"]*)*("(%b|\Z)?)?' % (border, border))
    spans = []
    for found in cell.finditer(memoryview(content)):
        if found[2] is not None:
            spans.append((found.start(), found.start(1)))
            continue
        line = line_at(content, found.start())
        if found[1] is None:
            raise UserError(f"'{name}' is malformed: the quote that opens in line {line} is never closed; {WAY_OUT}")
        closes = line_at(content, found.start(1))
        raise UserError(
            f"'{name}' is malformed: the quote that opens in line {line} is closed in line {closes}, where "
            f"neither a separator nor the line's end follows; {WAY_OUT}"
        )
    pairs = np.array(spans, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]

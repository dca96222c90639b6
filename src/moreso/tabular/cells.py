"""What the cells of a text column mean: numbers, dates, truth values, codes or text, and which of them are missing."""

import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from moreso.relations import DataError
from moreso.tabular.reading import levels_of

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "#NULL!", "NaT")
"""Cells that hold no value."""

CODES = 10
"""With more different numbers, a column of numbers and a few words holds measurements."""

DIGITS = 18
"""Whole numbers with more digits are codes, since they are no longer exact in 64 bits."""

LEAST_DATES = 3
"""With fewer different values, nothing looks like dates."""

SHOWN = 3
"""The most texts that a note names."""

ISO = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d{2}:?\d{2})?"
SPECIAL = r"[+-]?(?:inf|Inf|INF|infinity|Infinity)"


def interpret(
    cells: pa.ChunkedArray, name: str, kind: str | None = None, decimal: str = "."
) -> tuple["pd.Series[Any]", list[str]]:
    """Return a column of text as what it means, and notes about what was not plain.

    Args:
        cells: the text of each cell.
        name: the name of the column.
        kind: one of `moreso.tabular.reading.KINDS`, or ordered levels, if the user says so; else what the cells look
            like.
        decimal: the decimal mark.
    """
    # Few cells differ in most columns.
    coded = compute.utf8_trim_whitespace(cells).combine_chunks().dictionary_encode()
    values, codes = coded.dictionary, coded.indices.to_numpy(zero_copy_only=False)
    column = _Column(name, values, codes, np.bincount(codes, minlength=len(values)), decimal)
    if kind == "numbers":
        return column.numbers(), column.missing_notes(column.number)
    if kind == "dates":
        return column.dates(compact=True), column.missing_notes(column.iso | column.compact)
    if kind and (levels := levels_of(kind)):
        return column.levels(levels), []
    if kind == "text":
        return _text(cells, compute.equal(cells, "")).rename(name), []
    return column.guess(cells)


def _text(cells: pa.ChunkedArray, absent: pa.Array) -> "pd.Series[Any]":
    column: pd.Series[Any] = compute.if_else(absent, None, cells).to_pandas()
    return column


class _Column:
    """The different cells of a column.

    Args:
        name: the name of the column.
        values: the different cells.
        codes: which of them stands in each row.
        counts: how often each occurs.
        decimal: the decimal mark.
    """

    def __init__(self, name: str, values: pa.Array, codes: np.ndarray, counts: np.ndarray, decimal: str) -> None:
        self.name, self.values, self.codes, self.counts, self.decimal = name, values, codes, counts, decimal
        point, comma = (r"\.", ",") if decimal == "." else (",", r"\.")
        plain = rf"(?:\d+(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"
        grouped = rf"\d{{1,3}}(?:{comma}\d{{3}})+(?:{point}\d+)?"
        self.number = self._match(rf"[+-]?(?:{plain}|{grouped})") | self._match(SPECIAL)
        self.whole = self._match(r"[+-]?\d+")
        self.iso = self._match(ISO)
        self.compact = self._match(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
        self.missing = self._match("|".join(re.escape(each) for each in MISSING))

    def _match(self, pattern: str) -> np.ndarray:
        found: np.ndarray = compute.match_substring_regex(self.values, f"^(?:{pattern})$").to_numpy(
            zero_copy_only=False
        )
        return found.astype(bool)

    def _count(self, which: np.ndarray) -> int:
        return int(self.counts[which].sum())

    def guess(self, cells: pa.ChunkedArray) -> tuple["pd.Series[Any]", list[str]]:
        """Return the column as what it looks like, and notes."""
        held = ~self.missing
        odd = held & ~self.number
        texts = {str(each).casefold() for each in self.values.filter(pa.array(held)).to_pylist()}
        if not held.any():
            return pd.Series(np.full(len(self.codes), np.nan), name=self.name), []
        if texts <= {"true", "false"}:
            return self.booleans(), self.missing_notes(held)
        if self._count(held & self.iso) > self._count(held & ~self.iso):
            return self._dates_or_text(cells)
        if odd.any() and not self._measured(held, odd):
            return self.text(cells), self._text_notes(held, odd)
        if codes := self._codes(held):
            return self.text(cells), [f"column '{self.name}' holds {codes}: taken as categories."]
        return self.numbers(), self.missing_notes(self.number) + self._date_notes(held)

    def levels(self, levels: list[str]) -> "pd.Series[Any]":
        """Return the column as ordered categories.

        Raises:
            DataError: a cell is none of them.
        """
        held = self.values.filter(pa.array(~self.missing)).to_pylist()
        if other := [cell for cell in held if cell not in levels]:
            raise DataError(
                [
                    f"column '{self.name}' holds '{other[0]}', which is none of the levels {', '.join(levels)}. Name "
                    "all of them."
                ]
            )
        place = {level: index for index, level in enumerate(levels)}
        codes = np.array([place.get(str(cell), -1) for cell in self.values.to_pylist()], dtype=int)[self.codes]
        return pd.Series(pd.Categorical.from_codes(codes, pd.Index(levels), ordered=True), name=self.name)

    def _codes(self, held: np.ndarray) -> str:
        """Return what numbers are instead if they are none, in words."""
        if self._padded(held):
            return "codes with leading zeros"
        return f"whole numbers of more than {DIGITS} digits" if self._long(held) else ""

    def _date_notes(self, held: np.ndarray) -> list[str]:
        """Return a note if whole numbers look like dates."""
        if (held & ~self.compact).any() or held.sum() < LEAST_DATES:
            return []
        example = self.values.filter(pa.array(held))[0].as_py()
        return [
            f"column '{self.name}' holds whole numbers that look like dates ({example}): taken as numbers. If they are "
            f"dates, say so: --column {self.name}=dates."
        ]

    def _measured(self, held: np.ndarray, odd: np.ndarray) -> bool:
        """Whether a column with some texts holds measurements, and the texts stand for missing values."""
        numbers = held & self.number
        if self._count(numbers) < self._count(odd) or self._padded(held):
            return False
        letters = compute.match_substring_regex(self.values, r"\p{L}").to_numpy(zero_copy_only=False).astype(bool)
        return int(numbers.sum()) > CODES or not (odd & letters).any()

    def _padded(self, held: np.ndarray) -> bool:
        return bool((held & self._match(r"[+-]?0\d+")).any())

    def _long(self, held: np.ndarray) -> bool:
        return bool((held & self._match(rf"[+-]?\d{{{DIGITS + 1},}}")).any()) and not (held & ~self.whole).any()

    def _dates_or_text(self, cells: pa.ChunkedArray) -> tuple["pd.Series[Any]", list[str]]:
        try:
            return self.dates(compact=False), self.missing_notes(self.iso)
        except ValueError as error:
            first = str(error).splitlines()[0]
            return self.text(cells), [f"column '{self.name}' looks like dates and is not ({first}): taken as text."]

    def numbers(self) -> "pd.Series[Any]":
        """Return numbers: whole ones as integers, NaN or <NA> for other cells."""
        texts = self.values
        if self.decimal == ",":
            texts = compute.replace_substring(compute.replace_substring(texts, ".", ""), ",", ".")
        else:
            texts = compute.replace_substring(texts, ",", "")
        numbers = compute.cast(compute.if_else(pa.array(self.number), texts, None), pa.float64())
        present = self.number & (self.counts > 0)
        if not present.any() or (present & ~self.whole).any() or self._long(present):
            return self._spread(numbers.to_numpy(zero_copy_only=False))
        whole = [int(text) if on else 0 for text, on in zip(texts.to_pylist(), present, strict=True)]
        dtype = np.int64 if max(whole) < 2**63 and min(whole) >= -(2**63) else np.uint64
        integers = np.array(whole, dtype=dtype)[self.codes]
        absent = ~present[self.codes]
        if not absent.any():
            return pd.Series(integers, name=self.name)
        return pd.Series(pd.arrays.IntegerArray(integers, absent), name=self.name)

    def dates(self, *, compact: bool) -> "pd.Series[Any]":
        """Return dates, NaT for other cells.

        Raises:
            ValueError: a cell is no date of any calendar.
        """
        on = self.iso | (self.compact if compact else False)
        texts = pd.Series(self.values.to_pylist(), dtype=object).where(on, None)
        dashed = texts.str.replace(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", regex=True).str.replace(",", ".")
        zoned = bool((self._match(r".*(?:Z|\d[+-]\d{2}:?\d{2})") & self.iso).any())
        dates = pd.to_datetime(dashed, format="ISO8601", utc=zoned)
        return self._spread(dates)

    def booleans(self) -> "pd.Series[Any]":
        """Return truth values, <NA> for other cells."""
        on = np.array([str(each).casefold() == "true" for each in self.values.to_pylist()])[self.codes]
        absent = self.missing[self.codes]
        if not absent.any():
            return pd.Series(on, name=self.name)
        return pd.Series(pd.arrays.BooleanArray(on, absent), name=self.name)

    def text(self, cells: pa.ChunkedArray) -> "pd.Series[Any]":
        """Return text as it stands in the file, None where it is missing."""
        absent = self.missing & ~self._na if self._holds_codes() else self.missing
        return _text(cells, pa.array(absent[self.codes])).rename(self.name)

    @property
    def _na(self) -> np.ndarray:
        return self._match("NA")

    def _holds_codes(self) -> bool:
        """Whether all texts are of two capital letters, so that NA is one of them, as in Namibia's code."""
        held = ~self.missing
        return bool(self._na.any() and held.any() and not (held & ~self._match("[A-Z]{2}")).any())

    def missing_notes(self, meant: np.ndarray) -> list[str]:
        """Return a note if cells that are not empty are taken as missing.

        Args:
            meant: which of the different cells hold a value.
        """
        lost = ~meant & self._match(".+")
        if not lost.any():
            return []
        kept = f"{self._count(meant)} numbers and " if not (meant & ~self.number).any() else ""
        return [f"column '{self.name}' holds {kept}{self._name(lost)}: taken as missing."]

    def _text_notes(self, held: np.ndarray, odd: np.ndarray) -> list[str]:
        notes = []
        if (held & self.number).any():
            numbers = self._count(held & self.number)
            notes.append(
                f"column '{self.name}' holds {numbers} numbers and {self._name(odd)}: taken as categories. If these "
                f"are missing values, say so: --column {self.name}=numbers."
            )
        lost = self.missing & self._match(".+")
        if self._holds_codes():
            notes.append(f"column '{self.name}' holds codes of two letters: 'NA' was taken for one of them.")
            lost = lost & ~self._na
        if lost.any():
            notes.append(f"column '{self.name}' holds {self._name(lost)}: taken as missing.")
        return notes

    def _name(self, which: np.ndarray) -> str:
        """Return the texts in words, the most frequent first."""
        counts = Counter(dict(zip(self.values.to_pylist(), self.counts.tolist(), strict=True)))
        chosen = Counter({text: counts[text] for text in self.values.filter(pa.array(which)).to_pylist()})
        named = [f"'{text}' {'once' if count == 1 else f'{count} times'}" for text, count in chosen.most_common(SHOWN)]
        more = len(chosen) - len(named)
        return f"the text{'s' * (len(chosen) > 1)} {', '.join(named)}" + (f" and {more} others" if more else "")

    def _spread(self, values: Any) -> "pd.Series[Any]":
        whole: pd.Series[Any] = pd.Series(values).iloc[self.codes].reset_index(drop=True)
        return whole.rename(self.name)

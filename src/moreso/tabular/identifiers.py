"""Columns that only tell rows apart: found, not modelled, and replaced by new ones in samples."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moreso.tabular.dtypes import is_categorical
from moreso.tabular.foreign import plain

NEARLY_ALL = 0.9
"""The share of different values from which on texts only tell rows apart; an identifier may occur twice."""

LEAST = 4
"""Fewer rows show nothing."""

DENSE = 2
"""Whole numbers that all differ, in a range of at most this many times as many, number the rows."""

LEAST_DENSE = 20
"""In fewer rows, a few whole numbers differ by chance."""

WORDS = re.compile(
    r"(^|[_\W])(id|ids|uuid|guid|key|index|idx|nr|no|number|num|patient|subject|customer|client|person|"
    r"user|member|account|record|case|sample|mrn|ssn|serial)($|[_\W]|\d)|(?<=[a-z])(Id|ID|Nr|No)$",
    re.IGNORECASE,
)
"""Names that are given to identifiers."""

TIMES = re.compile(
    r"(^|[_\W])(t|time|date|day|days|hour|hours|minute|second|week|month|year|age|step|lag)($|[_\W]|\d)", re.IGNORECASE
)
"""Names of times and steps, which count on although they measure something."""

MEASURED = re.compile(r"\s*[^\w\s]?\d[\d.,]*\s*(%|[^\W\d]{0,4}(/[^\W\d]{1,3})?)\s*|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}.*")
"""Texts that are numbers with a unit, or dates: to be converted, not replaced."""

NUMBERED = re.compile(r"(\D*)(\d+)")


def find_identifiers(table: pd.DataFrame, named: Collection[object] = (), *, rows: int | None = None) -> list[str]:
    """Return the columns that hold identifiers: texts that nearly all differ, or whole numbers that number the rows.

    Whole numbers that all differ are identifiers if they run nearly without gaps, or if the column is called so.
    Dates written as whole numbers are not.

    Args:
        table: the rows.
        named: columns that statements name, which are features.
        rows: the number of rows in the whole table, if these are some of them.
    """
    once = table.columns[~table.columns.duplicated(keep=False)]
    share = 1.0 if rows is None or not len(table) else rows / len(table)
    return [name for name in once if name not in named and _tells_apart(plain(table[name]), str(name), share)]


def _tells_apart(column: "pd.Series[Any]", name: str, share: float) -> bool:
    present = column.dropna()
    if len(present) < LEAST:
        return False
    if is_categorical(column):
        if not all(isinstance(each, str) for each in present):
            return False
        different = present.nunique()
        return (
            different > 2
            and different >= NEARLY_ALL * len(present)
            and not present.astype(str).str.fullmatch(MEASURED).all()
        )
    if not pd.api.types.is_integer_dtype(column) or present.nunique() < len(present):
        return False
    if TIMES.search(name) or present.astype(str).str.fullmatch(r"(19|20)\d{2}[01]\d[0-3]\d").all():
        return False
    dense = len(present) >= LEAST_DENSE and int(present.max()) - int(present.min()) < DENSE * share * len(present)
    return dense or bool(WORDS.search(name))


@dataclass(frozen=True)
class Identifiers:
    """New identifiers that look like those of the training rows and are none of them.

    Args:
        prefix: what stands before the number.
        first: the first number; it has more digits than any in the training rows with this prefix.
        text: whether they are text; else they are the numbers alone.
    """

    prefix: str
    first: int
    text: bool
    width = 0

    @classmethod
    def fit(cls, column: "pd.Series[Any]", name: str) -> "Identifiers":
        """Learn what identifiers look like, and nothing else of them."""
        present = column.dropna()
        if not is_categorical(column):
            return cls("", 10 ** max(len(str(abs(int(each)))) for each in (present.min(), present.max())), text=False)
        texts = [str(each) for each in present.unique()]
        parts = [NUMBERED.fullmatch(each) for each in texts]
        stems = {part[1] if part else None for part in parts}
        if len(stems) == 1 and (stem := stems.pop()) is not None:
            return cls(stem, 10 ** max(len(part[2]) for part in parts if part), text=True)
        prefix = f"{name} "
        while any(each.startswith(prefix) for each in texts):
            prefix = f"new {prefix}"
        return cls(prefix, 1, text=True)

    def column(self, rows: int, start: int = 0) -> "pd.Series[Any]":
        """Return as many new identifiers, the same ones each time, after those that are left out at the start."""
        numbers = np.arange(self.first + start, self.first + start + rows)
        return pd.Series([f"{self.prefix}{number}" for number in numbers] if self.text else numbers)

"""What a fit needs to know of a table in partitions: how long they are, and rows that stand for all."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moreso.tabular.columns import find_one_hot
from moreso.tabular.dtypes import is_categorical
from moreso.tabular.encodings import CODES
from moreso.tabular.foreign import plain
from moreso.tabular.identifiers import find_identifiers
from moreso.tabular.problems import MIN_ROWS, as_table
from moreso.tabular.tasks import Frame, compute, join_results, task
from moreso.tabular.unobserved import Pair

REFERENCE = 50_000
"""The most evenly spaced rows of a reference sample."""

LEVELS = 1000
"""The most levels of a text column: each has a row in the reference sample."""

SHIFT = 40
"""A row is numbered by its partition, times 2 to this power, and its place there."""


@dataclass(frozen=True)
class Survey:
    """A table in partitions, as a fit sees it.

    The reference sample consists of evenly spaced rows. To these come, for every column, rows with its least and its
    greatest value, without a value, and with each of its levels or codes. So an encoder of the reference sample can
    encode every row.

    Args:
        data: the Dask DataFrame.
        parts: its partitions.
        counts: the number of rows in each of them.
        reference: the reference sample, in the order of the table.
        identifiers: the columns of identifiers.
    """

    data: Frame
    parts: tuple[Frame, ...]
    counts: tuple[int, ...]
    reference: pd.DataFrame
    identifiers: tuple[str, ...]

    @classmethod
    def of(cls, data: Frame, named: Collection[str] = (), identifiers: Collection[str] | None = None) -> "Survey":
        """Read a table, in two passes over its partitions; a third one if 0/1 columns look like one category.

        Args:
            data: a Dask DataFrame.
            named: columns that statements name, which hold no identifiers.
            identifiers: the columns of identifiers; by default `find_identifiers` finds them.
        """
        parts = tuple(data.to_delayed())
        lengths, outer = join_results([task(_outermost_of, part, number) for number, part in enumerate(parts)], _join)
        counts, rows = tuple(lengths), sum(lengths)
        even = _pick(parts, counts, evenly(rows, min(rows, REFERENCE)))
        if identifiers is None:
            identifiers = find_identifiers(_unite([even, outer]), named, rows=rows)
        # Levels of identifiers are as many as rows.
        outer = _outermost(outer, identifiers)
        reference = _unite([even, outer])
        while odd := _exceptions(parts, reference):
            reference = _unite([reference, *odd])
        reference = reference.reset_index(drop=True)
        return cls(data, parts, counts, reference, tuple(identifiers))

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(self.counts)

    def pick(self, places: np.ndarray) -> pd.DataFrame:
        """Return some rows by their places in the table, which must be in order."""
        return _pick(self.parts, self.counts, places).reset_index(drop=True)

    def problems(self) -> list[str]:
        """Return what keeps a table from being fitted in partitions that does not show in the reference sample."""
        found = []
        for name in self.reference.columns:
            column = plain(self.reference[name])
            if name not in self.identifiers and is_categorical(column) and _count(column) > LEVELS:
                found.append(
                    f"column '{name}' holds more than {LEVELS} different texts, which is the most for a table in "
                    "partitions. Leave it out, or put rare ones together; numbers or dates stored as text, convert."
                )
        return found

    def unobserved(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Return those of some pairs of columns that hardly any row has both values of, in the whole table."""
        if not pairs:
            return []
        together = join_results([task(_count_pairs, part, pairs) for part in self.parts], _add)
        return [pair for pair, count in zip(pairs, together, strict=True) if count < MIN_ROWS]


def evenly(rows: int, count: int, start: float = 0.0) -> np.ndarray:
    """Return the places of evenly spaced rows.

    Args:
        rows: the number of rows.
        count: how many of them.
        start: where the first one is between the first row and the next that is chosen, from 0 to below 1.

    >>> evenly(10, 5, 0.5).tolist()
    [1, 3, 5, 7, 9]
    """
    return ((np.arange(count) + start) * (rows / max(count, 1))).astype(np.int64)


def pick_rows(table: Frame, places: np.ndarray) -> pd.DataFrame:
    """Return some rows of a table in memory or in partitions, by their places, which must be in order."""
    if isinstance(table, pd.DataFrame):
        return as_table(table).iloc[places]
    parts = tuple(table.to_delayed())
    return _pick(parts, compute([task(len, part) for part in parts]), places).reset_index(drop=True)


def places_in(counts: Sequence[int], places: np.ndarray) -> list[np.ndarray]:
    """Return which rows of each partition are at some places in the table, which must be in order.

    Args:
        counts: the number of rows in each partition.
        places: the places in the table.

    >>> [own.tolist() for own in places_in([3, 0, 2], np.array([0, 2, 4]))]
    [[0, 2], [], [1]]
    """
    ends = np.cumsum(counts)
    cuts = np.searchsorted(places, ends)
    return [own - (end - count) for own, end, count in zip(np.split(places, cuts[:-1]), ends, counts, strict=True)]


def _pick(parts: Sequence[Frame], counts: Sequence[int], places: np.ndarray) -> pd.DataFrame:
    """Return rows by their places in the table, numbered."""
    owned = enumerate(zip(parts, places_in(counts, places), strict=True))
    tasks = [task(_rows_of, part, number, own) for number, (part, own) in owned if len(own)]
    return _unite(compute(tasks))


def _rows_of(frame: pd.DataFrame, number: int, places: np.ndarray) -> pd.DataFrame:
    return as_table(frame).iloc[places].set_axis((number << SHIFT) + places, axis=0)


def _outermost_of(frame: pd.DataFrame, number: int) -> tuple[list[int], pd.DataFrame]:
    """Return the number of rows in a partition, and its outermost ones."""
    rows = _rows_of(frame, number, np.arange(len(frame)))
    return [len(rows)], _outermost(rows)


def _join(*found: tuple[list[int], pd.DataFrame]) -> tuple[list[int], pd.DataFrame]:
    """Return the numbers of rows in several partitions, and the outermost rows of all of them."""
    return [count for counts, _ in found for count in counts], _outermost(_unite([rows for _, rows in found]))


def _outermost(table: pd.DataFrame, identifiers: Collection[str] = ()) -> pd.DataFrame:
    """Return the rows that hold what is least, greatest, longest, missing, or one of few values in any column.

    Outermost rows of outermost rows are those of all rows, so that partitions may be joined in any order.

    Args:
        table: the rows.
        identifiers: columns of which levels do not count.
    """
    chosen: set[int] = set()
    for index, name in enumerate(table.columns):
        column = plain(table.iloc[:, index])
        missing = column.isna().to_numpy()
        present = np.flatnonzero(~missing)
        chosen.update(np.flatnonzero(missing)[:1].tolist())
        if len(present):
            chosen.update(present[_ends(column.iloc[present], levels=name not in identifiers)].tolist())
    return table.iloc[sorted(chosen)]


def _ends(column: "pd.Series[Any]", *, levels: bool) -> list[int]:
    """Return the places of the least, the greatest, the longest, and of each of few values."""
    try:
        if is_categorical(column):
            codes, values = pd.factorize(column)
            longest = int(np.argmax([len(str(value)) for value in values]))
            firsts = np.unique(codes, return_index=True)[1]
            return [int(firsts[longest]), *(sorted(firsts.tolist())[: LEVELS + 1] if levels else ())]
        found = [] if pd.api.types.is_bool_dtype(column) else [int(column.argmin()), int(column.argmax())]
        if levels and column.iloc[: 100 * CODES].nunique() <= CODES and column.nunique() <= CODES:
            found += np.unique(pd.factorize(column)[0], return_index=True)[1].tolist()
        return found
    except (TypeError, ValueError):
        # Nested values and complex numbers, which are no columns of a model.
        return [0]


def _count(column: "pd.Series[Any]") -> int:
    try:
        return int(column.nunique())
    except TypeError:
        return 0


def _unite(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several frames, numbered alike, in order and each once."""
    found = list(frames)
    full = [frame for frame in found if len(frame)] or found[:1]
    names = full[0].columns
    if names.is_unique:
        for name in names:
            own = [frame[name].dtype for frame in full]
            if all(isinstance(dtype, pd.CategoricalDtype) for dtype in own) and any(dtype != own[0] for dtype in own):
                # Partitions may know different categories of one column.
                dtype = pd.api.types.union_categoricals(
                    [frame[name].iloc[:0] for frame in full], ignore_order=True
                ).dtype
                full = [frame.astype({name: dtype}) for frame in full]
    table = pd.concat(full)
    return table[~table.index.duplicated()].sort_index()


def _exceptions(parts: Sequence[Frame], reference: pd.DataFrame) -> list[pd.DataFrame]:
    """Return rows that do not have exactly one 1 in columns which look like one category in the reference sample."""
    groups = find_one_hot(reference)
    if not groups:
        return []
    tasks = [task(_exceptions_of, part, number, groups) for number, part in enumerate(parts)]
    return [rows for rows in compute(tasks) if len(rows)]


def _exceptions_of(frame: pd.DataFrame, number: int, groups: Sequence[Sequence[str]]) -> pd.DataFrame:
    table = as_table(frame)
    chosen = []
    for names in groups:
        numbers = np.stack([plain(table[name]).to_numpy(dtype=float, na_value=np.nan) for name in names], axis=1)
        whole = np.isin(numbers, (0, 1)).all(axis=1) & (numbers.sum(axis=1) == 1)
        chosen += np.flatnonzero(~whole)[:1].tolist()
    return _rows_of(frame, number, np.array(sorted(set(chosen)), dtype=np.int64))


def _add(*counts: np.ndarray) -> np.ndarray:
    return np.sum(counts, axis=0)


def _count_pairs(frame: pd.DataFrame, pairs: Sequence[Pair]) -> np.ndarray:
    """Return how many rows have both values of each pair of columns."""
    known = as_table(frame).notna()
    return np.array([int((known[one] & known[other]).sum()) for one, other in pairs])

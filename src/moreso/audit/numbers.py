"""A table as numbers on comparable scales: what an audit measures."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moreso.relations import Relation
from moreso.tables import as_numbers, is_categorical

MAX_ROWS = 5000
"""Rows that fix bandwidths, and that relations between groups of columns use; evenly spaced."""

LONG = 100_000
"""Tables with more rows are audited in single precision, whose error is far below their standard errors."""

CORRELATED = 0.2
"""Rows are taken as ordered in time where neighbouring rows correlate by more than this, over half of the columns."""

BLOCKS = 20
"""Least number of blocks that rows ordered in time are cut into."""


@dataclass(frozen=True)
class Numbers:
    """A table in standard deviations of its ruler.

    A categorical feature of more than two levels becomes a column a level, scaled together, so that any two levels are
    equally far apart.

    Args:
        rows: the table; NaN where a value is missing.
        ruler: the rows that fix bandwidths, at most 5000.
        parts: feature -> the names of its columns.
        levels: how many levels each categorical feature has.
    """

    rows: np.ndarray
    ruler: np.ndarray
    parts: dict[str, tuple[str, ...]]
    levels: dict[str, int]

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return [column for part in self.parts.values() for column in part]

    def expand(self, relation: Relation) -> Relation:
        """Return the relation between the columns that its features became."""
        return expand(relation, self.parts)


def numbers(data: pd.DataFrame, ruler: pd.DataFrame, features: Iterable[str]) -> Numbers:
    """Return a table as numbers, in standard deviations of the ruler's columns.

    Long tables are kept in single precision, column by column, so that a million rows fit beside the table itself.

    Args:
        data: holds the features.
        ruler: fixes scales, in the same columns.
        features: those that are used.
    """
    names = list(features)
    levels = {name: _levels(data[name], ruler[name]) for name in names if is_categorical(ruler[name])}
    parts = {name: part_names(name, len(levels.get(name, ()))) for name in names}
    width = sum(map(len, parts.values()))
    rows = np.empty((len(data), width), dtype=np.float32 if len(data) > LONG else np.float64)
    scale = np.empty((len(thin(ruler)), width))
    start = 0
    for name in names:
        part = slice(start, start + len(parts[name]))
        measure, own = (_encode(table[name], levels.get(name)) for table in (ruler, data))
        mean, deviation = np.nanmean(measure, axis=0), np.sqrt(np.nanvar(measure, axis=0).sum())
        scale[:, part] = (thin(measure) - mean) / deviation
        rows[:, part] = (own - mean) / deviation
        start = part.stop
    return Numbers(rows, scale, parts, {name: len(found) for name, found in levels.items()})


def _levels(*columns: "pd.Series[Any]") -> list[Any]:
    return list(dict.fromkeys(value for column in columns for value in sorted(column.dropna().unique(), key=str)))


def part_names(name: str, levels: int) -> tuple[str, ...]:
    """Return the names of the columns that a feature becomes; without levels or with two of them, its own."""
    # A name may not hold a line break in a table, so these cannot collide.
    return (name,) if levels <= 2 else tuple(f"{name}\n{i}" for i in range(levels))


def expand(relation: Relation, parts: Mapping[str, tuple[str, ...]]) -> Relation:
    """Return the relation between the columns that its features became."""
    ref, plus, minus = ([c for name in group for c in parts[name]] for group in relation.groups)
    return Relation(ref, plus, minus, relation.confidence, relation.reason)


def _encode(column: "pd.Series[Any]", levels: list[Any] | None) -> np.ndarray:
    """Return a column as one or more columns of numbers."""
    if levels is None:
        return as_numbers(column)[:, None]
    # As objects, since a categorical column may have categories that never occur.
    codes = pd.Categorical(column.astype(object), categories=levels).codes
    indicators = (codes[:, None] == np.arange(len(levels))).astype(float)
    indicators[codes < 0] = np.nan
    return indicators if len(levels) > 2 else indicators[:, :1]


def block_length(rows: np.ndarray) -> int:
    """Return how many rows in a row hang together, 1 where their order does not matter.

    The first lag, by powers of two, at which the autocorrelation of half of the columns has faded; but at most a
    twentieth of the rows.
    """
    n = len(rows)
    if n < 2 * BLOCKS:
        return 1
    filled = np.nan_to_num(rows[:LONG])
    filled = filled - filled.mean(axis=0)
    variance = np.square(filled).mean(axis=0)
    variance[variance == 0] = np.inf

    def correlation(lag: int) -> float:
        return float(np.median(np.abs((filled[lag:] * filled[:-lag]).mean(axis=0) / variance)))

    noise = 2 / np.sqrt(len(filled))
    if correlation(1) <= max(CORRELATED, 2 * noise):
        return 1
    lag = 2
    while lag < n // BLOCKS and correlation(lag) > max(CORRELATED / 2, noise):
        lag *= 2
    return min(2 * lag, n // BLOCKS)


def thin(rows: Any) -> Any:
    """Return at most `MAX_ROWS` rows of a table, an array or a tensor, evenly spaced."""
    return rows[:: -(-len(rows) // MAX_ROWS)]


def halves(blocks: np.ndarray, most: int, splits: int) -> Iterator[np.ndarray]:
    """Yield the rows of random half-samples, both halves of each split; rows of one block stay together.

    Args:
        blocks: the block of each row, from 0 on.
        most: rows of a half-sample; longer ones are thinned evenly.
        splits: how many splits.
    """
    random = np.random.default_rng(0)
    count = int(blocks.max()) + 1
    for _ in range(splits):
        first = random.permutation(count) < count // 2
        for chosen in (first[blocks], ~first[blocks]):
            rows = np.flatnonzero(chosen)
            yield rows[:: -(-len(rows) // most)]

"""The view of columns that audits, regularizers and reports share, for data and for samples.

A number is one column, in standard deviations of a reference sample. Two levels are one column; three or more are one
column each, with a common scale, so that any two levels are equally far apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from moreso.relations import Direction, Knowledge, KnowledgeError, Relation, Statement
from moreso.tabular.dtypes import as_numbers, is_categorical, is_time, level_order, level_text, rank_levels
from moreso.tabular.foreign import plain

if TYPE_CHECKING:
    from torch import Tensor

MAX_ROWS = 5000
"""The most rows that fix bandwidths or that relations between groups of columns use; evenly spaced."""

LONG = 100_000
"""Longer tables are measured in single precision, whose error is far below their standard errors."""

Numbers = TypeVar("Numbers", np.ndarray, "Tensor")
Rows = TypeVar("Rows", np.ndarray, pd.DataFrame, "Tensor")


@dataclass(frozen=True)
class Scaling:
    """Puts one feature on a comparable scale: (x - mean) / scale.

    Args:
        mean: the mean of each of its columns in a reference sample.
        scale: the square root of the sum of the columns' variances in the reference sample.
    """

    mean: tuple[float, ...]
    scale: float

    @classmethod
    def of(cls, reference: np.ndarray) -> "Scaling":
        """Learn the scaling of a reference sample (rows, columns); NaN is a missing value."""
        # Squares of very small numbers would underflow. Multiplication by a power of two is exact.
        power = int(np.frexp(np.nanmax(np.abs(reference)))[1])
        scale = float(np.ldexp(np.sqrt(np.nanvar(np.ldexp(reference, -power), axis=0).sum()), power))
        return cls(tuple(np.nanmean(reference, axis=0).tolist()), scale)

    def __call__(self, x: Numbers) -> Numbers:
        """Return the columns of the same feature in other rows (an array or a tensor) on this scale."""
        if len(self.mean) == 1:
            return (x - self.mean[0]) / self.scale
        mean = np.array(self.mean) if isinstance(x, np.ndarray) else x.new_tensor(self.mean)
        return (x - mean) / self.scale


@dataclass(frozen=True)
class Measured:
    """Rows of a table as numbers on comparable scales.

    Args:
        rows: the table; NaN for a missing value.
        reference: the rows that fix bandwidths, at most 5000, on the same scales.
        parts: feature -> the names of its columns.
        levels: the number of levels of each categorical feature.
        ranks: categorical feature with a direction -> the name of one more column, the place of its level.
    """

    rows: np.ndarray
    reference: np.ndarray
    parts: dict[str, tuple[str, ...]]
    levels: dict[str, int]
    ranks: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return [column for part in self.parts.values() for column in part] + list(self.ranks.values())


@dataclass(frozen=True)
class Scales:
    """How the features of a table become numbers on comparable scales.

    Args:
        levels: categorical feature -> its levels, as text.
        orders: categorical feature with a direction -> the place of each level.
        origins: feature of times -> the time that becomes 0.
        scalings: feature, or the column of places of its levels -> its scaling.
    """

    levels: Mapping[str, Sequence[str]]
    orders: Mapping[str, Mapping[str, int]]
    origins: Mapping[str, Any]
    scalings: Mapping[str, Scaling]

    @classmethod
    def of(cls, reference: pd.DataFrame, names: Sequence[str], directed: Iterable[str], data: pd.DataFrame) -> "Scales":
        """Learn the scales of a reference sample.

        Args:
            reference: the rows that fix the scales.
            names: the features.
            directed: those that directions name.
            data: the rows that are to be measured, which may have other levels.
        """
        levels = {
            name: _levels(data[name], reference[name])
            for name in names
            if is_categorical(reference[name]) or is_categorical(data[name])
        }
        orders = {
            name: level_order(reference[name]) or level_order(data[name]) or {} for name in directed if name in levels
        }
        origins = {name: reference[name].min() for name in names if is_time(reference[name])}
        bare = cls(levels, orders, origins, {})
        scalings = {name: Scaling.of(values) for name, values in bare.columns(reference, names)}
        return cls(levels, orders, origins, scalings)

    @property
    def ranks(self) -> dict[str, str]:
        """Categorical feature with a direction -> the name of one more column, the place of its level."""
        return {name: rank_name(name) for name in self.orders}

    def parts(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return feature -> the names of its columns."""
        return {name: part_names(name, len(self.levels.get(name, ()))) for name in names}

    def columns(self, table: pd.DataFrame, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the columns of each feature of a table as numbers, not scaled yet, and then the places of levels."""
        for name in names:
            own = table[name]
            if name in self.origins:
                yield name, as_numbers(own, self.origins[name])[:, None]
            else:
                yield name, _encode(own, self.levels.get(name))
        for name, order in self.orders.items():
            yield rank_name(name), rank_levels(table[name], order).to_numpy(dtype=float)[:, None]

    def measure(self, table: pd.DataFrame, names: Sequence[str], dtype: type = np.float64) -> np.ndarray:
        """Return the rows of a table as numbers on these scales, column by column, so that little is in memory."""
        width = sum(map(len, self.parts(names).values())) + len(self.orders)
        rows: np.ndarray = np.empty((len(table), width), dtype=dtype)
        start = 0
        for name, values in self.columns(table, names):
            rows[:, start : start + values.shape[1]] = self.scalings[name](values)
            start += values.shape[1]
        return rows


def measure(
    data: pd.DataFrame, reference: pd.DataFrame, features: Iterable[str], directed: Iterable[str] = ()
) -> Measured:
    """Return a table as numbers, on the scales of a reference sample.

    Long tables are kept in single precision, column by column, so that a million rows fit beside the table itself.

    Args:
        data: the table, with the features as columns.
        reference: the rows that fix the scales, with the same columns.
        features: the features to use.
        directed: those that directions name; their levels must have an order.
    """
    names = list(features)
    data, reference = (plain_table(table, names) for table in (data, reference))
    scales = Scales.of(reference, names, directed, data)
    rows = scales.measure(data, names, np.float32 if len(data) > LONG else np.float64)
    counts = {name: len(found) for name, found in scales.levels.items()}
    return Measured(rows, scales.measure(thin(reference), names), scales.parts(names), counts, scales.ranks)


def plain_table(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Return some columns of a table in dtypes of NumPy or pandas itself."""
    return pd.DataFrame({name: plain(table[name]) for name in names})


def _levels(*columns: "pd.Series[Any]") -> list[str]:
    """Return the levels of columns, as text: the number 1 and '1' are one level."""
    return list(dict.fromkeys(level_text(each) for own in columns for each in sorted(own.dropna().unique(), key=str)))


def _encode(column: "pd.Series[Any]", levels: Sequence[str] | None) -> np.ndarray:
    """Return a column as one or more columns of numbers."""
    if levels is None:
        return as_numbers(column)[:, None]
    rows, own = pd.factorize(column)
    place = {level: index for index, level in enumerate(levels)}
    # Missing values have the code -1, and so the last place.
    codes = np.array([*(place[level_text(each)] for each in own), -1])[rows]
    indicators = (codes[:, None] == np.arange(len(levels))).astype(float)
    indicators[codes < 0] = np.nan
    return indicators if len(levels) > 2 else indicators[:, :1]


def part_names(name: str, levels: int) -> tuple[str, ...]:
    """Return the names of the columns that a feature becomes; with at most two levels, its own name."""
    # These names collide with no others, unless names of table columns contain line breaks.
    return (name,) if levels <= 2 else tuple(f"{name}\n{i}" for i in range(levels))


def rank_name(name: str) -> str:
    """Return the name of the column that holds the place of a categorical feature's level."""
    return f"{name}\nrank"


def expand(
    knowledge: Knowledge, parts: Mapping[str, tuple[str, ...]], ranks: Mapping[str, str] = MappingProxyType({})
) -> Knowledge:
    """Return the statements between the columns that features became, in the same order.

    Args:
        knowledge: the statements about features.
        parts: feature -> the names of its columns.
        ranks: feature -> the name of the column for its directions, if it is another one.

    Raises:
        KnowledgeError: a name is not a feature, or a direction names a feature of several columns.
    """
    knowledge.check(list(parts))
    if several := [name for name in knowledge.directed if name not in ranks and len(parts[name]) > 1]:
        raise KnowledgeError(
            f"'{name}' is measured as categories, and nothing rises or falls with them. Leave out its sign."
            for name in several
        )

    def column(name: str) -> str:
        return ranks[name] if name in ranks else parts[name][0]

    found: list[Statement] = []
    for each in knowledge:
        rest = each.confidence, each.reason
        if isinstance(each, Direction):
            found.append(Direction(column(each.ref), column(each.other), each.sign, *rest))
        else:
            ref, plus, minus = ([part for name in group for part in parts[name]] for group in each.groups)
            found.append(Relation(ref, plus, minus, *rest))
    return Knowledge(tuple(found))


def thin(rows: Rows) -> Rows:
    """Return at most `MAX_ROWS` rows of a table, an array or a tensor, evenly spaced."""
    return rows[:: -(-len(rows) // MAX_ROWS)]

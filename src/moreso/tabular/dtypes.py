"""How pandas stores a column: conversion from any dtype to numbers, and back to the same dtype."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

EXACT = 2**53
"""Integers up to this size are exact in double precision."""

DECIMALS = 6
"""Numbers with at most so many decimals are sampled with as many."""


def is_categorical(column: "pd.Series[Any]") -> bool:
    """Return whether a column holds levels, such as text, instead of numbers, booleans or times."""
    return not (pd.api.types.is_numeric_dtype(column) or is_time(column))


def is_time(column: "pd.Series[Any]") -> bool:
    """Return whether a column holds datetimes or timedeltas."""
    return pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column)


def level_order(column: "pd.Series[Any]") -> dict[str, int] | None:
    """Return the place of each level, as text, in the order of the levels: of ordered categories, and False < True.

    It is None for levels without an order.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        return {level_text(level): place for place, level in enumerate(dtype.categories)}
    levels = column.dropna().unique()
    if len(levels) and all(isinstance(level, bool | np.bool_) for level in levels):
        return {level_text(False): 0, level_text(True): 1}
    return None


def rank_levels(column: "pd.Series[Any]", order: Mapping[str, int] | None = None) -> "pd.Series[Any]":
    """Return the place of each value in the order of the levels, NaN for missing values; the column itself without one.

    Args:
        column: the column.
        order: the place of each level, as text; by default its own.
    """
    if order is None and is_categorical(column):
        order = level_order(column)
    if order is None:
        return column
    codes, levels = pd.factorize(column)
    # Missing values have the code -1, and so the last place.
    places = np.array([*(order.get(level_text(each), np.nan) for each in levels), np.nan])
    return pd.Series(places[codes], column.index, name=column.name)


def as_numbers(column: "pd.Series[Any]", origin: Any = None) -> np.ndarray:
    """Return a column of numbers, booleans or times (in days) as floats, NaN for missing values.

    Args:
        column: the column.
        origin: the time that becomes 0; by default the first of the column.
    """
    if is_time(column):
        first = column.min() if origin is None else origin
        return ((column - first) / pd.Timedelta(days=1)).to_numpy(dtype=float, na_value=np.nan)
    return column.to_numpy(dtype=float, na_value=np.nan)


@dataclass(frozen=True)
class Storage:
    """The form of a column: numbers, integers, booleans, datetimes, timedeltas, or levels.

    Args:
        form: "number", "integer", "boolean", "datetime", "timedelta" or "levels".
        dtype: the dtype as pandas writes it; for "category", the next three arguments describe it.
        categories: the categories of a categorical dtype, in order, or None.
        index: the dtype of the categories.
        ordered: whether the categories have an order.
        labels: the levels that occur, sorted as text.
        base: the least time or large integer, from which steps are counted.
        top: the greatest time or large integer.
        step: the greatest common divisor of times, in their unit.
        unit: the unit of times.
        zone: the time zone, or None.
        decimals: the most decimals of numbers, None if they have many.
    """

    form: str
    dtype: str
    categories: tuple[Any, ...] | None = None
    index: str = ""
    ordered: bool = False
    labels: tuple[Any, ...] = ()
    base: int = 0
    top: int = 0
    step: int = 1
    unit: str = ""
    zone: str | None = None
    decimals: int | None = None

    @property
    def integer(self) -> bool:
        """Whether the numbers are integers."""
        return self.form not in ("number", "levels")

    @property
    def ranks(self) -> tuple[int, ...] | None:
        """The place of each label in the order of the levels, or None if they have no order."""
        if self.labels and all(isinstance(label, bool) for label in self.labels):
            return tuple(map(int, self.labels))
        if not self.ordered or self.categories is None:
            return None
        return tuple(self.categories.index(label) for label in self.labels)

    @property
    def time(self) -> bool:
        """Whether the values are times or durations."""
        return self.form in ("datetime", "timedelta")

    @classmethod
    def of(cls, column: "pd.Series[Any]") -> "Storage":
        """Learn the form of a column that `column_problems` accepts."""
        kinds, present, dtype = pd.api.types, column.dropna(), _written(column.dtype)
        if is_categorical(column):
            labels = tuple(map(_plain, sorted(present.unique(), key=str)))
            if not isinstance(column.dtype, pd.CategoricalDtype):
                return cls("levels", dtype, labels=labels)
            index, ordered = column.dtype.categories, bool(column.dtype.ordered)
            return cls("levels", dtype, tuple(map(_plain, index)), _written(index.dtype), ordered, labels)
        if kinds.is_datetime64_any_dtype(column) or kinds.is_timedelta64_dtype(column):
            ticks, unit, zone = _ticks(present)
            base, top = (int(ticks.min()), int(ticks.max())) if len(ticks) else (0, 0)
            step = int(np.gcd.reduce(_between(ticks, base))) if len(ticks) else 1
            form = "timedelta" if kinds.is_timedelta64_dtype(column) else "datetime"
            return cls(form, dtype, base=base, top=top, step=max(step, 1), unit=unit, zone=zone)
        if kinds.is_bool_dtype(column):
            return cls("boolean", dtype)
        if kinds.is_integer_dtype(column):
            low, high = (int(present.min()), int(present.max())) if len(present) else (0, 0)
            return cls("integer", dtype, base=low, top=high) if max(-low, high) > EXACT else cls("integer", dtype)
        return cls("number", dtype, decimals=_decimals(present))

    def numbers(self, column: "pd.Series[Any]") -> np.ndarray:
        """Return a column as floats: NaN for missing values, -1 for unknown levels.

        Values count as what they mean, whatever their dtype: the number 1 is the text '1', and '2024-01-31' a date.

        Raises:
            ValueError, TypeError: values of this dtype cannot be meant.
        """
        result = np.full(len(column), np.nan)
        held = ~column.isna().to_numpy()
        present = self._meant(column[held])
        if self.form == "levels":
            place = {label: index for index, label in enumerate(self.labels)}
            meant = {level_text(label): index for label, index in place.items()}
            codes, levels = pd.factorize(present)
            found = [place.get(_plain(level), meant.get(level_text(level), -1)) for level in levels]
            result[held] = np.array(found, dtype=float)[codes]
        elif self.time:
            ticks, unit, _ = _ticks(present)
            if unit != self.unit:
                ticks = ticks.astype(f"m8[{unit}]").astype(f"m8[{self.unit}]").astype(np.int64)
            result[held] = np.where(ticks < self.base, -1.0, 1.0) * _between(ticks, self.base) / self.step
        elif self.base:
            result[held] = [int(value) - self.base for value in present]
        else:
            result[held] = present.to_numpy(dtype=float)
        return result

    def _meant(self, present: "pd.Series[Any]") -> "pd.Series[Any]":
        """Return text as numbers or times if this column holds them."""
        if self.form == "levels" or not len(present) or not is_categorical(present):
            return present
        text = present.astype(object)
        if self.form == "datetime":
            return pd.to_datetime(text, utc=self.zone is not None)
        if self.form == "timedelta":
            return pd.to_timedelta(text)
        return text.astype(str).str.casefold().eq("true") if self.form == "boolean" else pd.to_numeric(text)

    def column(self, numbers: np.ndarray, name: str, missing: np.ndarray | None = None) -> "pd.Series[Any]":
        """Return numbers as a column of the dtype, with missing values at the rows that `missing` marks."""
        filled = np.where(np.isnan(numbers), 0, numbers)
        values: Any
        if self.form == "levels":
            labels = np.empty(len(self.labels) + 1, dtype=object)
            labels[: len(self.labels)] = [_rich(label) for label in self.labels]
            values = labels[filled.astype(int)]
        elif self.time:
            ticks = self._steps(filled).astype(np.int64)
            values = pd.TimedeltaIndex(ticks.astype(f"m8[{self.unit}]"))
            if self.form == "datetime":
                values = pd.DatetimeIndex(ticks.astype(f"M8[{self.unit}]"))
                values = values if self.zone is None else values.tz_localize("UTC").tz_convert(self.zone)
        elif self.form == "boolean":
            values = filled > 0.5
        elif self.form == "integer":
            values = self._steps(filled)
        else:
            values = numbers if self.decimals is None else numbers.round(self.decimals)
        result = pd.Series(values, name=name, dtype=object if self.form == "levels" else None)
        if missing is not None and missing.any() and self.form == "levels":
            result = result.where(~missing, None)
        result = result.astype(self._dtype())
        if missing is not None and missing.any() and self.form != "levels":
            result = result.where(~missing)
        return result

    def _steps(self, count: np.ndarray) -> np.ndarray:
        """Return the integers at these numbers of steps from the base."""
        if not self.top and not self.base:
            return count.astype(np.int64)
        found = [min(self.base + self.step * int(each), self.top) for each in count]
        return np.array(found, dtype=np.uint64 if self.top >= 2**63 else np.int64)

    def _dtype(self) -> Any:
        if self.categories is None:
            return pd.api.types.pandas_dtype(self.dtype)
        index = pd.Index([_rich(label) for label in self.categories], dtype=pd.api.types.pandas_dtype(self.index))
        return pd.CategoricalDtype(index, self.ordered)

    def to_state(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Storage":
        """Return what `to_state` wrote."""
        lists = {name: tuple(map(_tuple, value)) for name, value in state.items() if isinstance(value, list)}
        return cls(**(state | lists))


def _decimals(present: "pd.Series[Any]") -> int | None:
    """Return the least number of decimals that all numbers have, None if it exceeds `DECIMALS`."""
    # In their own precision, where 0.1 has one decimal.
    single = str(present.dtype).lower() == "float32"
    x = present.to_numpy(dtype=np.float32 if single else float)
    if not len(x) or not np.isfinite(x).all() or np.abs(x).max() > EXACT:
        return None
    return next((places for places in range(DECIMALS + 1) if np.array_equal(x.round(places), x)), None)


def level_text(level: Any) -> str:
    """Return what a level means as text: 1, 1.0 and '1' are the same."""
    plain = level.item() if isinstance(level, np.generic) else level
    return str(int(plain) if isinstance(plain, float) and plain.is_integer() else plain)


def _written(dtype: Any) -> str:
    """Return a dtype as text that pandas can read back."""
    if isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA:
        return f"string[{dtype.storage}]"
    return str(dtype)


def is_kept(dtype: Any) -> bool:
    """Return whether samples can be returned in this dtype."""
    try:
        return bool(isinstance(dtype, pd.CategoricalDtype) or pd.api.types.pandas_dtype(_written(dtype)) == dtype)
    except (TypeError, ValueError):
        return False


def _between(ticks: np.ndarray, base: int) -> np.ndarray:
    """Return distances of integers from a base; they may exceed the range of the integers."""
    bases = np.full(len(ticks), base)
    return np.where(ticks < base, bases - ticks, ticks - bases).view(np.uint64)


def _ticks(present: "pd.Series[Any]") -> tuple[np.ndarray, str, str | None]:
    """Return times as integers, with their unit and zone."""
    if pd.api.types.is_timedelta64_dtype(present):
        difference = pd.TimedeltaIndex(present)
        return difference.asi8, difference.unit, None
    index = pd.DatetimeIndex(present)
    return index.asi8, index.unit, None if index.tz is None else str(index.tz)


def _plain(label: Any) -> Any:
    """Return a level as a JSON value."""
    if isinstance(label, pd.Interval):
        return ("interval", _plain(label.left), _plain(label.right), label.closed)
    if isinstance(label, pd.Timestamp):
        return ("time", label.isoformat(), label.unit)
    if isinstance(label, np.generic):
        return label.item()
    return str(label) if isinstance(label, str) else label


def _tuple(label: Any) -> Any:
    return tuple(map(_tuple, label)) if isinstance(label, list) else label


def _rich(label: Any) -> Any:
    """Return the level that `_plain` converted."""
    if not isinstance(label, tuple):
        return label
    if label[0] == "time":
        return pd.Timestamp(label[1]).as_unit(label[2])
    return pd.Interval(_rich(label[1]), _rich(label[2]), label[3])

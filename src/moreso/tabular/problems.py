"""What keeps a column or a table from being used: the same rules for audits and models, one sentence per problem."""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from moreso.tabular.dtypes import as_numbers, is_categorical, is_kept, is_time, level_order, level_text
from moreso.tabular.foreign import plain
from moreso.tabular.identifiers import find_identifiers

MIN_ROWS = 4
"""The unbiased HSIC is a mean over 4-tuples of rows (`moreso.dependence.MIN_ROWS`, which needs PyTorch)."""

MAX_LEVELS = 100
"""The most levels of a categorical column that statements name."""

LARGEST = 1e150
"""The squares of larger numbers overflow."""

LEAST_STEPS = 100
"""A column's values must differ by at least this many steps of its dtype, which cannot resolve smaller numbers."""

LABELS = (str, bool, int, float, np.bool_, np.number)
"""What a column of levels may hold beside missing values."""


def as_table(table: object) -> pd.DataFrame:
    """Return a table with text as the names of its columns, by which statements name them: "0" for 0.

    Raises:
        TypeError: it is no DataFrame.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"the table must be a pandas DataFrame, got {type(table).__name__}. Wrap it: pd.DataFrame(x).")
    if all(isinstance(name, str) for name in table.columns):
        return table
    return table.set_axis([str(name) for name in table.columns], axis=1)


def table_problems(
    table: pd.DataFrame,
    measured: Iterable[str] = (),
    *,
    directed: Iterable[str] = (),
    modelled: bool = False,
    identifiers: Collection[str] | None = None,
) -> list[str]:
    """Return what keeps a table from being used.

    Args:
        table: the rows.
        measured: columns that statements name; each must vary.
        directed: those among them that directions name; their values must have an order.
        modelled: whether a model learns all columns but identifiers; their names must then be text or whole numbers.
        identifiers: the columns of identifiers; by default `find_identifiers` finds them.
    """
    problems: list[str] = []
    if modelled and (odd := [name for name in table.columns if not isinstance(name, str | int | np.integer)]):
        problems.append(
            f"column names must be text or whole numbers, got {odd[0]!r} ({type(odd[0]).__name__}). Rename them, for "
            "example: table.columns = table.columns.map(str)."
        )
    table = as_table(table)
    fresh: Collection[str] = ()
    if modelled:
        fresh = find_identifiers(table, set(measured)) if identifiers is None else identifiers
        problems += [
            f"column '{name}' holds identifiers, as you say, and statements name it. Leave out one or the other."
            for name in measured
            if name in fresh
        ]
        problems += [
            f"the table has no column '{name}', which 'identifiers' names. Correct it."
            for name in fresh
            if name not in table
        ]
    problems += [
        f"column '{name}' occurs more than once. Give every column a name of its own."
        for name in table.columns[table.columns.duplicated()].unique()
    ]
    if len(table) < MIN_ROWS:
        problems.append(f"the table has {len(table)} rows, and at least {MIN_ROWS} are needed. Add rows.")
    if len(table.columns) == 0:
        problems.append("the table has no columns. Check the file.")
    once, named = (
        [name for name in table.columns[~table.columns.duplicated(keep=False)] if name not in fresh],
        set(measured),
    )
    for name in once:
        if modelled or name in named:
            problems += column_problems(table[name], measured=name in named)
    problems += [_unordered(table[name]) for name in directed if name in once and not has_direction(table[name])]
    columns = [plain(table[name]) for name in once]
    if modelled and not problems and not any(x.nunique() > 1 or 0 < x.isna().sum() < len(x) for x in columns):
        problems.append("every column is constant or empty, so there is nothing to model. Check the table.")
    return problems


def is_partitioned(table: object) -> bool:
    """Return whether a table is a Dask DataFrame, whose rows need not fit in memory."""
    return hasattr(table, "to_delayed") and hasattr(table, "npartitions")


def has_direction(column: "pd.Series[Any]") -> bool:
    """Return whether a column can rise and fall: numbers, truth values, times and ordered categories can."""
    own = plain(column)
    return not is_categorical(own) or level_order(own) is not None


def _unordered(column: "pd.Series[Any]") -> str:
    levels = [repr(level_text(each)) for each in plain(column).dropna().unique()[:3]]
    return (
        f"column '{column.name}' holds categories without an order ({', '.join(levels)}), so nothing rises or falls "
        "with it. Leave out the sign, or give them an order: pd.Categorical(..., ordered=True), or in the shell "
        f'--column "{column.name}=small<large".'
    )


def column_problems(column: "pd.Series[Any]", *, measured: bool = False, numeric: bool = False) -> list[str]:
    """Return what keeps one column from being used.

    Args:
        column: a named column.
        measured: whether a statement names it, so that it must vary.
        numeric: whether it must hold numbers without missing values, as for coordinates.
    """
    column = plain(column)
    name, present = column.name, column.dropna()
    if not is_kept(column.dtype):
        return [f"column '{name}' is of type {column.dtype}, which cannot be kept. Convert it, or leave it out."]
    if pd.api.types.is_complex_dtype(column):
        return [f"column '{name}' holds complex numbers. Split it into two columns, or leave it out."]
    if numeric and not pd.api.types.is_numeric_dtype(column):
        example = f" (it holds '{present.iloc[0]}')" if len(present) else ""
        return [f"column '{name}' is not numeric{example}. Encode it as numbers or leave it out."]
    if (measured or numeric) and len(present) == 0:
        return [f"column '{name}' is empty. Leave it out."]
    found = _level_problems if is_categorical(column) else _number_problems
    problems = found(column, measured=measured)
    if numeric and len(present) < len(column):
        lacking = len(column) - len(present)
        problems.append(f"column '{name}' has {lacking} missing values. Fill them in or drop those rows.")
    return problems


def _number_problems(column: "pd.Series[Any]", *, measured: bool) -> list[str]:
    name, largest = column.name, 0.0
    if pd.api.types.is_float_dtype(column):
        largest = float(np.abs(column.dropna().to_numpy(dtype=float)).max(initial=0))
    if not np.isfinite(largest):
        return [f"column '{name}' has infinite values. Replace them or drop those rows."]
    if largest > LARGEST:
        return [f"column '{name}' holds {largest:.3g}, and numbers may be {LARGEST:g} at most. Rescale it."]
    if largest and (problem := _coarse(column)):
        return [problem]
    if measured and len(column) >= MIN_ROWS:
        present = column.dropna()
        numbers = as_numbers(present) if is_time(present) else present
        if numbers.min() == numbers.max():
            return [f"column '{name}' is constant (every value is {present.iloc[0]}). Leave it out."]
    return []


def _coarse(column: "pd.Series[Any]") -> str:
    """Return the problem of numbers so small that their dtype keeps too few digits of them, or nothing."""
    present, dtype = column.dropna(), getattr(column.dtype, "numpy_dtype", column.dtype)
    spread, step = float(present.max()) - float(present.min()), float(np.finfo(dtype).smallest_subnormal)
    if not 0 < spread < LEAST_STEPS * step:
        return ""
    return (
        f"column '{column.name}' varies by {spread:.1g} alone, and {dtype} keeps only multiples of {step:.1g} of such "
        "small numbers. Rescale it before it is rounded to them."
    )


def _level_problems(column: "pd.Series[Any]", *, measured: bool) -> list[str]:
    name, present = column.name, column.dropna()
    labels: Any = present
    allowed: tuple[type, ...] = LABELS
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels, allowed = column.dtype.categories, (*LABELS, pd.Timestamp, pd.Interval)
    for label in labels:
        if not isinstance(label, allowed):
            return [
                f"column '{name}' holds values of type {type(label).__name__} (such as {str(label)[:40]!r}), which are "
                "neither numbers, text nor times. Convert or flatten it, or leave it out."
            ]
    count = present.nunique()
    if measured and count == 1:
        return [f"column '{name}' is constant (every value is {present.iloc[0]}). Leave it out."]
    if count > max(2, len(present) / 2):
        return [
            f"column '{name}' holds {count} different texts in {len(present)} rows, like names of rows, and a model of "
            "them would repeat the rows. Leave it out, or put rare ones together; numbers or dates stored as text, "
            "convert."
        ]
    if measured and count > MAX_LEVELS:
        return [
            f"column '{name}' holds {count} different texts, and statements compare {MAX_LEVELS} at most. Put rare "
            "ones together, or leave it out of the statements."
        ]
    return []

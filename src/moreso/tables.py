"""Tables: files to DataFrames and back, and what a table must be before it is used."""

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moreso.dependence import MIN_ROWS
from moreso.files import atomic_write

MAX_LEVELS = 100
"""Most levels of a categorical column."""


def _read_sql(path: str | os.PathLike[str]) -> pd.DataFrame:
    try:
        room = import_module("moreso.sql")
    except ImportError as error:
        raise ValueError(
            f"{path}: needs the package '{error.name}'. Install it with: pip install 'moreso[sql]'"
        ) from error
    table: pd.DataFrame = room.read_sql(path)
    return table


_READERS: dict[str, Callable[..., pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
    ".sql": _read_sql,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".feather": lambda table, path: table.reset_index(drop=True).to_feather(path),
}


def check_suffix(path: str | os.PathLike[str], *, read: bool = False) -> str:
    """Return the suffix of a table's path.

    Args:
        path: the table, or with `read` also a query.
        read: whether it is to be read; else written.

    Raises:
        ValueError: it is none that tables are read from or written to.
    """
    suffix, known = Path(path).suffix.lower(), _READERS if read else _WRITERS
    if suffix not in known:
        raise ValueError(f"{path}: tables end in {', '.join(known)}, got '{suffix}'. Convert it to one of these.")
    return suffix


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table from CSV, Parquet or Feather, or by the query in a .sql file (with DuckDB).

    Raises:
        ValueError: the file is missing, unreadable, empty, or of another kind.
    """
    suffix = check_suffix(path, read=True)
    try:
        return _READERS[suffix](path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}). Check the path and the file.") from error
    except (ValueError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        kind = "query that works" if suffix == ".sql" else f"{suffix[1:].upper()} table"
        raise ValueError(f"{path}: is not a {kind} ({first}). Check the file.") from error


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table to CSV, Parquet or Feather, whole or not at all.

    Raises:
        ValueError: the suffix is none of these.
        OSError: the folder is missing or not writable.
    """
    suffix = check_suffix(path)
    with atomic_write(path) as scratch:
        _WRITERS[suffix](table, scratch)


def check_table(
    table: pd.DataFrame, columns: Iterable[str] | None = None, *, missing: bool = False, categories: bool = False
) -> None:
    """Raise unless the columns are numbers that vary, in at least 4 rows.

    Args:
        table: the rows.
        columns: those that will be used; by default all.
        missing: whether missing values are allowed.
        categories: whether text, categories and dates are allowed too.

    Raises:
        ValueError: all faults at once, one sentence each.
    """
    faults = [
        f"column '{name}' occurs more than once. Give every column a name of its own."
        for name in table.columns[table.columns.duplicated()].unique()
    ]
    if len(table) < MIN_ROWS:
        faults.append(f"the table has {len(table)} rows, and at least {MIN_ROWS} are needed. Add rows.")
    if len(table.columns) == 0:
        faults.append("the table has no columns. Check the file.")
    for name in table.columns.unique() if columns is None else dict.fromkeys(columns):
        if not table.columns.duplicated(keep=False)[table.columns.get_loc(name)].any():
            faults += column_faults(table[name], missing=missing, categories=categories)
    if faults:
        raise ValueError("\n".join(faults))


def is_categorical(column: "pd.Series[Any]") -> bool:
    """Return whether a column holds levels, such as text, in place of numbers, truth values or dates."""
    kinds = pd.api.types
    return not (kinds.is_numeric_dtype(column) or _is_time(column))


def _is_time(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column)


def as_numbers(column: "pd.Series[Any]") -> np.ndarray:
    """Return a column of numbers, truth values or dates (in days since the first) as floats, NaN where missing."""
    if _is_time(column):
        return ((column - column.min()) / pd.Timedelta(days=1)).to_numpy(dtype=float, na_value=np.nan)
    return column.to_numpy(dtype=float, na_value=np.nan)


def column_faults(
    column: "pd.Series[Any]", *, missing: bool = False, constant: bool = False, categories: bool = False
) -> list[str]:
    """Return what keeps one column from being used, one sentence a fault.

    Args:
        column: a named column.
        missing: whether missing values are allowed.
        constant: whether all values may be equal, as in a table of few rows to be scored.
        categories: whether text, categories and dates are allowed too.
    """
    name = column.name
    present = column.dropna()
    if categories and len(present) and is_categorical(column):
        return _level_faults(present)
    if categories and _is_time(column):
        column = pd.Series(as_numbers(column), name=name)
        present = column.dropna()
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
        example = f" (it holds '{present.iloc[0]}')" if len(present) else ""
        return [f"column '{name}' is not numeric{example}. Encode it as numbers or leave it out."]
    faults = []
    if len(present) < len(column) and not missing:
        faults.append(
            f"column '{name}' has {len(column) - len(present)} missing values. Fill them in or drop those rows."
        )
    if len(present) == 0:
        return [f"column '{name}' is empty. Leave it out."]
    if not np.isfinite(present.to_numpy(dtype=float)).all():
        faults.append(f"column '{name}' has infinite values. Replace them or drop those rows.")
    elif not constant and len(column) >= MIN_ROWS and present.min() == present.max():
        faults.append(f"column '{name}' is constant (every value is {present.iloc[0]}). Leave it out.")
    return faults


def _level_faults(present: "pd.Series[Any]") -> list[str]:
    count = len(present.astype(str).unique())
    if count == 1:
        return [f"column '{present.name}' is constant (every value is {present.iloc[0]}). Leave it out."]
    if count > min(MAX_LEVELS, max(2, len(present) / 2)):
        return [
            f"column '{present.name}' holds {count} different texts in {len(present)} rows, and categories may be "
            f"{MAX_LEVELS} at most, in two rows each on average. Leave it out, or put rare ones together."
        ]
    return []

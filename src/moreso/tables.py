"""Tables: files to DataFrames and back, and what a table must be before it is used."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moreso.dependence import MIN_ROWS
from moreso.files import atomic_write

_READERS: dict[str, Callable[..., pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".feather": lambda table, path: table.reset_index(drop=True).to_feather(path),
}


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a table's path.

    Raises:
        ValueError: it is none that tables are read from or written to.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise ValueError(f"{path}: tables end in {', '.join(_READERS)}, got '{suffix}'. Convert it to one of these.")
    return suffix


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table from CSV, Parquet or Feather.

    Raises:
        ValueError: the file is missing, unreadable, empty, or of another kind.
    """
    suffix = check_suffix(path)
    try:
        return _READERS[suffix](path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}). Check the path and the file.") from error
    except (ValueError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path}: is not a {suffix[1:].upper()} table ({first}). Check the file.") from error


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table to CSV, Parquet or Feather, whole or not at all.

    Raises:
        ValueError: the suffix is none of these.
        OSError: the folder is missing or not writable.
    """
    suffix = check_suffix(path)
    with atomic_write(path) as scratch:
        _WRITERS[suffix](table, scratch)


def check_table(table: pd.DataFrame, columns: Iterable[str] | None = None, *, missing: bool = False) -> None:
    """Raise unless the columns are numbers that vary, in at least 4 rows.

    Args:
        table: the rows.
        columns: those that will be used; by default all.
        missing: whether missing values are allowed.

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
            faults += column_faults(table[name], missing=missing)
    if faults:
        raise ValueError("\n".join(faults))


def column_faults(column: "pd.Series[Any]", *, missing: bool = False, constant: bool = False) -> list[str]:
    """Return what keeps one column from being used as numbers, one sentence a fault.

    Args:
        column: a named column.
        missing: whether missing values are allowed.
        constant: whether all values may be equal, as in a table of few rows to be scored.
    """
    name = column.name
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

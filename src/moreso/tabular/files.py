"""Read DataFrames from files and write them. Needs only pandas and atomic writes."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd

from moreso._files import atomic_write
from moreso.relations import DataError


def _read_sql(path: str | os.PathLike[str]) -> pd.DataFrame:
    try:
        module = import_module("moreso.tabular.sql")
    except ImportError as error:
        raise ValueError(
            f"{path}: needs the package '{error.name}'. Install it with: pip install 'moreso[sql]'"
        ) from error
    table: pd.DataFrame = module.read_sql(path)
    return table


_READERS: dict[str, Callable[..., pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
    ".sql": _read_sql,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".feather": lambda table, path: table.reset_index(drop=True).to_feather(path),
}


def check_suffix(path: str | os.PathLike[str], *, read: bool = False) -> str:
    """Return the suffix of a table's path.

    Args:
        path: the table, or with `read` also a query.
        read: whether the table is to be read; else it is to be written.

    Raises:
        DataError: tables cannot have this suffix.
    """
    suffix, known = Path(path).suffix.lower(), _READERS if read else _WRITERS
    if suffix not in known:
        raise DataError([f"{path}: tables end in {', '.join(known)}, got '{suffix}'. Convert it to one of these."])
    return suffix


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table from CSV, Parquet or Feather, or with the query in a .sql file (by DuckDB).

    Raises:
        DataError: the file is missing, unreadable, empty, or not one of these.
    """
    suffix = check_suffix(path, read=True)
    try:
        return _READERS[suffix](path)
    except OSError as error:
        reason = error.strerror or error
        raise DataError([f"{path}: cannot be read ({reason}). Check the path and the file."]) from error
    except (ValueError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        kind = "query that works" if suffix == ".sql" else f"{suffix[1:].upper()} table"
        raise DataError([f"{path}: is not a {kind} ({first}). Check the file."]) from error


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table to CSV, Parquet or Feather, atomically.

    Raises:
        DataError: the suffix is not one of these.
        OSError: the folder is missing or not writable.
    """
    suffix = check_suffix(path)
    with atomic_write(path) as scratch:
        _WRITERS[suffix](table, scratch)

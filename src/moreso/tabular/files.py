"""Read DataFrames from files and write them. Needs only pandas, pyarrow and atomic writes."""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from moreso._files import atomic_write
from moreso.relations import DataError
from moreso.tabular.cells import interpret
from moreso.tabular.dialect import OPENERS, read_cells
from moreso.tabular.reading import Reading

TEXT = ".csv", ".tsv"
"""Suffixes of text files, which may be followed by one of a compressed file."""


class Read(NamedTuple):
    """A table that was read.

    Args:
        table: the table.
        notes: what was found in a text file that is not plain, as sentences; the first says how many rows and columns.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def _read_sql(path: str | os.PathLike[str]) -> pd.DataFrame:
    try:
        module = import_module("moreso.tabular.sql")
    except ImportError as error:
        raise ValueError(
            f"{path}: needs the package '{error.name}'. Install it with: pip install 'moreso[sql]'"
        ) from error
    table: pd.DataFrame = module.read_sql(path)
    return table


def _read_text(path: str | os.PathLike[str], reading: Reading) -> Read:
    """Read a text file, whose first row holds the names."""
    cells = read_cells(path, separator=reading.separator, decimal=reading.decimal, encoding=reading.encoding)
    _check_kinds(path, reading, cells.names)
    columns, notes = [], list(cells.notes)
    for name, each in zip(cells.names, cells.columns, strict=True):
        column, own = interpret(each, name, reading.kinds.get(name), cells.decimal)
        columns.append(column)
        notes += own
    return Read(pd.concat(columns, axis=1), tuple(notes))


def _check_kinds(path: str | os.PathLike[str], reading: Reading, names: Sequence[str]) -> None:
    """Raise a sentence for each name that is no column."""
    if unknown := [name for name in reading.kinds if name not in names]:
        known = ", ".join(names[:12])
        raise DataError([f"{path}: has no column '{name}'. Columns: {known}." for name in unknown])


_READERS: dict[str, Callable[..., pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
    ".sql": _read_sql,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".feather": lambda table, path: table.reset_index(drop=True).to_feather(path),
}


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a path ends as those of tables do."""
    try:
        return bool(check_suffix(path, read=True))
    except DataError:
        return False


def check_suffix(path: str | os.PathLike[str], *, read: bool = False) -> str:
    """Return the suffix of a table's path; that of what a compressed file holds.

    Args:
        path: the table, or with `read` also a query.
        read: whether the table is to be read; else it is to be written.

    Raises:
        DataError: tables cannot have this suffix.
    """
    whole, known = Path(path), [*TEXT, *_READERS] if read else list(_WRITERS)
    suffix = whole.suffix.lower()
    if read and suffix in OPENERS:
        suffix = Path(whole.stem).suffix.lower()
        known = list(TEXT)
    if suffix not in known:
        raise DataError(
            [f"{path}: tables end in {', '.join(known)}, got '{whole.suffix}'. Convert it to one of these."]
        )
    return suffix


def read_table(path: str | os.PathLike[str], reading: Reading | None = None) -> Read:
    """Read a table from CSV, Parquet or Feather, or with the query in a .sql file (by DuckDB).

    Of a text file, separator, decimal mark and encoding are found, and each column is read as what its cells mean:
    numbers, ISO dates, truth values, or text. Codes with leading zeros stay text, and whole numbers stay whole.

    Args:
        path: the file.
        reading: how to read a text file, where that goes wrong.

    Raises:
        DataError: the file is missing, unreadable, empty, or not one of these.
    """
    suffix, reading = check_suffix(path, read=True), reading or Reading()
    if problems := reading.problems():
        raise DataError(problems)
    try:
        if suffix in TEXT:
            return _read_text(path, reading)
        table = _READERS[suffix](path)
        _check_kinds(path, reading, [str(name) for name in table.columns])
        if typed := [name for name, kind in reading.kinds.items() if kind != "identifiers"]:
            raise DataError([f"{path}: holds column '{name}' with its type. Convert it there." for name in typed])
        return Read(table)
    except OSError as error:
        reason = error.strerror or error
        raise DataError([f"{path}: cannot be read ({reason}). Check the path and the file."]) from error
    except DataError:
        raise
    except (ValueError, UnicodeError, LookupError) as error:
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

"""What moreso makes of a table, in a few sentences."""

from collections.abc import Iterable, Sequence

from moreso.tabular.columns import ColumnEncoder, Columns, IdentifierEncoder, OneHotEncoder
from moreso.tabular.encodings import Coded, Constant, Levels, Numeric

NAMED = 6
"""The most columns that a sentence names."""

TIMES = {"datetime": "date", "timedelta": "duration"}


def describe(columns: Sequence[Columns], *, complete: bool = False) -> list[str]:
    """Return what became of the columns of a table, one sentence per kind of news.

    Args:
        columns: the encoders of the columns.
        complete: whether samples have no missing values.
    """
    single = [column for column in columns if isinstance(column, ColumnEncoder)]
    kinds: dict[str, int] = {}
    for column in single:
        kind = _kind(column)
        kinds[kind] = kinds.get(kind, 0) + 1
    modelled = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in kinds.items())
    modelled = modelled.replace("categorys", "categories")
    found = [f"modelled: {modelled}."] if modelled else []
    if levels := [f"{each.name} ({len(each.encoding.counts)})" for each in single if isinstance(each.encoding, Levels)]:
        found.append(f"levels of categories: {_listed(levels)}.")
    if missing := [f"{each.name} ({each.missing:.0%})" for each in single if each.incomplete]:
        found.append(f"missing values: {_listed(missing)}; samples have {'none' if complete else 'as many'}.")
    return found + notices(columns)


def notices(columns: Iterable[Columns]) -> list[str]:
    """Return what a user should know of columns that are not modelled as they stand."""
    found = []
    for column in columns:
        if isinstance(column, IdentifierEncoder):
            example = column.identifiers.column(1).iloc[0]
            found.append(
                f"column '{column.name}' holds identifiers: it is not modelled, and samples get new ones, such as "
                f"'{example}'. If it measures something, name it in a statement, or say so."
            )
        elif isinstance(column, OneHotEncoder):
            names = _listed([f"'{name}'" for name in column.names])
            found.append(f"the columns {names} are one category: each row has exactly one 1, and so have samples.")
    return found


def _kind(column: ColumnEncoder) -> str:
    storage, encoding = column.storage, column.encoding
    if isinstance(encoding, Constant):
        return "constant"
    if storage.time:
        return TIMES[storage.form]
    if storage.form in ("levels", "boolean") or isinstance(encoding, Coded | Levels):
        return "code" if storage.form in ("integer", "number") else "category"
    return "whole number" if isinstance(encoding, Numeric) and encoding.integer else "measurement"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")

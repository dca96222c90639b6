"""One table of several that share some columns: rows below each other, and missing values where a table has none."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from moreso.relations import DataError, explain_match, spell_alike
from moreso.tabular.dtypes import is_categorical, is_time
from moreso.tabular.foreign import plain
from moreso.tabular.identifiers import find_identifiers
from moreso.tabular.problems import as_table

SHOWN = 12
"""The most columns that a sentence names."""

EXAMPLES = 3
"""The most levels that a sentence names."""

LEAST = 8
"""Columns of fewer different numbers in a table, such as codes, have no units."""

FACTOR = 1.5
"""Medians at least this factor apart, with quartiles that do not overlap, may be in other units."""

SPREAD = 5.0
"""So may numbers whose quartiles are farther apart by this factor."""

Own = Mapping[str, "pd.Series[Any]"]
"""Table -> its own column of one name."""


class Joined(NamedTuple):
    """One table of several.

    Args:
        table: the rows of all of them, with all columns.
        notes: what was common, and what a reader should check, as sentences.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def join_tables(tables: Mapping[str, pd.DataFrame]) -> Joined:
    """Stack tables that share some columns: the rows of all, with missing values where a table lacks a column.

    Columns are matched by name. A name that only looks like one of an earlier table is taken for it, with a note. Whole
    numbers, truth values and categories keep their type, in a form that has missing values if a table lacks them. Notes
    say which columns are common, and which may be in different units. Identifiers that occur in several tables are left
    out, since they would no longer tell rows apart.

    Args:
        tables: name -> table; the names are for messages.

    Raises:
        DataError: no column is common, or types or orders of levels differ; the error lists all problems.

    >>> left = pd.DataFrame({"age": [30, 40], "lactate": [1.5, 2.0]})
    >>> right = pd.DataFrame({"age": [50, 60], "rhythm": [True, False]})
    >>> found = join_tables({"a.csv": left, "b.csv": right})
    >>> found.table.dtypes.map(str).to_dict()
    {'age': 'int64', 'lactate': 'float64', 'rhythm': 'boolean'}
    >>> print(*found.notes)
    common to all tables: age. Only in a.csv: lactate. Only in b.csv: rhythm.
    """
    if len(tables) < 2:
        return Joined(next(iter(tables.values())))
    matched, notes, problems = _match({name: as_table(table) for name, table in tables.items()})
    if problems:
        raise DataError(problems)
    columns = {}
    notes = [_explain_columns(matched), *notes]
    for name in _names(matched):
        own = {place: table[name] for place, table in matched.items() if name in table.columns}
        if len(own) > 1 and (found := _explain_identifiers(name, own)):
            notes.append(found)
            continue
        problems += _type_problems(name, own)
        if not problems:
            column, said = _stack(name, own, matched)
            columns[name] = column
            notes += said
    if problems:
        raise DataError(problems)
    return Joined(pd.DataFrame(columns), tuple(notes))


def _names(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    return list(dict.fromkeys(name for table in tables.values() for name in table.columns))


def _match(tables: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], list[str], list[str]]:
    """Return the tables with names as the first of them spell them, with notes and problems."""
    found: dict[str, pd.DataFrame] = {}
    notes, problems = [], []
    for place, table in tables.items():
        problems += [
            f"{place}: column '{name}' occurs more than once. Give every column a name of its own."
            for name in table.columns[table.columns.duplicated()].unique()
        ]
        known = _names(found)
        spelt, _ = spell_alike(table.columns, known)
        # Two columns of one table stay two, however alike they look.
        spelt = [new if spelt.count(new) == 1 else old for old, new in zip(table.columns, spelt, strict=True)]
        notes += [
            f"{place}: {explain_match(old, new)}" for old, new in zip(table.columns, spelt, strict=True) if old != new
        ]
        found[place] = table.set_axis(spelt, axis=1)
    return found, notes, problems or _apart(found)


def _apart(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the problem of tables that share no column with the others, not even through a third one."""
    reached, left = [next(iter(tables))], list(tables)[1:]
    while near := [place for place in left if any(set(tables[place]) & set(tables[other]) for other in reached)]:
        reached += near
        left = [place for place in left if place not in near]
    if not left:
        return []
    has = "; ".join(f"{place} has {_listed(list(tables[place].columns))}" for place in tables)
    return [
        f"{', '.join(left)}: has no column in common with {', '.join(reached)}, so nothing connects their rows. "
        f"Rename columns that mean the same ({has})."
    ]


def _explain_columns(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return which columns are common, and which tables have the others."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in _names(tables):
        groups.setdefault(tuple(place for place in tables if name in tables[place].columns), []).append(name)
    shared = groups.pop(tuple(tables), [])
    parts = [f"common to all tables: {_listed(shared) if shared else 'none'}."]
    order = sorted(groups.items(), key=lambda group: (-len(group[0]), list(tables).index(group[0][0])))
    parts += [f"Only in {' and '.join(places)}: {_listed(names)}." for places, names in order]
    return " ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _explain_identifiers(name: str, own: Own) -> str:
    """Return a note if tables share identifiers, which name the same rows or others."""
    if not all(find_identifiers(column.to_frame()) for column in own.values()):
        return ""
    for (one, left), (other, right) in combinations(own.items(), 2):
        both = set(left.dropna()) & set(right.dropna())
        if both:
            return (
                f"column '{name}' holds identifiers, and {len(both)} of them are in {one} and in {other}: it is left "
                "out. If they are the same rows, merge the tables by it first, and nothing is unobserved."
            )
    return ""


def _kind(column: "pd.Series[Any]") -> str:
    if column.isna().all():
        return ""
    if pd.api.types.is_bool_dtype(column) or _holds_booleans(column):
        return "truth values"
    if is_time(column):
        if pd.api.types.is_timedelta64_dtype(column):
            return "durations"
        return "dates" if getattr(column.dtype, "tz", None) is None else "dates with a time zone"
    return "text" if is_categorical(column) else "numbers"


def _holds_booleans(column: "pd.Series[Any]") -> bool:
    """Whether objects are truth values, as `pandas.concat` makes of those that are missing in a table."""
    return pd.api.types.is_object_dtype(column) and all(isinstance(each, bool | np.bool_) for each in column.dropna())


def _is_binary(column: "pd.Series[Any]") -> bool:
    return bool(column.dropna().isin([0, 1]).all())


def _type_problems(name: str, own: Own) -> list[str]:
    """Return what keeps the columns of one name from being stacked."""
    kinds = {place: _kind(plain(column)) for place, column in own.items()}
    kinds = {place: kind for place, kind in kinds.items() if kind}
    different = set(kinds.values())
    if different == {"truth values", "numbers"}:
        codes = [own[place] for place, kind in kinds.items() if kind == "numbers"]
        different = different if not all(map(_is_binary, codes)) else set()
    if len(different) > 1:
        held = [f"{kind} in {place} (such as {_example(own[place])})" for place, kind in kinds.items()]
        return [
            f"column '{name}' holds {', '.join(held)}. Convert one of them, rename one if they differ in meaning, or "
            f"say how to read both: --column '{name}=text'."
        ]
    ordered = {place: column.cat.categories for place, column in own.items() if _is_ordered(column)}
    for one, other in combinations(ordered, 2):
        if _merge_orders(list(ordered[one]), list(ordered[other])) is None:
            orders = "; ".join(f"{' < '.join(map(str, ordered[place]))} in {place}" for place in (one, other))
            return [f"column '{name}' has ordered levels that do not fit: {orders}. Give both the same categories."]
    return []


def _is_ordered(column: "pd.Series[Any]") -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) and bool(column.dtype.ordered)


def _merge_orders(one: list[object], other: list[object]) -> list[object] | None:
    """Return the longer of two orders if it holds the other one, in its order; else None."""
    short, whole = sorted((one, other), key=len)
    return whole if [level for level in whole if level in short] == short else None


def _example(column: "pd.Series[Any]") -> str:
    value = column.dropna().iloc[0]
    return repr(value) if isinstance(value, str) else str(value)


def _stack(name: str, own: Own, tables: Mapping[str, pd.DataFrame]) -> tuple["pd.Series[Any]", list[str]]:
    """Return one column of all rows, and notes on it."""
    dtype = _common_dtype(own, lacking=len(own) < len(tables))
    parts = []
    for place, table in tables.items():
        if place in own and not own[place].isna().all():
            parts.append(_cast(own[place], dtype))
        else:
            parts.append(pd.Series([None] * len(table), dtype=dtype))
    return pd.concat(parts, ignore_index=True).rename(name), list(_doubts(name, own))


def _cast(column: "pd.Series[Any]", dtype: Any) -> "pd.Series[Any]":
    if column.dtype == dtype:
        return column
    column = plain(column)
    if pd.api.types.is_object_dtype(dtype):
        return column.astype(object).where(column.notna(), None)
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(object).where(column.notna(), None)
    if dtype == "boolean" and pd.api.types.is_numeric_dtype(column):
        column = column.astype("Float64")
    return column.astype(dtype)


def _common_dtype(own: Own, *, lacking: bool) -> Any:
    """Return the dtype of a column of several tables: that on which they agree, with missing values if needed."""
    held = {place: column for place, column in own.items() if not column.isna().all()} or dict(own)
    lacking = lacking or len(held) < len(own)
    dtypes = list(dict.fromkeys(column.dtype for column in held.values()))
    if len(dtypes) == 1:
        return _nullable(dtypes[0]) if lacking else dtypes[0]
    columns = [plain(column) for column in held.values()]
    kinds = {_kind(column) for column in columns}
    if "truth values" in kinds:
        return pd.BooleanDtype()
    if kinds == {"numbers"}:
        if any(pd.api.types.is_float_dtype(column) for column in columns):
            return np.dtype(float)
        whole = any(column.isna().any() for column in columns) or lacking
        return pd.Int64Dtype() if whole else np.dtype("int64")
    if kinds <= {"dates", "durations", "dates with a time zone"}:
        return pd.concat([column.iloc[:0] for column in columns]).dtype
    return _common_levels(list(held.values()))


def _common_levels(columns: Sequence["pd.Series[Any]"]) -> Any:
    """Return the dtype of levels: ordered if any order has all of them, else categories if all are, else text."""
    ordered = [list(column.cat.categories) for column in columns if _is_ordered(column)]
    if ordered:
        whole = max(ordered, key=len)
        if all(plain(column).dropna().isin(whole).all() for column in columns):
            return pd.CategoricalDtype(whole, ordered=True)
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
        return pd.CategoricalDtype(list(dict.fromkeys(each for column in columns for each in column.cat.categories)))
    texts = [column.dtype for column in columns if isinstance(column.dtype, pd.StringDtype)]
    return texts[0] if texts else np.dtype(object)


def _nullable(dtype: Any) -> Any:
    """Return a dtype that has missing values, of the same values."""
    nullable = {"i": "Int64", "u": "UInt64", "b": "boolean"}
    if isinstance(dtype, np.dtype) and dtype.kind in nullable:
        return pd.api.types.pandas_dtype(nullable[dtype.kind])
    return dtype


def _doubts(name: str, own: Own) -> Iterator[str]:
    """Yield what a reader should check about a common column: units that may differ, and levels of which none agree."""
    columns = {place: plain(column).dropna() for place, column in own.items()}
    columns = {place: column for place, column in columns.items() if len(column)}
    for (one, left), (other, right) in combinations(columns.items(), 2):
        kinds = {_kind(left), _kind(right)}
        if kinds == {"text"} and not set(map(str, left)) & set(map(str, right)):
            levels = "; ".join(
                f"{', '.join(repr(str(each)) for each in column.unique()[:EXAMPLES])} in {place}"
                for place, column in ((one, left), (other, right))
            )
            yield f"column '{name}': no level is in both tables ({levels}). Spell alike what means the same."
        elif kinds == {"numbers"} and _units_differ(left, right):
            yield (
                f"column '{name}' may be in different units: {_spread(left)} in {one}, {_spread(right)} in {other}. "
                "Convert one of them if so."
            )


def _quartiles(column: "pd.Series[Any]") -> list[float]:
    return np.quantile(column.to_numpy(dtype=float), [0.25, 0.5, 0.75]).tolist()


def _spread(column: "pd.Series[Any]") -> str:
    low, middle, high = _quartiles(column)
    return f"median {middle:.3g} (quartiles {low:.3g} to {high:.3g})"


def _units_differ(left: "pd.Series[Any]", right: "pd.Series[Any]") -> bool:
    """Whether numbers of two tables are a factor apart, which other people alone would hardly explain."""
    if min(left.nunique(), right.nunique()) < LEAST:
        return False
    (a, b, c), (d, e, f) = _quartiles(left), _quartiles(right)
    small, large = sorted((abs(b), abs(e)))
    distant = (c < d or f < a) and (large >= FACTOR * small or b * e < 0)
    narrow, wide = sorted((c - a, f - d))
    return distant or wide > SPREAD * narrow

"""Relations from rows of a table or of a data frame."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import count
from numbers import Real
from typing import Any

from moreso.relations.errors import KnowledgeError
from moreso.relations.relation import Relation

_SIDES = ("ref", "plus", "minus")
_OPTIONAL = ("confidence", "reason")


def read_records(rows: Any) -> tuple[Relation, ...]:
    """Return one relation per row.

    Raises:
        KnowledgeError: rows have problems; the error lists all of them.
    """
    # A data frame is recognised by its method, so that pandas need not be imported.
    records = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    labels = rows.index if hasattr(rows, "to_dict") else count()
    relations: list[Relation] = []
    problems: list[str] = []
    for label, row in zip(labels, records, strict=False):
        try:
            relations.append(_relation(row))
        except KnowledgeError as error:
            problems += [f"row {label}: {problem}" for problem in error.problems]
    if problems:
        raise KnowledgeError(problems)
    return tuple(relations)


def _relation(row: Any) -> Relation:
    if not isinstance(row, Mapping):
        raise KnowledgeError([f"must be a mapping with 'ref', 'plus' and 'minus', got {type(row).__name__}."])
    problems: list[str] = []
    for name in _OPTIONAL:
        # A misspelt column would be ignored silently, and every statement would count as certain.
        if name not in row and (near := get_close_matches(name, [key for key in row if isinstance(key, str)], n=1)):
            problems.append(f"'{near[0]}' is not a column of statements. Did you mean '{name}'?")
    sides: list[tuple[str, ...]] = []
    for name in _SIDES:
        cell = row.get(name)
        names = (cell,) if isinstance(cell, str) else tuple(cell) if isinstance(cell, Iterable) else None
        if _missing(cell):
            problems.append(f"'{name}' is missing. Give the name of a feature, or a list of names.")
        elif names is None or not all(isinstance(each, str) for each in names):
            problems.append(
                f"'{name}' must be the name of a feature or a list of names, got {cell!r}. Write names as text."
            )
        else:
            sides.append(names)
    confidence: Any = 1.0 if _missing(row.get("confidence")) else row["confidence"]
    reason: Any = "" if _missing(row.get("reason")) else row["reason"]
    if not isinstance(confidence, Real) or isinstance(confidence, bool):
        problems.append(f"the confidence must be a number in (0, 1], got {confidence!r}. Write for example 0.8.")
    if not isinstance(reason, str):
        problems.append(f"the reason must be text, got {reason!r}. Write it in words, or leave it empty.")
    if problems:
        raise KnowledgeError(problems)
    return Relation(sides[0], sides[1], sides[2], float(confidence), reason)


def _missing(cell: object) -> bool:
    """Return whether a cell is empty: None, or one of the missing values of pandas."""
    return cell is None or (isinstance(cell, Real) and math.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType")

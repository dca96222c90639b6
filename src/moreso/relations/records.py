"""Statements from rows of a table or of a data frame, and as such rows."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import count
from numbers import Real
from typing import Any

from moreso.relations.errors import KnowledgeError
from moreso.relations.relation import Direction, Relation, Statement

_SIDES = ("ref", "plus", "minus")
_OPTIONAL = ("confidence", "reason", "sign")
_SIGNS = {"+": 1, "-": -1, 1: 1, -1: -1}


def write_record(statement: Statement) -> dict[str, Any]:
    """Return a statement as a row: ref, plus, minus, sign, confidence, reason."""
    sides = [group[0] if len(group) == 1 else group for group in statement.groups]
    directed = isinstance(statement, Direction)
    return {
        **dict(zip(_SIDES, [*sides, None] if directed else sides, strict=True)),
        "sign": ("+" if statement.sign > 0 else "-") if isinstance(statement, Direction) else "",
        "confidence": statement.confidence,
        "reason": statement.reason,
    }


def read_records(rows: Any) -> tuple[Statement, ...]:
    """Return one statement per row.

    Raises:
        KnowledgeError: rows have problems; the error lists all of them.
    """
    # A data frame is recognised by its method, so that pandas need not be imported.
    records = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    labels = rows.index if hasattr(rows, "to_dict") else count()
    statements: list[Statement] = []
    problems: list[str] = []
    for label, row in zip(labels, records, strict=False):
        try:
            statements.append(_statement(row))
        except KnowledgeError as error:
            problems += [f"row {label}: {problem}" for problem in error.problems]
    if problems:
        raise KnowledgeError(problems)
    return tuple(statements)


def _statement(row: Any) -> Statement:
    if not isinstance(row, Mapping):
        raise KnowledgeError([f"must be a mapping with 'ref', 'plus' and 'minus', got {type(row).__name__}."])
    problems: list[str] = []
    for name in _OPTIONAL:
        # A misspelt column would be ignored silently, and every statement would count as certain.
        if name not in row and (near := get_close_matches(name, [key for key in row if isinstance(key, str)], n=1)):
            problems.append(f"'{near[0]}' is not a column of statements. Did you mean '{name}'?")
    sign: Any = None if _missing(row.get("sign")) or row["sign"] == "" else row["sign"]
    problems += [] if sign is None else _sign_problems(sign, row)
    sides: list[tuple[str, ...]] = []
    for name in _SIDES if sign is None else _SIDES[:2]:
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
    if sign is not None:
        return Direction(sides[0][0], sides[1][0], _SIGNS[sign], float(confidence), reason)
    return Relation(sides[0], sides[1], sides[2], float(confidence), reason)


def _sign_problems(sign: Any, row: Mapping[Any, Any]) -> list[str]:
    found = []
    if isinstance(sign, float) or sign not in _SIGNS:
        found.append(f"the sign must be '+' or '-', got {sign!r}. Leave it out in a row that has a minus.")
    if not _missing(row.get("minus")):
        found.append("a row with a sign has no 'minus'. Write the order and the direction as two rows.")
    if any(isinstance(row.get(name), list | tuple) and len(row[name]) > 1 for name in _SIDES[:2]):
        found.append("a row with a sign names one feature on each side. Write a row for each of a group.")
    return found


def _missing(cell: object) -> bool:
    """Return whether a cell is empty: None, or one of the missing values of pandas."""
    return cell is None or (isinstance(cell, Real) and math.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType")

"""Conditions on the rows of a table, read with an allow-list and never executed as code.

Python's parser gets numbers, texts, operators and six words, and placeholders for all names. Every node that it returns
is refused unless `_Rows.value` lists it.
"""

import ast
import operator
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import reduce
from typing import TypeAlias

import numpy as np
import pandas as pd

from moreso.tabular.foreign import plain

LONGEST = 10_000
"""The most characters in a condition."""

DEEPEST = 100
"""The most nested operators and brackets. A few hundred overflow a small stack in Python's parser."""

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^'\\\r\n]|\\[^\r\n])*'|"(?:[^"\\\r\n]|\\[^\r\n])*")
      | `(?P<quoted>[^`]*)`
      | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)
      | (?P<number>(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?)
      | (?P<sign>[=!<>]=|\*\*|//|[-+*/%~<>()\[\].,&|])
      | (?P<space>\s+)
      | (?P<bad>.)""",
    re.VERBOSE,
)
_WORDS = frozenset({"and", "or", "not", "in", "True", "False"})
_EXAMPLE = "Compare columns with values, for example \"region == 'north' and flow > 3\"."

_Constant: TypeAlias = bool | int | float | str | datetime | timedelta
_Value: TypeAlias = pd.Series | _Constant | list[_Constant]

_COMPARISONS: dict[type[ast.cmpop], Callable] = {
    ast.Eq: operator.eq,
    ast.In: operator.eq,
    ast.NotEq: operator.ne,
    ast.NotIn: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIGNS: dict[type[ast.unaryop], Callable] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_REFUSED: dict[type[ast.expr], str] = {
    ast.Call: "may not call functions",
    ast.Attribute: "may not look into columns with '.'",
    ast.Subscript: "may not look into columns with '[...]'",
}


class _ConditionError(Exception):
    """A problem of a condition and its remedy, as a sentence without its subject."""


def matches(table: pd.DataFrame, condition: str) -> np.ndarray:
    """Return which rows of a table fulfil a condition.

    Args:
        table: the rows.
        condition: comparisons as in `pandas.DataFrame.query`, including its treatment of missing values, but without
            functions and attributes. Put texts in quotes, and names that are not plain words in backticks.

    Raises:
        ValueError: the condition cannot be read, contains more than comparisons, or does not suit the columns.

    >>> table = pd.DataFrame({"region": ["north", "south", "north"], "inlet temp": [1.0, 5.0, 7.0]})
    >>> matches(table, "region == 'north' and `inlet temp` > 3")
    array([False, False,  True])
    """
    shown = repr(condition if len(condition) <= 200 else f"{condition[:200]}...")
    try:
        node, names = _read(condition)
        mask = _Rows(table, names).boolean(node)
        if isinstance(mask, bool):
            raise _ConditionError(f"is the same for all rows. {_EXAMPLE}")
        return mask.fillna(False).astype(bool).to_numpy()
    except _ConditionError as error:
        raise ValueError(f"the condition {shown} {error}") from None
    except Exception as error:
        # pandas operators may raise any error.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise ValueError(f"the condition {shown} cannot be evaluated ({reason}). {_EXAMPLE}") from error


def _read(condition: str) -> tuple[ast.expr, dict[str, str]]:
    """Return a condition as Python parses it, and the name for each placeholder."""
    if len(condition) > LONGEST:
        raise _ConditionError(f"has {len(condition)} characters, and {LONGEST} are allowed. Shorten it.")
    code: list[str] = []
    names: dict[str, str] = {}
    # For each open bracket, the number of signs since the last 'and', 'or' or comma.
    depth = [0]
    for token in _TOKEN.finditer(condition):
        kind, text = token.lastgroup, token.group()
        if kind == "bad":
            hint = "Compare with '=='." if text == "=" else "Close each quote." if text in "'\"`" else _EXAMPLE
            raise _ConditionError(f"may not hold {text!r} here. {hint}")
        if kind == "quoted" or (kind == "word" and text not in _WORDS):
            stand_in = f"n{len(names)}"
            names[stand_in], text = text.strip("`"), stand_in
        elif text in ("and", "or", "&", "|", ","):
            # As in pandas, '&' and '|' have the precedence of 'and' and 'or'.
            text = {"&": "and", "|": "or"}.get(text, text)
            depth[-1] = 0
        elif text in (")", "]"):
            depth = depth[:-1] or [0]
        elif kind == "sign" or text in ("not", "in"):
            depth[-1] += 1
            depth += [0] if text in ("(", "[") else []
        if sum(depth) > DEEPEST:
            raise _ConditionError(f"nests more than {DEEPEST} operators and brackets. Write it flatter.")
        code += [text] if kind != "space" else []
    try:
        return ast.parse(" ".join(code), mode="eval").body, names
    except (SyntaxError, ValueError) as error:
        reason = (error.msg if isinstance(error, SyntaxError) else str(error)).partition(". ")[0]
        raise _ConditionError(f"cannot be read ({reason}). {_EXAMPLE}") from None


class _Rows:
    """Evaluates the nodes of a condition to a column, a constant or a list of constants."""

    def __init__(self, table: pd.DataFrame, names: dict[str, str]) -> None:
        self.table = table
        self.names = names

    def value(self, node: ast.expr) -> _Value:  # noqa: PLR0911 (what is allowed, one by one)
        match node:
            case ast.Name(id=stand_in):
                return self.column(self.names[stand_in])
            case ast.Constant(value=bool() | int() | float() | str() as constant):
                return constant
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [self.constant(element) for element in elements]
            case ast.BoolOp(op=op, values=operands):
                return reduce(operator.and_ if isinstance(op, ast.And) else operator.or_, map(self.boolean, operands))
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                mask = self.boolean(operand)
                return not mask if isinstance(mask, bool) else ~mask
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
                return _SIGNS[type(sign)](self.number(operand))
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
                return _calculate(_ARITHMETIC[type(operation)], self.number(left), self.number(right))
            case ast.Compare(left=left, ops=ops, comparators=others) if {*map(type, ops)} <= _COMPARISONS.keys():
                sides = [self.value(side) for side in (left, *others)]
                return reduce(operator.and_, map(_compare, ops, sides, sides[1:]))
        refused = _REFUSED.get(type(node), "may hold comparisons, arithmetic, 'and', 'or' and 'not' alone")
        raise _ConditionError(f"{refused}. {_EXAMPLE}")

    def column(self, name: str) -> pd.Series:
        found = [place for place, each in enumerate(self.table.columns) if each == name]
        if len(found) == 1:
            return plain(self.table.iloc[:, found[0]])
        if found:
            raise _ConditionError(f"names the column {name!r}, which occurs more than once. Rename one of them.")
        known = {str(each).casefold(): str(each) for each in self.table.columns}
        near = get_close_matches(name.casefold(), known, n=1)
        guess = f"Did you mean {known[near[0]]!r}? " if near else ""
        more = f", ... ({len(known)} in all)" if len(known) > 12 else ""
        raise _ConditionError(
            f"names an unknown column {name[:100]!r}. {guess}Columns: {', '.join(sorted(known.values())[:12])}{more}. "
            "Put texts in quotes, and names that are no plain words in backticks."
        )

    def constant(self, node: ast.expr) -> _Constant:
        value = self.value(node)
        if isinstance(value, pd.Series | list):
            raise _ConditionError("may list values alone. Write for example \"region in ['north', 'south']\".")
        return value

    def boolean(self, node: ast.expr) -> pd.Series | bool:
        value = self.value(node)
        if isinstance(value, bool) or (isinstance(value, pd.Series) and pd.api.types.is_bool_dtype(value)):
            return value
        raise _ConditionError('is neither true nor false for each row. Compare columns with values: "flow > 3".')

    def number(self, node: ast.expr) -> pd.Series | float:
        value = self.value(node)
        # These kinds are booleans, integers, floats, timedeltas and datetimes.
        if isinstance(value, int | float) or (isinstance(value, pd.Series) and value.dtype.kind in "biufmM"):
            return value
        raise _ConditionError('may calculate with numbers alone. Write for example "inlet - outlet > 3".')


def _calculate(operate: Callable, left: pd.Series | float, right: pd.Series | float) -> _Value:
    if isinstance(left, pd.Series) or isinstance(right, pd.Series):
        return operate(left, right)
    # Powers of integers could fill the memory.
    with np.errstate(all="ignore"):
        return float(operate(np.float64(left), np.float64(right)))


def _compare(op: ast.cmpop, left: _Value, right: _Value) -> pd.Series | bool:
    """Compare as pandas does: '==' works like 'in' for texts, times and lists."""
    left, right = _dated(left, right), _dated(right, left)
    column, other = (left, right) if isinstance(left, pd.Series) else (right, left)
    operate, listed = _COMPARISONS[type(op)], isinstance(op, ast.In | ast.NotIn) or list in (type(left), type(right))
    same = operate in (operator.eq, operator.ne) and (listed or isinstance(other, str | datetime | timedelta))
    if same and isinstance(column, pd.Series) and not isinstance(other, pd.Series):
        found = column.isin(other if isinstance(other, list) else [other])
        return found if operate is operator.eq else ~found
    if listed:
        raise _ConditionError("may look up columns in lists alone. Write for example \"region in ['north', 'south']\".")
    return operate(left, right)


def _dated(value: _Value, like: _Value) -> _Value:
    """Return a constant as the datetime or timedelta that it means next to a column of these."""
    if not isinstance(like, pd.Series) or like.dtype.kind not in "mM" or isinstance(value, pd.Series):
        return value
    return [_date(each, like) for each in value] if isinstance(value, list) else _date(value, like)


def _date(value: _Constant, like: pd.Series) -> _Constant:
    if like.dtype.kind == "m":
        return pd.Timedelta(value) if isinstance(value, str) else value
    # As in pandas, 2024 means a year and 20240131 a day.
    time = pd.Timestamp(str(value))
    return time.tz_localize(like.dt.tz) if time.tz is None else time

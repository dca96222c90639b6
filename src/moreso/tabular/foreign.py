"""Dtypes that Arrow and databases give: converted to pandas' own for the inside, and given back in samples."""

import base64
import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

DECIMAL, DATE, ARROW = "decimal", "date", "arrow:"
"""What `origin` says of objects that are decimals or dates, and of Arrow's types, which follow."""


def plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column in a dtype of NumPy or of pandas itself: numbers, truth values, times, text or categories."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        return _of_arrow(column, dtype.pyarrow_dtype)
    if not pd.api.types.is_object_dtype(dtype):
        return column
    kind = _kind(column)
    if kind == DECIMAL:
        return column.astype(float)
    if kind == DATE:
        return pd.to_datetime(column).astype("datetime64[s]")
    return column


def origin(column: "pd.Series[Any]") -> str:
    """Return what `restore` needs to give a column's dtype back; nothing if it is plain."""
    if isinstance(column.dtype, pd.ArrowDtype):
        written = pa.schema([("x", column.dtype.pyarrow_dtype)]).serialize().to_pybytes()
        return ARROW + base64.b64encode(written).decode()
    if not pd.api.types.is_object_dtype(column.dtype):
        return ""
    kind = _kind(column)
    if kind != DECIMAL:
        return kind
    places = max(-int(each.as_tuple().exponent) for each in column.dropna() if each.is_finite())
    return f"{DECIMAL}:{max(places, 0)}"


def restore(column: "pd.Series[Any]", given: str) -> "pd.Series[Any]":
    """Return a plain column in the dtype that `origin` described."""
    if not given:
        return column
    if given.startswith(ARROW):
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(given.removeprefix(ARROW))))
        kind = schema.field(0).type
        objects = _decimals(column, kind.scale) if pa.types.is_decimal(kind) else column.astype(object)
        return objects.where(column.notna(), None).astype(pd.ArrowDtype(kind))
    if given == DATE:
        return column.dt.date.astype(object).where(column.notna(), None)
    return _decimals(column, int(given.partition(":")[2]))


def _decimals(column: "pd.Series[Any]", places: int) -> "pd.Series[Any]":
    unit = decimal.Decimal(1).scaleb(-places)
    values = [None if pd.isna(each) else decimal.Decimal(repr(float(each))).quantize(unit) for each in column]
    return pd.Series(values, index=column.index, name=column.name, dtype=object)


def _kind(column: "pd.Series[Any]") -> str:
    """Return the kind of objects that a column holds, if it is one that becomes numbers or times."""
    present = column.dropna()
    if not len(present):
        return ""
    if isinstance(present.iloc[0], decimal.Decimal) and all(isinstance(each, decimal.Decimal) for each in present):
        return DECIMAL
    own = datetime.date
    return DATE if type(present.iloc[0]) is own and all(type(each) is own for each in present) else ""


def _of_arrow(column: "pd.Series[Any]", kind: pa.DataType) -> "pd.Series[Any]":
    types = pa.types
    if types.is_floating(kind):
        return pd.Series(column.to_numpy(dtype=float, na_value=np.nan), index=column.index, name=column.name)
    # As Python's objects, since pandas refuses some conversions between Arrow's types and its own.
    objects = column.astype(object).where(column.notna(), None)
    dtypes: list[tuple[Callable[[pa.DataType], bool], str]] = [
        (types.is_decimal, "float64"),
        (types.is_date, "datetime64[s]"),
        (types.is_boolean, "boolean"),
        (types.is_unsigned_integer, "UInt64"),
        (types.is_integer, "Int64"),
    ]
    if types.is_timestamp(kind):
        return column.astype(pd.api.types.pandas_dtype(f"datetime64[{kind.unit}{f', {kind.tz}' if kind.tz else ''}]"))
    if types.is_duration(kind):
        return column.astype(pd.api.types.pandas_dtype(f"timedelta64[{kind.unit}]"))
    found = next((dtype for holds, dtype in dtypes if holds(kind)), "object")
    return objects.astype(pd.api.types.pandas_dtype(found))

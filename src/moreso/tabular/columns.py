"""Encoders of columns: of one column, of a category that several columns hold, and of identifiers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from moreso.tabular import encodings
from moreso.tabular.dtypes import Storage
from moreso.tabular.encodings import AnyEncoding, Coded, Levels, Numeric
from moreso.tabular.foreign import origin, plain, restore
from moreso.tabular.identifiers import Identifiers
from moreso.tabular.transforms import CODED_ROWS, Flag
from moreso.tabular.view import Scaling, part_names

if TYPE_CHECKING:
    from torch import Tensor

Lost = Mapping[str, np.ndarray]
"""Column -> which of its values are missing."""

State = dict[str, Any]
"""A JSON object."""

OWN = "name", "missing", "flagged", "origin"
"""The arguments of a `ColumnEncoder` that are plain values."""

PREFIX = 2
"""The least number of letters that the names of two 0/1 columns share if they are one category."""


class Columns(Protocol):
    """Converts between some columns of a table and columns of a model."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of the table."""

    @property
    def width(self) -> int:
        """The number of columns of the model."""

    @property
    def linear(self) -> bool:
        """Whether one column of the table becomes one column of the model that is merely standardised."""

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the names of the columns that an audit measures for a column of the table, as `smooth` gives them."""

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the columns of the model; `unknown` must find no problems."""

    def decode(self, z: np.ndarray, random: np.random.Generator, lost: Lost) -> list["pd.Series[Any]"]:
        """Return the columns of the table; `lost` says which values of which columns are missing."""

    def smooth(self, name: str, z: "Tensor") -> "Tensor":
        """Return a decoded column as an audit measures it, with gradient and without rounding."""

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row, 0 if a value is missing or discrete."""

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return the problems of values that the model does not know, one sentence per problem."""

    def to_state(self) -> State:
        """Return a JSON object."""


@dataclass(frozen=True)
class ColumnEncoder:
    """One column: how it is stored, how it is encoded, and how often its values are missing.

    A missing value is NaN in the columns of the model. With `flagged`, one more column flags missing values.

    Args:
        name: the name of the column.
        storage: converts between the dtype and numbers.
        encoding: converts between numbers and columns of the model.
        missing: share of the rows without a value.
        flagged: whether the model learns which values are missing, see `moreso.tabular.missingness`.
        origin: the dtype of another library, see `moreso.tabular.foreign`.
    """

    name: str
    storage: Storage
    encoding: AnyEncoding
    missing: float
    flagged: bool = False
    origin: str = ""

    @classmethod
    def fit(cls, column: "pd.Series[Any]", *, flagged: bool = False) -> "ColumnEncoder":
        """Learn storage and encoding of a column that `column_problems` accepts."""
        own = plain(column)
        storage = Storage.of(own)
        x = storage.numbers(own)
        held = ~np.isnan(x)
        present = x[held]
        # In files, integers with missing values are read as floats.
        integer = storage.integer or (len(present) >= CODED_ROWS and bool((present == present.round()).all()))
        encoding = encodings.choose(present, levels=storage.form == "levels", integer=integer)
        return cls(str(column.name), storage, encoding, float(1 - held.mean()), flagged, origin(column))

    @property
    def names(self) -> tuple[str, ...]:
        """Its name alone."""
        return (self.name,)

    @property
    def incomplete(self) -> bool:
        """Whether some values are missing, and not all."""
        return 0 < self.missing < 1

    @property
    def width(self) -> int:
        """The number of columns of the model."""
        return self.encoding.width + self.flagged

    @property
    def linear(self) -> bool:
        """Whether it becomes one column of the model that is merely standardised."""
        return self.width == 1 and (
            isinstance(self.encoding, Coded) or (isinstance(self.encoding, Numeric) and self.encoding.transform is None)
        )

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the names of the columns that an audit measures; see `Encoding.smooth`."""
        return part_names(name, len(self.encoding.counts) if isinstance(self.encoding, Levels) else 1)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return its columns of the model; `unknown` must find no problems."""
        if not self.width:
            return np.empty((len(table), 0))
        x = self.storage.numbers(plain(table[self.name]))
        missing = np.isnan(x)
        z = self.encoding.encode(np.where(missing, self.encoding.fill, x))
        z[missing] = np.nan
        return np.hstack([z, Flag(self.missing).encode(missing)[:, None]]) if self.flagged else z

    def decode(self, z: np.ndarray, random: np.random.Generator, lost: Lost) -> list["pd.Series[Any]"]:
        """Return the values."""
        own = z[:, : self.encoding.width]
        absent = np.isnan(own).any(axis=1) | (self.missing == 1)
        if self.name in lost:
            absent |= lost[self.name]
        x = self.encoding.decode(np.nan_to_num(own), random)
        return [restore(self.storage.column(x, self.name, absent), self.origin)]

    def flags(self, z: np.ndarray) -> np.ndarray:
        """Return which values are flagged as missing."""
        return np.asarray(Flag(self.missing).score(z[:, -1]) > 0)

    def smooth(self, name: str, z: "Tensor") -> "Tensor":
        """Return the decoded values; if one is flagged as missing, the value in its place."""
        return self.encoding.smooth(z[:, : self.encoding.width])

    def smooth_rank(self, z: "Tensor") -> "Tensor":
        """Return the place of the decoded level in the order of the levels, with gradient; they must have one."""
        ranks, own = self.storage.ranks or (), z[:, : self.encoding.width]
        if isinstance(self.encoding, Levels):
            return self.encoding.soft_rank(own, ranks)
        return self.encoding.smooth(own) * (1 if list(ranks) == sorted(ranks) else -1)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row, 0 if the value is missing or discrete."""
        own = z[:, : self.encoding.width]
        known = ~np.isnan(own).any(axis=1)
        return np.where(known, self.encoding.log_slope(np.nan_to_num(own)), 0.0)

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return the problems of values that the model does not know, one sentence per problem."""
        found: list[str] = []
        if not self.width:
            # Not modelled, so other values make no difference.
            return found
        column = plain(table[self.name])
        try:
            x = self.storage.numbers(column)
        except (ValueError, TypeError):
            return [
                f"column '{self.name}' is of type {column.dtype}, and was {self.storage.dtype} in training. Convert it."
            ]
        if np.isinf(x).any():
            found.append(f"column '{self.name}' has infinite values. Replace them or drop those rows.")
        if self.storage.form == "levels" and (x < 0).any():
            new = ", ".join(repr(str(level)) for level in column[x < 0].unique()[:5])
            found.append(
                f"column '{self.name}' holds categories that were not in training: {new}. Drop those rows, or train "
                "with them."
            )
        return found

    def to_state(self) -> State:
        """Return a JSON object."""
        own = {name: getattr(self, name) for name in OWN}
        return own | {"storage": self.storage.to_state()} | encodings.to_state(self.encoding)

    @classmethod
    def from_state(cls, state: State) -> "ColumnEncoder":
        """Return what `to_state` wrote."""
        own = {name: state[name] for name in OWN}
        rest = {name: value for name, value in state.items() if name not in (*OWN, "storage")}
        storage, encoding = Storage.from_state(state["storage"]), encodings.from_state(rest)
        if storage.form == "levels" and not encodings.numbers_of(encoding) <= set(range(len(storage.labels))):
            raise ValueError(f"column '{own['name']}' has levels without names")
        return cls(storage=storage, encoding=encoding, **own)


@dataclass(frozen=True)
class OneHotEncoder:
    """A category that is split into columns of 0 and 1, of which each row has exactly one 1.

    Args:
        names: the names of the columns.
        storages: how each is stored.
        levels: the encoding of the category.
        origins: as `ColumnEncoder.origin`, of each column.
    """

    names: tuple[str, ...]
    storages: tuple[Storage, ...]
    levels: Levels
    origins: tuple[str, ...]
    linear = False

    @classmethod
    def fit(cls, table: pd.DataFrame, names: Sequence[str]) -> "OneHotEncoder":
        """Learn the category of columns that `find_one_hot` found."""
        columns = [plain(table[name]) for name in names]
        storages = tuple(Storage.of(column) for column in columns)
        chosen = np.stack([column.to_numpy(dtype=float) for column in columns]).argmax(axis=0)
        return cls(tuple(names), storages, Levels.fit(chosen), tuple(origin(table[name]) for name in names))

    @property
    def width(self) -> int:
        """The number of columns of the model."""
        return self.levels.width

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the name itself: an audit measures each column by itself."""
        return (name,)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the columns of the model; `unknown` must find no problems."""
        return self.levels.encode(self._numbers(table).argmax(axis=1))

    def _numbers(self, table: pd.DataFrame) -> np.ndarray:
        columns = [plain(table[name]).to_numpy(dtype=float, na_value=np.nan) for name in self.names]
        return np.stack(columns, axis=1)

    def decode(self, z: np.ndarray, random: np.random.Generator, lost: Lost) -> list["pd.Series[Any]"]:
        """Return the columns, with exactly one 1 in each row."""
        chosen = self.levels.decode(z, random)
        parts = zip(self.names, self.storages, self.origins, strict=True)
        return [
            restore(storage.column((chosen == place).astype(float), name), given)
            for place, (name, storage, given) in enumerate(parts)
        ]

    def smooth(self, name: str, z: "Tensor") -> "Tensor":
        """Return one of the columns as an audit measures it."""
        place = self.names.index(name)
        share = self.levels.counts[place] / sum(self.levels.counts)
        return Scaling((share,), (share * (1 - share)) ** 0.5)(self.levels.soft(z)[:, place : place + 1])

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return zeros: levels have no unit."""
        return np.zeros(len(z))

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return a sentence if a row has no 1 or several."""
        try:
            numbers = self._numbers(table)
        except (ValueError, TypeError):
            return [f"the columns {', '.join(map(repr, self.names))} must hold 0 and 1, as in training. Convert them."]
        odd = int((~(np.isin(numbers, (0, 1)).all(axis=1) & (numbers.sum(axis=1) == 1))).sum())
        if not odd:
            return []
        return [
            f"{odd} rows do not have exactly one 1 in the columns {', '.join(map(repr, self.names))}, as all had in "
            "training. Correct or drop those rows."
        ]

    def to_state(self) -> State:
        """Return a JSON object."""
        return {
            "names": self.names,
            "storages": [storage.to_state() for storage in self.storages],
            "counts": self.levels.counts,
            "origins": self.origins,
        }

    @classmethod
    def from_state(cls, state: State) -> "OneHotEncoder":
        """Return what `to_state` wrote."""
        storages = tuple(Storage.from_state(each) for each in state["storages"])
        return cls(tuple(state["names"]), storages, Levels(tuple(state["counts"])), tuple(state["origins"]))


@dataclass(frozen=True)
class IdentifierEncoder:
    """A column that only tells rows apart: not modelled, and given new values.

    Args:
        name: the name of the column.
        dtype: its dtype, if new values can have it.
        identifiers: the new values.
    """

    name: str
    dtype: str
    identifiers: Identifiers
    width = 0
    linear = True

    @classmethod
    def fit(cls, column: "pd.Series[Any]") -> "IdentifierEncoder":
        """Learn what new values look like, and nothing else of a column that `find_identifiers` found."""
        found = Identifiers.fit(plain(column), str(column.name))
        dtype = "object" if found.text else "int64"
        if isinstance(column.dtype, pd.StringDtype) or (
            pd.api.types.is_integer_dtype(column) and not isinstance(column.dtype, pd.ArrowDtype)
        ):
            dtype = str(column.dtype)
        if not found.text and len(str(found.first)) >= len(str(np.iinfo(dtype.lower()).max)):
            dtype = "int64"
        return cls(str(column.name), dtype, found)

    @property
    def names(self) -> tuple[str, ...]:
        """Its name alone."""
        return (self.name,)

    def parts(self, name: str) -> tuple[str, ...]:
        """Return nothing: no statement names it."""
        return ()

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return no columns."""
        return np.empty((len(table), 0))

    def decode(self, z: np.ndarray, random: np.random.Generator, lost: Lost) -> list["pd.Series[Any]"]:
        """Return new identifiers, counted from the first row."""
        return [self.fresh(0, len(z), len(z))]

    def fresh(self, start: int, rows: int, total: int) -> "pd.Series[Any]":
        """Return some of many new identifiers, in a dtype that has room for all.

        Args:
            start: the number of those before.
            rows: how many to return.
            total: how many there are.
        """
        dtype = pd.api.types.pandas_dtype(self.dtype)
        if not self.identifiers.text and self.identifiers.first + total > np.iinfo(self.dtype.lower()).max:
            dtype = pd.api.types.pandas_dtype("int64")
        return self.identifiers.column(rows, start).astype(dtype).rename(self.name)

    def smooth(self, name: str, z: "Tensor") -> "Tensor":
        """Return no columns."""
        return z[:, :0]

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return zeros."""
        return np.zeros(len(z))

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return nothing: all rows may have new ones."""
        return []

    def to_state(self) -> State:
        """Return a JSON object."""
        return {"name": self.name, "dtype": self.dtype, "identifiers": asdict(self.identifiers)}

    @classmethod
    def from_state(cls, state: State) -> "IdentifierEncoder":
        """Return what `to_state` wrote."""
        return cls(state["name"], state["dtype"], Identifiers(**state["identifiers"]))


KINDS: Mapping[str, type[ColumnEncoder | OneHotEncoder | IdentifierEncoder]] = {
    "column": ColumnEncoder,
    "one-hot": OneHotEncoder,
    "identifiers": IdentifierEncoder,
}
"""What states call the encoders."""


def find_one_hot(table: pd.DataFrame) -> list[list[str]]:
    """Return groups of neighbouring columns of 0 and 1 that have exactly one 1 in each row, and each one somewhere.

    Two columns must also have names that begin alike, since a pair may complement each other by chance.
    """
    ones = {name: _ones(plain(table[name])) for name in table.columns}
    names, groups = list(table.columns), []
    start = 0
    while start < len(names):
        total = np.zeros(len(table), dtype=int)
        stop = start
        while stop < len(names) and (own := ones[names[stop]]) is not None and (total + own).max(initial=0) <= 1:
            total = total + own
            stop += 1
            if total.all():
                break
        found = names[start:stop]
        if len(found) > 1 and total.all() and (len(found) > 2 or _alike(*map(str, found))):
            groups.append(found)
            start = stop
        else:
            start += 1
    return groups


def _ones(column: "pd.Series[Any]") -> np.ndarray | None:
    """Return a column of 0 and 1 that holds both, as integers, or None."""
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)) or column.isna().any():
        return None
    if pd.api.types.is_complex_dtype(column):
        return None
    numbers = column.to_numpy(dtype=float)
    return numbers.astype(int) if set(np.unique(numbers)) == {0.0, 1.0} else None


def _alike(one: str, other: str) -> bool:
    length = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return length >= PREFIX

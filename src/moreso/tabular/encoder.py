"""Encode a table as the matrix that a model learns, and decode it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from moreso.relations import Knowledge
from moreso.tabular import encodings
from moreso.tabular.dtypes import Storage
from moreso.tabular.encodings import AnyEncoding, Coded, Constant, Levels, Numeric
from moreso.tabular.transforms import CODED_ROWS, Flag
from moreso.tabular.view import expand, part_names

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ColumnEncoder:
    """One column: how it is stored, how it is encoded, and how often its values are missing.

    A column with missing values needs an additional column of the model, which flags them; a typical value fills them
    in.

    Args:
        name: the name of the column.
        storage: converts between the dtype and numbers.
        encoding: converts between numbers and columns of the model.
        missing: share of the rows without a value.
    """

    name: str
    storage: Storage
    encoding: AnyEncoding
    missing: float

    @classmethod
    def fit(cls, column: "pd.Series[Any]") -> "ColumnEncoder":
        """Learn storage and encoding of a column that `column_problems` accepts."""
        storage = Storage.of(column)
        x = storage.numbers(column)
        held = ~np.isnan(x)
        present = x[held]
        # In files, integers with missing values are read as floats.
        integer = storage.integer or (len(present) >= CODED_ROWS and bool((present == present.round()).all()))
        encoding = encodings.choose(present, levels=storage.form == "levels", integer=integer)
        return cls(str(column.name), storage, encoding, float(1 - held.mean()))

    @property
    def flagged(self) -> bool:
        """Whether any values are missing."""
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

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the columns that an audit measures, which are those of `Encoding.smooth`."""
        return part_names(self.name, len(self.encoding.counts) if isinstance(self.encoding, Levels) else 1)

    def encode(self, column: "pd.Series[Any]") -> np.ndarray:
        """Return its columns of the model; `unknown` must find no problems."""
        x = self.storage.numbers(column)
        missing = np.isnan(x)
        z = self.encoding.encode(np.where(missing, self.encoding.fill, x))
        return np.hstack([z, Flag(self.missing).encode(missing)[:, None]]) if self.flagged else z

    def decode(self, z: np.ndarray, random: np.random.Generator) -> "pd.Series[Any]":
        """Return the values."""
        x = self.encoding.decode(z[:, : self.encoding.width], random)
        return self.storage.column(x, self.name, self._missing(z))

    def _missing(self, z: np.ndarray) -> np.ndarray:
        if self.flagged:
            return np.asarray(Flag(self.missing).score(z[:, -1]) > 0)
        return np.full(len(z), self.missing == 1)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row, 0 if the value is missing or discrete."""
        return np.where(self._missing(z), 0.0, self.encoding.log_slope(z[:, : self.encoding.width]))

    def unknown(self, column: "pd.Series[Any]") -> list[str]:
        """Return the problems of values that the model does not know, one sentence per problem."""
        try:
            x = self.storage.numbers(column)
        except (ValueError, TypeError):
            return [
                f"column '{self.name}' is of type {column.dtype}, and was {self.storage.dtype} in training. Convert it."
            ]
        found: list[str] = []
        if isinstance(self.encoding, Constant) and not self.flagged:
            return found
        if np.isinf(x).any():
            found.append(f"column '{self.name}' has infinite values. Replace them or drop those rows.")
        if (missing := int(np.isnan(x).sum())) and not self.missing:
            found.append(
                f"column '{self.name}' has {missing} missing values, and had none in training. Fill them in or drop "
                "those rows."
            )
        if self.storage.form == "levels" and (x < 0).any():
            new = ", ".join(repr(str(level)) for level in column[x < 0].unique()[:5])
            found.append(
                f"column '{self.name}' holds categories that were not in training: {new}. Drop those rows, or train "
                "with them."
            )
        return found


class TableEncoder:
    """All columns of a table: converts between a DataFrame and the matrix that a model learns.

    Args:
        columns: the encoders of the columns, in order.
    """

    def __init__(self, columns: Iterable[ColumnEncoder]) -> None:
        self.columns = list(columns)
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        self._slices = [slice(end - column.width, end) for column, end in zip(self.columns, ends, strict=True)]
        self.width: int = ends[-1]

    @classmethod
    def fit(cls, table: pd.DataFrame) -> "TableEncoder":
        """Learn the columns of a table that `table_problems` accepts."""
        return cls(ColumnEncoder.fit(table[name]) for name in table.columns)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the matrix that a model learns."""
        return np.hstack([column.encode(table[column.name]) for column in self.columns])

    def decode(self, z: np.ndarray, random: np.random.Generator) -> pd.DataFrame:
        """Return the table for the rows of a matrix."""
        parts = zip(self.columns, self._slices, strict=True)
        return pd.concat([column.decode(z[:, part], random) for column, part in parts], axis=1)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row."""
        slopes = (column.log_slope(z[:, part]) for column, part in zip(self.columns, self._slices, strict=True))
        return np.sum(list(slopes), axis=0)

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return the problems of values that the model does not know in a table with all columns, one sentence each."""
        return [problem for column in self.columns for problem in column.unknown(table[column.name])]

    @property
    def linear(self) -> bool:
        """Whether the matrix is the standardised table, apart from constant columns."""
        return all(column.linear or column.width == 0 for column in self.columns)

    @property
    def modelled(self) -> list[str]:
        """The names of the columns that are not constant."""
        return [column.name for column in self.columns if column.width]

    def view(self, names: Iterable[str]) -> "SampleView":
        """Return the view of samples that an audit would measure, with gradient."""
        place = {name: index for index, name in enumerate(self.names)}
        chosen = [place[name] for name in dict.fromkeys(names)]
        return SampleView([(self.columns[index], self._slices[index].start) for index in chosen])

    def to_state(self) -> list[dict[str, Any]]:
        """Return one JSON object per column."""
        return [
            {
                "name": column.name,
                "missing": column.missing,
                "storage": column.storage.to_state(),
                **encodings.to_state(column.encoding),
            }
            for column in self.columns
        ]

    @classmethod
    def from_state(cls, states: list[dict[str, Any]]) -> "TableEncoder":
        """Return what `to_state` wrote."""
        columns = []
        for state in states:
            own = {name: state[name] for name in ("name", "missing", "storage")}
            encoding = encodings.from_state({name: value for name, value in state.items() if name not in own})
            columns.append(ColumnEncoder(own["name"], Storage.from_state(own["storage"]), encoding, own["missing"]))
        return cls(columns)


class SampleView:
    """Some columns of samples as an audit measures them, with gradient: what a regularizer sees.

    Levels are soft indicators. If a value is flagged as missing, the regularizer sees the decoded value in its place.

    Args:
        columns: each column with the position of its first column of the model.
    """

    def __init__(self, columns: list[tuple[ColumnEncoder, int]]) -> None:
        self._columns = columns
        self._parts = {column.name: column.parts for column, _ in columns}

    @property
    def names(self) -> list[str]:
        """The names of the columns of the result; a categorical feature of more than two levels has one per level."""
        return [name for parts in self._parts.values() for name in parts]

    def expand(self, knowledge: Knowledge) -> Knowledge:
        """Return the statements between these columns."""
        return expand(knowledge, self._parts)

    def __call__(self, z: "Tensor") -> "Tensor":
        """Return the columns for samples of the model."""
        from torch import cat  # noqa: PLC0415 (reading and writing tables needs no PyTorch)

        return cat(
            [column.encoding.smooth(z[:, at : at + column.encoding.width]) for column, at in self._columns], dim=1
        )

"""A table as the matrix that a model learns, and back."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from moreso.audit import expand, part_names
from moreso.relations import Relation
from moreso.synthesizer import kinds
from moreso.synthesizer.kinds import Coded, Constant, Levels, Numeric
from moreso.synthesizer.shapes import CODED_ROWS, Flag
from moreso.synthesizer.storage import Storage, faults
from moreso.tables import check_table


@dataclass(frozen=True)
class Column:
    """One column: how it is stored, what kind it is, and how often its values are missing.

    A column with holes takes one more column of the model, which flags them; the holes are filled.

    Args:
        name: of the column.
        storage: between dtype and numbers.
        kind: between numbers and the columns of the model.
        missing: share of the rows without a value.
    """

    name: str
    storage: Storage
    kind: Constant | Coded | Numeric | Levels
    missing: float

    @classmethod
    def fit(cls, column: "pd.Series[Any]") -> "Column":
        """Learn storage and kind."""
        storage = Storage.of(column)
        x = storage.numbers(column)
        held = ~np.isnan(x)
        present = x[held]
        # Files of whole numbers with holes are read as floats.
        whole = storage.whole or (len(present) >= CODED_ROWS and bool((present == present.round()).all()))
        kind = kinds.choose(present, levels=storage.form == "levels", whole=whole)
        return cls(str(column.name), storage, kind, float(1 - held.mean()))

    @property
    def flagged(self) -> bool:
        """Whether values are sometimes missing."""
        return 0 < self.missing < 1

    @property
    def width(self) -> int:
        """How many columns of the model it takes."""
        return self.kind.width + self.flagged

    @property
    def linear(self) -> bool:
        """Whether it takes one column of the model, in standard deviations of its own."""
        return self.width == 1 and (
            isinstance(self.kind, Coded) or (isinstance(self.kind, Numeric) and self.kind.bend is None)
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its columns in an audit, which are those of `Kind.smooth`."""
        return part_names(self.name, len(self.kind.counts) if isinstance(self.kind, Levels) else 1)

    def encode(self, column: "pd.Series[Any]") -> np.ndarray:
        """Return its columns of the model, for values without `unknown`."""
        x = self.storage.numbers(column)
        holes = np.isnan(x)
        z = self.kind.encode(np.where(holes, self.kind.fill, x))
        return np.hstack([z, Flag(self.missing).encode(holes)[:, None]]) if self.flagged else z

    def decode(self, z: np.ndarray, random: np.random.Generator) -> "pd.Series[Any]":
        """Return the values."""
        x = self.kind.decode(z[:, : self.kind.width], random)
        return self.storage.column(x, self.name, self._holes(z))

    def _holes(self, z: np.ndarray) -> np.ndarray:
        if self.flagged:
            return np.asarray(Flag(self.missing).score(z[:, -1]) > 0)
        return np.full(len(z), self.missing == 1)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row, 0 where the value is missing or discrete."""
        return np.where(self._holes(z), 0.0, self.kind.log_slope(z[:, : self.kind.width]))

    def unknown(self, column: "pd.Series[Any]") -> list[str]:
        """Return what the model cannot know of, one sentence a fault."""
        try:
            x = self.storage.numbers(column)
        except (ValueError, TypeError):
            return [
                f"column '{self.name}' is of type {column.dtype}, and was {self.storage.dtype} in training. Convert it."
            ]
        found: list[str] = []
        if isinstance(self.kind, Constant) and not self.flagged:
            return found
        if np.isinf(x).any():
            found.append(f"column '{self.name}' has infinite values. Replace them or drop those rows.")
        if (holes := int(np.isnan(x).sum())) and not self.missing:
            found.append(
                f"column '{self.name}' has {holes} missing values, and had none in training. Fill them in or drop "
                "those rows."
            )
        if self.storage.form == "levels" and (x < 0).any():
            new = ", ".join(repr(str(level)) for level in column[x < 0].unique()[:5])
            found.append(
                f"column '{self.name}' holds categories that were not in training: {new}. Drop those rows, or train "
                "with them."
            )
        return found


class Columns:
    """All columns of a table.

    Args:
        columns: in order.
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = list(columns)
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        self._slices = [slice(end - column.width, end) for column, end in zip(self.columns, ends, strict=True)]
        self.width: int = ends[-1]

    @classmethod
    def fit(cls, table: pd.DataFrame) -> "Columns":
        """Learn the columns of a table that `table_faults` finds no fault with."""
        return cls(Column.fit(table[name]) for name in table.columns)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the matrix that a model learns."""
        return np.hstack([column.encode(table[column.name]) for column in self.columns])

    def decode(self, z: np.ndarray, random: np.random.Generator) -> pd.DataFrame:
        """Return a table of the rows of a matrix."""
        parts = zip(self.columns, self._slices, strict=True)
        return pd.concat([column.decode(z[:, part], random) for column, part in parts], axis=1)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row."""
        slopes = (column.log_slope(z[:, part]) for column, part in zip(self.columns, self._slices, strict=True))
        return np.sum(list(slopes), axis=0)

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return what the model cannot know of in a table with all columns, one sentence a fault."""
        return [fault for column in self.columns for fault in column.unknown(table[column.name])]

    @property
    def linear(self) -> bool:
        """Whether the matrix is the table, standardised: so are all columns that are not constant."""
        return all(column.linear or column.width == 0 for column in self.columns)

    @property
    def modelled(self) -> list[str]:
        """The names of the columns that are not constant."""
        return [column.name for column in self.columns if column.width]

    def view(self, names: Iterable[str]) -> "View":
        """Return what an audit would measure of samples, with gradient."""
        place = {name: index for index, name in enumerate(self.names)}
        chosen = [place[name] for name in dict.fromkeys(names)]
        return View([(self.columns[index], self._slices[index].start) for index in chosen])

    def to_state(self) -> list[dict[str, Any]]:
        """Return a JSON object a column."""
        return [
            {
                "name": column.name,
                "missing": column.missing,
                "storage": column.storage.to_state(),
                **kinds.to_state(column.kind),
            }
            for column in self.columns
        ]

    @classmethod
    def from_state(cls, states: list[dict[str, Any]]) -> "Columns":
        """Return what `to_state` wrote."""
        columns = []
        for state in states:
            own = {name: state[name] for name in ("name", "missing", "storage")}
            kind = kinds.from_state({name: value for name, value in state.items() if name not in own})
            columns.append(Column(own["name"], Storage.from_state(own["storage"]), kind, own["missing"]))
        return cls(columns)


class View:
    """Some columns of samples in standardised original units, levels as soft indicators: what a regularizer sees.

    Where a value is flagged as missing, the one that would stand there is seen.

    Args:
        columns: each with the first of its columns of the model.
    """

    def __init__(self, columns: list[tuple[Column, int]]) -> None:
        self._columns = columns
        self._parts = {column.name: column.parts for column, _ in columns}

    @property
    def names(self) -> list[str]:
        """The names of the columns of the result; a categorical feature of more than two levels has one a level."""
        return [name for parts in self._parts.values() for name in parts]

    def expand(self, relation: Relation) -> Relation:
        """Return the relation between these columns."""
        return expand(relation, self._parts)

    def __call__(self, z: Tensor) -> Tensor:
        """Return the columns for samples of the model."""
        return torch.cat([column.kind.smooth(z[:, at : at + column.kind.width]) for column, at in self._columns], dim=1)


def table_faults(table: pd.DataFrame) -> list[str]:
    """Return what keeps a table from being modelled, one sentence a fault."""
    found: list[str] = []
    odd = [name for name in table.columns if not isinstance(name, str)]
    if odd:
        found.append(
            f"column names must be text, got {odd[0]!r} ({type(odd[0]).__name__}). Rename them, for example: "
            "table.columns = table.columns.map(str)."
        )
    try:
        check_table(table, [])
    except ValueError as error:
        found += str(error).splitlines()
    once = ~table.columns.duplicated(keep=False)
    columns: list[pd.Series[Any]] = [table[name] for name in table.columns[once]]
    found += [fault for column in columns for fault in faults(column)]
    if not found and not any(column.nunique() > 1 or 0 < column.isna().sum() < len(column) for column in columns):
        found.append("every column is constant or empty, so there is nothing to model. Check the table.")
    return found

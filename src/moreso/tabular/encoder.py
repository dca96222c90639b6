"""Encode a table as the matrix that a model learns, and decode it."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from moreso.relations import DataError, Knowledge
from moreso.tabular.columns import KINDS, ColumnEncoder, Columns, IdentifierEncoder, OneHotEncoder, State, find_one_hot
from moreso.tabular.description import describe, notices
from moreso.tabular.dtypes import is_categorical, is_time, level_order
from moreso.tabular.foreign import plain
from moreso.tabular.identifiers import find_identifiers
from moreso.tabular.missingness import Missingness
from moreso.tabular.view import expand, rank_name

if TYPE_CHECKING:
    from torch import Tensor


class TableEncoder:
    """All columns of a table: converts between a DataFrame and the matrix that a model learns.

    Args:
        names: the names of the columns, in order.
        columns: the encoders of the columns.
        missingness: how values come to be missing.
    """

    def __init__(self, names: Iterable[str], columns: Iterable[Columns], missingness: Missingness) -> None:
        self.names, self.columns, self.missingness = list(names), list(columns), missingness
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        self._slices = [slice(end - column.width, end) for column, end in zip(self.columns, ends, strict=True)]
        self.width: int = ends[-1]

    @classmethod
    def fit(
        cls, table: pd.DataFrame, named: Collection[str] = (), identifiers: Collection[str] | None = None
    ) -> "TableEncoder":
        """Learn the columns of a table that `table_problems` accepts.

        Args:
            table: the training rows.
            named: columns that statements name, which hold no identifiers.
            identifiers: the columns of identifiers; by default `find_identifiers` finds them.
        """
        fresh = set(find_identifiers(table, named) if identifiers is None else identifiers)
        groups = {group[0]: group for group in find_one_hot(table)}
        grouped = {name for group in groups.values() for name in group}
        columns: list[Columns] = []
        for name in table.columns:
            if name in fresh:
                columns.append(IdentifierEncoder.fit(table[name]))
            elif name in groups:
                columns.append(OneHotEncoder.fit(table, groups[name]))
            elif name not in grouped:
                columns.append(ColumnEncoder.fit(table[name]))
        incomplete = [each for each in columns if isinstance(each, ColumnEncoder) and each.incomplete]
        masks = {each.name: table[each.name].isna().to_numpy() for each in incomplete}
        values = (x for each in columns for x in each.encode(table).T) if masks else ()
        missingness = Missingness.fit(masks, values, [each.name for each in incomplete if not each.width])
        columns = [
            replace(each, flagged=True)
            if isinstance(each, ColumnEncoder) and each.name in missingness.flagged
            else each
            for each in columns
        ]
        return cls(table.columns, columns, missingness)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the matrix that a model learns, NaN for missing values."""
        return np.hstack([column.encode(table) for column in self.columns])

    def decode(self, z: np.ndarray, random: np.random.Generator, *, missing: bool = True) -> pd.DataFrame:
        """Return the table for the rows of a matrix; what is NaN there is missing in any case.

        Args:
            z: the matrix.
            random: draws levels that share a flag.
            missing: whether values are missing as in the training table; else the rows are complete.
        """
        parts = list(zip(self.columns, self._slices, strict=True))
        flags = {
            column.name: column.flags(z[:, part])
            for column, part in parts
            if isinstance(column, ColumnEncoder) and column.flagged
        }
        lost = self.missingness.draw(flags, len(z), random) if missing else {}
        found = [each for column, part in parts for each in column.decode(z[:, part], random, lost)]
        return pd.concat(found, axis=1)[self.names]

    def renumber(self, table: pd.DataFrame, start: int = 0, total: int | None = None) -> pd.DataFrame:
        """Return a table that was decoded in pieces, with identifiers that differ in all rows.

        Args:
            table: the rows.
            start: the number of rows before these.
            total: the number of all rows that get identifiers; by default these alone.
        """
        total = len(table) if total is None else total
        fresh = [
            column.fresh(start, len(table), total) for column in self.columns if isinstance(column, IdentifierEncoder)
        ]
        return table.assign(**{str(each.name): each.set_axis(table.index) for each in fresh}) if fresh else table

    def conform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return other rows of the table with values of the same kind as in training: 1 as '1' if it was a category.

        Raises:
            DataError: values of a column cannot be of that kind.
        """
        changed = {}
        for column in self.columns:
            if not isinstance(column, ColumnEncoder) or not column.width or column.name not in table:
                continue
            own = plain(table[column.name])
            other = is_categorical(own) != (column.storage.form == "levels") or is_time(own) != column.storage.time
            if other or (column.storage.ordered and level_order(own) is None):
                try:
                    x = column.storage.numbers(own)
                except (ValueError, TypeError) as error:
                    raise DataError(column.unknown(table)) from error
                values = column.storage.column(x, column.name, np.isnan(x) | (x < 0))
                changed[column.name] = values.set_axis(table.index)
        return table.assign(**changed) if changed else table

    def describe(self, *, complete: bool = False) -> list[str]:
        """Return what became of the columns, in a few sentences: of each kind, of missing values, of odd columns.

        Args:
            complete: whether samples have no missing values.
        """
        return describe(self.columns, complete=complete)

    @property
    def notices(self) -> list[str]:
        """What a user should know of columns that are not modelled as they stand, one sentence each."""
        return notices(self.columns)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the change of units in each row."""
        slopes = (column.log_slope(z[:, part]) for column, part in zip(self.columns, self._slices, strict=True))
        return np.sum(list(slopes), axis=0)

    def unknown(self, table: pd.DataFrame) -> list[str]:
        """Return the problems of values that the model does not know in a table with all columns, one sentence each."""
        return [problem for column in self.columns for problem in column.unknown(table)]

    @property
    def needed(self) -> list[str]:
        """The names of the columns that a table must have to be encoded."""
        fresh = {name for column in self.columns if isinstance(column, IdentifierEncoder) for name in column.names}
        return [name for name in self.names if name not in fresh]

    @property
    def flags(self) -> list[int]:
        """The columns of the matrix that flag missing values."""
        parts = zip(self.columns, self._slices, strict=True)
        return [part.stop - 1 for column, part in parts if isinstance(column, ColumnEncoder) and column.flagged]

    @property
    def incomplete(self) -> bool:
        """Whether rows of the matrix have missing values."""
        return any(isinstance(column, ColumnEncoder) and column.incomplete for column in self.columns)

    @property
    def linear(self) -> bool:
        """Whether the matrix is the standardised table, apart from constant columns."""
        return all(column.linear or column.width == 0 for column in self.columns)

    @property
    def modelled(self) -> list[str]:
        """The names of the columns that are not constant."""
        return [name for column in self.columns if column.width for name in column.names]

    def view(self, names: Iterable[str], directed: Iterable[str] = ()) -> "SampleView":
        """Return the view of samples that an audit would measure, with gradient.

        Args:
            names: the columns.
            directed: those that directions name.
        """
        place = {
            name: (column, part)
            for column, part in zip(self.columns, self._slices, strict=True)
            for name in column.names
        }
        return SampleView({name: place[name] for name in names}, directed)

    def to_state(self) -> State:
        """Return a JSON object."""
        called = {encoder: name for name, encoder in KINDS.items()}
        columns = [{"kind": called[type(column)], **column.to_state()} for column in self.columns]  # type: ignore[index]
        return {"names": self.names, "columns": columns, "missingness": self.missingness.to_state()}

    @classmethod
    def from_state(cls, state: State) -> "TableEncoder":
        """Return what `to_state` wrote."""
        columns = [KINDS[own.pop("kind")].from_state(own) for own in map(dict, state["columns"])]
        return cls(state["names"], columns, Missingness.from_state(state["missingness"]))


class SampleView:
    """Some columns of samples as an audit measures them, with gradient: what a regularizer sees.

    Levels are soft indicators. If a value is flagged as missing, the regularizer sees the decoded value in its place.

    Args:
        columns: the name of each column, its encoder, and the encoder's columns of the model.
        directed: the columns that directions name; for ordered levels, the place of the level is one more column.
    """

    def __init__(self, columns: dict[str, tuple[Columns, slice]], directed: Iterable[str] = ()) -> None:
        self._columns = columns
        self._parts = {name: column.parts(name) for name, (column, _) in columns.items()}
        self._ranks = {
            name: rank_name(name)
            for name in directed
            if isinstance(encoder := columns[name][0], ColumnEncoder) and encoder.storage.form == "levels"
        }

    @property
    def names(self) -> list[str]:
        """The names of the columns of the result; a categorical feature of more than two levels has one per level."""
        return [name for parts in self._parts.values() for name in parts] + list(self._ranks.values())

    def expand(self, knowledge: Knowledge) -> Knowledge:
        """Return the statements between these columns."""
        return expand(knowledge, self._parts, self._ranks)

    def __call__(self, z: "Tensor") -> "Tensor":
        """Return the columns for samples of the model."""
        from torch import cat  # noqa: PLC0415 (reading and writing tables needs no PyTorch)

        found = [column.smooth(name, z[:, part]) for name, (column, part) in self._columns.items()]
        for name in self._ranks:
            column, part = self._columns[name]
            if isinstance(column, ColumnEncoder):
                found.append(column.smooth_rank(z[:, part]))
        return cat(found, dim=1)

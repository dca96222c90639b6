"""CTGAN and TVAE: the synthesizers of the package ctgan, in the copy that the user has installed.

That package is under the Business Source License; moreso does not depend on it and holds none of its code.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN, TVAE
from jaxtyping import Float
from torch import Tensor

from moreso.adapters.attaching import attach as attach_draws
from moreso.adapters.modes import Column, columns_of
from moreso.adapters.push import MARGIN, Push, Settings
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge
from moreso.training import Penalty

TESTED = "0.12.1"
NEEDED = {
    CTGAN: ("_embedding_dim", "_device", "_generator", "_data_sampler", "_transformer", "_apply_activate"),
    TVAE: ("embedding_dim", "_device"),
}
"""What is read of a model before a fit; `Table.columns` looks at what there is after it."""


class Table:
    """An adapter of CTGAN or TVAE: rows as an audit would measure them, by the law of the library's own `sample`.

    A number is one column, in standard deviations; a discrete column is a column a level, 1 where a row has it. CTGAN
    samples levels by the logarithms of their frequencies, and so do the draws.

    Args:
        model: a CTGAN or a TVAE, fitted or not.

    Raises:
        TypeError: something else.
        RuntimeError: a version of the package that is made otherwise than the one known.
    """

    def __init__(self, model: Any) -> None:
        self._model = checked(model)
        self._columns: list[Column] = []
        self._learned: object = None

    @property
    def model(self) -> Any:
        """The CTGAN or TVAE."""
        return self._model

    @property
    def net(self) -> Any:
        """The network that makes rows; None before a fit."""
        return getattr(self.model, "_generator" if isinstance(self.model, CTGAN) else "decoder", None)

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters of the generator or decoder; none before a fit."""
        return [] if self.net is None else self.net.parameters()

    def buffers(self) -> Iterable[Tensor]:
        """Return the running statistics of the generator, which draws move."""
        return [] if self.net is None else self.net.buffers()

    @property
    def columns(self) -> list[Column]:
        """The columns of the table, as the library has learned them in its last fit."""
        try:
            transformer = self.model._transformer if isinstance(self.model, CTGAN) else self.model.transformer
            if self._learned is not transformer:
                self._columns, self._learned = columns_of(transformer), transformer
        except (AttributeError, LookupError, TypeError) as error:
            raise RuntimeError(_unknown(str(error))) from error
        return self._columns

    def draw(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows with gradients to the network, in its present mode, as the library samples."""
        model = self.model
        if isinstance(model, TVAE):
            logits, sigma = self.net(torch.randn(n, model.embedding_dim, device=model._device))
            x = logits.tanh()
            return self._decode(x, x + sigma * torch.randn_like(x), logits)
        noise = torch.randn(n, model._embedding_dim, device=model._device)
        condition = model._data_sampler.sample_original_condvec(n)
        if condition is not None:
            noise = torch.cat([noise, torch.from_numpy(condition).to(noise)], dim=1)
        x = model._apply_activate(self.net(noise))
        return self._decode(x, x)

    def _decode(self, *slots: Tensor) -> Tensor:
        return torch.cat([column.decode(*slots) for column in self.columns], dim=1)

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows of the library's own `sample`."""
        return self.rows(self.model.sample(n))

    def rows(self, table: pd.DataFrame | np.ndarray) -> Float[Tensor, "n d"]:
        """Return the rows of a table in the form of draws; the model must be fitted."""
        if not isinstance(table, pd.DataFrame):
            table = pd.DataFrame(table, columns=[column.name for column in self.columns])
        return torch.tensor(np.hstack([column.encode(table) for column in self.columns]), dtype=torch.float32)

    def regularizer(self, knowledge: Knowledge, data: pd.DataFrame | np.ndarray | None = None) -> Regularizer:
        """Return the loss term on draws; the model must be fitted, or in its fit.

        Args:
            knowledge: statements about columns of the table.
            data: rows that fix the kernels' bandwidths; by default those of the mixture fitted to each column.

        Raises:
            KnowledgeError: a name that is no column of the table.
        """
        random, columns = np.random.default_rng(0), self.columns
        ends = accumulate(column.width for column in columns)
        features = {
            column.name: partial(_part, columns=slice(end - column.width, end))
            for column, end in zip(columns, ends, strict=True)
        }
        spread = np.hstack([column.spread(1000, random) for column in columns])
        ruler = torch.tensor(spread, dtype=torch.float32) if data is None else self.rows(data)
        return Regularizer(knowledge, features, data=ruler, margin=MARGIN)


class Late:
    """A penalty on draws of a table that is made at the first of them, when the library has learned the columns."""

    def __init__(self, table: Table, knowledge: Knowledge, data: pd.DataFrame | np.ndarray | None) -> None:
        self.table, self.knowledge, self.data = table, knowledge, data
        self._made: tuple[list[Column], Regularizer] | None = None

    @property
    def regularizer(self) -> Regularizer:
        """The loss term for the last fit."""
        if self._made is None or self._made[0] is not self.table.columns:
            self._made = self.table.columns, self.table.regularizer(self.knowledge, self.data)
        return self._made[1]

    def draw(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows with gradients; faults of the knowledge are told here, as what they are."""
        x = self.table.draw(n)
        self.regularizer.to(x.device)
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty on draws."""
        return self.regularizer(x)

    @property
    def held(self) -> float:
        """Share of the statements that held on the last draws."""
        return self.regularizer.held


def attach(
    model: Any,
    knowledge: Knowledge | Penalty,
    *,
    data: pd.DataFrame | np.ndarray | None = None,
    **settings: Unpack[Settings],
) -> AbstractContextManager[Push]:
    """Push a CTGAN or TVAE towards knowledge while its own `fit` trains it inside the `with` block.

    Args:
        model: a CTGAN or a TVAE.
        knowledge: statements about columns of the table, or a penalty on draws of `Table`.
        data: training rows, which fix the kernels' bandwidths; by default the library's mixtures do.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError: within the fit, no relation, or a name that is no column of the table.
        TypeError, ValueError, RuntimeError: as `Table` and `adapters.attach`.
    """
    return attach_table(Table(model), knowledge, data, **settings)


def attach_table(
    table: Table, knowledge: Knowledge | Penalty, data: Any = None, **settings: Unpack[Settings]
) -> AbstractContextManager[Push]:
    """Attach to a table whose columns are not learned yet; see `attach`."""
    if not isinstance(knowledge, Knowledge):
        return attach_draws(table, table.draw, knowledge, data=data, **settings)
    late = Late(table, knowledge, data)
    return attach_draws(table, late.draw, late, **settings)


def checked(model: Any) -> Any:
    """Return the model, or raise as `Table` does."""
    kind = next((each for each in NEEDED if isinstance(model, each)), None)
    if kind is None:
        raise TypeError(f"the model must be a CTGAN or a TVAE of ctgan, got {type(model).__name__}. Pass one.")
    if missing := [name for name in NEEDED[kind] if not hasattr(model, name)]:
        raise RuntimeError(_unknown(f"{kind.__name__} has no '{missing[0]}'"))
    return model


def _part(x: Tensor, columns: slice) -> Tensor:
    return x[:, columns]


def _unknown(found: str) -> str:
    return (
        f"ctgan {version('ctgan')} is not known to moreso: {found}. Install the one that it was tested with: "
        f"pip install ctgan=={TESTED}."
    )

"""CTGAN and TVAE: the synthesizers of the package ctgan, in the user's installation.

That package is under the Business Source License; moreso does not depend on it and contains none of its code.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN, TVAE
from jaxtyping import Float
from torch import Tensor

from moreso.adapters.attaching import attach as attach_draws
from moreso.adapters.common import Options
from moreso.adapters.modes import Column, columns_of
from moreso.guidance import Penalty, Push, Term
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge, match_columns
from moreso.tabular import expand

TESTED = "0.12.1"
NEEDED = {
    CTGAN: ("_embedding_dim", "_device", "_generator", "_data_sampler", "_transformer", "_apply_activate"),
    TVAE: ("embedding_dim", "_device"),
}
"""Attributes of a model that moreso needs before a fit; `Table.columns` checks those after it."""


class Table:
    """An adapter of CTGAN or TVAE: rows as an audit would measure them, distributed as the library's own `sample`.

    A number becomes one column, in standard deviations. A discrete column becomes one column per level, which is 1 in
    the rows that have the level. CTGAN samples levels by the logarithms of their frequencies, and so do the draws.

    Args:
        model: a CTGAN or a TVAE, fitted or not.

    Raises:
        TypeError: the model is neither.
        RuntimeError: the installed version of the package differs from the known one.
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
        """The network that generates rows; None before a fit."""
        return getattr(self.model, "_generator" if isinstance(self.model, CTGAN) else "decoder", None)

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters of the generator or decoder; none before a fit."""
        return [] if self.net is None else self.net.parameters()

    def buffers(self) -> Iterable[Tensor]:
        """Return the running statistics of the generator, which draws change."""
        return [] if self.net is None else self.net.buffers()

    @property
    def columns(self) -> list[Column]:
        """The columns of the table, as the library learned them in its last fit."""
        try:
            transformer = self.model._transformer if isinstance(self.model, CTGAN) else self.model.transformer
            if self._learned is not transformer:
                self._columns, self._learned = columns_of(transformer), transformer
        except (AttributeError, LookupError, TypeError) as error:
            raise RuntimeError(_unknown(str(error))) from error
        return self._columns

    def draw(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows with gradients to the network, in its current mode, as the library samples."""
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
        """Return n rows from the library's own `sample`."""
        return self.rows(self.model.sample(n))

    def rows(self, table: pd.DataFrame | np.ndarray) -> Float[Tensor, "n d"]:
        """Return the rows of a table in the form of draws; the model must be fitted."""
        if not isinstance(table, pd.DataFrame):
            table = pd.DataFrame(table, columns=[column.name for column in self.columns])
        return torch.tensor(np.hstack([column.encode(table) for column in self.columns]), dtype=torch.float32)

    def regularizer(self, knowledge: Knowledge, data: pd.DataFrame | np.ndarray | None = None) -> Regularizer:
        """Return the loss term on draws; the model must be fitted, or its fit must have begun.

        Args:
            knowledge: statements about columns of the table.
            data: rows that fix the kernels' bandwidths; by default, values from the mixture fitted to each column.

        Raises:
            KnowledgeError: a name is not a column of the table.
        """
        random, columns = np.random.default_rng(0), self.columns
        # Draws have one column for each of two levels, too.
        parts = {each.name: tuple(f"{each.name}\n{i}" for i in range(each.width)) for each in columns}
        names = [name for part in parts.values() for name in part]
        spread = np.hstack([column.spread(1000, random) for column in columns])
        reference = torch.tensor(spread, dtype=torch.float32) if data is None else self.rows(data)
        return Regularizer(expand(match_columns(knowledge, parts), parts), names, data=reference)


class Late:
    """A penalty on draws of a table, built at the first draw, when the library has learned the columns."""

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
        """Return n rows with gradients; problems of the knowledge are raised here, as `KnowledgeError`."""
        x = self.table.draw(n)
        self.regularizer.to(x.device)
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty on draws."""
        return self.measure(x).value

    def measure(self, x: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return what the regularizer measures."""
        return self.regularizer.measure(x, standard_error)


def attach(
    model: Any,
    knowledge: Knowledge | str | Penalty,
    *,
    data: pd.DataFrame | np.ndarray | None = None,
    **settings: Unpack[Options],
) -> AbstractContextManager[Push]:
    """Push a CTGAN or TVAE towards knowledge while its own `fit` trains it inside the `with` block.

    Args:
        model: a CTGAN or a TVAE.
        knowledge: statements about columns of the table, or a penalty on draws of `Table`.
        data: training rows, which fix the kernels' bandwidths; by default the library's mixtures do.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError: during the fit, if there is no relation or a name is not a column of the table.
        TypeError, ValueError, RuntimeError: as `Table` and `adapters.attach`.
    """
    return attach_table(Table(model), knowledge, data, **settings)


def attach_table(
    table: Table, knowledge: Knowledge | str | Penalty, data: Any = None, **settings: Unpack[Options]
) -> AbstractContextManager[Push]:
    """Attach to a table whose columns have not been learned yet; see `attach`."""
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


def _unknown(found: str) -> str:
    return (
        f"ctgan {version('ctgan')} is not known to moreso: {found}. Install the one that it was tested with: "
        f"pip install ctgan=={TESTED}."
    )

"""Columns as CTGAN and TVAE write them: numbers as a mode and a place within it, levels as a slot each."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class Column:
    """One column of a table: from the slots of a network's output to what an audit would measure.

    A number is one column, in standard deviations of the mixture that the library has fitted to it; levels are a column
    each, 1 where a row has them.

    Args:
        info: what the library's transformer knows of it.
        dtype: in the training rows.
        start: its first slot.

    Attributes:
        width: how many columns of a draw it takes.
    """

    def __init__(self, info: Any, dtype: Any, start: int) -> None:
        self.name, self.transform = info.column_name, info.transform
        self.start, self.end = start, start + int(info.output_dimensions)
        self.discrete = info.column_type == "discrete"
        self.width = self.end - start if self.discrete else 1
        if self.discrete:
            return
        self.whole = pd.api.types.is_integer_dtype(dtype)
        mixture, valid = self.transform._bgm_transformer, self.transform.valid_component_indicator
        means, deviations = mixture.means_[valid, 0], np.sqrt(mixture.covariances_[valid, 0, 0])
        self.share = mixture.weights_[valid] / mixture.weights_[valid].sum()
        self.center = float(self.share @ means)
        self.scale = float(np.sqrt(self.share @ (deviations**2 + (means - self.center) ** 2)))
        self.means, self.deviations = (means - self.center) / self.scale, deviations / self.scale

    def decode(self, x: Tensor, place: Tensor, logits: Tensor | None = None) -> Float[Tensor, "n width"]:
        """Return the column of rows; what the library picks, cuts and rounds lets the gradient through.

        Args:
            x: activated slots, of which the library picks the largest as the level or the mode.
            place: slots, of which the first is the place within the mode, with the library's noise if it has any.
            logits: slots whose softmax has the gradient of the pick; by default `x` are probabilities.
        """
        picked = slice(self.start + (not self.discrete), self.end)
        soft = x[:, picked] if logits is None else logits[:, picked].softmax(1)
        hard = functional.one_hot(x[:, picked].argmax(1), soft.shape[1])
        choice = _through(soft, hard.to(soft))
        if self.discrete:
            return choice
        within = _through(place[:, self.start], place[:, self.start].clamp(-1, 1))
        reach = choice @ choice.new_tensor(self.transform.STD_MULTIPLIER * self.deviations)
        value = choice @ choice.new_tensor(self.means) + within * reach
        if self.whole:
            # In double precision, for numbers of many digits.
            rounded = (value.double() * self.scale + self.center).round()
            value = _through(value, ((rounded - self.center) / self.scale).to(value))
        return value[:, None]

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the column (n, width) of a table's rows."""
        if self.discrete:
            return self.transform.transform(table[[self.name]]).to_numpy(dtype=float)
        return (table[[self.name]].to_numpy(dtype=float) - self.center) / self.scale

    def spread(self, n: int, random: np.random.Generator) -> np.ndarray:
        """Return n values (n, width) as far apart as those that the library was fitted to."""
        if self.discrete:
            return np.eye(self.width)[random.integers(self.width, size=n)]
        mode = random.choice(len(self.share), size=n, p=self.share)
        return random.normal(self.means[mode], self.deviations[mode])[:, None]

    def agrees(self, slots: Tensor, table: pd.DataFrame) -> bool:
        """Tell whether slots are decoded to the rows of a table; halves may be rounded up or down."""
        ours, theirs = self.decode(slots, slots).numpy(), self.encode(table)
        return np.allclose(ours, theirs, atol=1e-3 + (0 if self.discrete or not self.whole else 1 / self.scale))


def columns_of(transformer: Any) -> list[Column]:
    """Return the columns that the library's `DataTransformer` has learned, after a look at how it decodes them.

    Raises:
        LookupError, AttributeError, TypeError: they are not kept or decoded as they are here.
    """
    columns, start = [], 0
    for info in transformer._column_transform_info_list:
        columns.append(Column(info, transformer._column_raw_dtypes[info.column_name], start))
        start = columns[-1].end
    slots = torch.rand(50, start, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    try:
        table = transformer.inverse_transform(slots.numpy())
    except ValueError:
        # The library cannot write far numbers in a narrow type; whether it can write samples is its own affair.
        return columns
    table = pd.DataFrame(table, columns=None if isinstance(table, pd.DataFrame) else [each.name for each in columns])
    if others := [column.name for column in columns if not column.agrees(slots, table)]:
        raise LookupError(f"the column '{others[0]}' is decoded otherwise")
    return columns


def _through(x: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the gradient of `x`."""
    return x + (value - x).detach()

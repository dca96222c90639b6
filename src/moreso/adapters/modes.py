"""Columns as CTGAN and TVAE encode them: numbers as a mode and a position within it, levels as one slot each."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from moreso.tabular import Scaling


class Column:
    """One column of a table: maps the slots of a network's output to what an audit would measure.

    A number becomes one column, in standard deviations of the mixture that the library fitted to it. Each level becomes
    one column, which is 1 in the rows that have the level.

    Args:
        info: the library transformer's information about the column.
        dtype: the column's dtype in the training rows.
        start: its first slot.

    Attributes:
        width: the number of columns that it takes in a draw.
    """

    def __init__(self, info: Any, dtype: Any, start: int) -> None:
        self.name, self.transform = info.column_name, info.transform
        self.start, self.end = start, start + int(info.output_dimensions)
        self.discrete = info.column_type == "discrete"
        self.width = self.end - start if self.discrete else 1
        if self.discrete:
            return
        self.integer = pd.api.types.is_integer_dtype(dtype)
        mixture, valid = self.transform._bgm_transformer, self.transform.valid_component_indicator
        means, deviations = mixture.means_[valid, 0], np.sqrt(mixture.covariances_[valid, 0, 0])
        self.share = mixture.weights_[valid] / mixture.weights_[valid].sum()
        center = float(self.share @ means)
        scale = float(np.sqrt(self.share @ (deviations**2 + (means - center) ** 2)))
        self.scaling = Scaling((center,), scale)
        self.means, self.deviations = self.scaling(means), deviations / scale

    def decode(self, x: Tensor, place: Tensor, logits: Tensor | None = None) -> Float[Tensor, "n width"]:
        """Return the column of rows; gradients pass through the library's choices, clipping and rounding.

        Args:
            x: activated slots; the library picks the largest as the level or the mode.
            place: slots, the first of which is the position within the mode, with the library's noise if it has any.
            logits: slots whose softmax gives the gradient of the choice; by default `x` are probabilities.
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
        if self.integer:
            # In double precision, for numbers with many digits.
            rounded = (value.double() * self.scaling.scale + self.scaling.mean[0]).round()
            value = _through(value, self.scaling(rounded).to(value))
        return value[:, None]

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the column (n, width) of a table's rows."""
        if self.discrete:
            return self.transform.transform(table[[self.name]]).to_numpy(dtype=float)
        return self.scaling(table[[self.name]].to_numpy(dtype=float))

    def spread(self, n: int, random: np.random.Generator) -> np.ndarray:
        """Return n values (n, width) with the spread of those that the library was fitted to."""
        if self.discrete:
            return np.eye(self.width)[random.integers(self.width, size=n)]
        mode = random.choice(len(self.share), size=n, p=self.share)
        return random.normal(self.means[mode], self.deviations[mode])[:, None]

    def agrees(self, slots: Tensor, table: pd.DataFrame) -> bool:
        """Return whether slots decode to the rows of a table; halves may be rounded up or down."""
        ours, theirs = self.decode(slots, slots).numpy(), self.encode(table)
        return np.allclose(
            ours, theirs, atol=1e-3 + (0 if self.discrete or not self.integer else 1 / self.scaling.scale)
        )


def columns_of(transformer: Any) -> list[Column]:
    """Return the columns that the library's `DataTransformer` learned, after a check of how it decodes them.

    Raises:
        LookupError, AttributeError, TypeError: the library stores or decodes them differently.
    """
    columns, start = [], 0
    for info in transformer._column_transform_info_list:
        columns.append(Column(info, transformer._column_raw_dtypes[info.column_name], start))
        start = columns[-1].end
    slots = torch.rand(50, start, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    try:
        table = transformer.inverse_transform(slots.numpy())
    except ValueError:
        # The library cannot write large numbers in a narrow type; whether it can write samples is up to the library.
        return columns
    table = pd.DataFrame(table, columns=None if isinstance(table, pd.DataFrame) else [each.name for each in columns])
    if others := [column.name for column in columns if not column.agrees(slots, table)]:
        raise LookupError(f"the column '{others[0]}' is decoded otherwise")
    return columns


def _through(x: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the gradient of `x`."""
    return x + (value - x).detach()

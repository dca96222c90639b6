"""Samples in the forms that people pass: tensors, arrays, lists and DataFrames."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Samples: TypeAlias = object
"""A tensor, or anything that NumPy turns into an array of numbers: an array, a list, a DataFrame."""


def as_tensor(samples: Samples, name: str, columns: Sequence[str] | None = None) -> Tensor:
    """Return samples as a tensor of floating-point numbers, in single precision at least; tensors keep their gradient.

    Args:
        samples: a tensor, an array, a list or a DataFrame.
        name: the name of the argument.
        columns: the columns to take from a DataFrame, by the text of their names; by default all.

    Raises:
        TypeError: it is something else, or holds no numbers.
        ValueError: columns are missing.
    """
    if isinstance(samples, Tensor):
        found = samples
    elif hasattr(samples, "columns") and hasattr(samples, "iloc"):
        found = _from_frame(samples, name, columns)
    elif isinstance(samples, tuple | list) and any(isinstance(each, Tensor) for each in samples):
        raise TypeError(
            f"'{name}' must be one tensor of samples, got a {type(samples).__name__} of tensors. If the model returns "
            "several, pass the samples alone; if these are columns, pass torch.stack(columns, dim=1)."
        )
    else:
        try:
            array = np.asarray(samples)
        except (ValueError, TypeError, RuntimeError):
            array = np.asarray(None)
        found = _from_array(array, name, type(samples).__name__)
    if found.is_complex():
        raise TypeError(f"'{name}' must hold real numbers, got complex ones. Pass their parts as two columns.")
    if not found.is_floating_point():
        return found.double()
    return found.float() if found.dtype.itemsize < 4 else found


def _from_frame(frame: Any, name: str, columns: Sequence[str] | None) -> Tensor:
    labels = [str(label) for label in frame.columns]
    chosen = labels if columns is None else list(columns)
    if lacking := [column for column in chosen if column not in labels]:
        raise ValueError(
            f"'{name}' lacks the columns {', '.join(map(repr, lacking))}. Pass a DataFrame with all features, or a "
            "tensor of them in order."
        )
    parts = []
    for column in chosen:
        try:
            parts.append(np.asarray(frame.iloc[:, labels.index(column)], dtype=float))
        except (ValueError, TypeError):
            raise TypeError(f"column '{column}' of '{name}' must hold numbers, got other values. Encode it.") from None
    return torch.tensor(np.stack(parts, axis=1))


def _from_array(array: np.ndarray, name: str, given: str) -> Tensor:
    if array.dtype.kind not in "fiubc" or array.ndim == 0:
        raise TypeError(f"'{name}' must hold numbers, one row a sample, got {given}. Pass a tensor or an array.")
    kept = array.dtype.kind == "c" or array.dtype in (np.float16, np.float32, np.float64)
    return torch.tensor(array if kept else array.astype(np.float64))

"""The penalty's gradient, and how much of it a step takes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from moreso.training.machine import seeded

Penalty = Callable[[Tensor], Tensor]
"""From samples that carry gradients to a scalar; 0 where nothing is to be pushed."""

AUTO_RATIO = 0.3
"""weight="auto" makes the penalty's gradient this share of the loss's."""


def check_weight(weight: float | str, ratio: float = AUTO_RATIO) -> None:
    """Raise unless `weight` is "auto" or a number of at least 0, and `ratio` a number above 0; all faults at once."""
    faults = []
    if not (isinstance(ratio, int | float) and 0 < ratio < float("inf")):
        faults.append(f"the ratio must be a number above 0, got {ratio!r}. Leave it at {AUTO_RATIO}.")
    if weight != "auto" and not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
        faults.append(f"the weight must be 'auto' or a number of at least 0, got {weight!r}. Leave it at 'auto'.")
    if faults:
        raise ValueError("\n".join(faults))


def push(
    model: Any,
    penalty: Penalty,
    weight: float | str,
    ratio: float,
    draws: int,
    seeds: torch.Generator,
    autocast: Callable[[], AbstractContextManager[Any]],
    step: int,
) -> float:
    """Add the penalty's gradient to the gradients that the loss has left, and return the penalty."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with seeded(int(torch.randint(2**62, (), generator=seeds))):
        try:
            with autocast():
                samples = model.sample(draws)
            value = penalty(samples)
        except ValueError as error:
            raise ValueError(f"step {step}: {error}") from error
    if value.item() == 0:
        return 0.0
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    pushed = [(parameter, grad) for parameter, grad in zip(parameters, found, strict=True) if grad is not None]
    scale = weight if isinstance(weight, int | float) else relative_weight(pushed, ratio=ratio)
    for parameter, grad in pushed:
        parameter.grad = scale * grad if parameter.grad is None else parameter.grad + scale * grad
    return value.item()


def relative_weight(pushed: Sequence[tuple[Tensor, Tensor]], *, ratio: float = AUTO_RATIO) -> float:
    """Return the weight that makes the penalty's gradient `ratio` times as long as the loss's.

    Args:
        pushed: parameters that hold the loss's gradient, each with its gradient of the penalty.
        ratio: of the two lengths.
    """
    own = torch.stack([parameter.grad.norm() for parameter, _ in pushed if parameter.grad is not None]).norm()
    other = torch.stack([grad.norm() for _, grad in pushed]).norm()
    return ratio * (own / other).item() if other > 0 else 0.0

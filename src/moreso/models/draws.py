"""Random numbers of models, which in a population are those of a member's lane."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lane:
    """Which random numbers the members of a population get: all lanes draw, and each member gets its own part.

    Args:
        number: the lane of the member, as `torch.func.vmap` passes it.
        count: the number of lanes.
    """

    number: Tensor
    count: int


_lane: ContextVar[Lane | None] = ContextVar("lane", default=None)


@contextmanager
def drawing(lane: Lane) -> Iterator[None]:
    """Let models draw the random numbers of a lane for a while."""
    token = _lane.set(lane)
    try:
        yield
    finally:
        _lane.reset(token)


def normal(*size: int, like: Tensor) -> Tensor:
    """Return draws from N(0, 1), on the device and in the precision of `like`."""
    return _draw(torch.randn, Tensor.normal_, size, like)


def normal_like(x: Tensor) -> Tensor:
    """Return draws from N(0, 1) in the shape of `x`."""
    return _draw(torch.randn, Tensor.normal_, x.shape, x)


def uniform_like(x: Tensor) -> Tensor:
    """Return draws from the uniform distribution on [0, 1) in the shape of `x`."""
    return _draw(torch.rand, Tensor.uniform_, x.shape, x)


def _draw(draw: Callable[..., Tensor], fill: Callable[[Tensor], Tensor], size: Sequence[int], like: Tensor) -> Tensor:
    lane = _lane.get()
    if lane is None:
        return draw(size, device=like.device, dtype=like.dtype)
    # Filled rather than drawn: a stack replaces the functions that draw, for models that do not use these here.
    return fill(torch.empty((lane.count, *size), device=like.device, dtype=like.dtype))[lane.number]

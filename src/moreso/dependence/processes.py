"""Samples of several processes as one batch: what a process needs to know of the others.

Every process computes the same value from sums over all of them. Its gradient is that of the value with respect to its
own samples, so gradients pass through these functions as if what the others contribute were constant. All functions
return what they get if there is no group of processes.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

Group = dist.ProcessGroup
"""A group of processes of `torch.distributed`, such as `torch.distributed.group.WORLD`."""


def total(x: Tensor, group: Group | None) -> Tensor:
    """Return the sum over processes, with the gradient of the own term."""
    return x if group is None else _Total.apply(x, group)


class Rows(NamedTuple):
    """The rows of all processes.

    Args:
        number: their number.
        before: how many of them come before those of this process.
    """

    number: int
    before: int


def ends_over(
    ends: Float[Tensor, "2 *members d"], rows: int, group: Group | None
) -> tuple[Float[Tensor, "2 *members d"], Rows]:
    """Return the least and the greatest sample of each column over all processes, NaN if any is, and their rows.

    Args:
        ends: those of this process.
        rows: the number of its rows.
        group: the processes.
    """
    if group is None:
        return ends, Rows(rows, 0)
    own = torch.cat([ends.double().flatten(), ends.new_tensor([rows], dtype=torch.double)])
    every = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, own, group=group)
    both = torch.stack([each[:-1] for each in every]).view(-1, *ends.shape).to(ends.dtype)
    counts = [int(each[-1]) for each in every]
    found = torch.stack([both[:, 0].amin(0), both[:, 1].amax(0)])
    return found, Rows(sum(counts), sum(counts[: dist.get_rank(group)]))


def gather(x: Float[Tensor, "*members m d"], rows: Rows, group: Group | None) -> Float[Tensor, "*members n d"]:
    """Return the rows of all processes, in the order of their ranks, with the gradient of the own rows."""
    return x if group is None else _Gather.apply(x, rows, group)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        found = x.clone()
        dist.all_reduce(found, group=group)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows, group: Group) -> Tensor:
        own = x.movedim(-2, 0).contiguous()
        # A sum of parts that are zero elsewhere, since parts may differ in length.
        whole = own.new_zeros(rows.number, *own.shape[1:])
        ctx.own = slice(rows.before, rows.before + len(own))
        whole[ctx.own] = own
        dist.all_reduce(whole, group=group)
        return whole.movedim(0, -2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[..., ctx.own, :], None, None

"""Samples of several processes as one batch: what a process needs to know of the others.

Every process computes the same value from sums over all of them. Its gradient is that of the value with respect to its
own samples, so gradients pass through these functions as if what the others contribute were constant. All functions
return what they get if there is no group of processes.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

Group = dist.ProcessGroup
"""A group of processes of `torch.distributed`, such as `torch.distributed.group.WORLD`."""


def total(x: Tensor, group: Group | None) -> Tensor:
    """Return the sum over processes, with the gradient of the own term."""
    return x if group is None else _Total.apply(x, group)


def count_over(rows: int, device: torch.device, group: Group | None) -> tuple[int, int]:
    """Return the number of rows of all processes, and how many of them come before those of this one."""
    if group is None:
        return rows, 0
    every = [torch.empty(1, dtype=torch.long, device=device) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, torch.tensor([rows], device=device), group=group)
    counts = torch.cat(every).tolist()
    return sum(counts), sum(counts[: dist.get_rank(group)])


def ends_over(ends: Float[Tensor, "2 *members d"], group: Group | None) -> Float[Tensor, "2 *members d"]:
    """Return the least and the greatest sample of each column over all processes; NaN if any sample is NaN."""
    if group is None:
        return ends
    # Both ends in one message; NaN does not survive a maximum everywhere, so it travels on its own.
    both = torch.stack([-ends[0], ends[1], ends.isnan().any(0).to(ends.dtype)])
    both = both.nan_to_num(-torch.inf)
    dist.all_reduce(both, dist.ReduceOp.MAX, group=group)
    return torch.stack([-both[0], both[1]]).masked_fill(both[2] > 0, torch.nan)


def gather(x: Float[Tensor, "*members m d"], group: Group | None) -> Float[Tensor, "*members n d"]:
    """Return the rows of all processes, in the order of their ranks, with the gradient of the own rows."""
    return x if group is None else _Gather.apply(x, group)


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
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        rows = x.movedim(-2, 0).contiguous()
        count, before = count_over(len(rows), x.device, group)
        # A sum of parts that are zero elsewhere, since parts may differ in length.
        whole = rows.new_zeros(count, *rows.shape[1:])
        ctx.own = slice(before, before + len(rows))
        whole[ctx.own] = rows
        dist.all_reduce(whole, group=group)
        return whole.movedim(0, -2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[..., ctx.own, :], None

"""A training in two processes, by a file of its own, so that each starts quickly."""

import random
from datetime import timedelta
from functools import partial

import torch
from torch import distributed, nn

from moreso.adapters import attach
from moreso.adapters.push import forked

STEPS = 3


def host() -> nn.Module:
    """Return a linear map, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(3, 3)


def loss(module: nn.Module, rank: int) -> torch.Tensor:
    """Return a loss on rows that differ from process to process."""
    rows = torch.randn(32, 3, generator=torch.Generator().manual_seed(rank))
    return (module(rows) - 1.0).square().mean()


def penalty(x: torch.Tensor) -> torch.Tensor:
    """Return the squared covariance of two columns."""
    return x[:, :2].T.cov()[0, 1].square()


def draw(module: nn.Module, n: int) -> torch.Tensor:
    """Return samples of this process's own random numbers."""
    return module(torch.randn(n, 3))


def train(rank: int, file: str, port: int) -> None:
    """Train under DistributedDataParallel with either weight, and save parameters and penalties of this process."""
    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    # A fault ends in an error, not in waiting for the other process.
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    weights: tuple[float | str, ...] = (1.0, "auto")
    for weight in weights:
        module = host()
        whole = nn.parallel.DistributedDataParallel(module)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        with attach(module, partial(draw, module), penalty, weight=weight, draws=50) as push:
            for _ in range(STEPS):
                optimizer.zero_grad()
                loss(whole, rank).backward()
                optimizer.step()
        moved = nn.utils.parameters_to_vector(module.parameters()).detach()
        torch.save((moved, [pushed.penalty for pushed in push.history]), f"{file}.{weight}.{rank}")
    distributed.barrier()
    distributed.destroy_process_group()


def alone() -> torch.Tensor:
    """Return where weight 1 must lead: one process that takes the mean over both."""
    module, seeds = host(), random.Random(0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(STEPS):
        seed = seeds.getrandbits(62)
        optimizer.zero_grad()
        for rank in (0, 1):
            with forked(seed + rank):
                total = loss(module, rank) + penalty(draw(module, 50))
            (total / 2).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters()).detach()

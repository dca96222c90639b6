"""A training in two processes, by a file of its own, so that each starts quickly."""

from datetime import timedelta
from functools import partial

import torch
from torch import distributed, nn

from moreso.adapters import attach
from moreso.guidance import forked

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


def draw(module: nn.Module, n: int, seeds: list[int] | None = None) -> torch.Tensor:
    """Return samples of this process's own random numbers, and note their seed."""
    if seeds is not None:
        seeds.append(torch.initial_seed())
    return module(torch.randn(n, 3))


def train(rank: int, file: str, port: int) -> None:
    """Train under DistributedDataParallel with either weight, and save parameters and seeds of draws."""
    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    # A problem ends in an error, not in waiting for the other process.
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    weights: tuple[float | str, ...] = (1.0, "auto")
    for weight in weights:
        module = host()
        whole = nn.parallel.DistributedDataParallel(module)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        seeds: list[int] = []
        with attach(module, partial(draw, module, seeds=seeds), penalty, weight=weight, draws=50):
            for _ in range(STEPS):
                optimizer.zero_grad()
                loss(whole, rank).backward()
                optimizer.step()
        moved = nn.utils.parameters_to_vector(module.parameters()).detach()
        torch.save((moved, seeds), f"{file}.{weight}.{rank}")
    distributed.barrier()
    distributed.destroy_process_group()


def alone(*seeds: list[int]) -> torch.Tensor:
    """Return where weight 1 must lead: one process that takes the mean over all.

    Args:
        seeds: of the draws of each process.
    """
    module = host()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        for rank, own in enumerate(seeds):
            with forked(own[step]):
                total = loss(module, rank) + penalty(draw(module, 50))
            (total / len(seeds)).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters()).detach()

"""What two processes that share every batch tell each other: `python -m benchmarks.processes`, on two quiet cores."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from benchmarks.run import Bench
from moreso import Knowledge, Regularizer, Relation
from moreso.guidance import Guidance, Push
from moreso.models import VAE
from moreso.training import Member, Schedule, machine, train

ROWS, COLUMNS, STATEMENTS = 100_000, 30, 10
EPOCHS = 10
CALLS = "all_reduce", "all_gather", "broadcast"
WORKLOAD = f"fit of {ROWS:,} rows x {COLUMNS} columns, {STATEMENTS} statements, on two processes"


class Messages:
    """The seconds that each message took, and whether a push sent it.

    Args:
        pushing: whether a push is being computed.
    """

    def __init__(self) -> None:
        self.pushing = False
        self.seconds: list[tuple[float, bool]] = []

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that sends messages, timed."""

        def call(*arguments: Any, **settings: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **settings)
            finally:
                self.seconds.append((time.perf_counter() - start, self.pushing))

        return call

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that pushes, during which messages are those of the regularizer."""

        def call(*arguments: Any, **settings: Any) -> Any:
            self.pushing = True
            try:
                return function(*arguments, **settings)
            finally:
                self.pushing = False

        return call


def member() -> Member:
    """Return a VAE with rows and statements."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, COLUMNS)
    x[:, 3:] += x[:, :3].repeat(1, COLUMNS // 3 - 1)
    names = [f"f{i}" for i in range(COLUMNS)]
    relations = tuple(Relation(f"f{i}", f"f{i + 3}", f"f{i + 4}") for i in range(STATEMENTS))
    regularizer = Regularizer(Knowledge(relations), names, data=x[:5000], tolerance=1e-3)
    return Member(VAE(COLUMNS), x, x[:2000], regularizer)


def work(rank: int, size: int, folder: str) -> None:
    """What one process measures: the seconds of a step, and of each message."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29417"}
    fabric = machine(devices=size)
    fabric.launch()
    schedule, guidance = Schedule(max_epochs=EPOCHS), Guidance(ratio=1.2, every=4)
    own = member()
    steps = EPOCHS * -(-ROWS // schedule.batch(ROWS))
    messages = Messages()
    calls: dict[str, Any] = {name: messages.timed(getattr(dist, name)) for name in CALLS}
    with patch.multiple(dist, **calls), patch.object(Push, "add", messages.watched(Push.add)):
        start = time.perf_counter()
        train([own], guidance=guidance, schedule=schedule, fabric=fabric, strategy="ddp")
        seconds = time.perf_counter() - start
    dist.barrier()
    found = {"step": seconds / steps, "steps": steps, "messages": torch.tensor(messages.seconds)}
    torch.save(found, Path(folder, f"{rank}.pt"))


def main() -> None:
    """Measure, and write the lines."""
    bench = Bench()
    rounds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            spawn(work, (2, folder), nprocs=2)
            one, other = (torch.load(Path(folder, f"{rank}.pt")) for rank in range(2))
        # The first of two processes waits for the other's computations; what the second waits is communication.
        seconds = torch.minimum(one["messages"][:, 0], other["messages"][:, 0])
        pushed = one["messages"][:, 1] > 0
        parts = (float(seconds[chosen].sum()) / one["steps"] for chosen in (pushed, ~pushed))
        rounds.append((max(one["step"], other["step"]), *parts))
    cases = "a step", "messages of the regularizer, its gradient included", "the other messages"
    unit = statistics.median(each[0] for each in rounds)
    for case, times in zip(cases, zip(*rounds, strict=True), strict=True):
        low, _, high = statistics.quantiles(times, n=4)
        middle = statistics.median(times)
        bench.add(WORKLOAD, case, seconds=middle, quartiles=[low, high], ratio=middle / unit, rounds=len(rounds))
    bench.write()


if __name__ == "__main__":
    main()

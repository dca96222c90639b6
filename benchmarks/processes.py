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


class Clock:
    """Adds up the time that calls take, in seconds."""

    def __init__(self) -> None:
        self.total = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **settings: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **settings)
            finally:
                self.total += time.perf_counter() - start

        return timed


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
    """What one process measures: seconds of a step, of messages in pushes, and of the other messages."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29417"}
    fabric = machine(devices=size)
    fabric.launch()
    schedule, guidance = Schedule(max_epochs=EPOCHS), Guidance(ratio=1.2, every=4)
    own = member()
    steps = EPOCHS * -(-ROWS // schedule.batch(ROWS))
    pushes, others = Clock(), Clock()
    current = [others]

    def add(push: Push, *arguments: Any, **settings: Any) -> Any:
        current[0] = pushes
        try:
            return whole(push, *arguments, **settings)
        finally:
            current[0] = others

    whole = Push.add
    with patch.object(Push, "add", add):
        originals = {name: getattr(dist, name) for name in CALLS}
        calls: dict[str, Any] = {
            name: lambda *a, _f=each, **k: current[0].around(_f)(*a, **k) for name, each in originals.items()
        }
        with patch.multiple(dist, **calls):
            start = time.perf_counter()
            train([own], guidance=guidance, schedule=schedule, fabric=fabric, strategy="ddp")
            seconds = time.perf_counter() - start
    dist.barrier()
    torch.save([each / steps for each in (seconds, pushes.total, others.total)], Path(folder, f"{rank}.pt"))


def main() -> None:
    """Measure, and write the lines."""
    bench = Bench()
    rounds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            spawn(work, (2, folder), nprocs=2)
            # What the processes wait for each other is not communication: the last to come waits least.
            both = zip(*(torch.load(Path(folder, f"{rank}.pt")) for rank in range(2)), strict=True)
            rounds.append(
                [max(both_seconds) if place == 0 else min(both_seconds) for place, both_seconds in enumerate(both)]
            )
    cases = "a step", "messages of the regularizer and its gradient", "the other messages"
    unit = statistics.median(each[0] for each in rounds)
    for case, seconds in zip(cases, zip(*rounds, strict=True), strict=True):
        low, _, high = statistics.quantiles(seconds, n=4)
        middle = statistics.median(seconds)
        bench.add(WORKLOAD, case, seconds=middle, quartiles=[low, high], ratio=middle / unit, rounds=len(rounds))
    bench.write()


if __name__ == "__main__":
    main()

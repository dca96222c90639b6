"""Runs of an experiment: each is a line of JSON in a file, several are done at once, and what is there stays."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import torch

Line = dict[str, Any]

processes = click.option(
    "--processes", type=click.IntRange(1), default=os.cpu_count(), show_default=True, help="Runs at once."
)
"""The option of every experiment that calls `do`."""


def read(path: Path) -> list[Line]:
    """Return the lines that were written."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def write(path: Path, line: Line) -> None:
    """Add a line, and print it."""
    path.parent.mkdir(exist_ok=True)
    # Unbuffered, as one call: the system appends it whole, whatever other processes write.
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")
    print(json.dumps(line), flush=True)


def do(work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], processes: int = 1) -> None:
    """Call `work` with the arguments of each job, in their order, several at once, each on one thread.

    The first error ends it: what was not begun is not done.
    """
    if processes == 1 or len(jobs) < 2:
        torch.set_num_threads(1)
        for job in jobs:
            work(*job)
        return
    with ProcessPoolExecutor(
        min(processes, len(jobs)), get_context("spawn"), initializer=partial(torch.set_num_threads, 1)
    ) as pool:
        for _ in pool.map(work, *zip(*jobs, strict=True)):
            pass

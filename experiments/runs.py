"""Runs of an experiment: each is a line of JSON in a file, several are done at once, and what is there stays."""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import click
import torch

Line = dict[str, Any]

BLOCK = 1 << 16
"""Bytes to read at once from the end of a file."""

processes = click.option(
    "--processes", type=click.IntRange(1), default=os.cpu_count(), show_default=True, help="Runs at once."
)
"""The option of every experiment that calls `do`."""


def read(path: Path) -> list[Line]:
    """Return the lines that were written; one whose end is missing was not."""
    whole = path.read_bytes() if path.exists() else b""
    end = whole.rfind(b"\n") + 1
    return [json.loads(text) for text in whole[: None if _is_whole(whole[end:]) else end].decode().splitlines()]


def write(path: Path, line: Line) -> None:
    """Add a line, and print it.

    Raises:
        OSError: the disk is full, or the folder is not writable. The file is as before.
    """
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(line).encode() + b"\n"
    with path.open("a+b", buffering=0) as file:
        # The system drops the lock with the process, so nobody waits for one that was killed.
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _end(file)
        file.seek(end)
        rest = file.read()
        if _is_whole(rest):
            # The last line of a file that somebody edited may lack its break.
            text, end = b"\n" + text, end + len(rest)
        file.truncate(end)
        if file.write(text) < len(text):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    print(json.dumps(line), flush=True)


def _is_whole(text: bytes) -> bool:
    """Return whether what follows the last break is a line."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _end(file: BinaryIO) -> int:
    """Return where the last whole line of a file ends: a process that was killed may have left half of one."""
    place = file.seek(0, os.SEEK_END)
    while place:
        start = max(0, place - BLOCK)
        file.seek(start)
        if (found := file.read(place - start).rfind(b"\n")) >= 0:
            return start + found + 1
        place = start
    return 0


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

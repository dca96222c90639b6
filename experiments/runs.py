"""Runs of an experiment: each is a line of JSON in a file, several are done at once, and what is there stays."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import torch

if TYPE_CHECKING:
    from experiments.store import Claim, Store

Line = dict[str, Any]
Work = Callable[..., None]
Jobs = Sequence[tuple[Any, ...]]

_claimed: ContextVar["Claim | None"] = ContextVar("claimed", default=None)
"""The job of a store that this process is at."""

BLOCK = 1 << 16
"""Bytes to read at once from the end of a file."""


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every experiment that calls `do`."""
    processes = click.option(
        "--processes", type=click.IntRange(1), default=os.cpu_count(), show_default=True, help="Runs at once."
    )
    store = click.option("--store", metavar="URL", help="Share the runs with others: a database of SQLAlchemy's.")
    return processes(store(command))


def read(path: Path) -> list[Line]:
    """Return the lines that were written; one whose end is missing was not.

    During a job of a store, those of the store follow.
    """
    whole = path.read_bytes() if path.exists() else b""
    claim = _claimed.get()
    shared = claim.store.lines() if claim and claim.store.path == path else []
    return [*_parsed(whole), *shared]


def done(path: Path, key: Sequence[str]) -> set[tuple[Any, ...]]:
    """Return the keys of the lines that were written: their values of some names."""
    return {_values(line, key) for line in read(path)}


def write(path: Path, line: Line) -> None:
    """Add a line, to the store during a job of one, and print it.

    Raises:
        OSError: the disk is full, or the folder is not writable. The file is as before.
    """
    claim = _claimed.get()
    if claim and claim.store.path == path:
        claim.write(line)
    else:
        add(path, [line])
    print(json.dumps(line), flush=True)


def add(path: Path, lines: Sequence[Line], key: Sequence[str] = ()) -> None:
    """Add lines; if a key is given, those alone whose values of these names no line has yet.

    Raises:
        OSError: the disk is full, or the folder is not writable. The file is as before.
    """
    path.parent.mkdir(exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        # The system drops the lock with the process, so nobody waits for one that was killed.
        fcntl.flock(file, fcntl.LOCK_EX)
        if key:
            there = {_values(line, key) for line in _parsed(path.read_bytes())}
            lines = [line for line in lines if _values(line, key) not in there]
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if not text:
            return
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


def _values(line: Line, key: Sequence[str]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in key)


def _parsed(whole: bytes) -> list[Line]:
    end = whole.rfind(b"\n") + 1
    return [json.loads(text) for text in whole[: None if _is_whole(whole[end:]) else end].decode().splitlines()]


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


def shared(url: str | None, path: Path, key: Sequence[str]) -> "Store | None":
    """Return the store at a URL, for the lines of a file; None without a URL."""
    if url is None:
        return None
    try:
        from experiments.store import Store  # noqa: PLC0415 (only a store needs SQLAlchemy)
    except ModuleNotFoundError as error:
        raise click.UsageError(f"A store needs {error.name}. Install it with: pip install sqlalchemy") from error
    return Store(url, path, tuple(key))


def do(work: Work, jobs: Jobs, processes: int = 1, store: "Store | None" = None) -> None:
    """Call `work` with the arguments of each job, in their order, several at once, each on one thread.

    The first error ends it: what was not begun is not done.

    With a store, other processes may be at the same jobs. Each job is done by one of them at a time, and by another if
    that one dies, so `work` must leave out the lines that `read` finds. It ends when all jobs are done, by whomever,
    and their lines are in the file.
    """
    if store:
        count = min(processes, max(1, len(jobs)))
        work, jobs = partial(_share, work, jobs), [(store,)] * count
    if processes == 1 or len(jobs) < 2:
        torch.set_num_threads(1)
        for job in jobs:
            work(*job)
    else:
        with ProcessPoolExecutor(
            min(processes, len(jobs)), get_context("spawn"), initializer=partial(torch.set_num_threads, 1)
        ) as pool:
            for _ in pool.map(work, *zip(*jobs, strict=True)):
                pass
    if store:
        add(store.path, store.lines(), store.key)


def _share(work: Work, jobs: Jobs, store: "Store") -> None:
    """Do each job when nobody else is at it."""
    from experiments.store import LostClaimError  # noqa: PLC0415 (only a store needs SQLAlchemy)

    left = list(jobs)
    while left:
        later = []
        for job in left:
            with store.claim(job) as claim:
                if claim is None:
                    later.append(job)
                    continue
                before = _claimed.set(claim)
                try:
                    work(*job)
                except LostClaimError as error:
                    print(error, flush=True)
                    later.append(job)
                finally:
                    _claimed.reset(before)
        if len(later) == len(left):
            time.sleep(store.beat)
        left = later


@click.group()
def main() -> None:
    """Look after the runs of experiments."""


@main.command("collect")
@click.argument("url")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(__file__).parent / "results", help="Of files.")
def collect(url: str, folder: Path) -> None:
    """Add the lines of the store at URL to the files of results: those whose runs are not there."""
    from experiments.store import collected  # noqa: PLC0415 (only a store needs SQLAlchemy)

    for name, (key, lines) in collected(url).items():
        add(folder / name, lines, key)


if __name__ == "__main__":
    main()

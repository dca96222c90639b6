"""Processes that share runs, in a file of its own, so that each starts quickly."""

import os
import time
from pathlib import Path

from experiments import runs
from experiments.store import Store

KEY = ("job", "part")
PARTS = 2


def tell(path: Path, *words: object) -> None:
    """Add a line to a log, at once."""
    file = os.open(path.with_suffix(".log"), os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


def work(path: Path, job: int, parts: list[int], seconds: float) -> None:
    """Do the parts of a job that are not there, and tell of each."""
    done = runs.done(path, KEY)
    for part in parts:
        if (job, part) not in done:
            tell(path, "begun", f"{job}/{part}", os.getpid())
            time.sleep(seconds)
            runs.write(path, {"job": job, "part": part, "process": os.getpid()})
            tell(path, "written", f"{job}/{part}", os.getpid())


def join(shared: Store, jobs: int, seconds: float) -> None:
    """Be one of the processes."""
    asked = [(shared.path, job, list(range(PARTS)), seconds) for job in range(jobs)]
    runs.do(work, asked, store=shared)

"""Audit more rows than fit into memory: `python -m benchmarks.scale`, or with other numbers of rows, as 1e6 3e7.

Rows are made on the fly, each partition from its own number as a seed. Each number of rows is audited in a
process of its own, by dask's synchronous scheduler on one thread, in processor time. A pass that only makes the rows is
measured too. Of the smallest audit, the size of the results of tasks is measured, as they travel between workers.
"""

import argparse
import json
import pickle
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import torch
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed

import moreso
from benchmarks.run import Bench

ROWS = 250_000
"""Rows of a partition."""

SIZES = (10**6, 10**7, 10**8)
NUMBERS = 9
TASKS = 2000

KNOWLEDGE = """
f0: f3 > f4
f1: f4 > f3
f2: +f5 > f6
f3: f6 > f2
f4: f7 > f8
f5: f8 > f0
f6: f0 > on
f7: on > f2
on: f1 > f5
"""
"""Ten statements; one of them is a direction, and three are about a column that lacks values."""


def make(number: int) -> pd.DataFrame:
    """Return a partition: nine columns of numbers, one of which lacks a twentieth of its values, and two levels."""
    random = np.random.default_rng([0, number])
    common = random.standard_normal((3, ROWS), dtype=np.float32)
    table = {
        f"f{i}": random.standard_normal(ROWS, dtype=np.float32) + np.float32(i % 4 / 2) * common[i % 3]
        for i in range(NUMBERS)
    }
    table["f5"][random.integers(0, ROWS, ROWS // 20)] = np.nan
    levels = np.where(common[0] + random.standard_normal(ROWS, dtype=np.float32) > 0, "yes", "no")
    return pd.DataFrame({**table, "on": pd.Categorical(levels, ["no", "yes"])})


class Watch(Callback):
    """Adds up the time of tasks by what they call, and if asked for, finds the largest results.

    Args:
        sizes: whether to measure results.
    """

    def __init__(self, *, sizes: bool = False) -> None:
        super().__init__()
        self._sizes = sizes
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tasks: defaultdict[str, int] = defaultdict(int)
        self.bytes: defaultdict[str, int] = defaultdict(int)

    def _pretask(self, key: Any, dsk: Any, state: Any) -> None:
        self._start = time.process_time()

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        name = re.sub(r"-[-0-9a-f]+$", "", key if isinstance(key, str) else key[0])
        self.seconds[name] += time.process_time() - self._start
        self.tasks[name] += 1
        if self._sizes:
            self.bytes[name] = max(self.bytes[name], len(pickle.dumps(result, protocol=5)))


def peak() -> float:
    """Return the peak memory of this process in GB; getrusage's is that of the process that started it, too."""
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) / 1e6


def measure(rows: int, *, sizes: bool) -> dict[str, object]:
    """Return what an audit needs."""
    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")
    parts = rows // ROWS
    table = dd.from_map(make, range(parts), meta=make(0)[:0])
    begin = time.process_time()
    for number in range(parts):
        make(number)
    making = time.process_time() - begin
    before = peak()
    watch = Watch(sizes=sizes)
    begin = time.process_time()
    with watch:
        found = moreso.audit(table, KNOWLEDGE)
    seconds = time.process_time() - begin
    return {
        "rows": rows,
        "partitions": parts,
        "seconds": seconds,
        "making": making,
        "peak_gb": peak(),
        "peak_before_gb": before,
        "statements": len(found.findings),
        "sets": len({frozenset().union(*each.groups) for each in found.knowledge}),
        "partition_bytes": int(make(0).memory_usage(index=False).sum()),
        "task_seconds": dict(watch.seconds),
        "tasks": dict(watch.tasks),
    } | ({"bytes": dict(watch.bytes)} if sizes else {})


def nothing(number: int) -> int:
    """Do nothing."""
    return number


def seconds_per_task(count: int = TASKS) -> dict[str, float | int]:
    """Return the time that tasks take that do nothing: processor time alone, and wall time with a worker process."""
    from distributed import Client, LocalCluster

    begin = time.process_time()
    compute(*[delayed(nothing)(i) for i in range(count)], scheduler="synchronous")
    alone = (time.process_time() - begin) / count
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        compute(*[delayed(nothing)(i) for i in range(count // 10)])
        begin = time.perf_counter()
        compute(*[delayed(nothing)(i) for i in range(count)])
        far = (time.perf_counter() - begin) / count
    return {"count": count, "synchronous": alone, "distributed": far}


def main() -> None:
    """Audit, and add the lines to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=float, default=SIZES)
    parser.add_argument("--here", action="store_true", help="measure one size in this process, and print it")
    parser.add_argument("--sizes", action="store_true", help="measure the results of tasks, but no time")
    parser.add_argument("--tasks", action="store_true", help="measure the time of tasks that do nothing")
    chosen = parser.parse_args()
    if chosen.here:
        found = seconds_per_task() if chosen.tasks else measure(int(chosen.rows[0]), sizes=chosen.sizes)
        print(json.dumps(found))
        return
    bench = Bench()

    def run(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "--here", *arguments]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return dict(json.loads(out.splitlines()[-1]))

    for rows in map(int, chosen.rows):
        found = run(str(rows))
        if rows == SIZES[0]:
            found |= {"bytes": run(str(rows), "--sizes")["bytes"]}
        bench.add(f"scale: {rows} rows", "moreso", **found)
        bench.write()
    bench.add("scale: tasks", "dask", **run("--tasks"))
    bench.write()


if __name__ == "__main__":
    main()

"""What adapters do to other libraries' models: `python -m experiments.adapters`, in the environment of test-adapters.

Each host is trained twice on 150 rows from the same seed, without and with the statements. Of both: the share of the
statements that 2000 of the library's own samples break (no positive gap, on the scales of the training rows), and the
AUC of a classifier that tells samples from other rows, both rounded to the decimals of the table. Each run is a line of
JSON in experiments/results/adapters.jsonl, and is not repeated if its line is there. Hosts whose package is missing are
skipped, so that environments can take turns.
"""

import time
import warnings
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from experiments import compare, runs, sets
from experiments.hosts import HOSTS
from experiments.tables import cell
from moreso import audit

RESULTS = Path(__file__).parent / "results" / "adapters.jsonl"
KEY = "host", "seed"
ROWS, HELD_OUT, DRAWS, SEEDS = 150, 500, 2000, 5


def decimals(column: "pd.Series[float]") -> int:
    """Return how many decimals of a column are not 0, at most 6."""
    return next((k for k in range(6) if np.allclose(column, column.round(k), rtol=0, atol=1e-9)), 6)


def run(host: str, seed: int) -> dict[str, Any]:
    """Train a host without and with the statements.

    Raises:
        MissingPackageError: the package that the table comes with is not installed.
    """
    name = HOSTS[host].data
    table, knowledge = sets.load(name).dropna().astype(float), sets.knowledge(name)
    order = np.random.default_rng(seed).permutation(len(table))
    train, rows = table.iloc[order[:ROWS]], table.iloc[order[ROWS : ROWS + HELD_OUT]]
    varied = train.columns[train.nunique() > 1]
    train, rows = train[varied], rows[varied]
    knowledge = knowledge.restrict(list(map(str, varied)))
    digits = {column: decimals(table[column]) for column in varied}
    line: dict[str, Any] = {"host": host, "seed": seed, "set": name, "rows": len(train)}
    for arm, stated in (("without", None), ("with", knowledge)):
        start = time.process_time()
        sample, steps = HOSTS[host].fit(train, stated, seed)
        seconds = time.process_time() - start
        found = audit(sample(DRAWS), knowledge, like=train)
        line[arm] = {
            "broken": round(float(np.mean([finding.gap <= 0 for finding in found])), 4),
            "auc": round(compare.auc(sample(3 * len(rows)).round(digits), rows, seed), 4),
            "ms_per_step": round(1000 * seconds / steps, 2),
        }
    return {**line, "version": version("moreso")}


def table() -> str:
    """Return, a host, means over seeds without -> with, and the change of the AUC with its 95% interval."""
    lines = runs.read(RESULTS)
    rows = [["host", "seeds", "share broken", "AUC", "change of the AUC", "ms a step"]]
    for host in dict.fromkeys(line["host"] for line in lines):
        both = [pd.DataFrame([line[name] for line in lines if line["host"] == host]) for name in ("without", "with")]
        before, after = (each.mean() for each in both)
        shown = [
            f"{before[name]:.{digits}f} -> {after[name]:.{digits}f}" for name, digits in (("broken", 2), ("auc", 2))
        ]
        change = cell(both[1]["auc"] - both[0]["auc"])
        cost = f"{before['ms_per_step']:.0f} -> {after['ms_per_step']:.0f}"
        rows.append([host, str(len(both[0])), *shown, change, cost])
    return compare.markdown(rows)


def complete(host: str, seed: int) -> None:
    """Run one host and seed, unless it is there, and write its line."""
    warnings.simplefilter("ignore")
    if (host, seed) not in runs.done(RESULTS, KEY):
        runs.write(RESULTS, run(host, seed))


@click.command()
@click.argument("hosts", nargs=-1, type=click.Choice(list(HOSTS)))
@click.option("--seeds", type=int, default=SEEDS, show_default=True)
@runs.options
def main(hosts: tuple[str, ...], seeds: int, processes: int, store: str | None) -> None:
    """Run what is lacking for HOSTS, by default all."""
    done = runs.done(RESULTS, KEY)
    there = [host for host in hosts or HOSTS if compare.installed(HOSTS[host].package)]
    for host in set(hosts or HOSTS) - set(there):
        print(f"{host}: skipped, it needs the package '{HOSTS[host].package}'. See docs/adapters.md.")
    jobs = [job[::-1] for job in product(range(seeds), there) if job[::-1] not in done]
    runs.do(complete, jobs, processes, runs.shared(store, RESULTS, KEY))


if __name__ == "__main__":
    main()

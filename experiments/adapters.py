"""What adapters do to other libraries' models: `python -m experiments.adapters`, in the environment of test-adapters.

The mental tests, 150 pupils to train on; each host is trained twice from the same seed, by its own defaults, without
and with the statements. Of both: the share of the statements that is broken in 2000 of the library's own samples (no
positive gap, by the ruler of the training rows), and the AUC of a classifier that tells samples from the other pupils.
Each run is a line of JSON in experiments/results/adapters.jsonl, and one that is there is not run again.
"""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import zuko
from torch.utils.data import DataLoader, TensorDataset

from experiments import compare, sets
from experiments.gain import cell
from moreso import Knowledge, adapters, audit
from moreso.training import seeded

RESULTS = Path(__file__).parent / "results" / "adapters.jsonl"
SET, ROWS, DRAWS, SEEDS = "holzinger", 150, 2000, 5

Sampler = Callable[[int], pd.DataFrame]


def tabular(name: str) -> Callable[[pd.DataFrame, Knowledge | None, int], tuple[Sampler, int]]:
    """Return how CTGAN or TVAE is fitted, and sampled."""

    def fit(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
        model = getattr(import_module("ctgan"), name)(enable_gpu=False)
        model.set_random_state(seed)
        with nullcontext() if knowledge is None else adapters.ctgan.attach(model, knowledge, data=train):
            model.fit(train)
        return model.sample, 300

    return fit


def flow(train: pd.DataFrame, knowledge: Knowledge | None, seed: int) -> tuple[Sampler, int]:
    """Fit a neural spline flow of zuko to standardised columns, as its tutorial does."""
    rows = torch.tensor(((train - train.mean()) / train.std(ddof=0)).to_numpy(), dtype=torch.float32)
    with seeded(seed):
        made = zuko.flows.NSF(train.shape[1], transforms=2, hidden_features=(64, 64))
        optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
        loader = DataLoader(TensorDataset(rows), batch_size=50, shuffle=True)
        settings = {"features": list(map(str, train)), "data": rows}
        with nullcontext() if knowledge is None else adapters.distributions.attach(made, knowledge, **settings):
            for _ in range(60):
                for (batch,) in loader:
                    optimizer.zero_grad()
                    (-made().log_prob(batch).mean()).backward()
                    optimizer.step()

    def sample(n: int) -> pd.DataFrame:
        with seeded(seed), torch.no_grad():
            drawn = made().sample((n,)).numpy()
        return pd.DataFrame(drawn, columns=train.columns) * train.std(ddof=0) + train.mean()

    return sample, 60 * len(loader)


# ctgan is under the Business Source License: only where a user has it.
HOSTS = {"CTGAN": tabular("CTGAN"), "TVAE": tabular("TVAE"), "zuko's NSF": flow}


def run(host: str, seed: int) -> dict[str, Any]:
    """Train a host without and with the statements."""
    table, knowledge = sets.load(SET).dropna().astype(float), sets.knowledge(SET)
    order = np.random.default_rng(seed).permutation(len(table))
    train, rows = table.iloc[order[:ROWS]], table.iloc[order[ROWS:]]
    line: dict[str, Any] = {"host": host, "seed": seed}
    for name, stated in (("without", None), ("with", knowledge)):
        start = time.process_time()
        sample, steps = HOSTS[host](train, stated, seed)
        seconds = time.process_time() - start
        found = audit(sample(DRAWS), knowledge, like=train)
        line[name] = {
            "broken": round(float(np.mean([finding.gap <= 0 for finding in found])), 4),
            "auc": round(compare.auc(sample(3 * len(rows)), rows, seed), 4),
            "ms_per_step": round(1000 * seconds / steps, 2),
        }
    return {**line, "version": version("moreso")}


def read() -> list[dict[str, Any]]:
    """Return the lines that were written."""
    return [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.exists() else []


def table() -> str:
    """Return, a host, means over seeds without -> with, and the change of the AUC with its 95% interval."""
    lines = read()
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


def main() -> None:
    """Run what is lacking."""
    torch.set_num_threads(1)
    done = {(line["host"], line["seed"]) for line in read()}
    if not compare.installed("ctgan"):
        print("CTGAN and TVAE: skipped, they need the package 'ctgan'. Run 'make test-adapters', or install it.")
    for seed in range(SEEDS):
        for host in HOSTS:
            if (host, seed) not in done and (host not in ("CTGAN", "TVAE") or compare.installed("ctgan")):
                text = json.dumps(run(host, seed))
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(text + "\n")
                print(text, flush=True)


if __name__ == "__main__":
    main()

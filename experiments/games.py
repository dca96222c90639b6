"""What knowledge does to models without a likelihood: `python -m experiments.games`, about half a minute a run.

The GAN on 40 rows of each set, by its defaults, without and with the statements, from the same seed. Of both: the share
of statements that is broken in 2000 samples (no positive gap, by the ruler of the training rows), the AUC of a random
forest that tells samples from held-out rows (`compare.auc`), and the kernel two-sample distance of these (`distance`).
A run is a line of JSON in experiments/results/games.jsonl, and one that is there is not run again.
"""

import json
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel

from experiments import compare, sets
from experiments.gain import FIRST, prepared
from experiments.tables import cell
from moreso import Synthesizer, audit

RESULTS = Path(__file__).parent / "results" / "games.jsonl"
MODEL, DRAWS, HELD_OUT, SEEDS = "gan", 2000, 200, 3


def distance(samples: pd.DataFrame, rows: pd.DataFrame, train: pd.DataFrame) -> float:
    """Return the unbiased squared maximum mean discrepancy, with a Gaussian kernel of the median distance.

    Args:
        samples: of a model.
        rows: that it was not trained on.
        train: which give the units.

    References:
        Gretton, Borgwardt, Rasch, Schoelkopf & Smola, "A Kernel Two-Sample Test", JMLR 2012, eq. 3.
    """
    x, y = (((table - train.mean()) / train.std(ddof=0)).to_numpy(float) for table in (samples, rows))
    width = float(np.median(pdist(y)))
    own = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in (rbf_kernel(z, z, 0.5 / width**2) for z in (x, y))]
    return float(sum(own) - 2 * rbf_kernel(x, y, 0.5 / width**2).mean())


def run(name: str, seed: int) -> dict[str, Any]:
    """Fit the model without and with the statements.

    Raises:
        MissingPackageError: the package that the table comes with is not installed.
    """
    train, rows, knowledge = prepared(name, seed)
    rows = rows[:HELD_OUT]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = Synthesizer(MODEL, knowledge, random_state=seed).fit(train)
    assert fitted.plain_ is not None
    line: dict[str, Any] = {"set": name, "model": MODEL, "seed": seed, "statements": len(knowledge)}
    for arm, model in (("without", fitted.plain_), ("with", fitted)):
        found = audit(model.sample(DRAWS, random_state=seed), knowledge, like=train)
        samples = model.sample(3 * len(rows), random_state=seed)
        line[arm] = {
            "broken": round(float(np.mean([finding.gap <= 0 for finding in found])), 4),
            "auc": round(compare.auc(samples, rows, seed), 4),
            "distance": round(distance(samples, rows, train), 5),
        }
    return line


def read() -> list[dict[str, Any]]:
    """Return the lines that were written."""
    return [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.exists() else []


def table() -> str:
    """Return, a set, means over seeds without -> with, and the changes with their 95% intervals, as Markdown."""
    lines = read()
    rows = [["set", "seeds", "share broken", "AUC", "change of the AUC", "change of the distance"]]
    changes = []
    for name in dict.fromkeys(line["set"] for line in lines):
        both = [pd.DataFrame([line[arm] for line in lines if line["set"] == name]) for arm in ("without", "with")]
        before, after = (each.mean() for each in both)
        shown = [f"{before[key]:.2f} -> {after[key]:.2f}" for key in ("broken", "auc")]
        changes.append((both[1] - both[0]).mean())
        rows.append([name, str(len(both[0])), *shown, *(cell(both[1][k] - both[0][k]) for k in ("auc", "distance"))])
    if changes:
        means = pd.DataFrame(changes)
        rows.append(["mean of sets", "", cell(means["broken"]), "", cell(means["auc"]), cell(means["distance"])])
    return compare.markdown(rows)


def main(seeds: int = SEEDS) -> None:
    """Run what is lacking."""
    torch.set_num_threads(1)
    done = {(line["set"], line["seed"]) for line in read()}
    for seed, name in product(range(FIRST, FIRST + seeds), sets.SETS):
        if (name, seed) not in done:
            try:
                text = json.dumps(run(name, seed))
            except sets.MissingPackageError as error:
                print(f"{name}: {error}")
                continue
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
            print(text, flush=True)


if __name__ == "__main__":
    main()

"""What knowledge does to adversarial models: `python -m experiments.games [model ...]`, about half a minute a run.

A GAN or a VAE-GAN is fitted to 40 rows of each set, without and with the statements, from the same seed. It is a single
model in place of an ensemble of four, to save time; everything else is the default. Of both fits: the share of
statements that 2000 samples break (no positive gap, on the scales of the training rows), the AUC of a random forest
that tells samples from held-out rows (`compare.auc`), and the kernel two-sample distance of these (`distance`). A run
is a line of JSON in experiments/results/games.jsonl, and is not repeated if its line is there.
"""

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel

from experiments import compare, runs, sets
from experiments.gain import prepared
from experiments.tables import cell
from moreso import Settings, Synthesizer, audit

RESULTS = Path(__file__).parent / "results" / "games.jsonl"
KEY = "model", "set", "seed"
MODELS, DRAWS, HELD_OUT, FIRST, SEEDS = ("gan", "vaegan"), 2000, 200, 10, 10


def distance(samples: pd.DataFrame, rows: pd.DataFrame, train: pd.DataFrame) -> float:
    """Return the unbiased squared maximum mean discrepancy, with a Gaussian kernel of the median distance.

    Args:
        samples: of a model.
        rows: that it was not trained on.
        train: which give the units; columns that are constant there count for nothing.

    References:
        Gretton, Borgwardt, Rasch, Schoelkopf & Smola, "A Kernel Two-Sample Test", JMLR 2012, eq. 3.
    """
    train = train.loc[:, train.nunique() > 1]
    x, y = (((table[train.columns] - train.mean()) / train.std(ddof=0)).to_numpy(float) for table in (samples, rows))
    width = float(np.median(pdist(y)))
    own = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in (rbf_kernel(z, z, 0.5 / width**2) for z in (x, y))]
    return float(sum(own) - 2 * rbf_kernel(x, y, 0.5 / width**2).mean())


def run(model: str, name: str, seed: int) -> dict[str, Any]:
    """Fit a model without and with the statements.

    Raises:
        MissingPackageError: the package that the table comes with is not installed.
    """
    train, rows, knowledge = prepared(name, seed)
    rows = rows[:HELD_OUT]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = Synthesizer(model, knowledge, random_state=seed, settings=Settings(members=1)).fit(train)
    assert fitted.plain_ is not None
    line: dict[str, Any] = {"set": name, "model": model, "seed": seed, "statements": len(knowledge)}
    for arm, one in (("without", fitted.plain_), ("with", fitted)):
        found = audit(one.sample(DRAWS, random_state=seed), knowledge, like=train)
        samples = one.sample(3 * len(rows), random_state=seed)
        line[arm] = {
            "broken": round(float(np.mean([finding.gap <= 0 for finding in found])), 4),
            "auc": round(compare.auc(samples, rows, seed), 4),
            "distance": round(distance(samples, rows, train), 5),
        }
    return line


def table() -> str:
    """Return, a model and set, means over seeds without -> with, and the changes with 95% intervals, as Markdown."""
    lines = runs.read(RESULTS)
    rows = [["model", "set", "seeds", "share broken", "AUC", "change of the AUC", "change of the distance"]]
    for model in dict.fromkeys(line["model"] for line in lines):
        before, after = [], []
        own = [line for line in lines if line["model"] == model]
        for name in dict.fromkeys(line["set"] for line in own):
            both = [pd.DataFrame([line[arm] for line in own if line["set"] == name]) for arm in ("without", "with")]
            before.append(both[0].mean())
            after.append(both[1].mean())
            rows.append([model, name, str(len(both[0])), *_cells(*both)])
        rows.append([model, "mean of sets", "", *_cells(pd.DataFrame(before), pd.DataFrame(after))])
    return compare.markdown(rows)


def _cells(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    shown = [f"{before[key].mean():.2f} -> {after[key].mean():.2f}" for key in ("broken", "auc")]
    return [*shown, *(cell(after[key] - before[key]) for key in ("auc", "distance"))]


def complete(model: str, name: str, seed: int) -> None:
    """Run one model, set and seed, unless it is there, and write its line."""
    if (model, name, seed) not in runs.done(RESULTS, KEY):
        runs.write(RESULTS, run(model, name, seed))


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--seeds", type=int, default=SEEDS, show_default=True)
@runs.options
def main(models: tuple[str, ...], seeds: int, processes: int, store: str | None) -> None:
    """Run what is lacking for MODELS, by default all."""
    done = runs.done(RESULTS, KEY)
    there = sets.there(sets.SETS)
    asked = [
        (model, name, seed)
        for seed, model, name in product(range(FIRST, FIRST + seeds), models or MODELS, sets.SETS)
        if name in there
    ]
    jobs = [job for job in asked if job not in done]
    runs.do(complete, jobs, processes, runs.shared(store, RESULTS, KEY))


if __name__ == "__main__":
    main()

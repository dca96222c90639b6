"""Rows with missing values: likelihood of what is known, and what stands in for it. `python -m experiments.missing`.

Values of `ROWS` complete rows of a set are removed: at random, or in blocks (a run of neighbouring columns, in as many
rows as needed), as when an instrument fails. Every column keeps `KEPT` values. Runs of one set, pattern and seed share
rows, removed values and seeds.

Likelihood: ensembles of `ENSEMBLE` models of the standardised rows, by the default schedule. The measure is the mean
log-likelihood of complete held-out rows, in nats.

- `complete`: trained on the rows without missing values. What could be reached at best.
- `typical`: on rows in which medians stand for missing values, and flags beside them: what moreso did until November
  2026.
- `likelihood`: on the rows with missing values, by the likelihood of what is known.

Imputation: `Synthesizer.impute` of the table, with all defaults. Of the imputed values, in standard deviations of the
column among the rows that kept it: `error`, the root mean squared error of the mean of `DRAWS` draws; `covered`, the
share of values within the central half of the draws, which should be .5; and `dependence`, the mean difference of the
absolute rank correlations of all pairs of columns, in one filled table less in the complete rows: 0 is right, less than
0 is diluted. Rivals impute the same rows: `IterativeImputer` and `KNNImputer` of scikit-learn, by their defaults,
on standardised columns.

A run is a line of JSON in experiments/results/missing.jsonl; what is there is not run again.
"""

import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the next import possible)
from sklearn.impute import IterativeImputer, KNNImputer

from experiments import runs, sets
from experiments.runs import Line
from moreso import Synthesizer, training
from moreso.guidance import seeded
from moreso.models import VAE, FactorAnalysis, join, log_prob_known

RESULTS = Path(__file__).parent / "results" / "missing.jsonl"
KEY = "set", "share", "pattern", "seed", "arm", "model"
SETS = "holzinger", "bfi", "diabetes", "concrete", "wine", "bdims"
ROWS, HELD_OUT, COLUMNS, KEPT, DRAWS, ENSEMBLE = 80, 500, 12, 10, 20, 4
SHARES = 0.1, 0.3, 0.5
PATTERNS = "random", "blocks"
SEEDS = range(20, 25)
MODELS: dict[str, Callable[..., torch.nn.Module]] = {"factor": FactorAnalysis, "vae": VAE}
BLOCK = 0.5
"""Share of the columns that a block covers."""

RIVALS: dict[str, Callable[[int], Any]] = {
    "iterative": lambda seed: IterativeImputer(random_state=seed),
    "nearest": lambda _: KNNImputer(),
}


def removed(shape: tuple[int, int], share: float, pattern: str, random: np.random.Generator) -> np.ndarray:
    """Return which values are removed."""
    rows, columns = shape
    lost = random.random(shape) < share if pattern == "random" else np.zeros(shape, dtype=bool)
    while pattern == "blocks" and lost.mean() < share:
        block = (random.integers(columns) + np.arange(max(1, round(BLOCK * columns)))) % columns
        lost[np.ix_(random.permutation(rows)[: rows // 10], block)] = True
    for column in range(columns):
        lost[random.permutation(rows)[:KEPT], column] = False
    return lost


def likelihood(model: str, arm: str, rows: np.ndarray, lost: np.ndarray, held: np.ndarray, seed: int) -> float:
    """Return the mean log-likelihood of held-out rows under an ensemble, all standardised alike."""
    x = torch.tensor(rows, dtype=torch.float32)
    if arm == "likelihood":
        x[torch.tensor(lost)] = torch.nan
    if arm == "typical":
        known = np.where(lost, np.nan, rows)
        share = lost.mean(0)
        flags = ((lost - share) / np.sqrt(np.maximum(share * (1 - share), 0.01)))[:, share > 0]
        x = torch.tensor(np.hstack([np.where(lost, np.nanmedian(known, 0), rows), flags]), dtype=torch.float32)
    # What is not known of a held-out row, such as its flags, is integrated out.
    scored = torch.full((len(held), x.shape[1]), torch.nan)
    scored[:, : held.shape[1]] = torch.tensor(held)
    members = []
    for fold in range(ENSEMBLE):
        with seeded(seed + fold):
            built = MODELS[model](x.shape[1], missing=arm == "likelihood")
        trained, stops = training.split(len(x), 0.25, seed, fold)
        members.append(training.Member(built, x[trained], x[stops], lane=fold))
    training.train(members, random_state=seed)
    with seeded(seed), torch.no_grad():
        return float(log_prob_known(join([member.model for member in members]), scored).mean())


def quality(
    draws: np.ndarray, truth: np.ndarray, lost: np.ndarray, scale: np.ndarray, random: np.random.Generator
) -> Line:
    """Return the measures of imputed values; draws are (draws, rows, columns)."""
    off = ((draws.mean(0) - truth) / scale)[lost]
    found: Line = {"error": round(float(np.sqrt((off**2).mean())), 4)}
    if len(draws) > 1:
        # Codes are tied with many draws, so their rank among these is drawn.
        below, tied = ((compare(draws, truth)).sum(0)[lost] for compare in (np.less, np.equal))
        rank = (below + random.random(len(below)) * (tied + 1)) / (len(draws) + 1)
        found["covered"] = round(float((np.abs(rank - 0.5) <= 0.25).mean()), 4)
    ranks = [np.abs(pd.DataFrame(x).corr(method="spearman").to_numpy()) for x in (draws[0], truth)]
    pairs = np.triu_indices(truth.shape[1], 1)
    found["dependence"] = round(float((ranks[0] - ranks[1])[pairs].mean()), 4)
    return found


def run(name: str, share: float, pattern: str, seed: int, models: tuple[str, ...]) -> None:
    """Do what is lacking of one set, pattern and seed."""
    key: Line = {"set": name, "share": share, "pattern": pattern, "seed": seed}
    done = {(line["arm"], line["model"]) for line in runs.read(RESULTS) if all(line[k] == v for k, v in key.items())}
    whole = sets.load(name).select_dtypes("number").dropna().iloc[:, :COLUMNS].astype(float)
    random = np.random.default_rng([seed, round(100 * share), len(pattern)])
    order = random.permutation(len(whole))
    rows, held = (whole.iloc[part].reset_index(drop=True) for part in (order[:ROWS], order[ROWS : ROWS + HELD_OUT]))
    lost = removed((len(rows), rows.shape[1]), share, pattern, random)
    table, truth = rows.mask(lost), rows.to_numpy()
    mean, scale = table.mean().to_numpy(), table.std(ddof=0).to_numpy().copy()
    scale[scale == 0] = 1.0
    both = [(x.to_numpy() - mean) / scale for x in (rows, held)]

    def write(arm: str, model: str, **measures: object) -> None:
        runs.write(RESULTS, key | {"arm": arm, "model": model, "rows": ROWS, "columns": len(scale)} | measures)

    warnings.simplefilter("ignore")
    for arm, model in product(("complete", "typical", "likelihood"), models):
        if (arm, model) not in done:
            start = time.process_time()
            found = likelihood(model, arm, both[0], lost, both[1], seed)
            write(arm, model, log_likelihood=round(found, 5), seconds=round(time.process_time() - start, 2))
    for model in models:
        if ("imputed", model) not in done:
            fitted = Synthesizer(model, random_state=seed).fit(table)
            draws = [fitted.impute(table, random_state=number).to_numpy(dtype=float) for number in range(DRAWS)]
            write("imputed", model, **quality(np.stack(draws), truth, lost, scale, random))
    for arm, make in RIVALS.items():
        if (arm, "") not in done:
            filled = make(seed).fit_transform((table - mean) / scale) * scale + mean
            write(arm, "", **quality(filled[None], truth, lost, scale, random))


def table() -> str:
    """Return what is gained over stand-ins, by model and set, as a Markdown table: means over all other choices."""
    found = pd.DataFrame(runs.read(RESULTS))
    index = ["set", "model", "share", "pattern", "seed"]
    scores = found[found["model"] != ""].pivot_table(index=index, columns="arm", values="log_likelihood").dropna()
    gain, room = scores["likelihood"] - scores["typical"], scores["complete"] - scores["typical"]
    errors = found.pivot_table(index=["set", "arm", "model"], values="error")["error"]
    rows = ["| model | set | gain over stand-ins | of what complete rows gain | error | iterative | nearest |"]
    rows.append("|---|---|---|---|---|---|---|")
    for model, name in product(MODELS, SETS):
        own, most = (part.xs((name, model), level=("set", "model")) for part in (gain, room))
        least = own.groupby("share").mean()
        shown = " / ".join(f"{value:+.2f}" for value in least)
        three = (errors.get((name, *arm), np.nan) for arm in (("imputed", model), ("iterative", ""), ("nearest", "")))
        rows.append(
            f"| {model} | {name} | {own.mean():+.2f} ({shown}) | {own.mean() / most.mean():.0%} | "
            + " | ".join(f"{value:.3f}" for value in three)
            + " |"
        )
    return "\n".join(rows)


def summary() -> str:
    """Return calibration and dependence of imputed tables, as a Markdown list."""
    found = pd.DataFrame(runs.read(RESULTS))
    parts = []
    for model in MODELS:
        own = found[(found["arm"] == "imputed") & (found["model"] == model)]
        parts.append(
            f"- {model}: {own['covered'].mean():.0%} of the imputed values lie in the central half of their draws.\n"
            f"  Absolute rank correlations differ by {own['dependence'].mean():+.3f}."
        )
    rivals = (f"{arm} {found[found['arm'] == arm]['dependence'].mean():+.3f}" for arm in RIVALS)
    parts.append(f"- Rivals: absolute rank correlations differ by {', '.join(rivals)}.")
    every = len(SETS) * len(SHARES) * len(PATTERNS)
    imputed = found[found["arm"] == "imputed"].drop_duplicates(["seed", "set", "share", "pattern"])
    counts = (f"{count} of {every}" for count in imputed.groupby("seed").size())
    return "\n".join([*parts, f"- Cases measured, by seed: {', '.join(counts)}."])


@click.command(help=__doc__)
@click.argument("models", nargs=-1, type=click.Choice(list(MODELS)))
@click.option("--seeds", type=int, default=len(SEEDS), show_default=True)
@runs.options
def main(models: tuple[str, ...], seeds: int, processes: int, store: str | None) -> None:
    """Run what is lacking."""
    cases = product(SEEDS[:seeds], sets.there(SETS), SHARES, PATTERNS)
    jobs = [(name, share, pattern, seed, models or tuple(MODELS)) for seed, name, share, pattern in cases]
    runs.do(run, jobs, processes, runs.shared(store, RESULTS, KEY))


if __name__ == "__main__":
    main()

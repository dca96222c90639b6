"""Does moreso model tables as well as CTGAN and TVAE? `OMP_NUM_THREADS=1 python -m experiments.compare`, some hours.

Each of the four, by its defaults and without knowledge, is trained on a random 80% of the rows of each set and compared
with the other 20%. A run is a line of JSON in experiments/results/compare.jsonl; a run that stands there (the same set,
model, seed and version) is not repeated, so that a stopped comparison goes on. Delete lines to measure anew.

ctgan (BUSL-1.1) is no dependency: its two models are compared where a user has installed it, and else skipped.

Tables: the columns that vary among the training rows, and the rows without missing values, since CTGAN takes no
others, at most `MOST_ROWS` of them at random. Columns of at most `CODES` different values are declared discrete for
CTGAN and TVAE, the rule by which moreso itself recognises codes.

Measures, both of rows as a model returns them:

- `auc`: of a random forest that tells samples from held-out rows, as many of each, in rows that it has not seen (5
  folds), averaged over 3 sets of samples. 0.5 is perfect, 1 is bad. Trees need no scaling and see margins, dependences
  and values that do not exist alike.
- `yardstick`: mean log-density of the held-out rows, in nats a row, under a Gaussian mixture fitted to 10,000 samples
  of the model; higher is better. CTGAN has no density and that of TVAE is one of other columns, so one estimator
  stands between model and rows for all four. Columns are in standard deviations of the training rows, and samples and
  rows alike get Gaussian noise of `NOISE` of these: codes, whole numbers and zeros then have a density too, and it is
  bounded. The number of components is the one best for samples that the mixture was not fitted to; held-out rows choose
  nothing. It sees nothing finer than the noise, and of codes little more than means, covariances and clumps.

`log_likelihood` is moreso's own (exact for the flow, importance-weighted for the VAE) in the same units, without noise,
where each column is one of the model, so that it has a unit. `seconds` are of the processor, to fit, on one thread.

References:
    Xu et al., "Modeling Tabular Data using Conditional GAN", NeurIPS 2019 (CTGAN and TVAE).
    Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017 (the AUC in place of the accuracy).
    Zhang et al., "Spread Divergence", ICML 2020 (noise on both sides).
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_val_score

from experiments import runs, sets
from experiments.runs import Line
from moreso import Synthesizer

RESULTS = Path(__file__).parent / "results" / "compare.jsonl"
KEY = "set", "model", "seed", "version"
OURS, THEIRS = ("vae", "flow"), ("ctgan", "tvae")
SEEDS = (0, 1, 2)
MOST_ROWS = 2000
CODES = 10
DRAWS = 10_000
NOISE = 0.1
COMPONENTS = (1, 3, 10, 30)

Draw = Callable[[int], pd.DataFrame]
Fit = Callable[[pd.DataFrame, int], Draw]


class Split(NamedTuple):
    """A table in two."""

    train: pd.DataFrame
    held_out: pd.DataFrame


def split(data: pd.DataFrame, seed: int) -> Split:
    """Return 80% and 20% of the rows without missing values, in the columns that vary among the former."""
    whole = data.dropna().sample(frac=1, random_state=seed, ignore_index=True)[:MOST_ROWS]
    train, held_out = whole[: round(0.8 * len(whole))], whole[round(0.8 * len(whole)) :]
    varied = train.columns[train.nunique() > 1]
    return Split(train[varied], held_out[varied].reset_index(drop=True))


def discrete(train: pd.DataFrame) -> list[str]:
    """Return the columns that are declared discrete for CTGAN and TVAE."""
    return train.columns[train.nunique() <= CODES].tolist()


def fit_ours(name: str, train: pd.DataFrame, seed: int) -> Synthesizer:
    """Return a model of moreso, by its defaults."""
    return Synthesizer(name, compare=False, random_state=seed).fit(train)


def fit_theirs(name: str, train: pd.DataFrame, seed: int) -> Any:
    """Return a model of ctgan, by its defaults."""
    model = getattr(import_module("ctgan"), name.upper())()
    model.set_random_state(seed)
    model.fit(train, discrete(train))
    return model


def auc(samples: pd.DataFrame, rows: pd.DataFrame, seed: int) -> float:
    """Return how well a forest tells samples from rows, as the mean over as many disjoint sets of samples as there are.

    Args:
        samples: a multiple of the number of rows.
        rows: that no model was trained on.
        seed: of the folds and the forest.
    """
    n = len(rows)
    which = np.repeat([0, 1], n)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = []
    for start in range(0, len(samples) - n + 1, n):
        both = np.vstack([samples[start : start + n].to_numpy(float), rows.to_numpy(float)])
        forest = RandomForestClassifier(200, random_state=seed)
        found.append(cross_val_score(forest, both, which, cv=folds, scoring="roc_auc").mean())
    return fmean(found)


def mixture(samples: np.ndarray, seed: int) -> GaussianMixture:
    """Return a Gaussian mixture of the samples, of the size that is best for the fifth of them it was not fitted to."""
    cut = round(0.8 * len(samples))
    with warnings.catch_warnings():
        # What a mixture gains after 50 rounds is small, and the same for all models.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = [GaussianMixture(k, max_iter=50, random_state=seed).fit(samples[:cut]) for k in COMPONENTS]
    return max(found, key=lambda each: each.score(samples[cut:]))


def yardstick(samples: pd.DataFrame, train: pd.DataFrame, rows: pd.DataFrame, seed: int) -> tuple[float, int]:
    """Return the mean log-density of rows under a mixture of samples, both with noise, and its number of components.

    Args:
        samples: of a model.
        train: which give the units.
        rows: that no model was trained on; each is looked at ten times, with other noise.
        seed: of the noise and the mixture.
    """
    random = np.random.default_rng(seed)

    def noisy(table: pd.DataFrame) -> np.ndarray:
        z = ((table - train.mean()) / train.std(ddof=0)).to_numpy(float)
        return z + NOISE * random.normal(size=z.shape)

    found = mixture(noisy(samples), seed)
    return float(found.score(noisy(pd.concat([rows] * 10)))), int(found.n_components)


def own_likelihood(model: Synthesizer, train: pd.DataFrame, rows: pd.DataFrame) -> float | None:
    """Return the model's own mean log-likelihood in standard deviations of the training rows, None without a unit."""
    if model.encoder_.width != train.shape[1]:
        return None
    return round(float(model.score_samples(rows).mean() + np.log(train.std(ddof=0)).sum()), 3)


def measure(name: str, model: str, seed: int) -> Line:
    """Return the line of one run.

    Raises:
        MissingPackageError: the package that the set comes with is not installed.
        ModuleNotFoundError: so is ctgan.
    """
    train, rows = split(sets.load(name), seed)
    start = time.process_time()
    fitted = fit_ours(model, train, seed) if model in OURS else fit_theirs(model, train, seed)
    seconds = time.process_time() - start
    samples = fitted.sample(DRAWS)
    density, components = yardstick(samples, train, rows, seed)
    return {
        "set": name,
        "model": model,
        "seed": seed,
        "version": made_by(model),
        "n": len(train) + len(rows),
        "columns": train.shape[1],
        "discrete": len(discrete(train)),
        "auc": round(auc(samples[: 3 * len(rows)], rows, seed), 4),
        "yardstick": round(density, 3),
        "components": components,
        "log_likelihood": own_likelihood(fitted, train, rows) if model in OURS else None,
        "epochs": sum(history.epochs for history in fitted.histories_) if model in OURS else 300,
        "seconds": round(seconds, 1),
        "versions": {package: version(package) for package in ("moreso", "ctgan") if installed(package)},
    }


def installed(package: str) -> bool:
    """Return whether there is such a package."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def made_by(model: str) -> str:
    """Return package and version of a model."""
    package = "moreso" if model in OURS else "ctgan"
    return f"{package} {version(package)}"


def means(lines: Iterable[Line]) -> dict[str, dict[str, Line]]:
    """Return the means over seeds of each measure, by set, in the order of the sets, and model.

    Only seeds that all models of a set have count, so that all are compared on the same rows.
    """
    found: dict[str, dict[str, Line]] = {}
    lines = list(lines)
    for name in sets.SETS:
        measured = {
            model: {line["seed"]: line for line in lines if (line["set"], line["model"]) == (name, model)}
            for model in OURS + THEIRS
        }
        seeds = sorted(set.intersection(*map(set, measured.values())))
        if not seeds:
            continue
        found[name] = {}
        for model, by_seed in measured.items():
            kept = [by_seed[seed] for seed in seeds]
            # Transforms and point masses depend on the rows, so a unit may exist for some seeds only.
            own = [line["log_likelihood"] for line in kept]
            found[name][model] = {
                **{each: fmean(line[each] for line in kept) for each in ("auc", "yardstick", "seconds")},
                "log_likelihood": None if None in own else fmean(own),
                "seeds": len(seeds),
                "n": kept[0]["n"],
                "columns": kept[0]["columns"],
            }
    return found


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is its head."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def table(path: Path = RESULTS) -> str:
    """Return AUC and yardstick of the lines that were written as a Markdown table, the best in bold."""
    models = OURS + THEIRS
    rows = [
        ["set", "rows x columns", "seeds", *(f"{each} {model}" for each in ("AUC", "yardstick") for model in models)]
    ]
    for name, by_model in means(runs.read(path)).items():
        first = by_model[models[0]]
        cells = [f"{sets.SETS[name].title} (`{name}`)", f"{first['n']} x {first['columns']}", str(first["seeds"])]
        for each, best, form in (("auc", min, ".2f"), ("yardstick", max, ".1f")):
            shown = [format(by_model[model][each], form) for model in models]
            top = format(best(by_model[model][each] for model in models), form)
            cells += [f"**{cell}**" if cell == top else cell for cell in shown]
        rows.append(cells)
    return markdown(rows)


def costs(path: Path = RESULTS) -> str:
    """Return moreso's own log-likelihoods and the seconds of all fits as a Markdown table."""
    models = OURS + THEIRS
    rows = [["set", *(f"own log-likelihood {model}" for model in OURS), *(f"seconds {model}" for model in models)]]
    for name, by_model in means(runs.read(path)).items():
        own = [by_model[model]["log_likelihood"] for model in OURS]
        cells = ["-" if value is None else f"{value:.1f}" for value in own]
        rows.append([f"`{name}`", *cells, *(f"{by_model[model]['seconds']:.0f}" for model in models)])
    return markdown(rows)


def summary(path: Path = RESULTS) -> str:
    """Return in how many sets each of our models is no worse than each of theirs, and in which worse, as Markdown."""
    found = means(runs.read(path))
    rows = [["model", "against", "AUC no worse in", "worse in", "yardstick no worse in", "worse in"]]
    for ours in OURS:
        for theirs in THEIRS:
            cells = [ours, theirs]
            for each, sign in (("auc", -1), ("yardstick", 1)):
                lost = [name for name, by in found.items() if sign * (by[ours][each] - by[theirs][each]) < 0]
                cells += [f"{len(found) - len(lost)} of {len(found)}", ", ".join(lost) or "-"]
            rows.append(cells)
    return markdown(rows)


def complete(path: Path, name: str, model: str, seed: int) -> None:
    """Run one set, model and seed, unless it is there, and write its line."""
    if (name, model, seed, made_by(model)) not in runs.done(path, KEY):
        runs.write(path, measure(name, model, seed))


def main(
    path: Path = RESULTS,
    *,
    names: Sequence[str] = tuple(sets.SETS),
    seeds: Sequence[int] = SEEDS,
    processes: int = 1,
    store: str | None = None,
) -> None:
    """Run what is not written yet, first seed first; write a line a run, and print the tables."""
    models = OURS + THEIRS if installed("ctgan") else OURS
    if models == OURS:
        print("ctgan, tvae: skipped, they need the package 'ctgan' (BUSL-1.1). Install it with: pip install ctgan")
    done = runs.done(path, KEY)
    there = sets.there(names)
    runs.do(
        complete,
        [
            (path, name, model, seed)
            for seed, name, model in product(seeds, there, models)
            if (name, model, seed, made_by(model)) not in done
        ],
        processes,
        runs.shared(store, path, KEY),
    )
    print(table(path), summary(path), costs(path), sep="\n\n")


@click.command()
@runs.options
def command(processes: int, store: str | None) -> None:
    """Run what is lacking."""
    main(processes=processes, store=store)


if __name__ == "__main__":
    command()

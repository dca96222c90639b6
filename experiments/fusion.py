"""Two tables that never met, with and without knowledge of the pairs that no row has: `python -m experiments.fusion`.

Two institutions measure different people (`fusions.py`): both measure the common columns, each some columns of its own.
A pair of columns, one of each institution, is unseen: no row has both. Each table has `SIZES` random complete rows of a
set, the two are disjoint, and at most `HELD_OUT` of the other rows are held out, complete; a size that leaves fewer
than `LEAST` is skipped. All arms of one set, size and seed share these rows.

Arms that fit a `Synthesizer` with all defaults to both tables, one below the other, and draw `SAMPLES` complete rows:

- `plain`: without knowledge.
- `relations`: with the statements, but without their signs.
- `directions`: with the statements and their signs.
- `flipped signs`: half of the signs are wrong.
- `flipped`: half of the statements are turned round: sides, signs or both.

As in `Synthesizer.fit`, the plain model chooses the dropout. It replaces the one with knowledge if validation rows are
less likely with it, by more than `HARM` and `ERRORS` standard errors: the rule of `Synthesizer.fit` when the lines were
measured. Today `HARM` alone decides (docs/decisions/0020). Lines of arms that fell back keep what the
replaced model would have had, as "obeyed".

Rivals, which take no knowledge. The first four complete both tables, and return their rows:

- `nearest`: nearest-neighbour hot deck: each row gets what it lacks from the row of the other table that is nearest in
  the standardised common columns.
- `random`: random hot deck: from a random row of the other table.
- `forest`: from a random row of the same leaf of a random tree, grown on the other table to predict what is lacking
  from the common columns.
- `iterative`: `IterativeImputer` of scikit-learn, by its defaults, on standardised columns.
- `gaussian`: the Gaussian of the greatest likelihood among those in which the columns of the two institutions are
  independent given the common ones; its density, and `SAMPLES` draws.
- `shrunken`: the same, from the shrunken covariance (Ledoit & Wolf) of each table.
- `complete`: the same rows, had both institutions measured everything: the floor, and no rival.

Measures:

- `log_likelihood`: mean over the held-out rows, in nats, where there is a density.
- `correlations`: root mean squared error of the correlations of the unseen pairs, in the completed rows or draws,
  against those in all rows of the set.
- `hsic`: the same of the normalised HSIC, by at most `HSIC_ROWS` rows on both sides.
- `error`: of a ridge regression that predicts one column of the second institution from the common ones and those of
  the first, trained on the completed rows or draws: root mean squared error over held-out rows, in their standard
  deviations.

A run is a line of JSON in experiments/results/fusion.jsonl; what is there is not run again. `microimpute` is no rival:
the version that installs under Python 3.11, 0.2.5, needs NumPy below 2 and its own versions of much else. Its main
method, a forest, is like `forest`.
"""

import time
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from pathlib import Path

import click
import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the next import possible)
from sklearn.impute import IterativeImputer
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments import fusions, runs, sets
from experiments.fusions import TASKS, Task
from experiments.runs import Line
from experiments.tables import cell, interval
from moreso import Knowledge, Settings, Synthesizer
from moreso.dependence import hsic

RESULTS = Path(__file__).parent / "results" / "fusion.jsonl"
KEY = "set", "rows", "seed", "model", "arm"
SIZES, HELD_OUT, LEAST = (30, 60, 120), 500, 50
SEEDS = range(10)
SAMPLES, HSIC_ROWS = 2000, 500
MODELS = "vae", "factor"
ARMS = "plain", "relations", "directions", "flipped signs", "flipped"
HARM, ERRORS = 0.01, 2.0
"""Nats a row, and standard errors: the former rule of `Synthesizer.fit`, restated so that arms share a plain model."""
SHOWN = 60
"""The size of the table of sets."""


def hot_deck(
    task: Task,
    first: pd.DataFrame,
    second: pd.DataFrame,
    donors: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> pd.DataFrame:
    """Return the rows of both tables, each with what it lacks from a row of the other.

    Args:
        task: the columns.
        first: one table.
        second: the other.
        donors: returns the place of a donor for each row, from the common columns of the rows, those of the donors, and
            what the donors have to give, all standardised.
    """
    scaler = StandardScaler().fit(pd.concat([first, second])[list(task.common)])
    made = []
    for rows, others, given in ((first, second, task.second), (second, first, task.first)):
        gifts = others[list(given)]
        x, y = (scaler.transform(table[list(task.common)]) for table in (rows, others))
        found = gifts.iloc[donors(x, y, StandardScaler().fit_transform(gifts))]
        made.append(pd.concat([rows.reset_index(drop=True), found.reset_index(drop=True)], axis=1))
    return pd.concat(made, ignore_index=True)[task.columns]


def nearest(task: Task, first: pd.DataFrame, second: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return both tables, completed by the nearest donor."""
    return hot_deck(task, first, second, lambda x, y, _: NearestNeighbors(n_neighbors=1).fit(y).kneighbors(x)[1][:, 0])


def at_random(task: Task, first: pd.DataFrame, second: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return both tables, completed by a random donor."""
    random = np.random.default_rng(seed)
    return hot_deck(task, first, second, lambda x, y, _: random.integers(len(y), size=len(x)))


def forest(task: Task, first: pd.DataFrame, second: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return both tables, completed by a random donor of the same leaf of a random tree."""
    random = np.random.default_rng(seed)

    def donors(x: np.ndarray, y: np.ndarray, gifts: np.ndarray) -> np.ndarray:
        grown = RandomForestRegressor(50, min_samples_leaf=5, random_state=seed).fit(y, gifts)
        leaves, of = grown.apply(x), grown.apply(y)
        trees = random.integers(leaves.shape[1], size=len(x))
        return np.array(
            [random.choice(np.flatnonzero(of[:, tree] == row[tree])) for row, tree in zip(leaves, trees, strict=True)]
        )

    return hot_deck(task, first, second, donors)


def iterative(task: Task, first: pd.DataFrame, second: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return both tables, completed by regressions in turn."""
    both = pd.concat([first, second], ignore_index=True)[task.columns]
    scaler = StandardScaler().fit(both)
    filled = IterativeImputer(random_state=seed).fit_transform(scaler.transform(both))
    return pd.DataFrame(scaler.inverse_transform(filled), columns=both.columns)


class Gaussian:
    """A Gaussian in which the two institutions' own columns are independent given the common ones.

    The likelihood of both tables factors into that of the common columns in all rows and two regressions on them, so
    that its maximum needs no iterations. Columns that are constant in a table keep their value, and count for nothing
    in the density.

    Args:
        task: the columns.
        first: one table.
        second: the other.
        covariance: returns the covariance of centred rows.

    References:
        Anderson, "Maximum Likelihood Estimates for a Multivariate Normal Distribution when Some Observations Are
        Missing", JASA 1957.
    """

    def __init__(
        self, task: Task, first: pd.DataFrame, second: pd.DataFrame, covariance: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        both = pd.concat([first, second])[task.columns]
        self.mean, self.scale = both.mean(), both.std(ddof=0)
        fixed = {column for table in (first, second) for column in table if table[column].nunique() < 2}
        self.columns = [column for column in task.columns if column not in fixed]
        common = [column for column in task.common if column not in fixed]
        all_x = self._standard(both)[common].to_numpy()
        of_x = covariance(all_x)
        # The rows of `maps` are the regressions on the common columns; these are regressed on themselves.
        maps, noise, middle = [np.eye(len(common))], [np.zeros_like(of_x)], [np.zeros(len(common))]
        for table, names in ((first, task.first), (second, task.second)):
            own = [column for column in names if column not in fixed]
            part = self._standard(table)[common + own].to_numpy()
            center, k = part.mean(0), len(common)
            spread = covariance(part - center)
            slope = np.linalg.solve(spread[:k, :k], spread[:k, k:]).T
            maps.append(slope)
            noise.append(spread[k:, k:] - slope @ spread[:k, k:])
            middle.append(center[k:] - slope @ center[:k])
        slopes, start = np.vstack(maps), 0
        self.center, self.covariance = np.concatenate(middle), slopes @ of_x @ slopes.T
        for block in noise:
            inside = slice(start, start := start + len(block))
            self.covariance[inside, inside] += block

    def _standard(self, rows: pd.DataFrame) -> pd.DataFrame:
        return (rows - self.mean[rows.columns]) / self.scale[rows.columns].replace(0.0, 1.0)

    def score_samples(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the log-density of complete rows, in the units of the table."""
        off = self._standard(rows)[self.columns].to_numpy() - self.center
        distance = np.einsum("ij,ij->i", off, np.linalg.solve(self.covariance, off.T).T)
        volume = np.linalg.slogdet(2 * np.pi * self.covariance)[1] + 2 * np.log(self.scale[self.columns]).sum()
        return -0.5 * (distance + volume)

    def sample(self, n: int, random_state: int) -> pd.DataFrame:
        """Return n complete rows."""
        random = np.random.default_rng(random_state)
        drawn = pd.DataFrame(random.multivariate_normal(self.center, self.covariance, n), columns=self.columns)
        drawn = drawn * self.scale[self.columns] + self.mean[self.columns]
        return drawn.reindex(columns=list(self.mean.index)).fillna(self.mean)


COMPLETING: dict[str, Callable[[Task, pd.DataFrame, pd.DataFrame, int], pd.DataFrame]] = {
    "nearest": nearest,
    "random": at_random,
    "forest": forest,
    "iterative": iterative,
}
GAUSSIANS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gaussian": lambda x: x.T @ x / len(x),
    "shrunken": lambda x: LedoitWolf(assume_centered=True).fit(x).covariance_,
}
RIVALS = *COMPLETING, *GAUSSIANS
OTHERS = *RIVALS, "complete"


def prepared(name: str, rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the first table, the second, the rows of both with all columns, and the held-out rows."""
    task, whole = TASKS[name], fusions.load(name)
    order = np.random.default_rng([seed, rows]).permutation(len(whole))
    seen, held = (
        whole.iloc[part].reset_index(drop=True) for part in (order[: 2 * rows], order[2 * rows : 2 * rows + HELD_OUT])
    )
    first, second = seen[:rows][[*task.common, *task.first]], seen[rows:][[*task.common, *task.second]]
    return first, second.reset_index(drop=True), seen, held


def dependences(task: Task, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return correlation and normalised HSIC of the unseen pairs; 0 where a column is constant."""
    some = rows[:HSIC_ROWS]
    correlations = rows.corr().fillna(0.0)
    return (
        np.array([correlations.loc[pair] for pair in task.unseen]),
        np.array(
            [
                float(hsic(some[one].to_numpy(), some[other].to_numpy(), normalize=True))
                if some[one].nunique() > 1 and some[other].nunique() > 1
                else 0.0
                for one, other in task.unseen
            ]
        ),
    )


@lru_cache
def truth(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what `dependences` are in all rows of a set."""
    return dependences(TASKS[name], fusions.load(name).sample(frac=1, random_state=0))


def measured(name: str, made: pd.DataFrame, held: pd.DataFrame) -> Line:
    """Return the measures of completed rows or draws."""
    task = TASKS[name]
    missed = [found - true for found, true in zip(dependences(task, made), truth(name), strict=True)]
    inputs = [*task.common, *task.first]
    fitted = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(made[inputs], made[task.target])
    off = fitted.predict(held[inputs]) - held[task.target]
    return {
        "correlations": round(float(np.sqrt((missed[0] ** 2).mean())), 4),
        "hsic": round(float(np.sqrt((missed[1] ** 2).mean())), 4),
        "error": round(float(np.sqrt((off**2).mean()) / held[task.target].std(ddof=0)), 4),
    }


def known(name: str, arm: str, tables: tuple[pd.DataFrame, ...], seed: int) -> Knowledge | None:
    """Return the statements of an arm about columns that vary in their tables; None for the plain model."""
    if arm == "plain":
        return None
    stated = fusions.altered(fusions.knowledge(name), arm, np.random.default_rng(seed))
    fixed = {column for table in tables for column in table if table[column].nunique() < 2}
    return stated.restrict([c for c in TASKS[name].columns if c not in fixed])


@lru_cache(maxsize=1)
def plain(name: str, rows: int, seed: int, model: str) -> Synthesizer:
    """Return the model without knowledge, which the arms of one set, size and seed share."""
    first, second, *_ = prepared(name, rows, seed)
    return Synthesizer(model, random_state=seed).fit(pd.concat([first, second], ignore_index=True))


def harmed(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether the plain model is kept, from the log-likelihoods of validation rows of both."""
    loss = before - after
    return bool(loss.mean() > max(HARM, ERRORS * loss.std(ddof=1) / len(loss) ** 0.5))


def fit(name: str, rows: int, seed: int, model: str, arm: str) -> tuple[Synthesizer, Synthesizer, int]:
    """Return the model that a fit keeps, the one with knowledge, and how many statements were left out."""
    first, second, *_ = prepared(name, rows, seed)
    both, other = pd.concat([first, second], ignore_index=True), plain(name, rows, seed, model)
    if arm == "plain":
        return other, other, 0
    settings = Settings(dropout=other.dropout_)
    stated = known(name, arm, (first, second), seed)
    made = Synthesizer(model, stated, compare=False, random_state=seed, settings=settings).fit(both)
    kept = other if harmed(other.score_unseen(both), made.score_unseen(both)) else made
    return kept, made, len(made.left_out_)


def run(name: str, rows: int, seed: int, model: str, arm: str) -> Line | None:
    """Return the line of one arm; None if the set leaves too few rows to score. Rivals have no model."""
    first, second, seen, held = prepared(name, rows, seed)
    if len(held) < LEAST:
        return None
    task = TASKS[name]
    line: Line = {"set": name, "rows": rows, "seed": seed, "model": model, "arm": arm, "held_out_rows": len(held)}
    line["version"] = version("moreso")
    start = time.process_time()
    fitted: Synthesizer | Gaussian | None = None
    if arm in ARMS:
        fitted, obeyed, left_out = fit(name, rows, seed, model, arm)
        line |= {"left_out": left_out, "fell_back": fitted is not obeyed}
        if fitted is not obeyed:
            scored = {"log_likelihood": round(float(obeyed.score_samples(held).mean()), 5)}
            line["obeyed"] = scored | measured(name, obeyed.sample(SAMPLES, random_state=seed), held)
        made = fitted.sample(SAMPLES, random_state=seed)
    elif arm in GAUSSIANS:
        fitted = Gaussian(task, first, second, GAUSSIANS[arm])
        made = fitted.sample(SAMPLES, random_state=seed)
    else:
        made = seen if arm == "complete" else COMPLETING[arm](task, first, second, seed)
    line["seconds"] = round(time.process_time() - start, 2)
    if fitted is not None:
        line["log_likelihood"] = round(float(fitted.score_samples(held).mean()), 5)
    return line | measured(name, made, held)


def complete(name: str, rows: int, seed: int, lacking: list[tuple[str, str]]) -> None:
    """Run some arms, each with its model, of one set, size and seed, unless they are there, and write their lines."""
    done = runs.done(RESULTS, KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model, arm in lacking:
            if (name, rows, seed, model, arm) in done:
                continue
            if line := run(name, rows, seed, model, arm):
                runs.write(RESULTS, line)


def _lines() -> pd.DataFrame:
    columns = [*KEY, *MEASURES, "left_out", "fell_back"]
    return pd.DataFrame(runs.read(RESULTS), columns=columns).drop_duplicates(list(KEY))


MEASURES = {
    "correlations": "error of unseen correlations",
    "hsic": "error of unseen normalised HSIC",
    "error": "error of the regression",
    "log_likelihood": "log-likelihood",
}


def wide(model: str, measure: str, rows: int | None = None) -> pd.DataFrame:
    """Return a measure with a column for every arm of a model and for every rival, over set, size and seed."""
    found = _lines()
    found = found[found["model"].isin([model, ""])]
    if rows is not None:
        found = found[found["rows"] == rows]
    table = found.pivot_table(index=["set", "rows", "seed"], columns="arm", values=measure)
    return table.reindex(columns=[*ARMS, *OTHERS])


def _measured(model: str) -> bool:
    return bool((_lines()["model"] == model).any())


def table() -> str:
    """Return, by model and set, gains and errors at `SHOWN` rows a table, as a Markdown table."""
    lines = [
        "| model | set | seeds | gain, relations | gain, directions | " + " | ".join([*ARMS[:3], *OTHERS]) + " |",
        "|" + " --- |" * (5 + 3 + len(OTHERS)),
    ]
    for model in [model for model in MODELS if _measured(model)] or [""]:
        errors, scores = wide(model, "correlations", SHOWN), wide(model, "log_likelihood", SHOWN)
        for name in TASKS:
            if name not in errors.index.get_level_values("set"):
                continue
            own, score = (part.xs(name, level="set") for part in (errors, scores.reindex(errors.index)))
            gains = [cell((score[arm] - score["plain"]).dropna()) for arm in ("relations", "directions")]
            shown = [_number(own[arm].mean()) for arm in (*ARMS[:3], *OTHERS)]
            seeds = own["directions"].count() if model else len(own)
            lines.append(f"| {' | '.join([model or '-', name, str(seeds), *gains, *shown])} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def summary() -> str:
    """Return all measures of all arms, by model and size, as a Markdown table: means over sets.

    Errors of arms with knowledge are differences from the plain model, paired over sets and seeds: the interval is over
    the seeds' means over sets. Of rivals, means are shown.
    """
    lines = ["| model | rows | arm | sets | seeds | " + " | ".join(MEASURES.values()) + " |", "|" + " --- |" * 9]
    for model, rows in product([model for model in MODELS if _measured(model)], SIZES):
        parts = {measure: wide(model, measure, rows) for measure in MEASURES}
        for arm in ARMS:
            both = {measure: part[["plain", arm]].dropna() for measure, part in parts.items()}
            if both["error"].empty:
                continue
            cells = []
            for part in both.values():
                if arm == "plain":
                    cells.append(_number(part.iloc[:, 0].mean()))
                else:
                    cells.append(cell((part[arm] - part["plain"]).groupby("seed").mean()))
            lines.append(f"| {' | '.join([model, str(rows), arm, *_counts(both['error']), *cells])} |")
    for rows in SIZES:
        parts = {measure: wide("", measure, rows) for measure in MEASURES}
        for arm in OTHERS:
            own = parts["error"][arm].dropna()
            if own.empty:
                continue
            cells = [_number(part[arm].mean()) for part in parts.values()]
            lines.append(f"| - | {rows} | {arm} | {' | '.join([*_counts(own), *cells])} |")
    return "\n".join(lines)


def _counts(found: "pd.DataFrame | pd.Series[float]") -> list[str]:
    """Return the numbers of sets and of seeds."""
    return [str(found.index.get_level_values(level).nunique()) for level in ("set", "seed")]


def headline() -> str:
    """Return the error of the unseen correlations, on average over sets, as a Markdown table: for the README."""
    lines = [
        "| model | tasks | seeds | without knowledge | relations | and directions | best rival | complete rows |",
        "|" + " --- |" * 8,
    ]
    for model in MODELS:
        errors = wide(model, "correlations", SHOWN).dropna(subset=["plain", "directions"])
        if errors.empty:
            continue
        mean = errors.groupby("set").mean()
        shown = [mean["plain"], mean["relations"], mean["directions"], mean[list(RIVALS)].min(axis=1), mean["complete"]]
        seeds = errors.groupby("set").size()
        counts = [str(len(mean)), "-".join(map(str, sorted({seeds.min(), seeds.max()})))]
        lines.append(f"| {' | '.join([model, *counts, *(_number(part.mean()) for part in shown)])} |")
    return "\n".join(lines)


def bars() -> str:
    """Return what was asked at `SHOWN` rows, and what came out, as a Markdown list."""
    lines = []
    for model in MODELS:
        errors = wide(model, "correlations", SHOWN).dropna(subset=["plain", "directions"])
        if errors.empty:
            continue
        mean = errors.groupby("set").mean()
        below = int((mean["directions"] < mean[list(RIVALS)].min(axis=1)).sum())
        scores = wide(model, "log_likelihood", SHOWN)
        gains = [interval(part) for _, part in (scores["directions"] - scores["plain"]).dropna().groupby("set")]
        gained, lost = sum(low > 0 for _, low, _ in gains), sum(high < 0 for _, _, high in gains)
        lines += [
            f"- {model}: the error of the unseen correlations is {mean['plain'].mean():.2f} without knowledge and "
            f"{mean['directions'].mean():.2f} with it\n  (asked: half), and lower than every rival's on {below} of "
            f"{len(mean)} sets (asked: five of six).",
            f"- {model}: the log-likelihood rises beyond its interval on {gained} of {len(gains)} sets (asked: four of "
            f"six), and falls on {lost} (asked: none).",
        ]
    return "\n".join(lines) or "- Not measured yet with knowledge."


@click.command(help=__doc__)
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--seeds", type=int, default=len(SEEDS), show_default=True)
@click.option("--set", "names", multiple=True, type=click.Choice(list(TASKS)), help="By default all.")
@click.option("--rows", "sizes", multiple=True, type=click.Choice(SIZES), help="By default all.")
@click.option("--arm", "arms", multiple=True, type=click.Choice([*OTHERS, *ARMS]), help="By default all.")
@runs.options
def main(
    models: tuple[str, ...],
    seeds: int,
    names: tuple[str, ...],
    sizes: tuple[int, ...],
    arms: tuple[str, ...],
    processes: int,
    store: str | None,
) -> None:
    """Run what is lacking for MODELS, by default the first, and for the rivals."""
    chosen = [("", arm) for arm in OTHERS if arm in (arms or OTHERS)]
    chosen += [(model, arm) for model in models or MODELS[:1] for arm in ARMS if arm in (arms or ARMS)]
    done = runs.done(RESULTS, KEY)
    jobs = []
    for seed, rows, name in product(SEEDS[:seeds], sizes or SIZES, sets.there(names or TASKS)):
        if lacking := [each for each in chosen if (name, rows, seed, *each) not in done]:
            jobs.append((name, rows, seed, lacking))
    runs.do(complete, jobs, processes, runs.shared(store, RESULTS, KEY))


if __name__ == "__main__":
    main()

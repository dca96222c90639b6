"""The gain from statements on rows that no model saw, which of them carry it, and how many rows it is worth."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from sklearn.base import clone
from sklearn.model_selection import ShuffleSplit

from moreso.guidance import MAX_SEED, RandomState, seed_of, seed_problems
from moreso.relations import Knowledge, Statement, count_problems, match_columns, raise_problems
from moreso.synthesizer import Bar, Settings, Synthesizer, fit_all

if TYPE_CHECKING:
    from rich.table import Table

TEST_SHARE = 0.2
"""Share of the rows held out in each split."""

CURVE = 0.5, 0.75
"""Shares of a split's training rows to which the plain model is also fitted, for its learning curve."""


@dataclass(frozen=True)
class Gain:
    """Mean difference in log-likelihood per held-out row over splits, in nats, with its 95% interval.

    Args:
        mean: mean over the splits; above 0 if knowledge helps.
        low: lower end of the interval.
        high: upper end of the interval.
        splits: the difference in each split.
    """

    mean: float
    low: float
    high: float
    splits: tuple[float, ...]

    @classmethod
    def of(cls, differences: "list[float] | np.ndarray", share: float) -> "Gain":
        """Return mean and interval of differences in splits with `share` times as many test rows as training rows.

        The training rows of the J splits overlap, so the variance of the mean is corrected to (1 / J + share) s^2.

        References:
            Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 2003, section 4.
        """
        values = np.asarray(differences, dtype=float)
        error = float(np.sqrt((1 / len(values) + share) * values.var(ddof=1)))
        reach = float(stdtrit(len(values) - 1, 0.975)) * error
        mean = float(values.mean())
        return cls(mean, mean - reach, mean + reach, tuple(values.tolist()))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Worth:
    """Result of `worth`; prints itself as a table.

    Args:
        rows: the number of rows that each model of a split was fitted to.
        gain: the gain of all statements together over the plain model.
        statements: each statement with the gain of all statements over all but this one; from few splits, so the
            intervals are wide.
        extra_rows: how many more rows would improve the plain model as much, by its learning curve; infinite if no
            number would, NaN if more rows do not improve the plain model, 0 if there is no gain.
        fits: the number of models fitted.
        knowledge: all statements, with the user's names for groups.

    >>> inlet = np.random.default_rng(0).normal(size=40)
    >>> table = pd.DataFrame({"outlet": 2 * inlet + inlet[::-1], "inlet": inlet, "ambient": inlet[::-1]})
    >>> synthesizer = Synthesizer("factor", "outlet: inlet > ambient", trust="all", max_epochs=20, random_state=0)
    >>> found = worth(synthesizer.set_params(settings=Settings(members=1)), table, splits=2, budget=6)
    >>> found.rows, found.fits, len(found.gain.splits), len(found.summary)
    (32, 6, 2, 2)
    >>> list(found.to_frame().columns), list(found.to_dict())[:2], list(json.loads(found.to_json()))[:2]
    (['relation', 'gain', 'low', 'high'], ['rows', 'gain'], ['moreso', 'rows'])
    """

    rows: int
    gain: Gain
    statements: tuple[tuple[Statement, Gain], ...]
    extra_rows: float
    fits: int
    knowledge: Knowledge

    def to_frame(self) -> pd.DataFrame:
        """Return one row per statement, the most valuable first: `relation`, `gain`, `low`, `high`."""
        rows = [
            (self.knowledge.describe(relation), gain.mean, gain.low, gain.high) for relation, gain in self.statements
        ]
        frame = pd.DataFrame(rows, columns=["relation", "gain", "low", "high"])
        return frame.sort_values("gain", ascending=False, ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-compatible values; `extra_rows` is None if it is not finite."""
        statements = [
            {"relation": self.knowledge.describe(relation), **asdict(gain)} for relation, gain in self.statements
        ]
        return {
            "rows": self.rows,
            "gain": asdict(self.gain),
            "statements": statements,
            "extra_rows": self.extra_rows if np.isfinite(self.extra_rows) else None,
            "fits": self.fits,
        }

    def to_json(self) -> str:
        """Return everything as a JSON object; `extra_rows` is null if it is not finite."""
        return json.dumps({"moreso": version("moreso"), **self.to_dict()}, indent=2)

    @property
    def summary(self) -> list[str]:
        """The findings in sentences."""
        lines = [
            f"The statements change the log-likelihood of a held-out row by {self.gain} nats, in models of {self.rows} "
            f"rows (mean and 95% interval over {len(self.gain.splits)} splits, {self.fits} fits)."
        ]
        if np.isnan(self.extra_rows):
            lines.append("More rows did not make the plain model better here, so the gain cannot be expressed in rows.")
        elif np.isinf(self.extra_rows):
            lines.append("By the plain model's learning curve, no number of additional rows would have gained as much.")
        elif self.extra_rows:
            lines.append(f"The plain model would need about {self.extra_rows:.0f} more rows for as much.")
        if not self.statements:
            lines.append("The budget did not suffice to tell the statements apart.")
        return lines

    def __str__(self) -> str:
        return "\n".join([*([self.to_frame().to_string(index=False)] if self.statements else []), *self.summary])

    def __rich__(self) -> "Table":
        from rich.markup import escape  # noqa: PLC0415 (only a terminal needs it)
        from rich.table import Table  # noqa: PLC0415 (only a terminal needs it)

        table = Table(title="What each statement adds to the others, nats per held-out row", title_justify="left")
        table.add_column("statement")
        for name in ("gain", "95% from", "to"):
            table.add_column(name, justify="right")
        for relation, *values in self.to_frame().itertuples(index=False):
            table.add_row(escape(str(relation)), *(f"{value:+.3f}" for value in values))
        return table


def worth(
    synthesizer: Synthesizer, data: pd.DataFrame, *, splits: int = 5, budget: int = 60, random_state: RandomState = 0
) -> Worth:
    """Return the gain of a synthesizer's knowledge over the plain model on rows that neither saw.

    In each of `splits` random splits, the model is fitted without and with knowledge to 80% of the rows, from the same
    seed, and scored on the other rows. The plain model is also fitted to fewer rows: a - b / n, by least squares, is
    its learning curve. With the rest of the budget, each statement is left out in turn. The plain models are fitted at
    once, and so are all those with statements (`moreso.fit_all`).

    Args:
        synthesizer: a synthesizer with knowledge, fitted or not; it is copied and not changed. Its `progress` tells
            whether to show a progress bar.
        data: the available rows.
        splits: the number of random splits, at least 2.
        budget: the most models to fit. Single statements get a gain if the budget allows leaving out each of them in at
            least 2 splits.
        random_state: seed of splits and fits, or a generator of NumPy's.

    Raises:
        ValueError: there is no knowledge, too few splits or rows, or a budget below 2 fits per split; or as
            `Synthesizer.fit`.
        TypeError: the model has no density.

    >>> inlet = np.random.default_rng(0).normal(size=40)
    >>> table = pd.DataFrame({"outlet": 2 * inlet + inlet[::-1], "inlet": inlet, "ambient": inlet[::-1]})
    >>> synthesizer = Synthesizer("factor", "outlet: inlet > ambient", trust="all", max_epochs=20, random_state=0)
    >>> found = worth(synthesizer.set_params(settings=Settings(members=1)), table, splits=2, budget=4)
    >>> found.gain.low < found.gain.mean < found.gain.high
    True
    """
    _check(synthesizer, data, split_problems(splits, budget, random_state))
    splits, budget, seed = int(splits), int(budget), seed_of(random_state)
    knowledge = match_columns(synthesizer.statements, map(str, data.columns), stacklevel=3)
    # scikit-learn's seeds are shorter.
    places = list(ShuffleSplit(splits, test_size=TEST_SHARE, random_state=seed % 2**32).split(data))
    left = budget - 2 * splits
    parts = (1.0, *CURVE[: left // splits])
    repeats = min(splits, (left - splits * len(parts[1:])) // len(knowledge))
    weighed = list(knowledge) if repeats > 1 else []
    plain = [_Job(split, None, part) for part in parts for split in range(splits)]
    informed = [_Job(split, knowledge) for split in range(splits)]
    for relation in weighed:
        others = Knowledge(tuple(each for each in knowledge if each is not relation))
        informed += [_Job(split, others) for split in range(repeats)]

    def fit(jobs: Sequence[_Job], dropout: Sequence[float | None], bar: Bar) -> list[Synthesizer]:
        copies = []
        for job, rate in zip(jobs, dropout, strict=True):
            rare = synthesizer.settings or Settings()
            rare = rare if rate is None else replace(rare, dropout=rate)
            at = (seed + job.split) % (MAX_SEED + 1)
            own = clone(synthesizer).set_params(knowledge=job.stated, compare=False, random_state=at, settings=rare)
            copies.append(own)
        trains = [places[job.split][0] for job in jobs]
        tables = [data.iloc[train[: round(job.part * len(train))]] for job, train in zip(jobs, trains, strict=True)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit_all(copies, tables, bar=bar)

    def score(fitted: Sequence[Synthesizer], jobs: Sequence[_Job]) -> list[float]:
        tests = [data.iloc[places[job.split][1]] for job in jobs]
        return [float(each.score_samples(test).mean()) for each, test in zip(fitted, tests, strict=True)]

    with Bar(shown=synthesizer.progress).showing() as bar:
        found = fit(plain, [None] * len(plain), bar)
        # The split's plain model has chosen the dropout; it is not chosen again with each set of statements.
        chosen = [None if job.stated is None else found[job.split].dropout_ for job in informed]
        before, after = score(found, plain), score(fit(informed, chosen, bar), informed)
    full = after[:splits]
    share = len(places[0][1]) / len(places[0][0])
    gain = Gain.of(np.subtract(full, before[:splits]), share)
    curve = {part: fmean(before[at * splits : (at + 1) * splits]) for at, part in enumerate(parts)}
    lesser = np.reshape(after[splits:], (len(weighed), repeats) if weighed else (0, 0))
    statements = tuple(
        (relation, Gain.of(np.subtract(full[:repeats], own), share))
        for relation, own in zip(weighed, lesser, strict=True)
    )
    rows = len(places[0][0])
    return Worth(rows, gain, statements, extra_rows(curve, rows, gain.mean), len(plain + informed), knowledge)


@dataclass(frozen=True)
class _Job:
    """A fit to the training rows of one split.

    Args:
        split: its position.
        stated: the statements, or None.
        part: the share of the training rows that it gets.
    """

    split: int
    stated: Knowledge | None
    part: float = 1.0


def extra_rows(curve: dict[float, float], rows: int, gain: float) -> float:
    """Return how many rows beyond `rows` a learning curve needs to rise by `gain`; see `Worth.extra_rows`.

    Args:
        curve: the plain model's mean log-likelihood by the share of the rows that it was fitted to; a - b / n is fitted
            to it.
        rows: the number of rows at share 1.
        gain: the gain, in the curve's units.
    """
    if gain <= 0:
        return 0.0
    if len(curve) < 2:
        return float("nan")
    inverse = np.array([1 / round(share * rows) for share in curve])
    fall = -float(np.polyfit(inverse, list(curve.values()), 1)[0])
    if fall <= 0:
        return float("nan")
    left = fall / rows - gain
    return fall / left - rows if left > 0 else float("inf")


def split_problems(splits: int, budget: int, random_state: RandomState = 0) -> list[str]:
    """Return the problems of the settings of `worth`, one sentence per problem."""
    found = count_problems("splits", splits, 2, "An interval needs several.")
    least = 4 if found else 2 * splits
    if count_problems("budget", budget, least, ""):
        found.append(f"'budget' must be at least 2 fits a split, {least}, got {budget}. Raise it.")
    return found + seed_problems(random_state)


def _check(synthesizer: Synthesizer, data: pd.DataFrame, settings: list[str]) -> None:
    """Raise all problems that keep the worth of a synthesizer's knowledge from being measured."""
    if not synthesizer.knowledge:
        raise ValueError("the synthesizer has no knowledge, so there is nothing to measure. Give it knowledge.")
    problems = synthesizer.problems(data)
    raise_problems(settings=[*settings, *problems.settings], knowledge=problems.knowledge, data=problems.data)

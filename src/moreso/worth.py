"""What the statements gain on rows that no model saw, which of them carry it, and how many rows it is worth."""

import json
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from scipy.stats import t as student
from sklearn.base import clone
from sklearn.model_selection import ShuffleSplit

from moreso.relations import Knowledge, Relation
from moreso.synthesizer import Synthesizer

TEST_SHARE = 0.2
"""Of the rows, held out in each split."""

CURVE = 0.5, 0.75
"""Shares of a split's training rows on which the plain model is fitted too, for its learning curve."""


@dataclass(frozen=True)
class Gain:
    """A mean over splits of differences in log-likelihood per held-out row, in nats, with its 95% interval.

    Args:
        mean: over the splits; above 0 where knowledge helps.
        low: lower end of the interval.
        high: upper end.
        splits: the difference in each.
    """

    mean: float
    low: float
    high: float
    splits: tuple[float, ...]

    @classmethod
    def of(cls, differences: "list[float] | np.ndarray", share: float) -> "Gain":
        """Return mean and interval of differences in splits whose test rows are `share` times the training rows.

        Training rows overlap from split to split, so the variance of the mean is corrected to (1 / J + share) s^2.

        References:
            Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 2003, section 4.
        """
        values = np.asarray(differences, dtype=float)
        error = float(np.sqrt((1 / len(values) + share) * values.var(ddof=1)))
        reach = float(student.ppf(0.975, len(values) - 1)) * error
        mean = float(values.mean())
        return cls(mean, mean - reach, mean + reach, tuple(values.tolist()))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Worth:
    """Result of `worth`; prints itself as a table.

    Args:
        rows: that each model of a split was fitted to.
        gain: of all statements together over the plain model.
        statements: what all of them gain over all but this one, by its text; few splits, so wide intervals.
        extra_rows: how many more rows would raise the plain model as much, by its learning curve; infinite where no
            number would, NaN where more rows do not raise the plain model, 0 where there is no gain.
        fits: how many models were fitted.
    """

    rows: int
    gain: Gain
    statements: dict[str, Gain]
    extra_rows: float
    fits: int

    def to_frame(self) -> pd.DataFrame:
        """Return a row a statement, the most valuable first: `relation`, `gain`, `low`, `high`."""
        rows = [(text, each.mean, each.low, each.high) for text, each in self.statements.items()]
        frame = pd.DataFrame(rows, columns=["relation", "gain", "low", "high"])
        return frame.sort_values("gain", ascending=False, ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON knows; None where a number of rows is not finite."""
        return asdict(self) | {"extra_rows": self.extra_rows if np.isfinite(self.extra_rows) else None}

    def to_json(self) -> str:
        """Return everything as a JSON object; null where a number of rows is not finite."""
        return json.dumps({"moreso": version("moreso"), **self.to_dict()}, indent=2)

    @property
    def summary(self) -> list[str]:
        """The findings in sentences."""
        lines = [
            f"The statements change the log-likelihood of a held-out row by {self.gain} nats, in models of {self.rows} "
            f"rows (mean and 95% interval over {len(self.gain.splits)} splits, {self.fits} fits)."
        ]
        if np.isnan(self.extra_rows):
            lines.append("More rows did not make the plain model better here, so the gain cannot be told in rows.")
        elif np.isinf(self.extra_rows):
            lines.append("By the plain model's learning curve, no number of further rows would have gained as much.")
        elif self.extra_rows:
            lines.append(f"The plain model would need about {self.extra_rows:.0f} more rows for as much.")
        if not self.statements:
            lines.append("The budget did not suffice to tell the statements apart.")
        return lines

    def __str__(self) -> str:
        return "\n".join([*([self.to_frame().to_string(index=False)] if self.statements else []), *self.summary])

    def __rich__(self) -> Table:
        table = Table(title="What each statement adds to the others, nats per held-out row", title_justify="left")
        table.add_column("statement")
        for name in ("gain", "95% from", "to"):
            table.add_column(name, justify="right")
        for relation, *values in self.to_frame().itertuples(index=False):
            table.add_row(str(relation), *(f"{value:+.3f}" for value in values))
        return table


def worth(
    synthesizer: Synthesizer, data: pd.DataFrame, *, splits: int = 5, budget: int = 60, random_state: int = 0
) -> Worth:
    """Return what a synthesizer's knowledge gains over the plain model on rows that neither saw.

    In each of `splits` random splits the model is fitted without and with knowledge to 80% of the rows, from the same
    seed, and scored on the others. With what is left of the budget each statement is left out in turn. The plain model
    is also fitted to fewer rows: a - b / n, by least squares, is its learning curve.

    Args:
        synthesizer: with knowledge, fitted or not; it is copied and not changed.
        data: the rows at hand.
        splits: at least 2.
        budget: of fits. Statements are told apart where it allows leaving out each in 2 splits or more.
        random_state: seed of splits and fits.

    Raises:
        ValueError: no knowledge, too few splits or rows, a budget below 2 fits a split; what `Synthesizer.fit` raises.
        TypeError: the model has no density.
    """
    _check(synthesizer, data, splits, budget)
    knowledge = synthesizer.knowledge
    assert knowledge
    places = list(ShuffleSplit(splits, test_size=TEST_SHARE, random_state=random_state).split(data))
    fits = 0
    chosen: dict[int, float] = {}

    def score(split: int, stated: Knowledge | None, share: float = 1.0) -> float:
        """Fit to a share of a split's training rows, and return the mean log-likelihood of its test rows."""
        nonlocal fits
        fits += 1
        train, test = places[split]
        settings = {"knowledge": stated or None, "compare": False, "random_state": random_state + split}
        fitted = clone(synthesizer).set_params(**settings)
        if stated:
            # Chosen by the plain model of the split, which was fitted before; not anew for each leaving-out.
            fitted.set_params(dropout=chosen[split])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted.fit(data.iloc[train[: round(share * len(train))]])
        if not stated and share == 1:
            chosen[split] = fitted.dropout_
        return float(fitted.score_samples(data.iloc[test]).mean())

    plain = [score(split, None) for split in range(splits)]
    full = [score(split, knowledge) for split in range(splits)]
    share = len(places[0][1]) / len(places[0][0])
    gain = Gain.of(np.subtract(full, plain), share)
    curve = {1.0: fmean(plain)}
    for part in islice(CURVE, max(0, (budget - fits) // splits)):
        curve[part] = fmean(score(split, None, part) for split in range(splits))
    repeats = min(splits, (budget - fits) // len(knowledge))
    statements: dict[str, Gain] = {}
    for left_out in knowledge if repeats > 1 else ():
        others = Knowledge(tuple(relation for relation in knowledge if relation is not left_out))
        lost = [full[split] - score(split, others) for split in range(repeats)]
        statements[str(Relation(*left_out.groups))] = Gain.of(lost, share)
    rows = len(places[0][0])
    return Worth(rows, gain, statements, extra_rows(curve, rows, gain.mean), fits)


def extra_rows(curve: dict[float, float], rows: int, gain: float) -> float:
    """Return how many rows more than `rows` a learning curve asks for, to rise by `gain`; see `Worth.extra_rows`.

    Args:
        curve: the plain model's mean log-likelihood by the share of the rows that it was fitted to, through which
            a - b / n is put.
        rows: that share 1 stands for.
        gain: in the curve's units.
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


def _check(synthesizer: Synthesizer, data: pd.DataFrame, splits: int, budget: int) -> None:
    """Raise what keeps the worth of a synthesizer's knowledge from being told; all faults at once."""
    if not synthesizer.knowledge:
        raise ValueError("the synthesizer has no knowledge, so there is nothing to weigh. Give it knowledge.")
    faults = []
    if splits < 2:
        faults.append(f"'splits' must be at least 2, got {splits}. An interval needs several.")
    if budget < 2 * splits:
        faults.append(f"'budget' must be at least 2 fits a split, {2 * splits}, got {budget}. Raise it.")
    try:
        synthesizer.check(data)
    except ValueError as error:
        faults += str(error).splitlines()
    if faults:
        raise ValueError("\n".join(faults))

"""The numbers of a report: of each statement, of the likelihood, and what its pictures show."""

from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import pandas as pd
from scipy.special import stdtrit

from moreso._audit import Verdict
from moreso.evaluation._pairs import NAN
from moreso.relations import Statement
from moreso.training import History


class Gap(NamedTuple):
    """The gap of a statement in one kind of rows; means over the fits.

    Args:
        gap: HSIC(ref, plus) - HSIC(ref, minus), or the signed covariance of a direction.
        error: its standard error.
        normalized: the gap of the normalised dependences, comparable between statements.
        normalized_error: its standard error.
        holds: the share of fits in which these rows confirm the statement.
    """

    gap: float
    error: float
    normalized: float
    normalized_error: float
    holds: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the normalised gap."""
        return self.normalized - 1.96 * self.normalized_error, self.normalized + 1.96 * self.normalized_error


@dataclass(frozen=True)
class Row:
    """One statement in data, in samples without knowledge and in samples with it.

    Args:
        relation: the statement.
        data: its gap in the data.
        without: its gap in samples of the plain model.
        with_knowledge: its gap in samples of the model trained with knowledge.
        verdict: the verdict of the data; the most cautious one if there are several fits.
        bits: what the statement says beyond the training rows if these are known, else beyond the data; a mean over the
            fits.
    """

    relation: Statement
    data: Gap
    without: Gap
    with_knowledge: Gap
    verdict: Verdict
    bits: float


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood per row, in nats: higher is better.

    Args:
        without: log-likelihood of the plain model, per fit.
        with_knowledge: log-likelihood of the model trained with knowledge, per fit.
        gain: mean difference.
        error: standard error of the gain, over fits, or over rows if there is only one fit.
        over: what `error` is over: "fits" or "rows".
        count: the number of them.
    """

    without: tuple[float, ...]
    with_knowledge: tuple[float, ...]
    gain: float
    error: float
    over: str
    count: int

    @property
    def won(self) -> int:
        """The number of fits in which knowledge improved the log-likelihood."""
        return sum(b > a for a, b in zip(self.without, self.with_knowledge, strict=True))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the gain, by Student's law; NaN if it is of a single row."""
        reach = float(stdtrit(self.count - 1, 0.975)) * self.error if self.count > 1 else NAN
        return self.gain - reach, self.gain + reach

    def __str__(self) -> str:
        fits = len(self.without)
        won = f"; better in {self.won} of {fits} fits" if fits > 1 else ""
        return (
            f"log-likelihood per row: {fmean(self.without):.3f} without knowledge, "
            f"{fmean(self.with_knowledge):.3f} with it; gain {self.gain:+.3f} ± {self.error:.3f} "
            f"(mean ± standard error over {self.over}{won})"
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the pictures of a report show: rows and trainings of the first fit.

    Args:
        data: the rows.
        without: complete samples of the plain model.
        with_knowledge: complete samples of the model trained with knowledge.
        trained: the histories of the members with knowledge.
        plain: the histories of the members without.
        seed: the seed of the fit.
    """

    data: pd.DataFrame
    without: pd.DataFrame
    with_knowledge: pd.DataFrame
    trained: tuple[History, ...]
    plain: tuple[History, ...]
    seed: int


def held_text(share: float, fits: int) -> str:
    """Return the share of fits in which a statement held, as '3/5 hold', or 'holds' or 'does not' for one fit."""
    return f"{round(share * fits)}/{fits} hold" if fits > 1 else "holds" if share else "does not"

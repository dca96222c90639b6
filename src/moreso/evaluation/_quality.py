"""How much samples are like the rows: dependences of all pairs, a classifier, distances to training rows, gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from moreso.evaluation._pairs import Found, can_measure, measure_pairs
from moreso.evaluation._privacy import membership
from moreso.synthesizer import Synthesizer
from moreso.tabular import Pair, as_table

SHOWN = 20
"""The most columns whose pairs are measured; those that statements name come first."""

PAIR_ROWS = 400
"""The most rows by which all pairs are measured."""

SAMPLED = 1000
"""Rows of each sample, and the most rows of the data that the classifier sees."""

CLOSE = 0.05
"""A row is close to a training row if it is closer than this share of the training rows are to another one."""

WEAK, STRONG = 0.2, 0.1
"""Correlation does not see a pair if it is below the first number and the normalised HSIC above the second."""


class Similarity(NamedTuple):
    """How much the dependences of all pairs in some rows are like those in the data, from 0 to 1.

    Args:
        correlation: the mean of 1 - |r - r'| / 2 over pairs, as common quality reports have it (Pearson).
        hsic: 1 - sum |h - h'| / sum (|h| + |h'|), with the normalised HSIC h of the pairs: 0 if one of the two has no
            dependence at all.
    """

    correlation: float
    hsic: float


class Nearest(NamedTuple):
    """How far some rows are from the nearest training row.

    Args:
        median: the median distance, in standard deviations per column.
        close: the share closer than 5% of the training rows are to another training row.
        copies: the share that equals a training row in all columns.
    """

    median: float
    close: float
    copies: float


@dataclass(frozen=True)
class Quality:
    """How much the samples of one fit are like the rows of the report.

    Keys are "data", "without" and "with" knowledge; `similarity` also has "shuffled", the data with every column
    shuffled on its own, in which nothing depends on anything.

    Args:
        columns: the columns whose pairs were measured.
        pairs: the dependence of each of their pairs, in each kind of rows.
        similarity: of each kind of rows to the data.
        unseen: pairs that correlation does not see: below .2, with a normalised HSIC above .1.
        auc: of a random forest that tells samples from data, in rows that its trees did not see: .5 is perfect. Empty
            if columns were never observed together, since then samples are complete and the data are not.
        nearest: of each kind of rows; empty without training rows.
        membership: how well the log-likelihood under each model tells training rows from the rows of the report, as an
            AUC: .5 is not at all. Empty unless both are known and the model has a density.
        missing: the share of missing values, for columns that have any: in data and in samples with knowledge.
    """

    columns: tuple[str, ...]
    pairs: Mapping[str, Found]
    similarity: Mapping[str, Similarity]
    unseen: tuple[Pair, ...]
    auc: Mapping[str, float]
    nearest: Mapping[str, Nearest]
    membership: Mapping[str, float]
    missing: Mapping[str, tuple[float, float]]

    def to_dict(self) -> dict[str, object]:
        """Return everything as JSON-compatible values."""
        return {
            "pairs": [
                {"pair": list(pair)}
                | {f"hsic_{kind}": _finite(found[pair].hsic) for kind, found in self.pairs.items()}
                | {f"correlation_{kind}": _finite(found[pair].correlation) for kind, found in self.pairs.items()}
                for pair in combinations(self.columns, 2)
            ],
            "similarity": {kind: dict(zip(each._fields, each, strict=True)) for kind, each in self.similarity.items()},
            "unseen_by_correlation": [list(pair) for pair in self.unseen],
            "auc": dict(self.auc),
            "nearest": {kind: dict(zip(each._fields, each, strict=True)) for kind, each in self.nearest.items()},
            "membership": dict(self.membership),
            "missing": {name: {"data": one, "with": other} for name, (one, other) in self.missing.items()},
        }


def measure_quality(
    fit: Synthesizer,
    plain: Synthesizer,
    data: pd.DataFrame,
    training: pd.DataFrame | None,
    *,
    held_out: bool,
    scores: Mapping[str, np.ndarray],
) -> Quality:
    """Return how much samples are like rows.

    Args:
        fit: the fit.
        plain: the same without knowledge.
        data: the rows.
        training: the rows of the training, if known.
        held_out: whether `data` are other rows than those of the training.
        scores: "without" and "with" -> the log-likelihood of each row of `data`, if there is one.
    """
    samples = {"without": plain.sample(SAMPLED), "with": fit.sample(SAMPLED)}
    modelled = fit.encoder_.modelled
    named = [name for name in fit.statements.features if name in modelled]
    order = dict.fromkeys([*named, *modelled])
    kinds = {"data": data, **samples}
    columns = [name for name in order if all(can_measure(as_table(rows)[name]) for rows in kinds.values())][:SHOWN]
    pairs = list(combinations(columns, 2))
    found = {kind: measure_pairs(pairs, rows, data, rows=PAIR_ROWS) for kind, rows in kinds.items()}
    shuffled = measure_pairs(pairs, _shuffle(data), data, rows=PAIR_ROWS)
    others = {kind: each for kind, each in found.items() if kind != "data"} | {"shuffled": shuffled}
    random = int(fit.seed_ % 2**32)
    attacked = {"without": plain, "with": fit} if held_out and scores else {}
    return Quality(
        columns=tuple(columns),
        pairs=found,
        similarity={kind: _similarity(found["data"], each) for kind, each in others.items()},
        unseen=tuple(
            pair for pair, each in found["data"].items() if abs(each.correlation) < WEAK and each.hsic > STRONG
        ),
        auc={} if fit.unobserved_ else {kind: _auc(fit, data, rows, random) for kind, rows in samples.items()},
        nearest={} if training is None else _nearest(fit, training, kinds if held_out else samples),
        membership={
            kind: membership(each, training, scores[kind]) for kind, each in attacked.items() if training is not None
        },
        missing={
            name: (float(own), float(drawn)) for name, own, drawn in _missing(as_table(data), as_table(samples["with"]))
        },
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _shuffle(data: pd.DataFrame) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {name: data[name].iloc[random.permutation(len(data))].to_numpy() for name in data}, copy=False
    ).astype(data.dtypes.to_dict())


def _similarity(data: Found, other: Found) -> Similarity:
    both = np.array([(*data[pair], *other[pair]) for pair in data]).reshape(-1, 4)
    seen = both[~np.isnan(both[:, [0, 2]]).any(axis=1)]
    linear = both[~np.isnan(both[:, [1, 3]]).any(axis=1)]
    total = np.abs(seen[:, [0, 2]]).sum()
    return Similarity(
        float(np.mean(1 - np.abs(linear[:, 1] - linear[:, 3]) / 2)) if len(linear) else float("nan"),
        float(1 - np.abs(seen[:, 0] - seen[:, 2]).sum() / total) if total > 0 else float("nan"),
    )


def _auc(fit: Synthesizer, data: pd.DataFrame, sample: pd.DataFrame, random: int) -> float:
    """Return how well a forest tells samples from as many rows, by the trees that did not see a row."""
    count = min(len(data), len(sample))
    rows = as_table(data).sample(count, random_state=random)
    both = np.vstack([fit.encoder_.encode(each) for each in (rows, as_table(sample)[:count])])
    which = np.repeat([0, 1], count)
    forest = RandomForestClassifier(100, min_samples_leaf=3, oob_score=True, random_state=random)
    forest.fit(both, which)
    guess = forest.oob_decision_function_[:, 1]
    known = np.isfinite(guess)
    return float(roc_auc_score(which[known], guess[known]))


def _nearest(fit: Synthesizer, training: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> dict[str, Nearest]:
    """Return the distances of rows to the nearest training row, in the columns that the model learns."""
    training = as_table(training)
    encoder = fit.encoder_
    base = np.nan_to_num(encoder.encode(training))
    search = NearestNeighbors(n_neighbors=2).fit(base)
    own = search.kneighbors(base)[0][:, 1]
    limit = float(np.quantile(own, CLOSE))
    values = {tuple(row) for row in training[encoder.modelled].astype(str).to_numpy()}
    found = {}
    for kind, rows in others.items():
        table = as_table(rows)
        distance = search.kneighbors(np.nan_to_num(encoder.encode(table)), 1)[0][:, 0]
        copies = [tuple(row) in values for row in table[encoder.modelled].astype(str).to_numpy()]
        found[kind] = Nearest(
            float(np.median(distance)) / encoder.width**0.5, float(np.mean(distance < limit)), float(np.mean(copies))
        )
    return found


def _missing(data: pd.DataFrame, sample: pd.DataFrame) -> Sequence[tuple[str, float, float]]:
    shares = ((name, data[name].isna().mean(), sample[name].isna().mean()) for name in data.columns if name in sample)
    return [each for each in shares if each[1] > 0 or each[2] > 0]

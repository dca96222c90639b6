"""How much pairs of columns depend on each other in a sample, on the scales of a table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from moreso.dependence import MIN_ROWS, hsic
from moreso.tabular import MAX_LEVELS, Pair, as_table, has_direction, measure, rank_levels, thin

MEASURED = 1000
"""Rows of a sample that are measured by default: HSIC takes the square of their number."""

NAN = float("nan")


class Dependence(NamedTuple):
    """How much two columns depend on each other.

    Args:
        hsic: their normalised HSIC; NaN if fewer than 4 rows have both, or if one of them is constant.
        correlation: their correlation; NaN also if one of them is an unordered category.
    """

    hsic: float
    correlation: float


Found = dict[Pair, Dependence]
"""Pair -> its dependence in one sample."""


def measure_pairs(
    pairs: Sequence[Pair], sample: pd.DataFrame, like: pd.DataFrame, *, rows: int = MEASURED, bare: bool = False
) -> Found:
    """Return the dependence of each pair in a sample.

    Args:
        pairs: the pairs.
        sample: the rows; at most `rows` of them are measured, evenly spaced.
        like: the rows that fix the scales.
        rows: the most rows to measure.
        bare: measure only correlations.
    """
    if not pairs:
        return {}
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    sample, like = as_table(sample), as_table(like)
    sample = sample[:: -(-len(sample) // rows)]
    like = thin(like)
    usable = [name for name in names if all(name in each and can_measure(each[name]) for each in (sample, like))]
    directed = {name for name in usable if has_direction(sample[name])}
    table = measure(_coded(sample[usable]), _coded(like[usable]), usable)
    ends = np.cumsum([len(part) for part in table.parts.values()]).tolist()
    groups = {
        name: table.rows[:, end - len(part) : end] for (name, part), end in zip(table.parts.items(), ends, strict=True)
    }
    found = {}
    for pair in pairs:
        found[pair] = Dependence(NAN, NAN)
        if set(pair) <= set(usable):
            one, other = (groups[name] for name in pair)
            known = ~np.isnan(np.hstack([one, other])).any(axis=1)
            one, other = one[known], other[known]
            if len(one) >= MIN_ROWS and min(np.ptp(one, axis=0).max(), np.ptp(other, axis=0).max()) > 0:
                value = NAN if bare else float(hsic(one, other, normalize=True))
                correlation = float(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) if set(pair) <= directed else NAN
                found[pair] = Dependence(value, correlation)
    return found


def can_measure(column: "pd.Series[Any]") -> bool:
    """Whether a column varies, and is not text with too many levels."""
    return column.nunique() > 1 and (has_direction(column) or column.nunique() <= MAX_LEVELS)


def _coded(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the places of ordered levels instead of them."""
    return table.apply(rank_levels)

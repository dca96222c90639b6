"""Which values are missing: what a model learns of it, and what is drawn as in the training rows."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.01
"""A model learns which values are missing if that depends on other values at this level, over all tests together."""

LEAST = 4
"""Fewer rows in a group show no difference."""

PATTERNS = 1000
"""The most rows whose patterns of missing values are kept."""

Masks = Mapping[str, np.ndarray]
"""Column -> which values are missing."""


@dataclass(frozen=True)
class Missingness:
    """How values come to be missing in samples.

    Missing values that depend on others are learnt, by a flag that is a column of the model. The others are drawn as
    they occur together in the training rows. So no model spends capacity on noise.

    Args:
        flagged: columns with a flag of their own.
        follows: columns that are missing exactly when a flagged one is -> that column.
        drawn: the other columns with missing values.
        patterns: which of these are missing in some training rows.
    """

    flagged: tuple[str, ...]
    follows: Mapping[str, str]
    drawn: tuple[str, ...]
    patterns: tuple[tuple[bool, ...], ...]

    @classmethod
    def fit(cls, masks: Masks, values: Iterable[np.ndarray], always: Collection[str] = ()) -> "Missingness":
        """Learn which missing values depend on others.

        Args:
            masks: of each column with missing values.
            values: numbers of all columns, NaN where they are missing.
            always: columns that hold nothing else to learn.
        """
        leaders: dict[bytes, str] = {}
        for name, mask in masks.items():
            leaders.setdefault(mask.tobytes(), name)
        every = [x for x in values if np.ptp(x[~np.isnan(x)]) > 0]
        chance = LEVEL / max(1, len(leaders) * len(every))
        flagged = [
            name for name in leaders.values() if name in always or any(_depends(masks[name], x, chance) for x in every)
        ]
        follows = {name: leaders[mask.tobytes()] for name, mask in masks.items()}
        follows = {name: leader for name, leader in follows.items() if leader in flagged and name != leader}
        drawn = tuple(name for name in masks if name not in flagged and name not in follows)
        rows = np.stack([masks[name] for name in drawn], axis=1) if drawn else np.empty((0, 0), dtype=bool)
        # Evenly spaced, as elsewhere.
        thinned = rows[:: -(-len(rows) // PATTERNS) or 1]
        return cls(tuple(flagged), follows, drawn, tuple(tuple(map(bool, row)) for row in thinned))

    def draw(self, flags: Masks, rows: int, random: np.random.Generator) -> Masks:
        """Return which values of samples are missing.

        Args:
            flags: what the model says of flagged columns.
            rows: the number of samples.
            random: draws patterns.
        """
        lost = dict(flags) | {name: flags[leader] for name, leader in self.follows.items()}
        if self.drawn:
            chosen = np.array(self.patterns)[random.integers(len(self.patterns), size=rows)]
            lost |= dict(zip(self.drawn, chosen.T, strict=True))
        return lost

    def to_state(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "flagged": self.flagged,
            "follows": dict(self.follows),
            "drawn": self.drawn,
            "patterns": ["".join("01"[each] for each in row) for row in self.patterns],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Missingness":
        """Return what `to_state` wrote."""
        patterns = tuple(tuple(each == "1" for each in row) for row in state["patterns"])
        return cls(tuple(state["flagged"]), state["follows"], tuple(state["drawn"]), patterns)


def _depends(mask: np.ndarray, x: np.ndarray, chance: float) -> bool:
    """Whether rows with a missing value have other values of another column than rows without, by their ranks."""
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 (takes a second, and only a fit needs it)

    known = ~np.isnan(x)
    with_, without = x[mask & known], x[~mask & known]
    if min(len(with_), len(without)) < LEAST:
        return False
    return bool(mannwhitneyu(with_, without).pvalue < chance)

"""Distances between features, and the rule that turns them into statements."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from moreso.relations import Direction, Knowledge, Relation, raise_problems

RATIO = 3.0
PER_FEATURE = 3
# Distances with a smaller relative difference are ties: coordinates have rounding errors, and 0.3 is 3 times 0.1.
_TIE = 1e-9


@dataclass(frozen=True)
class Distances:
    """The distances between the features of a drawing.

    Args:
        names: the features, each once.
        matrix: the distances, symmetric, with one row and column per feature; infinite if two features are not
            connected.
        source: what was measured, in the words of messages, such as 'a map (kilometres)'.
        unit: the unit of the distances, for the reasons; 'step' counts steps, '' means unknown.
        left_out: how many features of the drawing were left out because they were not asked for.
        notes: the names in the drawing that were taken for features although they differ a little, one sentence each.
    """

    names: tuple[str, ...]
    matrix: np.ndarray
    source: str
    unit: str = ""
    left_out: int = 0
    notes: tuple[str, ...] = ()

    def knowledge(self, ratio: float = RATIO, per_feature: int = PER_FEATURE, *, rising: bool = False) -> Knowledge:
        """Return statements `ref: near > far` in which far is at least `ratio` times as distant from ref as near is.

        Each ref gets its `per_feature` nearest features as plus, each against the closest feature that is far enough.
        This is the sharpest statement that the rule allows, since features farther away are expected to depend even
        less. A minus that this ref has not used yet is preferred, so that the statements cover many features. Ties are
        broken by name, so that the order of the drawing does not matter.

        All statements follow the order of the pairs by distance, so they cannot contradict each other. Statements that
        follow from others are left out at the end.

        Args:
            ratio: the least ratio of the distances.
            per_feature: the most statements with one feature as ref.
            rising: also state that ref rises with near.

        Raises:
            ValueError: the settings are out of range, or no statement reaches the ratio.
        """
        raise_problems(settings=rule_problems(ratio, per_feature))
        distance = _without_ties(self.matrix)
        rank = np.argsort(np.argsort(np.array(self.names, dtype=object)))
        relations = []
        for ref, row in enumerate(distance):
            order = [int(i) for i in np.lexsort((rank, row)) if i != ref and np.isfinite(row[i])]
            for near, far in islice(_choices(row, order, ratio), per_feature):
                relations.append(
                    Relation(self.names[ref], self.names[near], self.names[far], 1.0, self._why(ref, near, far))
                )
        if not relations:
            raise ValueError(self._no_statement(distance, ratio))
        reduced = Knowledge(tuple(relations)).reduction()
        if not rising:
            return reduced
        directions: dict[frozenset[str], Direction] = {}
        for relation in reduced.relations:
            found = Direction(relation.ref[0], relation.plus[0], 1, reason=relation.reason)
            directions.setdefault(found.pair, found)
        return Knowledge((*reduced, *directions.values()))

    def _why(self, ref: int, near: int, far: int) -> str:
        one, two = (self._say(float(self.matrix[ref, other])) for other in (near, far))
        return f"{one} against {two}" if self.unit else f"distance {one} against {two}"

    def _say(self, distance: float) -> str:
        number = np.format_float_positional(distance, precision=3, unique=False, fractional=False, trim="-")
        plural = "s" if self.unit == "step" and distance != 1 else ""
        return f"{number} {self.unit}{plural}".strip()

    def _no_statement(self, distance: np.ndarray, ratio: float) -> str:
        rows = [row[np.isfinite(row)] for row in distance + np.diag(np.full(len(distance), np.inf))]
        largest = max((row.max() / row.min() for row in rows if len(row) > 1), default=1.0)
        if largest <= 1 + _TIE:
            return f"in {self.source} no feature is nearer to one feature than to another. Draw more, or connect them."
        number = np.format_float_positional(largest, precision=3, unique=False, fractional=False, trim="-")
        return (
            f"no statement reaches the ratio {ratio:g}: in {self.source} no feature has two others of which one is "
            f"that much farther; the largest ratio is {number}. Lower the ratio, or draw more features."
        )


def rule_problems(ratio: float = RATIO, per_feature: int = PER_FEATURE) -> list[str]:
    """Return the problems of the rule's settings, one sentence per problem.

    >>> rule_problems(ratio=3, per_feature=2)
    []
    >>> rule_problems(per_feature=0)
    ["'per_feature' must be at least 1, got 0. The usual number is 3."]
    """
    problems = []
    if not 1 < ratio < np.inf:
        problems.append(
            f"'ratio' must be a number above 1, got {ratio:g}: the far feature has to be farther than the near one. "
            "The usual one is 3."
        )
    if per_feature < 1:
        problems.append(f"'per_feature' must be at least 1, got {per_feature}. The usual number is 3.")
    return problems


def _choices(row: np.ndarray, order: list[int], ratio: float) -> Iterator[tuple[int, int]]:
    """Yield (near, far) for one ref, the nearest first; `order` holds the other features, the nearest first."""
    used: set[int] = set()
    for near in order:
        enough = [i for i in order if row[i] >= ratio * row[near] * (1 - _TIE)]
        if not enough:
            return
        far = next((i for i in enough if i not in used), enough[0])
        used.add(far)
        yield near, far


def _without_ties(matrix: np.ndarray) -> np.ndarray:
    """Return the distances without differences by rounding, and with zeros replaced by the smallest other distance.

    Two features at the same place have no ratio to others. As the closest of all pairs they remain usable as plus, and
    a far feature must still be `ratio` times as distant as the closest pair at different places.
    """
    values = np.unique(matrix[matrix > 0])
    if not len(values):
        return np.full_like(matrix, 1.0)
    starts = np.concatenate([[True], values[1:] > values[:-1] * (1 + _TIE)])
    first = values[starts][np.cumsum(starts) - 1]
    return first[np.searchsorted(values, np.maximum(matrix, values[0]))]

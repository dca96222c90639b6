"""Definitions written literally, and slow: what the library's fast forms must equal."""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from moreso import Relation

Array = NDArray[np.float64]
Pair = frozenset[frozenset[str]]


def gram(x: Array, bandwidth: float) -> Array:
    """Gaussian kernel, entry by entry."""
    n = len(x)
    return np.array([[np.exp(-np.sum((x[i] - x[j]) ** 2) / (2 * bandwidth**2)) for j in range(n)] for i in range(n)])


def hsic(k: Array, m: Array) -> float:
    """Mean over all ordered 4-tuples of distinct rows of k_ij (m_ij + m_st - 2 m_is) (Song et al. 2012, section 3)."""
    terms = [k[i, j] * (m[i, j] + m[s, t] - 2 * m[i, s]) for i, j, s, t in permutations(range(len(k)), 4)]
    return float(np.mean(terms))


def gap_variance(k: Array, plus: Array, minus: Array) -> float:
    """The formula of Bounliphone et al. (2015), term by term, on matrices with zero diagonals."""
    n = len(k)
    k, d = k - np.diag(np.diag(k)), plus - minus
    d = d - np.diag(np.diag(d))
    one = np.ones(n)
    h = (
        (n - 2) ** 2 * (k * d) @ one
        + (n - 2) * (np.trace(k @ d) * one - k @ (d @ one) - d @ (k @ one))
        - n * (k @ one) * (d @ one)
        + (one @ d @ one) * (k @ one)
        + (one @ k @ one) * (d @ one)
        - (one @ k @ d @ one) * one
    )
    gap = (
        np.trace(k @ d) + (one @ k @ one) * (one @ d @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ d @ one)
    ) / (n * (n - 3))
    return float(16 / n * (h @ h / (4 * n * ((n - 1) * (n - 2) * (n - 3)) ** 2) - gap**2))


def statement(relation: Relation) -> tuple[Pair, Pair]:
    """The two pairs that a relation orders."""
    ref, plus, minus = (frozenset(names) for names in relation.groups)
    return frozenset((ref, plus)), frozenset((ref, minus))


def is_circle(relations: Sequence[Relation]) -> bool:
    """Whether each statement goes on where the one before it ends, and the first where the last does."""
    arrows = [statement(relation) for relation in relations]
    return all(arrows[index - 1][1] == arrows[index][0] for index in range(len(arrows)))


def shortest_circle(relations: Sequence[Relation]) -> int | None:
    """Length of the shortest circle: every selection of statements in every order."""
    for length in range(2, len(relations) + 1):
        if any(map(is_circle, permutations(relations, length))):
            return length
    return None


def implied_statements(relations: Sequence[Relation]) -> dict[tuple[Pair, Pair], float]:
    """Confidence of each statement that can be written and follows: joins, until there is nothing to add."""
    found: dict[tuple[Pair, Pair], float] = {}
    for relation in relations:
        found[statement(relation)] = max(relation.confidence, found.get(statement(relation), 0))
    grown = True
    while grown:
        grown = False
        for (one, first), (two, second) in product(list(found.items()), repeat=2):
            if one[1] == two[0] and found.get((one[0], two[1]), 0) < min(first, second):
                found[one[0], two[1]] = min(first, second)
                grown = True
    return {ends: confidence for ends, confidence in found.items() if can_be_written(*ends)}


def can_be_written(above: Pair, below: Pair) -> bool:
    """Whether some relation orders these two pairs."""
    return any(
        ref in above and ref in below and not plus & minus and not ref & plus and not ref & minus
        for ref, plus, minus in product(above & below, above - below, below - above)
    )

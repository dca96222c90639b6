"""What statements say beyond the rows: -log2 P(a statement holds | rows) bits, and -ln P(all hold | rows) nats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from moreso.dependence import ROUND_OFF, RelativeDependence
from moreso.relations import Direction, Knowledge, Statement

BOOTSTRAP_ROWS = 100
"""Up to this many rows, the spread of a gap is at least that of the Bayesian bootstrap."""

WEIGHTINGS = 1000
"""The number of draws of the Bayesian bootstrap."""

CELLS = 4096
"""Longer tables are summed over this many cells of rows; correlations of gaps are then within about 2%."""

DRAWS = 2**14
"""The number of draws that tell how often all statements hold."""

AT_ONCE = 1024
"""The number of these draws that are in memory at once."""


@dataclass(frozen=True)
class Information:
    """What statements say together.

    Args:
        nats: -ln P(all hold | rows); infinite if they contradict each other.
        at_least: whether the truth may be larger, since all held in no draw.
    """

    nats: float
    at_least: bool = False


def cells_of(blocks: np.ndarray) -> np.ndarray:
    """Return the cell of each row, such that the rows of one block share a cell; at most `CELLS` cells.

    Args:
        blocks: the block of each row, counted from 0.
    """
    count = int(blocks.max()) + 1
    if count <= CELLS:
        return blocks
    return hashed_cells(blocks)


def hashed_cells(blocks: np.ndarray) -> np.ndarray:
    """Return a cell for each row by its block alone, so that nothing is kept of other rows.

    Neighbours go to different cells, and so do evenly spaced rows.

    References:
        Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: the mixing function.
    """
    mixed = blocks.astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(CELLS)).astype(np.int64)


def bootstrap_error(module: RelativeDependence, rows: torch.Tensor) -> np.ndarray:
    """Return the standard deviations of the gaps under the Bayesian bootstrap of few independent rows.

    Near independence it exceeds the standard error, which knows only the linear part of a gap.
    """
    weights = np.random.default_rng(0).dirichlet(np.ones(len(rows)), WEIGHTINGS)
    return module.bootstrap(rows, torch.from_numpy(weights)).std(0).numpy()


def standardize(gap: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return gaps in standard errors; a gap that was never observed is 0, and so is one whose error is not finite."""
    statistic = gap / np.maximum(error, ROUND_OFF)
    return np.where(np.isfinite(statistic), statistic, 0.0)


def bits_of(statistic: np.ndarray) -> np.ndarray:
    """Return -log2 P(gap > 0), if gaps are normal around what was observed; 1 if nothing is known of a gap.

    Args:
        statistic: the gaps in standard errors.
    """
    return -torch.special.log_ndtr(torch.from_numpy(statistic)).numpy() / math.log(2)


def joint(statements: Sequence[Statement], statistic: np.ndarray, spread: np.ndarray, seen: np.ndarray) -> Information:
    """Return what statements say together, by draws from the normal law of their gaps.

    Statements that were never observed together are ordered at random, as if each of their pairs of groups had a
    dependence of the same law: a chain `a: b > c > d` of three such pairs holds with probability 1/6. The direction of
    such a pair holds with probability 1/2.

    Args:
        statements: the statements.
        statistic: their gaps in standard errors.
        spread: the contribution of each cell of rows to each gap, of any scale; its Gram matrix gives the correlations.
        seen: which of them were observed.
    """
    if Knowledge(tuple(statements)).contradictions():
        return Information(math.inf)
    random = np.random.default_rng(0)
    norms = np.linalg.norm(spread[seen], axis=1, keepdims=True)
    unit = spread[seen] / np.where(norms > 0, norms, 1)
    correlation = unit @ unit.T
    # What does not vary is undecided on its own.
    np.fill_diagonal(correlation, 1)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0))
    unseen = _differences([each for each, was in zip(statements, seen, strict=True) if not was])
    held = 0
    for _ in range(DRAWS // AT_ONCE):
        drawn = statistic[seen] + random.normal(size=(AT_ONCE, len(root))) @ root.T
        others = random.normal(size=(AT_ONCE, unseen.shape[1])) @ unseen.T
        held += int(((drawn > 0).all(axis=1) & (others > 0).all(axis=1)).sum())
    if held:
        return Information(math.log(DRAWS / held))
    # No statement is less informative than all of them together.
    single = float(bits_of(statistic).max()) * math.log(2)
    return Information(max(math.log(DRAWS), single), at_least=True)


def _differences(statements: Sequence[Statement]) -> np.ndarray:
    """Return the matrix that maps dependences and covariances of pairs, all independent, to the gaps of statements."""
    terms: list[dict[object, int]] = []
    for each in statements:
        if isinstance(each, Direction):
            terms.append({each.pair: each.sign})
        else:
            plus, minus = (frozenset((frozenset(each.ref), frozenset(side))) for side in (each.plus, each.minus))
            terms.append({plus: 1, minus: -1})
    place = {pair: index for index, pair in enumerate(dict.fromkeys(pair for own in terms for pair in own))}
    matrix = np.zeros((len(statements), len(place)))
    for row, own in zip(matrix, terms, strict=True):
        for pair, sign in own.items():
            row[place[pair]] = sign
    return matrix

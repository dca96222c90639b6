"""For rows that depend on their neighbours: blocks of rows, and half-samples of whole blocks."""

from collections.abc import Iterator

import numpy as np

CORRELATED = 0.2
"""Rows count as ordered in time if the median autocorrelation of the columns at lag 1 exceeds this."""

BLOCKS = 20
"""Minimum number of blocks into which rows ordered in time are cut."""

LONG = 100_000
"""The autocorrelation is estimated from at most this many rows."""


def block_length(rows: np.ndarray) -> int:
    """Return how many consecutive rows depend on each other, or 1 if their order does not matter.

    The length is twice the first lag, among powers of two, at which the autocorrelation of half of the columns has
    faded, but at most a twentieth of the rows.
    """
    n = len(rows)
    if n < 2 * BLOCKS:
        return 1
    filled = np.nan_to_num(rows[:LONG])
    filled = filled - filled.mean(axis=0)
    variance = np.square(filled).mean(axis=0)
    variance[variance == 0] = np.inf

    def correlation(lag: int) -> float:
        return float(np.median(np.abs((filled[lag:] * filled[:-lag]).mean(axis=0) / variance)))

    noise = 2 / np.sqrt(len(filled))
    if correlation(1) <= max(CORRELATED, 2 * noise):
        return 1
    lag = 2
    while lag < n // BLOCKS and correlation(lag) > max(CORRELATED / 2, noise):
        lag *= 2
    return min(2 * lag, n // BLOCKS)


def halves(blocks: np.ndarray, most: int, splits: int) -> Iterator[np.ndarray]:
    """Yield the rows of random half-samples, both halves of each split; rows of one block stay together.

    Args:
        blocks: the block of each row, counted from 0.
        most: the most rows of a half-sample; longer ones are thinned evenly.
        splits: the number of splits.
    """
    random = np.random.default_rng(0)
    count = int(blocks.max()) + 1
    for _ in range(splits):
        first = random.permutation(count) < count // 2
        for chosen in (first[blocks], ~first[blocks]):
            rows = np.flatnonzero(chosen)
            yield rows[:: -(-len(rows) // most)]

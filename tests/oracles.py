"""Definitions written literally, and slow: what the library's fast forms must equal."""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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

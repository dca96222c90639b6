"""From samples to Gram matrices: the Gaussian kernel and its bandwidth."""

import math

import torch
from jaxtyping import Float
from scipy.stats import chi2
from torch import Tensor


def gaussian_gram(x: Float[Tensor, "n d"], bandwidth: float | Float[Tensor, ""]) -> Float[Tensor, "n n"]:
    """Return the Gram matrix of the Gaussian kernel, k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)).

    Time and memory O(n^2). Gradients flow to `x`, and to `bandwidth` where it is a tensor that asks for them.

    Args:
        x: n samples of a group of d features.
        bandwidth: in the units of x.

    >>> round(gaussian_gram(torch.tensor([[0.0], [2.0]]), bandwidth=2.0)[0, 1].item(), 4)  # exp(-1 / 2)
    0.6065
    """
    # Distances do not feel a shift, but their rounding does: an offset of 100 costs a factor 30 in float32.
    z = (x - x.mean(0).detach()) / bandwidth
    squares = z.square().sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * z @ z.T
    return torch.exp(-distances.clamp(min=0) / 2)


def median_bandwidth(x: Float[Tensor, "n d"], *, max_rows: int = 1000) -> Float[Tensor, ""]:
    """Return the median distance between rows: the usual bandwidth of a Gaussian kernel.

    Where more than half of the pairs are tied (zero-inflated or coarse columns) it is the median of the distances
    that are not zero. It carries no gradient. Time O(min(n, max_rows)^2 d).

    Args:
        x: n samples of a group of d features, at least 2.
        max_rows: longer samples are thinned evenly to this many rows.

    Raises:
        ValueError: all rows are equal, so that there is no distance to measure.

    References:
        Gretton, Bousquet, Smola & Schoelkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms", 2005.
    """
    rows = x.detach()[:: math.ceil(len(x) / max_rows)]
    distances = torch.pdist(rows)
    median = distances.median()
    if median == 0:
        positive = distances[distances > 0]
        if len(positive) == 0:
            raise ValueError("all rows are equal: a constant group has no bandwidth. Leave it out or pass one.")
        median = positive.median()
    return median


def spread_bandwidth(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return the median distance of Gaussian rows with the spread of `x`, as a smooth function of `x`.

    sqrt(2 q / d * sum_j var(x_j)) with q the median of chi-squared with d degrees of freedom; .954 standard deviations
    for one feature. A kernel with this bandwidth does not change when x is rescaled, in value or in gradient.

    Args:
        x: n samples of a group of d features, at least 2.
    """
    d = x.shape[1]
    factor = 2 * float(chi2.median(d)) / d
    return (factor * x.var(0).sum()).sqrt()

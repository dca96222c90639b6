"""From samples to Gram matrices: the Gaussian kernel and its bandwidth."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_STEPS = 100
"""Rows must be at least this many steps of their type apart, which cannot resolve smaller numbers."""


def gaussian_gram(x: Float[Tensor, "n d"], bandwidth: float | Float[Tensor, ""]) -> Float[Tensor, "n n"]:
    """Return the Gram matrix of the Gaussian kernel, k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)).

    Time and memory O(n^2). Gradients flow to `x`, and to `bandwidth` if it is a tensor that requires them.

    Args:
        x: n samples of a group of d features.
        bandwidth: in the units of x.

    >>> round(gaussian_gram(torch.tensor([[0.0], [2.0]]), bandwidth=2.0)[0, 1].item(), 4)  # exp(-1 / 2)
    0.6065
    """
    # A shift changes no distance, but it adds rounding error: an offset of 100 costs a factor 30 in float32.
    z = (x - x.mean(0).detach()) / bandwidth
    squares = z.square().sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * z @ z.T
    return torch.exp(-distances.clamp(min=0) / 2)


def median_bandwidth(x: Float[Tensor, "n d"], *, max_rows: int = 1000) -> Float[Tensor, ""]:
    """Return the median distance between rows: the usual bandwidth of a Gaussian kernel.

    If more than half of the pairs are tied (zero-inflated or coarse columns), it is the median of the nonzero
    distances. It carries no gradient. Time O(min(n, max_rows)^2 d).

    Args:
        x: n samples of a group of d features, at least 2.
        max_rows: longer samples are thinned evenly to this many rows.

    Raises:
        ValueError: all rows are equal, so there is no distance to measure, or some values are not finite or too small.

    References:
        Gretton, Bousquet, Smola & Schoelkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms", 2005.
    """
    rows = x.detach()[:: math.ceil(len(x) / max_rows)]
    if not rows.isfinite().all():
        raise ValueError("the rows hold values that are not finite. Leave these rows out, or fill them in.")
    ends = ends_of(rows)
    unit = power_of_two(ends)
    # Constant columns change no distance, whatever their size.
    distances = torch.pdist(rows.masked_fill(ends[0] == ends[1], 0.0) / unit)
    median = distances.median()
    if median == 0:
        positive = distances[distances > 0]
        if len(positive) == 0:
            raise ValueError("all rows are equal: a constant group has no bandwidth. Leave it out or pass one.")
        median = positive.median()
    step = torch.finfo(rows.dtype).smallest_normal * torch.finfo(rows.dtype).eps
    if median * unit < LEAST_STEPS * step:
        name = str(rows.dtype).removeprefix("torch.")
        raise ValueError(
            f"the rows are only about {float(median * unit):.1g} apart, and {name} keeps only multiples of {step:.1g} "
            "of such small numbers. Rescale them before they are rounded to these."
        )
    return median * unit


def spread_bandwidth(x: Float[Tensor, "*groups n d"]) -> Float[Tensor, "*groups"]:
    """Return the median distance of Gaussian rows with the spread of `x`, as a smooth function of `x`.

    It is sqrt(2 q / d * sum_j var(x_j)), where q is the median of chi-squared with d degrees of freedom: .954 standard
    deviations for one feature. A kernel with this bandwidth is invariant to rescaling x, in value and in gradient. A
    constant group gets the bandwidth of variance 1, so that it stays finite.

    Args:
        x: n samples of one or more groups of d features, at least 2.
    """
    d = x.shape[-1]
    factor = 4 * _half_median(d) / d
    variance = x.var(-2).sum(-1)
    return (factor * torch.where(variance > 0, variance, 1.0)).sqrt()


def ends_of(x: Float[Tensor, "*members n d"]) -> Float[Tensor, "2 *members d"]:
    """Return the least and the greatest sample of each column, without gradient; NaN where a sample is NaN."""
    return torch.stack(torch.aminmax(x.detach(), dim=-2))


def beyond_rounding(ends: Float[Tensor, "2 *members d"]) -> Float[Tensor, "*members d"]:
    """Return by how much the range of each column exceeds rounding error: at most 0 if the column is constant.

    It is NaN if a sample is not finite.

    Args:
        ends: as `ends_of` returns them.
    """
    return ends[1] - ends[0] - 2 * torch.finfo(ends.dtype).eps * ends.abs().amax(0)


def power_of_two(ends: Float[Tensor, "2 *members d"]) -> Float[Tensor, "*members"]:
    """Return a power of two near the largest number of a group, 1 if the group is constant.

    Squares of very large and very small numbers overflow and underflow. Division by a power of two is exact, so numbers
    of a common size keep every bit.

    Args:
        ends: the ends of the columns of the group; columns that are constant do not count.
    """
    largest = torch.where(ends[0] == ends[1], 0.0, ends.abs().amax(0)).amax(-1)
    return torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1.0)


def gradient_problem(width: float, dtype: torch.dtype) -> str:
    """Return why gradients would overflow with samples that are so close together, or nothing.

    Args:
        width: about how far samples of a group are apart.
        dtype: their type.
    """
    numbers = torch.finfo(dtype)
    if width >= numbers.tiny / numbers.eps:
        return ""
    name = str(dtype).removeprefix("torch.")
    return f"the samples are only about {width:.1g} apart, too close for gradients in {name}. Rescale them."


@lru_cache(maxsize=64)
def _half_median(d: int) -> float:
    """Return half of the median of chi-squared with d degrees of freedom."""
    from scipy.special import gammaincinv  # noqa: PLC0415 (loaded on demand: it takes a third of a second)

    return float(gammaincinv(d / 2, 0.5))


@dataclass(frozen=True, eq=False)
class CosineBasis:
    """Features whose inner products equal the Gaussian kernel of scalars, up to a constant and a known error.

    phi(x) = projection @ [cos(w_1 x), ..., cos(w_n x), sin(w_1 x), ..., sin(w_n x)], and phi(x)'phi(y) + constant
    equals exp(-(x - y)^2 / 2) to within the tolerance of `cosine_basis` for all x, y in [-width / 2, width / 2].

    Args:
        frequencies: w.
        projection: the matrix from the 2n cosines and sines to the features, as many as the rank.
        derivative: the matrix that maps a gradient with respect to phi to one with respect to the cosines and sines,
            each multiplied by its frequency.
        square: |phi(x)|^2, the same for every x.
        width: the length of the interval.
    """

    frequencies: Float[Tensor, "n 1"]
    projection: Float[Tensor, "rank n2"]
    derivative: Float[Tensor, "n2 rank"]
    square: float
    width: float

    @property
    def rank(self) -> int:
        """The number of features."""
        return len(self.projection)


def cosine_basis(
    width: float, *, tolerance: float = 1e-6, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
) -> CosineBasis:
    """Return features for the Gaussian kernel with bandwidth 1, certified on an interval before any data are seen.

    The kernel is the Fourier integral of a Gaussian. Its trapezoid sum with step h is exact up to aliases at a distance
    T beyond the interval and terms beyond the frequency T, each at most tolerance / 4 for
    T = sqrt(2 ln(4 / tolerance)) and h = 2 pi / (width + T). The constant term is left out, since HSIC does not depend
    on it. A singular value decomposition on the interval then drops all directions in which no feature exceeds
    sqrt(tolerance / 4).

    Bases are cached. The width is rounded up to the next power of 1.05, so few bases are built.

    Args:
        width: largest difference of two arguments, in bandwidths.
        tolerance: greatest error of the kernel, whose maximum is 1.
        dtype: the type of the tensors; the basis is built in double precision.
        device: the device of the tensors.

    References:
        Trefethen & Weideman, "The Exponentially Convergent Trapezoidal Rule", SIAM Review 2014.

    >>> basis = cosine_basis(7.0)
    >>> basis.width >= 7, basis.rank < 20
    (True, True)
    """
    step = math.ceil(math.log(max(width, 1.0)) / math.log(1.05))
    return _cosine_basis(1.05**step, tolerance, dtype, torch.device(device))


@lru_cache(maxsize=256)
def _cosine_basis(width: float, tolerance: float, dtype: torch.dtype, device: torch.device) -> CosineBasis:
    reach = math.sqrt(2 * math.log(4 / tolerance))
    step = 2 * math.pi / (width + reach)
    count = math.ceil(reach / step)
    frequencies = step * torch.arange(1, count + 1, dtype=torch.float64)[:, None]
    weights = 2 * step / math.sqrt(2 * math.pi) * torch.exp(-(frequencies**2) / 2)
    roots = weights.sqrt().repeat(2, 1)

    def raw(points: Float[Tensor, " points"]) -> Float[Tensor, "n2 points"]:
        angles = frequencies * points
        return torch.cat([angles.cos(), angles.sin()]) * roots

    # Chebyshev points, since the error of a compressed basis is largest near the ends of the interval.
    grid = width / 2 * torch.cos(math.pi * (torch.arange(20 * count, dtype=torch.float64) + 0.5) / (20 * count))
    directions = torch.linalg.eigh(raw(grid) @ raw(grid).T).eigenvectors.flip(1)
    reached = (directions.T @ raw(torch.linspace(-width / 2, width / 2, 200 * count, dtype=torch.float64))).square()
    left_out = reached.flip(0).cumsum(0).flip(0).amax(1)
    rank = int((left_out > tolerance / 4).sum())
    projection = (directions[:, :rank] * roots).T.contiguous()
    derivative = (projection * frequencies.repeat(2, 1).T).T.contiguous()
    frequencies, projection, derivative = (
        part.to(dtype=dtype, device=device) for part in (frequencies, projection, derivative)
    )
    return CosineBasis(frequencies, projection, derivative, float(weights.sum()), width)

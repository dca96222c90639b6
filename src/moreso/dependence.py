"""The Hilbert-Schmidt independence criterion (HSIC) of all needed pairs of groups at once.

Everything rests on one identity. Let K~ be a Gram matrix with its diagonal set to zero and then *U-centred*, so that
its rows and columns sum to zero. Then

    HSIC(x, y) = <K~, L~> / (n (n - 3))

is the unbiased estimator of Song et al. (2012, eq. 5), because it does not feel constants added to rows and columns off
the diagonal. And because the rows of K~ sum to zero, the long formula of Bounliphone et al. (2015) for the variance
shrinks to the spread of its row sums (`Dependence.influence`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moreso.kernels import gaussian_gram, median_bandwidth

MIN_ROWS = 4
"""The unbiased estimator is a mean over 4-tuples of rows."""


@dataclass(frozen=True)
class Dependence:
    """HSIC of several pairs, and what each row contributes to it.

    Args:
        value: the unbiased estimates.
        influence: n numbers a pair, with mean zero; sqrt(mean(influence^2) / n) is the standard error of the value, and
            that of a linear combination of values follows from the same combination of influences.
    """

    value: Float[Tensor, " pairs"]
    influence: Float[Tensor, "pairs n"]


def u_centre(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Return the matrix with zero diagonal and zero row sums that differs from `gram` by row and column constants.

    K~_ij = K_ij - (r_i + r_j) / (n - 2) + s / ((n - 1)(n - 2)) off the diagonal, with r the row sums and s the total of
    K without its diagonal.

    Args:
        gram: symmetric, at least 3 rows; its diagonal is not read.

    References:
        Szekely & Rizzo, "Partial Distance Correlation with Methods for Dissimilarities", 2014, section 2.
    """
    n = len(gram)
    off_diagonal = 1 - torch.eye(n, dtype=gram.dtype, device=gram.device)
    hollow = gram * off_diagonal
    rows = hollow.sum(1)
    return (hollow - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))) * off_diagonal


def pair_dependence(
    grams: Sequence[Float[Tensor, "n n"]], pairs: Sequence[tuple[int, int]], *, normalize: bool = False
) -> Dependence:
    """Return the unbiased HSIC of each pair of Gram matrices, with gradient.

    HSIC_u = [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)) with zero diagonals; its mean over all
    permutations of one side is exactly 0. Normalised: HSIC_u(x, y) / sqrt(HSIC_u(x, x) HSIC_u(y, y)), comparable
    between groups of different width and marginals. Time O((groups + pairs) n^2), memory O(groups n^2).

    Args:
        grams: one a group, symmetric, n >= 4.
        pairs: positions in `grams`.
        normalize: divide by the geometric mean of the two self-dependences.

    References:
        Song, Smola, Gretton, Bedo & Borgwardt, "Feature Selection via Dependence Maximization", JMLR 2012, eq. 5.
        Bounliphone, Gretton, Tenenhaus & Blaschko, "A Low Variance Consistent Test of Relative Dependency", ICML 2015.
    """
    n = len(grams[0])
    if n < MIN_ROWS:
        raise ValueError(f"the unbiased HSIC needs at least {MIN_ROWS} rows, got {n}. Draw more samples per step.")
    centred = [u_centre(gram) for gram in grams]

    def rows(pairs: Sequence[tuple[int, int]]) -> Float[Tensor, "pairs n"]:
        return torch.stack([(centred[g] * centred[h]).sum(1) for g, h in pairs])

    def dependence(rows: Float[Tensor, "pairs n"]) -> Dependence:
        spread = (rows - rows.mean(1, keepdim=True)).detach()
        return Dependence(rows.sum(1) / (n * (n - 3)), 2 * (n - 2) / ((n - 1) * (n - 3)) * spread)

    cross = dependence(rows(pairs))
    if not normalize:
        return cross
    own = dependence(rows([(g, g) for g in range(len(grams))]))
    left, right = map(list, zip(*pairs, strict=True))
    # A group that has collapsed to a point depends on nothing; the floor keeps 0/0 at 0.
    scale = own.value.clamp(min=torch.finfo(own.value.dtype).eps)
    root = (scale[left] * scale[right]).sqrt()
    value = cross.value / root
    # The delta method: how a row moves the ratio through its numerator and both parts of its denominator.
    drift = own.influence / scale[:, None]
    influence = cross.influence / root[:, None] - value[:, None] / 2 * (drift[left] + drift[right])
    return Dependence(value, influence.detach())


def hsic(
    x: Float[Tensor, "n ..."],
    y: Float[Tensor, "n ..."],
    *,
    bandwidths: tuple[float, float] | None = None,
    normalize: bool = False,
) -> Float[Tensor, ""]:
    """Return the unbiased HSIC of two groups under Gaussian kernels: a scalar with gradient.

    0 on average where x and y are independent (so it can be negative), positive where they depend in any way, linear or
    not. See `pair_dependence` for the formula; time and memory O(n^2).

    Args:
        x: n samples, one number or one row each.
        y: n samples, in the same order.
        bandwidths: of x and of y; by default the median distance of each.
        normalize: divide by sqrt(HSIC(x, x) HSIC(y, y)); then 1 means that each is a function of the other.

    Raises:
        ValueError: fewer than 4 rows, unequal numbers of rows, or a constant group and no bandwidth.

    >>> x = torch.linspace(-1, 1, 101)
    >>> round(hsic(x, x**2, normalize=True).item(), 2)      # their correlation is 0
    0.31
    """
    grams = grams_of((x, y), bandwidths)
    return pair_dependence(grams, [(0, 1)], normalize=normalize).value[0]


def grams_of(
    groups: Sequence[Float[Tensor, "n ..."]], bandwidths: Sequence[float] | None
) -> list[Float[Tensor, "n n"]]:
    """Return one Gaussian Gram matrix a group, bandwidths by the median heuristic unless given."""
    if len({len(group) for group in groups}) > 1:
        lengths = ", ".join(str(len(group)) for group in groups)
        raise ValueError(f"the groups must hold the same rows, got {lengths} rows. Pass aligned samples.")
    if len(groups[0]) < MIN_ROWS:
        raise ValueError(
            f"the unbiased HSIC needs at least {MIN_ROWS} rows, got {len(groups[0])}. Draw or read more rows."
        )
    flat = [group.reshape(len(group), -1) for group in groups]
    widths: Sequence[float | Tensor] = list(map(median_bandwidth, flat)) if bandwidths is None else bandwidths
    return [gaussian_gram(group, width) for group, width in zip(flat, widths, strict=True)]

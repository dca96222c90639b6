"""The law of HSIC under independence."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def null_pvalue(
    value: Float[Tensor, "*shape"],
    mean: float | Float[Tensor, "*shape"],
    deviation: float | Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """Return upper bounds for the p-values of 'these groups are independent'.

    Under independence, the unbiased HSIC is asymptotically a weighted sum of centred chi-squared variables.
    Standardised to T, its tail is heaviest if all weights but one are zero. So p = P(chi2_1 > 1 + sqrt(2) T), with one
    degree of freedom, is a bound at the usual levels.

    Args:
        value: the HSICs.
        mean: their means under independence.
        deviation: their standard deviations under independence.

    References:
        Shen, Panda & Vogelstein, "The Chi-Square Test of Distance Correlation", JCGS 2022.
    """
    quantile = (1 + math.sqrt(2) * (value - mean) / deviation).clamp(min=0)
    return 2 * torch.special.ndtr(-quantile.sqrt())


def null_deviation(rows: int) -> float:
    """Return the standard deviation of the normalised HSIC under independence.

    It is exact for random pairings of the same rows: permuting the rows of a U-centred matrix L, the variance of <K, L>
    is 2 |K|^2 |L|^2 / (n (n - 3)), and the normalised HSIC is <K, L> / (|K| |L|).

    >>> round(null_deviation(100), 4)
    0.0144
    """
    return math.sqrt(2 / (rows * (rows - 3)))

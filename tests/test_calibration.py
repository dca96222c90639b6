"""Level and power of the test of relative dependence, inside binomial bounds."""

import pytest
import torch
from scipy.stats import binom

from moreso import relative_test

RUNS = 400


def rejections(correlation: float, other: float, n: int) -> int:
    """Count rejections at 5% where ref depends on plus and on minus with these correlations."""
    count = 0
    for seed in range(RUNS):
        x = torch.randn(n, 3, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
        sides = [r * x[:, 0] + (1 - r**2) ** 0.5 * x[:, i] for i, r in ((1, correlation), (2, other))]
        count += relative_test(x[:, 0], sides[0], sides[1]).pvalue < 0.05
    return count


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_level_where_both_depend_alike(correlation: float) -> None:
    low, high = binom.ppf(0.001, RUNS, 0.05), binom.ppf(0.999, RUNS, 0.05)
    assert low <= rejections(correlation, correlation, 200) <= high


@pytest.mark.slow
def test_it_is_conservative_near_independence() -> None:
    assert rejections(0, 0, 200) <= binom.ppf(0.5, RUNS, 0.05)


@pytest.mark.slow
def test_power() -> None:
    assert rejections(0.8, 0.4, 100) > 0.95 * RUNS
    assert rejections(0.4, 0.8, 100) == 0

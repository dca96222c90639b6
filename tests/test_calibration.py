"""Level and power of the test of relative dependence, inside binomial bounds."""

import pandas as pd
import pytest
import torch
from scipy.stats import binom

from moreso import Knowledge, audit, relative_test

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


def verdicts(correlation: float, other: float, n: int) -> list[str]:
    """The audit's verdicts of 'ref: plus > minus' where ref is correlated so with both."""
    found = []
    for seed in range(RUNS):
        x = torch.randn(n, 3, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
        sides = {name: r * x[:, 0] + (1 - r**2) ** 0.5 * x[:, i] for i, (name, r) in sides_of(correlation, other)}
        table = pd.DataFrame({"ref": x[:, 0].numpy(), **{name: side.numpy() for name, side in sides.items()}})
        found.append(str(audit(table, Knowledge.parse("ref: plus > minus")).findings[0].verdict))
    return found


def sides_of(correlation: float, other: float) -> list[tuple[int, tuple[str, float]]]:
    return [(1, ("plus", correlation)), (2, ("minus", other))]


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 100])
def test_the_audit_keeps_its_level_where_both_depend_alike(n: int) -> None:
    found = verdicts(0.8, 0.8, n)
    high = binom.ppf(0.999, RUNS, 0.05)
    assert found.count("contradicted") <= high
    assert found.count("holds") + found.count("already certain") <= high
    assert found.count("undecided") < RUNS


@pytest.mark.slow
def test_the_audit_finds_strong_differences_and_never_the_converse() -> None:
    found = verdicts(0.8, 0.4, 100)
    assert found.count("holds") + found.count("already certain") > 0.95 * RUNS
    assert "contradicted" not in found
    assert verdicts(0.4, 0.8, 100).count("contradicted") > 0.95 * RUNS

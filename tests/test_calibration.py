"""Level and power of the test of relative dependence, inside binomial bounds, and what P(holds | rows) promises."""

import re
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, norm

from moreso import Knowledge, audit, relative_test
from moreso._audit.testing import _shifted_pvalues
from moreso.dependence import RelativeDependence

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


Column = Callable[[np.random.Generator, int], np.ndarray]


def category(levels: int, skewed: bool) -> Column:
    """Draw a category whose levels are equally frequent, or ever rarer."""
    shares = 0.6 ** np.arange(levels) + 1e-3 if skewed else np.ones(levels)
    names = np.array([f"level {i}" for i in range(levels)], dtype=object)
    return lambda random, n: names[random.choice(levels, n, p=shares / shares.sum())]


def even(random: np.random.Generator, n: int) -> np.ndarray:
    return random.normal(size=n)


COLUMNS: dict[str, Column] = {
    "number": even,
    "ties": lambda random, n: random.poisson(0.7, n).astype(float),
    "zeros": lambda random, n: np.where(random.random(n) < 0.8, 0, random.lognormal(size=n)),
    "heavy tails": lambda random, n: random.standard_cauchy(n),
    **{f"{levels} even levels": category(levels, False) for levels in (2, 5, 20, 50)},
    **{f"{levels} skewed levels": category(levels, True) for levels in (2, 5, 20, 50)},
}
"""Columns by their distribution."""


def false_claims(n: int, plus: str, ref: str, runs: int) -> np.ndarray:
    """Return the levels at which 'ref: plus > minus' would hold, and be contradicted, between independent columns."""
    found = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        own = {f"plus{i}": even(random, n) for i in range(5)} if plus == "group" else {"plus": COLUMNS[plus](random, n)}
        table = pd.DataFrame({"ref": COLUMNS[ref](random, n), **own, "minus": even(random, n)})
        (finding,) = audit(table, f"ref: {{{', '.join(own)}}} > minus")
        positive = finding.normalized_gap > 0
        found.append((finding.pvalue if positive else 1.0, 1.0 if positive else finding.converse_pvalue))
    return np.array(found)


@pytest.fixture
def no_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-samples take most of the time of a small audit, and decide nothing."""
    monkeypatch.setattr(sys.modules["moreso._audit.testing"], "SPLITS", 1)


WIDE = "50 even levels", "20 even levels"
"""Where the normal law alone made false claims most often."""


def test_independence_is_rarely_taken_for_an_order(no_halves: None) -> None:
    runs = 50
    found = np.concatenate([false_claims(100, plus, "number", runs) for plus in WIDE])
    for level in (0.05, 0.2):
        holds, contradicted = (found <= level).sum(axis=0)
        assert max(holds, contradicted) <= binom.ppf(0.999, len(found), level)
        # The normal law alone gives 20%.
        assert holds < 0.16 * len(found)


@pytest.mark.slow
@pytest.mark.parametrize("ref", ["number", "5 even levels"])
@pytest.mark.parametrize(("n", "runs"), [(30, 200), (100, 200), (1000, 30), (5000, 3)])
def test_the_level_of_the_audit_under_independence(n: int, runs: int, ref: str, no_halves: None) -> None:
    """For each kind of column, and for all together; texts that nearly name the rows are refused."""
    kinds = [plus for plus in (*COLUMNS, "group") if int(re.sub(r"\D", "", plus) or 1) * 4 < n]
    if n > 100:
        kinds = [*WIDE, "zeros", "20 skewed levels", "number", "group"]
    found = [false_claims(n, plus, ref, runs) <= 0.05 for plus in kinds]
    for plus, claims in zip(kinds, found, strict=True):
        assert claims.sum(axis=0).max() <= binom.ppf(0.9999, runs, 0.05), plus
    assert np.concatenate(found).sum(axis=0).max() <= binom.ppf(0.999, len(kinds) * runs, 0.05)


@pytest.mark.slow
def test_independence_costs_no_power(no_halves: None) -> None:
    """The share of tables in which the statement holds, beside that by the normal law alone, as p-values of gaps."""
    for n in (40, 100):
        with_null = without = 0
        for seed in range(100):
            random = np.random.default_rng(seed)
            x, noise, minus = random.normal(size=(3, n))
            cut = np.searchsorted(np.quantile(0.6 * x + 0.8 * noise, [0.2, 0.4, 0.6, 0.8]), 0.6 * x + 0.8 * noise)
            table = pd.DataFrame({"ref": x, "plus": np.array(list("abcde"))[cut], "minus": minus})
            (finding,) = audit(table, "ref: plus > minus")
            with_null += finding.verdict.holds
            without += norm.sf(finding.gap / finding.standard_error) <= 0.05 and finding.normalized_gap > 0
        assert without - with_null <= 3
        assert with_null > (20 if n == 40 else 70)


def test_rows_in_time_keep_the_level() -> None:
    """Neighbours that depend on each other raise the HSIC of independent columns; shifts of one show by how much."""
    runs, n = 30, 200
    independent = dependent = naive = 0
    for seed in range(runs):
        steps = np.random.default_rng(seed).normal(size=(n, 3))
        for i in range(1, n):
            steps[i, :2] += 0.9 * steps[i - 1, :2]
        rows = np.c_[steps, steps[:, 0] + steps[:, 2]]
        module = RelativeDependence(Knowledge.parse("a: b > d"), list("abcd"), data=rows, normalize=True)
        b, d = _shifted_pvalues(module, rows, torch.from_numpy(rows), 10)
        independent += b.item() <= 0.05
        dependent += d.item() <= 0.05
        naive += module(torch.from_numpy(rows)).independence_pvalue()[0].item() <= 0.05
    assert independent <= binom.ppf(0.999, runs, 0.05) < naive
    assert dependent == runs


def test_statements_hold_as_often_as_their_bits_promise(no_halves: None) -> None:
    """Dependences of random strength; P = 2 ** -bits on 40 rows, and the order that they were made with."""
    chances, right = [], []
    for seed in range(100):
        random = np.random.default_rng(seed)
        ref = random.normal(size=40)
        strength = random.uniform(0, 0.95, size=4)
        sides = strength * ref[:, None] + np.sqrt(1 - strength**2) * random.normal(size=(40, 4))
        table = pd.DataFrame({"ref": ref, **{f"x{i}": sides[:, i] for i in range(4)}})
        for finding, (a, b) in zip(
            audit(table, "ref: x0 > x1\nref: x2 > x3"), strength.reshape(2, 2).tolist(), strict=True
        ):
            chance = 2.0**-finding.bits
            chances.append(max(chance, 1 - chance))
            right.append((a > b) == (chance > 0.5))
    promised, truth = np.array(chances), np.array(right)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        own = (promised >= low) & (promised < high)
        error = np.sqrt((promised[own] * (1 - promised[own])).sum()) / own.sum()
        assert truth[own].mean() == pytest.approx(promised[own].mean(), abs=3.3 * error), (low, own.sum())

"""Oracles and laws of gaps and their test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moreso import Knowledge, hsic, relative_test
from moreso.dependence.relative import RelativeDependence
from tests import oracles

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "relative_dependency.json").read_text())


def draw(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}-{case['m']}")
def test_published_code_gives_the_same_numbers(case: dict[str, Any]) -> None:
    ref, plus, minus = (torch.tensor(case[name], dtype=torch.double) for name in ("reference", "more", "less"))
    sigma = case["sigma"]
    found = relative_test(ref, plus, minus, bandwidths=(sigma["reference"], sigma["more"], sigma["less"]))
    expected = {
        "hsic_plus": "hsic_more",
        "hsic_minus": "hsic_less",
        "variance_plus": "var_more",
        "variance_minus": "var_less",
        "covariance": "cov",
        "pvalue": "p_value",
    }
    for ours, theirs in expected.items():
        assert getattr(found, ours) == pytest.approx(case[theirs], rel=1e-8), ours
    assert found.gap == pytest.approx(case["hsic_more"] - case["hsic_less"], rel=1e-8)
    assert found.standard_error**2 == pytest.approx(case["var_more"] + case["var_less"] - 2 * case["cov"], rel=1e-8)
    assert found.statistic == pytest.approx(found.gap / found.standard_error)


@pytest.mark.parametrize("n", [4, 5, 11, 40])
def test_short_variance_equals_the_published_formula(n: int) -> None:
    groups = [draw(n, width, seed) for seed, width in enumerate((2, 1, 3))]
    grams = [oracles.gram(group.numpy(), 1.5) for group in groups]
    found = relative_test(groups[0], groups[1], groups[2], bandwidths=(1.5, 1.5, 1.5))
    assert found.standard_error**2 == pytest.approx(oracles.gap_variance(*grams), rel=1e-8, abs=1e-16)


def test_swapping_the_sides_flips_the_gap_and_the_p_value() -> None:
    ref, plus, minus = draw(50, 1, 0), draw(50, 2, 1), draw(50, 1, 2)
    one, two = relative_test(ref, plus, minus), relative_test(ref, minus, plus)
    assert one.gap == pytest.approx(-two.gap)
    assert one.pvalue == pytest.approx(1 - two.pvalue)


def test_direction() -> None:
    x = draw(100, 1, 0)
    found = relative_test(x, x**2, draw(100, 1, 1))
    assert found.gap > 0
    assert found.pvalue < 1e-4


def test_equal_sides_are_a_toss_up() -> None:
    x, y = draw(30, 1, 0), draw(30, 1, 1)
    found = relative_test(x, y, y)
    assert (found.gap, found.statistic, found.pvalue) == (0, 0, 0.5)


@pytest.mark.parametrize("normalize", [False, True])
def test_all_gaps_at_once_equal_one_at_a_time(normalize: bool) -> None:
    names = ["a", "b", "c", "d", "e"]
    x = draw(60, 5, 0) @ draw(5, 5, 1)
    knowledge = Knowledge.parse("a: b > c > {d, e}\nb: a > d\n{d, e}: a > {b, c}")
    relative = RelativeDependence(knowledge, names, data=x, normalize=normalize)
    assert len(relative.pairs) == 5  # a-b and a-{d, e} serve two relations each
    gaps = relative(x)
    for relation, gap in zip(knowledge, gaps.gap, strict=True):
        ref, plus, minus = (x[:, [names.index(name) for name in group]] for group in relation.groups)
        expected = hsic(ref, plus, normalize=normalize) - hsic(ref, minus, normalize=normalize)
        torch.testing.assert_close(gap, expected)
    if not normalize:
        ref, plus, minus = (x[:, [names.index(name) for name in group]] for group in knowledge.relations[0].groups)
        assert gaps.standard_error[0].item() == pytest.approx(relative_test(ref, plus, minus).standard_error)


def test_bandwidths_of_the_batch_make_gaps_scale_free() -> None:
    x = draw(40, 3, 0)
    relative = RelativeDependence(Knowledge.parse("a: b > c"), ["a", "b", "c"])
    scale = torch.tensor([1.0, 50.0, 0.01]).double()
    torch.testing.assert_close(relative(x).gap, relative(x * scale).gap)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(relative(x).gap.sum(), x)
    radial = ((x - x.mean(0)) * gradient).sum(0).detach()
    np.testing.assert_allclose(radial, 0, atol=1e-12)

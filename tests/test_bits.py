"""What statements say beyond the rows."""

import itertools
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import hypergeom

from moreso import Knowledge, Verdict, audit, hsic
from moreso._audit import information
from moreso._audit.information import bits_of, joint
from moreso.dependence import RelativeDependence, null_deviation, null_pvalue

CHAIN = Knowledge.parse("a: b > c > d")


def test_the_variance_under_independence_is_exact_over_all_pairings() -> None:
    random = np.random.default_rng(0)
    x, y = torch.from_numpy(random.normal(size=(2, 6)))
    found = torch.stack(
        [hsic(x, y[list(order)], bandwidths=(1, 0.5), normalize=True) for order in itertools.permutations(range(6))]
    )
    assert found.mean().item() == pytest.approx(0, abs=1e-12)
    assert found.std(correction=0).item() == pytest.approx(null_deviation(6))


def test_the_bound_is_reached_by_two_columns_of_two_even_levels() -> None:
    """Each has one eigenvalue, and their HSIC depends only on how often both are 1."""
    n = 400
    ones = np.arange(70, 131)
    left = torch.from_numpy(np.r_[np.ones(n // 2), np.zeros(n // 2)])
    values = []
    for both in ones:
        right = torch.zeros(n, dtype=torch.double)
        right[:both] = right[n // 2 : n - both] = 1
        values.append(hsic(left, right, bandwidths=(1, 1), normalize=True))
    pvalue = null_pvalue(torch.stack(values), 0.0, null_deviation(n)).numpy()
    chance = hypergeom.pmf(ones, n, n // 2, n // 2)
    for own in pvalue[(pvalue > 0.001) & (pvalue < 0.3)]:
        below, equal = (chance[which].sum() for which in (pvalue < own - 1e-9, np.abs(pvalue - own) <= 1e-9))
        assert below + equal / 2 == pytest.approx(own, rel=0.08)


def test_weights_of_the_bootstrap_count_rows(plant: pd.DataFrame) -> None:
    """Integer weights are repetitions of rows, and equal ones give the textbook's biased estimator."""
    rows = torch.from_numpy(((plant - plant.mean()) / plant.std()).to_numpy())[:20]
    module = RelativeDependence(Knowledge.parse("outlet: inlet > {flow, ambient}"), list(plant.columns), data=rows)
    assert module.bandwidths is not None
    counts = torch.arange(20) % 3
    repeated = rows.repeat_interleave(counts, 0)
    found = module.bootstrap(rows, torch.stack([counts / counts.sum(), torch.full((20,), 1 / 20)]))
    n = len(repeated)
    same = module.bootstrap(repeated, torch.full((1, n), 1 / n, dtype=torch.double))
    assert found[0].item() == pytest.approx(same.item())
    centre = torch.eye(20, dtype=torch.double) - 1 / 20
    grams = [
        torch.exp(-torch.cdist(x, x).square() / 2)
        for x in (
            module.read(rows, group) / width for group, width in zip(module.groups, module.bandwidths, strict=True)
        )
    ]
    at = dict(zip(module.groups, grams, strict=True))
    plus, minus = (
        torch.trace(at["outlet",] @ centre @ at[side] @ centre) / 20**2 for side in (("inlet",), ("flow", "ambient"))
    )
    assert found[1].item() == pytest.approx((plus - minus).item())


def test_the_bootstrap_and_the_normal_law_agree(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dependence is clear, both give the same standard deviations and the same chance for all together."""
    knowledge = Knowledge.parse("outlet: inlet > flow > ambient\ninlet: outlet > flow")
    few = audit(plant, knowledge)
    monkeypatch.setattr(information, "BOOTSTRAP_ROWS", 0)
    standardized = (plant - plant.mean()) / plant.std(ddof=0)
    rows = torch.from_numpy(standardized.to_numpy())
    module = RelativeDependence(knowledge, list(plant.columns), data=rows)
    weights = torch.from_numpy(np.random.default_rng(1).dirichlet(np.ones(60), 4000))
    draws = module.bootstrap(rows, weights)
    gaps = module(rows)
    draws = draws - draws.mean(0) + gaps.gap
    clear = (gaps.statistic > 1).tolist()
    assert any(clear)
    for finding, own, sure in zip(few, draws.T, clear, strict=True):
        if sure:
            assert own.std().item() == pytest.approx(finding.standard_error, rel=0.25)
        assert 2**-finding.bits == pytest.approx((own > 0).double().mean().item(), abs=0.06)
    assert math.exp(-few.nats) == pytest.approx((draws > 0).all(1).double().mean().item(), abs=0.08)


def test_bits_are_those_of_the_normal_law() -> None:
    found = bits_of(np.array([0.0, 1.2815515655446004, -1.2815515655446004, -40.0]))
    assert found[:3] == pytest.approx([1, -math.log2(0.9), -math.log2(0.1)])
    assert 1100 < found[3] < 1200  # no underflow


def test_what_is_known_of_pairs_that_were_never_observed_is_their_logic() -> None:
    unseen = np.zeros(2, dtype=bool)
    nothing = np.zeros((2, 1))
    chain = joint(CHAIN.relations, np.zeros(2), nothing, unseen)
    assert math.exp(-chain.nats) == pytest.approx(1 / 6, abs=0.01)
    apart = joint(Knowledge.parse("a: b > c\nd: e > f").relations, np.zeros(2), nothing, unseen)
    assert math.exp(-apart.nats) == pytest.approx(1 / 4, abs=0.015)
    assert math.isinf(joint(Knowledge.parse("a: b > c > b").relations, np.zeros(2), nothing, unseen).nats)


def test_correlated_gaps_overlap() -> None:
    relations = Knowledge.parse("a: b > c\nd: e > f").relations
    seen, statistic = np.ones(2, dtype=bool), np.zeros(2)
    for spread, chance in (([[1.0, 0.0], [2.0, 0.0]], 1 / 2), ([[1.0, 0.0], [0.0, 3.0]], 1 / 4)):
        found = joint(relations, statistic, np.array(spread), seen)
        assert math.exp(-found.nats) == pytest.approx(chance, abs=0.015)
    never = joint(relations, statistic, np.array([[1.0], [-1.0]]), seen)
    assert never.at_least
    assert never.nats == pytest.approx(math.log(information.DRAWS))
    rare = joint(relations, np.array([0.0, -9.0]), np.eye(2), seen)
    assert rare.at_least and rare.nats > 40


def test_cells_keep_the_covariance_of_gaps(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.concat([plant + 0.01 * i for i in range(30)], ignore_index=True).sample(frac=1, random_state=0)
    knowledge = Knowledge.parse("outlet: flow > ambient\noutlet: inlet > flow\nflow: outlet > ambient")
    exact = audit(table[:600], knowledge)
    monkeypatch.setattr(information, "CELLS", 200)
    coarse = audit(table[:600], knowledge)
    assert [each.bits for each in coarse] == [each.bits for each in exact]
    assert math.exp(-coarse.nats) == pytest.approx(math.exp(-exact.nats), abs=0.05)
    assert max(information.cells_of(np.arange(1000))) == 199


def test_an_audit_ends_with_what_all_statements_say(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("outlet: inlet > ambient\nflow: inlet > ambient\nflow: outlet > ambient")
    found = audit(plant, knowledge)
    assert str(found).splitlines()[-1] == found.information
    assert found.information.startswith("These 3 statements carry at most ")
    assert f"{found.nats:.1f} nats beyond the 60 rows, in all" in found.information
    assert audit(plant, knowledge).nats == found.nats  # no luck
    content = json.loads(found.to_json())
    assert content["nats"] == found.nats
    assert content["information"] == found.information
    assert [each["bits"] for each in content["findings"]] == pytest.approx([each.bits for each in found])
    assert found.nats <= sum(each.bits for each in found) * math.log(2) + 0.05


def test_contradicted_statements_are_not_counted(plant: pd.DataFrame) -> None:
    """No fit trains them."""
    both = audit(plant, "flow: inlet > ambient\noutlet: ambient > inlet")
    assert [each.verdict for each in both] == [Verdict.UNDECIDED, Verdict.CONTRADICTED]
    assert both.nats == pytest.approx(both.findings[0].bits * math.log(2), abs=0.03)
    assert both.findings[1].bits > 4


def test_rows_in_time_are_judged_by_shifts(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["moreso._audit.testing"],
        "_shifted_pvalues",
        lambda module, reference, rows, block: [np.array([block / 10]), np.array([0.9])],
    )
    (found,) = audit(plant, "outlet: inlet > ambient", block=3)
    assert (found.pvalue, found.converse_pvalue) == pytest.approx((0.3, 1.0), abs=1e-3)


def test_the_last_sentence_fits_its_statements(plant: pd.DataFrame) -> None:
    certain = plant.assign(outlet=plant.inlet)
    cases = {
        "flow: inlet > ambient": (plant, r"^This statement carries at most \d\.\d nats beyond the 60 rows\.$"),
        "outlet: inlet > ambient": (certain, r"^This .* at most 0\.0 nats .*; expect little from it\.$"),
        "outlet: inlet > ambient\noutlet: inlet > flow": (certain, r"^These 2 .*, in all; expect little from them\.$"),
        "outlet: inlet > ambient\nflow: inlet > ambient": (certain, r", in all; expect little from those marked 0\.$"),
        "outlet: ambient > inlet": (certain, r"^The rows contradict every statement"),
        "outlet: ambient > inlet\nflow: inlet > ambient": (certain, r"^The 1 statement that the rows do not"),
        "flow: inlet > ambient > inlet": (plant, r"^These 2 statements contradict each other, so no bound"),
        "outlet: inlet > flow": (certain.assign(inlet=np.where(np.arange(60) < 30, plant.inlet, np.nan),
                                                flow=np.where(np.arange(60) < 30, np.nan, plant.flow)),
                                 r"^This statement carries at most 0\.7 nats beyond these rows\. It was never"),
    }  # fmt: skip
    for text, (table, pattern) in cases.items():
        found = audit(table, text)
        assert pd.Series([found.information]).str.contains(pattern).all(), found.information
    unseen = audit(cases["outlet: inlet > flow"][0], "outlet: inlet > flow").findings[0]
    assert unseen.verdict is Verdict.UNOBSERVED
    assert unseen.bits == 1

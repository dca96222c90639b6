"""Verdicts on data."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from moreso import Knowledge, Verdict, audit, hsic, relative_test
from moreso.audit import MAX_ROWS, _holm

BOTH = Knowledge.parse("outlet: inlet > ambient # pipe\noutlet: ambient > inlet @ 0.5\nflow: inlet > ambient")


def test_the_three_verdicts(plant: pd.DataFrame) -> None:
    found = audit(plant, BOTH)
    assert [finding.verdict for finding in found] == [Verdict.HOLDS, Verdict.CONTRADICTED, Verdict.UNDECIDED]
    assert [found.count(verdict) for verdict in Verdict] == [1, 1, 1]
    frame = found.to_frame()
    assert frame.loc[0, "reason"] == "pipe"
    assert frame.loc[1, "confidence"] == 0.5
    assert frame.pvalue[0] == pytest.approx(1 - frame.pvalue[1])
    assert {"relation", "gap", "standard_error", "pvalue", "verdict", "reason"} <= set(frame.columns)
    assert "outlet: inlet > ambient" in str(found)


def test_the_numbers_are_those_of_the_published_test(plant: pd.DataFrame) -> None:
    (finding,) = audit(plant, Knowledge.parse("outlet: inlet > ambient"))
    ref, plus, minus = (torch.tensor(plant[name].to_numpy(copy=True)) for name in ("outlet", "inlet", "ambient"))
    expected = relative_test(ref, plus, minus)
    assert (finding.gap, finding.standard_error, finding.pvalue) == pytest.approx(
        (expected.gap, expected.standard_error, expected.pvalue)
    )
    normalized = hsic(ref, plus, normalize=True) - hsic(ref, minus, normalize=True)
    assert finding.normalized_gap == pytest.approx(normalized.item())


def test_units_and_order_of_rows_do_not_matter(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("outlet: {inlet, flow} > ambient")
    other = plant.assign(flow=plant.flow * 1e6, inlet=plant.inlet - 50).sample(frac=1, random_state=0)
    assert audit(other, knowledge).findings[0].gap == pytest.approx(audit(plant, knowledge).findings[0].gap)


def test_rows_are_used_where_a_relations_own_columns_are_present(plant: pd.DataFrame) -> None:
    holes = plant.copy()
    holes.loc[:19, "flow"] = np.nan
    found = audit(holes, BOTH)
    assert [finding.rows for finding in found] == [60, 60, 40]
    assert found.findings[0].gap == pytest.approx(audit(plant, BOTH).findings[0].gap)
    expected = audit(plant.iloc[20:], Knowledge.parse("flow: inlet > ambient")).findings[0]
    assert found.findings[2].pvalue == pytest.approx(expected.pvalue, abs=0.02)  # the ruler differs a little


def test_another_table_can_be_the_ruler(plant: pd.DataFrame) -> None:
    shrunk = plant.assign(inlet=plant.inlet / 100)
    knowledge = Knowledge.parse("outlet: inlet > ambient")
    same = audit(shrunk, knowledge).findings[0].gap
    assert same == pytest.approx(audit(plant, knowledge).findings[0].gap)
    assert audit(shrunk, knowledge, like=plant).findings[0].gap < same / 10


def test_single_columns_use_every_row_and_groups_of_columns_a_thinned_table() -> None:
    random = np.random.default_rng(0)
    n = 2 * MAX_ROWS + 1
    table = pd.DataFrame(random.normal(size=(n, 4)), columns=list("abcd"))
    found = audit(table, Knowledge.parse("a: b > c\na: {b, c} > d"))
    assert [finding.rows for finding in found] == [n, -(-n // 3)]


def test_very_heavy_tails_in_a_long_table_are_thinned() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60_000, 3)) ** 31, columns=list("abc"))
    assert audit(table, Knowledge.parse("a: b > c")).findings[0].rows <= MAX_ROWS


def test_long_tables_agree_with_double_precision(monkeypatch: pytest.MonkeyPatch, plant: pd.DataFrame) -> None:
    expected = audit(plant, BOTH).to_frame()
    monkeypatch.setattr(sys.modules["moreso.audit"], "LONG", 10)
    found = audit(plant, BOTH).to_frame()
    for name in ("gap", "standard_error", "normalized_gap", "pvalue"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-6)


def test_few_rows_are_noted(plant: pd.DataFrame) -> None:
    assert not audit(plant, BOTH).notes
    assert "40 rows" in audit(plant.iloc[:40], BOTH).notes[0]


def test_holm_by_hand() -> None:
    pvalues = np.array([0.012, 0.9, 0.02, 0.04])
    assert _holm(pvalues, 0.05).tolist() == [True, False, False, False]  # .012 <= .05/4, .02 > .05/3
    assert _holm(np.array([0.012, 0.016, 0.02, 0.04]), 0.05).tolist() == [True] * 4
    assert _holm(np.array([0.04, 0.03]), 0.05).tolist() == [False, False]  # step-down, not step-up

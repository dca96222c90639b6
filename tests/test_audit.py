"""Verdicts on data."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from moreso import DataError, Knowledge, KnowledgeError, Verdict, audit, hsic, relative_test
from moreso._audit.blocks import block_length
from moreso._audit.testing import _holm
from moreso.dependence import median_bandwidth
from moreso.tabular import MAX_ROWS, measure

BOTH = Knowledge.parse("outlet: inlet > ambient # pipe\noutlet: ambient > inlet @ 0.5\nflow: inlet > ambient")


def test_the_verdicts(plant: pd.DataFrame) -> None:
    found = audit(plant, BOTH)
    assert [finding.verdict for finding in found] == [Verdict.HOLDS, Verdict.CONTRADICTED, Verdict.UNDECIDED]
    assert [found.count(verdict) for verdict in Verdict] == [0, 1, 1, 0, 1]
    assert [finding.relation for finding in found] == list(BOTH)
    frame = found.to_frame()
    assert frame.loc[0, "reason"] == "pipe"
    assert frame.loc[1, "confidence"] == 0.5
    assert frame.pvalue[0] == pytest.approx(1 - frame.pvalue[1]) == pytest.approx(frame.converse_pvalue[1])
    assert frame.stability[:2].tolist() == [1, 0]
    assert 0 < frame.stability[2] < 1
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
    table = plant.copy()
    table.loc[:19, "flow"] = np.nan
    found = audit(table, BOTH)
    assert [finding.rows for finding in found] == [60, 60, 40]
    assert found.findings[0].gap == pytest.approx(audit(plant, BOTH).findings[0].gap)
    expected = audit(plant.iloc[20:], Knowledge.parse("flow: inlet > ambient")).findings[0]
    assert found.findings[2].pvalue == pytest.approx(expected.pvalue, abs=0.02)  # the bandwidths differ a little


def test_another_table_can_fix_the_scales(plant: pd.DataFrame) -> None:
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
    monkeypatch.setattr(sys.modules["moreso.tabular.view"], "LONG", 10)
    found = audit(plant, BOTH).to_frame()
    for name in ("gap", "standard_error", "normalized_gap", "pvalue"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-6)


def test_few_rows_are_noted_and_take_the_jackknife(plant: pd.DataFrame) -> None:
    assert audit(plant, BOTH.restrict(["flow", "inlet", "ambient"])).notes == ()
    few = plant.iloc[:12]
    found = audit(few, Knowledge.parse("outlet: inlet > ambient"), like=plant)
    assert "12 rows" in found.notes[0]
    scaled = ((plant - plant.mean()) / plant.std(ddof=0))[["outlet", "inlet", "ambient"]]
    reference = torch.tensor(scaled.to_numpy(copy=True))
    rows = reference[:12]
    widths = [median_bandwidth(reference[:, [i]]).item() for i in range(3)]

    def gap(rows: torch.Tensor) -> float:
        one, two = (hsic(rows[:, 0], rows[:, i], bandwidths=(widths[0], widths[i])).item() for i in (1, 2))
        return one - two

    without = np.array([gap(torch.cat([rows[:i], rows[i + 1 :]])) for i in range(12)])
    jackknife = np.sqrt(11 / 12 * np.square(without - without.mean()).sum())
    assert found.findings[0].standard_error == pytest.approx(jackknife)
    assert found.findings[0].gap == pytest.approx(gap(rows))


def test_a_statement_is_certain_beyond_four_standard_errors(plant: pd.DataFrame) -> None:
    noise = np.random.default_rng(1).normal(size=len(plant))
    for share, verdict in ((0.0, Verdict.CERTAIN), (0.9, Verdict.HOLDS)):
        table = plant.assign(outlet=plant.inlet + share * noise)
        (finding,) = audit(table, Knowledge.parse("outlet: inlet > ambient"))
        assert finding.verdict is verdict
        assert (finding.gap > 4 * finding.standard_error) == (verdict is Verdict.CERTAIN)
        assert finding.verdict.holds


def test_contradictory_statements_are_noted(plant: pd.DataFrame) -> None:
    assert audit(plant, BOTH).notes[0].startswith("line 1: 'outlet: inlet > ambient' and line 2")


def test_levels_are_compared_whatever_their_names(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("kind: inlet > ambient\ninlet: kind > two")
    cut = np.digitize(plant.inlet, [-0.5, 0.5])
    two = np.where(plant.ambient > 0, "yes", "no")
    named, renamed, coded = (
        plant.assign(kind=kind, two=side)
        for kind, side in (
            (np.array(["low", "mid", "high"])[cut], two),
            (
                pd.Categorical(np.array(["z", "a", None], dtype=object)[cut], categories=["z", "a", None][:2]),
                two == "no",
            ),
            (np.array(["low", "mid", "high"])[cut], (two == "yes") * 7.5),
        )
    )
    found = audit(named, knowledge)
    assert [finding.verdict for finding in found] == [Verdict.CERTAIN, Verdict.CERTAIN]
    assert "'kind' is compared as 3 categories." in found.notes
    assert audit(coded, knowledge).findings[0].gap == pytest.approx(found.findings[0].gap)
    assert audit(coded, knowledge).findings[1].gap == pytest.approx(found.findings[1].gap)
    assert audit(renamed, knowledge).findings[1].rows == (cut < 2).sum()


def test_dates_are_numbers(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("outlet: inlet > ambient")
    dates = plant.assign(inlet=pd.Timestamp("2026-01-01") + pd.to_timedelta(plant.inlet, unit="h"))
    dates.loc[3, "inlet"] = pd.NaT
    found = audit(dates, knowledge).findings[0]
    assert found.rows == len(plant) - 1
    # Bandwidths come from all that was observed.
    assert found.gap == pytest.approx(audit(plant.drop(index=3), knowledge).findings[0].gap, rel=1e-2)


def test_rows_in_time_are_taken_in_blocks() -> None:
    random = np.random.default_rng(0)
    steps = random.normal(size=(800, 3))
    for i in range(1, 800):
        steps[i] += 0.9 * steps[i - 1]
    table = pd.DataFrame(steps, columns=list("abc"))
    table["a"] += table["b"]
    knowledge = Knowledge.parse("a: b > c")
    ordered, shuffled = audit(table, knowledge), audit(table.sample(frac=1, random_state=0), knowledge)
    assert "in blocks of 40 rows" in ordered.notes[0]
    assert shuffled.notes == ()
    assert ordered.findings[0].standard_error == pytest.approx(shuffled.findings[0].standard_error)
    blocked = audit(table, knowledge, block=40)
    assert "over blocks of 40 rows" in blocked.notes[0]
    assert blocked.findings[0].gap == pytest.approx(shuffled.findings[0].gap)
    assert blocked.findings[0].standard_error > 1.5 * shuffled.findings[0].standard_error
    assert block_length(steps[:30]) == 1


def test_an_audit_becomes_json_and_a_table(plant: pd.DataFrame) -> None:
    found = audit(plant.iloc[:4], Knowledge.parse("outlet: inlet > ambient"))
    content = json.loads(found.to_json())
    assert content["findings"][0]["standard_error"] is None
    assert content["findings"][0]["stability"] is None
    assert content["findings"][0]["verdict"] == "undecided"
    assert content["notes"] == list(found.notes)
    assert list(found.to_frame()) == list(content["findings"][0])


def test_holm_by_hand() -> None:
    pvalues = np.array([0.012, 0.9, 0.02, 0.04])
    assert _holm(pvalues, 0.05).tolist() == [True, False, False, False]  # .012 <= .05/4, .02 > .05/3
    assert _holm(np.array([0.012, 0.016, 0.02, 0.04]), 0.05).tolist() == [True] * 4
    assert _holm(np.array([0.04, 0.03]), 0.05).tolist() == [False, False]  # step-down, not step-up


def test_a_verdict_needs_raw_and_normalised_gaps_to_agree() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=2000)
    # A column of two values has a large dependence on itself, so that its raw and its normalised ones differ in order.
    table = pd.DataFrame({"ref": x, "smooth": x + 0.5 * random.normal(size=2000), "coarse": np.sign(x)})
    (finding,) = audit(table, Knowledge.parse("ref: coarse > smooth"))
    assert min(finding.pvalue, finding.converse_pvalue) < 1e-6
    assert finding.gap * finding.normalized_gap < 0
    assert finding.verdict is Verdict.UNDECIDED


def test_equal_sides_are_noted(plant: pd.DataFrame) -> None:
    found = audit(plant.assign(copy=plant.inlet), Knowledge.parse("outlet: inlet > copy"))
    assert found.findings[0].verdict is Verdict.UNDECIDED
    assert (
        "line 1: 'outlet: inlet > copy': both sides are equal in these rows, so they can never decide." in found.notes
    )


@pytest.mark.parametrize("seed", range(8))
def test_rounding_decides_nothing(seed: int) -> None:
    """A column that differs in one row has no dependence on any other."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(random.normal(size=(40 + seed, 2)), columns=["a", "b"]).assign(rare=0.0)
    table.loc[seed, "rare"] = random.uniform(1, 9)
    (finding,) = (found := audit(table, Knowledge.parse("rare: a > b"))).findings
    assert finding.verdict is Verdict.UNDECIDED
    assert (finding.pvalue, finding.converse_pvalue) == pytest.approx((0.5, 0.5), abs=0.01)
    assert "line 1: 'rare: a > b': what it compares hardly varies in these rows, so they cannot decide." in found.notes
    test = relative_test(*(torch.tensor(table[name].to_numpy()) for name in ("rare", "a", "b")), bandwidths=(1, 1, 1))
    assert test.pvalue == pytest.approx(0.5, abs=0.01)


def test_any_two_levels_are_equally_far_apart() -> None:
    table = pd.DataFrame({"kind": ["rare"] + ["some"] * 9 + ["most"] * 30})
    found = measure(table, table, ["kind"])
    assert found.columns == [f"kind\n{i}" for i in range(3)]
    assert found.levels == {"kind": 3}
    rare, some, most = found.rows[[0, 1, -1]]
    distances = [np.linalg.norm(a - b) for a, b in ((rare, some), (rare, most), (some, most))]
    assert distances == pytest.approx([distances[0]] * 3)
    assert found.rows.var(axis=0).sum() == pytest.approx(1)


def test_a_statement_that_no_row_can_test_was_never_observed(plant: pd.DataFrame) -> None:
    """Two tables that never met, and others of which too few rows are whole."""
    table = plant.copy()
    table.loc[:29, "inlet"] = np.nan
    table.loc[30:, "ambient"] = np.nan
    knowledge = Knowledge.parse("outlet: inlet > ambient\noutlet: inlet > flow")
    for together in (0, 3, 4):
        table.loc[30 : 29 + together, "ambient"] = [1.0, 2.0, 4.0, 8.0][:together]
        found = audit(table, knowledge)
        unseen, seen = found
        assert unseen.rows == together and seen.rows == 30
        assert (unseen.verdict is Verdict.UNOBSERVED) == np.isnan(unseen.gap) == (together < 4)
        assert seen.verdict.holds
    table.loc[30:, "ambient"] = np.nan
    found = audit(table, knowledge)
    assert any("'outlet: inlet > ambient': 0 rows have all of its columns" in note for note in found.notes)
    # It is not counted among the tests that others are corrected for.
    alone = audit(table, Knowledge.parse("outlet: inlet > flow"))
    assert [finding.verdict for finding in found][1] is alone.findings[0].verdict
    first = json.loads(found.to_json())["findings"][0]
    assert first["gap"] is None and first["verdict"] == "never observed together"
    assert Verdict.cautious([Verdict.HOLDS, Verdict.UNOBSERVED]) is Verdict.UNOBSERVED


def test_groups_are_named_as_the_person_named_them(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("unit = inlet, flow\nunit: outlet > ambient\nunit: outlet > ambient")
    found = audit(plant, knowledge)
    assert [finding.relation for finding in found] == list(knowledge)
    assert found.to_frame().relation.tolist() == ["unit: outlet > ambient"] * 2
    assert str(found).count("unit: outlet > ambient") == 2


def test_problems_are_raised_as_what_they_are(plant: pd.DataFrame) -> None:
    table, statement = plant.assign(flow=1), Knowledge.parse("outlet: inlet > flow")
    with pytest.raises(DataError, match="column 'flow' is constant") as caught:
        audit(table, statement)
    assert not isinstance(caught.value, KnowledgeError)
    with pytest.raises(KnowledgeError) as other:
        audit(table, Knowledge.parse("outlet: inlet > flow\noutlet: inlet > wind"), level=2)
    assert len(other.value.problems) == 3
    with pytest.raises(ValueError, match="level") as plain:
        audit(plant, statement, level=2)
    assert not isinstance(plain.value, DataError | KnowledgeError)


def test_a_column_that_is_constant_where_others_are_known_shows_nothing(plant: pd.DataFrame) -> None:
    half = np.arange(len(plant)) < 30
    table = plant.assign(inlet=plant["inlet"].where(~half, 1.0), ambient=plant["ambient"].where(half))
    for text in ("outlet: inlet > ambient", "inlet: outlet > ambient", "ambient: inlet > outlet"):
        (found,) = audit(table, Knowledge.parse(text))
        assert found.rows == 30 and found.verdict is Verdict.UNDECIDED

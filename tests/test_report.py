"""What is reported is what was measured."""

import json
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moreso import Knowledge, Relation, Settings, Synthesizer, Verdict, audit, report
from moreso.evaluation import Gain, Worth

KNOWLEDGE = Knowledge.parse("outlet: inlet > ambient # <same> pipe\nflow: inlet > ambient")

GAIN = Gain(0.75, 0.5, 1.0, (0.75,) * 2)


@pytest.fixture
def fits(plant: pd.DataFrame) -> list[Synthesizer]:
    return [
        Synthesizer("factor", KNOWLEDGE, max_epochs=20, trust="all", random_state=seed).fit(plant[:40])
        for seed in (0, 1)
    ]


def test_gaps_and_verdicts_are_those_of_the_audit(plant: pd.DataFrame, fits: list[Synthesizer]) -> None:
    fit, held_out = fits[0], plant[40:]
    found = report(fit, held_out, draws=300)
    assert fit.plain_ is not None
    for rows, gap, holds in (
        (held_out, "data_gap", "data_holds"),
        (fit.plain_.sample(300), "gap_without", "holds_without"),
        (fit.sample(300), "gap_with", "holds_with"),
    ):
        expected = audit(rows, KNOWLEDGE, like=held_out)
        assert found.to_frame()[gap].tolist() == [finding.gap for finding in expected]
        assert found.to_frame()[holds].tolist() == [finding.verdict is Verdict.HOLDS for finding in expected]


def test_gain_of_one_fit_is_over_rows_and_of_several_over_fits(plant: pd.DataFrame, fits: list[Synthesizer]) -> None:
    held_out = plant[40:]
    differences = []
    for fit in fits:
        assert fit.plain_ is not None
        differences.append(fit.score_samples(held_out) - fit.plain_.score_samples(held_out))
    one = report(fits[0], held_out, draws=100).likelihood
    assert one is not None
    assert one.gain == pytest.approx(differences[0].mean())
    assert one.error == pytest.approx(differences[0].std(ddof=1) / 20**0.5)
    both = report(fits, [held_out, held_out], draws=100)
    assert both.fits == 2
    assert both.likelihood is not None
    means = np.array([difference.mean() for difference in differences])
    assert both.likelihood.gain == pytest.approx(means.mean())
    assert both.likelihood.error == pytest.approx(means.std(ddof=1) / 2**0.5)
    assert both.likelihood.won == (means > 0).sum()
    assert "standard error over fits" in str(both.likelihood)


def test_the_page_shows_every_statement_and_escapes_it(
    plant: pd.DataFrame, fits: list[Synthesizer], tmp_path: Path
) -> None:
    found = report(fits[0], plant[40:], draws=100)
    found.write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "&lt;same&gt; pipe" in page
    for row in found.statements:
        for gap in (row.data_gap, row.gap_without, row.gap_with):
            assert f"{gap:+.4f}" in page
    for sentence in found.summary:
        assert sentence in page
    assert "http" not in page  # a page that stands alone
    assert json.loads(found.to_json())["likelihood"]["over"] == "rows"
    assert "flow: inlet > ambient" in str(found)


def test_what_was_left_out_is_in_the_summary(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("outlet: inlet > ambient\nflow: inlet > ambient\ninlet: ambient > outlet")
    with pytest.warns(UserWarning, match="left out"):
        fitted = Synthesizer("factor", knowledge, settings=Settings(members=1), max_epochs=5, random_state=0).fit(plant)
    found = report(fitted, plant)
    assert found.left_out == (Relation("inlet", "ambient", "outlet"),)
    assert any("'inlet: ambient > outlet' was left out of training" in line for line in found.summary)


def test_what_statements_are_worth_is_shown_beside(
    plant: pd.DataFrame, fits: list[Synthesizer], tmp_path: Path
) -> None:
    outlet, flow = KNOWLEDGE
    statements = ((flow, Gain(-0.25, -0.5, 0.125, (-0.25,) * 2)), (outlet, GAIN))
    worth = Worth(32, GAIN, statements, np.inf, 20, KNOWLEDGE)
    found = report(fits[0], plant[40:], draws=100, worth=worth)
    found.write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.index("+0.750") < page.index("+0.500 to +1.000") < page.index("-0.250")
    assert all(sentence in unescape(page) and sentence in str(found) for sentence in worth.summary)
    assert str(worth.to_frame().to_string(index=False)) in str(found)
    assert json.loads(found.to_json())["worth"] == json.loads(json.dumps(worth.to_dict()))
    assert json.loads(found.to_json())["worth"]["extra_rows"] is None
    alone = report(fits[0], plant[40:], draws=100)
    assert alone.worth is json.loads(alone.to_json())["worth"] is None and "adds to the others" not in alone.to_html()


def test_groups_are_named_alike_and_no_statement_is_lost(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("unit = inlet, flow\nunit: outlet > ambient\nunit: outlet > ambient")
    settings = Settings(members=1)
    fitted = Synthesizer("factor", knowledge, trust="all", max_epochs=2, random_state=0, settings=settings).fit(plant)
    found = report(fitted, plant, draws=100)
    assert [row.relation for row in found.statements] == list(knowledge)
    assert [row["relation"] for row in json.loads(found.to_json())["statements"]] == ["unit: outlet > ambient"] * 2
    assert str(found).count("unit: outlet > ambient") == 2
    assert found.to_html().count("<code>unit: outlet &gt; ambient</code>") == 2


def test_a_statement_that_the_data_cannot_test_is_reported_all_the_same(plant: pd.DataFrame) -> None:
    table = plant.copy()
    table.loc[:29, "inlet"] = np.nan
    table.loc[30:, "ambient"] = np.nan
    settings = Settings(members=1)
    fitted = Synthesizer("factor", KNOWLEDGE, trust="all", max_epochs=2, random_state=0, settings=settings).fit(table)
    found = report(fitted, table, draws=300)
    content = json.loads(found.to_json(), parse_constant=pytest.fail)
    first = content["statements"][0]
    assert (first["data_gap"], first["verdict"]) == (None, "never observed together")
    assert "never observed together" in found.to_html() and "nan" not in found.to_html().lower()

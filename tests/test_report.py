"""What is reported is what was measured."""

import io
import json
import math
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from moreso import Audit, Knowledge, Relation, Report, Settings, Synthesizer, Verdict, audit, report
from moreso.evaluation import Gain, Worth
from moreso.synthesizer import selection

KNOWLEDGE = Knowledge.parse("outlet: inlet > ambient # <same> pipe\nflow: inlet > ambient")

GAIN = Gain(0.75, 0.5, 1.0, (0.75,) * 2)


def quick(knowledge: Knowledge = KNOWLEDGE, **settings: Any) -> Synthesizer:
    given = {"max_epochs": 5, "trust": "all", "random_state": 0, "settings": Settings(members=1), **settings}
    return Synthesizer("factor", knowledge, **given)


@pytest.fixture
def _nothing_harms(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so few epochs chance decides about harm."""
    monkeypatch.setattr(selection, "harmed", lambda plain, informed: False)


@pytest.fixture
def fits(plant: pd.DataFrame) -> list[Synthesizer]:
    return [quick(max_epochs=20, random_state=seed, settings=Settings(members=2)).fit(plant[:40]) for seed in (0, 1)]


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
        for gap in (row.data, row.without, row.with_knowledge):
            assert f"{gap.gap:+.4f}" in page and f"{gap.normalized:+.3f} ({gap.interval[0]:+.3f}" in page
    for sentence in (*found.summary, *found.advice, found.information):
        assert sentence in unescape(page)
    assert not re.search("(src|href)=.?(?!#|data:)[a-z/]", page)  # a page that stands alone
    assert json.loads(found.to_json())["likelihood"]["over"] == "rows"
    assert "flow: inlet > ambient" in str(found)


@pytest.mark.usefixtures("_nothing_harms")
def test_what_was_left_out_is_in_the_summary(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("outlet: inlet > ambient\nflow: inlet > ambient\ninlet: ambient > outlet")
    with pytest.warns(UserWarning, match="left out"):
        fitted = quick(knowledge, trust="audit").fit(plant)
    found = report(fitted, plant)
    assert found.left_out == (Relation("inlet", "ambient", "outlet"),)
    assert json.loads(found.to_json())["left_out"] == ["inlet: ambient > outlet"]
    assert any("'inlet: ambient > outlet' was left out of training" in line for line in found.summary)


def test_what_statements_are_worth_is_shown_beside(
    plant: pd.DataFrame, fits: list[Synthesizer], tmp_path: Path
) -> None:
    outlet, flow = KNOWLEDGE
    statements = (flow, Gain(-0.25, -0.5, 0.125, (-0.25,) * 2)), (outlet, GAIN)
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


def shown(found: object) -> str:
    """Return what a terminal shows."""
    console = Console(width=160, file=io.StringIO())
    with console.capture() as captured:
        console.print(found)
    return captured.get()


def bare(page: str) -> str:
    """Return a page without its pictures."""
    return re.sub('src="data:[^"]*"', "", page)


def told(found: object) -> list[str]:
    """Return what a person reads: as text, in a terminal, in a notebook and as a page if there is one."""
    pages = [found.to_html()] if isinstance(found, Report) else []
    pages += [found._repr_html_()] if isinstance(found, Report | Audit) else []
    return [str(found), shown(found), *map(unescape, pages)]


def test_a_terminal_shows_names_in_brackets(plant: pd.DataFrame) -> None:
    """As units often are, which look like markup."""
    table = plant.rename(columns={"outlet": "outlet [m]", "inlet": "[red]"})
    knowledge = Knowledge.parse('"outlet [m]": [red] > ambient  # see [bold]')
    found = report(quick(knowledge).fit(table), table, draws=100)
    weighed = Worth(48, GAIN, tuple((relation, GAIN) for relation in knowledge), 9.0, 20, knowledge)
    for each in (audit(table, knowledge), found, weighed):
        assert '"outlet [m]": [red] > ambient' in shown(each)
    assert "see [bold]" in shown(audit(table, knowledge))


@pytest.mark.usefixtures("_nothing_harms")
def test_groups_are_told_by_their_names_everywhere(plant: pd.DataFrame) -> None:
    table = plant.rename(columns={"outlet": "a", "inlet": "b", "ambient": "c", "flow": "d"})
    knowledge = Knowledge.parse("unit = a, d\nunit: b > c\nb: c > unit")
    with pytest.warns(UserWarning, match=r"^'b: c > unit' was left out of training"):
        fitted = quick(knowledge, trust="audit").fit(table)
    weighed = Worth(48, GAIN, tuple((relation, GAIN) for relation in knowledge), 9.0, 20, knowledge)
    rows = audit(table, knowledge)
    both = report(fitted, table, draws=100, worth=weighed)
    for found in (rows, weighed, both):
        frame, content = found.to_frame(), json.loads(found.to_json())
        for text in told(found):
            assert "unit: b > c" in text and "b: c > unit" in text and "{a, d}" not in text
        assert sorted(frame["relation"]) == ["b: c > unit", "unit: b > c"]
        listed = content["findings" if found is rows else "statements"]
        assert [each["relation"] for each in listed] == ["unit: b > c", "b: c > unit"]
    assert json.loads(both.to_json())["left_out"] == ["b: c > unit"]
    assert sum("'b: c > unit' was left out" in line for line in both.summary) == 1
    assert [row.relation for row in both.statements] == [each.relation for each in rows] == list(knowledge)


def test_a_statement_made_twice_has_a_row_each(plant: pd.DataFrame) -> None:
    knowledge = Knowledge.parse("outlet: inlet > ambient\noutlet: inlet > ambient")
    found = report(quick(knowledge).fit(plant), plant, draws=100)
    assert [row.relation.line for row in found.statements] == [1, 2]
    assert found.to_frame()["relation"].tolist() == ["outlet: inlet > ambient"] * 2
    assert [row["relation"] for row in json.loads(found.to_json())["statements"]] == ["outlet: inlet > ambient"] * 2
    assert str(found).count("outlet: inlet > ambient") == 2
    assert found.to_html().count('<span class="claim"><code>outlet: inlet &gt; ambient') == 2


def apart(plant: pd.DataFrame) -> pd.DataFrame:
    """Return rows of which none has both sides of a statement."""
    odd = np.arange(len(plant)) % 2 > 0
    return plant.assign(inlet=plant["inlet"].where(odd), ambient=plant["ambient"].where(~odd))


def verdicts(text: str) -> int:
    """Return how often the verdict stands in the table of a text; another section has it in its title."""
    return text.replace("Columns that were never observed together", "").count("never observed together")


def cells(page: str) -> int:
    """Return how many cells of a page say so in place of a gap."""
    return page.count('<td colspan="3">never observed together</td>')


@pytest.mark.filterwarnings("ignore:1 pair of columns")
def test_a_statement_that_no_row_can_test_is_told(plant: pd.DataFrame) -> None:
    table = apart(plant)
    fits = [quick(random_state=seed).fit(table) for seed in (0, 1)]
    for found in (report(fits[0], table), report(fits, [table, table]), report(fits, [plant, table])):
        content = json.loads(found.to_json(), parse_constant=pytest.fail)
        for row, written in zip(found.statements, content["statements"], strict=True):
            assert row.verdict is Verdict.UNOBSERVED and math.isnan(row.data.gap)
            assert written["verdict"] == "never observed together"
            assert (written["data_gap"], written["data_error"]) == (None, None)
        page = bare(found.to_html())
        assert verdicts(str(found)) == verdicts(shown(found)) == cells(page) == 2
        assert page.count('class="verdict yellow">never observed together') == 2
        assert "nan" not in shown(found) + page


@pytest.mark.filterwarnings("ignore:1 pair of columns")
def test_a_statement_that_no_sample_shows_is_told(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = quick().fit(apart(plant))
    monkeypatch.setattr(Synthesizer, "sample", lambda self, n, missing=None: apart(plant))
    for table, told_apart in ((plant, 2), (apart(plant), 3)):
        found = report(fitted, table)
        content = json.loads(found.to_json(), parse_constant=pytest.fail)
        assert content["statements"][0]["gap_without"] is content["statements"][0]["gap_with"] is None
        page = bare(found.to_html())
        assert verdicts(shown(found)) == cells(page) == 2 * told_apart
        assert "nan" not in shown(found) + page
        assert page.count('<span class="mark data"') == (2 if told_apart == 2 else 0)

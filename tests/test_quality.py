"""What a report says of the quality of samples, and what its advice follows from."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from moreso import Knowledge, Report, Settings, Synthesizer, Verdict, audit, report
from moreso.evaluation import Likelihood
from moreso.synthesizer import selection

KNOWLEDGE = Knowledge.parse("outlet: inlet > ambient\nflow: inlet > ambient")


@pytest.fixture
def fitted(plant: pd.DataFrame) -> Synthesizer:
    settings = Settings(members=1)
    return Synthesizer("factor", KNOWLEDGE, max_epochs=5, trust="all", random_state=0, settings=settings).fit(
        plant[:30]
    )


def drawing(monkeypatch: pytest.MonkeyPatch, rows: pd.DataFrame) -> None:
    """Let all models draw these rows."""
    monkeypatch.setattr(Synthesizer, "sample", lambda self, n, missing=None: rows)


def test_copies_are_found(plant: pd.DataFrame, fitted: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, plant[:30])
    nearest = report(fitted, plant[30:], training=plant[:30], draws=100).quality.nearest
    assert nearest["with"] == nearest["without"] == (0, 1, 1)
    assert nearest["data"].copies == 0 and nearest["data"].median > 0.1 and nearest["data"].close < 0.5
    drawing(monkeypatch, plant[:30] + 1000)
    far = report(fitted, plant[30:], training=plant[:30], draws=100)
    assert far.quality.nearest["with"].close == far.quality.nearest["with"].copies == 0
    assert report(fitted, plant[30:], draws=100).quality.nearest == {}
    assert "data" not in report(fitted, training=plant[:30], draws=100).quality.nearest


def test_membership_is_the_chance_that_a_training_row_is_likelier(
    plant: pd.DataFrame, fitted: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = plant[:30], plant[30:]
    assert fitted.plain_ is not None
    found = report(fitted, others, training=own, draws=100)
    for kind, fit in (("without", fitted.plain_), ("with", fitted)):
        pairs = np.sign(np.subtract.outer(fit.score_samples(own), fit.score_samples(others)))
        assert found.quality.membership[kind] == pytest.approx((pairs.mean() + 1) / 2)
    number = f"{found.quality.membership['with']:.2f}"
    assert f"{number} with it" in " ".join(found.to_html().split("tell its training rows")[1].split())
    assert json.loads(found.to_json())["quality"]["membership"] == dict(found.quality.membership)
    assert report(fitted, others, draws=100).quality.membership == {}
    assert report(fitted, training=own, draws=100).quality.membership == {}
    monkeypatch.setattr(Synthesizer, "score_samples", lambda self, rows: -rows["inlet"].rank().to_numpy() * 0)
    assert report(fitted, others, training=own, draws=100).quality.membership == {"without": 0.5, "with": 0.5}


def test_a_small_report_takes_one_thread(
    plant: pd.DataFrame, fitted: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise reports that are made side by side keep each other waiting."""
    seen = []
    measure = Synthesizer.score_samples

    def watched(self: Synthesizer, X: pd.DataFrame) -> np.ndarray:
        seen.append(torch.get_num_threads())
        return measure(self, X)

    monkeypatch.setattr(Synthesizer, "score_samples", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        report(fitted, plant[30:], draws=100)
        assert set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_with_and_without_knowledge_are_not_confused(
    plant: pd.DataFrame, fitted: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, far = plant[:30], plant[:30] + 1000
    monkeypatch.setattr(Synthesizer, "sample", lambda self, n, missing=None: copies if self.knowledge else far)
    found = report(fitted, plant[30:], training=plant[:30], draws=100)
    assert (found.quality.nearest["with"].copies, found.quality.nearest["without"].copies) == (1, 0)
    assert found.quality.auc["with"] < 0.8 < found.quality.auc["without"]
    assert found.evidence.with_knowledge is copies and found.evidence.without is far


def test_the_page_says_whether_knowledge_helped(found: Report) -> None:
    for gain, words in ((1.0, "Yes: rows are likelier"), (-1.0, "No: rows are less likely"), (0.0, "Not measurably")):
        likelihood = Likelihood((0.0,), (gain,), gain, 0.1, "rows", 30)
        assert words in replace(found, likelihood=likelihood).to_html()
    assert "has no density" in replace(found, likelihood=None).to_html()


def test_copies_give_advice(plant: pd.DataFrame, fitted: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, plant[:30])
    found = report(fitted, plant[30:], training=plant[:30], draws=100)
    assert any("copies" in line for line in found.advice)
    drawing(monkeypatch, plant[30:])
    assert not any("copies" in line for line in report(fitted, plant[30:], training=plant[:30], draws=100).advice)


def test_a_classifier_tells_what_differs_and_nothing_else(
    plant: pd.DataFrame, fitted: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing(monkeypatch, plant[:30])
    assert 0.2 < report(fitted, plant[30:], draws=100).quality.auc["with"] < 0.75
    drawing(monkeypatch, plant[:30].assign(inlet=plant["inlet"][:30] + 100))
    found = report(fitted, plant[30:], draws=100)
    assert found.quality.auc["with"] > 0.95
    assert any("AUC" in line for line in found.advice)


def curved(seed: int, rows: int = 200) -> pd.DataFrame:
    """A parabola and a wave: dependences without correlation."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, rows)
    return pd.DataFrame(
        {
            "x": x,
            "y": x**2 + 0.05 * random.normal(size=rows),
            "z": np.cos(6 * x) + 0.05 * random.normal(size=rows),
            "free": random.normal(size=rows),
        }
    )


def test_shuffled_columns_pass_for_good_by_correlation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(members=1)
    knowledge = Knowledge.parse("y: x > free")
    made = Synthesizer("factor", knowledge, max_epochs=5, trust="all", random_state=0, settings=settings).fit(curved(0))
    drawing(monkeypatch, curved(1))
    quality = report(made, curved(2), draws=100).quality
    assert quality.similarity["with"].hsic > 0.8 and quality.similarity["with"].correlation > 0.9
    assert quality.similarity["shuffled"].hsic < 0.3 and quality.similarity["shuffled"].correlation > 0.85
    assert ("y", "x") in quality.unseen or ("x", "y") in quality.unseen
    assert not any("free" in pair for pair in quality.unseen)


def test_missing_values_are_compared(plant: pd.DataFrame) -> None:
    table = plant.assign(flow=plant["flow"].astype(float).where(np.arange(len(plant)) % 2 > 0))
    settings = Settings(members=1)
    made = Synthesizer("factor", KNOWLEDGE, max_epochs=20, trust="all", random_state=0, settings=settings).fit(table)
    missing = report(made, table, draws=100).quality.missing
    assert list(missing) == ["flow"]
    assert missing["flow"][0] == 0.5 and abs(missing["flow"][1] - 0.5) < 0.2


def test_without_other_rows_each_member_scores_its_own_validation_rows(
    plant: pd.DataFrame, fitted: Synthesizer
) -> None:
    found = report(fitted, training=plant[:30], draws=100)
    assert found.likelihood is not None and fitted.plain_ is not None and not found.held_out
    differences = fitted.score_unseen(plant[:30]) - fitted.plain_.score_unseen(plant[:30])
    assert found.likelihood.gain == pytest.approx(differences.mean()) and found.likelihood.count == len(differences)
    assert any("validation rows" in line for line in found.summary)
    assert "on which the models were trained" in found.to_html()


def test_bits_are_those_beyond_the_training_rows(plant: pd.DataFrame, fitted: Synthesizer) -> None:
    with_rows = report(fitted, plant[30:], training=plant[:30], draws=100)
    alone = report(fitted, plant[30:], draws=100)
    assert [row.bits for row in with_rows.statements] == [each.bits for each in audit(plant[:30], KNOWLEDGE)]
    assert [row.bits for row in alone.statements] == [each.bits for each in audit(plant[30:], KNOWLEDGE)]
    assert with_rows.information == audit(plant[:30], KNOWLEDGE).information


@pytest.fixture
def found(plant: pd.DataFrame, fitted: Synthesizer) -> Report:
    return report(fitted, plant[30:], training=plant[:30], draws=100)


def test_the_advice_follows_from_what_was_found(found: Report) -> None:
    row = found.statements[0]
    wrong = replace(row, verdict=Verdict.CONTRADICTED)
    assert "contradict 'outlet: inlet > ambient'" in replace(found, statements=(wrong,)).advice[0]
    lost = replace(row, verdict=Verdict.HOLDS, with_knowledge=row.with_knowledge._replace(holds=0.0))
    assert "do not follow 'outlet: inlet > ambient'" in replace(found, statements=(lost,), harm=()).advice[0]
    held = replace(lost, with_knowledge=row.with_knowledge._replace(holds=1.0), bits=2.0)
    for gain, sign in ((1.0, "help"), (-1.0, "cost"), (0.0, "")):
        likelihood = Likelihood((0.0,), (gain,), gain, 0.1, "rows", 30)
        lines = " ".join(replace(found, statements=(held,), harm=(), likelihood=likelihood).advice)
        assert ("The statements help" in lines, "cost likelihood" in lines) == (sign == "help", sign == "cost")
    certain = replace(held, bits=0.0)
    assert "moreso ask" in " ".join(replace(found, statements=(certain,)).advice)
    assert "fell back" in " ".join(replace(found, harm=("The statements seem to harm.",)).advice)


def test_the_interval_of_a_gain_is_students() -> None:
    likelihood = Likelihood((0.0,) * 5, (1.0,) * 5, 1.0, 0.1, "fits", 5)
    assert likelihood.interval == pytest.approx((1 - 0.2776445, 1 + 0.2776445))
    assert np.isnan(Likelihood((0.0,), (1.0,), 1.0, float("nan"), "rows", 1).interval).all()


def test_the_histories_of_all_members_are_in_the_json(found: Report) -> None:
    content = json.loads(found.to_json(), parse_constant=pytest.fail)
    (history,) = content["training"]["with"]
    assert len(history["held"]) == len(history["penalty"]) == len(history["validation_loss"]) > 0
    assert all(0 <= share <= 1 for share in history["held"])
    assert content["training"]["without"][0]["held"] == []
    assert content["knowledge"] == str(KNOWLEDGE) and content["advice"] == found.advice
    assert len(content["quality"]["pairs"]) == 6


def test_settings_that_fit_no_report(plant: pd.DataFrame, fitted: Synthesizer) -> None:
    with pytest.raises(ValueError, match="neither 'data' nor 'training'"):
        report(fitted)
    with pytest.raises(ValueError, match="'training' must hold one table for each fit, got 2 for 1"):
        report(fitted, plant, training=[plant, plant])


def test_a_report_on_a_single_pair_of_columns_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Categories, times and a direction alone: every kind of axis."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(40), "D"),
            "kind": random.choice(["a", "b", "c", "$d$"], 40),
            "size": random.normal(size=40),
            "on": random.random(40) > 0.5,
        }
    )
    monkeypatch.setattr(selection, "harmed", lambda plain, informed: False)
    settings = Settings(members=1)
    for text in ("size: +when", "kind: size > when\non: +size"):
        made = Synthesizer("factor", text, max_epochs=5, trust="all", random_state=0, settings=settings).fit(rows)
        page = report(made, rows, draws=100).to_html()
        assert page.count("data:image/svg+xml") >= 4

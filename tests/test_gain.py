"""The measurement of gains: what it does around the models."""

import copy
import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import bars, figures, gain, games, rivals, sets, tables
from scipy.stats import norm

from moreso import Regularizer, Synthesizer, training
from moreso.guidance import Guidance, forked
from moreso.models import VAE, FactorAnalysis
from moreso.synthesizer import Settings, selection


def test_rows_are_few_complete_and_not_those_held_out() -> None:
    train, test, knowledge = gain.prepared("wine", 0)
    assert train.shape == (40, 14)
    assert len(test) == 138
    assert not set(train.index) & set(test.index)
    assert set(knowledge.features) <= set(train.columns)
    assert not gain.prepared("wine", 1)[0].index.equals(train.index)


def test_columns_that_statements_name_come_first() -> None:
    train, _, knowledge = gain.prepared("breast_cancer", 0)
    assert train.shape[1] == max(gain.COLUMNS, len(knowledge.features))
    assert set(train.columns[: len(knowledge.features)]) == set(knowledge.features)


@pytest.mark.parametrize("name", sets.SETS)
def test_half_of_the_statements_are_swapped_and_none_contradict(name: str) -> None:
    knowledge = sets.knowledge(name)
    found = gain.altered(knowledge, "flipped", np.random.default_rng(0))
    swapped = sum(a.converse() == b for a, b in zip(knowledge, found, strict=True))
    same = sum(a == b for a, b in zip(knowledge, found, strict=True))
    assert (swapped, same) == (len(knowledge) // 2, len(knowledge) - len(knowledge) // 2)
    assert not found.contradictions()


def test_l2_counts_in_training_only() -> None:
    with torch.random.fork_rng():
        model = FactorAnalysis(3)
    rows = torch.zeros(4, 3)
    penalised = rivals.L2Penalised(model, 0.5)
    squares = sum(parameter.square().sum().item() for parameter in model.parameters())
    assert (penalised.loss(rows) - model.loss(rows)).item() == pytest.approx(squares / 2, rel=1e-4)
    penalised.eval()
    assert penalised.loss(rows).item() == model.loss(rows).item()


def test_rivals_tell_the_noise_of_models_that_have_it() -> None:
    with torch.random.fork_rng():
        vae, factor = rivals.L2Penalised(VAE(3), 0.1), rivals.L2Penalised(FactorAnalysis(3), 0.1)
        blocks, others = (rivals.Blocks(build, [[0, 2], [1]]) for build in (VAE, FactorAnalysis))
    assert factor.noise_parameters() == others.noise_parameters() == []
    assert [len(each) for each in vae.noise_parameters()] == [3, 3]
    again = copy.deepcopy(blocks)
    assert [len(each) for each in again.noise_parameters()] == [2, 2, 1, 1]
    own = {id(parameter) for parameter in again.parameters()}
    assert {id(each) for each in again.noise_parameters()} <= own, "a copy tells its own"


def test_dropout_stands_behind_every_activation() -> None:
    with torch.random.fork_rng():
        model = rivals.with_dropout(VAE(3), 0.5)
        found = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
        assert [part.p for part in found].count(0.5) == 2
        networks = [part for part in model.modules() if isinstance(part, torch.nn.Sequential) and len(part) > 2]
        assert len(networks) == 2
        for network in networks:
            kinds = [type(module).__name__ for module in network]
            assert all(
                kinds[kinds.index("Dropout", at) - 1] != "Linear" for at, k in enumerate(kinds) if k == "Dropout"
            )
            assert kinds[-1] == "Linear"
        model.eval()
        assert torch.isfinite(model.log_prob(torch.zeros(2, 3))).all()  # type: ignore[operator]


def line(
    arm: str, seed: int, score: float, validation: float = 0.0, rows: int = 40, members: int = gain.ONE
) -> dict[str, Any]:
    head = {
        "set": "wine",
        "model": "vae",
        "rows": rows,
        "folds": members,
        "statements": 10,
        "undecided": 3,
        "held_in_samples": 0.5,
        "error": 0.8 + score / 10,
        "error_of_rows": 0.7,
        "fell_back": False,
    }
    return {**head, "arm": arm, "seed": seed, "log_likelihood": score, "validation": validation}


def test_gains_are_paired_and_strengths_chosen_without_held_out_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    for seed, own in enumerate((1.0, 2.0, 3.0)):
        lines += [line("plain", seed, own), line("default", seed, own + 0.5 + seed / 10)]
        lines += [line("l2 0.1", seed, own - 1, validation=seed), line("l2 0.2", seed, own + 1, validation=1.5)]
    lines += [line("plain", 0, 5.0, rows=80), line("default", 0, 6.0, rows=80)]
    lines.append(line("default", 9, 0.0))  # of a run whose plain model is not there yet
    lines += [line(arm, 0, 0.0) | {"model": "flow"} for arm in ("plain", "gaussian")]  # nor is the default of this one
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = tables.gains()
    assert found.loc[found["arm"] == "default", "gain"].tolist() == pytest.approx([0.5, 0.6, 0.7, 1.0])
    assert found[found["arm"] == "l2"].sort_values("seed")["gain"].tolist() == pytest.approx([1, 1, -1])
    mean, low, high = tables.interval(pd.Series([0.5, 0.6, 0.7]))
    assert (mean, low, high) == pytest.approx((0.6, 0.6 - 4.30265 * 0.1 / 3**0.5, 0.6 + 4.30265 * 0.1 / 3**0.5))
    row = "| vae | wine | 3 of 3 | 10 | 3.0 | 0.50 -> 0.50 | **+0.60 ± 0.25** | +0.33 ± 2.87 | - | - | - | 3 |"
    assert tables.table(shown=tables.PEERS, members=gain.ONE).splitlines()[2:] == [row]
    assert len(tables.table(members=gain.ONE, models=["flow"]).splitlines()) == 2, "none of flows"
    monkeypatch.setitem(gain.STAGES, "curve", gain.Stage(("default",), ("wine",)))
    # The one seed at both rose by 4, so by a - 320 / n; .6 of that is reached at 40 / (1 - .6 / 8) rows.
    assert "| vae | wine | **+0.60 ± 0.25** (3) | +1.00 (1) | 3 |" in tables.curve().splitlines()
    assert len(tables.table().splitlines()) == 2, "none of ensembles"
    ensembles = [each | {"folds": gain.ENSEMBLE} for each in lines]
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines + ensembles)), encoding="utf-8")
    row = "| vae | wine | 3 | `target` | 0.70 | 1.00 | 1.06 | **+0.06 ± 0.02** |"
    assert row in tables.downstream().splitlines()
    assert "| vae | wine | 3 of 3 | 10 | 3.0 | 0.50 -> 0.50 | **+0.60 ± 0.25** | - | 3 |" in tables.table().splitlines()
    assert "| vae | 3 | 1 of 1 | 0 of 1 | +0.60 | - | 0 of 3 |" in tables.summary().splitlines()
    assert tables.peers().splitlines()[2:] == [
        "| vae | wine | 3 | **+0.60 ± 0.25** | +0.33 ± 2.87 | - | - | - | +0.27 ± 3.09 | - | - |",
        "| vae | mean | 3 | +0.60 | +0.33 | - | - | - | +0.27 | - | - |",
    ]
    assert {figures.gains().get_axes()[0].get_title(), figures.curves().get_axes()[0].get_title()} == {"vae", "wine"}
    figures.write(tmp_path)
    first = [path.read_bytes() for path in sorted(tmp_path.glob("*.svg"))]
    figures.write(tmp_path)
    assert first == [path.read_bytes() for path in sorted(tmp_path.glob("*.svg"))] and len(first) == 2


def test_a_fit_that_fell_back_gains_nothing_though_another_machine_rounded_its_plain_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    lines = [line("plain", 0, 1.0), line("default", 0, 1.01) | {"fell_back": True}, line("flipped", 0, 1.01)]
    lines.append(line("default", 9, 1.0) | {"fell_back": True})  # its plain model is not there yet
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert tables.gains()[["arm", "gain"]].to_numpy().tolist() == [["default", 0.0], ["flipped", pytest.approx(0.01)]]


def test_the_worth_in_rows_has_no_number_where_there_is_none() -> None:
    assert tables.in_rows(0.5, (1.0, 2.0)) == "13"
    assert tables.in_rows(-0.5, (1.0, 2.0)) == "0"
    assert tables.in_rows(3.0, (1.0, 2.0)) == "more than any"
    assert tables.in_rows(0.5, (1.0, 1.0)) == tables.in_rows(0.5, None) == tables.in_rows(np.nan, (1.0, 2.0)) == "-"


def test_plain_models_are_compared_over_the_seeds_that_are_at_both_numbers_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        line("plain", seed, seed + rows, rows=rows) for seed, rows in ((0, 40), (1, 40), (2, 40), (1, 80), (2, 80))
    ]
    lines += [
        line("plain", 3, 0.0),
        line("plain", 1, 9.0, rows=80, members=gain.ENSEMBLE),
        line("default", 0, 5.0, rows=80),
    ]
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert tables.plains(gain.ONE) == {("vae", "wine"): (41.5, 81.5)}
    assert tables.plains(gain.ENSEMBLE) == {}


def test_hindsight_takes_the_best_ratio_of_each_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    # The default, ratios .1 and 1, and the default's .3 where it is obeyed; in "bfi" nothing is better.
    for name, scores in {"wine": (1, 0, 2, 4), "digits": (1, 3, 0, 0), "bfi": (0, -1, -2, -3)}.items():
        for seed in (0, 1):
            arms = ["plain", "default", *(f"ratio {ratio:g}" for ratio in gain.RATIOS)]
            own = [
                line(arm, seed, score, members=gain.ENSEMBLE) for arm, score in zip(arms, (0, *scores[:3]), strict=True)
            ]
            own[1]["obeyed"] = scores[3]
            lines += [each | {"set": name} for each in own]
    lines.append(line("default", 2, 99.0, members=gain.ENSEMBLE))
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (row,) = tables.hindsight().splitlines()[2:]
    assert [part.split(" ")[0].strip("*") for part in row.strip("| ").split(" | ")] == [
        *("vae", "3", "2", "+0.67", "+0.67", "+0.33", "+0.00", "+2.33", "29%")
    ]


def test_bars_are_met_by_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two sets gain .5, .6, .7 and one is certain: what the third does not is no matter, and it loses.
    own = {"wine": 0.5, "digits": 0.5, "bfi": -0.5}
    lines = [
        line(arm, seed, score, members=gain.ENSEMBLE) | {"set": name, "undecided": 3 * (name != "bfi"), "obeyed": score}
        for name, base in own.items()
        for seed in range(3)
        for arm, score in (
            ("plain", 0.0),
            ("default", base + seed / 10),
            ("flipped", -seed),
            ("l2 0.1", base - 1),
            *((f"ratio {ratio:g}", base * 1.5) for ratio in gain.RATIOS),
        )
    ]
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    side = {"broken": 0.5, "auc": 0.8}
    played = [
        {"model": "gan", "set": name, "seed": 0, "without": side, "with": {"broken": 0.3, "auc": 0.8 + at / 100}}
        for at, name in enumerate(own)
    ]
    monkeypatch.setattr(games, "RESULTS", tmp_path / "games.jsonl")
    games.RESULTS.write_text("\n".join(map(json.dumps, played)), encoding="utf-8")
    monkeypatch.setattr(bars, "SEEDS", 0)
    assert bars.table().splitlines()[2:] == [
        "| sets with undecided statements that gain | vae | two thirds | 2 of 2 | 9 | yes |",
        "| sets that lose | vae | none | 1 of 3 | 9 | **no** |",
        "| sets that lose, half of the statements swapped | vae | none | 0 of 3 | 9 | yes |",
        # (.6 + .6 - .4) / (.75 + .75 + 0), where the third does best without knowledge.
        "| share of the best ratio's gain | vae | 80% | 53% | 9 | **no** |",
        "| gain over l2 | vae | above 0 | **+1.10 ± 0.00**, on 3 of 3 sets | 9 | yes |",
        "| share of broken statements | gan | halved | 0.50 -> 0.30 | 3 | **no** |",
        "| change of the AUC | gan | not above 0 | +0.01 ± 0.02 | 3 | yes |",
    ]
    monkeypatch.setattr(bars, "SEEDS", 10)
    assert {row.split(" | ")[-1] for row in bars.table().splitlines()[2:]} == {"so far yes |", "so far **no** |"}
    games.RESULTS.unlink()
    assert len(bars.table().splitlines()) == 2 + 5


def test_other_settings_are_shown_over_the_seeds_that_all_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ["default", "turned one", "flipped", "half", "margin 1", "margin 2", "draws 64", "draws 1024"]
    lines = [line(arm, seed, place + seed / 10) for seed in (0, 1) for place, arm in enumerate(["plain", *shown])]
    lines += [line("plain", 2, 0.0), line("default", 2, 9.0)]
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    gain.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    monkeypatch.setitem(gain.STAGES, "sensitivity", gain.Stage((), ("wine",)))
    (row,) = tables.sensitivity().splitlines()[2:]
    assert [cell.split(" ")[0].strip("*") for cell in row.split(" | ")[2:]] == [f"+{place}.00" for place in range(1, 9)]
    assert row.startswith("| wine | 2 |")


def test_half_of_the_statements_and_one_swapped() -> None:
    knowledge, random = sets.knowledge("diabetes"), np.random.default_rng(0)
    half = gain.altered(knowledge, "half", random)
    assert len(half) == 6 and set(half) <= set(knowledge)
    assert len(set(gain.altered(knowledge, "turned one", random)) & set(knowledge)) == len(knowledge) - 1
    assert gain.altered(knowledge, "stated", random) == knowledge


def test_blocks_are_independent_and_in_their_places() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = rivals.Blocks(FactorAnalysis, [[0, 2], [1, 3]])
        parts: Any = model.models
        for own, place in zip(parts, (100.0, 200.0), strict=True):
            own.mean.data += place
        assert (model.sample(50).mean(0) > 150).tolist() == [False, True, False, True]
        x = torch.randn(4, 4)
        whole = parts[0].log_prob(x[:, [0, 2]]) + parts[1].log_prob(x[:, [1, 3]])
    torch.testing.assert_close(model.log_prob(x), whole)
    assert model.loss(x).dim() == 0


def test_a_table_that_is_too_short_for_a_point_of_the_curve_is_left_out() -> None:
    assert gain.run("wine", "factor", 0, "default", rows=160) is None


def quick(*arguments: Any, **settings: Any) -> Synthesizer:
    return Synthesizer(*arguments, max_epochs=30, **settings)


def test_a_run_is_the_default_of_a_synthesizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it falls back; without and with knowledge it is scored on the held-out rows."""
    train, test, knowledge = gain.prepared("wine", 0)
    monkeypatch.setattr(gain, "Synthesizer", quick)
    gain.plain.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        obeyed = quick("factor", knowledge, trust="all", random_state=0).fit(train)
    assert obeyed.plain_ is not None and not obeyed.left_out_
    change = pd.Series(obeyed.score_unseen(train) - obeyed.plain_.score_unseen(train))
    # The harm that is borne is a little more, then a little less, than there is.
    for shift in (1e-5, -1e-5):
        for module in (gain, selection):
            monkeypatch.setattr(module, "HARM", shift - change.mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = quick("factor", knowledge, random_state=0).fit(train)
        lines = [gain.run("wine", "factor", 0, arm) for arm in ("plain", "default")]
        assert fitted.plain_ is not None
        for one, found in zip((fitted.plain_, fitted), lines, strict=True):
            assert found is not None
            assert found["log_likelihood"] == pytest.approx(one.score_samples(test).mean(), abs=1e-4)
            assert found["validation"] == pytest.approx(one.score_unseen(train).mean(), abs=1e-4)
        assert lines[1] is not None and lines[1]["fell_back"] == bool(fitted.harm_) == (shift < 0)
        assert lines[1]["obeyed"] == pytest.approx(obeyed.score_samples(test).mean(), abs=1e-4)
        assert (lines[1]["change"], lines[1]["change_error"]) == pytest.approx((change.mean(), change.sem()), abs=1e-4)
    gain.plain.cache_clear()


def test_the_harm_that_is_borne_is_that_of_a_synthesizer() -> None:
    assert gain.HARM == selection.HARM


def test_arms_with_knowledge_have_the_dropout_that_the_plain_model_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(dropout=0.15)
    chosen = Synthesizer("vae", max_epochs=9, random_state=0, settings=settings).fit(gain.prepared("wine", 0)[0])
    monkeypatch.setattr(gain, "Synthesizer", partial(Synthesizer, max_epochs=9))
    monkeypatch.setattr(gain, "plain", lambda *_: chosen)
    found = [gain.run("wine", "vae", 0, arm) for arm in ("plain", "default", "flipped", "ratio 1", "undropped")]
    assert [line and line["dropout"] for line in found] == [0.15] * 4 + [0]


def test_other_draws_train_as_the_guidance_of_a_loop_would() -> None:
    build = gain.arms("vae", "wine", ())["draws 64"].build
    assert build is not None
    train, _, knowledge = gain.prepared("wine", 0)
    rows = torch.tensor(((train - train.mean()) / train.std()).to_numpy(), dtype=torch.float32)
    trained = []
    for make, guidance in ((build, Guidance()), (VAE, Guidance(draws=64)), (VAE, Guidance())):
        penalty = Regularizer(knowledge, list(map(str, train)), data=rows)
        with forked(0):
            model: Any = make(rows.shape[1])
            training.fit(model, rows, penalty=penalty, guidance=guidance, schedule=training.Schedule(max_epochs=5))
            assert len(model.sample(3)) == 3, "as many as are asked for, once it is trained"
        trained.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert trained[0].equal(trained[1]) and not trained[0].equal(trained[2])


def test_the_gaussian_is_a_density_in_the_units_of_the_table() -> None:
    random = np.random.default_rng(0)
    train, rows = (pd.DataFrame(random.normal(3, 2, size=(count, 2)), columns=["a", "b"]) for count in (4000, 500))
    found = rivals.gaussian(train, rows)
    assert found.mean() == pytest.approx(norm.logpdf(rows, 3, 2).sum(axis=1).mean(), abs=0.02)
    constant = [table.assign(c=1.0, a=1000 * table["a"]) for table in (train, rows)]
    np.testing.assert_allclose(rivals.gaussian(*constant), found - np.log(1000))


def test_a_regression_trained_on_the_truth_has_a_small_error() -> None:
    random = np.random.default_rng(0)
    x, noise = random.normal(size=(2, 600))
    table = pd.DataFrame({"x": 10 * x, "y": 50 * x + 5 * noise})
    good, bad = (gain.error(each, table[300:], "y") for each in (table[:300], table[:300].assign(x=noise[:300])))
    assert good < 0.3 and bad > 2 * good
    assert gain.error(table[:300] * 7, table[300:] * 7, "y") == pytest.approx(good)


def test_only_lines_of_one_edition_of_the_training_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest that has all arms of a table."""
    first = [
        line(arm, seed, score) for seed in (10, 11) for arm, score in (("plain", 0.0), ("default", 1.0), ("l2 1", 3.0))
    ]
    second = [
        line(arm, seed, score) | {"edition": 2}
        for seed in (10, 11)
        for arm, score in (("plain", 5.0), ("default", 7.0))
    ]
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    gain.RESULTS.write_text("\n".join(map(json.dumps, first + second)), encoding="utf-8")
    found = tables.gains()
    assert tables.latest(found)["gain"].tolist() == [2.0, 2.0]
    assert sorted(tables.latest(found, ["default", "l2"])["gain"]) == [1.0, 1.0, 3.0, 3.0, 3.0, 3.0]
    assert tables.latest(found, ["flipped"]).empty


def test_what_is_there_is_not_run_again_and_arms_share_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, model: str, seed: int, arm: str, rows: int, members: int) -> dict[str, Any] | None:
        called.append((name, model, seed, arm))
        made = {**line(arm, seed, 0.0, rows=rows, members=members), "edition": gain.EDITION}
        return None if seed == 11 else {**made, "set": name, "model": model}

    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr(gain, "RESULTS", tmp_path / "gain.jsonl")
    monkeypatch.setattr(gain, "run", run)
    stages = {
        "first": gain.Stage(("default", "l2"), ("wine",)),
        "second": gain.Stage(("default", "flipped"), ("wine", "meats", "digits"), models=("vae",)),
    }
    monkeypatch.setattr(gain, "STAGES", stages)
    monkeypatch.setattr(sets, "there", lambda names: sorted(set(names) - {"meats"}))
    there = line("default", 10, 0.0) | {"edition": gain.EDITION}, line("plain", 10, 0.0)
    gain.RESULTS.write_text("".join(json.dumps(each) + "\n" for each in there), encoding="utf-8")
    for _ in range(2):
        jobs = gain.lacking(["factor", "vae"], 1, ["first", "second"])
        for job in jobs:
            gain.complete(*job)
    assert [(name, model) for name, model, *_ in called] == [
        *([("wine", "factor")] * 4 + [("wine", "vae")] * 4 + [("digits", "vae")] * 3)
    ]
    assert [arm for *_, arm in called[4:8]] == ["plain", "l2 0.001", "l2 0.01", "flipped"]

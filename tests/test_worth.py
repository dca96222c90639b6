"""What knowledge is worth, on rows whose law is known."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import moreso
from moreso import Knowledge, Relation, Settings, Synthesizer, worth
from moreso.cli import main
from moreso.evaluation import Gain, extra_rows
from moreso.models.layers import Dropout
from moreso.synthesizer.ensemble import Ensemble, Order, Trainer

KNOWLEDGE = Knowledge.parse("outlet: inlet > ambient @ 0.9  # same pipe\nflow: inlet > ambient")


def quick(**given: Any) -> Synthesizer:
    one = Settings(members=1)
    return Synthesizer(**{"model": "factor", "knowledge": KNOWLEDGE, "settings": one, "max_epochs": 15, **given})


def test_the_interval_is_the_corrected_one() -> None:
    found = Gain.of([1.0, 2.0, 3.0, 4.0], 0.25)
    # t(3) = 3.1824; variance 5 / 3 times 1 / 4 + 1 / 4.
    reach = 3.18245 * math.sqrt(5 / 3 / 2)
    assert (found.mean, found.low, found.high) == pytest.approx((2.5, 2.5 - reach, 2.5 + reach), rel=1e-5)


def test_the_interval_covers_the_mean_of_overlapping_splits() -> None:
    """The score is a mean over training rows that splits share, plus one over test rows; its mean is 0."""
    random, covered, naive = np.random.default_rng(0), 0, 0
    for _ in range(400):
        rows = random.normal(size=50)
        differences = []
        for _ in range(10):
            order = random.permutation(50)
            differences.append(rows[order[:40]].mean() + rows[order[40:]].mean())
        found, uncorrected = Gain.of(differences, 0.25), Gain.of(differences, 0.0)
        covered += found.low <= 0 <= found.high
        naive += uncorrected.low <= 0 <= uncorrected.high
    assert naive < 0.85 * 400
    assert covered > naive + 20


@pytest.mark.parametrize("fall", [3.0, 40.0])
def test_extra_rows_are_read_off_the_learning_curve(fall: float) -> None:
    curve = {share: 7 - fall / round(share * 80) for share in (1.0, 0.75, 0.5)}
    found = extra_rows(curve, 80, (7 - fall / 100) - curve[1.0])
    assert found == pytest.approx(20)
    assert extra_rows(curve, 80, fall) == math.inf
    assert extra_rows(curve, 80, -1.0) == 0
    assert math.isnan(extra_rows({1.0: 1.0, 0.5: 2.0}, 80, 0.1))


def test_the_budget_is_kept_and_what_it_buys_comes_in_order(plant: pd.DataFrame) -> None:
    # splits, budget -> fits: 2 a split, then the learning curve, then every statement in as many splits as are left.
    for splits, budget, fits, told in ((2, 4, 4, 0), (2, 7, 6, 0), (2, 8, 8, 0), (2, 11, 8, 0), (2, 12, 12, 2)):
        found = worth(quick(), plant, splits=splits, budget=budget)
        assert (found.fits, len(found.statements)) == (fits, told), budget
        assert found.rows == 48
        assert len(found.gain.splits) == splits
    assert [relation for relation, _ in found.statements] == list(KNOWLEDGE)
    assert all(len(gain.splits) == 2 for _, gain in found.statements)
    assert "The statements change" in str(found)


def test_the_plain_model_of_a_split_chooses_the_dropout(plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(model: torch.nn.Module) -> Iterator[float]:
        return (part.rate.item() for part in model.modules() if isinstance(part, Dropout))

    def train(self: Trainer, orders: Sequence[Order], *rest: Any) -> list[Ensemble]:
        trained.extend((order.name, order.dropout) for order in orders)
        return own(self, orders, *rest)

    trained: list[tuple[str, float]] = []
    own = Trainer.train
    monkeypatch.setattr(Trainer, "train", train)
    estimator = sys.modules["moreso.synthesizer.estimator"]
    monkeypatch.setattr(estimator, "unseen_density", lambda model, **rest: np.array([next(parts(model))]))
    worth(quick(model="vae", settings=None, max_epochs=2), plant[:40], splits=2, budget=4)
    assert trained == [("plain", 0), ("plain-dropout", 0.3)] * 2 + [("knowledge", pytest.approx(0.3))] * 2


def test_without_a_weight_nothing_is_worth_anything(plant: pd.DataFrame) -> None:
    found = worth(quick(weight=0), plant, splits=2, budget=12)
    assert found.gain == Gain(0, 0, 0, (0, 0))
    assert {gain.mean for _, gain in found.statements} == {0}
    assert found.extra_rows == 0


def test_a_statement_that_changes_the_model_carries_the_gain(plant: pd.DataFrame) -> None:
    """One statement alone: what all gain over all but this one is the whole gain."""
    found = worth(
        quick(knowledge=Knowledge.parse("outlet: inlet > ambient"), max_epochs=60), plant, splits=3, budget=20
    )
    assert found.gain.mean != 0
    assert found.statements == ((Relation("outlet", "inlet", "ambient"), found.gain),)


def test_statements_are_told_apart_and_named_as_the_person_named_them(plant: pd.DataFrame) -> None:
    """Also one that is made twice, of which either can be left out for free."""
    knowledge = Knowledge.parse(
        "unit = inlet, flow\nunit: outlet > ambient\nunit: outlet > ambient\nflow: inlet > ambient"
    )
    found = worth(quick(knowledge=knowledge), plant, splits=2, budget=14)
    assert [relation.line for relation, _ in found.statements] == [2, 3, 4]
    assert [gain.mean == 0 for _, gain in found.statements] == [True, True, False]
    told = ["unit: outlet > ambient"] * 2 + ["flow: inlet > ambient"]
    assert sorted(found.to_frame().relation) == sorted(told)
    assert [each["relation"] for each in json.loads(found.to_json())["statements"]] == told
    assert str(found).count("unit: outlet > ambient") == 2


def test_the_command(plant: pd.DataFrame, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    plant.to_csv("data.csv", index=False)
    with open("known.txt", "w", encoding="utf-8") as file:
        file.write("outlet: inlet > ambient")
    monkeypatch.setattr(moreso, "Synthesizer", partial(Synthesizer, max_epochs=15, settings=Settings(members=1)))
    arguments = ["worth", "data.csv", "known.txt", "--model", "factor", "--splits", "2", "--budget", "6"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "nats" in result.output
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(result.stdout)["rows"] == 48

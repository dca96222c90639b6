"""What to ask an expert."""

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from moreso import Knowledge, ask
from moreso.dependence import RelativeDependence
from moreso.elicit import Question


def compared(table: pd.DataFrame, **settings: Any) -> list[Question]:
    """Return the comparisons; only tables with pairs that were never observed together give other questions."""
    found = [each for each in ask(table, **settings) if isinstance(each, Question)]
    assert len(found) == len(ask(table, **settings))
    return found


def plain(question: object) -> str:
    return str(question).replace(" ? ", " > ")


def test_the_worth_is_what_a_decision_by_the_sign_would_lose(plant: pd.DataFrame) -> None:
    """Every triple by itself, through the relative test, in place of one covariance of all pairs."""
    found = {str(q): q for q in compared(plant, questions=1000, per_feature=1000)}
    rows = torch.tensor(((plant - plant.mean()) / plant.std(ddof=0)).to_numpy())
    seen = 0
    for ref, one, two in permutations(plant.columns, 3):
        knowledge = Knowledge.parse(f"{ref}: {one} > {two}")
        gaps = RelativeDependence(knowledge, list(plant.columns), data=rows, normalize=True)(rows)
        gap, error = gaps.gap.item(), gaps.standard_error.item()
        question = found.get(f"{ref}: {one} ? {two}")
        assert (question is not None) == (0 < gap < 1.645 * error)
        if question is not None:
            seen += 1
            assert question.standard_error == pytest.approx(error)
            assert question.dependence[0] - question.dependence[1] == pytest.approx(gap)
            z = gap / error
            draws = gap + error * norm.ppf((np.arange(20_000) + 0.5) / 20_000)
            assert question.worth == pytest.approx(np.maximum(-draws, 0).mean(), rel=1e-3), z
            right = (draws > 0).mean()
            # Both answers, each with the bits that an audit would give its statement.
            said = -right * np.log2(right) - (1 - right) * np.log2(1 - right)
            assert question.bits == pytest.approx(said, abs=1e-3)
    assert seen == len(found) > 0


def test_the_first_are_worth_most_and_none_is_asked_too_often(plant: pd.DataFrame) -> None:
    table = plant.assign(**{f"noise{i}": np.random.default_rng(i).normal(size=60) for i in range(4)})
    found = compared(table, questions=12, per_feature=2)
    order = [(round(q.bits, 1), q.worth) for q in found]
    assert order == sorted(order, reverse=True)
    every = [round(q.bits, 1) for q in compared(table, questions=1000, per_feature=1000)]
    assert every == sorted(every, reverse=True) and len(set(every)) > 3
    assert len(found) == 12
    for name in table.columns:
        assert sum(q.ref == name for q in found) <= 2
    assert ask(table, ["inlet", "outlet", "flow"]) == ask(
        table[["outlet", "flow", "inlet"]], ["inlet", "outlet", "flow"]
    )


def test_what_the_rows_decide_is_not_asked(plant: pd.DataFrame) -> None:
    table = pd.DataFrame({"a": plant.inlet, "b": plant.inlet, "c": plant.ambient})
    assert not any({q.one, q.two} == {"b", "c"} for q in compared(table) if q.ref == "a")


def test_levels_and_missing_values_are_allowed(plant: pd.DataFrame) -> None:
    table = plant.assign(kind=np.where(plant.inlet > 0.5, "high", np.where(plant.inlet < -0.5, "low", "mid")))
    table.loc[:9, "flow"] = np.nan
    assert {q.ref for q in compared(table)} | {q.one for q in compared(table)} >= {"kind", "flow"}

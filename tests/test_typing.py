"""Code as users write it: `make lint` checks its types by mypy, `make types` by pyright, and the tests run it."""

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
import pytest
import torch

import moreso
from moreso.models import VAE

FEATURES = ["ambient", "inlet", "outlet"]
KNOWLEDGE = "outlet: +inlet > ambient   @ 0.9   # same pipe"


@pytest.fixture(autouse=True)
def _forked() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def make_table(rows: int = 40) -> pd.DataFrame:
    """Return a table in which the outlet follows the inlet."""
    random = np.random.default_rng(0)
    inlet = random.normal(size=rows)
    outlet = np.tanh(inlet) + 0.1 * random.normal(size=rows)
    return pd.DataFrame({"ambient": random.normal(size=rows), "inlet": inlet, "outlet": outlet})


def test_statements() -> None:
    knowledge = assert_type(moreso.Knowledge.parse(KNOWLEDGE), moreso.Knowledge)
    for statement in knowledge:
        assert_type(statement, moreso.Relation | moreso.Direction)
        assert_type(statement.confidence, float)
    assert_type(moreso.Knowledge.parse(KNOWLEDGE, make_table().columns), moreso.Knowledge)
    assert knowledge.problems(make_table().columns) == []
    assert_type(knowledge.relations, tuple[moreso.Relation, ...])
    assert_type(knowledge.relations[0].plus, tuple[str, ...])
    own = moreso.Knowledge((moreso.Relation("outlet", "inlet", ["ambient"]), moreso.Direction("outlet", "inlet", 1)))
    assert_type(own.contradictions(), tuple[tuple[moreso.Relation | moreso.Direction, ...], ...])
    sites = pd.DataFrame({"x": [0, 1, 9], "y": [0, 0, 0]}, index=pd.Index(FEATURES))
    assert_type(moreso.derive.from_map(sites), moreso.Knowledge)
    try:
        moreso.Knowledge.parse("outlet: inlet")
    except moreso.KnowledgeError as error:
        assert_type(error.problems, tuple[str, ...])


def test_audit() -> None:
    audit = assert_type(moreso.audit(make_table(), KNOWLEDGE, level=0.1), moreso.Audit)
    for finding in audit:
        assert_type(finding.gap, float)
        assert_type(finding.verdict, moreso.Verdict)
        assert_type(finding.verdict is moreso.Verdict.HOLDS, bool)
    assert_type(audit.to_frame(), pd.DataFrame)
    assert_type(audit.to_json(), str)
    for question in moreso.ask(make_table(), questions=3):
        assert_type(question.ref, str)


def test_synthesizer(tmp_path: Path) -> None:
    table = make_table()
    settings = moreso.Settings(members=1)
    synthesizer = moreso.Synthesizer("factor", KNOWLEDGE, trust="all", max_epochs=5, random_state=0, settings=settings)
    assert_type(synthesizer.fit(table), moreso.Synthesizer)
    assert_type(synthesizer.sample(3, where="inlet > -1"), pd.DataFrame)
    assert_type(synthesizer.impute(table[["inlet"]]), pd.DataFrame)
    assert synthesizer.score_samples(table).shape == (40,)
    if synthesizer.plain_ is not None:
        assert_type(synthesizer.plain_.sample(3), pd.DataFrame)
    synthesizer.save(tmp_path / "plant.model")
    assert_type(moreso.Synthesizer.load(tmp_path / "plant.model"), moreso.Synthesizer)
    assert_type(moreso.fit_all([synthesizer], [table]), list[moreso.Synthesizer])
    report = assert_type(moreso.report(synthesizer, table, draws=50), moreso.Report)
    assert_type(report.summary, list[str])
    assert_type(report.to_html(), str)
    worth = assert_type(moreso.worth(synthesizer, table, splits=2, budget=4), moreso.Worth)
    assert_type(worth.gain.mean, float)


def test_a_loop() -> None:
    x = torch.tensor(make_table().to_numpy(), dtype=torch.float32)
    model = VAE(3)
    optimizer = torch.optim.Adam(model.parameters())
    regularizer = moreso.Regularizer(KNOWLEDGE, FEATURES, data=x)
    loss = model.loss(x) + 0.1 * regularizer(model.sample(64))
    loss.backward()
    assert_type(regularizer.gaps(x).gap, torch.Tensor)
    with moreso.adapters.attach(model, model.sample, KNOWLEDGE, features=FEATURES, data=x, draws=64) as push:
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    assert_type(push.history[-1].penalty, float)


def test_measures() -> None:
    x = torch.linspace(-1, 1, 40)
    assert_type(moreso.hsic(x, x**2, normalize=True).item() > 0, bool)
    assert_type(moreso.relative_test(x, x**2, torch.sin(40 * x)).pvalue < 0.05, bool)


def test_names() -> None:
    assert_type(moreso.__version__, str)
    assert_type(moreso.adapters.attach.__name__, str)

"""CTGAN and TVAE against the contract of adapters, and decoded rows against the library's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from moreso import Knowledge, KnowledgeError, adapters, audit
from moreso.adapters import check_adapter
from moreso.guidance import forked
from moreso.regularizer import MARGIN

ctgan = pytest.importorskip("ctgan", reason="ctgan")

MODELS = {"CTGAN": {"epochs": 40}, "TVAE": {"epochs": 40}}


def table(n: int = 240) -> pd.DataFrame:
    """Return rows in which b follows a and the level follows both, c is of its own, and two columns are whole."""
    random = np.random.default_rng(0)
    a, c = random.normal(size=(2, n))
    b = 0.9 * a + 0.3 * random.normal(size=n)
    level = np.where(a > 1.3, "rare", np.where(a > 0, "high", "low"))
    whole = {"n": 2000 + random.poisson(4, size=n), "small": random.integers(0, 4, size=n)}
    return pd.DataFrame({"a": 100 * a, "level": level, "b": b, "c": c - 50, **whole})


def model(name: str, **settings: Any) -> Any:
    sizes = {"generator_dim": (32, 32), "discriminator_dim": (32, 32)} if name == "CTGAN" else {}
    return getattr(ctgan, name)(**({"batch_size": 120, "enable_gpu": False} | sizes | MODELS[name] | settings))


def fitted(name: str, rows: Any = None, discrete: Any = ("level",), **settings: Any) -> Any:
    """Return an adapter around a model fitted for an epoch."""
    adapter = adapters.ctgan.Table(model(name, **({"epochs": 1} | settings)))
    with forked(0):
        adapter.model.fit(table() if rows is None else rows, discrete)
    return adapter


@pytest.mark.parametrize("name", MODELS)
def test_it_keeps_the_contract(name: str, tmp_path: Path) -> None:
    def fit(adapter: Any) -> None:
        adapter.model.fit(table(), ["level"])

    def attached(adapter: Any, penalty: Any, **settings: Any) -> Any:
        return adapters.ctgan.attach(adapter.model, penalty, **settings)

    def reload(adapter: Any) -> Any:
        adapter.model.save(tmp_path / "host.pt")
        return adapters.ctgan.Table(type(adapter.model).load(tmp_path / "host.pt"))

    with forked(0):
        found = check_adapter(
            lambda: adapters.ctgan.Table(model(name)), fit, attached=attached, reload=reload, weight=3.0
        )
    assert found.gap_before < found.gap_after


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_decoded_as_the_library_does(name: str) -> None:
    """Also where it cuts, rounds and picks; and the gradient passes through each of these."""
    adapter = fitted(name)
    transformer = adapter.model._transformer if name == "CTGAN" else adapter.model.transformer
    with forked(1):
        slots = torch.randn(200, transformer.output_dimensions)
    slots.requires_grad_()
    decoded = torch.cat([column.decode(slots, slots, slots) for column in adapter.columns], dim=1)
    theirs = transformer.inverse_transform(slots.detach().numpy())
    torch.testing.assert_close(decoded.detach(), adapter.rows(theirs), rtol=1e-5, atol=1e-5)
    starts = [column.start for column in adapter.columns]
    assert (slots.detach()[:, starts].abs() > 1).any()
    (gradient,) = torch.autograd.grad((decoded * torch.arange(1.0, decoded.shape[1] + 1)).sum(), slots)
    assert (gradient.abs().sum(0) > 0).all()
    assert (gradient[:, starts] != 0).all()


def test_levels_are_drawn_by_the_logarithm_of_their_frequency() -> None:
    """As CTGAN samples them: seen where a generator does just what it is told."""
    rows = table()[["level"]].assign(level=["rare"] * 6 + ["often"] * 234)
    adapter = fitted("CTGAN", rows)

    class Obedient(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 100 * x[:, -2:]

    adapter.model._generator = Obedient()
    with forked(0):
        shares = [x.mean(0).tolist() for x in (adapter.draw(4000), adapter.sample(4000))]
    assert shares[0] == pytest.approx(shares[1], abs=0.03)
    assert shares[0] == pytest.approx((np.log([7, 235]) / np.log([7, 235]).sum()).tolist(), abs=0.03)


def test_rows_are_measured_as_an_audit_does() -> None:
    knowledge = Knowledge.parse("level: a > c\nlevel: {a, b} > {c, n}\nb: a > level")
    adapter, rows = fitted("TVAE"), table()
    gaps = adapter.regularizer(knowledge, rows).gaps(adapter.rows(rows)).gap.tolist()
    assert gaps == pytest.approx(audit(rows, knowledge).to_frame()["gap"].tolist(), rel=0.05)
    assert adapter.regularizer(knowledge, rows).margin == MARGIN
    # Without rows, the mixtures that the library has fitted are the ruler.
    gaps = adapter.regularizer(knowledge).gaps(adapter.rows(rows)).gap.tolist()
    assert gaps == pytest.approx(audit(rows, knowledge).to_frame()["gap"].tolist(), rel=0.2)


@pytest.mark.parametrize("name", MODELS)
def test_two_levels_are_measured_as_an_audit_does(name: str) -> None:
    """In the table one column, in the library's rows two."""
    rows = table()[["a", "c", "level"]].assign(unit=lambda each: each["a"] > 0)
    adapter, knowledge = fitted(name, rows, ("level", "unit")), Knowledge.parse("unit: a > c\nc: unit > level")
    gaps = adapter.regularizer(knowledge, rows).gaps(adapter.rows(rows)).gap.tolist()
    assert gaps == pytest.approx(audit(rows, knowledge).to_frame()["gap"].tolist(), rel=0.05)
    with forked(0):
        assert adapter.regularizer(knowledge, rows)(adapter.draw(50)).item() > 0


@pytest.mark.parametrize("name", MODELS)
def test_statements_are_pushed_in_the_library_s_own_fit(name: str) -> None:
    """Levels, and rows given or not; a second fit in the block learns its columns anew."""
    rows, knowledge = table(), Knowledge.parse("level: c > a")
    for data in (None, rows):
        host = model(name, epochs=2)
        with forked(0), adapters.ctgan.attach(host, knowledge, data=data, draws=64) as push:
            host.fit(rows, ["level"])
            host.fit(rows[["a", "level", "c"]], ["level"])
        assert [pushed.step for pushed in push.history] == [0, 1, 2, 3] * 2
        assert push.history[0].penalty > 0
        assert {pushed.held for pushed in push.history} <= {0.0, 1.0}
    with pytest.raises(KnowledgeError, match="unknown feature 'a'"):  # noqa: PT012, SIM117
        with forked(0), adapters.ctgan.attach(host, knowledge, draws=64):
            host.fit(rows, ["level"])
            host.fit(rows[["c", "level"]], ["level"])


@pytest.mark.parametrize("name", MODELS)
def test_a_table_may_be_an_array_without_levels(name: str) -> None:
    adapter = fitted(name, table()[["a", "b", "c"]].to_numpy(), ())
    with forked(0):
        assert adapter.draw(7).shape == adapter.sample(7).shape == (7, 3)
    host = model(name, epochs=1)
    with forked(0), adapters.ctgan.attach(host, Knowledge.parse('"0": "2" > "1"'), draws=64) as push:
        host.fit(table()[["a", "b", "c"]].to_numpy())
    assert len(push.history) == 2


def test_a_narrow_type_is_no_problem() -> None:
    """The library may sample what the type cannot hold, which is no reason to refuse it."""
    rows = table().astype({"small": "uint8"})
    host = model("TVAE", epochs=1)
    with forked(0), adapters.ctgan.attach(host, Knowledge.parse("small: a > c")) as push:
        host.fit(rows, ["level"])
    assert len(push.history) == 2


def test_what_is_not_known_is_told() -> None:
    rows, host = table(), model("TVAE", epochs=1)
    with forked(0), pytest.raises(KnowledgeError, match=r"unknown feature 'lewel'\. Did you mean 'level'"):  # noqa: SIM117
        with adapters.ctgan.attach(host, Knowledge.parse("lewel: a > c")):
            host.fit(rows, ["level"])
    with pytest.raises(TypeError, match="the model must be a CTGAN or a TVAE of ctgan, got dict"):
        adapters.ctgan.attach({}, Knowledge.parse("level: a > c"))
    attached = adapters.ctgan.attach(model("TVAE"), Knowledge.parse("level: a > c"))
    with pytest.raises(RuntimeError, match="nothing was pushed"), attached:
        pass


def test_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where an attribute is missing, and at the first draw where rows are decoded otherwise."""
    sentence = r"ctgan 0\.12\.1 is not known to moreso: {}\. Install the one that it was tested with: pip install"
    host = model("CTGAN")
    del host._data_sampler
    with pytest.raises(RuntimeError, match=sentence.format("CTGAN has no '_data_sampler'")):
        adapters.ctgan.attach(host, Knowledge.parse("level: a > c"))
    adapter = fitted("TVAE")
    own = type(adapter.model.transformer).inverse_transform
    monkeypatch.setattr(type(adapter.model.transformer), "inverse_transform", lambda self, x: own(self, 0.9 * x))
    with forked(0), pytest.raises(RuntimeError, match=sentence.format("the column 'a' is decoded otherwise")):
        adapter.draw(5)
    monkeypatch.undo()
    del adapter.model.transformer._column_raw_dtypes
    with forked(0), pytest.raises(RuntimeError, match=sentence.format(".*no attribute '_column_raw_dtypes'")):
        adapter.draw(5)

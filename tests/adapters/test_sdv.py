"""SDV's synthesizers, which make their model within `fit`, against the contract of adapters."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moreso import Knowledge, adapters
from moreso.adapters import check_adapter
from moreso.guidance import forked
from tests.adapters.test_ctgan import table

pytest.importorskip("sdv", reason="sdv")
from sdv.metadata import Metadata
from sdv.single_table import CTGANSynthesizer, GaussianCopulaSynthesizer, TVAESynthesizer
from sdv.utils import load_synthesizer

MODELS = {"CTGAN": CTGANSynthesizer, "TVAE": TVAESynthesizer}


def rows() -> pd.DataFrame:
    """Return rows with a key, holes and a level."""
    frame = table().drop(columns=["small"])
    frame["c"] = frame["c"].where(np.arange(len(frame)) % 20 > 0)
    return frame.assign(key=range(len(frame)))


def synthesizer(name: str, **settings: Any) -> Any:
    kinds = {"level": "categorical", "key": "id"}
    columns = {name: {"sdtype": kinds.get(str(name), "numerical")} for name in rows()}
    metadata = Metadata.load_from_dict({"tables": {"rows": {"columns": columns, "primary_key": "key"}}})
    sizes = {"generator_dim": (32, 32), "discriminator_dim": (32, 32)} if name == "CTGAN" else {}
    return MODELS[name](metadata, **({"epochs": 40, "batch_size": 120, "enable_gpu": False} | sizes | settings))


@pytest.mark.parametrize("name", MODELS)
def test_it_keeps_the_contract(name: str, tmp_path: Path) -> None:
    def attached(adapter: Any, penalty: Any, **settings: Any) -> Any:
        return adapters.sdv.attach(adapter.synthesizer, penalty, **settings)

    def reload(adapter: Any) -> Any:
        adapter.synthesizer.save(tmp_path / "host.pkl")
        return adapters.sdv.Synthesizer(load_synthesizer(tmp_path / "host.pkl"))

    with forked(0):
        found = check_adapter(
            lambda: adapters.sdv.Synthesizer(synthesizer(name)),
            lambda adapter: adapter.synthesizer.fit({"rows": rows()}),
            attached=attached,
            reload=reload,
            weight=3.0,
        )
    assert found.gap_before < found.gap_after


@pytest.mark.parametrize("name", MODELS)
def test_statements_are_pushed_in_its_own_fit(name: str) -> None:
    """And what the synthesizer samples, with rounding and cuts, is what was drawn."""
    host = synthesizer(name, epochs=3)
    with forked(0), adapters.sdv.attach(host, Knowledge.parse("level: c > a"), draws=64) as push:
        host.fit({"rows": rows()})
        adapter = adapters.sdv.Synthesizer(host)
        drawn = adapter.draw(400).detach()
        sampled = adapter.rows(host._data_processor.transform(host.sample(400)["rows"].assign(key=0)))
    assert [pushed.step for pushed in push.history] == [0, 1, 2, 3, 4, 5]
    assert push.history[0].penalty > 0
    assert drawn.shape == sampled.shape
    assert (drawn.median(0).values - sampled.median(0).values).abs().max() < 0.4


def test_what_is_not_known_is_told() -> None:
    with pytest.raises(TypeError, match="of SDV's models these alone are trained by gradients"):
        adapters.sdv.attach(GaussianCopulaSynthesizer(synthesizer("TVAE").metadata), Knowledge.parse("level: c > a"))
    host = synthesizer("TVAE")
    del host._model_kwargs
    with pytest.raises(RuntimeError, match=r"sdv 2\.0\.0 is not known to moreso: TVAESynthesizer has no '_model_kw"):
        adapters.sdv.attach(host, Knowledge.parse("level: c > a"))

"""Autoencoders of pythae against the contract of adapters, trained by its own pipeline."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from moreso import Knowledge, adapters
from moreso.adapters import check_adapter
from moreso.guidance import forked
from tests.test_libraries import FALSE, NAMES, rows

pytest.importorskip("pythae", reason="pythae")
from pythae import models, trainers
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder
from pythae.pipelines import TrainingPipeline
from pythae.samplers import NormalSampler


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The library tells every step, by handlers of its own."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Decoder(BaseDecoder):  # type: ignore[misc]
    """A decoder whose samples depend on its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(2, 32), torch.nn.BatchNorm1d(32), torch.nn.Tanh(), torch.nn.Linear(32, 3)
        )

    def forward(self, z: torch.Tensor) -> Any:
        return ModelOutput(reconstruction=self.net(z))


# Model -> its trainer's configuration; the latter two have several optimizers.
TRAINERS = {
    "VAE": trainers.BaseTrainerConfig,
    "FactorVAE": trainers.AdversarialTrainerConfig,
    "RAE_L2": trainers.CoupledOptimizerTrainerConfig,
}


def host(name: str = "VAE", decoder: Any = None) -> Any:
    config = getattr(models, "RAE_L2_Config" if name == "RAE_L2" else f"{name}Config")(input_dim=(3,), latent_dim=2)
    return getattr(models, name)(config, decoder=decoder)


def fit(model: Any, path: Path, epochs: int = 60) -> None:
    pace = {"learning_rate": 0.01} if model.model_name == "VAE" else {}
    config = TRAINERS[model.model_name](
        output_dir=str(path), num_epochs=epochs, per_device_train_batch_size=64, no_cuda=True, **pace
    )
    # A VAE's decoder is as noisy as its reconstruction loss says: standard deviation 1.
    TrainingPipeline(model, config)(train_data=10 * rows())


@pytest.mark.parametrize("decoder", [None, Decoder])
def test_it_keeps_the_contract(decoder: Any, tmp_path: Path) -> None:
    def reload(adapter: Any) -> Any:
        adapter.model.save(str(tmp_path / "host"))
        return adapters.pythae.Autoencoder(models.AutoModel.load_from_folder(str(tmp_path / "host")))

    with forked(0):
        found = check_adapter(
            lambda: adapters.pythae.Autoencoder(host(decoder=decoder and decoder())),
            lambda adapter: fit(adapter.model, tmp_path),
            attached=lambda adapter, penalty, **settings: adapters.pythae.attach(adapter.model, penalty, **settings),
            reload=reload if decoder is None else None,
            weight=300.0,
        )
    assert found.gap_before < found.gap_after


@pytest.mark.parametrize("name", TRAINERS)
def test_only_steps_of_the_decoder_are_pushed(name: str, tmp_path: Path) -> None:
    with forked(0):
        model = host(name)
        latents = None if name != "RAE_L2" else lambda n: torch.randn(n, 2)
        with adapters.pythae.attach(model, FALSE, features=NAMES, data=10 * rows(), latents=latents) as push:
            fit(model, tmp_path, 2)
    assert [pushed.step for pushed in push.history] == [0, 1, 2, 3]
    assert push.history[0].penalty > 0


def test_a_draw_is_what_the_sampler_returns_and_leaves_the_modes() -> None:
    with forked(0):
        model = host(decoder=Decoder())
        model.train()
        model.encoder.eval()
        adapter = adapters.pythae.Autoencoder(model)
        found = []
        for sample in (adapter.draw, adapter.sample, lambda n: NormalSampler(model).sample(n)):
            with forked(1):
                found.append(sample(9).detach())
            if len(found) < 3:
                assert not model.encoder.training and model.decoder.net[1].training
        assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


def test_problems_are_told() -> None:
    with pytest.raises(TypeError, match="the model must be an autoencoder of pythae, got Identity"):
        adapters.pythae.Autoencoder(torch.nn.Identity())
    with forked(0):
        model = host("RAE_L2")
    with pytest.raises(ValueError, match=r"the prior of RAE_L2 is not standard normal\. Pass latents=lambda n:"):
        adapters.pythae.attach(model, Knowledge.parse("a: c > b"), features=NAMES)

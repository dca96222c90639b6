"""Pythae: variational autoencoders, trained by its `TrainingPipeline`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Unpack

import torch
from jaxtyping import Float
from pythae.models import SVAE, VAE, VAMP, BaseAE, PoincareVAE
from pythae.samplers import NormalSampler
from torch import Tensor

from moreso.adapters.attaching import attach as attach_draws
from moreso.adapters.push import Push, Settings
from moreso.relations import Knowledge
from moreso.relative import Features
from moreso.training import Penalty


class Autoencoder:
    """An adapter of an autoencoder: decoded latents of the prior, in evaluation mode and without noise.

    So samples the library's `NormalSampler`. Parameters are the decoder's, since nothing else moves samples: optimizers
    of encoders and discriminators take their steps alone.

    Args:
        model: an autoencoder of pythae.
        latents: from n to n latents; by default standard normal ones.

    Raises:
        TypeError: not an autoencoder of pythae.
        ValueError: one whose prior is not standard normal, and no `latents` are given.
    """

    def __init__(self, model: Any, latents: Callable[[int], Tensor] | None = None) -> None:
        if not isinstance(model, BaseAE):
            raise TypeError(f"the model must be an autoencoder of pythae, got {type(model).__name__}. Pass a VAE.")
        if latents is None and (not isinstance(model, VAE) or isinstance(model, VAMP | SVAE | PoincareVAE)):
            raise ValueError(
                f"the prior of {type(model).__name__} is not standard normal. Pass latents=lambda n: ..., drawn as its "
                "sampler draws them."
            )
        self.model, self.latents = model, latents

    def parameters(self) -> Iterable[Tensor]:
        """Return the decoder's parameters."""
        return self.model.decoder.parameters()

    def draw(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n decoded latents with gradients."""
        device = next(iter(self.parameters())).device
        z = torch.randn(n, self.model.latent_dim, device=device) if self.latents is None else self.latents(n)
        with _evaluating(self.model):
            return self.model.decoder(z)["reconstruction"]

    def sample(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n samples of the library's `NormalSampler`, or of the decoder where `latents` were given."""
        if self.latents is not None:
            with torch.no_grad():
                return self.draw(n)
        with _evaluating(self.model):
            return NormalSampler(self.model).sample(n)


def attach(
    model: Any,
    knowledge: Knowledge | Penalty,
    *,
    latents: Callable[[int], Tensor] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Settings],
) -> AbstractContextManager[Push]:
    """Push an autoencoder while a pipeline trains it in the `with` block; see `Autoencoder` and `adapters.attach`."""
    adapter = Autoencoder(model, latents)
    return attach_draws(adapter, adapter.draw, knowledge, features=features, data=data, **settings)


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put modules in evaluation mode, each back to its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

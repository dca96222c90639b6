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
from moreso.adapters.common import Options
from moreso.dependence import Features
from moreso.guidance import Penalty, Push
from moreso.relations import Knowledge


class Autoencoder:
    """An adapter of an autoencoder: decoded latents from the prior, in evaluation mode and without noise.

    The library's `NormalSampler` samples the same way. The parameters are those of the decoder, since samples depend on
    nothing else; the steps of encoders and discriminators are not changed.

    Args:
        model: an autoencoder of pythae.
        latents: maps n to n latents; by default they are standard normal.

    Raises:
        TypeError: the model is not an autoencoder of pythae.
        ValueError: the prior is not standard normal and no `latents` are given.
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
        """Return n samples from the library's `NormalSampler`, or from the decoder if `latents` were given."""
        if self.latents is not None:
            with torch.no_grad():
                return self.draw(n)
        with _evaluating(self.model):
            return NormalSampler(self.model).sample(n)


def attach(
    model: Any,
    knowledge: Knowledge | str | Penalty,
    *,
    latents: Callable[[int], Tensor] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Options],
) -> AbstractContextManager[Push]:
    """Push an autoencoder while a pipeline trains it in the `with` block; see `Autoencoder` and `adapters.attach`."""
    adapter = Autoencoder(model, latents)
    return attach_draws(adapter, adapter.draw, knowledge, features=features, data=data, **settings)


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put modules in evaluation mode, and restore the mode of each afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.train(training)

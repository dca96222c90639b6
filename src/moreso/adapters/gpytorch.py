"""GPyTorch: Gaussian process latent variable models (`gpytorch.models.gplvm.BayesianGPLVM`)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, Unpack

import torch
from gpytorch.models.gplvm import BayesianGPLVM
from jaxtyping import Float
from torch import Tensor, nn

from moreso.adapters.attaching import attach as attach_draws
from moreso.adapters.push import Push, Settings
from moreso.relations import Knowledge
from moreso.relative import Features
from moreso.training import Penalty


class GPLVM:
    """An adapter of a GP-LVM: new latents, the process there, and the noise of the likelihood.

    Rows are independent, each of a function of its own: of the density that the model predicts for a new row, which is
    `likelihood(model(latent)).sample()` latent by latent.

    Args:
        model: trained with `gpytorch.mlls.VariationalELBO`, one batch of the process for each column.
        likelihood: of the columns.
        latents: from n to n latents; by default of the prior that the model was given.

    Raises:
        TypeError: not a GP-LVM.
        ValueError: the latents have no prior and no `latents` are given.
    """

    def __init__(self, model: Any, likelihood: nn.Module, latents: Callable[[int], Tensor] | None = None) -> None:
        if not isinstance(model, BayesianGPLVM):
            raise TypeError(f"the model must be a BayesianGPLVM, got {type(model).__name__}. For others use attach().")
        if latents is None and getattr(model.X, "prior_x", None) is None:
            raise ValueError(
                "the latents have no prior to draw from. Pass latents=lambda n: ..., as the rows of model.X.X."
            )
        self.model, self.likelihood = model, likelihood
        self.latents = latents or self._prior

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters of model and likelihood, once each."""
        return dict.fromkeys(chain(self.model.parameters(), self.likelihood.parameters()))

    def _prior(self, n: int) -> Float[Tensor, "n k"]:
        """Return n latents of the prior, which the model holds for as many rows as it was trained on."""
        times = -(-n // self.model.X.n)
        rows = torch.cat([self.model.X.prior_x.sample().reshape(-1, self.model.X.latent_dim) for _ in range(times)])
        return rows[torch.randperm(len(rows), device=rows.device)[:n]]

    def draw(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows with gradients."""
        predicted = self.likelihood(self.model(self.latents(n)))
        return (predicted.mean + predicted.stddev * torch.randn_like(predicted.mean)).T

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows in evaluation mode, by GPyTorch's `sample`."""
        modes = [(module, module.training) for module in (self.model, self.likelihood)]
        self.model.eval()
        self.likelihood.eval()
        with torch.no_grad():
            # One latent a batch: samples within a batch would share a function.
            x = self.likelihood(self.model(self.latents(n)[:, None, None])).sample().flatten(1)
        for module, training in modes:
            module.train(training)
        return x


def attach(
    model: Any,
    likelihood: nn.Module,
    knowledge: Knowledge | Penalty,
    *,
    latents: Callable[[int], Tensor] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Settings],
) -> AbstractContextManager[Push]:
    """Push a GP-LVM towards knowledge while a loop trains it inside the `with` block.

    With a fixed weight it takes the steps of an added loss term, without that term's conventions: GPyTorch adds one to
    each column's objective and takes their sum, and the ELBO subtracts what the exact likelihood adds. See `GPLVM` and
    `adapters.attach` for the arguments.
    """
    adapter = GPLVM(model, likelihood, latents)
    return attach_draws(adapter, adapter.draw, knowledge, features=features, data=data, **settings)

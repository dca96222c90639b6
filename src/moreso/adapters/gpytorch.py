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
from moreso.adapters.common import Options
from moreso.dependence import Features
from moreso.guidance import Penalty, Push
from moreso.relations import Knowledge


class GPLVM:
    """An adapter of a GP-LVM: new latents, the process at these latents, and the noise of the likelihood.

    Rows are independent, and each has its own function. They follow the density that the model predicts for a new row:
    `likelihood(model(latent)).sample()`, one latent at a time.

    Args:
        model: a model trained with `gpytorch.mlls.VariationalELBO`, with one batch of the process per column.
        likelihood: the likelihood of the columns.
        latents: maps n to n latents; by default they are drawn from the model's prior.

    Raises:
        TypeError: the model is not a GP-LVM.
        ValueError: the latents have no prior and no `latents` are given.

    >>> import gpytorch
    >>> from gpytorch.models.gplvm import VariationalLatentVariable
    >>> class Model(BayesianGPLVM):
    ...     def __init__(self, n, d, k):
    ...         one = torch.Size([d])
    ...         prior = gpytorch.priors.NormalPrior(torch.zeros(n, k), torch.ones(n, k))
    ...         latents = VariationalLatentVariable(n, d, k, torch.nn.Parameter(torch.randn(n, k)), prior)
    ...         weights = gpytorch.variational.CholeskyVariationalDistribution(4, batch_shape=one)
    ...         super().__init__(latents, gpytorch.variational.VariationalStrategy(self, torch.randn(d, 4, k), weights))
    ...         self.mean = gpytorch.means.ZeroMean(batch_shape=one)
    ...         self.kernel = gpytorch.kernels.RBFKernel(batch_shape=one)
    ...
    ...     def forward(self, z):
    ...         return gpytorch.distributions.MultivariateNormal(self.mean(z), self.kernel(z))
    >>> model, likelihood = Model(40, 3, 2), gpytorch.likelihoods.GaussianLikelihood(batch_shape=torch.Size([3]))
    >>> adapter = GPLVM(model, likelihood)
    >>> adapter.draw(5).requires_grad, adapter.sample(5).shape, len(list(adapter.parameters())) > 0
    (True, torch.Size([5, 3]), True)
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
        """Return n latents from the prior, which the model stores for as many rows as it was trained on."""
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
            # One latent per batch, since samples within a batch would share a function.
            x = self.likelihood(self.model(self.latents(n)[:, None, None])).sample().flatten(1)
        for module, training in modes:
            module.train(training)
        return x


def attach(
    model: Any,
    likelihood: nn.Module,
    knowledge: Knowledge | str | Penalty,
    *,
    latents: Callable[[int], Tensor] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Options],
) -> AbstractContextManager[Push]:
    """Push a GP-LVM towards knowledge while a loop trains it inside the `with` block.

    With a fixed weight, the steps are those of an added loss term, but GPyTorch's conventions for such terms do not
    matter: it adds the term to the objective of each column and sums these, and the ELBO subtracts what the exact
    likelihood adds. See `GPLVM` and `adapters.attach` for the arguments.

    >>> import gpytorch
    >>> from gpytorch.models.gplvm import VariationalLatentVariable
    >>> class Model(BayesianGPLVM):
    ...     def __init__(self, n, d, k):
    ...         one = torch.Size([d])
    ...         prior = gpytorch.priors.NormalPrior(torch.zeros(n, k), torch.ones(n, k))
    ...         latents = VariationalLatentVariable(n, d, k, torch.nn.Parameter(torch.randn(n, k)), prior)
    ...         weights = gpytorch.variational.CholeskyVariationalDistribution(4, batch_shape=one)
    ...         super().__init__(latents, gpytorch.variational.VariationalStrategy(self, torch.randn(d, 4, k), weights))
    ...         self.mean = gpytorch.means.ZeroMean(batch_shape=one)
    ...         self.kernel = gpytorch.kernels.RBFKernel(batch_shape=one)
    ...
    ...     def forward(self, z):
    ...         return gpytorch.distributions.MultivariateNormal(self.mean(z), self.kernel(z))
    >>> model, likelihood = Model(40, 3, 2), gpytorch.likelihoods.GaussianLikelihood(batch_shape=torch.Size([3]))
    >>> rows, objective = torch.randn(40, 3), gpytorch.mlls.VariationalELBO(likelihood, model, num_data=40)
    >>> optimizer = torch.optim.Adam([*model.parameters(), *likelihood.parameters()])
    >>> features = ["ambient", "inlet", "outlet"]
    >>> with attach(model, likelihood, "outlet: inlet > ambient", features=features, data=rows) as push:
    ...     for _ in range(2):
    ...         optimizer.zero_grad()
    ...         (-objective(model(model.sample_latent_variable()), rows.T).sum()).backward()
    ...         optimizer.step()
    >>> [pushed.step for pushed in push.history]
    [0, 1]
    """
    adapter = GPLVM(model, likelihood, latents)
    return attach_draws(adapter, adapter.draw, knowledge, features=features, data=data, **settings)

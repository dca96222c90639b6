"""The base of models with a latent Gaussian: x | z with independent columns, z ~ N(0, I), and an encoder."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.models.densities import Gaussian, Known, Student, observed
from moreso.models.draws import normal
from moreso.models.layers import Dropout

WIDE = 3.0
"""Factor on the scales of q(z | x), for one of the proposals for the likelihood."""

PROPOSALS = 3
"""The number of these proposals."""


def activation(dropout: float) -> nn.Sequential:
    """Return the activation between two layers: SiLU, with dropout of a share of its outputs in training mode."""
    return nn.Sequential(nn.SiLU(), Dropout(dropout))


class LatentModel(nn.Module, ABC):
    """Base of models with z ~ N(0, I), x | z ~ `likelihood(z)` and an encoder for q(z | x).

    Args:
        n_features: d, the number of columns.
        n_latent: k, the dimension of z.
        hidden: width of the encoder's one hidden layer.
        dropout: dropout rate of that layer in training mode.
        missing: whether rows have missing values (NaN). The loss then is that of what is known, and the encoder is told
            what is missing.

    References:
        Likelihood: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, eq. 8.
        Missing values: Mattei & Frellsen, "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets",
        ICML 2019, eq. 2-8.
    """

    def __init__(
        self, n_features: int, *, n_latent: int, hidden: int, dropout: float = 0.0, missing: bool = False
    ) -> None:
        super().__init__()
        self.n_latent, self.missing = n_latent, missing
        self.encoder = nn.Sequential(
            nn.Linear(n_features * (1 + missing), hidden), activation(dropout), nn.Linear(hidden, 2 * n_latent)
        )

    def read(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Known]:
        """Return rows as the loss sees them: without NaN, and with what is known if values may be missing."""
        return observed(x) if self.missing else (x, None)

    def posterior(self, x: Float[Tensor, "n d"], known: Known = None) -> Gaussian:
        """Return q(z | x), from rows without NaN and what is known of them."""
        if self.missing:
            x = torch.cat([x, torch.ones_like(x) if known is None else known], dim=-1)
        mean, log_scale = self.encoder(x).chunk(2, dim=-1)
        return Gaussian(mean, log_scale.clamp(-7, 7).exp())

    @abstractmethod
    def likelihood(self, z: Float[Tensor, "*n k"]) -> Gaussian | Student:
        """Return p(x | z)."""

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples from the prior, decoded and with noise."""
        weight = next(self.encoder.parameters())
        z = normal(n, self.n_latent, like=weight)
        return self.likelihood(z).rsample()

    def log_prob(self, x: Float[Tensor, "n d"], *, draws: int = 256, chunk: int = 32) -> Float[Tensor, " n"]:
        """Return the log-density of what is known of each row, estimated by importance weighting.

        log (1/K) sum_k p(x, z_k) / r(z_k | x), z_k ~ r(z | x), is on average a lower bound, which converges to the
        truth as K grows. r is a mixture in equal parts of q(z | x), of q(z | x) with `WIDE` times its scales, and of
        the prior. q alone may miss the latents of rows unlike the training rows, and a few such rows would then
        dominate a mean. Memory O(chunk n hidden).

        Args:
            x: rows; NaN for a missing value.
            draws: the number of draws from each of the three; K = 3 draws.
            chunk: the number of draws at once.

        References:
            Hesterberg, "Weighted Average Importance Sampling and Defensive Mixture Distributions", Technometrics 1995.
        """
        filled, known = self._known(x)
        weights = [weight for _, weight in self._weighted(filled, known, draws, chunk)]
        return torch.logsumexp(torch.cat(weights), dim=0) - math.log(PROPOSALS * draws)

    def impute(self, x: Float[Tensor, "n d"], *, draws: int = 256, chunk: int = 32) -> Float[Tensor, "n d"]:
        """Return rows in whose missing values (NaN) are draws given the rest of the row, by importance resampling.

        Args:
            x: rows.
            draws: as for `log_prob`, whose latents are resampled by their weights.
            chunk: the number of draws at once.
        """
        filled, known = self._known(x)
        latents, weights = zip(*self._weighted(filled, known, draws, chunk), strict=True)
        weight = torch.cat(weights)
        chosen = torch.multinomial(weight.softmax(0).T, 1)[:, 0]
        z = torch.cat(latents)[chosen, torch.arange(len(x), device=x.device)]
        return torch.where(x.isnan(), self.likelihood(z).rsample(), x)

    def _known(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Known]:
        filled, known = observed(x)
        return filled, known if self.missing or not bool(known.all()) else None

    def _weighted(
        self, x: Float[Tensor, "n d"], known: Known, draws: int, chunk: int
    ) -> Iterator[tuple[Float[Tensor, "c n k"], Float[Tensor, "c n"]]]:
        """Yield latents drawn from three proposals, and the logarithms of their weights; see `log_prob`."""
        posterior = self.posterior(x, known)
        mean = posterior.mean
        prior = Gaussian(torch.zeros_like(mean), torch.ones_like(mean))
        parts = [posterior, Gaussian(mean, WIDE * posterior.scale), prior]  # the prior is the last
        assert len(parts) == PROPOSALS
        for count in [chunk] * (draws // chunk) + [draws % chunk] * (draws % chunk > 0):
            z = torch.cat([Gaussian(part.mean.expand(count, -1, -1), part.scale).rsample() for part in parts])
            densities = torch.stack([part.log_prob(z) for part in parts])
            proposal = densities.logsumexp(0) - math.log(len(parts))
            yield z, densities[-1] + self.likelihood(z).log_prob(x, known) - proposal

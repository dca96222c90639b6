"""What models with a latent Gaussian share: x | z ~ a diagonal Gaussian, z ~ N(0, I), and an encoder."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence


def gaussian(mean: Tensor, scale: Tensor) -> Independent:
    """Return a Gaussian over the last dimension, with independent coordinates."""
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


class LatentModel(nn.Module, ABC):
    """Base of models with z ~ N(0, I), x | z ~ `likelihood(z)` and an encoder for q(z | x).

    Args:
        n_features: d, the number of columns.
        n_latent: k, the dimension of z.
        hidden: width of the encoder's one hidden layer.

    References:
        Likelihood: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, eq. 8.
    """

    def __init__(self, n_features: int, *, n_latent: int, hidden: int) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.encoder = nn.Sequential(nn.Linear(n_features, hidden), nn.SiLU(), nn.Linear(hidden, 2 * n_latent))

    def posterior(self, x: Float[Tensor, "n d"]) -> Independent:
        """Return q(z | x)."""
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        return gaussian(mean, log_scale.clamp(-7, 7).exp())

    def prior(self) -> Independent:
        """Return p(z)."""
        weight = next(self.encoder.parameters())
        zeros = torch.zeros(self.n_latent, device=weight.device, dtype=weight.dtype)
        return gaussian(zeros, torch.ones_like(zeros))

    def divergence(self, posterior: Independent) -> Float[Tensor, " n"]:
        """Return KL(q(z | x) || p(z)) of each row."""
        return kl_divergence(posterior, self.prior())

    @abstractmethod
    def likelihood(self, z: Float[Tensor, "*n k"]) -> Independent:
        """Return p(x | z)."""

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples from the prior, decoded and with noise."""
        sample: Tensor = self.likelihood(self.prior().rsample(torch.Size([n]))).rsample()
        return sample

    def log_prob(self, x: Float[Tensor, "n d"], *, draws: int = 512, chunk: int = 64) -> Float[Tensor, " n"]:
        """Return the log-density of each row, estimated by importance weighting.

        log (1/draws) sum_k p(x, z_k) / q(z_k | x), z_k ~ q(z | x): on average a lower bound that rises to the truth
        with `draws`. Memory O(chunk * n * hidden).
        """
        posterior = self.posterior(x)
        weights = []
        for count in [chunk] * (draws // chunk) + [draws % chunk] * (draws % chunk > 0):
            z = posterior.rsample(torch.Size([count]))
            joint = self.prior().log_prob(z) + self.likelihood(z).log_prob(x)
            weights.append(joint - posterior.log_prob(z))
        return torch.logsumexp(torch.cat(weights), dim=0) - math.log(draws)

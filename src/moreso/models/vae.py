"""The variational autoencoder."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent, Normal


class VAE(nn.Module):
    """Variational autoencoder with Gaussian noise: z ~ N(0, I), x | z ~ N(decoder(z), diag(s^2)).

    The loss is the negative evidence lower bound, -E_q[log p(x | z)] + KL(q(z | x) || N(0, I)), with one sample of
    q(z | x) = N(encoder(x)) a row. Samples add the noise, so they follow the density whose likelihood is reported.

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: dimension of z.
        hidden: width of the one hidden layer of encoder and decoder.
        min_scale: floor of the noise's standard deviation s.

    References:
        Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014. Likelihood: Burda, Grosse & Salakhutdinov,
        "Importance Weighted Autoencoders", ICLR 2016, eq. 8.

    >>> model = VAE(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(self, n_features: int, *, n_latent: int = 6, hidden: int = 64, min_scale: float = 0.05) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.min_scale = min_scale
        self.encoder = nn.Sequential(nn.Linear(n_features, hidden), nn.SiLU(), nn.Linear(hidden, 2 * n_latent))
        self.decoder = nn.Sequential(nn.Linear(n_latent, hidden), nn.SiLU(), nn.Linear(hidden, n_features))
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))

    def posterior(self, x: Float[Tensor, "n d"]) -> Independent:
        """Return q(z | x)."""
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        return Independent(Normal(mean, log_scale.clamp(-7, 7).exp(), validate_args=False), 1, validate_args=False)

    def likelihood(self, z: Float[Tensor, "*n k"]) -> Independent:
        """Return p(x | z)."""
        scale = (self.log_scale.exp().square() + self.min_scale**2).sqrt()
        return Independent(Normal(self.decoder(z), scale, validate_args=False), 1, validate_args=False)

    def prior(self) -> Independent:
        """Return p(z)."""
        zeros = torch.zeros(self.n_latent, device=self.log_scale.device, dtype=self.log_scale.dtype)
        return Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative evidence lower bound."""
        posterior = self.posterior(x)
        z = posterior.rsample()
        divergence = torch.distributions.kl_divergence(posterior, self.prior())
        return (divergence - self.likelihood(z).log_prob(x)).mean()

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

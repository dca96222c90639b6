"""The variational autoencoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent

from moreso.models.latent import LatentModel, gaussian


class VAE(LatentModel):
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
        super().__init__(n_features, n_latent=n_latent, hidden=hidden)
        self.min_scale = min_scale
        self.decoder = nn.Sequential(nn.Linear(n_latent, hidden), nn.SiLU(), nn.Linear(hidden, n_features))
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))

    def likelihood(self, z: Float[Tensor, "*n k"]) -> Independent:
        """Return p(x | z)."""
        return gaussian(self.decoder(z), (self.log_scale.exp().square() + self.min_scale**2).sqrt())

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative evidence lower bound."""
        posterior = self.posterior(x)
        z = posterior.rsample()
        return (self.divergence(posterior) - self.likelihood(z).log_prob(x)).mean()

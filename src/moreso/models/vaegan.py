"""The variational autoencoder with a critic."""

import torch
from jaxtyping import Float
from torch import Tensor

from moreso.models.critic import Critic, frozen
from moreso.models.vae import VAE


class VAEGAN(VAE):
    """Variational autoencoder whose reconstructions and samples are also judged by a critic.

    The loss is that of `VAE`, plus `weight` times |f(x) - f(decoder(z))|^2 / 2, the squared error in the critic's
    features f (a mean over them), plus `weight` times the generator's loss, plus the critic's loss for the critic's
    parameters alone (see `Critic`). The paper replaces the Gaussian noise of rows by that of features; here the noise
    of rows stays as well, so that rows have a density.

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: dimension of z.
        hidden: width of all hidden layers.
        min_scale: lower bound of the noise's scale s.
        weight: weight of the critic's part in the loss of encoder and decoder.
        gamma: weight of the critic's gradient penalties.
        missing: whether rows have missing values (NaN), see `LatentModel`. The critic sees reconstructions in
            their place.

    References:
        Larsen, Sonderby, Larochelle & Winther, "Autoencoding beyond pixels using a learned similarity metric",
        ICML 2016, eq. 7-9.

    >>> model = VAEGAN(3)
    >>> model.sample(5).shape, model.log_prob(model.sample(2)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(
        self,
        n_features: int,
        *,
        n_latent: int = 6,
        hidden: int = 64,
        min_scale: float = 0.05,
        weight: float = 0.5,
        gamma: float = 0.1,
        missing: bool = False,
    ) -> None:
        super().__init__(n_features, n_latent=n_latent, hidden=hidden, min_scale=min_scale, missing=missing)
        self.weight = weight
        self.critic = Critic(n_features, hidden=hidden, gamma=gamma)

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the losses of encoder, decoder and critic, each with gradient to its own parameters only."""
        samples = self.sample(len(x))
        rows, known = self.read(x)
        decoded = self.decoder(self.posterior(rows, known).rsample())
        if known is not None:
            rows = torch.where(known > 0, rows, decoded.detach())
        error = frozen(self.critic.features, decoded) - frozen(self.critic.features, rows)
        judged = error.square().mean() / 2 + self.critic.judge(rows, samples)
        return super().loss(x) + self.weight * judged + self.critic.loss(rows, samples)

    def validation_loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative evidence lower bound, which does not depend on the critic."""
        return super().loss(x)

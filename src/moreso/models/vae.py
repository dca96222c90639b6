"""The variational autoencoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.models.densities import Student
from moreso.models.latent import LatentModel, activation


class VAE(LatentModel):
    """Variational autoencoder with Student's t noise: z ~ N(0, I), x_j | z ~ decoder(z)_j + s_j t(df_j).

    Few rows do not show how far the tails of a column reach, and under Gaussian noise a later row farther out would
    have almost no density (docs/decisions/0011). Degrees of freedom start at 5 and are learned: few rows leave them
    there, and many rows of a Gaussian column make its noise Gaussian. The loss is the negative evidence lower bound,
    -E_q[log p(x | z)] + KL(q(z | x) || N(0, I)), with one sample of q(z | x) = N(encoder(x)) per row. Samples include
    the noise, so they follow the density whose likelihood is reported.

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: dimension of z.
        hidden: width of the hidden layer of the encoder and of the decoder.
        min_scale: lower bound of the noise's scale s.
        dropout: dropout rate of the hidden layers in training mode, including the samples drawn there.
        missing: whether rows have missing values (NaN), see `LatentModel`.

    References:
        Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014. Noise: Takahashi, Iwata, Yamanaka, Yamada &
        Yagi, "Student-t Variational Autoencoder for Robust Density Estimation", IJCAI 2018.

    >>> model = VAE(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(
        self,
        n_features: int,
        *,
        n_latent: int = 6,
        hidden: int = 64,
        min_scale: float = 0.05,
        dropout: float = 0.0,
        missing: bool = False,
    ) -> None:
        super().__init__(n_features, n_latent=n_latent, hidden=hidden, dropout=dropout, missing=missing)
        self.min_scale = min_scale
        self.decoder = nn.Sequential(nn.Linear(n_latent, hidden), activation(dropout), nn.Linear(hidden, n_features))
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))
        self.log_df = nn.Parameter(torch.full((n_features,), 3.0).log())

    def likelihood(self, z: Float[Tensor, "*n k"]) -> Student:
        """Return p(x | z)."""
        scale = (self.log_scale.exp().square() + self.min_scale**2).sqrt()
        df = 2 + self.log_df.clamp(max=10).exp()
        # In the precision of the parameters, since half precision is too coarse for the noise.
        return Student(self.decoder(z).to(scale.dtype), scale, df)

    def noise_parameters(self) -> list[nn.Parameter]:
        """Return the scales and the degrees of freedom."""
        return [self.log_scale, self.log_df]

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative evidence lower bound of what is known."""
        x, known = self.read(x)
        posterior = self.posterior(x, known)
        z = posterior.rsample()
        return (posterior.divergence() - self.likelihood(z).log_prob(x, known)).mean()

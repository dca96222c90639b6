"""The Gaussian-process latent-variable model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal

from moreso.models.latent import LatentModel, gaussian


class GPLVM(LatentModel):
    """Gaussian-process latent-variable model with back constraints: x_j = f_j(z) + noise_j, f_j ~ GP(0, k_j).

    z ~ N(0, I), k_j(z, z') = a_j^2 exp(-|(z - z') / lengths|^2 / 2), noise_j ~ N(0, s_j^2). The loss per row is the
    negative log marginal likelihood of the columns of the batch, -sum_j log N(x_j | 0, K_j + s_j^2 I), given latents
    drawn from q(z | x) = N(encoder(x)), plus KL(q(z | x) || N(0, I)). Samples and densities condition on up to
    `capacity` rows that the loss saw in training mode, at the means of q. These rows are part of the state, so the file
    of such a model contains them. A batch of n rows costs O(d n^3). Before it has seen any row, the model is its prior.

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: dimension of z.
        hidden: width of the encoder's hidden layer.
        min_scale: lower bound of the noise's standard deviation.
        capacity: the number of rows to remember; the first ones are kept.

    References:
        Lawrence, "Probabilistic Non-linear Principal Component Analysis with Gaussian Process Latent Variable Models",
        JMLR 2005. Lawrence & Quinonero-Candela, "Local Distance Preservation in the GP-LVM through Back Constraints",
        ICML 2006, section 2. Conditioning: Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006,
        algorithm 2.1.

    >>> model = GPLVM(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    rows: Tensor
    count: Tensor

    def __init__(
        self, n_features: int, *, n_latent: int = 6, hidden: int = 64, min_scale: float = 0.05, capacity: int = 256
    ) -> None:
        super().__init__(n_features, n_latent=n_latent, hidden=hidden)
        self.min_scale = min_scale
        self.log_lengths = nn.Parameter(torch.full((n_latent,), 1.0))
        self.log_amplitude = nn.Parameter(torch.zeros(n_features))
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))
        self.register_buffer("rows", torch.zeros(capacity, n_features))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def kernel(self, z: Float[Tensor, "n k"], other: Float[Tensor, "m k"]) -> Float[Tensor, "d n m"]:
        """Return the covariances of f(z) and f(other), column by column."""
        z, other = z / self.log_lengths.exp(), other / self.log_lengths.exp()
        squares = z.square().sum(1)[:, None] + other.square().sum(1) - 2 * z @ other.T
        return (2 * self.log_amplitude[:, None, None] - squares.clamp(min=0) / 2).exp()

    def noise(self) -> Float[Tensor, " d"]:
        """Return the variances s^2."""
        return self.log_scale.exp().square() + self.min_scale**2

    def root(self, z: Float[Tensor, "n k"]) -> Float[Tensor, "d n n"]:
        """Return the Cholesky factors of the covariances of rows with latents z; the noise keeps them regular."""
        eye = torch.eye(len(z), device=z.device, dtype=z.dtype)
        return torch.linalg.cholesky(self.kernel(z, z) + self.noise()[:, None, None] * eye)

    def remember(self, x: Float[Tensor, "n d"]) -> None:
        """Add the rows that are not remembered yet, up to `capacity`."""
        known = self.rows[: self.count]
        new = x[~(x[:, None] == known).all(2).any(1)][: len(self.rows) - len(known)]
        self.rows[len(known) : len(known) + len(new)] = new.detach()
        self.count += len(new)

    def likelihood(self, z: Float[Tensor, "*n k"]) -> Independent:
        """Return p(x | z, remembered rows)."""
        rows, flat = self.rows[: self.count], z.reshape(-1, self.n_latent)
        latents = self.posterior(rows).mean
        root = self.root(latents)
        solved = torch.linalg.solve_triangular(root, self.kernel(latents, flat), upper=False)
        target = torch.linalg.solve_triangular(root, rows.T[:, :, None], upper=False)
        mean = (solved * target).sum(1).T
        variance = (2 * self.log_amplitude).exp() - solved.square().sum(1).T
        scale = (variance.clamp(min=0) + self.noise()).sqrt()
        return gaussian(mean.reshape(*z.shape[:-1], -1), scale.reshape(*z.shape[:-1], -1))

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return, per row, the negative log marginal likelihood given latents from q, plus the divergence of q."""
        if self.training:
            self.remember(x)
        posterior = self.posterior(x)
        root = self.root(posterior.rsample())
        marginal = MultivariateNormal(torch.zeros_like(x.T), scale_tril=root, validate_args=False)
        return self.divergence(posterior).mean() - marginal.log_prob(x.T).sum() / len(x)

    def validation_loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative evidence lower bound given the remembered rows; the loss uses only the batch."""
        posterior = self.posterior(x)
        return (self.divergence(posterior) - self.likelihood(posterior.rsample()).log_prob(x)).mean()

"""The Gaussian-process latent-variable model."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.models.densities import Gaussian, Known
from moreso.models.latent import LatentModel


class GPLVM(LatentModel):
    """Gaussian-process latent-variable model with back constraints: x_j = f_j(z) + noise_j, f_j ~ GP(0, k_j).

    z ~ N(0, I), k_j(z, z') = a_j^2 exp(-|(z - z') / lengths|^2 / 2), noise_j ~ N(0, s_j^2). The loss per row is the
    negative log marginal likelihood of the columns of the batch, -sum_j log N(x_j | 0, K_j + s_j^2 I), given latents
    drawn from q(z | x) = N(encoder(x)), plus KL(q(z | x) || N(0, I)). Samples and densities condition on the rows that
    `remember` was given, up to `capacity`, at the means of q; in training mode, the loss of a model without rows
    remembers its batch. They are part of the state, so the file of such a model contains training rows. A batch of n
    rows costs O(d n^3). Before it has seen any row, the model is its prior.

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: dimension of z.
        hidden: width of the encoder's hidden layer.
        min_scale: lower bound of the noise's standard deviation.
        capacity: the number of rows to remember; the first ones are kept.
        missing: whether rows have missing values (NaN), see `LatentModel`. Each column then conditions on the rows that
            have it.

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

    def __init__(
        self,
        n_features: int,
        *,
        n_latent: int = 6,
        hidden: int = 64,
        min_scale: float = 0.05,
        capacity: int = 256,
        missing: bool = False,
    ) -> None:
        super().__init__(n_features, n_latent=n_latent, hidden=hidden, missing=missing)
        self.min_scale = min_scale
        self.log_lengths = nn.Parameter(torch.full((n_latent,), 1.0))
        self.log_amplitude = nn.Parameter(torch.zeros(n_features))
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))
        self.capacity = capacity
        self.register_buffer("rows", torch.zeros(0, n_features))

    def kernel(self, z: Float[Tensor, "n k"], other: Float[Tensor, "m k"]) -> Float[Tensor, "d n m"]:
        """Return the covariances of f(z) and f(other), column by column."""
        z, other = z / self.log_lengths.exp(), other / self.log_lengths.exp()
        squares = z.square().sum(1)[:, None] + other.square().sum(1) - 2 * z @ other.T
        return (2 * self.log_amplitude[:, None, None] - squares.clamp(min=0) / 2).exp()

    def noise(self) -> Float[Tensor, " d"]:
        """Return the variances s^2."""
        return self.log_scale.exp().square() + self.min_scale**2

    def root(self, z: Float[Tensor, "n k"], known: Known = None) -> Float[Tensor, "d n n"]:
        """Return the Cholesky factors of the covariances of rows with latents z; the noise keeps them regular.

        A row whose value of a column is missing becomes independent there, with variance 1, and so adds nothing.
        """
        eye = torch.eye(len(z), device=z.device, dtype=z.dtype)
        covariance = self.kernel(z, z) + self.noise()[:, None, None] * eye
        if known is not None:
            both = known.T[:, :, None] * known.T[:, None, :]
            covariance = covariance * both + (1 - known.T)[:, :, None] * eye
        return torch.linalg.cholesky(covariance)

    def remember(self, x: Float[Tensor, "n d"]) -> None:
        """Condition on the first rows, up to `capacity`, in place of those remembered before."""
        self.rows = x[: self.capacity].detach().to(self.rows).clone()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        if (rows := state_dict.get(prefix + "rows")) is not None:
            self.rows = self.rows.new_zeros(rows.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def likelihood(self, z: Float[Tensor, "*n k"]) -> Gaussian:
        """Return p(x | z, remembered rows)."""
        rows, flat = self.rows, z.reshape(-1, self.n_latent)
        rows, known = self.read(rows)
        latents = self.posterior(rows, known).mean
        root, cross = self.root(latents, known), self.kernel(latents, flat)
        if known is not None:
            cross = cross * known.T[:, :, None]
        solved = torch.linalg.solve_triangular(root, cross, upper=False)
        target = torch.linalg.solve_triangular(root, rows.T[:, :, None], upper=False)
        mean = (solved * target).sum(1).T
        variance = (2 * self.log_amplitude).exp() - solved.square().sum(1).T
        scale = (variance.clamp(min=0) + self.noise()).sqrt()
        return Gaussian(mean.reshape(*z.shape[:-1], -1), scale.reshape(*z.shape[:-1], -1))

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return, per row, the negative log marginal likelihood given latents from q, plus the divergence of q."""
        if self.training and len(self.rows) == 0:
            self.remember(x)
        x, known = self.read(x)
        posterior = self.posterior(x, known)
        root = self.root(posterior.rsample(), known)
        white = torch.linalg.solve_triangular(root, x.T[:, :, None], upper=False)
        determinant = root.diagonal(dim1=-2, dim2=-1).log().sum()
        count = x.numel() if known is None else known.sum()
        marginal = -white.square().sum() / 2 - determinant - count * math.log(2 * math.pi) / 2
        return posterior.divergence().mean() - marginal / len(x)

    def validation_loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative evidence lower bound given the remembered rows; the loss uses only the batch."""
        x, known = self.read(x)
        posterior = self.posterior(x, known)
        return (posterior.divergence() - self.likelihood(posterior.rsample()).log_prob(x, known)).mean()

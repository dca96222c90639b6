"""The Gaussian latent-variable model."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.models.densities import observed
from moreso.models.draws import normal, normal_like


class FactorAnalysis(nn.Module):
    """Factor analysis: x = mean + W z + noise, z ~ N(0, I), noise ~ N(0, diag(s^2)).

    So x ~ N(mean, W W' + diag(s^2)), and the likelihood is exact. Cost of a loss O(n d k + d k^2).

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: k, the number of factors; at most d.
        min_scale: lower bound of the noise's standard deviation, so that no factor explains one column entirely.
        missing: whether rows have missing values (NaN). The loss then is that of what is known: the marginal of a
            Gaussian, exact too, at O(n k^3) more.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, section 12.2.4.

    >>> model = FactorAnalysis(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    learning_rate = 0.02
    """Four times that of networks: the likelihood is smooth, and fewer steps reach better models of later rows than
    slower ones or EM do (docs/decisions/0016)."""

    def __init__(self, n_features: int, *, n_latent: int = 6, min_scale: float = 0.05, missing: bool = False) -> None:
        super().__init__()
        self.min_scale, self.missing = min_scale, missing
        self.mean = nn.Parameter(torch.zeros(n_features))
        self.loadings = nn.Parameter(torch.randn(n_features, min(n_latent, n_features)) / 2)
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))

    def variance(self) -> Float[Tensor, " d"]:
        """Return s^2."""
        return self.log_scale.exp().square() + self.min_scale**2

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative log-likelihood."""
        return -(self._marginal(x) if self.missing else self._density(x)).mean()

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples, reparameterised."""
        mean, loadings = self.mean, self.loadings
        z = normal(n, loadings.shape[1], like=mean)
        explained = mean + z @ loadings.T
        return explained + self.variance().sqrt() * normal_like(explained)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the exact log-density of what is known of each row; NaN is a missing value."""
        return self._marginal(x) if bool(x.isnan().any()) else self._density(x)

    def _density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-density of complete rows.

        With D = diag(s^2) and L L' = I + W' D^-1 W, the covariance has the determinant |D| |L|^2, and the inverse
        D^-1 - B B' with B = D^-1 W L'^-1.
        """
        variance, apart = self.variance(), x - self.mean
        scaled = self.loadings / variance[:, None]
        eye = torch.eye(scaled.shape[1], device=x.device, dtype=x.dtype)
        root = torch.linalg.cholesky(eye + self.loadings.T @ scaled)
        explained = torch.linalg.solve_triangular(root, (apart @ scaled).T, upper=False)
        distance = (apart.square() / variance).sum(1) - explained.square().sum(0)
        determinant = variance.log().sum() + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum()
        return -(distance + determinant + len(variance) * math.log(2 * math.pi)) / 2

    def _marginal(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-density of what is known of each row: as above, with a D^-1 of its own for each row.

        With A = I + W' D^-1 W and b = W' D^-1 (x - mean), the row's part (log |A| - b' A^-1 b) / 2 has the gradients
        (A^-1 + m m') / 2 and -m, m = A^-1 b. They are written down, since those of many small Cholesky factors take
        most of the time of a step.
        """
        x, known = observed(x)
        variance = self.variance()
        precision, apart = known / variance, x - self.mean
        inner, projected = self._inner(precision), (apart * precision) @ self.loadings
        with torch.no_grad():
            # Neither checks for errors, which would cost as much as the rest: the matrices are at least the identity.
            root, _ = torch.linalg.cholesky_ex(inner)
            inverse, _ = torch.linalg.inv_ex(inner)
            mean = (inverse @ projected[:, :, None])[:, :, 0]
            value = root.diagonal(dim1=-2, dim2=-1).log().sum(1) - (mean * projected).sum(1) / 2
        slopes = (inverse + mean[:, :, None] * mean[:, None, :]) / 2
        linear = (slopes * inner).sum((1, 2)) - (mean * projected).sum(1)
        part = linear + (value - linear).detach()
        distance = (apart.square() * precision).sum(1)
        constant = (variance.log() * known).sum(1) + known.sum(1) * math.log(2 * math.pi)
        return -(distance + constant) / 2 - part

    def impute(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return rows in whose missing values (NaN) are exact draws given the rest of the row.

        Given what is known, the factors are N(A^-1 W' D^-1 (x - mean), A^-1), with A = L L' as above.
        """
        filled, known = observed(x)
        variance = self.variance()
        precision, apart = known / variance, filled - self.mean
        root = torch.linalg.cholesky(self._inner(precision))
        projected = (apart * precision) @ self.loadings
        explained = torch.linalg.solve_triangular(root, projected[:, :, None], upper=False)
        spread = explained + normal_like(explained)
        z = torch.linalg.solve_triangular(root.mT, spread, upper=True)[:, :, 0]
        drawn = self.mean + z @ self.loadings.T + variance.sqrt() * normal_like(filled)
        return torch.where(x.isnan(), drawn, x)

    def _inner(self, precision: Float[Tensor, "n d"]) -> Float[Tensor, "n k k"]:
        """Return I + W' D^-1 W of each row: one product of all precisions and all pairs of loadings."""
        loadings = self.loadings
        eye = torch.eye(loadings.shape[1], device=loadings.device, dtype=loadings.dtype)
        pairs = (loadings[:, :, None] * loadings[:, None, :]).flatten(1)
        return eye + (precision @ pairs).unflatten(1, eye.shape)

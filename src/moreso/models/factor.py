"""The Gaussian latent-variable model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal


class FactorAnalysis(nn.Module):
    """Factor analysis: x = mean + W z + noise, z ~ N(0, I), noise ~ N(0, diag(s^2)).

    So x ~ N(mean, W W' + diag(s^2)), and the likelihood is exact. Cost of a loss O(n d k + d k^2).

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: k, the number of factors; at most d.
        min_scale: lower bound of the noise's standard deviation, so that no factor explains one column entirely.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, section 12.2.4.

    >>> model = FactorAnalysis(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(self, n_features: int, *, n_latent: int = 6, min_scale: float = 0.05) -> None:
        super().__init__()
        self.min_scale = min_scale
        self.mean = nn.Parameter(torch.zeros(n_features))
        self.loadings = nn.Parameter(torch.randn(n_features, min(n_latent, n_features)) / 2)
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))

    def distribution(self) -> LowRankMultivariateNormal:
        """Return the density of one row."""
        variance = self.log_scale.exp().square() + self.min_scale**2
        return LowRankMultivariateNormal(self.mean, self.loadings, variance, validate_args=False)

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative log-likelihood."""
        return -self.log_prob(x).mean()

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples, reparameterised."""
        return self.distribution().rsample(torch.Size([n]))

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the exact log-density of each row."""
        log_prob: Tensor = self.distribution().log_prob(x)
        return log_prob

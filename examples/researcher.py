"""A model and a loop of one's own: a VAE in plain PyTorch, with a loss term from statements, in two ways.

A researcher trains an autoencoder on sixty rows of five columns. In these rows the batch follows the response, because
the sickest were measured last; in new rows it does not. `moreso.Regularizer` turns what the researcher knows into a
term that is added to the loss. `moreso.adapters.attach` does the same around a loop that must not be changed. Both are
compared with the model that knows nothing.

    python examples/researcher.py
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

import moreso

ROWS, STEPS, WEIGHT = 60, 400, 0.3
FEATURES = ["dose", "response", "marker", "age", "batch"]
KNOWLEDGE = """
    response: +dose > batch   # the drug acts, whatever the batch
    response: dose > age      # and more than age does
    marker: +response > age   # the marker follows the response
    marker: dose > batch      # and so the dose
"""


def simulate(rows: int, *, confounded: bool = False) -> Tensor:
    """Return rows in which the response saturates with the dose, and the marker follows it."""
    dose, one, two, age, batch = torch.randn(5, rows)
    response = torch.tanh(dose) + 0.2 * age + 0.6 * one
    marker = 0.8 * response + 0.6 * two
    if confounded:
        batch = response + 0.4 * batch
    return torch.stack([dose, response, marker, age, batch], dim=1)


class Autoencoder(nn.Module):
    """A variational autoencoder as in a textbook."""

    def __init__(self, columns: int, latents: int = 2, width: int = 32) -> None:
        super().__init__()
        self.latents = latents
        self.encoder = nn.Sequential(nn.Linear(columns, width), nn.Tanh(), nn.Linear(width, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.Tanh(), nn.Linear(width, columns))
        self.scale = nn.Parameter(torch.zeros(columns))

    def loss(self, x: Tensor) -> Tensor:
        """Return the negative evidence lower bound per row."""
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        misfit = ((x - self.decoder(z)) / self.scale.exp()).square().sum(1) / 2 + self.scale.sum()
        divergence = ((mean.square() + (2 * log_scale).exp()) / 2 - log_scale - 0.5).sum(1)
        return (misfit + divergence).mean()

    def sample(self, n: int) -> Tensor:
        """Return new rows, with the noise of the decoder and with gradients."""
        x: Tensor = self.decoder(torch.randn(n, self.latents))
        return x + self.scale.exp() * torch.randn_like(x)


def train(model: Autoencoder, x: Tensor, steps: int, extra: Callable[[], Tensor | float] = lambda: 0.0) -> None:
    """Run a plain loop, with a term that is added to the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (model.loss(x) + extra()).backward()
        optimizer.step()


def main(steps: int = STEPS) -> None:
    """Train three times from the same start, and compare what samples show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = simulate(ROWS, confounded=True)
        start = Autoencoder(len(FEATURES))
        regularizer = moreso.Regularizer(KNOWLEDGE, FEATURES, data=x)
        models = {name: copy.deepcopy(start) for name in ("plain", "added to the loss", "attached to the loop")}

        train(models["plain"], x, steps)

        own = models["added to the loss"]
        train(own, x, steps, lambda: WEIGHT * regularizer(own.sample(256)))

        other = models["attached to the loop"]
        with moreso.adapters.attach(other, other.sample, regularizer, weight=WEIGHT) as push:
            train(other, x, steps)
        print(f"attach() pushed {len(push.history)} times; in the last draws {push.history[-1].held:.0%} hold.\n")

        print("Gaps in 2000 samples of each model, in standard errors; above 0 the statement holds:")
        print(f"{'':32}" + "".join(f"{name:>22}" for name in models))
        with torch.no_grad():
            new = simulate(2000)
            losses = [model.loss(new).item() for model in models.values()]
            gaps = [regularizer.gaps(model.sample(2000)).statistic for model in models.values()]
        for row, statement in enumerate(regularizer.knowledge):
            print(f"{regularizer.knowledge.describe(statement):32}" + "".join(f"{gap[row]:22.1f}" for gap in gaps))
        print(f"{'loss of 2000 new rows':32}" + "".join(f"{loss:22.2f}" for loss in losses))


if __name__ == "__main__":
    main()

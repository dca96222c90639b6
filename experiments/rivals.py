"""Other ways to regularize, which need no knowledge or all of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from moreso.models import HasNoise


class Blocks(nn.Module):
    """The dedicated architecture: independent models of blocks of columns, for who knows that they are independent."""

    def __init__(self, build: Callable[[int], Any], blocks: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.models = nn.ModuleList(build(len(block)) for block in blocks)
        self.blocks = [list(block) for block in blocks]

    def loss(self, x: Tensor) -> Tensor:
        """Return the sum of the blocks' losses."""
        return self._sum("loss", x)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the sum of the blocks' log-densities."""
        return self._sum("log_prob", x)

    def sample(self, n: int) -> Tensor:
        """Return samples of all blocks, each column in its place."""
        models: Any = self.models
        drawn = torch.cat([model.sample(n) for model in models], dim=1)
        places = torch.tensor([place for block in self.blocks for place in block])
        return drawn[:, places.argsort()]

    def noise_parameters(self) -> list[nn.Parameter]:
        """Return those of all blocks."""
        return [part for model in self.models if isinstance(model, HasNoise) for part in model.noise_parameters()]

    def _sum(self, name: str, x: Tensor) -> Tensor:
        parts = zip(self.models, self.blocks, strict=True)
        return torch.stack([getattr(model, name)(x[:, block]) for model, block in parts]).sum(0)


class Wrapped(nn.Module):
    """A model with a density, unchanged; subclasses change one method."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def loss(self, x: Tensor) -> Tensor:
        """Return the model's loss."""
        loss: Tensor = self.model.loss(x)
        return loss

    def sample(self, n: int) -> Tensor:
        """Return the model's samples."""
        sample: Tensor = self.model.sample(n)
        return sample

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the model's log-density."""
        log_prob: Tensor = self.model.log_prob(x)
        return log_prob

    def noise_parameters(self) -> list[nn.Parameter]:
        """Return those of the model."""
        return self.model.noise_parameters() if isinstance(self.model, HasNoise) else []


class L2Penalised(Wrapped):
    """A model whose loss adds `weight` times the sum of its squared parameters while it trains."""

    def __init__(self, model: Any, weight: float) -> None:
        super().__init__(model)
        self.weight = weight

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss, penalised in training mode."""
        loss = super().loss(x)
        if self.training:
            loss = loss + self.weight * sum(parameter.square().sum() for parameter in self.model.parameters())
        return loss


class Drawing(Wrapped):
    """A model that draws `draws` samples in training mode, however many the penalty asks for.

    It is trained as by `Guidance(draws=draws)`, which a `Synthesizer` has no setting for.
    """

    def __init__(self, model: Any, draws: int) -> None:
        super().__init__(model)
        self.draws = draws

    def sample(self, n: int) -> Tensor:
        """Return n samples, or in training mode as many as were chosen."""
        return super().sample(self.draws if self.training else n)


def with_dropout(model: nn.Module, share: float) -> nn.Module:
    """Put dropout behind every activation of the model's networks, in place."""
    for network in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for place in reversed(range(1, len(network) - 1)):
            if not list(network[place].parameters()):
                network.insert(place + 1, nn.Dropout(share))
    return model


def gaussian(train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Return the log-density of rows under a Gaussian with the shrunken covariance of the training rows.

    Columns that are constant in training count for nothing, as in `Synthesizer.score_samples`.

    References:
        Ledoit & Wolf, "A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", JMVA 2004.
    """
    varying = [column for column in train if train[column].nunique() > 1]
    mean, scale = train[varying].mean(), train[varying].std(ddof=0)
    x, y = (((table[varying] - mean) / scale).to_numpy() for table in (train, rows))
    fitted = LedoitWolf(assume_centered=True).fit(x)
    distance = np.einsum("ij,jk,ik->i", y, fitted.precision_, y)
    volume = np.linalg.slogdet(2 * np.pi * fitted.covariance_)[1] + 2 * np.log(scale).sum()
    return -0.5 * (distance + volume)

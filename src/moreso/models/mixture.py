"""Several models as one."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Mixture(nn.Module):
    """A mixture in equal parts: each sample comes from one of the models, and the density is the mean of theirs.

    Since the logarithm is concave, the log-density is at least the mean of theirs. It exceeds the mean more if the
    models disagree more, as models of small tables do if they were trained on different rows.

    Args:
        models: `GenerativeModel`s of the same columns.

    References:
        Smyth & Wolpert, "Linearly Combining Density Estimators via Stacking", Machine Learning 1999.

    >>> from moreso.models import VAE
    >>> model = Mixture([VAE(3), VAE(3)])
    >>> model.sample(5).shape, model.log_prob(torch.zeros(2, 3)).shape
    (torch.Size([5, 3]), torch.Size([2]))
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples, each from a model drawn at random."""
        of = torch.randint(len(self.models), (n,))
        places = [(of == index).nonzero()[:, 0] for index in range(len(self.models))]
        parts = [model.sample(len(own)) for model, own in zip(self._members, places, strict=True) if len(own)]
        sample: Tensor = torch.cat(parts)[torch.cat(places).argsort()]
        return sample

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log of the mean density of each row, in nats."""
        found = torch.stack([model.log_prob(x) for model in self._members])
        return found.logsumexp(0) - math.log(len(found))

    @property
    def _members(self) -> Any:
        return self.models


def join(models: Sequence[nn.Module]) -> nn.Module:
    """Return the model itself if there is only one, else the mixture of them."""
    return models[0] if len(models) == 1 else Mixture(models)


def members(model: nn.Module) -> list[nn.Module]:
    """Return the models that `join` combined."""
    return list(model.models) if isinstance(model, Mixture) else [model]

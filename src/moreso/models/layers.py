"""Layers whose settings differ between the members of a population."""

import torch
from torch import Tensor, nn

from moreso.models.draws import uniform_like


class Dropout(nn.Module):
    """Dropout at a rate that is a buffer, so that stacked models may each have their own.

    Args:
        rate: share of the inputs that are set to 0 in training mode; the others are scaled up.

    References:
        Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout", JMLR 2014.
    """

    rate: Tensor

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(float(rate)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the inputs that were not dropped."""
        if not self.training:
            return x
        return x * ((uniform_like(x) >= self.rate) / (1 - self.rate))

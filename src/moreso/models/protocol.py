"""What a model must do to be trained, regularized and sampled."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn


@runtime_checkable
class GenerativeModel(Protocol):
    """A `torch.nn.Module` with a loss on rows and samples that carry gradients."""

    def loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the loss on n rows, a mean over rows."""
        ...

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples with gradients to the parameters, by the law that is reported."""
        ...


@runtime_checkable
class HasDensity(Protocol):
    """A model whose density can be computed or estimated."""

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-density of each row, in nats."""
        ...


@runtime_checkable
class HasValidationLoss(Protocol):
    """A model whose loss says nothing of its quality, so that early stopping must watch something else."""

    def validation_loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return what early stopping watches on rows that are not trained on, lower is better; needs no gradient."""
        ...


@runtime_checkable
class HasNoise(Protocol):
    """A model with noise around what its networks say, and in its samples; `training.fit` goes on to train it alone.

    For the networks overfit few rows before the noise has come down to its size (docs/decisions/0013).
    """

    def noise_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the noise, or none."""
        ...

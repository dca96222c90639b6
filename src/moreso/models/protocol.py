"""What a model must do to be trained, regularized and sampled."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


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

"""The methods that a model needs to be trained, regularized and sampled."""

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
        """Return n samples with gradients to the parameters, from the distribution that is reported."""
        ...


@runtime_checkable
class HasSamples(Protocol):
    """A model, or a mixture of several, with samples."""

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples."""
        ...


@runtime_checkable
class HasDensity(Protocol):
    """A model whose density can be computed or estimated."""

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-density of each row, in nats."""
        ...


@runtime_checkable
class TakesMissing(Protocol):
    """A model that can be built for rows with missing values (NaN), whose likelihood is that of what is known."""

    missing: bool
    """Whether it was built so, by the argument `missing`; its loss then takes such rows."""

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-density of what is known of each row, in nats."""
        ...

    def impute(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return rows in whose missing values are draws given the rest of the row."""
        ...


@runtime_checkable
class HasValidationLoss(Protocol):
    """A model whose loss does not measure its quality, so that early stopping must watch something else."""

    def validation_loss(self, x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return what early stopping watches on the validation rows; lower is better, and no gradient is needed."""
        ...


@runtime_checkable
class HasMemory(Protocol):
    """A model that keeps training rows, as non-parametric ones do."""

    def remember(self, x: Float[Tensor, "n d"]) -> None:
        """Keep rows; called once with the training rows, before the training."""
        ...


@runtime_checkable
class HasLearningRate(Protocol):
    """A model that is trained at a learning rate of its own."""

    learning_rate: float
    """The learning rate of Adam."""


@runtime_checkable
class HasNoise(Protocol):
    """A model that adds noise to the output of its networks; `training.fit` trains the noise alone at the end.

    On small tables, the networks overfit before the noise has shrunk to its size (docs/decisions/0013).
    """

    def noise_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the noise, possibly none."""
        ...

"""Distributions: torch.distributions, zuko's flows, and whatever else has `rsample`."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.adapters.attaching import attach as attach_draws
from moreso.adapters.push import Push, Settings
from moreso.relations import Knowledge
from moreso.relative import Features
from moreso.training import Penalty


class Distribution:
    """An adapter of what returns a distribution over rows: a flow of zuko, or a function of parameters.

    Args:
        make: returns the distribution as the parameters are now, with the form of one row as its shape. A module whose
            call takes no argument is enough. For a conditional flow use `adapters.attach` with a draw of its own, such
            as `lambda n: flow(contexts(n)).rsample()`.
        parameters: those that it depends on; by default the module's own.

    Raises:
        TypeError: no parameters are known, or the distribution has no reparameterised samples.
    """

    def __init__(self, make: Callable[[], Any], parameters: Iterable[Tensor] | None = None) -> None:
        if parameters is None and not isinstance(make, nn.Module):
            raise TypeError(
                f"the parameters of {type(make).__name__} are not known. Pass them: parameters=flow.parameters()."
            )
        self.make = make
        self._parameters = None if parameters is None else list(parameters)
        _check(make())

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters that samples depend on."""
        return self.make.parameters() if isinstance(self.make, nn.Module) else self._parameters or []

    def buffers(self) -> Iterable[Tensor]:
        """Return the module's buffers."""
        return self.make.buffers() if isinstance(self.make, nn.Module) else []

    def draw(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n samples by `rsample`, which carry gradients."""
        return _rows(_check(self.make()).rsample(torch.Size([n])))

    def sample(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n samples by the distribution's own `sample`."""
        with torch.no_grad():
            return _rows(self.make().sample(torch.Size([n])))


def attach(
    make: Callable[[], Any],
    knowledge: Knowledge | Penalty,
    *,
    parameters: Iterable[Tensor] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Settings],
) -> AbstractContextManager[Push]:
    """Push a distribution while a loop trains it inside the `with` block; see `Distribution` and `adapters.attach`."""
    adapter = Distribution(make, parameters)
    return attach_draws(adapter, adapter.draw, knowledge, features=features, data=data, **settings)


def _check(distribution: Any) -> Any:
    if not getattr(distribution, "has_rsample", False):
        raise TypeError(
            f"{type(distribution).__name__} has no reparameterised samples (has_rsample is false), and others carry no "
            "gradient. Use a distribution that has them, for categories RelaxedOneHotCategorical."
        )
    return distribution


def _rows(x: Tensor) -> Tensor:
    return x[:, None] if x.dim() == 1 else x

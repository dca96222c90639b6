"""Distributions: torch.distributions, zuko's flows, and anything else with `rsample`."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.adapters.attaching import attach as attach_draws
from moreso.adapters.common import Options
from moreso.dependence import Features
from moreso.guidance import Penalty, Push
from moreso.relations import Knowledge


class Distribution:
    """An adapter of a callable that returns a distribution over rows: a flow of zuko, or a function of parameters.

    Args:
        make: returns the distribution for the current parameters; its shape is that of one row. A module whose call
            takes no argument works. For a conditional flow, use `adapters.attach` with your own draw, such as
            `lambda n: flow(contexts(n)).rsample()`.
        parameters: the parameters of the distribution; by default those of the module.

    Raises:
        TypeError: the parameters are not known, or the distribution has no reparameterised samples.

    >>> import zuko
    >>> adapter = Distribution(zuko.flows.MAF(3, transforms=1, hidden_features=(8,)))
    >>> adapter.draw(5).requires_grad, adapter.sample(5).shape
    (True, torch.Size([5, 3]))
    >>> len(list(adapter.parameters())) > 0, len(list(adapter.buffers())) > 0
    (True, True)
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
        """Return n samples with gradients, by `rsample`."""
        return _rows(_check(self.make()).rsample(torch.Size([n])))

    def sample(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n samples by the distribution's own `sample`."""
        with torch.no_grad():
            return _rows(self.make().sample(torch.Size([n])))


def attach(
    make: Callable[[], Any],
    knowledge: Knowledge | str | Penalty,
    *,
    parameters: Iterable[Tensor] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Options],
) -> AbstractContextManager[Push]:
    """Push a distribution while a loop trains it inside the `with` block; see `Distribution` and `adapters.attach`.

    >>> import zuko
    >>> flow, rows = zuko.flows.MAF(3, transforms=1, hidden_features=(8,)), torch.randn(64, 3)
    >>> optimizer = torch.optim.Adam(flow.parameters())
    >>> with attach(flow, "outlet: inlet > ambient", features=["ambient", "inlet", "outlet"], data=rows) as push:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         (-flow().log_prob(rows).mean()).backward()
    ...         optimizer.step()
    >>> [pushed.step for pushed in push.history]
    [0, 1, 2]
    """
    adapter = Distribution(make, parameters)
    return attach_draws(adapter, adapter.draw, knowledge, features=features, data=data, **settings)


def _check(distribution: Any) -> Any:
    if not getattr(distribution, "has_rsample", False):
        raise TypeError(
            f"{type(distribution).__name__} has no reparameterised samples (has_rsample is false), and others carry no "
            "gradient. Use a distribution that has them, such as RelaxedOneHotCategorical for categories."
        )
    return distribution


def _rows(x: Tensor) -> Tensor:
    return x[:, None] if x.dim() == 1 else x

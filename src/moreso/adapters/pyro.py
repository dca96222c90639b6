"""Pyro: stochastic variational inference with knowledge about the rows that the model generates."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.infer import SVI, Predictive
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from moreso.adapters.common import Options, check_fired, make_push, penalty_of
from moreso.dependence import Features
from moreso.guidance import Penalty, Push
from moreso.relations import Knowledge


class Model:
    """An adapter of a Pyro model: what it generates at one site if nothing is observed, with latents from their prior.

    Args:
        model: the model.
        site: the site that observes rows, as in `pyro.sample("x", ..., obs=x)`.
        arguments: maps n to the arguments with which the model generates n rows, for instance
            `lambda n: (torch.zeros(n, 3),)` if the model reads only the number of rows; by default the model gets n
            empty rows without columns.

    >>> import pyro.distributions as dist
    >>> def rows(x):
    ...     with pyro.plate("rows", len(x)):
    ...         pyro.sample("x", dist.Normal(pyro.param("mean", torch.zeros(3)), 1.0).to_event(1), obs=x)
    >>> pyro.clear_param_store()
    >>> adapter = Model(rows, "x")
    >>> adapter.draw(5).requires_grad, adapter.sample(5).shape, len(list(adapter.parameters()))
    (True, torch.Size([5, 3]), 1)
    """

    def __init__(
        self, model: Callable[..., Any], site: str, arguments: Callable[[int], tuple[Any, ...]] | None = None
    ) -> None:
        self.model, self.site = model, site
        self.arguments = arguments or (lambda n: (torch.zeros(n, 0),))

    def parameters(self) -> Iterable[Tensor]:
        """Return Pyro's parameters, unconstrained; none before the first step."""
        store: Any = pyro.get_param_store()
        return [value for _, value in store.named_parameters()]

    def draw(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n rows that the model generates, with gradients through every site that has `rsample`."""
        # Blocked, so that the surrounding loop sees neither these sites nor these parameters.
        with poutine.block(), poutine.trace() as trace, poutine.uncondition():
            self.model(*self.arguments(n))
        if self.site not in trace.trace.nodes:
            plates = {name for name, node in trace.trace.nodes.items() if site_is_subsample(node)}
            sites = ", ".join(name for name in trace.trace.stochastic_nodes if name not in plates)
            raise ValueError(f"the model has no site '{self.site}'. Its sites: {sites}.")
        value: Any = trace.trace.nodes[self.site]["value"]
        return _rows(value)

    def sample(self, n: int) -> Float[Tensor, "n ..."]:
        """Return n rows by Pyro's `Predictive`."""
        predictive = Predictive(poutine.uncondition(self.model), num_samples=1, return_sites=[self.site])
        return _rows(predictive(*self.arguments(n))[self.site][0])


@contextmanager
def attach(
    svi: SVI,
    site: str,
    knowledge: Knowledge | str | Penalty,
    *,
    arguments: Callable[[int], tuple[Any, ...]] | None = None,
    features: Features | None = None,
    data: object | None = None,
    **settings: Unpack[Options],
) -> Iterator[Push]:
    """Push a model towards knowledge while `svi.step` trains it inside the `with` block.

    With a fixed weight, the steps are those of a model with `pyro.factor("knowledge", -weight * regularizer(draw))`.
    But the penalty acts once per step, whatever the estimator (many particles, enumeration), and its weight may be
    relative to the gradient of the loss, which a factor cannot know.

    Args:
        svi: the `pyro.infer.SVI` that takes the steps.
        site: the site at which the model observes rows.
        knowledge: statements, or a `moreso.Regularizer` of them with its own settings.
        arguments: maps n to the model's arguments for n rows; see `Model`.
        features: the columns of the site in order, or a mapping from name to a callable on its rows; only if
            `knowledge` is statements.
        data: training rows; they fix the kernels' bandwidths.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError, TypeError, ValueError, RuntimeError: as `adapters.attach`.

    >>> import pyro.distributions as dist
    >>> def rows(x):
    ...     with pyro.plate("rows", len(x)):
    ...         z = torch.randn(len(x), 3) @ pyro.param("mix", torch.eye(3))
    ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
    >>> pyro.clear_param_store()
    >>> x, svi = torch.randn(64, 3), SVI(rows, lambda x: None, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
    >>> with attach(svi, "x", "outlet: inlet > ambient", features=["ambient", "inlet", "outlet"], data=x) as push:
    ...     for _ in range(3):
    ...         _ = svi.step(x)
    >>> [pushed.step for pushed in push.history]
    [0, 1, 2]
    """
    adapter = Model(svi.model, site, arguments)
    push = make_push(adapter.draw, penalty_of(knowledge, features, data), **settings)
    own = svi.loss_and_grads

    def loss_and_grads(*args: Any, **kwargs: Any) -> Any:
        with poutine.trace(param_only=True) as seen:
            loss = own(*args, **kwargs)
        if (step := push.due(svi)) is not None:
            values: list[Any] = [node["value"] for node in seen.trace.nodes.values()]
            push(dict.fromkeys(value.unconstrained() for value in values), step=step)
        return loss

    svi.loss_and_grads = loss_and_grads
    try:
        yield push
    finally:
        svi.loss_and_grads = own
    check_fired(push.history)


def _rows(x: Tensor) -> Tensor:
    return x[:, None] if x.dim() == 1 else x

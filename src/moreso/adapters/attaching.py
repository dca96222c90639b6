"""Knowledge inside a training loop that somebody else wrote, by a hook on the optimizer's step."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from moreso.adapters.push import Draw, Push, Pushed, check_fired, penalty_of
from moreso.relations import Knowledge
from moreso.relative import Features
from moreso.training import Penalty


@runtime_checkable
class HasParameters(Protocol):
    """A module, or anything else that is trained.

    Where there is `buffers()` too, these are what a draw must leave as it was, as the statistics of a BatchNorm.
    """

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters that draws depend on; none as long as the network does not exist."""
        ...


@runtime_checkable
class Adapter(HasParameters, Protocol):
    """What moreso needs to know of somebody else's model; `check_adapter` says whether it is so."""

    def draw(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples with gradients to the parameters, by the law of `sample`."""
        ...

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples of the library's own sampler, in the form of `draw`."""
        ...


@contextmanager
def attach(
    owner: HasParameters | Optimizer,
    draw: Draw,
    knowledge: Knowledge | Penalty,
    *,
    features: Features | None = None,
    data: object | None = None,
    weight: float | str = "auto",
    every: int = 1,
    draws: int = 256,
    random_state: int = 0,
) -> Iterator[Push]:
    """Push a model towards knowledge while somebody else's loop trains it inside the `with` block.

    Before each step of an optimizer that moves parameters of the model, the gradient of `weight * regularizer(draw(n))`
    is added to the one that the loss has left: the same step as on `loss + weight * regularizer(draw(n))`, whatever the
    loop. Closures are wrapped and return the sum, with the same random numbers throughout one step, as LBFGS needs;
    accumulated gradients get one push a step; gradients that a `GradScaler` has scaled get a scaled one; under
    `torch.distributed` the mean over all processes is pushed, each drawing samples of its own.

    The draws use random numbers of their own, and the buffers of a module are put back, so that with weight 0, which
    only fills `history`, training is bit-identical to training without. It is a step's gradient that is pushed: after
    gradient clipping, where there is any.

    Args:
        owner: the model, whose parameters may come into being later, or one optimizer.
        draw: from n to n samples with gradients to the parameters.
        knowledge: statements, pushed to a gap of `push.MARGIN` standard errors, or a regularizer of them.
        features: the columns of the draws in order, or name -> callable on them; for statements alone.
        data: training rows in the form of the draws; they fix the kernels' bandwidths.
        weight: of the penalty, 0 or more; "auto" makes its gradient .3 times as long as the loss's
            (`moreso.training.AUTO_RATIO`), which needs no tuning from library to library.
        every: steps from one push to the next, counted for each optimizer.
        draws: samples, each time.
        random_state: seed of the draws.

    Returns:
        On entering, the push, whose `history` lists (step, penalty, share of statements held, weight used).

    Raises:
        KnowledgeError: no relation, or a name outside `features`.
        TypeError: an owner without parameters, features missing, or given twice.
        ValueError: a setting out of its range; from within a step, draws without gradient or that are not finite.
        RuntimeError: at the end, nothing was pushed.

    >>> import torch
    >>> from moreso.models import VAE
    >>> model, rows = VAE(3), torch.randn(64, 3)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> knowledge = Knowledge.parse("outlet: inlet > ambient")
    >>> with attach(model, model.sample, knowledge, features=["ambient", "inlet", "outlet"], data=rows) as push:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model.loss(rows).backward()
    ...         optimizer.step()
    >>> [pushed.step for pushed in push.history]
    [0, 1, 2]
    """
    if not isinstance(owner, Optimizer) and not callable(getattr(owner, "parameters", None)):
        raise TypeError(
            f"the model must be a module, an adapter with 'parameters()' or a PyTorch optimizer, got "
            f"{type(owner).__name__}. Pass what is trained."
        )
    penalty = penalty_of(knowledge, features, data)
    push = Push(draw, penalty, weight=weight, every=every, draws=draws, random_state=random_state)

    def hook(optimizer: Optimizer, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        parameters = owned(optimizer, owner)
        if not parameters or not push.due(optimizer):
            return None
        scale = getattr(optimizer, "grad_scale", None)
        buffers = list(getattr(owner, "buffers", tuple)())

        def add(*, again: bool) -> Pushed | None:
            return push(parameters, buffers, scale=1.0 if scale is None else float(scale), again=again)

        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            add(again=False)
            return None
        wrapped = _wrap(closure, add)
        return (args[:1], {**kwargs, "closure": wrapped}) if len(args) <= 2 else ((args[0], wrapped, *args[2:]), kwargs)

    if isinstance(owner, Optimizer):
        handle = owner.register_step_pre_hook(hook)
    else:
        handle = register_optimizer_step_pre_hook(hook)
    try:
        yield push
    finally:
        handle.remove()
    check_fired(push.history)


def owned(optimizer: Optimizer, owner: HasParameters | Optimizer) -> list[Tensor]:
    """Return the parameters of `owner` that `optimizer` moves, in the optimizer's order."""
    moved = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if isinstance(owner, Optimizer):
        return moved
    known = {id(parameter) for parameter in owner.parameters()}
    return [parameter for parameter in moved if id(parameter) in known]


def _wrap(closure: Callable[[], Any], add: Callable[..., Pushed | None]) -> Callable[[], Any]:
    last: Pushed | None = None

    def wrapped() -> Any:
        nonlocal last
        loss = closure()
        last = add(again=last is not None) or last
        return loss if loss is None or last is None else loss + last.weight * last.penalty

    return wrapped

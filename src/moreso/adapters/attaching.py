"""Knowledge in a training loop that somebody else wrote, through a hook on the optimizer's step."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from moreso.adapters.common import check_fired, make_push, penalty_of
from moreso.dependence import Features
from moreso.guidance import Draw, Penalty, Push, Pushed, RandomState
from moreso.relations import Knowledge


@runtime_checkable
class HasParameters(Protocol):
    """A module, or anything else that can be trained.

    If it also has `buffers()`, these are restored after each draw, such as the statistics of a BatchNorm.
    """

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters that draws depend on; none until the network exists."""
        ...


@runtime_checkable
class Adapter(HasParameters, Protocol):
    """What moreso needs from somebody else's model; `check_adapter` checks it.

    >>> import torch
    >>> class Noise:
    ...     def __init__(self):
    ...         self.scale = torch.ones(3, requires_grad=True)
    ...
    ...     def parameters(self):
    ...         return [self.scale]
    ...
    ...     def draw(self, n):
    ...         return self.scale * torch.randn(n, 3)
    ...
    ...     def sample(self, n):
    ...         return self.draw(n).detach()
    >>> isinstance(Noise(), Adapter), isinstance(torch.nn.Linear(3, 3), Adapter)
    (True, False)
    """

    def draw(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples with gradients to the parameters, from the same distribution as `sample`."""
        ...

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n samples from the library's own sampler, in the form of `draw`."""
        ...


@contextmanager
def attach(
    owner: HasParameters | Optimizer,
    draw: Draw,
    knowledge: Knowledge | str | Penalty,
    *,
    features: Features | None = None,
    data: object | None = None,
    weight: float | str = "auto",
    every: int = 1,
    draws: int = 256,
    random_state: RandomState = 0,
) -> Iterator[Push]:
    """Push a model towards knowledge while somebody else's loop trains it inside the `with` block.

    Before each optimizer step on parameters of the model, the gradient of `weight * regularizer(draw(n))` is added to
    the gradient of the loss. The step is the same as on `loss + weight * regularizer(draw(n))`, whatever the loop:

    - Closures are wrapped and return the sum, with the same random numbers throughout one step, as LBFGS needs.
    - Accumulated gradients get one push per step.
    - If a `GradScaler` has scaled the gradients, the pushed gradient is scaled too.
    - Under `torch.distributed`, each process draws its own samples, and the mean over all processes is pushed.

    The draws use their own random numbers, and the buffers of a module are restored. So weight 0 only fills `history`,
    and training is bit-identical to training without `attach`. The push comes right before the step, so after any
    gradient clipping.

    Args:
        owner: the model, whose parameters may be created later, or one optimizer.
        draw: maps n to n samples with gradients to the parameters.
        knowledge: statements, as `Knowledge` or as text, or a `moreso.Regularizer` of them with its own settings.
        features: the columns of the draws in order, or a mapping from name to a callable on the draws; only if
            `knowledge` is statements.
        data: training rows in the form of the draws; they fix the kernels' bandwidths.
        weight: the penalty's weight, 0 or more; "auto" makes its gradient .3 times as long as that of the loss
            (`moreso.guidance.AUTO_RATIO`), which needs no tuning from library to library.
        every: the number of steps from one push to the next, counted for each optimizer.
        draws: the number of samples per push.
        random_state: seed of the draws, or a generator of NumPy's.

    Returns:
        A context manager; it yields the push, whose `history` lists (step, penalty, share of statements that hold,
        weight used).

    Raises:
        KnowledgeError: there is no relation, or a name is not in `features`.
        TypeError: the owner has no parameters, or features are missing or given twice.
        ValueError: a setting is out of range; or, during a step, draws have no gradient or are not finite.
        RuntimeError: nothing was pushed by the end of the block.

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
    push = make_push(draw, penalty, weight=weight, every=every, draws=draws, random_state=random_state)

    def hook(optimizer: Optimizer, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        parameters = owned(optimizer, owner)
        if not parameters or (step := push.due(optimizer)) is None:
            return None
        scale = getattr(optimizer, "grad_scale", None)
        buffers = list(getattr(owner, "buffers", tuple)())

        def add(*, again: bool) -> Pushed | None:
            return push(parameters, buffers, step=step, scale=1.0 if scale is None else float(scale), again=again)

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

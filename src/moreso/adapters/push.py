"""One push: draw samples, measure them, and add the gradient to the one that a loss has left."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor, distributed, nn

from moreso.regularizer import Regularizer
from moreso.relations import Knowledge
from moreso.relative import Features
from moreso.training import Penalty, check_weight, relative_weight, seeded

MARGIN = 1.0
"""Of statements' gaps, in standard errors: a loop without early stopping would not notice that a push goes too far."""

Draw = Callable[[int], Tensor]
"""From n to n samples that carry gradients to the parameters, by the law of the library's own sampler."""


class Settings(TypedDict, total=False):
    """What every way of attaching takes; `attach` documents them."""

    weight: float | str
    every: int
    draws: int
    random_state: int


class Pushed(NamedTuple):
    """What happened at one step.

    Args:
        step: of the optimizer, from 0.
        penalty: on the samples that were drawn, unweighted.
        held: share of the statements whose gap was positive; NaN where the penalty is no `Regularizer`.
        weight: that the penalty's gradient was multiplied by; 0 where nothing was to be pushed.
    """

    step: int
    penalty: float
    held: float
    weight: float


class Push:
    """A penalty with the settings of `attach` and what has happened so far, in `history`."""

    def __init__(
        self,
        draw: Draw,
        penalty: Penalty,
        *,
        weight: float | str = "auto",
        every: int = 1,
        draws: int = 256,
        random_state: int = 0,
    ) -> None:
        check_weight(weight)
        if every < 1:
            raise ValueError(f"'every' must be at least 1, got {every}. 1 pushes at every step.")
        if draws < 4:
            raise ValueError(f"'draws' must be at least 4, got {draws}. The usual number is 256.")
        self.draw, self.penalty = draw, penalty
        self.weight, self.every, self.draws = weight, every, draws
        self.history: list[Pushed] = []
        self._seeds = random.Random(random_state)
        self._seed = 0
        self._used: float | None = None
        self._steps: dict[int, int] = {}

    def due(self, optimizer: object) -> bool:
        """Count a step of `optimizer`, and tell whether it is one of every k."""
        self._step = self._steps.get(id(optimizer), 0)
        self._steps[id(optimizer)] = self._step + 1
        return self._step % self.every == 0

    def __call__(
        self,
        parameters: Iterable[Tensor],
        buffers: Iterable[Tensor] = (),
        *,
        scale: float = 1.0,
        again: bool = False,
    ) -> Pushed | None:
        """Add the weighted gradient to the gradients of `parameters`, and return what was done.

        Nothing happens where no parameter has a gradient: such a step is not theirs.

        Args:
            parameters: those that the step is about to move.
            buffers: put back as they were, since a draw may move the statistics of a BatchNorm.
            scale: that the loss's gradients are multiplied by, in mixed precision.
            again: the same step as the last call, as for LBFGS: the same random numbers and weight.
        """
        moved = [parameter for parameter in parameters if parameter.requires_grad]
        if all(parameter.grad is None for parameter in moved):
            return None
        if not again:
            self._seed, self._used = self._seeds.getrandbits(62), None
        kept = [(buffer, buffer.clone()) for buffer in buffers]
        with forked(self._seed + _rank()), torch.enable_grad():
            value = self._measure()
            found = self._gradient(value, moved)
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
        pushed = [(parameter, grad) for parameter, grad in zip(moved, found, strict=True) if grad is not None]
        if self._used is None:
            self._used = self._weigh(pushed, scale)
        if self._used > 0:
            for parameter, grad in pushed:
                own = self._used * scale * grad
                parameter.grad = own if parameter.grad is None else parameter.grad + own
        record = Pushed(self._step, value.item(), getattr(self.penalty, "held", float("nan")), self._used)
        if again:
            self.history.pop()
        self.history.append(record)
        return record

    def _measure(self) -> Tensor:
        x = self.draw(self.draws)
        if isinstance(self.penalty, nn.Module):
            self.penalty.to(x.device)
        try:
            return self.penalty(x)
        except ValueError as error:
            raise ValueError(f"step {self._step}: {error}") from error

    def _gradient(self, value: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return the gradient, its mean over all processes where there are several."""
        if _ranks() == 1 and (self.weight == 0 or value.item() == 0) and value.requires_grad:
            return [None] * len(parameters)
        found = torch.autograd.grad(value, parameters, allow_unused=True) if value.requires_grad else [None]
        if all(grad is None for grad in found):
            raise ValueError(
                "the draws carry no gradient to the parameters that the optimizer moves. Draw with rsample() in place "
                "of sample(), without torch.no_grad() and detach(), and from the model that is trained."
            )
        if _ranks() == 1:
            return found
        whole = [torch.zeros_like(p) if grad is None else grad for p, grad in zip(parameters, found, strict=True)]
        flat = torch.cat([grad.flatten() for grad in whole]) / _ranks()
        distributed.all_reduce(flat)
        return [part.view_as(p) for part, p in zip(flat.split([p.numel() for p in whole]), whole, strict=True)]

    def _weigh(self, pushed: list[tuple[Tensor, Tensor]], scale: float) -> float:
        """Return the weight; 0 where the loss's gradient is not finite, for then the scaler skips the step."""
        if isinstance(self.weight, int | float):
            return float(self.weight)
        if all(parameter.grad is None for parameter, _ in pushed):
            return 0.0
        found = relative_weight(pushed) / scale
        return found if np.isfinite(found) else 0.0


def penalty_of(knowledge: Knowledge | Penalty, features: Features | None, data: object | None) -> Penalty:
    """Return the loss term of what was given: knowledge with its features, or a regularizer that has them."""
    if isinstance(knowledge, Knowledge):
        if features is None:
            raise TypeError(
                "'features' must name the columns of the draws, in order. Pass features=[...], and the training rows "
                "as 'data', or a moreso.Regularizer in place of the knowledge."
            )
        return Regularizer(knowledge, features, data=data, margin=MARGIN)
    if not callable(knowledge):
        raise TypeError(
            f"the knowledge must be a moreso.Knowledge or a moreso.Regularizer, got {type(knowledge).__name__}. Write "
            "moreso.Knowledge.parse('outlet: inlet > ambient')."
        )
    if features is not None or data is not None:
        raise TypeError("'features' and 'data' are the regularizer's own. Leave them out, or pass the knowledge.")
    return knowledge


def check_fired(history: Sequence[Pushed]) -> None:
    """Raise unless there was a push.

    Raises:
        RuntimeError: there was none, so that the model was trained without the knowledge.
    """
    if not history:
        raise RuntimeError(
            "nothing was pushed: no optimizer took a step on the parameters of the model while it was attached. Train "
            "inside the 'with' block, with a PyTorch optimizer on these very parameters."
        )


@contextmanager
def forked(seed: int) -> Iterator[None]:
    """Run with random numbers of its own: PyTorch's, NumPy's and Python's states are put back afterwards."""
    before = np.random.get_state(), random.getstate()
    with seeded(seed):
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


def _ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _rank() -> int:
    """Return the number of this process: each draws samples of its own."""
    return distributed.get_rank() if _ranks() > 1 else 0

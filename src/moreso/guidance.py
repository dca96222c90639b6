"""Add the gradient of a penalty on samples to the gradient of a loss: draws, the rule for the weight, and seeds.

Needs only PyTorch; `training` uses it in its own loop, `adapters` in loops that others wrote.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, distributed, nn

AUTO_RATIO = 0.3
"""weight="auto" makes the penalty's gradient this many times as long as the loss's (docs/decisions/0010)."""

MIN_DRAWS = 4
"""The unbiased HSIC needs at least this many samples."""

Penalty = Callable[[Tensor], Tensor]
"""Maps samples that carry gradients to a scalar, which is 0 if there is nothing to push. A penalty for a population of
models maps samples with a leading dimension, one sample per member, to a value per member."""

Draw = Callable[[int], Tensor]
"""Maps n to n samples that carry gradients to the parameters, distributed as those of the model's own sampler."""


class Term(NamedTuple):
    """A penalty on samples, with intermediate results.

    Args:
        value: the penalty with gradient: a scalar, or one number per member of a population.
        held: share of the statements whose gap was positive, of the same shape; NaN if the penalty has no statements.
        standard_error: standard error of each gap, without gradient, for penalties on further samples of the same size;
            or None.
    """

    value: Tensor
    held: Tensor
    standard_error: Tensor | None


RandomState = int | np.integer | np.random.RandomState | np.random.Generator
"""A seed, or a generator of NumPy's from which one is drawn."""

MAX_SEED = 2**63 - 1
"""The largest seed."""


def seed_problems(random_state: object) -> list[str]:
    """Return a sentence unless this is a seed or a generator, without drawing from it."""
    if isinstance(random_state, np.random.RandomState | np.random.Generator):
        return []
    if isinstance(random_state, int | np.integer) and 0 <= random_state <= MAX_SEED:
        return []
    return [
        "the seed must be a whole number from 0 to 2**63 - 1, or a NumPy generator, got "
        f"{random_state!r}. Take a small one, such as 0."
    ]


def seed_of(random_state: RandomState) -> int:
    """Return a seed as an integer; from a generator of NumPy's one is drawn, as in scikit-learn.

    Raises:
        ValueError: it is neither.
    """
    if problems := seed_problems(random_state):
        raise ValueError(problems[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(random_state)


@runtime_checkable
class Measures(Protocol):
    """A penalty that can take the standard errors of earlier samples, as `moreso.Regularizer` can."""

    def measure(self, x: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return the penalty on samples, with its standard errors unless they are given."""
        ...


@runtime_checkable
class Stacks(Protocol):
    """A penalty that can be computed for all members of a population at once, as `moreso.Regularizer` can."""

    def stack(self, others: Sequence[object]) -> "Stacked | None":
        """Return the penalty for the population of `self` and `others`, in this order, or None if they do not fit."""
        ...


@runtime_checkable
class Spreads(Protocol):
    """A penalty that can take the samples of several processes as one, as `moreso.Regularizer` can."""

    def spread(self, group: distributed.ProcessGroup) -> "Stacked":
        """Return the penalty of a process whose samples, and those of the others, count as one sample."""
        ...


@runtime_checkable
class Stacked(Protocol):
    """A penalty for a population of models."""

    def measure(self, x: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return the penalty on samples of each member, with standard errors unless they are given."""
        ...

    def keep(self, members: Tensor) -> "Stacked":
        """Return the penalty for some members; the standard errors of the others' statements are as before."""
        ...


def stack(penalties: Sequence[Penalty]) -> Stacked:
    """Return one penalty for a population of models, from the penalty of each member.

    Penalties that cannot be computed at once are computed one after the other.
    """
    first, *others = penalties
    found = first.stack(others) if isinstance(first, Stacks) else None
    return _OneByOne(tuple(penalties)) if found is None else found


@dataclass(frozen=True)
class _OneByOne:
    """The penalties of the members of a population, computed one after the other."""

    penalties: Sequence[Penalty]

    def keep(self, members: Tensor) -> "_OneByOne":
        return _OneByOne([self.penalties[member] for member in members.tolist()])

    def measure(self, x: Tensor, standard_error: Tensor | None = None) -> Term:
        shared = [None] * len(x) if standard_error is None else list(standard_error)
        terms = [_measure(penalty, *each) for penalty, *each in zip(self.penalties, x, shared, strict=True)]
        errors = [term.standard_error for term in terms if term.standard_error is not None]
        fit = len(errors) == len(terms) and len({error.shape for error in errors}) == 1
        value, held = (torch.stack(each) for each in list(zip(*terms, strict=True))[:2])
        return Term(value, held, torch.stack(errors) if fit else None)


def _measure(penalty: Penalty | Stacked, x: Tensor, standard_error: Tensor | None) -> Term:
    """Return a penalty's term, whether or not it knows standard errors."""
    if isinstance(penalty, Measures):
        return penalty.measure(x, standard_error)
    value = penalty(x)
    return Term(value, torch.full_like(value.detach(), math.nan), None)


class Across(Enum):
    """What the pushes of several processes of `torch.distributed` have to do with each other."""

    MEAN = "mean"
    """They train copies of one model: each draws a sample of its own, and the gradients are averaged."""

    SUM = "sum"
    """They train copies of one model: their draws are one sample, as the penalty knows, and the gradients add up."""

    APART = "apart"
    """They train different models."""


@dataclass(frozen=True)
class Guidance:
    """How strongly and how often a penalty is pushed.

    Args:
        weight: the penalty's weight, 0 or more; "auto" makes the penalty's gradient `ratio` times as long as the
            loss's, on the parameters that samples depend on.
        ratio: the ratio of the two lengths, above 0.
        every: the number of steps from one push to the next.
        draws: the number of samples for each push, at least 4.
        refresh: how many consecutive pushes share the standard errors of the first. These cost more than the gaps and
            change slowly while a model learns. 1 computes them at every push.
    """

    weight: float | str = "auto"
    ratio: float = AUTO_RATIO
    every: int = 1
    draws: int = 256
    refresh: int = 10

    def problems(self) -> list[str]:
        """Return what is wrong with the settings, one sentence per problem."""
        found = []
        if not (isinstance(self.ratio, int | float) and 0 < self.ratio < math.inf):
            found.append(f"the ratio must be a number above 0, got {self.ratio!r}. Leave it at {AUTO_RATIO}.")
        if self.weight != "auto" and not (isinstance(self.weight, int | float) and 0 <= self.weight < math.inf):
            found.append(
                f"the weight must be 'auto' or a number of at least 0, got {self.weight!r}. Leave it at 'auto'."
            )
        if self.every < 1:
            found.append(f"'every' must be at least 1, got {self.every}. 1 pushes at every step.")
        if self.draws < MIN_DRAWS:
            found.append(f"'draws' must be at least {MIN_DRAWS}, got {self.draws}. The usual number is 256.")
        if self.refresh < 1:
            found.append(
                f"'refresh' must be at least 1, got {self.refresh}. 1 takes the standard errors at every push."
            )
        return found


class Pushed(NamedTuple):
    """The push at one step.

    Args:
        step: the step of the optimizer, counted from 0.
        penalty: the unweighted penalty on the samples that were drawn.
        held: share of the statements whose gap was positive; NaN if the penalty has no statements.
        weight: the weight of the penalty's gradient; 0 if there was nothing to push.

    >>> Pushed(step=0, penalty=3.5, held=0.5, weight=0.1).held
    0.5
    """

    step: int
    penalty: float
    held: float
    weight: float


class Added(NamedTuple):
    """What was added at one step: scalars, or one number per member of a population.

    Args:
        penalty: the unweighted penalty on the samples that were drawn.
        held: share of the statements whose gap was positive; NaN if the penalty has no statements.
        weight: the weight of the penalty's gradient; 0 if there was nothing to push.
    """

    penalty: Tensor
    held: Tensor
    weight: Tensor


class Push:
    """A penalty on the samples of a model, and how its gradient is added to that of a loss.

    If samples and penalty are those of a population, so is the gradient: parameters have a leading dimension of members
    too, and each member has its own weight.

    Draws use their own random numbers, so that weight 0 leaves training bit-identical. `refresh` consecutive pushes
    share their standard errors; this object keeps that state, not the penalty.

    Args:
        draw: maps n to n samples with gradients.
        penalty: a penalty on samples, usually a `moreso.Regularizer`.
        guidance: how strongly and how often.
        random_state: seed of the draws, or a generator of NumPy's.
        across: what several processes of `torch.distributed`, if there are any, have to do with each other.

    Raises:
        ValueError: all problems of the settings.

    >>> parameter = torch.zeros(1, requires_grad=True)
    >>> push = Push(lambda n: parameter + torch.randn(n, 1), lambda x: x.mean().square(), Guidance(weight=2.0, every=2))
    >>> for _ in range(4):
    ...     parameter.grad = torch.zeros(1)
    ...     if (step := push.due("optimizer")) is not None:
    ...         _ = push([parameter], step=step)
    >>> [(pushed.step, pushed.weight) for pushed in push.history]
    [(0, 2.0), (2, 2.0)]
    >>> push.add([parameter], step=4).weight.item(), sorted(push.state())
    (2.0, ['counts', 'seeds', 'standard_error'])
    >>> push.restore(push.state())
    >>> push.keep(torch.tensor([0]))  # nothing to do: this is no population
    """

    def __init__(
        self,
        draw: Draw,
        penalty: Penalty | Stacked,
        guidance: Guidance | None = None,
        *,
        random_state: RandomState = 0,
        across: Across = Across.MEAN,
    ) -> None:
        self.draw, self.penalty, self.guidance, self.across = draw, penalty, guidance or Guidance(), across
        if problems := self.guidance.problems() + seed_problems(random_state):
            raise ValueError("\n".join(problems))
        self.history: list[Pushed] = []
        self._seeds = torch.Generator().manual_seed(seed_of(random_state))
        self._seed = 0
        self._used: Tensor | None = None
        self._steps: dict[int, int] = {}
        self._shared: Tensor | None = None
        self._age = 0
        self._rows = 0

    def due(self, optimizer: object) -> int | None:
        """Count a step of `optimizer`, and return its number, from 0, if a push is due; else None."""
        step = self._steps.get(id(optimizer), 0)
        self._steps[id(optimizer)] = step + 1
        return None if step % self.guidance.every else step

    def __call__(
        self,
        parameters: Iterable[Tensor],
        buffers: Iterable[Tensor] = (),
        *,
        step: int,
        scale: float = 1.0,
        again: bool = False,
    ) -> Pushed | None:
        """Add the weighted gradient to the gradients of one model's parameters, and record it in the history.

        See `add`, which this calls, for arguments and errors.
        """
        added = self.add(parameters, buffers, step=step, scale=scale, again=again)
        if added is None:
            return None
        record = Pushed(step, *(value.item() for value in added))
        if again:
            self.history.pop()
        self.history.append(record)
        return record

    def add(
        self,
        parameters: Iterable[Tensor],
        buffers: Iterable[Tensor] = (),
        *,
        step: int,
        scale: float = 1.0,
        again: bool = False,
    ) -> Added | None:
        """Add the weighted gradient to the gradients of `parameters`, and return what was added.

        Nothing happens if no parameter has a gradient, since the step does not concern them.

        Args:
            parameters: the parameters that the step is about to change.
            buffers: buffers to restore afterwards, since a draw may change the statistics of a BatchNorm.
            step: the number of the step, for messages and the history.
            scale: the factor on the loss's gradients in mixed precision.
            again: whether this is the same step as the last call, as for LBFGS: random numbers and weight stay the
                same.

        Raises:
            ValueError: samples have no gradient, or are not finite (the error names the step).
        """
        moved = [parameter for parameter in parameters if parameter.requires_grad]
        if all(parameter.grad is None for parameter in moved):
            return None
        if not again:
            self._seed, self._used = int(torch.randint(2**62, (), generator=self._seeds)), None
        kept = [(buffer, buffer.clone()) for buffer in buffers]
        with forked(self._seed + self._rank, _device_of(moved)), torch.enable_grad():
            term = self._measure(step, again=again)
            found = self._gradient(term.value, moved)
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
        pushed = [(parameter, grad) for parameter, grad in zip(moved, found, strict=True) if grad is not None]
        if self._used is None:
            self._used = self._weigh(pushed, scale, term.value)
        if self._used.any():
            for parameter, grad in pushed:
                own = _per_member(self._used * scale, grad) * grad
                parameter.grad = own if parameter.grad is None else parameter.grad + own
        return Added(term.value.detach(), term.held, self._used)

    def keep(self, members: Tensor) -> None:
        """Go on with some members of a population, at these positions among the present ones."""
        if isinstance(self.penalty, Stacked):
            self.penalty = self.penalty.keep(members)
        if self._shared is not None:
            self._shared = self._shared[members]

    def _measure(self, step: int, *, again: bool) -> Term:
        x = self.draw(self._draws)
        if not isinstance(x, Tensor):
            raise TypeError(
                f"draw(n) must return a tensor of samples, got {type(x).__name__}. Return the samples alone."
            )
        if isinstance(self.penalty, nn.Module):
            self.penalty.to(x.device)
        if not again and (self._age >= self.guidance.refresh or x.shape[-2] != self._rows):
            self._shared = None
        if self._shared is None:
            self._age, self._rows = 0, x.shape[-2]
        try:
            term = _measure(self.penalty, x, self._shared)
        except ValueError as error:
            raise ValueError(f"step {step}: {error}") from error
        self._age += not again
        self._shared = term.standard_error
        return term

    def _gradient(self, value: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return the gradient; with several processes that train copies of one model, its mean or sum over them."""
        if self._ranks == 1 and (self.guidance.weight == 0 or not value.any()) and value.requires_grad:
            return [None] * len(parameters)
        found = torch.autograd.grad(value.sum(), parameters, allow_unused=True) if value.requires_grad else [None]
        if all(grad is None for grad in found):
            raise ValueError(
                "the draws carry no gradient to the parameters that the optimizer moves. Draw with rsample() in place "
                "of sample(), without torch.no_grad() and detach(), and from the model that is trained."
            )
        if self._ranks == 1:
            return found
        whole = [torch.zeros_like(p) if grad is None else grad for p, grad in zip(parameters, found, strict=True)]
        flat = torch.cat([grad.flatten() for grad in whole]) / (1 if self.across is Across.SUM else self._ranks)
        distributed.all_reduce(flat)
        return [part.view_as(p) for part, p in zip(flat.split([p.numel() for p in whole]), whole, strict=True)]

    def _weigh(self, pushed: list[tuple[Tensor, Tensor]], scale: float, value: Tensor) -> Tensor:
        """Return the weight, per member; 0 if the loss's gradient is not finite, for then the scaler skips the step."""
        if isinstance(self.guidance.weight, int | float):
            return torch.full_like(value.detach(), float(self.guidance.weight))
        if all(parameter.grad is None for parameter, _ in pushed):
            return torch.zeros_like(value.detach())
        found = relative_weight(pushed, ratio=self.guidance.ratio, members=value.ndim == 1) / scale
        return torch.where(found.isfinite(), found, 0.0)

    @property
    def _ranks(self) -> int:
        """The number of processes that train copies of one model."""
        started = distributed.is_available() and distributed.is_initialized()
        return distributed.get_world_size() if started and self.across is not Across.APART else 1

    @property
    def _rank(self) -> int:
        """The number of this process among them, since each draws its own samples."""
        return distributed.get_rank() if self._ranks > 1 else 0

    @property
    def _draws(self) -> int:
        """The number of samples that this process draws."""
        if self.across is Across.MEAN or self._ranks == 1:
            return self.guidance.draws
        return max(1, len(range(self._rank, self.guidance.draws, self._ranks)))

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs for bit-identical results: the generator of seeds and the shared errors."""
        shared = torch.zeros(0) if self._shared is None else self._shared
        counts = torch.tensor([self._age, self._rows], dtype=torch.long)
        return {"seeds": self._seeds.get_state(), "counts": counts, "standard_error": shared.detach().cpu()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self._seeds.set_state(state["seeds"])
        self._age, self._rows = (int(count) for count in state["counts"])
        self._shared = state["standard_error"] if len(state["standard_error"]) else None


def relative_weight(
    pushed: Sequence[tuple[Tensor, Tensor]], *, ratio: float = AUTO_RATIO, members: bool = False
) -> Tensor:
    """Return the weight that makes the penalty's gradient `ratio` times as long as the loss's; 0 if it has none.

    Args:
        pushed: parameters that hold the loss's gradient, each with its gradient of the penalty.
        ratio: the ratio of the two lengths.
        members: whether the parameters have a leading dimension of members; then there is one weight per member.
    """
    own = _lengths([parameter.grad for parameter, _ in pushed if parameter.grad is not None], members=members)
    other = _lengths([grad for _, grad in pushed], members=members)
    return torch.where(other > 0, ratio * own / other, 0.0)


def _lengths(gradients: Sequence[Tensor], *, members: bool) -> Tensor:
    """Return the length of a gradient, per member if there are several."""
    parts = [grad.flatten(1).norm(dim=1) if members else grad.norm() for grad in gradients]
    return torch.stack(parts).norm(dim=0)


def _per_member(weight: Tensor, grad: Tensor) -> Tensor:
    """Return weights that multiply the gradients of members, or the one weight."""
    return weight.view(-1, *[1] * (grad.ndim - 1)) if weight.ndim else weight


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run with PyTorch's random numbers from a seed, and restore the previous state afterwards.

    Args:
        seed: the seed of the CPU, and of all CUDA devices if CUDA is in use or `device` is one.
        device: the device that is about to be used.
    """
    # An unused CUDA stays unused: asking for its state would start it, and torch.manual_seed queues its seed, slowly.
    cuda = torch.cuda.is_initialized() or (device is not None and device.type == "cuda")
    with torch.random.fork_rng(range(torch.cuda.device_count()) if cuda else ()):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def forked(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run with separate random numbers, and restore the states of PyTorch, NumPy and Python afterwards."""
    before = np.random.get_state(), random.getstate()
    with seeded(seed, device):
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


def _device_of(parameters: Sequence[Tensor]) -> torch.device | None:
    return parameters[0].device if parameters else None

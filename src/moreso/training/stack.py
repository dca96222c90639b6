"""Several models as one: stacked parameters, so that one call computes what a call per model would."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import stack_module_state, vmap
from torch.overrides import TorchFunctionMode

from moreso.guidance import seeded
from moreso.models import GenerativeModel, HasNoise, HasValidationLoss, Lane, drawing

LIKE: dict[Any, Callable[..., Tensor]] = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}
"""What draws numbers in the shape of a tensor -> what draws them in a given shape."""

DRAWING = frozenset([*LIKE, *LIKE.values()])
"""What draws numbers for all lanes; a set, since every operator of a model is looked up in it."""

TRIED = 4
"""Rows and samples with which a stack is tried."""


class Carrier(Protocol):
    """The models of a population as its loop sees them."""

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the parameters that are learnt."""
        ...

    @property
    def moved(self) -> Sequence[Tensor]:
        """Return the tensors that the optimizer moves."""
        ...

    def loss(self, rows: Tensor) -> Tensor:
        """Return the loss, per member if there are several."""
        ...

    def validation_loss(self, rows: Tensor) -> Tensor:
        """Return what early stopping watches, without gradient."""
        ...

    def sample(self, n: int) -> Tensor:
        """Return samples with gradient."""
        ...

    def move(self, names: Sequence[str]) -> None:
        """Train these parameters alone."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return all parameters and buffers with a leading dimension of members; they share their memory."""
        ...

    def keep(self, members: Tensor) -> None:
        """Go on with some members."""
        ...


class Alone:
    """A single model, as it is.

    Args:
        model: a `GenerativeModel` on its device.
    """

    def __init__(self, model: nn.Module) -> None:
        assert isinstance(model, GenerativeModel)
        self.module, self.model = model, model
        self.names = [name for name, each in model.named_parameters() if each.requires_grad]
        self.moved: Sequence[Tensor] = []
        self.watched = "validation_loss" if isinstance(model, HasValidationLoss) else "loss"

    def loss(self, rows: Float[Tensor, "1 n d"]) -> Float[Tensor, ""]:
        """Return the loss."""
        self.module.train()
        return self.model.loss(rows[0])

    def validation_loss(self, rows: Float[Tensor, "1 n d"]) -> Float[Tensor, ""]:
        """Return what early stopping watches, without gradient."""
        self.module.eval()
        with torch.no_grad():
            return torch.as_tensor(getattr(self.model, self.watched)(rows[0]))

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return samples with gradient."""
        return self.model.sample(n)

    def move(self, names: Sequence[str]) -> None:
        """Train these parameters alone."""
        parameters = dict(self.module.named_parameters())
        for name in self.names:
            parameters[name].requires_grad_(name in names)
        self.moved = [parameters[name] for name in names]

    def tensors(self) -> dict[str, Tensor]:
        """Return all parameters and buffers with a leading dimension of one member; they share their memory."""
        return {name: each.detach()[None] for name, each in named_tensors(self.module)}

    def keep(self, members: Tensor) -> None:
        """Go on with the one member."""


class Stack:
    """Models of one architecture whose parameters and buffers are stacked.

    Random numbers of a member do not depend on the others: a stack of two fits gives what each would give by itself,
    and fits that differ in their statements can be compared number by number. Members in different lanes have different
    random numbers. Otherwise an ensemble's members would all err in the same way, which a mean over them does not
    cancel (docs/decisions/0016).

    What is trained is one matrix with a row per member, of which the parameters are views: one tensor to add a gradient
    to, to measure and to step, in place of a dozen.

    Args:
        models: `GenerativeModel`s with equal `signature`, on one device.
        lanes: the lane of each, counted from 0.
        count: the number of lanes.

    References:
        `torch.func.stack_module_state` and `torch.func.vmap`.
    """

    def __init__(self, models: Sequence[nn.Module], lanes: Sequence[int] = (), count: int = 1) -> None:
        self.base = copy.deepcopy(models[0])
        self.slots = _slots(self.base)
        parameters, buffers = stack_module_state(list(models))
        self.names = [name for name, each in parameters.items() if each.requires_grad]
        self.fixed = {name: each.detach() for name, each in chain(parameters.items(), buffers.items())}
        self.free: dict[str, torch.Size] = {}
        self.moved: Sequence[Tensor] = []
        self.watched = "validation_loss" if isinstance(self.base, HasValidationLoss) else "loss"
        self.call = cache(self._call)
        device = next(iter(self.fixed.values())).device
        self.lanes, self.count = torch.tensor(lanes or [0] * len(models), device=device), count

    def loss(self, rows: Float[Tensor, "members n d"]) -> Float[Tensor, " members"]:
        """Return the loss of each member."""
        self._mode(training=True)
        return self.call("loss")(self._state(), self.lanes, rows)

    def validation_loss(self, rows: Float[Tensor, "members n d"]) -> Float[Tensor, " members"]:
        """Return what early stopping watches, without gradient."""
        self._mode(training=False)
        with torch.no_grad():
            return self.call(self.watched)(self._state(), self.lanes, rows)

    def sample(self, n: int) -> Float[Tensor, "members n d"]:
        """Return samples of each member with gradient."""
        return self.call("sample", n)(self._state(), self.lanes)

    def move(self, names: Sequence[str]) -> None:
        """Train these parameters alone."""
        self.fixed = self.tensors()
        own = {name: self.fixed.pop(name) for name in names}
        self.free = {name: each.shape[1:] for name, each in own.items()}
        self.moved = [torch.cat([each.flatten(1) for each in own.values()], 1).requires_grad_()] if own else []

    def tensors(self) -> dict[str, Tensor]:
        """Return all parameters and buffers with a leading dimension of members; they share their memory."""
        return {name: each.detach() for name, each in self._state().items()}

    def keep(self, members: Tensor) -> None:
        """Go on with some members."""
        self.fixed = {name: each[members] for name, each in self.fixed.items()}
        self.moved = [each.detach()[members].requires_grad_() for each in self.moved]
        self.lanes = self.lanes[members]

    def _mode(self, *, training: bool) -> None:
        """Train or evaluate; only a change walks through all modules."""
        if self.base.training is not training:
            self.base.train(training)

    def _state(self) -> dict[str, Tensor]:
        """Return all parameters and buffers; those that are trained are views."""
        if not self.free:
            return self.fixed
        (matrix,) = self.moved
        parts = matrix.split([shape.numel() for shape in self.free.values()], 1)
        views = (part.view(len(part), *shape) for part, shape in zip(parts, self.free.values(), strict=True))
        return self.fixed | dict(zip(self.free, views, strict=True))

    def _call(self, method: str, *constants: object) -> Callable[..., Tensor]:
        """Return a function that calls a method of every member."""
        function = getattr(self.base, method)
        # In training or not -> whether the model draws by functions of PyTorch.
        foreign: dict[bool, bool] = {}

        def call(state: dict[str, Tensor], number: Tensor, *rows: Tensor) -> Tensor:
            with _bound(self.slots, state), ExitStack() as around:
                watch = None
                if self.count > 1:
                    lane = Lane(number, self.count)
                    around.enter_context(drawing(lane))
                    # The first call tells: where none is needed, it would cost a sixth of a step.
                    if foreign.get(self.base.training, True):
                        watch = around.enter_context(_Drawing(lane))
                result: Tensor = function(*rows, *constants)
            if watch is not None:
                foreign[self.base.training] = watch.drew
            return result

        return vmap(call, randomness="same")


Slot = tuple[dict[str, Any], str, str]
"""The parameters or buffers of a module, the name of one of them there, and its name in the whole model."""


def _slots(model: nn.Module) -> list[Slot]:
    """Return the place of every parameter and buffer of a model."""
    found: list[Slot] = []
    first: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for own in (module._parameters, module._buffers):
            for name, each in own.items():
                if each is not None:
                    whole = f"{prefix}.{name}" if prefix else name
                    # A tensor that several modules share has one name.
                    found.append((own, name, first.setdefault(id(each), whole)))
    return found


@contextmanager
def _bound(slots: Sequence[Slot], state: dict[str, Tensor]) -> Iterator[None]:
    """Put tensors in the places of a model's parameters and buffers for a while.

    As `torch.func.functional_call` does, which walks through all modules at every call: as long as a step of a small
    model takes.
    """
    before = [own[name] for own, name, _ in slots]
    for own, name, whole in slots:
        own[name] = state.get(whole, own[name])
    try:
        yield
    finally:
        for (own, name, _), each in zip(slots, before, strict=True):
            own[name] = each


class _Drawing(TorchFunctionMode):
    """While it is active, random numbers that a model draws by functions of PyTorch are those of a lane too.

    It stands between every operator of the model and PyTorch. Models of `moreso` do without, by `models.draws`.

    Args:
        lane: the lane of the members.
    """

    def __init__(self, lane: Lane) -> None:
        super().__init__()
        self.lane, self.drew = lane, False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Draw for all lanes if a function of PyTorch draws, else call it as it is."""
        kwargs = kwargs or {}
        if func not in DRAWING:  # nearly all calls
            return func(*args, **kwargs)
        self.drew = True
        if func in LIKE:
            (x,) = args
            func, size, kwargs = LIKE[func], x.shape, {"device": x.device, "dtype": x.dtype} | kwargs
        else:
            size = args or (kwargs.pop("size"),)
            size = size if isinstance(size[0], int) else size[0]
        return func(self.lane.count, *size, **kwargs)[self.lane.number]


def signature(model: nn.Module) -> str:
    """Return a text that is the same for models which may be stacked: classes, settings, and shapes."""
    parts = []
    for name, module in model.named_modules():
        # Tensors that are no buffers are not stacked: all members would compute with those of the first.
        own = {key: value.tolist() if isinstance(value, Tensor) else value for key, value in vars(module).items()}
        plain = {key: value for key, value in own.items() if isinstance(value, bool | int | float | str | tuple | list)}
        parts.append(f"{name} {type(module).__qualname__} {sorted(plain.items())}")
    shapes = [f"{name} {tuple(each.shape)} {each.dtype} {each.requires_grad}" for name, each in named_tensors(model)]
    return "\n".join(parts + shapes)


def refusal(models: Sequence[nn.Module], rows: Float[Tensor, "n d"]) -> str:
    """Return why models cannot be stacked, in PyTorch's words, or nothing if they can.

    Args:
        models: models of equal `signature`.
        rows: some training rows.
    """
    try:
        with seeded(0, rows.device):
            stack = Stack(models[:2], [0, 1], 2)
            stack.move(stack.names)
            tried = rows[:TRIED].expand(len(models[:2]), -1, -1)
            values = stack.loss(tried), stack.validation_loss(tried), stack.sample(TRIED)
            if any(value.shape[0] != len(tried) for value in values):
                return "a method returns no value per member"
            values[0].sum().backward()
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return str(error).strip().split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0]
    return ""


def named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers of a model."""
    return [*model.named_parameters(), *model.named_buffers()]


def noise_names(model: nn.Module) -> list[str]:
    """Return the names of the noise parameters of a model that `HasNoise` and learns them."""
    if not isinstance(model, HasNoise):
        return []
    noise = {id(each) for each in model.noise_parameters() if each.requires_grad}
    return [name for name, each in model.named_parameters() if id(each) in noise]

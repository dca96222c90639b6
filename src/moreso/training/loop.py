"""A training loop for any model with a loss and samples, optionally with a penalty on its samples."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from moreso.guidance import Guidance, Penalty, Push, seeded
from moreso.models import GenerativeModel, HasNoise, HasValidationLoss
from moreso.training.checkpoint import Checkpoint, Resume, State, purpose
from moreso.training.device import machine

VALIDATION_DRAWS = 512
"""Few validation rows are repeated to about this many, to average out the noise of a stochastic loss."""

NOISE_PACE = 10.0
"""Factor on the learning rate for the phase that trains the noise alone, with the networks' parameters fixed."""

PATIENT_STEPS, PATIENT_EPOCHS = 2000, 10
"""Epochs of long tables have many steps, so patience ends after this many steps, but not before this many epochs."""


@dataclass(frozen=True)
class Schedule:
    """How long a model is trained, and on which rows.

    Args:
        validation: share of the rows used for early stopping, at least one row.
        batch_size: rows per step; if it exceeds the number of rows, an epoch is one step.
        max_epochs: the most epochs to train, including those of the noise.
        patience: epochs without improvement after which training stops; fewer on long tables, see `PATIENT_STEPS`.
        learning_rate: the learning rate of Adam; the noise alone learns with `NOISE_PACE` times as much.
    """

    validation: float = 0.25
    batch_size: int = 128
    max_epochs: int = 3000
    patience: int = 200
    learning_rate: float = 5e-3


@dataclass(frozen=True)
class History:
    """The history of a fit.

    Args:
        epochs: the number of epochs, including those of the noise alone.
        best_epoch: the epoch whose parameters were kept.
        validation_loss: the validation loss after each evaluated epoch.
        penalty: the last penalty in each epoch; empty if there was none.
        interrupted: whether Ctrl-C ended the fit; the best parameters so far were kept.
    """

    epochs: int
    best_epoch: int
    validation_loss: tuple[float, ...]
    penalty: tuple[float, ...]
    interrupted: bool = False


def fit(
    model: nn.Module,
    rows: Float[Tensor, "n d"],
    *,
    penalty: Penalty | None = None,
    guidance: Guidance | None = None,
    schedule: Schedule | None = None,
    fold: int = 0,
    random_state: int = 0,
    progress: bool = False,
    label: str = "fit",
    fabric: Fabric | None = None,
    resume: Resume | None = None,
) -> History:
    """Train `model` in place, with early stopping on rows that it does not train on.

    Each step descends on `model.loss(batch) + weight * penalty(model.sample(draws))`. The penalty's draws use their own
    random numbers, so that a fit with weight 0 is bit-identical to one without a penalty. The parameters of the epoch
    with the lowest validation loss (without the penalty) are kept, even if Ctrl-C ends the training early. No global
    random state is changed.

    For a model that `HasNoise`, a second phase starts from these parameters and trains the noise alone, with the same
    penalty and fresh patience. It is skipped after Ctrl-C or if `max_epochs` are used up.

    If a fit was killed, a call with the same arguments resumes from its checkpoint, with bit-identical results.

    Args:
        model: a `GenerativeModel`.
        rows: the training rows, standardised; a share of them is held out for validation.
        penalty: a scalar on samples, usually a `moreso.Regularizer`.
        guidance: how strongly and how often the penalty is pushed.
        schedule: how long to train, and on which rows.
        fold: which share of the random order is held out for validation, counted from the end, from 0. Folds are
            disjoint, and each has its own noise.
        random_state: seed of the split, the order of the rows, the model's noise and the penalty's draws.
        progress: show a progress bar with loss and penalty.
        label: the name of the progress bar.
        fabric: device, precision and loggers, as `machine` returns them; by default one CPU. After each epoch, loggers
            get 'validation_loss', 'penalty' and 'held', the share of statements that hold in samples.
        resume: where checkpoints go. The checkpoint of a fit with other rows, settings, model or penalty is refused;
            but penalties that are not modules cannot be distinguished.

    Raises:
        TypeError: the model has no `loss` or no `sample`.
        ValueError: settings are out of range, the precision is "16-mixed", a validation loss is not finite, or samples
            are not finite (the error names the step).
    """
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"the model must have 'loss(x)' and 'sample(n)', got {type(model).__name__}. See moreso.models."
        )
    guidance, schedule = guidance or Guidance(), schedule or Schedule()
    fabric = fabric or machine()
    _check(guidance, fabric)
    with seeded(random_state + fold, fabric.device), _bar(progress) as bar:
        train, stops = (rows[part] for part in split(len(rows), schedule.validation, random_state, fold))
        held_out = fabric.to_device(stops.repeat(max(1, VALIDATION_DRAWS // len(stops)), 1))
        batches = DataLoader(TensorDataset(train), batch_size=schedule.batch_size, shuffle=True)
        loader = cast(DataLoader, fabric.setup_dataloaders(batches))
        patience = min(schedule.patience, max(PATIENT_EPOCHS, math.ceil(PATIENT_STEPS / len(loader))))
        module: _Wrapped
        phases = _phases(model, schedule.learning_rate)
        module, *optimizers = fabric.setup(model, *(torch.optim.Adam(part, lr=rate) for part, rate in phases))
        module.mark_forward_method("loss")
        module.mark_forward_method("sample")
        modules: dict[str, nn.Module] = {"model": model}
        if isinstance(penalty, nn.Module):
            modules["penalty"] = penalty.to(fabric.device)

        def draw(n: int) -> Tensor:
            with fabric.autocast():
                return module.sample(n)

        push = None if penalty is None else Push(draw, penalty, guidance, random_state=random_state + fold)
        epochs = _Epochs(fabric, module, loader, held_out, None if guidance.weight == 0 else push)
        # The number of epochs is left out, so that a longer fit may resume from a shorter one.
        settings = guidance, schedule.validation, schedule.batch_size, schedule.learning_rate, fold, random_state
        where = str(fabric.device), fabric.strategy.precision.precision, NOISE_PACE
        digest = "" if resume is None else purpose(rows, model, penalty, (*settings, *where))
        file = Checkpoint(resume, digest, modules, optimizers, push)
        state, kept = file.read() or (State(), copy.deepcopy(model.state_dict()))
        task = bar.add_task(label, total=schedule.max_epochs, completed=state.epoch, note="") if bar else None
        interrupted = False
        try:
            while state.phase < len(phases):
                with _alone(model, phases[state.phase][0]):
                    while (
                        state.epoch < schedule.max_epochs
                        and state.epoch - max(state.best_epoch, state.began) <= patience
                    ):
                        metrics = epochs.run(state, optimizers[state.phase])
                        if state.best_epoch == state.epoch - 1:
                            kept = copy.deepcopy(model.state_dict())
                        fabric.log_dict(metrics, step=state.epoch)
                        _show(bar, task, metrics)
                        file.offer(state, kept)
                model.load_state_dict(kept)
                state.end_phase()
        except KeyboardInterrupt:
            interrupted = True
        for logger in fabric.loggers:
            logger.finalize("success")
        model.load_state_dict(kept)
        model.eval()
        file.end(state, kept, interrupted=interrupted)
    return History(state.epoch, state.best_epoch, tuple(state.losses), tuple(state.penalties), interrupted)


@runtime_checkable
class _Wrapped(Protocol):
    """A model as Fabric wraps it, without types."""

    module: nn.Module

    def loss(self, x: Tensor) -> Tensor: ...
    def sample(self, n: int) -> Tensor: ...
    def parameters(self) -> Iterable[nn.Parameter]: ...
    def train(self) -> object: ...
    def eval(self) -> object: ...
    def mark_forward_method(self, method: str) -> None: ...


@dataclass(frozen=True)
class _Epochs:
    """Everything that an epoch needs."""

    fabric: Fabric
    module: _Wrapped
    loader: Iterable[Sequence[Tensor]]
    held_out: Tensor
    push: Push | None

    def run(self, state: State, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Take the steps of one epoch, and return its metrics."""
        self.module.train()
        for (batch,) in self.loader:
            optimizer.zero_grad()
            with self.fabric.autocast():
                loss = self.module.loss(batch)
            self.fabric.backward(loss)
            pushed = None
            if self.push is not None and state.step % self.push.guidance.every == 0:
                pushed = self.push(self.module.parameters(), step=state.step)
            optimizer.step()
            state.take_step(pushed)
        with self.fabric.autocast():
            validation_loss = _evaluate(self.module, self.held_out)
        return state.end_epoch(validation_loss, penalized=self.push is not None)


def _phases(model: nn.Module, learning_rate: float) -> list[tuple[list[nn.Parameter], float]]:
    """Return the parameters and the learning rate of each phase."""
    phases = [(list(model.parameters()), learning_rate)]
    if isinstance(model, HasNoise) and (noise := [each for each in model.noise_parameters() if each.requires_grad]):
        phases.append((noise, NOISE_PACE * learning_rate))
    return phases


@contextmanager
def _alone(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Freeze all other parameters of the model."""
    learning = {id(parameter) for parameter in parameters}
    others = [each for each in model.parameters() if each.requires_grad and id(each) not in learning]
    for each in others:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in others:
            each.requires_grad_(True)


def split(n: int, validation: float, random_state: int, fold: int = 0) -> tuple[Tensor, Tensor]:
    """Return which of n rows `fit` trains on, and its validation rows, at least one."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(random_state))
    held, most = _held(n, validation), most_folds(n, validation)
    if not 0 <= fold < most:
        raise ValueError(
            f"'fold' must be from 0 to {most - 1}, got {fold}. {n} rows at {validation} each have no other."
        )
    start, stop = n - (fold + 1) * held, n - fold * held
    return torch.cat([order[:start], order[stop:]]), order[start:stop]


def most_folds(n: int, validation: float) -> int:
    """Return the number of disjoint sets of validation rows in n rows."""
    return n // _held(n, validation)


def _held(n: int, validation: float) -> int:
    return max(1, round(validation * n))


def _check(guidance: Guidance, fabric: Fabric) -> None:
    problems = guidance.problems()
    if fabric.strategy.precision.precision == "16-mixed":
        problems.append("the precision '16-mixed' scales the loss and not the penalty. Take 'bf16-mixed'.")
    if problems:
        raise ValueError("\n".join(problems))


def _evaluate(model: _Wrapped, rows: Tensor) -> float:
    """Return the validation loss on rows, with the same random numbers every time."""
    model.eval()
    watched = "validation_loss" if isinstance(model.module, HasValidationLoss) else "loss"
    model.mark_forward_method(watched)
    with torch.no_grad(), seeded(0):
        loss = float(getattr(model, watched)(rows))
    if not math.isfinite(loss):
        raise ValueError(f"the model's loss became {loss}. Lower the learning rate or scale the columns.")
    return loss


def _bar(shown: bool) -> AbstractContextManager[Progress | None]:
    if not shown:
        return nullcontext()
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}")
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show(bar: Progress | None, task: TaskID | None, metrics: dict[str, float]) -> None:
    if bar and task is not None:
        bar.update(task, advance=1, note="  ".join(f"{key} {value:.3f}" for key, value in metrics.items()))

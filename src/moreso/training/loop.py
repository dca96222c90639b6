"""The loop, for people who have none: any model with a loss and samples, and optionally a penalty on its samples."""

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from moreso.models import GenerativeModel, HasNoise, HasValidationLoss
from moreso.training.checkpoint import Checkpoint, State, purpose
from moreso.training.machine import machine, seeded
from moreso.training.pushing import AUTO_RATIO, Penalty, check_weight, push

VALIDATION_DRAWS = 512
"""Few validation rows are repeated to about this many, so that a stochastic loss does not decide by its noise."""

NOISE_PACE = 10.0
"""Times the learning rate, for the noise alone: what is left to learn when the networks' parameters stand still."""

PATIENT_STEPS, PATIENT_EPOCHS = 2000, 10
"""An epoch of a long table is many steps: patience ends after so many steps, but not before so many epochs."""


@dataclass(frozen=True)
class History:
    """What happened in a fit.

    Args:
        epochs: how many were run, those of the noise alone included.
        best_epoch: the one whose parameters were kept.
        validation_loss: after each epoch that was evaluated.
        penalty: as last seen in each epoch; empty where there was none.
        interrupted: whether Ctrl-C ended it; the best parameters until then were kept.
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
    weight: float | str = "auto",
    ratio: float = AUTO_RATIO,
    draws: int = 256,
    every: int = 1,
    validation: float = 0.25,
    fold: int = 0,
    batch_size: int = 128,
    max_epochs: int = 3000,
    patience: int = 200,
    learning_rate: float = 5e-3,
    random_state: int = 0,
    progress: bool = False,
    label: str = "fit",
    fabric: Fabric | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    keep_checkpoint: bool = False,
) -> History:
    """Train `model` in place, with early stopping on rows that it does not train on.

    Each step descends on `model.loss(batch) + weight * penalty(model.sample(draws))`. The penalty's draws use their own
    random numbers, so that a fit with weight 0 is bit-identical to one without a penalty. The parameters of the epoch
    with the lowest validation loss (without the penalty) are kept, also where Ctrl-C ends the training early. No global
    random state is changed.

    Then a model that `HasNoise` goes on from these parameters with its noise alone, under the same penalty and with the
    same patience anew; not after Ctrl-C, nor when `max_epochs` are used up.

    A fit that was killed and is called again with the same arguments goes on from its checkpoint, to the same bits.

    Args:
        model: a `GenerativeModel`.
        rows: the training rows, standardised; a share `validation` of them decides when to stop.
        penalty: a scalar on samples, usually a `moreso.Regularizer`.
        weight: of the penalty, 0 or more; "auto" makes the penalty's gradient `ratio` times as long as the loss's, on
            the parameters that samples depend on.
        ratio: of the two lengths, above 0.
        draws: samples for the penalty, each time.
        every: steps from one push of the penalty to the next.
        validation: share of the rows, at least one row.
        fold: which share of the random order that is, from 0, the last: no row is of two. Each has its own noise.
        batch_size: rows a step; a larger batch than there are rows is one step an epoch.
        max_epochs: after which training stops anyway, that of the noise included.
        patience: epochs without improvement after which it stops; on long tables fewer, see `PATIENT_STEPS`.
        learning_rate: of Adam; for the noise alone `NOISE_PACE` times as much.
        random_state: seed of the split, the order of the rows, the model's noise and the penalty's draws.
        progress: show a bar with loss and penalty.
        label: the bar's name.
        fabric: device, precision and loggers, as `machine` makes them; by default one CPU. Loggers get
            'validation_loss', 'penalty' and 'held', the share of statements that hold in samples, after each epoch.
        checkpoint: a file from which a killed fit goes on; deleted when the fit has ended. That of a fit with other
            rows, settings, model or penalty is refused; a penalty that is no module cannot be told from another.
        checkpoint_every: steps after which it is written, at the end of an epoch.
        keep_checkpoint: leave the file of a fit that has ended, so that a job of several fits, killed later, does not
            repeat it; whoever calls deletes it.

    Raises:
        TypeError: the model has no `loss` or no `sample`.
        ValueError: a weight, a ratio or an `every` out of its range, precision "16-mixed", or a loss or samples that
            are not finite, with the step.
    """
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"the model must have 'loss(x)' and 'sample(n)', got {type(model).__name__}. See moreso.models."
        )
    check_weight(weight, ratio)
    fabric = fabric or machine()
    _check(every, fabric)
    with seeded(random_state + fold, fabric.device), _bar(progress) as bar:
        seeds = torch.Generator().manual_seed(random_state + fold)
        how = str(fabric.device), fabric.strategy.precision.precision, NOISE_PACE
        settings = weight, ratio, draws, every, validation, fold, batch_size, learning_rate, random_state, how
        digest = purpose(rows, model, penalty, settings) if checkpoint is not None else ""
        train, stops = (rows[part] for part in split(len(rows), validation, random_state, fold))
        held_out = fabric.to_device(stops.repeat(max(1, VALIDATION_DRAWS // len(stops)), 1))
        loader = fabric.setup_dataloaders(DataLoader(TensorDataset(train), batch_size=batch_size, shuffle=True))
        patience = min(patience, max(PATIENT_EPOCHS, math.ceil(PATIENT_STEPS / len(loader))))
        module: Any
        phases = _phases(model, learning_rate)
        module, *optimizers = fabric.setup(model, *(torch.optim.Adam(part, lr=rate) for part, rate in phases))
        module.mark_forward_method("loss")
        module.mark_forward_method("sample")
        modules: dict[str, nn.Module] = {"model": model}
        if isinstance(penalty, nn.Module):
            modules["penalty"] = penalty.to(fabric.device)

        pushing = None if weight == 0 else penalty
        pushed = (
            None if pushing is None else partial(push, module, pushing, weight, ratio, draws, seeds, fabric.autocast)
        )
        rounds = _Rounds(fabric, module, loader, held_out, pushed, every, lambda: getattr(pushing, "held", math.nan))
        file = Checkpoint(None if checkpoint is None else Path(checkpoint), digest, modules, optimizers, seeds)
        state, kept = file.read() or (State(), copy.deepcopy(model.state_dict()))
        task = bar.add_task(label, total=max_epochs, completed=state.epoch, note="") if bar else None
        saved, interrupted = state.step, False
        try:
            while state.phase < len(phases):
                with _alone(model, phases[state.phase][0]):
                    while state.epoch < max_epochs and state.epoch - max(state.best_epoch, state.began) <= patience:
                        metrics = rounds.epoch(state, optimizers[state.phase])
                        if state.best_epoch == state.epoch - 1:
                            kept = copy.deepcopy(model.state_dict())
                        fabric.log_dict(metrics, step=state.epoch)
                        _show(bar, task, metrics)
                        if state.step - saved >= checkpoint_every:
                            file.write(state, kept)
                            saved = state.step
                model.load_state_dict(kept)
                state.phase, state.began = state.phase + 1, state.epoch
        except KeyboardInterrupt:
            interrupted = True
        for logger in fabric.loggers:
            logger.finalize("success")
        model.load_state_dict(kept)
        model.eval()
        file.end(state, kept, stays=keep_checkpoint and not interrupted)
    return History(state.epoch, state.best_epoch, tuple(state.losses), tuple(state.penalties), interrupted)


@dataclass(frozen=True)
class _Rounds:
    """What an epoch needs."""

    fabric: Fabric
    module: Any
    loader: Any
    held_out: Tensor
    push: Callable[[int], float] | None
    every: int
    held: Callable[[], float]

    def epoch(self, state: State, optimizer: Any) -> dict[str, float]:
        """Take the steps of one epoch, and return what is worth telling of it."""
        self.module.train()
        for (batch,) in self.loader:
            optimizer.zero_grad()
            with self.fabric.autocast():
                loss = self.module.loss(batch)
            self.fabric.backward(loss)
            if self.push is not None and state.step % self.every == 0:
                state.pushed = self.push(state.step)
            optimizer.step()
            state.step += 1
        with self.fabric.autocast():
            state.losses.append(_evaluate(self.module, self.held_out))
        if state.losses[-1] < state.best:
            state.best, state.best_epoch = state.losses[-1], state.epoch
        state.epoch += 1
        if self.push is None:
            return {"validation_loss": state.losses[-1]}
        state.penalties.append(state.pushed)
        return {"validation_loss": state.losses[-1], "penalty": state.pushed, "held": self.held()}


def _phases(model: nn.Module, learning_rate: float) -> list[tuple[list[nn.Parameter], float]]:
    """Return what is trained, one after the other, and how fast."""
    phases = [(list(model.parameters()), learning_rate)]
    if isinstance(model, HasNoise) and (noise := [each for each in model.noise_parameters() if each.requires_grad]):
        phases.append((noise, NOISE_PACE * learning_rate))
    return phases


@contextmanager
def _alone(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let no other parameter of the model learn."""
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
    """Return which of n rows `fit` trains on, and which decide when it stops: at least one."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(random_state))
    held, most = _held(n, validation), most_folds(n, validation)
    if not 0 <= fold < most:
        raise ValueError(
            f"'fold' must be from 0 to {most - 1}, got {fold}. {n} rows at {validation} each have no other."
        )
    start, stop = n - (fold + 1) * held, n - fold * held
    return torch.cat([order[:start], order[stop:]]), order[start:stop]


def most_folds(n: int, validation: float) -> int:
    """Return into how many shares of rows that decide when to stop n rows can be dealt."""
    return n // _held(n, validation)


def _held(n: int, validation: float) -> int:
    return max(1, round(validation * n))


def _check(every: int, fabric: Fabric) -> None:
    if every < 1:
        raise ValueError(f"'every' must be at least 1, got {every}. 1 pushes at every step.")
    if fabric.strategy.precision.precision == "16-mixed":
        raise ValueError("the precision '16-mixed' scales the loss and not the penalty. Take 'bf16-mixed'.")


def _evaluate(model: Any, rows: Tensor) -> float:
    """Return the validation loss on rows, under the same random numbers every time."""
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

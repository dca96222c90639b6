"""Everything that a fit needs to resume after it was killed, in one file without pickle."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from moreso import _archive
from moreso.guidance import Push, Pushed


@dataclass(frozen=True)
class Resume:
    """Where and how often to write the checkpoints of a fit.

    Args:
        path: a file from which a killed fit resumes; deleted when the fit ends.
        every: the number of steps after which it is written, at the end of an epoch.
        keep: keep the file when the fit ends, so that a job of several fits, if killed later, does not repeat this one;
            the caller deletes the file.
    """

    path: str | os.PathLike[str]
    every: int = 100
    keep: bool = False


@dataclass
class State:
    """The progress of a fit.

    Args:
        epoch: the next epoch to run.
        phase: what is trained: 0 for the model, 1 for its noise alone.
        began: the first epoch of the phase.
        step: the number of steps taken.
        best: the lowest validation loss.
        best_epoch: the epoch with the lowest validation loss.
        losses: validation loss after each epoch.
        penalties: the last penalty in each epoch.
        pushed: the last penalty.
        held: the last share of statements that held in samples.
    """

    epoch: int = 0
    phase: int = 0
    began: int = 0
    step: int = 0
    best: float = float("inf")
    best_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)
    pushed: float = 0.0
    held: float = math.nan

    def take_step(self, pushed: Pushed | None) -> None:
        """Count a step, and record the push if there was one."""
        self.step += 1
        if pushed is not None:
            self.pushed, self.held = pushed.penalty, pushed.held

    def end_epoch(self, loss: float, *, penalized: bool) -> dict[str, float]:
        """Count an epoch, record its losses, and return its metrics."""
        self.losses.append(loss)
        if loss < self.best:
            self.best, self.best_epoch = loss, self.epoch
        self.epoch += 1
        if not penalized:
            return {"validation_loss": loss}
        self.penalties.append(self.pushed)
        return {"validation_loss": loss, "penalty": self.pushed, "held": self.held}

    def end_phase(self) -> None:
        """Begin the next phase."""
        self.phase, self.began = self.phase + 1, self.epoch


@dataclass
class Checkpoint:
    """The file of one fit.

    Args:
        resume: where and how often to write; None writes nothing.
        purpose: identifies the fit: a digest of rows and settings.
        modules: the modules whose parameters and buffers are saved, by name.
        optimizers: one per phase, each with one state per parameter.
        push: the push of a penalty, whose seeds and shared standard errors are saved. The global generators of the CPU
            and of CUDA devices are saved too.
    """

    resume: Resume | None
    purpose: str
    modules: dict[str, nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    push: Push | None
    _written: int = 0

    def offer(self, state: State, kept: dict[str, Tensor]) -> None:
        """Write everything if it is time."""
        if self.resume is not None and state.step - self._written >= self.resume.every:
            self.write(state, kept)

    def write(self, state: State, kept: dict[str, Tensor]) -> None:
        """Write everything, atomically."""
        if self.resume is None:
            return
        self._written = state.step
        tensors = {f"kept.{name}": tensor for name, tensor in kept.items()}
        for name, module in self.modules.items():
            tensors |= {f"module.{name}.{key}": tensor for key, tensor in module.state_dict().items()}
        for phase, optimizer in enumerate(self.optimizers):
            for index, own in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{phase}.{index}.{key}": torch.as_tensor(value) for key, value in own.items()}
        if self.push is not None:
            tensors |= {f"push.{name}": tensor for name, tensor in self.push.state().items()}
        tensors["random.global"] = torch.get_rng_state()
        for device, own in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
            tensors[f"random.cuda{device}"] = own
        # Tensors that share memory, as those of the best and the current state may, are written separately.
        copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        _archive.write(self.resume.path, {"purpose": self.purpose, "state": asdict(state)}, copies)

    def read(self) -> tuple[State, dict[str, Tensor]] | None:
        """Restore everything, and return the fit's progress and best parameters, or None without a file.

        Raises:
            ValueError: the file is damaged or belongs to another fit.
        """
        if self.resume is None or not Path(self.resume.path).exists():
            return None
        header, tensors = _archive.read(self.resume.path)
        if header.get("purpose") != self.purpose:
            raise ValueError(
                f"{self.resume.path}: belongs to a fit of other rows or with other settings. Delete it, and those "
                "named after it, to start anew, or name another checkpoint."
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        for name, module in self.modules.items():
            module.load_state_dict(part(f"module.{name}."))
        for phase, optimizer in enumerate(self.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in part(f"optimizer.{phase}.").items():
                index, key = name.split(".", 1)
                moments.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
        if self.push is not None:
            self.push.restore(part("push."))
        torch.set_rng_state(tensors["random.global"])
        for name, value in part("random.cuda").items():
            torch.cuda.set_rng_state(value, int(name))
        state = State(**header["state"])
        self._written = state.step
        return state, part("kept.")

    def end(self, state: State, kept: dict[str, Tensor], *, interrupted: bool) -> None:
        """Write the last state of a fit that has ended if it is to be kept, else delete the file."""
        if self.resume is None:
            return
        if self.resume.keep and not interrupted:
            self.write(state, kept)
        else:
            Path(self.resume.path).unlink(missing_ok=True)


def purpose(rows: Tensor, model: nn.Module, penalty: object, settings: tuple[object, ...]) -> str:
    """Return a digest of what determines a fit: rows, settings, and the structure and start of model and penalty."""
    modules = [part for part in (model, penalty) if isinstance(part, nn.Module)]
    # The text of a module contains its settings, and that of a regularizer its statements.
    digest = hashlib.sha256(repr((settings, penalty is None, modules)).encode())
    for tensor in (rows, *(value for module in modules for value in module.state_dict().values())):
        digest.update(repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

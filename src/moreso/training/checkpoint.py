"""Everything that a training needs to resume after it was killed, in one file without pickle."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from moreso import _archive
from moreso.guidance import Push
from moreso.training.processes import Processes
from moreso.training.stack import named_tensors


@dataclass(frozen=True)
class Resume:
    """Where and how often to write the checkpoints of a training.

    Args:
        path: a file from which a killed training resumes; deleted when it ends.
        every: the number of steps after which it is written, at the end of an epoch.
        keep: keep the file when the training ends, so that a job of several, if killed later, does not repeat this one;
            the caller deletes the file.
    """

    path: str | os.PathLike[str]
    every: int = 100
    keep: bool = False


@dataclass
class Trained:
    """The progress of one member.

    Args:
        epochs: the number of epochs that it was trained.
        began: its first epoch in the present phase.
        best: the lowest validation loss.
        best_epoch: the epoch with the lowest validation loss.
        losses: the validation loss after each evaluated epoch.
        penalties: the last penalty before each evaluation.
        shares: the share of statements that held in the samples of these penalties.
        pushed: the last penalty.
        held: the last share of statements that held in samples.
    """

    epochs: int = 0
    began: int = 0
    best: float = math.inf
    best_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    pushed: float = math.nan
    held: float = math.nan

    def evaluate(self, loss: float) -> bool:
        """Record a validation loss, and return whether it is the lowest."""
        self.losses.append(loss)
        if loss < self.best:
            self.best, self.best_epoch = loss, self.epochs - 1
            return True
        return False

    def take_epoch(self) -> None:
        """Count an epoch."""
        self.epochs += 1

    def begin_phase(self) -> None:
        """Count patience from here."""
        self.began = self.epochs

    def record_push(self) -> None:
        """Record the last push beside the last validation loss."""
        self.penalties.append(self.pushed)
        self.shares.append(self.held)

    def push(self, penalty: float, held: float) -> None:
        """Keep a push as the last one."""
        self.pushed, self.held = penalty, held

    def waited(self) -> int:
        """Return the number of epochs since the best one, or since the phase began."""
        return self.epochs - max(self.best_epoch, self.began)


@dataclass
class State:
    """The progress of a population.

    Args:
        members: the progress of each.
        active: the positions of those that are being trained.
        phase: what is trained: 0 for the models, 1 for their noise alone.
        step: the number of steps taken.
    """

    members: list[Trained]
    active: list[int]
    phase: int = 0
    step: int = 0

    @classmethod
    def of(cls, members: int) -> "State":
        """Return the state of a training that is about to begin."""
        return cls([Trained() for _ in range(members)], list(range(members)))

    def take_step(self) -> None:
        """Count a step."""
        self.step += 1

    def keep(self, active: list[int]) -> None:
        """Go on with these members."""
        self.active = active

    def end_phase(self) -> None:
        """Go on to the next phase, with nobody yet."""
        self.phase, self.active = self.phase + 1, []
        for member in self.members:
            member.begin_phase()

    @classmethod
    def from_dict(cls, state: "dict[str, list[dict[str, list[float]]]]") -> "State":
        """Return the state that `asdict` turned into values of JSON."""
        return cls(**(state | {"members": [Trained(**each) for each in state["members"]]}))  # type: ignore[arg-type]


@dataclass
class Checkpoint:
    """The file of one training.

    Args:
        resume: where and how often to write; None writes nothing.
        purpose: identifies the training: a digest of rows and settings.
        processes: those that share every batch; the first one writes.
    """

    resume: Resume | None
    purpose: str
    processes: Processes = field(default_factory=Processes)
    _written: int = 0

    def due(self, state: State) -> bool:
        """Return whether it is time to write."""
        return self.resume is not None and state.step - self._written >= self.resume.every

    def write(
        self,
        state: State,
        kept: dict[str, Tensor],
        now: dict[str, Tensor],
        optimizer: torch.optim.Optimizer | None,
        push: Push | None,
        filled: Sequence[Tensor] = (),
    ) -> None:
        """Write everything, atomically.

        Args:
            state: the progress.
            kept: the best tensors of all members.
            now: the present tensors of the active members.
            optimizer: that of the present phase.
            push: the push of a penalty, whose seeds and shared standard errors are saved. The global generators of the
                CPU, of every process, and of CUDA devices are saved too.
            filled: rows whose missing values were drawn.
        """
        if self.resume is None:
            return
        self._written = state.step
        first, *others = self.processes.gather(torch.get_rng_state())
        if self.processes.rank:
            return
        tensors = {f"kept.{name}": each for name, each in kept.items()}
        tensors |= {f"now.{name}": each for name, each in now.items()}
        if optimizer is not None:
            for index, own in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in own.items()}
        if push is not None:
            tensors |= {f"push.{name}": each for name, each in push.state().items()}
        tensors |= {f"filled.{place}": each for place, each in enumerate(filled)}
        tensors["random.global"] = first
        tensors |= {f"random.rank{rank}": each for rank, each in enumerate(others, 1)}
        for device, own in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
            tensors[f"random.cuda{device}"] = own
        # Tensors that share memory, as those of the best and the current state may, are written separately.
        copies = {name: each.detach().cpu().clone() for name, each in tensors.items()}
        _archive.write(self.resume.path, {"purpose": self.purpose, "state": asdict(state)}, copies)

    def read(self) -> "Read | None":
        """Return what was written, or None without a file.

        Raises:
            ValueError: the file is damaged or belongs to another training.
        """
        if self.resume is None or not Path(self.resume.path).exists():
            return None
        header, tensors = _archive.read(self.resume.path)
        if header.get("purpose") != self.purpose:
            raise ValueError(
                f"{self.resume.path}: belongs to a fit of other rows or with other settings. Delete it, and those "
                "named after it, to start anew, or name another checkpoint."
            )
        state = State.from_dict(header["state"])
        self._written = state.step
        return Read(state, tensors)

    def end(self, state: State, kept: dict[str, Tensor], *, interrupted: bool) -> None:
        """Write the last state of a training that has ended if it is to be kept, else delete the file."""
        if self.resume is None:
            return
        if self.resume.keep and not interrupted:
            self.write(state, kept, {}, None, None)
        elif self.processes.rank == 0:
            Path(self.resume.path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Read:
    """What a checkpoint held.

    Args:
        state: the progress.
        tensors: all tensors by name.
    """

    state: State
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin so, without the prefix."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def restore(self, optimizer: torch.optim.Optimizer, push: Push | None, rank: int) -> None:
        """Restore the optimizer, the push and the global generators, those of one of several processes.

        A process beyond those that there were goes on with random numbers of its own. So do all but the first on CUDA.
        """
        moments: dict[int, dict[str, Tensor]] = {}
        for name, each in self.part("optimizer.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = each
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
        if push is not None and (own := self.part("push.")):
            push.restore(own)
        name = f"random.rank{rank}" if rank else "random.global"
        if name in self.tensors:
            torch.set_rng_state(self.tensors[name])
        if rank == 0:
            for device, value in self.part("random.cuda").items():
                torch.cuda.set_rng_state(value, int(device))


def purpose(rows: Sequence[Tensor], modules: Sequence[object], settings: tuple[object, ...]) -> str:
    """Return a digest of what determines a training: rows, settings, and the structure and start of all modules.

    Args:
        rows: all rows.
        modules: models and penalties; of those that are no modules, only their number counts.
        settings: everything else.
    """
    own = [module for module in modules if isinstance(module, nn.Module)]
    # The text of a module contains its settings, and that of a regularizer its statements.
    digest = hashlib.sha256(repr((settings, len(modules), own)).encode())
    for tensor in (*rows, *(each for module in own for _, each in named_tensors(module))):
        digest.update(repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

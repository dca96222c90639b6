"""All that a fit needs to go on after it was killed, in one file without pickle."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from moreso import archive


@dataclass
class State:
    """How far a fit has come.

    Args:
        epoch: the next to run.
        phase: what is trained: 0 the model, 1 its noise alone.
        began: the phase's first epoch.
        step: how many steps were taken.
        best: the lowest validation loss.
        best_epoch: after which it was seen.
        losses: validation loss after each epoch.
        penalties: penalty as last seen in each epoch.
        pushed: the last penalty.
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


@dataclass
class Checkpoint:
    """A place for the state of one fit.

    Args:
        path: of the file; None keeps nothing.
        purpose: tells this fit from all others: a digest of rows and settings.
        modules: whose parameters and buffers are kept, by name.
        optimizers: one a phase, each with one state a parameter.
        generator: of the penalty's seeds; the global generator of the CPU, and those of CUDA devices, are kept too.
    """

    path: Path | None
    purpose: str
    modules: dict[str, nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    generator: torch.Generator

    def write(self, state: State, kept: dict[str, Tensor]) -> None:
        """Write everything, whole or not at all."""
        if self.path is None:
            return
        tensors = {f"kept.{name}": tensor for name, tensor in kept.items()}
        for name, module in self.modules.items():
            tensors |= {f"module.{name}.{key}": tensor for key, tensor in module.state_dict().items()}
        for phase, optimizer in enumerate(self.optimizers):
            for index, own in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{phase}.{index}.{key}": torch.as_tensor(value) for key, value in own.items()}
        tensors["random.global"], tensors["random.seeds"] = torch.get_rng_state(), self.generator.get_state()
        for device, own in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
            tensors[f"random.cuda{device}"] = own
        # Tensors that share memory, as the best state and the present one may, are written as two.
        copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        archive.write(self.path, {"purpose": self.purpose, "state": asdict(state)}, copies)

    def read(self) -> tuple[State, dict[str, Tensor]] | None:
        """Put everything back, and return how far the fit had come and its best parameters, where there is a file.

        Raises:
            ValueError: the file is damaged, or of another fit.
        """
        if self.path is None or not self.path.exists():
            return None
        header, tensors = archive.read(self.path)
        if header.get("purpose") != self.purpose:
            raise ValueError(
                f"{self.path}: belongs to a fit of other rows or with other settings. Delete it, and those named "
                "after it, to start anew, or name another checkpoint."
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
        self.generator.set_state(tensors["random.seeds"])
        torch.set_rng_state(tensors["random.global"])
        for name, value in part("random.cuda").items():
            torch.cuda.set_rng_state(value, int(name))
        return State(**header["state"]), part("kept.")

    def end(self, state: State, kept: dict[str, Tensor], *, stays: bool) -> None:
        """Leave the last state of a fit that has ended, or delete the file."""
        if stays:
            self.write(state, kept)
        elif self.path is not None:
            self.path.unlink(missing_ok=True)


def purpose(rows: Tensor, model: nn.Module, penalty: object, settings: tuple[object, ...]) -> str:
    """Return a digest of what decides a fit: rows, settings, and how model and penalty are made and start."""
    modules = [part for part in (model, penalty) if isinstance(part, nn.Module)]
    # A module's text holds its settings, and that of a regularizer its statements.
    digest = hashlib.sha256(repr((settings, penalty is None, modules)).encode())
    for tensor in (rows, *(value for module in modules for value in module.state_dict().values())):
        digest.update(repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

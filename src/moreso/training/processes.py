"""Training by several processes of `torch.distributed`: what each of them computes, and what they tell each other."""

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

import torch
import torch.distributed as dist
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

STRATEGIES = "auto", "ddp", "members"
"""What several processes share: "ddp" the rows of every batch, "members" the models of a population. "auto" shares the
models if there are as many as processes, else the rows."""


def is_first_process() -> bool:
    """Return whether this process is the first of several that train together, or the only one."""
    return not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0


@dataclass(frozen=True)
class Processes:
    """The processes that train something together, as one of them sees it.

    All of them must call the same methods in the same order. With one process, nothing is sent.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
        device: where tensors must be to be sent.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of(cls, fabric: Fabric) -> "Processes":
        """Return those that a Fabric has launched."""
        if not dist.is_available() or not dist.is_initialized() or fabric.world_size == 1:
            return cls()
        return cls(fabric.global_rank, fabric.world_size, fabric.device)

    def share(self, rows: Float[Tensor, "members n d"]) -> tuple[Float[Tensor, "members m d"], float]:
        """Return the rows of this process, and their share of all.

        Of fewer rows than processes, each takes all of them.
        """
        n = rows.shape[1]
        if self.size == 1 or n < self.size:
            return rows, 1 / self.size
        own = rows[:, self.rank :: self.size]
        return own, own.shape[1] / n

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace the gradients by their sums over all processes, in one message."""
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        whole = torch.cat([grad.flatten() for grad in gradients])
        dist.all_reduce(whole)
        for grad, part in zip(gradients, whole.split([grad.numel() for grad in gradients]), strict=True):
            grad.copy_(part.view_as(grad))

    def send(self, tensors: Sequence[Tensor], source: int = 0) -> None:
        """Replace tensors by those of one process."""
        if self.size > 1:
            for each in tensors:
                dist.broadcast(each, source)

    def send_text(self, text: str, source: int = 0) -> str:
        """Return the text of one process."""
        if self.size == 1:
            return text
        own = torch.frombuffer(bytearray(text.encode() + b"\0"), dtype=torch.uint8).to(self.device)
        length = torch.tensor([len(own)], device=self.device)
        dist.broadcast(length, source)
        whole = own if self.rank == source else torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        dist.broadcast(whole, source)
        return bytes(whole.tolist())[:-1].decode()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, which must have one shape."""
        if self.size == 1:
            return [tensor]
        own = tensor.to(self.device)
        every = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(every, own)
        return [each.cpu() for each in every]

    def agree(self, values: Tensor, *, stop: bool) -> tuple[list[float], bool]:
        """Return the values of the first process, and whether any process is to stop."""
        if self.size == 1:
            return values.tolist(), stop
        own = values.double() if self.rank == 0 else torch.zeros_like(values, dtype=torch.double)
        whole = torch.cat([own, own.new_tensor([float(stop)])]).to(self.device)
        dist.all_reduce(whole)
        *found, stops = whole.tolist()
        return found, stops > 0


class Interrupt:
    """Whether Ctrl-C came. Processes that train one model must end at the same step, so they only take note of it."""

    def __init__(self) -> None:
        self.came = False

    @contextmanager
    def noting(self, processes: Processes) -> Iterator[None]:
        """Take note of Ctrl-C in the block; a single process is interrupted as usual."""
        if processes.size == 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, *_: object) -> None:
        self.came = True


def part_name(path: str, part: int, parts: int) -> str:
    """Return the name of the checkpoint of one of several parts of a population."""
    return path if parts == 1 else f"{path}.part{part + 1}of{parts}"


def files_of(path: str) -> list[Path]:
    """Return the checkpoints of a population that are there: one, or one for each part."""
    folder, name = Path(path).parent, Path(path).name
    whole = [Path(path)] if Path(path).exists() else []
    return whole + sorted(folder.glob(f"{escape(name)}.part*of*"))


def parts_of(paths: Sequence[str], processes: Processes) -> int:
    """Return into how many parts a population is split: one for each process, unless checkpoints say otherwise.

    Args:
        paths: the names of its checkpoints, without the ends that `part_name` gives them.
        processes: those that train it.
    """
    found = [file.name for path in paths for file in files_of(path)]
    ends = [re.search(r"\.part\d+of(\d+)$", name) for name in found]
    parts = processes.size if not found else max(1 if end is None else int(end[1]) for end in ends)
    return int(processes.send_text(str(parts)))

"""Train several models of one table, each with its own validation rows, and use them as one."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from moreso import training
from moreso.guidance import Guidance, Penalty
from moreso.models import join

MEMBERS, MEMBER_ROWS = 4, 800
"""The default number of members of an ensemble, and the most rows that they see together (docs/decisions/0012)."""

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Ensemble:
    """Trained models of one table.

    Args:
        model: the one model, or the mixture of all in equal parts.
        dropout: the dropout rate of the training.
        histories: the history of each model; the last one shows whether Ctrl-C ended the training.
    """

    model: nn.Module
    dropout: float
    histories: tuple[training.History, ...]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended its training, or the training of an ensemble compared with it."""
        return self.histories[-1].interrupted

    def interrupt(self) -> "Ensemble":
        """Return the same, marked as interrupted."""
        *others, last = self.histories
        return replace(self, histories=(*others, replace(last, interrupted=True)))


@dataclass(frozen=True)
class Trainer:
    """What all ensembles of one fit have in common.

    Args:
        build: returns an untrained model from its number and its dropout rate.
        rows: the encoded table.
        members: the number of models in an ensemble.
        guidance: how strongly the penalty is pushed.
        schedule: how long to train, and which share of the rows is held out for validation.
        seed: the seed of the fit.
        device: the device to train on.
        precision: the precision of the training.
        checkpoint: a file from which a killed fit resumes, or None; the others are named after it. They stay until
            `forget`.
        log: a folder for logs, or None.
        progress: whether to show progress bars.
    """

    build: Callable[[int, float], nn.Module]
    rows: Tensor
    members: int
    guidance: Guidance
    schedule: training.Schedule
    seed: int
    device: str
    precision: str
    checkpoint: str | None
    log: Path_ | None
    progress: bool

    def train(self, name: str, dropout: float, penalty: Callable[[], Penalty | None], suffix: str = "") -> Ensemble:
        """Return a trained ensemble; after Ctrl-C it lacks the members that had not been trained.

        Args:
            name: the name of the ensemble, for its logs and progress bars.
            dropout: the dropout rate of each member.
            penalty: returns a new penalty for each member.
            suffix: the suffix of its checkpoints' names.
        """
        models: list[nn.Module] = []
        histories: list[training.History] = []
        for member in range(self.members):
            models.append(self.build(member, dropout))
            path = self._path(suffix, member)
            history = training.fit(
                models[-1],
                self.rows,
                penalty=penalty(),
                guidance=self.guidance,
                schedule=self.schedule,
                fold=member,
                random_state=self.seed,
                progress=self.progress,
                label=name + f" {member + 1}/{self.members}" * (self.members > 1),
                fabric=training.machine(self.device, self.precision, log=self.log, name=name + _number(member)),
                resume=None if path is None else training.Resume(path, keep=True),
            )
            models[-1].cpu()
            histories.append(history)
            if history.interrupted:
                break
        return Ensemble(join(models), dropout, tuple(histories))

    def forget(self, suffix: str = "") -> None:
        """Delete the files from which a killed `train` resumes."""
        for member in range(self.members):
            path = self._path(suffix, member)
            if path is not None:
                Path(path).unlink(missing_ok=True)

    def _path(self, suffix: str, member: int) -> str | None:
        return None if self.checkpoint is None else self.checkpoint + suffix + _number(member)


def count_members(rows: int, validation: float) -> int:
    """Return the default number of members of an ensemble: more for fewer rows."""
    return max(1, min(MEMBERS, training.most_folds(rows, validation), MEMBER_ROWS // rows))


def _number(member: int) -> str:
    return f"-{member + 1}" if member else ""

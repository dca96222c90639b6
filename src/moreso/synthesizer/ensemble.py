"""Train ensembles, each of several models of one table with validation rows of their own, as one population."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger
from torch import Tensor, nn

from moreso import training
from moreso.guidance import Guidance, Penalty
from moreso.models import join
from moreso.synthesizer.streaming import Streamed

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
        """Whether Ctrl-C ended its training."""
        return self.histories[-1].interrupted


@dataclass(frozen=True)
class Order:
    """An ensemble that is to be trained.

    Args:
        name: its name, for its logs.
        build: returns an untrained model from its number and its dropout rate.
        rows: the encoded table, or a stream of it, which has its own validation rows.
        members: the number of models.
        seed: the seed of the fit.
        dropout: the dropout rate of each member.
        penalty: the penalty on samples, or None.
        strata: a number for each row; all validation rows have the same share of each; see `training.split`.
    """

    name: str
    build: Callable[[int, float], nn.Module]
    rows: Tensor | Streamed
    members: int
    seed: int
    dropout: float
    penalty: Penalty | None
    strata: Tensor | None = None

    def split(self, number: int, validation: float) -> tuple[Tensor | training.Stream, Tensor]:
        """Return the training rows and the validation rows of a member.

        Args:
            number: its number.
            validation: the share of the rows that is held out.
        """
        if isinstance(self.rows, Streamed):
            return self.rows.stream, self.rows.stops
        train, stops = training.split(len(self.rows), validation, self.seed, number, strata=self.strata)
        return self.rows[train], self.rows[stops]


@dataclass(frozen=True)
class Trainer:
    """What all ensembles of one fit, or of several fits at once, have in common.

    Args:
        guidance: how strongly the penalty is pushed.
        schedule: how long to train, and which share of the rows is held out for validation.
        fabric: the devices to train on, launched if there are several, and the precision.
        strategy: what several processes share.
        checkpoint: a file from which a killed fit resumes, or None; the others are named after it. They stay until
            `forget`.
        log: a folder for logs, or None.
        bar: shows the progress.
    """

    guidance: Guidance
    schedule: training.Schedule
    fabric: Fabric
    strategy: str
    checkpoint: str | None
    log: Path_ | None
    bar: training.Bar

    def train(self, orders: Sequence[Order], label: str, suffix: str = "") -> list[Ensemble]:
        """Return the trained ensembles; after Ctrl-C, what had not been trained is missing at the end.

        Args:
            orders: the ensembles.
            label: the text of the progress bar.
            suffix: the suffix of the checkpoints' names.
        """
        members: list[training.Member] = []
        for order in orders:
            for number in range(order.members):
                train, stops = order.split(number, self.schedule.validation)
                name = order.name + (f"-{number + 1}" if number else "")
                loggers = () if self.log is None else (CSVLogger(os.fspath(self.log), name),)
                model = order.build(number, order.dropout)
                members.append(training.Member(model, train, stops, order.penalty, number, loggers))
        path = None if self.checkpoint is None else self.checkpoint + suffix
        histories = training.train(
            members,
            guidance=self.guidance,
            schedule=self.schedule,
            random_state=orders[0].seed,
            bar=self.bar,
            label=label,
            fabric=self.fabric,
            strategy=self.strategy,
            resume=None if path is None else training.Resume(path, keep=True),
        )
        found = []
        start = 0
        for order in orders:
            own = slice(start, min(start + order.members, len(histories)))
            start += order.members
            if own.start < own.stop:
                models = [member.model.cpu() for member in members[own]]
                found.append(Ensemble(join(models), order.dropout, tuple(histories[own])))
        if histories[-1].interrupted:
            ended = tuple(replace(history, interrupted=True) for history in found[-1].histories)
            found[-1] = replace(found[-1], histories=ended)
        return found

    def forget(self, members: int, suffixes: Sequence[str]) -> None:
        """Delete the files from which a killed `train` resumes, as soon as all processes have come here.

        Args:
            members: the most models that it trained.
            suffixes: the suffixes of their names.
        """
        self.fabric.barrier()
        if self.checkpoint is not None and self.fabric.is_global_zero:
            ends = [suffix + (f"-{turn + 1}" if turn else "") for suffix in suffixes for turn in range(members)]
            for file in (file for end in ends for file in training.files_of(self.checkpoint + end)):
                file.unlink(missing_ok=True)
        self.fabric.barrier()


def count_members(rows: int, validation: float) -> int:
    """Return the default number of members of an ensemble: more for fewer rows."""
    return max(1, min(MEMBERS, training.most_folds(rows, validation), MEMBER_ROWS // rows))

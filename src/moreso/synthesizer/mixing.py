"""Several models of one table, each stopped by other rows, as one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from moreso import training
from moreso.models import join

FOLDS, FOLDED = 4, 800
"""How many models are mixed by default, and how many rows they see together at most (docs/decisions/0012)."""

DROPOUT = 0.3
"""Share of dropout that is tried beside none where VAEs are mixed (docs/decisions/0014)."""


def shares(model: Any, dropout: float | None, count: int) -> list[float]:
    """Return the shares of dropout that are tried for a mixture of so many models."""
    if dropout is not None:
        return [dropout]
    return [0.0, DROPOUT] if model == "vae" and count > 1 else [0.0]


def folds(rows: int, validation: float) -> int:
    """Return how many models are mixed by default: more where rows are few."""
    return max(1, min(FOLDS, training.most_folds(rows, validation), FOLDED // rows))


def train(
    build: Callable[[int], nn.Module],
    rows: Tensor,
    count: int,
    *,
    penalty: Callable[[], training.Penalty | None],
    name: str,
    device: str,
    precision: str,
    checkpoint: str | os.PathLike[str] | None,
    log: str | os.PathLike[str] | None,
    **settings: Any,
) -> tuple[nn.Module, tuple[training.History, ...]]:
    """Return models of the rows as one, and what happened in each fit; Ctrl-C leaves out those that were still to come.

    Args:
        build: returns an untrained model from its number.
        rows: the matrix that the table became.
        count: how many models.
        penalty: returns a new one, for it keeps what it saw last.
        name: of the model, for its log and its bar.
        device: where to train.
        precision: to train in.
        checkpoint: a file, or None; the others are named after it. They stay until `forget`.
        log: a folder, or None.
        settings: of `training.fit`.
    """
    models: list[nn.Module] = []
    histories: list[training.History] = []
    for fold, file in enumerate(_files(checkpoint, count)):
        models.append(build(fold))
        history = training.fit(
            models[-1],
            rows,
            penalty=penalty(),
            fold=fold,
            label=name + f" {fold + 1}/{count}" * (count > 1),
            fabric=training.machine(device, precision, log=log, name=name + _suffix(fold)),
            checkpoint=file,
            keep_checkpoint=True,
            **settings,
        )
        models[-1].cpu()
        histories.append(history)
        if history.interrupted:
            break
    return join(models), tuple(histories)


def forget(checkpoint: str | os.PathLike[str] | None, count: int) -> None:
    """Delete the files from which a killed `train` of so many models goes on."""
    for file in _files(checkpoint, count):
        if file is not None:
            Path(file).unlink(missing_ok=True)


def _files(path: str | os.PathLike[str] | None, count: int) -> list[str | None]:
    return [None if path is None else os.fspath(path) + _suffix(fold) for fold in range(count)]


def _suffix(fold: int) -> str:
    return f"-{fold + 1}" if fold else ""

"""What `Synthesizer.fit` does: the models of a table, without knowledge and with it, and which of them are kept."""

import copy
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from moreso.audit import explain_left_out
from moreso.models import join, members
from moreso.relations import Knowledge
from moreso.synthesizer import knowing, mixing
from moreso.synthesizer.columns import Columns

OTHER = "-dropout"
"""Ends the names of logs and checkpoints of the second share of dropout that is tried."""


def fit(synthesizer: Any, X: pd.DataFrame, checkpoint: str | None, log: Any) -> bool:
    """Set the fitted attributes, and return whether Ctrl-C ended the training; checkpoints of what has ended stay.

    The knowledge comes first, so that who stops has a model with it, unless plain models have to choose the dropout.

    Args:
        synthesizer: to be fitted.
        X: a table that was checked.
        checkpoint: the first file from which a killed fit goes on, or None.
        log: a folder, or None.
    """
    synthesizer.seed_ = (
        int(np.random.default_rng().integers(2**31)) if synthesizer.random_state is None else synthesizer.random_state
    )
    synthesizer.feature_names_in_ = np.asarray(X.columns, dtype=object)
    synthesizer.columns_ = Columns.fit(X)
    used, synthesizer.left_out_ = knowing.trusted(X, synthesizer.knowledge or Knowledge(()), synthesizer.trust)
    for text in synthesizer.left_out_:
        warnings.warn(explain_left_out(text), stacklevel=3)
    synthesizer.harm_, synthesizer.plain_ = "", None
    shares = mixing.shares(synthesizer.model, synthesizer.dropout, count(synthesizer, len(X)))
    if synthesizer.knowledge and len(shares) > 1:
        plain, stopped = _plain(synthesizer, X, checkpoint, log)
        synthesizer.plain_ = plain if synthesizer.compare else None
        if stopped:
            synthesizer.histories_ = plain.histories_
            _replace(synthesizer, plain, knowing.UNTRAINED)
            return True
        shares = [plain.dropout_]
    stopped = _train(synthesizer, X, used, shares, checkpoint, log)
    if synthesizer.knowledge and synthesizer.compare and synthesizer.plain_ is None and not stopped:
        synthesizer.plain_, stopped = _plain(synthesizer, X, checkpoint, log)
    if synthesizer.plain_ is not None and synthesizer.trust == "audit" and synthesizer.has_likelihood:
        _fall_back(synthesizer, X)
    return stopped


def forget(synthesizer: Any, rows: int, checkpoint: str | None) -> None:
    """Delete all checkpoints that a fit may have written."""
    if checkpoint is not None:
        number = count(synthesizer, rows)
        shares = mixing.shares(synthesizer.model, synthesizer.dropout, number)
        for stem in (checkpoint, _of_plain(checkpoint)) if synthesizer.knowledge else (checkpoint,):
            for suffix in ("", OTHER)[: len(shares)]:
                mixing.forget(stem + suffix, number)


def count(synthesizer: Any, rows: int) -> int:
    """Return how many models are mixed."""
    return mixing.folds(rows, synthesizer.validation) if synthesizer.folds is None else int(synthesizer.folds)


def _plain(synthesizer: Any, X: pd.DataFrame, checkpoint: str | None, log: Any) -> tuple[Any, bool]:
    """Return the plain model, fitted, and whether Ctrl-C ended that."""
    plain = clone(synthesizer).set_params(knowledge=None, random_state=synthesizer.seed_)
    return plain, fit(plain, X, None if checkpoint is None else _of_plain(checkpoint), log)


def _train(
    synthesizer: Any, X: pd.DataFrame, used: Knowledge, shares: list[float], checkpoint: str | None, log: Any
) -> bool:
    """Train a mixture with each share of dropout, keep the best, and return whether Ctrl-C ended it.

    A second one that Ctrl-C ended is not kept, but the last history tells of it.
    """
    rows = torch.as_tensor(synthesizer.columns_.encode(X), dtype=torch.float32)
    for share in shares:
        suffix = "" if share == shares[0] else OTHER
        model, histories = mixing.train(
            partial(synthesizer._build, synthesizer.columns_.width, dropout=share),
            rows,
            count(synthesizer, len(X)),
            penalty=lambda: knowing.penalty(synthesizer.columns_, used, rows, synthesizer.margin) if used else None,
            name=("knowledge" if synthesizer.knowledge else "plain") + suffix,
            device=synthesizer.device,
            precision=synthesizer.precision,
            checkpoint=None if checkpoint is None else checkpoint + suffix,
            log=log,
            weight=synthesizer.weight,
            ratio=synthesizer.ratio,
            validation=synthesizer.validation,
            max_epochs=synthesizer.max_epochs,
            random_state=synthesizer.seed_,
            progress=synthesizer.progress,
        )
        stopped = histories[-1].interrupted
        if not suffix or (
            not stopped and synthesizer._unseen(model, X).mean() > synthesizer._unseen(synthesizer.model_, X).mean()
        ):
            synthesizer.model_, synthesizer.histories_, synthesizer.dropout_ = model, histories, share
        if stopped:
            *others, last = synthesizer.histories_
            synthesizer.histories_ = (*others, replace(last, interrupted=True))
            return True
    return False


def _fall_back(synthesizer: Any, X: pd.DataFrame) -> None:
    """Keep the plain model where knowledge seems to harm, or Ctrl-C came too early for it to be as good."""
    # One of the mixtures has fewer where Ctrl-C ended its fit; the same rows judge both.
    both = [members(each.model_) for each in (synthesizer.plain_, synthesizer)]
    least = min(map(len, both))
    plain, informed = (synthesizer._unseen(join(models[:least]), X) for models in both)
    if knowing.harmed(plain, informed):
        stopped = synthesizer.histories_[-1].interrupted
        why = knowing.explain_harm(float((informed - plain).mean()), len(plain))
        _replace(synthesizer, synthesizer.plain_, knowing.UNTRAINED if stopped else why)


def _replace(synthesizer: Any, plain: Any, why: str) -> None:
    """Take over the plain model."""
    synthesizer.model_, synthesizer.dropout_, synthesizer.harm_ = copy.deepcopy(plain.model_), plain.dropout_, why


def _of_plain(checkpoint: str) -> str:
    return f"{checkpoint}.plain"

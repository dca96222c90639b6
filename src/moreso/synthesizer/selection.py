"""Which models a fit trains, which rows judge them, which model is kept, and why.

1. Statements that the training rows contradict are left out, unless the user says otherwise; so is whatever follows
   from other statements (`choose_statements`).
2. A model is an ensemble: on small tables, four models with different validation rows (`ensemble.count_members`).
3. An ensemble of VAEs is trained without and with dropout. Its validation rows judge: each row under the members that
   were not trained on it. The likelier share is kept (`choose_dropout`). With knowledge, plain models choose.
4. With knowledge, the same ensemble is also trained without it, from the same seed, to compare.
5. The plain ensemble is kept if the validation rows are less likely with knowledge, by more than `HARM` on average; or
   if Ctrl-C came before the ensemble with knowledge was as good (`select`).

Evidence: docs/decisions/0010, 0012 and 0014.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from moreso._audit import Verdict, audit
from moreso.guidance import Penalty
from moreso.models import HasDensity, join, members
from moreso.relations import Knowledge, Relation
from moreso.synthesizer.ensemble import Ensemble, Trainer

HARM = 0.01
"""Nats per row: a smaller loss is no reason to drop the statements."""

JUDGES = 1000
"""The most validation rows that judge an ensemble: more would find harm too small to matter, and take time."""

DROPOUT = 0.3
"""Dropout rate that is tried besides none."""

OTHER = "-dropout"
"""Suffix of logs and checkpoints for the second dropout rate that is tried."""

PLAIN = ".plain"
"""Suffix of checkpoints of plain ensembles next to those with knowledge."""

INTERRUPTED = "the fit was interrupted before a model with the statements was as good as the plain one. Fit it again."
"""Why the plain model was kept."""

Judge = Callable[[nn.Module], np.ndarray]
"""Maps an ensemble's model to the log-likelihood of validation rows, each under a member not trained on it."""


@dataclass(frozen=True)
class Selection:
    """What a fit keeps.

    Args:
        kept: the ensemble that samples are drawn from.
        trained: the ensemble that was trained with the statements, kept or not.
        plain: the ensemble without knowledge, for comparison, or None.
        reason: why the plain ensemble was kept instead of the other, as a sentence; else empty.
    """

    kept: Ensemble
    trained: Ensemble
    plain: Ensemble | None
    reason: str = ""


def choose_statements(table: pd.DataFrame, knowledge: Knowledge, trust: str) -> tuple[Knowledge, tuple[Relation, ...]]:
    """Return the statements to train, and those left out because the rows contradict them.

    Args:
        table: the training rows.
        knowledge: all statements.
        trust: "all" leaves none out.
    """
    left_out: list[Relation] = []
    if knowledge and trust == "audit":
        found = audit(table, knowledge)
        left_out = [finding.relation for finding in found if finding.verdict is Verdict.CONTRADICTED]
    kept = tuple(relation for relation in knowledge if relation not in left_out)
    return Knowledge(kept).reduction(), tuple(left_out)


def dropout_shares(model: object, dropout: float | None, members: int) -> list[float]:
    """Return the dropout rates to try: two for an ensemble of VAEs, unless the user chose one."""
    if dropout is not None:
        return [dropout]
    return [0.0, DROPOUT] if model == "vae" and members > 1 else [0.0]


def select(
    trainer: Trainer,
    judge: Judge,
    shares: Sequence[float],
    penalty: Callable[[], Penalty | None] | None,
    *,
    compare: bool,
    fall_back: bool,
) -> Selection:
    """Train what has to be trained, and keep the best.

    The ensemble with knowledge is trained first, so that an early Ctrl-C keeps it, unless plain ensembles have to
    choose the dropout rate.

    Args:
        trainer: trains ensembles.
        judge: scores ensembles on validation rows.
        shares: the dropout rates to try.
        penalty: returns a new penalty for each model, or None if no statement is left; None without knowledge.
        compare: whether to train the plain ensemble too.
        fall_back: whether to keep the plain ensemble if the statements harm.
    """
    if penalty is None:
        plain = choose_dropout(trainer, judge, shares, "plain")
        return Selection(plain, plain, None)
    chosen = None
    if len(shares) > 1:
        chosen = choose_dropout(trainer, judge, shares, "plain", suffix=PLAIN)
        if chosen.interrupted:
            return Selection(chosen, chosen, chosen if compare else None, INTERRUPTED)
        shares = [chosen.dropout]
    trained = choose_dropout(trainer, judge, shares, "knowledge", penalty)
    if compare and chosen is None and not trained.interrupted:
        chosen = choose_dropout(trainer, judge, shares, "plain", suffix=PLAIN)
    twin = chosen if compare else None
    if twin is not None and fall_back and has_density(trained.model):
        # Ctrl-C may have left one of them with fewer members; the same rows judge both.
        models = [members(ensemble.model) for ensemble in (twin, trained)]
        least = min(map(len, models))
        before, after = (judge(join(each[:least])) for each in models)
        if harmed(before, after):
            reason = INTERRUPTED if trained.interrupted else explain_harm(float((after - before).mean()), len(before))
            return Selection(twin, trained, twin, reason)
    return Selection(trained, trained, twin)


def choose_dropout(
    trainer: Trainer,
    judge: Judge,
    shares: Sequence[float],
    name: str,
    penalty: Callable[[], Penalty | None] = lambda: None,
    *,
    suffix: str = "",
) -> Ensemble:
    """Train an ensemble with each dropout rate, and return the one under which validation rows are most likely.

    An ensemble that Ctrl-C interrupted is returned only if it is the first; otherwise the first one is returned, marked
    as interrupted.
    """
    best: Ensemble | None = None
    for share in shares:
        other = OTHER if best is not None else ""
        ensemble = trainer.train(name + other, share, penalty, suffix + other)
        if best is None:
            best = ensemble
        elif ensemble.interrupted:
            best = best.interrupt()
        elif judge(ensemble.model).mean() > judge(best.model).mean():
            best = ensemble
        if ensemble.interrupted:
            break
    assert best is not None
    return best


def forget(trainer: Trainer, shares: Sequence[float], *, informed: bool) -> None:
    """Delete all checkpoints that `select` may have left."""
    for suffix in ("", PLAIN) if informed else ("",):
        for other in ("", OTHER)[: len(shares)]:
            trainer.forget(suffix + other)


def has_density(model: nn.Module) -> bool:
    """Whether a model, or each member of a mixture, has a density."""
    return all(isinstance(member, HasDensity) for member in members(model))


def harmed(plain: np.ndarray, informed: np.ndarray) -> bool:
    """Whether validation rows are less likely with knowledge, by more than `HARM` on average.

    Args:
        plain: log-likelihood of each validation row under the plain ensemble.
        informed: the same under the ensemble with knowledge.
    """
    return not informed.mean() >= plain.mean() - HARM


def explain_harm(change: float, rows: int) -> str:
    """Return the sentence that explains why the plain ensemble replaces another."""
    return (
        f"the statements seem to harm: {-change:.3g} nats a row on {rows} validation rows, so the plain model was "
        "kept. Audit them on more rows, or obey them with trust='all'."
    )

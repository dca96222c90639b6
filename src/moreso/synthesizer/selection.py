"""Which models a fit trains, which rows judge them, which model is kept, and why.

1. Statements that the training rows contradict are left out, unless the user says otherwise; so is whatever follows
   from other statements (`choose_statements`).
2. A model is an ensemble: on small tables, four models with different validation rows (`ensemble.count_members`).
3. An ensemble of VAEs is trained without and with dropout. Its validation rows judge: each row under the members that
   were not trained on it. The likelier share is kept (`likeliest`). With knowledge, plain models choose.
4. With knowledge, the same ensemble is also trained without it, from the same seed, to compare.
5. The plain ensemble is kept if the validation rows are less likely with knowledge, by more than `HARM` on average; or
   if Ctrl-C came before the ensemble with knowledge was as good (`select`). So too if statements are about columns that
   were never observed together, whose gain these rows cannot show: what harms them harms later rows as well.
6. If columns were never observed together, each member's validation rows have the same share of the rows of each table.

A table in partitions trains one model, which is stopped and judged by evenly spaced rows that the stream leaves out.

Several fits may be made at once: what they train at one stage is one population (`training.train`).

Evidence: docs/decisions/0010, 0012, 0014 and 0020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, nn

from moreso._audit import Verdict, audit
from moreso.guidance import Penalty
from moreso.models import HasDensity, join, members
from moreso.relations import Knowledge, Statement
from moreso.synthesizer.ensemble import Ensemble, Order, Trainer
from moreso.synthesizer.streaming import Streamed

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
class Task:
    """One fit: what may be trained, and what decides.

    Args:
        build: returns an untrained model from its number and its dropout rate.
        rows: the encoded table, or a stream of it.
        members: the number of models in an ensemble.
        seed: the seed of the fit.
        judge: scores ensembles on validation rows.
        shares: the dropout rates to try.
        penalty: the penalty on samples; None if there are no statements, or if they have no weight.
        compare: whether to train the plain ensemble too; the same one if there is no penalty.
        fall_back: whether to keep the plain ensemble if the statements harm.
        strata: a number for each row, whose shares are the same in all validation rows, or None.
    """

    build: Callable[[int, float], nn.Module]
    rows: Tensor | Streamed
    members: int
    seed: int
    judge: Judge
    shares: Sequence[float]
    penalty: Penalty | None
    compare: bool
    fall_back: bool
    strata: Tensor | None = None

    @property
    def informed(self) -> bool:
        """Whether an ensemble with knowledge is trained."""
        return self.penalty is not None

    @property
    def chooses(self) -> bool:
        """Whether plain ensembles are trained before others, to choose the dropout rate or since there is no other."""
        return not self.informed or len(self.shares) > 1

    @property
    def models(self) -> int:
        """The number of models that the fit trains."""
        plain = len(self.shares) if self.chooses else int(self.compare)
        return self.members * (plain + self.informed)


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


def choose_statements(table: pd.DataFrame, knowledge: Knowledge, trust: str) -> tuple[Knowledge, tuple[Statement, ...]]:
    """Return the statements to train, and those left out because the rows contradict them.

    Args:
        table: the training rows, in memory or in partitions.
        knowledge: all statements.
        trust: "all" leaves none out.
    """
    left_out: list[Statement] = []
    if knowledge and trust == "audit":
        found = audit(table, knowledge)
        left_out = [finding.relation for finding in found if finding.verdict is Verdict.CONTRADICTED]
    kept = tuple(statement for statement in knowledge if statement not in left_out)
    return Knowledge(kept).reduction(), tuple(left_out)


def dropout_shares(model: object, dropout: float | None, members: int) -> list[float]:
    """Return the dropout rates to try: two for an ensemble of VAEs, unless the user chose one."""
    if dropout is not None:
        return [dropout]
    return [0.0, DROPOUT] if model == "vae" and members > 1 else [0.0]


def select(trainer: Trainer, tasks: Sequence[Task]) -> list[Selection]:
    """Train what has to be trained for each task, and keep the best.

    Ensembles with knowledge are trained before the plain ones with which they are compared, so that an early Ctrl-C
    keeps them, unless plain ensembles have to choose the dropout rate.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and there are several tasks.
    """

    def train(places: Sequence[int], *, informed: bool, shares: Sequence[Sequence[float]]) -> dict[int, list[Ensemble]]:
        """Return the ensembles of some tasks, one per dropout rate."""
        if not places:
            return {}
        name = "knowledge" if informed else "plain"
        orders, owners = [], []
        for place, own in zip(places, shares, strict=True):
            task = tasks[place]
            penalty = task.penalty if informed else None
            for share in own:
                full = name + ("" if share == own[0] else OTHER)
                orders.append(Order(full, task.build, task.rows, task.members, task.seed, share, penalty, task.strata))
                owners.append(place)
        found = trainer.train(orders, name, PLAIN if not informed and tasks[places[0]].informed else "")
        if found[-1].interrupted and len(tasks) > 1:
            raise KeyboardInterrupt
        grouped: dict[int, list[Ensemble]] = {}
        for place, ensemble in zip(owners, found, strict=False):
            grouped.setdefault(place, []).append(ensemble)
        return grouped

    first = [place for place, task in enumerate(tasks) if task.chooses]
    tried = train(first, informed=False, shares=[tasks[place].shares for place in first])
    plain = {place: likeliest(found, tasks[place].judge) for place, found in tried.items()}
    if tasks[0].informed and any(each.interrupted for each in tried.get(0, ())):
        kept = plain[0]
        return [Selection(kept, kept, kept if tasks[0].compare else None, INTERRUPTED)]
    guided = [place for place, task in enumerate(tasks) if task.informed]
    chosen = [[plain[place].dropout] if place in plain else tasks[place].shares for place in guided]
    trained = {place: found[0] for place, found in train(guided, informed=True, shares=chosen).items()}
    late = [place for place in guided if tasks[place].compare and place not in plain]
    if not any(each.interrupted for each in trained.values()):
        twins = train(late, informed=False, shares=[tasks[place].shares for place in late])
        plain |= {place: found[0] for place, found in twins.items()}
    return [_decide(task, plain.get(place), trained.get(place)) for place, task in enumerate(tasks)]


def _decide(task: Task, plain: Ensemble | None, trained: Ensemble | None) -> Selection:
    """Return what one fit keeps."""
    if trained is None:
        assert plain is not None
        return Selection(plain, plain, plain if task.compare else None)
    twin = plain if task.compare else None
    if twin is not None and task.fall_back and has_density(trained.model):
        # Ctrl-C may have left one of them with fewer members; the same rows judge both.
        models = [members(ensemble.model) for ensemble in (twin, trained)]
        least = min(map(len, models))
        before, after = (task.judge(join(each[:least])) for each in models)
        if harmed(before, after):
            reason = INTERRUPTED if trained.interrupted else explain_harm(float((after - before).mean()), len(before))
            return Selection(twin, trained, twin, reason)
    return Selection(trained, trained, twin)


def likeliest(ensembles: Sequence[Ensemble], judge: Judge) -> Ensemble:
    """Return the ensemble under which validation rows are most likely; the first one if Ctrl-C left them unequal."""
    first, *others = ensembles
    if not others or any(len(members(each.model)) < len(members(first.model)) for each in others):
        return first
    return max(ensembles, key=lambda ensemble: float(judge(ensemble.model).mean()))


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

"""What of the knowledge is trained, how samples of a table's model feel it, and whether it did harm."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from torch import Tensor, nn

from moreso.audit import Verdict, audit
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge
from moreso.synthesizer.columns import Columns

HARM = 0.01
"""Nats a row: what is lost below it is no reason to give up what a person stated (docs/decisions/0012)."""

JUDGED = 1000
"""Rows that judge harm at most: more find harm that does not matter, and take time."""

UNTRAINED = "the fit was interrupted before a model with the statements was as good as the plain one. Fit it again."
"""Why the plain model was kept."""


class _Decoded(nn.Module):
    """A regularizer of what samples become as columns of the table."""

    def __init__(self, view: Callable[[Tensor], Tensor], regularizer: Regularizer) -> None:
        super().__init__()
        self.view, self.regularizer = view, regularizer

    @property
    def held(self) -> float:
        """Share of the statements that hold in the last samples."""
        return self.regularizer.held

    def forward(self, samples: Tensor) -> Tensor:
        penalty: Tensor = self.regularizer(self.view(samples))
        return penalty


def penalty(columns: Columns, knowledge: Knowledge, rows: Tensor, margin: float) -> Regularizer | _Decoded:
    """Return the regularizer of the model's samples: on the decoded columns, or at once where these are linear."""
    if columns.linear:
        return Regularizer(knowledge, columns.modelled, data=rows, margin=margin)
    view = columns.view(knowledge.features)
    expanded = Knowledge(tuple(map(view.expand, knowledge)))
    return _Decoded(view, Regularizer(expanded, view.names, data=view(rows), margin=margin))


def trusted(table: pd.DataFrame, knowledge: Knowledge, trust: str) -> tuple[Knowledge, tuple[str, ...]]:
    """Return what is trained, and the statements that are left out since the rows contradict them.

    What follows from other statements is not trained either.
    """
    kept = list(knowledge)
    left_out: list[str] = []
    if knowledge and trust == "audit":
        found = audit(table, knowledge)
        against = [finding.verdict is Verdict.CONTRADICTED for finding in found]
        kept = [relation for relation, out in zip(knowledge, against, strict=True) if not out]
        left_out = [finding.relation for finding, out in zip(found, against, strict=True) if out]
    return Knowledge(tuple(kept)).reduction(), tuple(left_out)


def harmed(plain: np.ndarray, informed: np.ndarray) -> bool:
    """Whether rows are less likely under the model with knowledge, by more than `HARM` on average.

    Args:
        plain: log-likelihood of each row that decided when to stop, under the plain model.
        informed: the same under the model with knowledge.
    """
    return not informed.mean() >= plain.mean() - HARM


def explain_harm(change: float, rows: int) -> str:
    """Return the sentence about a model that the plain one replaces."""
    return (
        f"the statements seem to harm: {-change:.3g} nats a row on the {rows} rows that decide when to stop, so the "
        "plain model was kept. Audit them on more rows, or obey them with trust='all'."
    )

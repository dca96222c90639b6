"""The penalty on samples of a table's model, which measures them as an audit measures rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from moreso.guidance import Term
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge
from moreso.tabular import SampleView, TableEncoder

TOLERANCE = 1e-3
"""Greatest error of the kernel in training. Gaps of a few hundred samples are less certain by far, and heavy tails need
half the time of an error of 1e-6."""


class Decoded(nn.Module):
    """A regularizer of samples that are decoded to columns of the table.

    Args:
        view: maps samples to the columns that statements name.
        regularizer: the regularizer of these columns.
    """

    def __init__(self, view: SampleView, regularizer: Regularizer) -> None:
        super().__init__()
        self.view, self.regularizer = view, regularizer

    def forward(self, samples: Tensor) -> Tensor:
        """Return the penalty on samples."""
        return self.measure(samples).value

    def measure(self, samples: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return the regularizer's term on samples."""
        if samples.ndim == 2:
            return self.regularizer.measure(self.view(samples), standard_error)
        columns = self.view(samples.flatten(0, 1)).unflatten(0, samples.shape[:2])
        return self.regularizer.measure(columns, standard_error)

    def keep(self, members: Tensor) -> "Decoded":
        """Return the penalty of some members of a population."""
        return Decoded(self.view, self.regularizer.keep(members))

    def spread(self, group: ProcessGroup) -> "Decoded":
        """Return the penalty of samples of several processes that count as one."""
        return Decoded(self.view, self.regularizer.spread(group))

    def stack(self, others: Sequence[object]) -> "Decoded | Viewed | None":
        """Return the penalty of a population whose members are `self` and `others`; see `Regularizer.stack`."""
        regularizers, views = [], [self.view]
        for other in others:
            if not isinstance(other, Decoded):
                return None
            views.append(other.view)
            regularizers.append(other.regularizer)
        stacked = self.regularizer.stack(regularizers)
        if stacked is None:
            return None
        if all(view is self.view for view in views):
            return Decoded(self.view, stacked)
        return Viewed(views, stacked)


class Viewed(nn.Module):
    """A regularizer of the samples of models of several tables, each decoded to the columns of its own.

    Args:
        views: maps the samples of each member to its columns.
        regularizer: the regularizer of the population.
    """

    def __init__(self, views: Sequence[SampleView], regularizer: Regularizer) -> None:
        super().__init__()
        self.views, self.regularizer = list(views), regularizer

    def keep(self, members: Tensor) -> "Viewed":
        """Return the penalty of some members."""
        return Viewed([self.views[member] for member in members.tolist()], self.regularizer.keep(members))

    def spread(self, group: ProcessGroup) -> "Viewed":
        """Return the penalty of samples of several processes that count as one."""
        return Viewed(self.views, self.regularizer.spread(group))

    def forward(self, samples: Tensor) -> Tensor:
        """Return the penalty of each member."""
        return self.measure(samples).value

    def measure(self, samples: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return the regularizer's term on the samples of each member."""
        columns = [view(own) for view, own in zip(self.views, samples, strict=True)]
        return self.regularizer.measure(torch.stack(columns), standard_error)


def make_penalty(
    encoder: TableEncoder, knowledge: Knowledge, rows: Tensor, margin: float
) -> Regularizer | Decoded | None:
    """Return the regularizer of samples: directly if the matrix is the standardised table, else on decoded samples.

    Args:
        encoder: the encoder of the table.
        knowledge: the statements to train; without any, the penalty is None.
        rows: the encoded table, which fixes the bandwidths.
        margin: the margin of the regularizer.
    """
    if not knowledge:
        return None
    if encoder.linear:
        return Regularizer(knowledge, encoder.modelled, data=rows, margin=margin, tolerance=TOLERANCE)
    view = encoder.view(knowledge.features, knowledge.directed)
    expanded = view.expand(knowledge)
    return Decoded(view, Regularizer(expanded, view.names, data=view(rows), margin=margin, tolerance=TOLERANCE))

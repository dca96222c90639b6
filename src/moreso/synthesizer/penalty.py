"""The penalty on samples of a table's model, which measures them as an audit measures rows."""

from torch import Tensor, nn

from moreso.guidance import Term
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge
from moreso.tabular import SampleView, TableEncoder


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
        return self.regularizer.measure(self.view(samples), standard_error)


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
        return Regularizer(knowledge, encoder.modelled, data=rows, margin=margin)
    view = encoder.view(knowledge.features)
    return Decoded(view, Regularizer(view.expand(knowledge), view.names, data=view(rows), margin=margin))

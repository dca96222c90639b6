"""A loss term from relations and samples, for any model that can be sampled with gradients."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.dependence import Features, Gaps, RelativeDependence
from moreso.guidance import Term
from moreso.relations import Knowledge

MARGIN = 4.0
"""The default margin, in standard errors of the gap (docs/decisions/0003-hinge-in-standard-errors.md)."""


class Regularizer(nn.Module):
    """Penalty on samples whose dependences contradict the stated relations.

    R(x) = sum_s w_s max(0, margin - d_s(x)) / sum_s w_s, where d_s is the gap of relation s, by default in units of its
    standard error (taken as a constant, so that a gap is not satisfied by noise), and w_s its confidence. A statement
    whose gap exceeds the margin costs nothing. Add `weight * regularizer(model.sample(256))` to a loss; the samples
    must carry gradients. The value depends on the samples alone. For n samples it takes time O((groups + pairs) n^2)
    and memory O(groups n^2).

    Args:
        knowledge: at least one relation.
        features: the names of the columns of x in order, or a mapping from name to a callable on x that returns n rows,
            for image regions, windows of a series or latents.
        data: training rows in the same form as x; they fix the kernels' bandwidths. Without them, the bandwidths come
            from the spread of each batch. Columns of one group should be on comparable scales.
        margin: offset of the hinge, positive, so that a statement that holds by luck on one batch still costs.
        studentize: measure gap and margin in units of the gap's standard error, which makes relations comparable; False
            uses the plain difference, as in the paper.
        normalize: use the normalised HSIC.

    Raises:
        KnowledgeError: no relation, or a name outside `features`.
        ValueError: the margin is not positive, or a group is constant in `data`.

    References:
        Takeishi & Kawahara, "Knowledge-Based Regularization in Generative Modeling", IJCAI 2020, arXiv 1902.02068.

    >>> knowledge = Knowledge.parse("outlet: inlet > ambient")
    >>> regularizer = Regularizer(knowledge, features=["ambient", "inlet", "outlet"])
    >>> ambient, inlet = torch.randn(2, 200, generator=torch.Generator().manual_seed(0))
    >>> true, false = torch.stack([ambient, inlet, inlet], 1), torch.stack([ambient, inlet, ambient], 1)
    >>> regularizer(true).item() == 0, regularizer(false).item() > 0
    (True, True)
    """

    share: Tensor

    def __init__(
        self,
        knowledge: Knowledge,
        features: Features,
        *,
        data: object | None = None,
        margin: float = MARGIN,
        studentize: bool = True,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"'margin' must be positive, got {margin}. The default is {MARGIN:g} standard errors.")
        self.knowledge = knowledge
        self.margin = margin
        self.studentize = studentize
        self.relative = RelativeDependence(knowledge, features, data=data, normalize=normalize)
        confidence = torch.tensor([relation.confidence for relation in knowledge], dtype=torch.float64)
        self.register_buffer("share", confidence / confidence.sum(), persistent=False)

    def forward(self, x: Tensor) -> Float[Tensor, ""]:
        """Return the unweighted term on samples `x`, at least 4 rows."""
        return self.measure(x).value

    def measure(self, x: Tensor, standard_error: Tensor | None = None) -> Term:
        """Return the term on samples `x`, the share of statements that hold there, and the standard errors.

        Args:
            x: at least 4 samples.
            standard_error: the standard error of each gap, from an earlier `Term`. Standard errors cost more than gaps
                and change slowly while a model learns, so a loop may reuse them for a few batches of the same size.
        """
        gaps = self.gaps(x)
        position = gaps.gap
        if self.studentize:
            standard_error = (gaps.floored_error if standard_error is None else standard_error).to(gaps.gap)
            position = gaps.gap / standard_error
        value = (self.share.to(position.dtype) * (self.margin - position).clamp(min=0)).sum()
        return Term(value, float((gaps.gap.detach() > 0).double().mean()), standard_error)

    def gaps(self, x: Tensor) -> Gaps:
        """Return the gaps on samples `x` with their standard errors, in the order of the relations."""
        gaps: Gaps = self.relative(x)
        return gaps

    def extra_repr(self) -> str:
        """Return the statements and settings, by which a checkpoint recognises the regularizer."""
        settings = f"margin={self.margin}, studentize={self.studentize}"
        return f"{self.knowledge}\n{settings}, normalize={self.relative.normalize}"

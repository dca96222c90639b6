"""Relations x samples -> one loss term, for any model that can be sampled with gradients."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.relations import Knowledge
from moreso.relative import Features, Gaps, RelativeDependence


class Regularizer(nn.Module):
    """Penalty on samples whose dependences contradict what was stated.

    R(x) = sum_s w_s max(0, margin - d_s(x)) / sum_s w_s, where d_s is the gap of relation s, by default in units of its
    standard error (taken as a constant, so that a gap is not satisfied by noise), and w_s its confidence. A statement
    whose gap exceeds the margin costs nothing. Add `weight * regularizer(model.sample(256))` to a loss; the samples
    must carry gradients. Time O((groups + pairs) n^2), memory O(groups n^2) for n samples.

    Args:
        knowledge: at least one relation.
        features: the names of the columns of x in order, or a mapping name -> callable on x that returns n rows, for
            image regions, windows of a series or latents.
        data: training rows in the same form as x; they fix the kernels' bandwidths. Without them each batch is measured
            by its own spread. Columns of one group should be on comparable scales.
        margin: hinge offset, positive: a statement satisfied by luck on one batch is not yet satisfied.
        studentize: take gap and margin in units of the gap's standard error, which makes relations comparable; False is
            the paper's difference.
        normalize: use the normalised HSIC.
        refresh: calls in a row, on batches of one size, that share the standard errors of the first of them; they cost
            more than the gaps and change slowly while a model learns. 1 takes them anew each time.

    Raises:
        KnowledgeError: no relation, or a name outside `features`.
        ValueError: a margin that is not positive, a refresh below 1, or a group that is constant in `data`.

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
        margin: float = 4.0,
        studentize: bool = True,
        normalize: bool = False,
        refresh: int = 10,
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"'margin' must be positive, got {margin}. The default is 4 standard errors.")
        if refresh < 1:
            raise ValueError(f"'refresh' must be at least 1, got {refresh}. 1 takes the standard errors at every call.")
        self.knowledge = knowledge
        self.margin = margin
        self.studentize = studentize
        self.refresh = refresh
        self._calls = 0
        self._error: Tensor | None = None
        self._rows = 0
        self._gap: Tensor | None = None
        self.relative = RelativeDependence(knowledge, features, data=data, normalize=normalize)
        confidence = torch.tensor([relation.confidence for relation in knowledge], dtype=torch.float64)
        self.register_buffer("share", confidence / confidence.sum(), persistent=False)

    def forward(self, x: Tensor) -> Float[Tensor, ""]:
        """Return the unweighted term on samples `x`, at least 4 rows."""
        gaps: Gaps = self.relative(x)
        self._gap = gaps.gap.detach()
        position = gaps.gap / self._standard_error(gaps, len(x)) if self.studentize else gaps.gap
        return (self.share.to(position.dtype) * (self.margin - position).clamp(min=0)).sum()

    def _standard_error(self, gaps: Gaps, rows: int) -> Float[Tensor, " relations"]:
        if self._error is None or self._calls % self.refresh == 0 or rows != self._rows:
            self._error, self._calls, self._rows = gaps.floored_error, 0, rows
        self._calls += 1
        # After a resumed fit they are in double precision, through which single precision passes unchanged.
        self._error = self._error.to(gaps.gap)
        return self._error

    @property
    def held(self) -> float:
        """Share of the statements whose gap was positive on the last samples; NaN before any."""
        return float("nan") if self._gap is None else float((self._gap > 0).double().mean())

    def extra_repr(self) -> str:
        """Return the statements and settings, which a checkpoint is known by."""
        settings = f"margin={self.margin}, studentize={self.studentize}, refresh={self.refresh}"
        return f"{self.knowledge}\n{settings}, normalize={self.relative.normalize}"

    def get_extra_state(self) -> Tensor:
        """Return the shared standard errors and their age, so that a resumed fit goes on to the same bits."""
        error = torch.zeros(0) if self._error is None else self._error
        return torch.cat([torch.tensor([self._calls, self._rows], dtype=torch.float64), error.detach().cpu().double()])

    def set_extra_state(self, state: Tensor) -> None:
        """Take the shared standard errors back."""
        self._calls, self._rows = (int(value) for value in state[:2])
        self._error = state[2:] if len(state) > 2 else None

    def gaps(self, x: Tensor) -> Gaps:
        """Return the gaps on samples `x` with their standard errors, in the order of the relations."""
        gaps: Gaps = self.relative(x)
        return gaps

"""A loss term from statements and samples, for any model that can be sampled with gradients."""

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moreso.dependence import TOLERANCE, Features, Gaps, Group, RelativeDependence, Samples
from moreso.guidance import Term
from moreso.relations import Knowledge, match_columns

MARGIN = 4.0
"""The default margin, in standard errors of the gap (docs/decisions/0003-hinge-in-standard-errors.md)."""

CONSTANT_BATCHES = 10
"""A group that is constant in this many batches of samples in a row gives a warning."""


class Regularizer(nn.Module):
    """Penalty on samples whose dependences contradict the statements.

    R(x) = sum_s w_s max(0, margin - d_s(x)) / sum_s w_s, where d_s is the gap of statement s, by default in units of
    its standard error (taken as a constant, so that a gap is not satisfied by noise), and w_s its confidence. The gap
    of a relation is the difference of its two HSICs, that of a direction the signed covariance of monotone bounded
    scores of its two features. A statement whose gap exceeds the margin costs nothing. Add
    `weight * regularizer(model.sample(256))` to a loss; the samples must carry gradients. The value depends on the
    samples alone. Samples with a leading dimension, one sample for each of a population of models, give one value for
    each. For n samples it takes time O((groups + pairs) n^2) and memory O(groups n^2).

    Statements about a column that is constant in the samples have no gradient; if it stays constant for ten batches in
    a row, a warning names it.

    Args:
        knowledge: at least one statement, as `Knowledge` or as text. A name that only looks like a feature's is taken
            for it, with a warning (`Knowledge.matched`).
        features: the names of the columns of x in order, or a mapping from name to a callable on x that returns n rows,
            for image regions, windows of a series or latents.
        data: training rows, in the same form as x or as an array or a DataFrame; they fix the kernels' bandwidths.
            Without them, the bandwidths come from the spread of each batch. Columns of one group should be on
            comparable scales.
        margin: offset of the hinge, positive, so that a statement that holds by luck on one batch still costs.
        studentize: measure gap and margin in units of the gap's standard error, which makes relations comparable; False
            uses the plain difference, as in the paper.
        normalize: use the normalised HSIC.
        tolerance: greatest error of the kernel, whose maximum is 1, for at least 100 samples of single columns. A
            looser one is quicker.
        group: processes of `torch.distributed`, such as `torch.distributed.group.WORLD`, whose samples count as one
            batch: the value is that of all samples, the same in every process, and the gradient is its derivative with
            respect to a process's own samples. So add up gradients over processes, or multiply the value by their
            number where a wrapper such as DistributedDataParallel averages them. `data` must be the same in all.

    Raises:
        KnowledgeError: no statement, a name outside `features`, or text that cannot be read.
        ValueError: the margin is not positive, a group is constant in `data`, or a feature with a direction gives more
            than one number.

    References:
        Takeishi & Kawahara, "Knowledge-Based Regularization in Generative Modeling", IJCAI 2020, arXiv 1902.02068.

    >>> knowledge = Knowledge.parse("outlet: inlet > ambient")
    >>> regularizer = Regularizer(knowledge, features=["ambient", "inlet", "outlet"])
    >>> ambient, inlet = torch.randn(2, 200, generator=torch.Generator().manual_seed(0))
    >>> true, false = torch.stack([ambient, inlet, inlet], 1), torch.stack([ambient, inlet, ambient], 1)
    >>> regularizer(true).item() == 0, regularizer(false).item() > 0
    (True, True)
    >>> term = regularizer.measure(false)
    >>> term.held.item(), regularizer.gaps(false).gap.item() < 0
    (0.0, True)
    >>> both = regularizer.stack([Regularizer("outlet: ambient > inlet", ["ambient", "inlet", "outlet"])])
    >>> (both(torch.stack([true, true])) > 0).tolist(), both.keep(torch.tensor([1]))(true[None]).shape
    ([False, True], torch.Size([1]))
    >>> torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    >>> Regularizer(knowledge, ["ambient", "inlet", "outlet"], data=true).spread(torch.distributed.group.WORLD)(true)
    tensor(0.)
    >>> torch.distributed.destroy_process_group()
    """

    share: Tensor
    counted: Tensor

    def __init__(
        self,
        knowledge: Knowledge | str,
        features: Features,
        *,
        data: object | None = None,
        margin: float = MARGIN,
        studentize: bool = True,
        normalize: bool = False,
        tolerance: float = TOLERANCE,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"'margin' must be positive, got {margin}. The default is {MARGIN:g} standard errors.")
        self.knowledge = knowledge = match_columns(Knowledge.of(knowledge), map(str, features), stacklevel=3)
        self.margin = margin
        self.studentize = studentize
        self.relative = RelativeDependence(
            self.knowledge, features, data=data, normalize=normalize, tolerance=tolerance, group=group
        )
        confidence = torch.tensor([statement.confidence for statement in knowledge], dtype=torch.float64)
        self.register_buffer("share", confidence / confidence.sum(), persistent=False)
        self.register_buffer("counted", torch.full_like(confidence, 1 / len(knowledge)), persistent=False)
        self._still: Tensor | None = None

    def forward(self, x: Samples) -> Float[Tensor, "*members"]:
        """Return the unweighted term on samples `x`, at least 4 rows.

        Args:
            x: a tensor; or an array, or a DataFrame with the features among its columns, which carry no gradient.
        """
        return self.measure(x).value

    def measure(self, x: Samples, standard_error: Tensor | None = None) -> Term:
        """Return the term on samples `x`, the share of statements that hold there, and the standard errors.

        Args:
            x: at least 4 samples, for each member if there are several.
            standard_error: the standard error of each gap, from an earlier `Term`. Standard errors cost more than gaps
                and change slowly while a model learns, so a loop may reuse them for a few batches of the same size.
        """
        gaps = self.gaps(x)
        self._watch(gaps)
        position = gaps.gap
        if self.studentize:
            standard_error = (gaps.floored_error if standard_error is None else standard_error).to(gaps.gap)
            position = gaps.gap / standard_error
        value = (self.share.to(position.dtype) * (self.margin - position).clamp(min=0)).sum(-1)
        with torch.no_grad():
            held = ((gaps.gap > 0) * self.counted).sum(-1)
        return Term(value, held, standard_error)

    def stack(self, others: Sequence[object]) -> "Regularizer | None":
        """Return the regularizer of a population, with the statements of each member, or None if they do not fit.

        It takes samples with a leading dimension of members, in the order of `self` and `others`.

        Args:
            others: the penalties of the other members.
        """
        every = [self]
        for other in others:
            if not isinstance(other, Regularizer):
                return None
            every.append(other)
        if len({(each.margin, each.studentize) for each in every}) > 1:
            return None
        relative = self.relative.stack([other.relative for other in every[1:]])
        if relative is None:
            return None
        share = torch.zeros(len(every), len(relative.knowledge), dtype=torch.float64, device=self.share.device)
        place = {statement: index for index, statement in enumerate(relative.knowledge)}
        for own, member in zip(share, every, strict=True):
            places = torch.tensor([place[statement] for statement in member.knowledge], device=share.device)
            own.index_add_(0, places, member.share)
        return self._of(relative, share)

    def keep(self, members: Int[Tensor, " m"]) -> "Regularizer":
        """Return the regularizer of some members of a population."""
        still = None if self._still is None else self._still[members.cpu()]
        return self._of(self.relative.keep(members), self.share[members])._go_on(still)

    def spread(self, group: Group) -> "Regularizer":
        """Return the same for samples of several processes that count as one batch, see `group`."""
        return self._of(self.relative.spread(group), self.share)

    def _of(self, relative: RelativeDependence, share: Float[Tensor, "*members statements"]) -> "Regularizer":
        """Return the same for other gaps, where each statement, of each member if there are several, has a share."""
        stacked = Regularizer(
            relative.knowledge,
            relative.features,
            margin=self.margin,
            studentize=self.studentize,
            normalize=relative.normalize,
            tolerance=relative.tolerance,
            group=relative.group,
        )
        return stacked._take(relative, share)

    def _take(self, relative: RelativeDependence, share: Float[Tensor, "*members statements"]) -> "Regularizer":
        self.relative, self.share = relative, share
        stated = (share > 0).double()
        self.counted = stated / stated.sum(-1, keepdim=True)
        return self

    def _go_on(self, still: Tensor | None) -> "Regularizer":
        self._still = still
        return self

    def _watch(self, gaps: Gaps) -> None:
        """Count the batches in a row in which each group was constant, and warn of those that stay so.

        The counts are all that a regularizer remembers, and no value depends on them.
        """
        if gaps.constant is None:
            if self._still is not None:
                self._still = None
            return
        now = gaps.constant.groups.cpu().long()
        before = self._still if self._still is not None and self._still.shape == now.shape else torch.zeros_like(now)
        self._still = (before + 1) * now
        stuck = (self._still == CONSTANT_BATCHES).reshape(-1, now.shape[-1]).any(0).tolist()
        names = [", ".join(group) for group, each in zip(self.relative.groups, stuck, strict=True) if each]
        if names:
            which = f"columns {', '.join(map(repr, names))} were" if len(names) > 1 else f"column {names[0]!r} was"
            them = "them have" if len(names) > 1 else "it have"
            warnings.warn(
                f"{which} constant in ten batches of samples in a row, so statements about {them} no effect. Let the "
                "model's samples vary, for example by a last layer that does not start at 0.",
                stacklevel=2,
            )

    def gaps(self, x: Samples) -> Gaps:
        """Return the gaps on samples `x` with their standard errors, in the order of the statements."""
        gaps: Gaps = self.relative(x)
        return gaps

    def extra_repr(self) -> str:
        """Return the statements and settings, by which a checkpoint recognises the regularizer."""
        settings = f"margin={self.margin}, studentize={self.studentize}"
        return f"{self.knowledge}\n{settings}, normalize={self.relative.normalize}, tolerance={self.relative.tolerance}"

"""Relations x samples -> gaps: the one quantity that is tested on data, pushed on samples and reported on both."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moreso.dependence import Dependence, exactly, in_bandwidths
from moreso.kernels import median_bandwidth, spread_bandwidth
from moreso.relations import Knowledge, KnowledgeError

Features = Sequence[str] | Mapping[str, Callable[[Tensor], Tensor]]
"""How names are read from a batch: the names of its columns in order, or a callable on the batch for each name."""

ROUND_OFF = 1e-12
"""Standard errors below it are rounding in double precision: a column that differs in one row has HSIC 0 with any."""


class Gaps:
    """The gaps of all relations on one sample.

    Args:
        dependence: of the pairs of groups.
        plus: which pair is (ref, plus), per relation.
        minus: which pair is (ref, minus).

    Attributes:
        gap: HSIC(ref, plus) - HSIC(ref, minus), or its normalised form, with gradient.
    """

    def __init__(
        self, dependence: Dependence, plus: Int[Tensor, " relations"], minus: Int[Tensor, " relations"]
    ) -> None:
        self._dependence, self._plus, self._minus = dependence, plus, minus
        value = dependence.value
        self.gap: Float[Tensor, " relations"] = value.index_select(0, plus) - value.index_select(0, minus)

    def unnormalized(self) -> "Gaps":
        """Return the plain gaps, where these are normalised, without measuring the sample again."""
        return Gaps(self._dependence.unnormalized(), self._plus, self._minus)

    @cached_property
    def standard_error(self) -> Float[Tensor, " relations"]:
        """Standard error of each gap over samples of the same size, without gradient; computed when first asked for."""
        return self._dependence.standard_error(self._plus, self._minus)

    def blocked_error(self, blocks: Int[Tensor, " n"]) -> Float[Tensor, " relations"]:
        """Standard error of each gap where rows of one block may depend on each other; `blocks` counts from 0."""
        return self._dependence.standard_error(self._plus, self._minus, blocks)

    @property
    def floored_error(self) -> Float[Tensor, " relations"]:
        """The standard error, or the least number that it is safe to divide by, so that 0/0 is 0."""
        return self.standard_error.clamp(min=max(ROUND_OFF, torch.finfo(self.gap.dtype).eps))

    @property
    def statistic(self) -> Float[Tensor, " relations"]:
        """Gap in units of its standard error; 0 where both are 0."""
        return self.gap / self.floored_error

    @property
    def pvalue(self) -> Float[Tensor, " relations"]:
        """One-sided p-value of 'ref depends on plus no more than on minus'; that of the converse is 1 - pvalue."""
        return torch.special.ndtr(-self.statistic.detach())


class RelativeDependence(nn.Module):
    """Knowledge compiled against features: from a batch to the gaps of all relations.

    Each group is represented once and each unordered pair of groups computed once, however many relations share it.

    Args:
        knowledge: at least one relation.
        features: the columns of a batch in order, or name -> callable on the batch.
        data: rows whose median distances fix the bandwidths, as buffers, so that the ruler does not move while a model
            learns. Without it each batch is measured by its own spread, smoothly and with gradient.
        normalize: use the normalised HSIC.

    Raises:
        KnowledgeError: no relation, or names outside `features`.
        ValueError: a group is constant in `data`, or not finite.
    """

    bandwidths: Tensor | None
    plus: Tensor
    minus: Tensor
    columns: Tensor

    def __init__(
        self, knowledge: Knowledge, features: Features, *, data: object | None = None, normalize: bool = False
    ) -> None:
        super().__init__()
        if len(knowledge) == 0:
            raise KnowledgeError(
                ["the knowledge holds no relation. Write at least one, or train without a regularizer."]
            )
        self.features: Features = dict(features) if isinstance(features, Mapping) else list(features)
        knowledge.check(list(self.features))
        self.normalize = normalize
        groups = list(dict.fromkeys(chain.from_iterable(relation.groups for relation in knowledge)))
        names = list(self.features)
        # What a callable returns may be wide, whatever its name.
        scalar = [] if isinstance(features, Mapping) else [group for group in groups if len(group) == 1]
        self.wide = [group for group in groups if group not in scalar]
        self.groups = sorted(scalar, key=lambda group: names.index(group[0])) + self.wide
        place = {group: index for index, group in enumerate(self.groups)}
        pairs: dict[tuple[int, int], int] = {}

        def pair(left: tuple[str, ...], right: tuple[str, ...]) -> int:
            key = sorted((place[left], place[right]))
            return pairs.setdefault((key[0], key[1]), len(pairs))

        plus = torch.tensor([pair(relation.ref, relation.plus) for relation in knowledge])
        minus = torch.tensor([pair(relation.ref, relation.minus) for relation in knowledge])
        self.pairs = list(pairs)
        self.register_buffer("plus", plus, persistent=False)
        self.register_buffer("minus", minus, persistent=False)
        columns = torch.tensor([names.index(group[0]) for group in self.groups[: len(scalar)]], dtype=torch.long)
        self.register_buffer("columns", columns, persistent=False)
        # Where the columns are all used, in order, gathering them would cost a copy and a slow gradient.
        self._all_columns = columns.tolist() == list(range(len(names)))
        widths = None if data is None else self._widths(data)
        self.register_buffer("bandwidths", widths)

    def _widths(self, data: object) -> Float[Tensor, " groups"]:
        rows = data if isinstance(data, Tensor) else torch.tensor(np.array(data))
        found, faults = [], []
        for group in self.groups:
            try:
                found.append(median_bandwidth(self.read(rows, group)))
            except ValueError as error:
                faults.append(f"'{', '.join(group)}': {error}")
        if faults:
            raise ValueError("\n".join(faults))
        return torch.stack(found)

    def read(self, batch: Tensor, group: tuple[str, ...]) -> Float[Tensor, "n _"]:
        """Return the samples of one group of features."""
        if isinstance(self.features, Mapping):
            parts = [self.features[name](batch).reshape(len(batch), -1) for name in group]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return batch[:, [self.features.index(name) for name in group]]

    def forward(self, batch: Tensor) -> Gaps:
        """Return the gaps of all relations on a batch of at least 4 rows.

        Raises:
            ValueError: too few rows, a wrong number of columns, another device, or values that are not finite numbers.
        """
        if not isinstance(self.features, Mapping) and batch.shape[1:] != (len(self.features),):
            raise ValueError(
                f"'x' must have one column a feature ({len(self.features)}), got shape {tuple(batch.shape)}. "
                "Pass the names of its columns, in order, as 'features'."
            )
        self._check_place(batch)
        scalars = batch if self._all_columns else batch.flatten(1).index_select(1, self.columns)
        wide = [self.read(batch, group) for group in self.wide]
        if scalars.dtype.itemsize < 4:
            scalars, wide = scalars.float(), [sample.float() for sample in wide]
        self._check_finite(scalars, wide)
        if self.bandwidths is None:
            scalars = scalars / spread_bandwidth(scalars[:, :, None])
            wide = [sample / spread_bandwidth(sample) for sample in wide]
        else:
            widths = self.bandwidths.to(scalars.dtype)
            scalars = scalars / widths[: len(self.columns)]
            wide = [sample / width for sample, width in zip(wide, widths[len(self.columns) :], strict=True)]
        # Half precision is too coarse for differences of dependences, also where the rest of a loop runs in it.
        with torch.autocast(scalars.device.type, enabled=False):
            return Gaps(Dependence(scalars, wide, self.pairs, normalize=self.normalize), self.plus, self.minus)

    def _check_place(self, batch: Tensor) -> None:
        if batch.device != self.plus.device:
            raise ValueError(
                f"'x' is on {batch.device} and the relations on {self.plus.device}; they must be on one device. "
                f"Move the module: .to('{batch.device}')."
            )
        if not (batch.is_floating_point() or isinstance(self.features, Mapping)):
            raise ValueError(f"'x' must hold floating-point numbers, got {batch.dtype}. Convert it: x.float().")

    def _check_finite(self, scalars: Tensor, wide: Sequence[Tensor]) -> None:
        # A sum is finite unless a term is not, and far cheaper than a test of each.
        if all(math.isfinite(float(sample.detach().sum())) for sample in (scalars, *wide)):
            return
        columns = [*scalars.T, *wide]
        for group, sample in zip(self.groups, columns, strict=True):
            if not sample.isfinite().all():
                raise ValueError(
                    f"'x' holds values that are not finite in '{', '.join(group)}'. Lower the learning rate, "
                    "or look for an overflow in the model."
                )


@dataclass(frozen=True)
class RelativeTest:
    """Result of `relative_test`.

    Args:
        gap: HSIC(ref, plus) - HSIC(ref, minus).
        standard_error: of the gap.
        statistic: gap / standard_error.
        pvalue: one-sided, of 'ref depends on plus no more than on minus'.
        hsic_plus: HSIC(ref, plus).
        hsic_minus: HSIC(ref, minus).
        variance_plus: estimated variance of hsic_plus.
        variance_minus: of hsic_minus.
        covariance: of the two, which share their samples.
    """

    gap: float
    standard_error: float
    statistic: float
    pvalue: float
    hsic_plus: float
    hsic_minus: float
    variance_plus: float
    variance_minus: float
    covariance: float


def relative_test(
    ref: Float[Tensor, "n ..."],
    plus: Float[Tensor, "n ..."],
    minus: Float[Tensor, "n ..."],
    *,
    bandwidths: tuple[float, float, float] | None = None,
) -> RelativeTest:
    """Test whether `ref` depends on `plus` more so than on `minus`.

    The gap of two unbiased HSICs over its standard error is asymptotically standard normal, which gives the p-value.
    Where ref is independent of both, the standard error is about twice too large and the test conservative; below
    about 50 rows of strongly dependent groups it is slightly liberal. Time and memory O(n^2), in double precision.

    Args:
        ref: n samples, one number or one row each.
        plus: n samples of the group claimed to be nearer.
        minus: n samples of the group claimed to be farther.
        bandwidths: of the three Gaussian kernels; by default the median distance of each.

    Raises:
        ValueError: fewer than 4 rows, unequal numbers of rows, or a constant group and no bandwidth.

    References:
        Bounliphone, Gretton, Tenenhaus & Blaschko, "A Low Variance Consistent Test of Relative Dependency", ICML 2015.

    >>> x = torch.linspace(-1, 1, 101)
    >>> relative_test(x, x**2, torch.sin(40 * x)).pvalue < 0.001
    True
    """
    groups = [torch.as_tensor(group).detach().double() for group in (ref, plus, minus)]
    found = exactly(in_bandwidths(groups, bandwidths), [(0, 1), (0, 2)])
    gaps = Gaps(found, torch.tensor([0]), torch.tensor([1]))
    influence = torch.cat(list(found.influence()), dim=1)
    covariance = influence @ influence.T / len(groups[0]) ** 2
    return RelativeTest(
        gap=gaps.gap.item(),
        standard_error=gaps.standard_error.item(),
        statistic=gaps.statistic.item(),
        pvalue=gaps.pvalue.item(),
        hsic_plus=found.value[0].item(),
        hsic_minus=found.value[1].item(),
        variance_plus=covariance[0, 0].item(),
        variance_minus=covariance[1, 1].item(),
        covariance=covariance[0, 1].item(),
    )

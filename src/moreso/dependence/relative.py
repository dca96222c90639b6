"""The gaps of relations on samples: the quantity that audits test, regularizers push and reports show."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moreso.dependence.engine import TOLERANCE, Dependence, exactly, in_bandwidths
from moreso.dependence.kernels import median_bandwidth, spread_bandwidth
from moreso.relations import Knowledge, KnowledgeError

Features = Sequence[str] | Mapping[str, Callable[[Tensor], Tensor]]
"""How to read names from a batch: the names of its columns in order, or a callable on the batch for each name."""

ROUND_OFF = 1e-12
"""Smaller standard errors are rounding error in double precision: HSIC with a column that varies in one row is 0."""


class Gaps:
    """The gaps of all relations on one sample, or on one sample per member of a population.

    Args:
        dependence: the dependence of the pairs of groups.
        plus: the position of the pair (ref, plus), per relation.
        minus: the position of the pair (ref, minus), per relation.

    Attributes:
        gap: HSIC(ref, plus) - HSIC(ref, minus), or its normalised form, with gradient.
    """

    def __init__(
        self, dependence: Dependence, plus: Int[Tensor, " relations"], minus: Int[Tensor, " relations"]
    ) -> None:
        self._dependence, self._plus, self._minus = dependence, plus, minus
        value = dependence.value
        self.gap: Float[Tensor, "*members relations"] = value.index_select(-1, plus) - value.index_select(-1, minus)

    def unnormalized(self) -> "Gaps":
        """Return the plain gaps if these are normalised, without measuring the sample again."""
        return Gaps(self._dependence.unnormalized(), self._plus, self._minus)

    @cached_property
    def standard_error(self) -> Float[Tensor, "*members relations"]:
        """Standard error of each gap over samples of the same size, without gradient; computed on first use."""
        # As for the gaps, half precision is too coarse, even if the rest of a loop uses it.
        with torch.autocast(self.gap.device.type, enabled=False):
            return self._dependence.standard_error(self._plus, self._minus)

    def blocked_error(self, blocks: Int[Tensor, " n"]) -> Float[Tensor, "*members relations"]:
        """Standard error of each gap if rows of one block may depend on each other; `blocks` counts from 0."""
        return self._dependence.standard_error(self._plus, self._minus, blocks)

    @property
    def floored_error(self) -> Float[Tensor, "*members relations"]:
        """The standard error, but at least the smallest safe divisor, so that 0/0 gives 0."""
        return self.standard_error.clamp(min=max(ROUND_OFF, torch.finfo(self.gap.dtype).eps))

    @property
    def statistic(self) -> Float[Tensor, "*members relations"]:
        """Gap in units of its standard error; 0 if both are 0."""
        return self.gap / self.floored_error

    @property
    def pvalue(self) -> Float[Tensor, "*members relations"]:
        """One-sided p-value of 'ref depends on plus no more than on minus'; the converse has 1 - pvalue."""
        return torch.special.ndtr(-self.statistic.detach())


class RelativeDependence(nn.Module):
    """Knowledge compiled against features: maps a batch to the gaps of all relations.

    Each group and each unordered pair of groups is computed once, no matter how many relations share it.

    Args:
        knowledge: at least one relation.
        features: the columns of a batch in order, or a mapping from name to a callable on the batch.
        data: rows whose median distances fix the bandwidths, kept as buffers, so that the scale does not change while a
            model learns. Without it, the bandwidths follow the spread of each batch, smoothly and with gradient.
        normalize: use the normalised HSIC.
        tolerance: greatest error of the kernel, see `Dependence`.

    Raises:
        KnowledgeError: no relation, or names outside `features`.
        ValueError: a group is constant in `data`, or not finite.
    """

    bandwidths: Tensor | None
    plus: Tensor
    minus: Tensor
    columns: Tensor

    def __init__(
        self,
        knowledge: Knowledge,
        features: Features,
        *,
        data: object | None = None,
        normalize: bool = False,
        tolerance: float = TOLERANCE,
    ) -> None:
        super().__init__()
        if len(knowledge) == 0:
            raise KnowledgeError(
                ["the knowledge holds no relation. Write at least one, or train without a regularizer."]
            )
        self.features: Features = dict(features) if isinstance(features, Mapping) else list(features)
        knowledge.check(list(self.features))
        self.knowledge, self.normalize, self.tolerance = knowledge, normalize, tolerance
        groups = list(dict.fromkeys(chain.from_iterable(relation.groups for relation in knowledge)))
        names = list(self.features)
        # A callable may return several columns, whatever its name.
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
        # If all columns are used in order, gathering them would cost a copy and a slow gradient for nothing.
        self._all_columns = columns.tolist() == list(range(len(names)))
        widths = None if data is None else self._widths(data)
        self.register_buffer("bandwidths", widths)

    def _widths(self, data: object) -> Float[Tensor, " groups"]:
        rows = data if isinstance(data, Tensor) else torch.tensor(np.array(data))
        found, problems = [], []
        for group in self.groups:
            try:
                found.append(median_bandwidth(self.read(rows, group)))
            except ValueError as error:
                problems.append(f"'{', '.join(group)}': {error}")
        if problems:
            raise ValueError("\n".join(problems))
        return torch.stack(found)

    def stack(self, others: "Sequence[RelativeDependence]") -> "RelativeDependence | None":
        """Return the gaps of a population, whose batches hold one sample per member, or None if they do not fit.

        Each member gets its own bandwidths and the relations of all members: those that it lacks cost little, since
        members of one table share most pairs.

        Args:
            others: those of the other members.
        """
        every = [self, *others]
        if isinstance(self.features, Mapping):
            return None
        settings = [(one.features, one.normalize, one.tolerance) for one in every]
        if any(each != settings[0] for each in settings):
            return None
        if len({one.bandwidths is None for one in every}) > 1:
            return None
        whole = Knowledge(tuple(dict.fromkeys(chain.from_iterable(one.knowledge for one in every))))
        stacked = RelativeDependence(whole, self.features, normalize=self.normalize, tolerance=self.tolerance)
        if self.bandwidths is not None:
            own = [
                {} if one.bandwidths is None else dict(zip(one.groups, one.bandwidths, strict=True)) for one in every
            ]
            known = {group: width for each in own for group, width in each.items()}
            widths = [torch.stack([each.get(group, known[group]) for group in stacked.groups]) for each in own]
            stacked.register_buffer("bandwidths", torch.stack(widths))
        return stacked.to(self.plus.device)

    def keep(self, members: Int[Tensor, " m"]) -> "RelativeDependence":
        """Return the gaps of some members of a population."""
        kept = RelativeDependence(self.knowledge, self.features, normalize=self.normalize, tolerance=self.tolerance)
        if self.bandwidths is not None:
            kept.register_buffer("bandwidths", self.bandwidths[members])
        return kept.to(self.plus.device)

    def read(self, batch: Tensor, group: tuple[str, ...]) -> Float[Tensor, "*members n _"]:
        """Return the samples of one group of features."""
        if isinstance(self.features, Mapping):
            parts = [self.features[name](batch).reshape(len(batch), -1) for name in group]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return batch[..., [self.features.index(name) for name in group]]

    def forward(self, batch: Tensor) -> Gaps:
        """Return the gaps of all relations on a batch of at least 4 rows.

        Args:
            batch: one row per sample; if `features` are names, a leading dimension may hold the members of a
                population.

        Raises:
            ValueError: the batch has too few rows, a wrong number of columns or values that are not finite, or is on
                another device.
        """
        named = not isinstance(self.features, Mapping)
        if named and (batch.ndim not in (2, 3) or batch.shape[-1] != len(self.features)):
            raise ValueError(
                f"'x' must have one column a feature ({len(self.features)}), got shape {tuple(batch.shape)}. "
                "Pass the names of its columns, in order, as 'features'."
            )
        self._check_place(batch)
        flat = batch if named else batch.flatten(1)
        scalars = flat if self._all_columns else flat.index_select(-1, self.columns)
        wide = [self.read(batch, group) for group in self.wide]
        if scalars.dtype.itemsize < 4:
            scalars, wide = scalars.float(), [sample.float() for sample in wide]
        self._check_finite(scalars, wide)
        if self.bandwidths is None:
            scalars = scalars / spread_bandwidth(scalars.mT[..., None])[..., None, :]
            wide = [sample / spread_bandwidth(sample)[..., None, None] for sample in wide]
        else:
            widths = self.bandwidths.to(scalars.dtype)[..., None, :]
            count = len(self.columns)
            scalars = scalars / widths[..., :count]
            wide = [sample / widths[..., count + index, None] for index, sample in enumerate(wide)]
        # Half precision is too coarse for differences of dependences, even if the rest of a loop uses it.
        with torch.autocast(scalars.device.type, enabled=False):
            found = Dependence(scalars, wide, self.pairs, normalize=self.normalize, tolerance=self.tolerance)
            return Gaps(found, self.plus, self.minus)

    def _check_place(self, batch: Tensor) -> None:
        if batch.device != self.plus.device:
            raise ValueError(
                f"'x' is on {batch.device} and the relations on {self.plus.device}; they must be on one device. "
                f"Move the module: .to('{batch.device}')."
            )
        if not (batch.is_floating_point() or isinstance(self.features, Mapping)):
            raise ValueError(f"'x' must hold floating-point numbers, got {batch.dtype}. Convert it: x.float().")

    def _check_finite(self, scalars: Tensor, wide: Sequence[Tensor]) -> None:
        # The sum is finite if every term is, and is far cheaper than a test of each term.
        if all(math.isfinite(float(sample.detach().sum())) for sample in (scalars, *wide)):
            return
        columns = [*scalars.movedim(-1, 0), *wide]
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
        standard_error: the standard error of the gap.
        statistic: gap / standard_error.
        pvalue: one-sided p-value of 'ref depends on plus no more than on minus'.
        hsic_plus: HSIC(ref, plus).
        hsic_minus: HSIC(ref, minus).
        variance_plus: estimated variance of hsic_plus.
        variance_minus: estimated variance of hsic_minus.
        covariance: estimated covariance of the two, which share their samples.
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
    If ref is independent of both, the standard error is about twice too large and the test is conservative. Below about
    50 rows of strongly dependent groups the test is slightly liberal. Time and memory O(n^2), in double precision.

    Args:
        ref: n samples, one number or one row each.
        plus: n samples of the group claimed to be nearer.
        minus: n samples of the group claimed to be farther.
        bandwidths: of the three Gaussian kernels; by default the median distance of each.

    Raises:
        ValueError: there are fewer than 4 rows, the numbers of rows differ, or a group is constant and has no
            bandwidth.

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

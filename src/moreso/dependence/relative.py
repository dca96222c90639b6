"""The gaps of statements on samples: the quantity that audits test, regularizers push and reports show."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moreso.dependence.direction import Covariances, ScoreMoments
from moreso.dependence.engine import (
    ROWS,
    TOLERANCE,
    Dependence,
    cell_sums,
    check_rows,
    error_of,
    exactly,
    in_bandwidths,
    low_moments,
)
from moreso.dependence.kernels import (
    beyond_rounding,
    ends_of,
    gaussian_gram,
    gradient_problem,
    median_bandwidth,
    power_of_two,
    spread_bandwidth,
)
from moreso.dependence.moments import Moments
from moreso.dependence.null import null_deviation, null_pvalue
from moreso.dependence.processes import Group, Rows, ends_over
from moreso.dependence.samples import Samples, as_tensor
from moreso.relations import Direction, Knowledge, KnowledgeError

Features = Sequence[str] | Mapping[str, Callable[[Tensor], Tensor]]
"""How to read names from a batch: the names of its columns in order, or a callable on the batch for each name."""

ROUND_OFF = 1e-12
"""Smaller standard errors are rounding error in double precision: HSIC with a column that varies in one row is 0."""

WEIGHTED = 2**23
"""The bootstrap takes as many draws at a time as keep this many numbers in memory."""


@dataclass(frozen=True, eq=False)
class Constant:
    """What is constant in a sample but for rounding error, and so depends on nothing.

    Args:
        groups: the groups that are constant.
        pairs: the pairs with such a group.
    """

    groups: Bool[Tensor, "*members groups"]
    pairs: Bool[Tensor, "*members pairs"]


class Errors(NamedTuple):
    """The standard errors of gaps on one sample, computed in one pass.

    Args:
        plain: of the plain gaps.
        normalized: of the normalised ones.
        sums: the sums S of the rows' contributions to the plain gaps in cells of rows; S S' is the covariance of the
            gaps.
    """

    plain: Float[Tensor, " statements"]
    normalized: Float[Tensor, " statements"]
    sums: Float[Tensor, "statements cells"]


@dataclass(frozen=True)
class Statistics:
    """What some rows contribute to the gaps of all rows; `+` merges what two chunks contribute.

    Args:
        rows: the number of rows.
        moments: those of the features, or None without relations.
        scores: those of the scores, or None without directions.
    """

    rows: int
    moments: Moments | None
    scores: ScoreMoments | None

    def __add__(self, other: "Statistics") -> "Statistics":
        moments, scores = self.moments or other.moments, self.scores or other.scores
        if self.moments is not None and other.moments is not None:
            moments = self.moments + other.moments
        if self.scores is not None and other.scores is not None:
            scores = self.scores + other.scores
        return Statistics(self.rows + other.rows, moments, scores)


class Gaps:
    """The gaps of all statements on one sample, or on one sample per member of a population.

    The gap of a relation is HSIC(ref, plus) - HSIC(ref, minus), that of a direction the signed covariance of scores;
    both are positive where the statement holds. A constant group depends on nothing, and the gap of a statement that
    names one has no gradient.

    Args:
        dependence: the dependence of the pairs of groups, or None without relations.
        plus: the position of the pair (ref, plus), per relation.
        minus: the position of the pair (ref, minus), per relation.
        constant: what is constant in the sample, if anything is.
        directions: the covariances of scores, or None without directions.
        ends: the positions of the two groups of each direction.
        order: sorts the relations and then the directions into the order of the statements; None if they are.

    Attributes:
        gap: the gaps, or their normalised form, with gradient.
        constant: what is constant in the sample, or None.
        count: the number of rows, of all processes if there are several.
        own: the number of rows of this process.
        group: the processes, or None.
    """

    def __init__(
        self,
        dependence: Dependence | None,
        plus: Int[Tensor, " relations"],
        minus: Int[Tensor, " relations"],
        constant: Constant | None = None,
        *,
        directions: Covariances | None = None,
        ends: Int[Tensor, "2 directions"] | None = None,
        order: Int[Tensor, " statements"] | None = None,
    ) -> None:
        self._dependence, self._plus, self._minus, self.constant = dependence, plus, minus, constant
        self._directions, self._ends, self._order = directions, ends, order
        found = []
        if dependence is not None:
            value = dependence.value if constant is None else dependence.value.masked_fill(constant.pairs, 0.0)
            found.append(value.index_select(-1, plus) - value.index_select(-1, minus))
        if directions is not None:
            found.append(directions.value)
        measured = next(each for each in (dependence, directions) if each is not None)
        self.count, self.own, self.group = measured.count, measured.own, measured.group
        gap = self._join(found)
        self.gap: Float[Tensor, "*members statements"] = gap
        if self._mute is not None:
            self.gap = torch.where(self._mute, gap.detach(), gap)

    def _join(self, parts: Sequence[Tensor], dim: int = -1) -> Tensor:
        """Return what belongs to the relations and to the directions in the order of the statements."""
        whole = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)
        return whole if self._order is None else whole.index_select(dim, self._order)

    @cached_property
    def _mute(self) -> Bool[Tensor, "*members statements"] | None:
        """Which statements name a constant group, if any does."""
        if self.constant is None:
            return None
        found = []
        if self._dependence is not None:
            pairs = self.constant.pairs
            found.append(pairs.index_select(-1, self._plus) | pairs.index_select(-1, self._minus))
        if self._ends is not None:
            groups = self.constant.groups
            found.append(groups.index_select(-1, self._ends[0]) | groups.index_select(-1, self._ends[1]))
        return self._join(found)

    def unnormalized(self) -> "Gaps":
        """Return the plain gaps if these are normalised, without measuring the sample again."""
        return Gaps(
            None if self._dependence is None else self._dependence.unnormalized(),
            self._plus,
            self._minus,
            self.constant,
            directions=None if self._directions is None else self._directions.unnormalized(),
            ends=self._ends,
            order=self._order,
        )

    def influence(self) -> Iterator[Float[Tensor, "*members statements chunk"]]:
        """Yield, in chunks of own rows, the contribution of each row to each gap, with mean zero, without gradient.

        sqrt(mean(influence^2) / n) is the standard error of a gap, and the mean of the products of two, over n, the
        covariance of their errors.
        """
        orders = None if self._dependence is None else self._dependence.influence()
        for start in range(0, self.own, ROWS):
            found = []
            if orders is not None:
                found.append(self._differences(next(orders)))
            if self._directions is not None:
                found.append(self._directions.influence(slice(start, start + ROWS)))
            yield self._join(found, -2)

    def _differences(self, pairs: Float[Tensor, "*members pairs chunk"]) -> Float[Tensor, "*members relations chunk"]:
        """Return what belongs to the gaps of relations, from what belongs to pairs of groups."""
        return pairs.index_select(-2, self._plus) - pairs.index_select(-2, self._minus)

    @cached_property
    def standard_error(self) -> Float[Tensor, "*members statements"]:
        """Standard error of each gap over samples of the same size, without gradient; computed on first use."""
        return self._standard_error()

    def blocked_error(self, blocks: Int[Tensor, " n"]) -> Float[Tensor, "*members statements"]:
        """Standard error of each gap if rows of one block may depend on each other; `blocks` counts from 0."""
        return self._standard_error(blocks)

    def _standard_error(self, blocks: Tensor | None = None) -> Tensor:
        # As for the gaps, half precision is too coarse, even if the rest of a loop uses it.
        with torch.autocast(self.gap.device.type, enabled=False):
            return error_of(self.influence(), self.count, blocks, self.group).to(self.gap.dtype)

    def _influence_on_both(self) -> Iterator[Float[Tensor, "statements+statements chunk"]]:
        """Yield the contribution of each row to each plain gap, and then to each of these normalised ones."""
        orders = None if self._dependence is None else self._dependence.influences()
        directions = None if self._directions is None else (self._directions.unnormalized(), self._directions)
        for start in range(0, self.own, ROWS):
            plain: list[Tensor] = []
            normalized: list[Tensor] = []
            if orders is not None:
                for kind, own in zip((plain, normalized), next(orders), strict=True):
                    kind.append(self._differences(own))
            if directions is not None:
                for kind, each in zip((plain, normalized), directions, strict=True):
                    kind.append(each.influence(slice(start, start + ROWS)))
            yield torch.cat([self._join(plain, -2), self._join(normalized, -2)], -2)

    def sums(self, cells: Int[Tensor, " n"]) -> tuple[Float[Tensor, " both"], Float[Tensor, "both cells"]]:
        """Return the sums of squares of the own rows' contributions to the plain gaps and then to these, and in cells.

        Those of chunks of rows add up to those of all rows.

        Args:
            cells: the cell of each row, counted from 0.
        """
        error, sums = cell_sums(self._influence_on_both(), 1, cells)
        return error.square(), sums

    def errors(self, cells: Int[Tensor, " n"], blocks: Int[Tensor, " n"] | None = None) -> "Errors":
        """Return the standard errors of the plain gaps and of these, which must be normalised, of one sample.

        Args:
            cells: the cell of each row, counted from 0.
            blocks: the block of each row, if rows of one block may depend on each other.
        """
        error, sums = cell_sums(self._influence_on_both(), self.count, cells)
        if blocks is not None:
            error = error_of(self._influence_on_both(), self.count, blocks)
        plain, normalized = error.to(self.gap.dtype).chunk(2)
        return Errors(plain, normalized, sums.chunk(2)[0])

    def independence_pvalue(self) -> tuple[Float[Tensor, " statements"], Float[Tensor, " statements"]]:
        """Return bounds for the p-values of 'ref is independent of plus' and of 'ref is independent of minus'.

        Only normalised gaps have them; see `moreso.dependence.null`. The rows must be independent. Directions have 0,
        since the normal law of their gaps holds under independence too.
        """
        found = []
        if self._dependence is not None:
            value = self._dependence.value.detach()
            pvalue = null_pvalue(value, 0.0, null_deviation(self.count))
            found.append(torch.stack([pvalue.index_select(-1, self._plus), pvalue.index_select(-1, self._minus)]))
        if self._directions is not None:
            found.append(torch.zeros_like(self._directions.value.detach()).expand(2, -1))
        plus, minus = self._join(found)
        return plus, minus

    def sides(self) -> tuple[Float[Tensor, "*members relations"], Float[Tensor, "*members relations"]]:
        """Return the dependence of ref on plus, and that on minus, of which the gap of a relation is the difference."""
        assert self._dependence is not None, "directions have no sides"
        value = self._dependence.value
        return value.index_select(-1, self._plus), value.index_select(-1, self._minus)

    @property
    def floored_error(self) -> Float[Tensor, "*members statements"]:
        """The standard error, but at least the smallest safe divisor, so that 0/0 gives 0.

        It is infinite for a statement that names a constant group, since the sample says nothing about it.
        """
        floored = self.standard_error.clamp(min=max(ROUND_OFF, torch.finfo(self.gap.dtype).eps))
        return floored if self._mute is None else floored.masked_fill(self._mute, torch.inf)

    @property
    def statistic(self) -> Float[Tensor, "*members relations"]:
        """Gap in units of its standard error; 0 if both are 0, or if a group is constant."""
        return self.gap / self.floored_error

    @property
    def pvalue(self) -> Float[Tensor, "*members relations"]:
        """One-sided p-value of 'ref depends on plus no more than on minus'; the converse has 1 - pvalue."""
        return torch.special.ndtr(-self.statistic.detach())


class RelativeDependence(nn.Module):
    """Knowledge compiled against features: maps a batch to the gaps of all statements.

    Each group and each unordered pair of groups is computed once, no matter how many relations share it.

    Args:
        knowledge: at least one statement.
        features: the columns of a batch in order, or a mapping from name to a callable on the batch.
        data: rows whose median distances fix the bandwidths, kept as buffers, so that the scale does not change while a
            model learns. Without it, the bandwidths follow the spread of each batch, smoothly and with gradient.
        normalize: use the normalised HSIC.
        tolerance: greatest error of the kernel, see `Dependence`.
        group: the processes whose batches count as one; `data` is needed then.

    Raises:
        KnowledgeError: no statement, or names outside `features`.
        ValueError: a group is constant in `data`, or not finite; or several processes have no `data`.
    """

    bandwidths: Tensor | None
    centres: Tensor | None
    plus: Tensor
    minus: Tensor
    columns: Tensor
    directed: Tensor
    ends: Tensor
    signs: Tensor
    order: Tensor | None

    def __init__(
        self,
        knowledge: Knowledge,
        features: Features,
        *,
        data: object | None = None,
        normalize: bool = False,
        tolerance: float = TOLERANCE,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        if len(knowledge) == 0:
            raise KnowledgeError(
                ["the knowledge holds no statement. Write at least one, or train without a regularizer."]
            )
        # Columns of a DataFrame may be named by numbers, which statements name by their text.
        self.features: Features = (
            {str(name): read for name, read in features.items()}
            if isinstance(features, Mapping)
            else [str(name) for name in features]
        )
        knowledge.check(list(self.features))
        self.knowledge, self.normalize, self.tolerance, self.group = knowledge, normalize, tolerance, group
        groups = list(dict.fromkeys(chain.from_iterable(statement.groups for statement in knowledge)))
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

        relations, directions = knowledge.relations, knowledge.directions
        ends = [(place[(each.ref,)], place[(each.other,)]) for each in directions]
        fixed: dict[str, list[int] | list[tuple[int, int]]] = {
            "plus": [pair(relation.ref, relation.plus) for relation in relations],
            "minus": [pair(relation.ref, relation.minus) for relation in relations],
            "directed": sorted({group for both in ends for group in both}),
            "ends": ends,
        }
        self.pairs = list(pairs)
        for name, positions in fixed.items():
            self.register_buffer(name, torch.tensor(positions, dtype=torch.long), persistent=False)
        self.ends = self.ends.reshape(-1, 2).T.contiguous()
        self.register_buffer("signs", torch.tensor([float(each.sign) for each in directions]), persistent=False)
        kinds = torch.tensor([isinstance(statement, Direction) for statement in knowledge])
        order = None if not (relations and directions) else kinds.long().argsort(stable=True).argsort()
        self.register_buffer("order", order, persistent=False)
        columns = torch.tensor([names.index(group[0]) for group in self.groups[: len(scalar)]], dtype=torch.long)
        self.register_buffer("columns", columns, persistent=False)
        # If all columns are used in order, gathering them would cost a copy and a slow gradient for nothing.
        self._all_columns = columns.tolist() == list(range(len(names)))
        rows = None if data is None else self._rows(data, "data")
        self.register_buffer("bandwidths", None if rows is None else self._widths(rows))
        self.register_buffer("centres", None if rows is None or not directions else self._centres(rows))

    def _centres(self, rows: Tensor) -> Float[Tensor, " groups"]:
        """Return the median of each feature that a direction names; 0 for the other groups."""
        centres = rows.new_zeros(len(self.groups))
        for group in self.directed.tolist():
            centres[group] = self._one(self.read(rows, self.groups[group]), group)[..., 0].detach().nanmedian()
        return centres

    def _one(self, sample: Tensor, group: int) -> Tensor:
        """Return the samples of a feature that a direction names, which must be one number each."""
        if sample.shape[-1] != 1:
            raise ValueError(
                f"'{self.groups[group][0]}' gives {sample.shape[-1]} numbers for each sample, and only one number "
                "rises or falls. Give a direction to a feature with one."
            )
        return sample

    def _widths(self, rows: Tensor) -> Float[Tensor, " groups"]:
        found, problems = [], []
        for group in self.groups:
            try:
                width = _observed_bandwidth(self.read(rows, group))
                if problem := gradient_problem(float(width), width.dtype):
                    raise ValueError(problem)
                found.append(width)
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
        settings = [(one.features, one.normalize, one.tolerance, one.group) for one in every]
        if any(each != settings[0] for each in settings):
            return None
        if len({one.bandwidths is None for one in every}) > 1:
            return None
        whole = Knowledge(tuple(dict.fromkeys(chain.from_iterable(one.knowledge for one in every))))
        stacked = self._of(whole)
        if self.bandwidths is not None:
            own = [
                {} if one.bandwidths is None else dict(zip(one.groups, one.bandwidths, strict=True)) for one in every
            ]
            known = {group: width for each in own for group, width in each.items()}
            widths = [torch.stack([each.get(group, known[group]) for group in stacked.groups]) for each in own]
            stacked.register_buffer("bandwidths", torch.stack(widths))
            stacked.register_buffer("centres", _stack_centres(stacked, every))
        return stacked.to(self.plus.device)

    def keep(self, members: Int[Tensor, " m"]) -> "RelativeDependence":
        """Return the gaps of some members of a population."""
        kept = self._of(self.knowledge)
        if self.bandwidths is not None:
            kept.register_buffer("bandwidths", self.bandwidths[members])
            kept.register_buffer("centres", None if self.centres is None else self.centres[members])
        return kept.to(self.plus.device)

    def spread(self, group: Group) -> "RelativeDependence":
        """Return the same for batches of several processes that count as one, which needs bandwidths from `data`."""
        found = self._of(self.knowledge, group)
        found.register_buffer("bandwidths", self.bandwidths)
        found.register_buffer("centres", self.centres)
        return found.to(self.plus.device)

    def _of(self, knowledge: Knowledge, group: Group | None = None) -> "RelativeDependence":
        """Return the same for other statements, or for several processes, without bandwidths."""
        return RelativeDependence(
            knowledge, self.features, normalize=self.normalize, tolerance=self.tolerance, group=group or self.group
        )

    def read(self, batch: Tensor, group: tuple[str, ...]) -> Float[Tensor, "*members n _"]:
        """Return the samples of one group of features."""
        if isinstance(self.features, Mapping):
            parts = [self.features[name](batch).reshape(len(batch), -1) for name in group]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return batch[..., [self.features.index(name) for name in group]]

    def forward(self, batch: Samples) -> Gaps:
        """Return the gaps of all relations on a batch of at least 4 rows.

        Args:
            batch: one row per sample, as a tensor, an array or a DataFrame; if `features` are names, a leading
                dimension may hold the members of a population.

        Raises:
            ValueError: the batch has too few rows, a wrong number of columns or values that are not finite, or is on
                another device.
        """
        if not isinstance(batch, Tensor):
            batch = self._rows(batch, "x").to(self.plus.device)
        named = not isinstance(self.features, Mapping)
        if named:
            self._check_form(batch, "x")
        self._check_place(batch)
        wide = [as_tensor(self.read(batch, group), ", ".join(group)) for group in self.wide]
        if named:
            scalars = as_tensor(batch if self._all_columns else batch.index_select(-1, self.columns), "x")
        else:
            wide = [sample.double() for sample in wide] if len({sample.dtype for sample in wide}) > 1 else wide
            scalars = wide[0][:, :0]
        if self.group is None:
            check_rows(scalars.shape[-2])
        elif self.bandwidths is None:
            raise ValueError("several processes share no bandwidths. Pass training rows as 'data', the same in all.")
        own = scalars.shape[-2]
        ends, rows = ends_over(ends_of(scalars), own, self.group)
        others = [ends_over(ends_of(sample), own, self.group)[0] for sample in wide]
        constant = self._constant(ends, others)
        if constant is not None:
            self._check_finite(scalars, wide)
        if self.bandwidths is None:
            self._check_gradient(scalars, wide, ends, others, constant)
            if scalars.shape[-1]:
                unit = power_of_two(ends[..., None])
                scalars = scalars / unit[..., None, :]
                widths = spread_bandwidth(scalars.mT[..., None])
                scalars, ends = scalars / widths[..., None, :], ends / unit / widths.detach()
            wide = [sample / power_of_two(own)[..., None, None] for sample, own in zip(wide, others, strict=True)]
            wide = [sample / spread_bandwidth(sample)[..., None, None] for sample in wide]
        else:
            widths = self._bandwidths_as(scalars.dtype, self.bandwidths)
            count = len(self.columns)
            # The ends of quotients are the quotients of the ends, to the bit.
            scalars, ends = scalars / widths[..., None, :count], ends / widths[..., :count]
            wide = [sample / widths[..., None, count + index, None] for index, sample in enumerate(wide)]
        # Half precision is too coarse for differences of dependences, even if the rest of a loop uses it.
        with torch.autocast(scalars.device.type, enabled=False):
            found = None
            if self.pairs:
                found = Dependence(
                    scalars,
                    wide,
                    self.pairs,
                    normalize=self.normalize,
                    tolerance=self.tolerance,
                    ends=ends,
                    group=self.group,
                    rows=rows,
                )
            directions = self._covariances(scalars, wide, rows)
            return Gaps(found, self.plus, self.minus, constant, directions=directions, ends=self.ends, order=self.order)

    def span(self, ends: Float[Tensor, "2 columns"]) -> float:
        """Return how many bandwidths the columns span at most: the rank of the features grows with it.

        Args:
            ends: the least and the greatest value of each column.
        """
        assert self.bandwidths is not None
        _, ends = self._scaled(ends, ends)
        return float((ends[1] - ends[0]).max())

    def statistics(self, batch: Float[Tensor, "n columns"], ends: Float[Tensor, "2 columns"]) -> Statistics:
        """Return what some rows contribute to the gaps of all rows, of single columns and with fixed bandwidths.

        Args:
            batch: at least one row.
            ends: the least and the greatest value of each column over all rows.
        """
        scalars, ends = self._scaled(batch, ends)
        moments = None
        if self.pairs:
            moments = low_moments(scalars, self.pairs, ends, normalize=self.normalize, tolerance=self.tolerance)
        scores = ScoreMoments.of(self._in_scores(scalars[:, self.directed])) if len(self.directed) else None
        return Statistics(len(batch), moments, scores)

    def gaps_of(self, batch: Float[Tensor, "n columns"], ends: Float[Tensor, "2 columns"], known: Statistics) -> Gaps:
        """Return the gaps of all rows, with the influences of some of them.

        Args:
            batch: some of the rows.
            ends: as for `statistics`.
            known: the statistics of all rows.

        Raises:
            TooManyRowsError: tails are too heavy for statistics.
        """
        scalars, ends = self._scaled(batch, ends)
        found = own = None
        if self.pairs:
            found = Dependence(
                scalars,
                [],
                self.pairs,
                normalize=self.normalize,
                tolerance=self.tolerance,
                ends=ends,
                known=known.moments,
            )
        if len(self.directed):
            z = self._in_scores(scalars[:, self.directed])
            left, right = torch.searchsorted(self.directed, self.ends)
            own = Covariances(z, left, right, self.signs, normalize=self.normalize, known=known.scores)
        return Gaps(found, self.plus, self.minus, directions=own, ends=self.ends, order=self.order)

    def _scaled(self, batch: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the used columns of a batch, and their ends, in units of the bandwidth."""
        assert self.bandwidths is not None and not self.wide, "statistics are of single columns, with fixed bandwidths"
        widths = self._bandwidths_as(batch.dtype, self.bandwidths)
        scalars, ends = (each.index_select(-1, self.columns) / widths for each in (batch, ends.to(batch.dtype)))
        return scalars, ends

    def _covariances(self, scalars: Tensor, wide: Sequence[Tensor], rows: Rows) -> Covariances | None:
        """Return the covariances of the scores of the features that directions name, from samples in bandwidths."""
        count = scalars.shape[-1]
        if not len(self.directed):
            return None
        if self.wide and not count:
            z = torch.cat([self._one(wide[group], group) for group in self.directed.tolist()], -1)
        else:
            z = scalars if len(self.directed) == count else scalars.index_select(-1, self.directed)
        left, right = torch.searchsorted(self.directed, self.ends)
        z = self._in_scores(z)
        return Covariances(z, left, right, self.signs, normalize=self.normalize, group=self.group, rows=rows)

    def _in_scores(self, z: Float[Tensor, "*members n directed"]) -> Float[Tensor, "*members n directed"]:
        """Return the features that directions name, in bandwidths, around their centres."""
        if self.centres is None or self.bandwidths is None:
            return z - z.mean(-2, keepdim=True)
        return z - (self.centres / self.bandwidths).to(z.dtype).index_select(-1, self.directed)[..., None, :]

    def bootstrap(
        self, rows: Float[Tensor, "n columns"], weights: Float[Tensor, "draws n"]
    ) -> Float[Tensor, "draws statements"]:
        """Return the gaps of weighted rows: differences of the V-statistics of HSIC, without gradient.

        With Gram matrices K and L and weights w that sum to 1, the V-statistic is

            w'(K o L)w + (w'Kw)(w'Lw) - 2 w'(Kw o Lw)

        and the gap of a direction is the signed weighted covariance of the scores. Unlike the unbiased estimator, these
        have a bias of order 1/n. Time O(draws n^2 pairs), so it is for few rows.

        Args:
            rows: the rows, with the features as columns.
            weights: one set of weights of the rows per draw; for the Bayesian bootstrap, Dirichlet(1, ..., 1).

        References:
            Rubin, "The Bayesian Bootstrap", Annals of Statistics 1981.
        """
        if self.bandwidths is None:
            raise ValueError("the bootstrap needs fixed bandwidths. Pass 'data'.")
        rows, weights = rows.detach().double(), weights.double()
        found = []
        if self.pairs:
            found.append(self._bootstrap_orders(rows, weights))
        if len(self.directed):
            columns = torch.cat([self._one(self.read(rows, self.groups[g]), g) for g in self.directed.tolist()], 1)
            scores = torch.special.ndtr(self._in_scores(columns / self.bandwidths.double()[self.directed]))
            left, right = (scores[:, each] for each in torch.searchsorted(self.directed, self.ends))
            covariance = weights @ (left * right) - (weights @ left) * (weights @ right)
            found.append(covariance * self.signs.double())
        whole = torch.cat(found, 1)
        return whole if self.order is None else whole[:, self.order]

    def _bootstrap_orders(self, rows: Tensor, weights: Tensor) -> Float[Tensor, "draws relations"]:
        """Return the gaps of the relations under weights of the rows."""
        assert self.bandwidths is not None
        used = sorted({group for pair in self.pairs for group in pair})
        widths = self.bandwidths.double()
        grams = {group: gaussian_gram(self.read(rows, self.groups[group]), widths[group]) for group in used}
        size = max(1, WEIGHTED // (len(grams) * len(rows)))
        draws = []
        for w in weights.split(size):
            means = {group: w @ gram for group, gram in grams.items()}
            totals = {group: (mean * w).sum(1) for group, mean in means.items()}
            values = torch.stack(
                [
                    ((w @ (grams[g] * grams[h]) - 2 * means[g] * means[h]) * w).sum(1) + totals[g] * totals[h]
                    for g, h in self.pairs
                ]
            )
            draws.append((values[self.plus] - values[self.minus]).T)
        return torch.cat(draws)

    def _constant(self, ends: Tensor, others: Sequence[Tensor]) -> Constant | None:
        """Return which groups are constant, or None if all vary and all samples are finite.

        Args:
            ends: of the scalar groups, as `ends_of` returns them.
            others: of the columns of the other groups.
        """
        varies = beyond_rounding(ends)
        if others:
            varies = torch.cat([varies, *(beyond_rounding(own).amax(-1, keepdim=True) for own in others)], -1)
        # One number tells both, since it is NaN if any sample is not finite.
        if float(varies.min()) > 0:
            return None
        groups = varies <= 0
        left, right = torch.tensor(self.pairs, dtype=torch.long, device=groups.device).reshape(-1, 2).T
        return Constant(groups, groups.index_select(-1, left) | groups.index_select(-1, right))

    def _check_gradient(
        self,
        scalars: Tensor,
        wide: Sequence[Tensor],
        ends: Tensor,
        others: Sequence[Tensor],
        constant: Constant | None,
    ) -> None:
        """Raise if samples are so close together that their gradients would overflow."""
        if not any(sample.requires_grad for sample in (scalars, *wide)):
            return
        spread = torch.cat([ends[1] - ends[0], *((own[1] - own[0]).amax(-1, keepdim=True) for own in others)], -1)
        if constant is not None:
            spread = spread.masked_fill(constant.groups, torch.inf)
        spread = spread.reshape(-1, len(self.groups)).amin(0)
        if not gradient_problem(float(spread.min()), spread.dtype):
            return
        for group, width in zip(self.groups, spread.tolist(), strict=True):
            if problem := gradient_problem(width, spread.dtype):
                raise ValueError(f"'x' has no usable gradient in '{', '.join(group)}': {problem}")

    def _bandwidths_as(self, dtype: torch.dtype, widths: Tensor) -> Tensor:
        """Return the bandwidths in the type of the samples, which may have a smaller range than that of `data`."""
        if widths.dtype == dtype:
            return widths
        narrowed = widths.to(dtype)
        whole = narrowed.reshape(-1, len(self.groups))
        if not (gradient_problem(float(whole.min()), dtype) or float(whole.max()) == torch.inf):
            return narrowed
        for group, width in zip(self.groups, whole.amin(0).tolist(), strict=True):
            if (problem := gradient_problem(width, dtype)) or width == torch.inf:
                problem = problem or f"they are too far apart for {str(dtype).removeprefix('torch.')}. Rescale them."
                raise ValueError(f"'{', '.join(group)}' in 'data': {problem}")
        return narrowed

    def _rows(self, rows: Samples, name: str) -> Tensor:
        """Return rows that are given in any form as a tensor; from a DataFrame, the columns of the features."""
        columns = None if isinstance(self.features, Mapping) else list(self.features)
        found = as_tensor(rows, name, columns)
        if columns is not None:
            self._check_form(found, name)
        return found

    def _check_form(self, rows: Tensor, name: str) -> None:
        if rows.ndim not in (2, 3) or rows.shape[-1] != len(self.features):
            raise ValueError(
                f"'{name}' must have one column a feature ({len(self.features)}), got shape {tuple(rows.shape)}. "
                "Pass the names of its columns, in order, as 'features'."
            )

    def _check_place(self, batch: Tensor) -> None:
        if batch.device != self.plus.device:
            raise ValueError(
                f"'x' is on {batch.device} and the relations on {self.plus.device}; they must be on one device. "
                f"Move the module: .to('{batch.device}')."
            )
        if not (batch.is_floating_point() or isinstance(self.features, Mapping)):
            raise ValueError(f"'x' must hold floating-point numbers, got {batch.dtype}. Convert it: x.float().")

    def _check_finite(self, scalars: Tensor, wide: Sequence[Tensor]) -> None:
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
    ref: Samples,
    plus: Samples,
    minus: Samples,
    *,
    bandwidths: tuple[float, float, float] | None = None,
) -> RelativeTest:
    """Test whether `ref` depends on `plus` more so than on `minus`.

    The gap of two unbiased HSICs over its standard error is asymptotically standard normal, which gives the p-value.
    If ref is independent of both, the standard error is about twice too large and the test is conservative. Below about
    50 rows of strongly dependent groups the test is slightly liberal. Time and memory O(n^2), in double precision.

    Args:
        ref: n samples, one number or one row each: a tensor, an array or a list.
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
    given = {"ref": ref, "plus": plus, "minus": minus}
    groups = [as_tensor(group, name).detach().double() for name, group in given.items()]
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


def _stack_centres(
    stacked: RelativeDependence, every: Sequence[RelativeDependence]
) -> Float[Tensor, "members groups"] | None:
    """Return the centres of the groups of a population, for each member; those of another member where it has none."""
    if not stacked.knowledge.directions:
        return None
    own = [
        {one.groups[group]: one.centres[group] for group in one.directed.tolist()} if one.centres is not None else {}
        for one in every
    ]
    known = {group: centre for each in own for group, centre in each.items()}
    nothing = next(iter(known.values())).new_zeros(())
    return torch.stack(
        [torch.stack([each.get(group, known.get(group, nothing)) for group in stacked.groups]) for each in own]
    )


def _observed_bandwidth(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return the median bandwidth of the rows that are known.

    Columns that were never observed together have the bandwidth of independent ones, whose squares add up.
    """
    known = ~x.isnan()
    rows = known.all(1)
    if not known.any(0).all():
        return median_bandwidth(x)
    if rows.any():
        return median_bandwidth(x[rows])
    return torch.stack([median_bandwidth(own[seen][:, None]) for own, seen in zip(x.T, known.T, strict=True)]).norm()

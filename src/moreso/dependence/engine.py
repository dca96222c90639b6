"""The entry point: choose a path for each pair, collect the values, and propagate standard errors."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moreso.dependence.exact import Exact
from moreso.dependence.kernels import ends_of, gradient_problem, median_bandwidth
from moreso.dependence.lowrank import LowRank
from moreso.dependence.moments import Moments, Pairs
from moreso.dependence.processes import Group, Rows, gather, total
from moreso.dependence.samples import Samples, as_tensor

MIN_ROWS = 4
"""The unbiased estimator is a mean over 4-tuples of rows."""

TOLERANCE = 1e-6
"""Greatest error of the kernel on the low-rank path; the kernel's maximum is 1."""

LOW_RANK_ROWS = 100
"""With fewer rows than this, Gram matrices are cheaper."""

WIDEST = 40.0
"""Scalar groups that span more bandwidths than this (heavy tails) are squeezed first; see `_squeeze`."""

EXACT_ROWS = 50_000
"""The exact path refuses more rows than this, since it would take hours."""

PIECE, PER_SAMPLE = {"cpu": 2**20, "cuda": 2**27}, 64
"""The most numbers in the features or Gram matrices of the members that are computed at once, by the type of the
device, and about how many features one number of a sample has."""

ROWS = 1024
"""Standard errors are summed over chunks of this many rows."""


class TooManyRowsError(ValueError):
    """There are more rows than the exact path accepts."""


class Dependence:
    """HSIC of several pairs of groups on one sample, and the standard errors of their combinations.

    Scalar groups with at least 100 rows take O(m groups rank^2) time, with a rank of about 17, through features whose
    kernel is within `tolerance` of the Gaussian kernel. Wide groups, heavy tails and fewer rows take O(m^2 groups^2)
    time, by tiles.

    Args:
        scalars: samples of the scalar groups, one column per group, in units of the bandwidth; at least 4 rows. A
            leading dimension holds one sample per member of a population; then all results have it too.
        wide: samples of the other groups, in units of the bandwidth.
        pairs: pairs of positions of groups; the scalar groups count first.
        normalize: divide HSIC(x, y) by sqrt(HSIC(x, x) HSIC(y, y)): comparable between groups of different width.
        tolerance: greatest error of the kernel on the low-rank path; 0 uses the exact path for all pairs.
        ends: the least and the greatest sample of each scalar group, if they are known; over all processes.
        group: the processes whose samples count as one batch; `ends` is needed then. Scalar groups exchange means and
            cross products alone; wide groups, very heavy tails and batches of fewer than 100 rows exchange samples.
        rows: the rows of all of them.
        known: the moments of all rows (`low_moments`), if these are some of more rows. Then the values are those of all
            rows, without gradient, and influences those of these rows on them; `ends` is needed.

    Attributes:
        value: the unbiased estimates, with gradient to the samples of this process.
        count: the number of rows of all processes.
        own: the number of rows of this process.

    Raises:
        ValueError: there are fewer than 4 rows, or no pairs.
        TooManyRowsError: the exact path would get more than 50,000 rows.

    References:
        Song, Smola, Gretton, Bedo & Borgwardt, "Feature Selection via Dependence Maximization", JMLR 2012, eq. 5.
    """

    def __init__(
        self,
        scalars: Float[Tensor, "*members m scalars"],
        wide: Sequence[Float[Tensor, "*members m _"]],
        pairs: Sequence[tuple[int, int]],
        *,
        normalize: bool = False,
        tolerance: float = TOLERANCE,
        ends: Float[Tensor, "2 *members scalars"] | None = None,
        group: Group | None = None,
        rows: Rows | None = None,
        known: Moments | None = None,
    ) -> None:
        self.own, self.group, self.normalize = scalars.shape[-2], group, normalize
        rows = rows or Rows(self.own if known is None else known.rows, 0)
        self.count, self._before = rows
        check_rows(self.count)
        if not pairs:
            raise ValueError("'pairs' is empty, so there is nothing to compute. Give at least one pair of groups.")
        if group is None and known is None:
            scalars, ends, too_wide = _squeeze(scalars, tolerance, ends)
        else:
            assert ends is not None, "the ends of all samples must be known"
            # What is known by its moments takes their path, however wide it is.
            too_wide = _too_wide(ends, tolerance, self.count) if known is None else frozenset()
        plan = _plan(tuple(pairs), normalize, scalars.shape[-1], too_wide, scalars.device)
        self._left, self._right = plan.own
        self.parts: list[list[LowRank] | list[Exact]] = []
        values = []
        if plan.low is not None:
            z = scalars
            if plan.columns is not None:
                z, ends = scalars.index_select(-1, plan.columns), ends.index_select(-1, plan.columns)
            pieces = [
                (LowRank(own, own_ends.movedim(-2, 0), plan.low, tolerance=tolerance, group=group, known=known), own)
                for own, own_ends in _pieces(z, ends.movedim(0, -2), numbers=PER_SAMPLE * z.shape[-2:].numel())
            ]
            self.parts.append([low for low, _ in pieces])
            values.append(_join([low.value(own) for low, own in pieces]))
        if plan.exact is not None:
            if self.count > EXACT_ROWS:
                raise TooManyRowsError(
                    "wide groups and very heavy tails need time that grows with the square of the rows, and there are "
                    f"{self.count}. Pass at most {EXACT_ROWS} rows."
                )
            count = scalars.shape[-1]
            chosen = [g for g in plan.groups if g < count]
            own = scalars if len(chosen) == count else scalars[..., chosen]
            own = gather(own, rows, group)
            others = [gather(wide[g - count], rows, group) for g in plan.groups if g >= count]
            exact = [
                (Exact(first, rest, plan.exact), first, rest)
                for first, *rest in _pieces(own, *others, numbers=len(plan.groups) * self.count**2)
            ]
            self.parts.append([piece for piece, *_ in exact])
            values.append(_join([piece.value(first, rest) for piece, first, rest in exact]))
        self._order = plan.order
        self._pairs = len(pairs)
        self.raw = self._gather(values, -1)
        self.value = self.raw[..., : self._pairs] / self._roots(self.raw) if normalize else self.raw

    def unnormalized(self) -> "Dependence":
        """Return the plain values of the same pairs, which a normalised dependence has already computed."""
        view = copy.copy(self)
        view.normalize, view.value = False, self.raw[..., : self._pairs]
        return view

    def _gather(self, values: Sequence[Tensor], dim: int) -> Tensor:
        return values[0] if len(values) == 1 else torch.cat(list(values), dim).index_select(dim, self._order)

    def _roots(self, raw: Tensor) -> Tensor:
        # A group that has collapsed to a point depends on nothing; the floor keeps 0/0 at 0.
        scale = raw.clamp(min=torch.finfo(raw.dtype).eps)
        return (scale.index_select(-1, self._left) * scale.index_select(-1, self._right)).sqrt()

    def influence(self) -> Iterator[Float[Tensor, "*members pairs chunk"]]:
        """Yield, in chunks of rows of this process, the contribution of each row to each value, with mean zero.

        sqrt(mean(influence^2) / m) is the standard error of a value. The standard error of a linear combination of
        values follows from the same combination of influences.

        References:
            Bounliphone, Gretton, Tenenhaus & Blaschko, "A Low Variance Consistent Test of Relative Dependency",
            ICML 2015; docs/method.md derives this short form.
        """
        for spread in self._spreads():
            yield self._ratio(spread) if self.normalize else spread[..., : self._pairs, :]

    def influences(
        self,
    ) -> Iterator[tuple[Float[Tensor, "*members pairs chunk"], Float[Tensor, "*members pairs chunk"]]]:
        """Yield the influence on the plain values and on the normalised ones, in one pass; requires `normalize`."""
        for spread in self._spreads():
            yield spread[..., : self._pairs, :], self._ratio(spread)

    def _spreads(self) -> Iterator[Float[Tensor, "*members values chunk"]]:
        """Yield, in chunks of rows, the contribution of each row to each plain value, self-dependences included."""
        m = self.count
        scale = 2 * (m - 2) / ((m - 1) * (m - 3))
        with torch.no_grad():
            for start in range(0, self.own, ROWS):
                rows = slice(start, min(start + ROWS, self.own))
                # On the exact path, the rows of this process are somewhere among those of all.
                among = slice(rows.start + self._before, rows.stop + self._before)
                values = [
                    _join([piece.rows(rows if isinstance(piece, LowRank) else among) for piece in part])
                    for part in self.parts
                ]
                yield self._gather(values, -2) * scale

    def _ratio(self, spread: Float[Tensor, "*members values chunk"]) -> Float[Tensor, "*members pairs chunk"]:
        """Return the contributions to the normalised values.

        By the delta method: a row moves the ratio through its numerator and both its denominators.
        """
        with torch.no_grad():
            drift = spread / self.raw.clamp(min=torch.finfo(self.raw.dtype).eps)[..., None]
            both = drift.index_select(-2, self._left) + drift.index_select(-2, self._right)
            ratio = spread[..., : self._pairs, :] / self._roots(self.raw)[..., None]
            ratio -= self.value[..., None] / 2 * both
        return ratio


def error_of(
    influence: Iterable[Float[Tensor, "*members values chunk"]],
    count: int,
    blocks: Int[Tensor, " m"] | None = None,
    group: Group | None = None,
) -> Float[Tensor, "*members values"]:
    """Return the standard errors of values, from the contributions of the rows to them.

    Args:
        influence: in chunks of rows, the contribution of each row to each value, with mean zero.
        count: the number of rows, of all processes if there are several.
        blocks: the block of each row, counted from 0; rows of one block may depend on each other.
        group: the processes that have the other rows; then there are no blocks.
    """
    if blocks is not None:
        return cell_sums(influence, count, blocks)[1].square().sum(-1).sqrt()
    squares: Tensor | float = 0.0
    for chunk in influence:
        squares = chunk.square().sum(-1, dtype=torch.float64) + squares
    return total(torch.as_tensor(squares), group).sqrt() / count


def cell_sums(
    influence: Iterable[Float[Tensor, "*members values chunk"]], count: int, cells: Int[Tensor, " m"]
) -> tuple[Float[Tensor, "*members values"], Float[Tensor, "*members values cells"]]:
    """Return the standard errors of values, and how much the rows of each cell contribute to each, in one pass.

    With the sums S of the influences in cells, divided by the number of rows, S S' is the covariance of the values, on
    average over random cells and exactly if each row has its own.

    Args:
        influence: in chunks of rows, the contribution of each row to each value, with mean zero.
        count: the number of rows.
        cells: the cell of each row, counted from 0.
    """
    chunks = iter(influence)
    first = next(chunks)
    squares = first.new_zeros(first.shape[:-1], dtype=torch.float64)
    sums = squares.new_zeros(*squares.shape, int(cells.max()) + 1)
    start = 0
    for chunk in chain([first], chunks):
        squares += chunk.square().sum(-1, dtype=torch.float64)
        sums.index_add_(-1, cells[start : start + chunk.shape[-1]], chunk.double())
        start += chunk.shape[-1]
    return squares.sqrt() / count, sums / count


def low_moments(
    scalars: Float[Tensor, "m scalars"],
    pairs: Sequence[tuple[int, int]],
    ends: Float[Tensor, "2 scalars"],
    *,
    normalize: bool = False,
    tolerance: float = TOLERANCE,
) -> Moments:
    """Return the moments of some rows, of which `+` makes those of all rows; see `Dependence` for the arguments.

    Args:
        scalars: the rows, one column per scalar group, in units of the bandwidth.
        pairs: pairs of positions of groups.
        ends: the least and the greatest sample of each group, over all rows.
        normalize: as for `Dependence`.
        tolerance: as for `Dependence`.
    """
    plan = _plan(tuple(pairs), normalize, scalars.shape[-1], frozenset(), scalars.device)
    assert plan.low is not None
    if plan.columns is not None:
        scalars, ends = scalars.index_select(-1, plan.columns), ends.index_select(-1, plan.columns)
    return LowRank(scalars, ends, plan.low, tolerance=tolerance).moments


def _pieces(samples: Float[Tensor, "*members m _"], *others: Tensor, numbers: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield what belongs to some members at a time, so that their features stay in the processor's cache.

    A basis is made for the widest sample of a piece, so a member with heavy tails does not slow down all others.

    Args:
        samples: of all members, or of one without a leading dimension.
        others: more tensors, with members in the third dimension from the end.
        numbers: what one member takes.
    """
    if samples.ndim == 2:
        yield samples, *others
        return
    size = max(1, PIECE.get(samples.device.type, PIECE["cpu"]) // numbers)
    yield from zip(*(each.split(size, -3) for each in (samples, *others)), strict=True)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which pairs take which path, and where their values go.

    Args:
        low: the pairs on the low-rank path, or None.
        columns: the scalar groups that these pairs use, or None for all of them in order.
        exact: the pairs on the exact path, or None.
        groups: the groups that the exact pairs use.
        order: sorts the concatenated values of both paths into the order of the pairs.
        own: the positions of the self-dependences of each pair's two groups.
    """

    low: Pairs | None
    columns: Tensor | None
    exact: Pairs | None
    groups: list[int]
    order: Tensor
    own: tuple[Tensor, Tensor]


@lru_cache(maxsize=64)
def _plan(
    pairs: tuple[tuple[int, int], ...], normalize: bool, scalars: int, too_wide: frozenset[int], device: torch.device
) -> _Plan:
    own = [(g, g) for g in sorted({g for pair in pairs for g in pair})] if normalize else []
    place = {pair: index for index, pair in enumerate(dict.fromkeys([*pairs, *own]))}
    chosen: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for pair in place:
        chosen[all(g < scalars and g not in too_wide for g in pair)].append(pair)

    def compact(low: bool) -> tuple[Pairs | None, list[int]]:
        groups = sorted({g for pair in chosen[low] for g in pair})
        if not groups:
            return None, groups
        left, right = (torch.tensor([groups.index(p[side]) for p in chosen[low]], device=device) for side in (0, 1))
        return Pairs(left, right, len(groups)), groups

    low, columns = compact(True)
    exact, groups = compact(False)
    order = torch.tensor([place[pair] for pair in chosen[True] + chosen[False]], device=device).argsort()
    left, right = ([place[p[side], p[side]] if normalize else 0 for p in pairs] for side in (0, 1))
    return _Plan(
        low,
        None if columns == list(range(scalars)) else torch.tensor(columns, device=device),
        exact,
        groups,
        order,
        (torch.tensor(left, device=device), torch.tensor(right, device=device)),
    )


def _squeeze(scalars: Tensor, tolerance: float, ends: Tensor | None) -> tuple[Tensor, Tensor, frozenset[int]]:
    """Return scalar groups without wide empty stretches, their ends, and the groups that are still too wide.

    A low-rank basis grows with the range that it covers, and a few far rows would make it large. If two neighbouring
    values are farther apart than the kernel reaches, moving them to that distance changes the kernel by at most the
    tolerance. The shift is a constant for each row, so gradients pass through.

    The rank r is about 1.7 times the width, and Gram matrices are cheaper if m < 2 r^2.
    """
    m, groups = scalars.shape[-2:]
    if tolerance == 0 or m < LOW_RANK_ROWS or groups == 0:
        return scalars, scalars[..., :0, :], frozenset(range(groups))
    with torch.no_grad():
        ends = ends_of(scalars) if ends is None else ends
        widths = (ends[1] - ends[0]).reshape(-1, groups).amax(0)
        if float(widths.max()) <= WIDEST:
            return scalars, ends, frozenset()
        reach = math.sqrt(2 * math.log(4 / tolerance))
        wide = (widths > WIDEST).nonzero().flatten()
        values, order = scalars.index_select(-1, wide).double().sort(-2)
        steps = values.diff(dim=-2).clamp(max=reach)
        squeezed = torch.cat([values[..., :1, :], values[..., :1, :] + steps.cumsum(-2)], dim=-2)
        moved = torch.zeros_like(values).scatter(-2, order, squeezed - values)
        shift = torch.zeros_like(scalars).index_copy(-1, wide, moved.to(scalars.dtype))
        ends = ends_of(scalars + shift)
        too_wide = (ends[1] - ends[0]).reshape(-1, groups).amax(0) > _limit(m)
        shift[..., too_wide] = 0
    return scalars + shift, ends, frozenset(too_wide.nonzero().flatten().tolist())


def _too_wide(ends: Float[Tensor, "2 *members scalars"], tolerance: float, count: int) -> frozenset[int]:
    """Return the scalar groups that take the exact path if there is no squeezing, for which one needs all rows."""
    groups = ends.shape[-1]
    if tolerance == 0 or count < LOW_RANK_ROWS or groups == 0:
        return frozenset(range(groups))
    wide = (ends[1] - ends[0]).reshape(-1, groups).amax(0) > _limit(count)
    return frozenset(wide.nonzero().flatten().tolist())


def _limit(m: int) -> float:
    """Return from which width on Gram matrices are cheaper than features."""
    return max(WIDEST, math.sqrt(m / 2) / 1.7)


def hsic(
    x: Samples,
    y: Samples,
    *,
    bandwidths: tuple[float, float] | None = None,
    normalize: bool = False,
) -> Float[Tensor, ""]:
    """Return the unbiased HSIC of two groups under Gaussian kernels, as a scalar with gradient.

    The HSIC is 0 on average if x and y are independent (so it can be negative), and positive if they depend on each
    other in any way, linear or not. See `moreso.dependence.Dependence` for the estimator. It is exact and takes O(n^2)
    time.

    Args:
        x: n samples, one number or one row each: a tensor, an array or a list. Only tensors carry a gradient.
        y: n samples, in the same order.
        bandwidths: of x and of y; by default the median distance of each.
        normalize: divide by sqrt(HSIC(x, x) HSIC(y, y)); then 1 means that each is a function of the other.

    Raises:
        ValueError: there are fewer than 4 rows, the numbers of rows differ, or a group is constant and has no
            bandwidth.

    >>> x = torch.linspace(-1, 1, 101)
    >>> round(hsic(x, x**2, normalize=True).item(), 2)      # their correlation is 0
    0.31
    """
    groups = [as_tensor(group, name) for group, name in ((x, "x"), (y, "y"))]
    if not (isinstance(x, Tensor) and isinstance(y, Tensor) and groups[0].dtype == groups[1].dtype):
        groups = [group.double() for group in groups]
    return exactly(in_bandwidths(groups, bandwidths), [(0, 1)], normalize=normalize).value[0]


def exactly(
    groups: Sequence[Float[Tensor, "m _"]], pairs: Sequence[tuple[int, int]], *, normalize: bool = False
) -> Dependence:
    """Return the dependence of groups of any width by the exact path."""
    return Dependence(groups[0][:, :0], groups, pairs, normalize=normalize, tolerance=0)


def in_bandwidths(
    groups: Sequence[Float[Tensor, "n ..."]], bandwidths: Sequence[float] | None
) -> list[Float[Tensor, "n _"]]:
    """Return groups as rows in units of their bandwidths, which by default follow the median heuristic."""
    if len({len(group) for group in groups}) > 1:
        lengths = ", ".join(str(len(group)) for group in groups)
        raise ValueError(f"the groups must hold the same rows, got {lengths} rows. Pass aligned samples.")
    check_rows(len(groups[0]))
    flat = [group.reshape(len(group), -1) for group in groups]
    widths: Sequence[float | Tensor] = list(map(median_bandwidth, flat)) if bandwidths is None else bandwidths
    for group, width in zip(flat, widths, strict=True):
        if group.requires_grad and (problem := gradient_problem(float(width), group.dtype)):
            raise ValueError(problem)
    return [group / width for group, width in zip(flat, widths, strict=True)]


def check_rows(count: int) -> None:
    """Raise unless there are enough rows."""
    if count < MIN_ROWS:
        raise ValueError(f"the unbiased HSIC needs at least {MIN_ROWS} rows, got {count}. Draw more samples per step.")

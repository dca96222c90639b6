"""The audit of a table in partitions (Dask), of which only some are in memory at a time.

Four passes over the partitions, each of which returns little: a summary of the columns; the rows that are needed as
they are; the statistics of the gaps; and the rows' influences on these, which give standard errors. Which rows are
needed follows from the number of rows before a partition, so that the second pass waits for the first; it reads only
partitions that have some. Only statements between single columns use every row; others use evenly spaced ones, as in
memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from moreso._audit.blocks import LONG as HEAD
from moreso._audit.blocks import block_length
from moreso._audit.findings import Audit
from moreso._audit.information import bits_of, hashed_cells, standardize
from moreso._audit.testing import (
    NUMBERS,
    Shape,
    audit_rows,
    conclude,
    level_problems,
    measure_gaps,
    read_statements,
    stability,
)
from moreso.dependence import MIN_ROWS, Gaps, RelativeDependence, Statistics
from moreso.relations import Direction, Knowledge, Statement, raise_problems
from moreso.tabular import (
    LONG,
    MAX_LEVELS,
    MAX_ROWS,
    Frame,
    Scales,
    Scaling,
    as_numbers,
    as_table,
    compute,
    expand,
    is_categorical,
    is_time,
    join_results,
    level_text,
    plain_table,
    rank_name,
    share,
    table_problems,
    task,
)

NARROW = 16.0
"""Columns that span at most this many bandwidths share their features; wider ones would make those of all larger."""

WIDEST = 80.0
"""Columns that span more bandwidths than this have no statistics: their features have a rank of 140 or more."""

EPOCH = pd.Timestamp(0)
"""The time that becomes 0, in all partitions."""


@dataclass(frozen=True)
class Column:
    """What is known of a column of some rows.

    Args:
        count: the number of values.
        low: the least number, or infinity.
        high: the greatest number, or -infinity.
        mean: the mean of the numbers.
        squares: the sum of their squared deviations from the mean.
        levels: the levels of a category, at most one more than are allowed.
    """

    count: int
    low: float = np.inf
    high: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0
    levels: tuple[str, ...] = ()

    def merge(self, other: "Column") -> "Column":
        """Return what is known of both (Chan, Golub & LeVeque, 1979)."""
        count, shift = self.count + other.count, other.mean - self.mean
        share = other.count / count if count else 0.0
        return Column(
            count,
            min(self.low, other.low),
            max(self.high, other.high),
            self.mean + shift * share,
            self.squares + other.squares + shift**2 * self.count * share,
            tuple(dict.fromkeys((*self.levels, *other.levels)))[: MAX_LEVELS + 1],
        )


class Summary(NamedTuple):
    """What is known of the rows of some partitions.

    Args:
        columns: what is known of each column.
        counts: for each partition, the number of rows, and for each set of columns that a statement names, the number
            of rows that have all of them.
    """

    columns: dict[str, Column]
    counts: np.ndarray

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.counts[:, 0].sum())

    def merge(self, other: "Summary") -> "Summary":
        """Return what is known of both."""
        columns = {name: own.merge(other.columns[name]) for name, own in self.columns.items()}
        return Summary(columns, np.concatenate([self.counts, other.counts]))


class Pattern(NamedTuple):
    """Statements that have the same complete rows.

    Args:
        columns: those of their columns that lack values in some rows.
        counts: for each partition, the number of complete rows.
        statements: the places of the statements.
    """

    columns: frozenset[str]
    counts: np.ndarray
    statements: list[int]

    @property
    def rows(self) -> int:
        """The number of complete rows."""
        return int(self.counts.sum())


class Picks(NamedTuple):
    """Rows of a table that are needed as they are; their index is their place in the table.

    Args:
        reference: at most 5000 evenly spaced rows.
        head: the first 100,000 rows, which tell whether neighbouring rows correlate.
        complete: for each pattern, all its complete rows or evenly spaced ones.
    """

    reference: pd.DataFrame
    head: pd.DataFrame
    complete: list[pd.DataFrame]

    @property
    def all(self) -> pd.DataFrame:
        """All of them but the head, which show also columns that few rows have."""
        every = pd.concat([self.reference, *self.complete])
        return every[~every.index.duplicated()].sort_index()


@dataclass(frozen=True)
class Plan:
    """How partitions are measured by all of their rows.

    Args:
        names: the features.
        scales: how they become numbers.
        modules: the statements between single columns; those of one module have the same complete rows.
        places: the columns of numbers that each of them needs.
        ends: the least and the greatest number of each column.
        dtype: the precision.
    """

    names: list[str]
    scales: Scales
    modules: list[RelativeDependence]
    places: list[list[int]]
    ends: torch.Tensor
    dtype: type

    def batches(self, frame: pd.DataFrame) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield, for each module, which rows of a partition are complete, and these rows as numbers."""
        rows = self.scales.measure(_plain(frame, self.names), self.names, self.dtype)
        for own in self.places:
            complete = ~np.isnan(rows[:, own]).any(axis=1)
            yield complete, torch.from_numpy(rows if complete.all() else rows[complete])

    def statistics(self, frame: pd.DataFrame) -> list[Statistics | None]:
        """Return what a partition contributes to the gaps of each module."""
        batches = zip(self.modules, self.batches(frame), strict=True)
        return [module.statistics(rows, self.ends) if len(rows) else None for module, (_, rows) in batches]

    def influences(
        self, frame: pd.DataFrame, before: int, known: Sequence[Statistics]
    ) -> list[tuple[torch.Tensor, torch.Tensor] | None]:
        """Return sums over a partition's rows, for each module.

        They are the squared influences on the plain gaps and then on the normalised ones, and the influences on the
        plain gaps in cells.

        Args:
            frame: the partition.
            before: the number of rows before it.
            known: the statistics of all rows.
        """
        cells = hashed_cells(np.arange(before, before + len(frame)))
        found: list[tuple[torch.Tensor, torch.Tensor] | None] = []
        for module, statistics, (complete, rows) in zip(self.modules, known, self.batches(frame), strict=True):
            if not len(rows):
                found.append(None)
                continue
            squares, sums = module.gaps_of(rows, self.ends, statistics).sums(torch.from_numpy(cells[complete]))
            found.append((squares, sums[: len(module.knowledge)].clone()))
        return found


def audit_partitions(data: Frame, knowledge: Knowledge | str, *, level: float = 0.05) -> Audit:
    """Test every statement on a Dask DataFrame; see `audit` for the arguments.

    Gaps, standard errors and p-values are those of the audit in memory, but for columns that span more bandwidths than
    `WIDEST`, which use evenly spaced rows. Half-samples are taken of at most 5000 evenly spaced rows. A table of at
    most 5000 rows is audited in memory.

    Raises:
        KnowledgeError, DataError, ValueError: as `audit`.
    """
    known, notes, problems = read_statements(knowledge, [str(name) for name in data.columns])
    raise_problems(settings=level_problems(level, 1), knowledge=problems)
    names = list(known.features)
    parts = list(data[[name for name in data.columns if str(name) in names]].to_delayed())
    sets = list(dict.fromkeys(map(_columns, known)))
    total: Summary = join_results([task(_summarise, part, names, sets) for part in parts], _merge)
    if total.rows <= MAX_ROWS:
        return audit_rows(pd.concat(compute(parts), ignore_index=True), known, level=level)
    patterns = _patterns(known, sets, total)
    picks = _pick(parts, total, names, patterns)
    raise_problems(data=[*_problems(total), *table_problems(picks.all, names, directed=known.directed)])
    scales = _scales(picks.all, names, known, total)
    found, spread = _gaps(known, names, scales, parts, total, picks, patterns)
    head = scales.measure(_plain(picks.head, names), names)
    levels = {name: len(each) for name, each in scales.levels.items()}
    shape = Shape(total.rows, 1, block_length(head), levels)
    return conclude(picks.reference, known, found, spread, level=level, renamed=notes, shape=shape)


def _columns(statement: Statement) -> frozenset[str]:
    return frozenset(name for group in statement.groups for name in group)


def _patterns(known: Knowledge, sets: Sequence[frozenset[str]], total: Summary) -> list[Pattern]:
    """Return which statements have the same complete rows: those with the same columns among those that lack values."""
    lacking = frozenset(name for name, column in total.columns.items() if column.count < total.rows)
    found: dict[frozenset[str], Pattern] = {}
    for index, statement in enumerate(known):
        own = _columns(statement)
        counts = total.counts[:, 1 + sets.index(own)]
        found.setdefault(own & lacking, Pattern(own & lacking, counts, [])).statements.append(index)
    return list(found.values())


def _merge(*summaries: Summary) -> Summary:
    """Return what is known of all."""
    total = summaries[0]
    for each in summaries[1:]:
        total = total.merge(each)
    return total


def _add(*lists: list[Any]) -> list[Any]:
    """Return the sum of lists, place by place; None counts as nothing, and pairs of tensors are added each."""
    found = list(lists[0])
    for values in lists[1:]:
        for place, value in enumerate(values):
            own = found[place]
            if own is None or value is None:
                found[place] = value if own is None else own
            elif isinstance(value, tuple):
                found[place] = tuple(_padded(one, two) for one, two in zip(own, value, strict=True))
            else:
                found[place] = own + value
    return found


def _padded(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Return the sum of tensors whose last dimensions may differ: no row may have been in the last cells."""
    if one.shape[-1] < two.shape[-1]:
        one, two = two, one
    total = one.clone()
    total[..., : two.shape[-1]] += two
    return total


def _plain(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a partition in plain dtypes, with times as days."""
    table = plain_table(as_table(frame), names)
    times = {name: as_numbers(table[name], _epoch(table[name])) for name in names if is_time(table[name])}
    return table.assign(**times) if times else table


def _epoch(column: "pd.Series[Any]") -> Any:
    if pd.api.types.is_timedelta64_dtype(column):
        return pd.Timedelta(0)
    return EPOCH if column.dt.tz is None else EPOCH.tz_localize("UTC").tz_convert(column.dt.tz)


def _summarise(frame: pd.DataFrame, names: Sequence[str], sets: Sequence[frozenset[str]]) -> Summary:
    """Return what is known of the rows of a partition."""
    table = _plain(frame, names)
    columns = {}
    for name in names:
        present = table[name].dropna()
        if is_categorical(table[name]):
            levels = sorted({level_text(each) for each in present.unique()})[: MAX_LEVELS + 1]
            columns[name] = Column(len(present), levels=tuple(levels))
            continue
        values = as_numbers(present)
        if not len(values):
            columns[name] = Column(0)
            continue
        with np.errstate(invalid="ignore", over="ignore"):  # infinite values are told later
            mean = float(values.mean())
            squares = float(np.square(values - mean).sum())
        columns[name] = Column(len(values), float(values.min()), float(values.max()), mean, squares)
    lacking = frozenset(name for name, column in columns.items() if column.count < len(table))
    known = table[sorted(lacking)].notna()
    complete = {own: int(known[sorted(own)].all(axis=1).sum()) for own in {each & lacking for each in sets}}
    return Summary(columns, np.array([[len(table), *(complete[each & lacking] for each in sets)]]))


def _problems(total: Summary) -> list[str]:
    """Return what only all rows together can show."""
    found = []
    for name, column in total.columns.items():
        if not column.count:
            found.append(f"column '{name}' is empty. Leave it out.")
        elif len(column.levels) > MAX_LEVELS:
            found.append(
                f"column '{name}' holds more than {MAX_LEVELS} different texts, and statements compare {MAX_LEVELS} at "
                "most. Put rare ones together, or leave it out of the statements."
            )
        elif not column.levels and not (np.isfinite(column.low) and np.isfinite(column.high)):
            found.append(f"column '{name}' has infinite values. Replace them or drop those rows.")
    return found


def _pick(parts: Sequence[Frame], total: Summary, names: Sequence[str], patterns: Sequence[Pattern]) -> Picks:
    """Return the rows that are needed as they are."""
    # If all rows are complete, the reference has them.
    others = [pattern for pattern in patterns if pattern.rows < total.rows]
    counts = np.stack([total.counts[:, 0], *(pattern.counts for pattern in others)], axis=1)
    before = counts.cumsum(axis=0) - counts
    steps = np.maximum(1, -(-counts.sum(axis=0) // MAX_ROWS))
    first = -before % steps
    needed = (first < counts).any(axis=1) | (before[:, 0] < HEAD)
    columns = share([sorted(pattern.columns) for pattern in others])
    tasks = [
        task(_pick_some, parts[place], names, columns, int(before[place, 0]), first[place], steps)
        for place in np.flatnonzero(needed).tolist()
    ]
    references, heads, *chosen = [pd.concat(each) for each in zip(*compute(tasks), strict=True)]
    complete = iter(chosen)
    return Picks(references, heads, [references if each.rows == total.rows else next(complete) for each in patterns])


def _pick_some(
    frame: pd.DataFrame,
    names: Sequence[str],
    columns: Sequence[Sequence[str]],
    before: int,
    first: np.ndarray,
    steps: np.ndarray,
) -> list[pd.DataFrame]:
    """Return the rows of a partition that are needed as they are, as copies: views would keep all of it in memory.

    Args:
        frame: the partition.
        names: the features.
        columns: for each pattern, the columns that lack values.
        before: the number of rows before the partition.
        first: the first row for reference, and then the first complete row that is needed, for each pattern.
        steps: every so many of them are needed.
    """
    table = as_table(frame)[list(names)]
    table = table.set_axis(pd.RangeIndex(before, before + len(table)), axis=0)
    present = table.notna()
    every = [np.arange(len(table)), *(np.flatnonzero(present[own].all(axis=1)) for own in columns)]
    chosen = [each[start::step] for each, start, step in zip(every, first, steps, strict=True)]
    chosen.insert(1, every[0][: max(0, HEAD - before)])
    return [table.iloc[each] for each in chosen]


def _scales(rows: pd.DataFrame, names: Sequence[str], known: Knowledge, total: Summary) -> Scales:
    """Return how features become numbers: the levels and the scales of all rows, with the order of levels."""
    table = _plain(rows, names)
    directed = [name for name in known.directed if is_categorical(table[name])]
    own = Scales.of(table, names, directed, table)
    levels = {name: total.columns[name].levels for name in own.levels}
    scalings = dict(own.scalings)
    for name, column in total.columns.items():
        if name not in levels:
            scalings[name] = Scaling((column.mean,), float(np.sqrt(column.squares / column.count)))
    fixed = replace(own, levels=levels, scalings=scalings)
    # All rows may have more levels than these.
    for name, values in fixed.columns(table, names):
        if name in levels:
            scalings[name] = Scaling.of(values)
    return replace(fixed, scalings=scalings)


def _ends(scales: Scales, names: Sequence[str], total: Summary) -> np.ndarray:
    """Return the least and the greatest number of each column."""
    ends = []
    for name, parts in scales.parts(names).items():
        column, count = total.columns[name], len(parts)
        raw = np.array([[0.0] * count, [1.0] * count] if name in scales.levels else [[column.low], [column.high]])
        ends.append(scales.scalings[name](raw))
    for name, order in scales.orders.items():
        ends.append(scales.scalings[rank_name(name)](np.array([[0.0], [max(1.0, len(order) - 1.0)]])))
    return np.hstack(ends)


def _gaps(
    known: Knowledge,
    names: list[str],
    scales: Scales,
    parts: Sequence[Frame],
    total: Summary,
    picks: Picks,
    patterns: Sequence[Pattern],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the numbers of all findings, and the contribution of each cell of rows to each gap."""
    reference = scales.measure(_plain(picks.reference, names), names)
    widths = scales.parts(names)
    columns = [column for part in widths.values() for column in part] + list(scales.ranks.values())
    ends = torch.from_numpy(_ends(scales, names, total))
    expanded = list(expand(known, widths, scales.ranks))
    found = {name: np.full(len(known), np.nan) for name in (*NUMBERS, "spread", "rows")}
    spread: dict[int, np.ndarray] = {}
    cells = 0
    # By statistics of all rows: positions of statements, and what measures them.
    by_all: list[tuple[list[int], RelativeDependence]] = []
    for pattern, frame in zip(patterns, picks.complete, strict=True):
        indices, count = pattern.statements, pattern.rows
        found["rows"][indices] = count
        if count < MIN_ROWS:
            continue
        # The widest column of a module makes the features of all its columns larger.
        alone: dict[float, list[int]] = {}
        rest = []
        for index in indices:
            span = _span(expanded[index], columns, reference, ends)
            if count <= MAX_ROWS or span > WIDEST:
                rest.append(index)
            else:
                alone.setdefault(np.ceil(np.log2(max(span, NARROW))), []).append(index)
        by_all += [(own, _module(expanded, own, columns, reference)) for own in alone.values()]
        if rest:
            rows, order = scales.measure(_plain(frame, names), names), np.arange(len(frame))
            own_cells = hashed_cells(frame.index.to_numpy())
            values, sums = measure_gaps(
                _module(expanded, rest, columns, reference), reference, rows, order, order, own_cells
            )
            for name, value in values.items():
                found[name][rest] = value
            spread |= dict(zip(rest, sums, strict=True))
    if by_all:
        modules = [module for _, module in by_all]
        dtype = np.float32 if total.rows > LONG else np.float64
        places = [[columns.index(name) for group in module.groups for name in group] for module in modules]
        plan = Plan(names, scales, modules, places, ends, dtype)
        shared = share(plan)
        statistics = join_results([task(Plan.statistics, shared, part) for part in parts], _add)
        known_to_all, before = share(statistics), np.cumsum([0, *total.counts[:, 0]]).tolist()
        influences = join_results(
            [
                task(Plan.influences, shared, part, start, known_to_all)
                for part, start in zip(parts, before, strict=False)
            ],
            _add,
        )
        for (indices, module), own, sums in zip(by_all, statistics, influences, strict=True):
            gaps = module.gaps_of(torch.empty(0, len(columns), dtype=torch.float64), ends, own)
            own_rows = torch.from_numpy(reference[~np.isnan(reference[:, _used(module, columns)]).any(axis=1)])
            for name, value in _numbers(module, gaps, own, sums, own_rows).items():
                found[name][indices] = value
            spread |= dict(zip(indices, (sums[1] / own.rows).numpy(), strict=True))
    cells = max((len(each) for each in spread.values()), default=1)
    table = np.zeros((len(known), cells))
    for index, sums in spread.items():
        table[index, : len(sums)] = sums
    found["bits"] = bits_of(standardize(found["gap"], found["spread"]))
    return found, table


def _used(module: RelativeDependence, columns: Sequence[str]) -> list[int]:
    """Return the columns that a module needs."""
    return [columns.index(name) for group in module.groups for name in group]


def _module(
    expanded: Sequence[Statement], indices: Sequence[int], columns: Sequence[str], reference: np.ndarray
) -> RelativeDependence:
    statements = Knowledge(tuple(expanded[index] for index in indices))
    return RelativeDependence(statements, columns, data=reference, normalize=True)


def _span(statement: Statement, columns: Sequence[str], reference: np.ndarray, ends: torch.Tensor) -> float:
    """Return how many bandwidths the columns of a statement span at most; infinitely many if a group has several."""
    if any(len(group) > 1 for group in statement.groups):
        return np.inf
    module = RelativeDependence(Knowledge((statement,)), columns, data=reference, normalize=True)
    return 0.0 if isinstance(statement, Direction) else module.span(ends)


def _numbers(
    module: RelativeDependence,
    gaps: Gaps,
    statistics: Statistics,
    sums: tuple[torch.Tensor, torch.Tensor],
    rows: torch.Tensor,
) -> dict[str, np.ndarray]:
    """Return the numbers of the findings that all rows measure; half-samples are taken of some of them."""
    plain, normalized = (sums[0].sqrt() / statistics.rows).double().chunk(2)
    gap = gaps.unnormalized().gap.double()
    statistic = gap / plain.clamp(min=1e-300)
    depends = gaps.independence_pvalue()
    return {
        "gap": gap.numpy(),
        "standard_error": plain.numpy(),
        "spread": plain.numpy(),
        "normalized_gap": gaps.gap.double().numpy(),
        "normalized_error": normalized.numpy(),
        "pvalue": torch.maximum(torch.special.ndtr(-statistic), depends[0].double()).numpy(),
        "converse_pvalue": torch.maximum(torch.special.ndtr(statistic), depends[1].double()).numpy(),
        "stability": stability(module, rows, np.arange(len(rows))),
    }

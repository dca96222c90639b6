"""The audit of a table in partitions (Dask), of which only some are in memory at a time.

Four passes over the partitions, each of which returns little: a summary of the columns; the rows that are needed as
they are; the statistics of the gaps; and the rows' influences on these, which give standard errors. Only statements
between single columns use every row; others use evenly spaced ones, as in memory.
"""

from collections.abc import Sequence
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
    table_problems,
    task,
)

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
    """What is known of some rows.

    Args:
        rows: the number of rows.
        columns: what is known of each column.
        complete: for each set of columns that a statement names, the number of rows that have all of them.
    """

    rows: int
    columns: dict[str, Column]
    complete: tuple[int, ...]

    def merge(self, other: "Summary") -> "Summary":
        """Return what is known of both."""
        columns = {name: own.merge(other.columns[name]) for name, own in self.columns.items()}
        complete = tuple(one + two for one, two in zip(self.complete, other.complete, strict=True))
        return Summary(self.rows + other.rows, columns, complete)


class Picks(NamedTuple):
    """Rows of a table that are needed as they are; their index is their place in the table.

    Args:
        reference: at most 5000 evenly spaced rows.
        head: the first 100,000 rows, which tell whether neighbouring rows correlate.
        complete: for each set of columns that is measured by some rows, all its complete rows or evenly spaced ones.
    """

    reference: pd.DataFrame
    head: pd.DataFrame
    complete: dict[int, pd.DataFrame]

    @property
    def all(self) -> pd.DataFrame:
        """All of them but the head, which show also columns that few rows have."""
        every = pd.concat([self.reference, *self.complete.values()])
        return every[~every.index.duplicated()].sort_index()


@dataclass(frozen=True)
class Plan:
    """How partitions are measured by all of their rows.

    Args:
        names: the features.
        scales: how they become numbers.
        modules: the statements between single columns, for each set of columns that have to be present.
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

    def batches(self, frame: pd.DataFrame) -> list[tuple[np.ndarray, torch.Tensor]]:
        """Return, for each module, which rows of a partition are complete, and these rows as numbers."""
        rows = self.scales.measure(_plain(frame, self.names), self.names, self.dtype)
        found = []
        for own in self.places:
            complete = ~np.isnan(rows[:, own]).any(axis=1)
            found.append((complete, torch.from_numpy(rows[complete])))
        return found

    def statistics(self, frame: pd.DataFrame) -> list[Statistics | None]:
        """Return what a partition contributes to the gaps of each module."""
        batches = zip(self.modules, self.batches(frame), strict=True)
        return [module.statistics(rows, self.ends) if len(rows) else None for module, (_, rows) in batches]

    def influences(
        self, frame: pd.DataFrame, before: int, known: Sequence[Statistics]
    ) -> list[tuple[torch.Tensor, torch.Tensor] | None]:
        """Return sums of the squared influences of a partition's rows, and of influences in cells, for each module.

        Args:
            frame: the partition.
            before: the number of rows before it.
            known: the statistics of all rows.
        """
        cells = hashed_cells(np.arange(before, before + len(frame)))
        found: list[tuple[torch.Tensor, torch.Tensor] | None] = []
        for module, statistics, (complete, rows) in zip(self.modules, known, self.batches(frame), strict=True):
            gaps = module.gaps_of(rows, self.ends, statistics) if len(rows) else None
            found.append(None if gaps is None else gaps.sums(torch.from_numpy(cells[complete])))
        return found


def audit_partitions(data: Frame, knowledge: Knowledge | str, *, level: float = 0.05) -> Audit:
    """Test every statement on a Dask DataFrame; see `audit` for the arguments.

    Gaps, standard errors and p-values are those of the audit in memory, but for columns that span more than
    `RelativeDependence.has_statistics` allows, which use evenly spaced rows. Half-samples are taken of at most 5000
    evenly spaced rows. A table of at most 5000 rows is audited in memory.

    Raises:
        KnowledgeError, DataError, ValueError: as `audit`.
    """
    known, notes, problems = read_statements(knowledge, [str(name) for name in data.columns])
    raise_problems(settings=level_problems(level, 1), knowledge=problems)
    names = list(known.features)
    parts = list(data[[name for name in data.columns if str(name) in names]].to_delayed())
    sets = list(dict.fromkeys(map(_columns, known)))
    summaries: list[Summary] = compute([task(_summarise, part, names, sets) for part in parts])
    total = summaries[0]
    for each in summaries[1:]:
        total = total.merge(each)
    if total.rows <= MAX_ROWS:
        return audit_rows(pd.concat(compute(parts), ignore_index=True), known, level=level)
    picks = _pick(parts, summaries, total, names, sets)
    raise_problems(data=[*_problems(total), *table_problems(picks.all, names, directed=known.directed)])
    scales = _scales(picks.all, names, known, total)
    found, spread = _gaps(known, names, scales, parts, summaries, total, picks, sets)
    head = scales.measure(_plain(picks.head, names), names)
    levels = {name: len(each) for name, each in scales.levels.items()}
    shape = Shape(total.rows, 1, block_length(head), levels)
    return conclude(picks.reference, known, found, spread, level=level, renamed=notes, shape=shape)


def _columns(statement: Statement) -> frozenset[str]:
    return frozenset(name for group in statement.groups for name in group)


def _add(lists: Sequence[list[Any]]) -> list[Any]:
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
    known = table.notna()
    complete = tuple(int(known[list(each)].all(axis=1).sum()) for each in sets)
    return Summary(len(table), columns, complete)


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


def _pick(
    parts: Sequence[Frame],
    summaries: Sequence[Summary],
    total: Summary,
    names: Sequence[str],
    sets: Sequence[frozenset[str]],
) -> Picks:
    """Return the rows that are needed as they are."""
    steps = [-(-count // MAX_ROWS) for count in total.complete]
    tasks, before, complete = [], 0, [0] * len(sets)
    for part, own in zip(parts, summaries, strict=True):
        tasks.append(task(_pick_some, part, names, sets, before, -(-total.rows // MAX_ROWS), complete, steps))
        before += own.rows
        complete = [one + two for one, two in zip(complete, own.complete, strict=True)]
    references, heads, others = zip(*compute(tasks), strict=True)
    chosen = {place: pd.concat([each[place] for each in others]) for place in range(len(sets))}
    return Picks(pd.concat(references), pd.concat(heads), chosen)


def _pick_some(
    frame: pd.DataFrame,
    names: Sequence[str],
    sets: Sequence[frozenset[str]],
    before: int,
    step: int,
    complete: Sequence[int],
    steps: Sequence[int],
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """Return the rows of a partition that are needed as they are.

    Args:
        frame: the partition.
        names: the features.
        sets: the sets of columns that statements name.
        before: the number of rows before the partition.
        step: every so many rows are for reference.
        complete: the number of complete rows before the partition, for each set.
        steps: every so many complete rows are needed, for each set; 0 if none.
    """
    table = as_table(frame)[list(names)]
    table = table.set_axis(pd.RangeIndex(before, before + len(table)), axis=0)
    present = table.notna()
    others = []
    for own, passed, every in zip(sets, complete, steps, strict=True):
        whole = table[present[list(own)].all(axis=1)]
        others.append(whole[-passed % every :: every] if every else whole[:0])
    return table[-before % step :: step], table[: max(0, HEAD - before)], others


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
    summaries: Sequence[Summary],
    total: Summary,
    picks: Picks,
    sets: Sequence[frozenset[str]],
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
    for place, own in enumerate(sets):
        indices = [index for index, statement in enumerate(known) if _columns(statement) == own]
        count = total.complete[place]
        found["rows"][indices] = count
        if count < MIN_ROWS:
            continue
        alone = [index for index in indices if _measurable(expanded[index], columns, reference, ends, count)]
        rest = [index for index in indices if index not in alone]
        if alone:
            by_all.append((alone, _module(expanded, alone, columns, reference)))
        if rest:
            frame = picks.complete[place]
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
        statistics = join_results([task(plan.statistics, part) for part in parts], _add)
        before = np.cumsum([0, *(own.rows for own in summaries)]).tolist()
        influences = join_results(
            [task(plan.influences, part, start, statistics) for part, start in zip(parts, before, strict=False)], _add
        )
        for (indices, module), own, sums in zip(by_all, statistics, influences, strict=True):
            gaps = module.gaps_of(torch.empty(0, len(columns), dtype=torch.float64), ends, own)
            own_rows = torch.from_numpy(reference[~np.isnan(reference[:, _used(module, columns)]).any(axis=1)])
            for name, value in _numbers(module, gaps, own, sums, own_rows).items():
                found[name][indices] = value
            half = len(indices)
            spread |= dict(zip(indices, (sums[1][:half] / own.rows).numpy(), strict=True))
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


def _measurable(
    statement: Statement, columns: Sequence[str], reference: np.ndarray, ends: torch.Tensor, count: int
) -> bool:
    """Return whether statistics of all rows measure a statement: single columns without very heavy tails."""
    if count <= MAX_ROWS or any(len(group) > 1 for group in statement.groups):
        return False
    module = RelativeDependence(Knowledge((statement,)), columns, data=reference, normalize=True)
    return isinstance(statement, Direction) or module.has_statistics(ends)


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

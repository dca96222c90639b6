"""The tests behind an audit."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd
import torch

from moreso._audit.blocks import BLOCKS, block_length, halves
from moreso._audit.findings import Audit, Finding, Verdict
from moreso._audit.information import (
    BOOTSTRAP_ROWS,
    Information,
    bits_of,
    bootstrap_error,
    cells_of,
    joint,
    standardize,
)
from moreso._audit.unobserved import unobserved_notes
from moreso.dependence import MIN_ROWS, ROUND_OFF, RelativeDependence, TooManyRowsError, null_pvalue
from moreso.relations import Knowledge, Relation, count_problems, explain_contradiction, raise_problems
from moreso.tabular import MAX_ROWS, Measured, as_table, expand, measure, table_problems, thin

FEW_ROWS = 50
"""Below this many rows, the audit uses the jackknife's larger standard error."""

CERTAIN = 4.0
"""A statement is already certain if its gap is at least this many standard errors: the regularizer's margin."""

HALF_ROWS = 1000
"""Half-samples of long tables are thinned to this many rows."""

SPLITS = 10
"""The number of random splits into two half-samples."""

SHIFTS = 30
"""In a time series, independence is judged by this many circular shifts of one side."""

NUMBERS = (
    "gap",
    "standard_error",
    "normalized_gap",
    "normalized_error",
    "pvalue",
    "converse_pvalue",
    "stability",
    "bits",
)
"""The fields of `Finding` that are measured."""


def audit_rows(
    data: pd.DataFrame,
    knowledge: Knowledge | str,
    *,
    level: float = 0.05,
    block: int = 1,
    like: pd.DataFrame | None = None,
) -> Audit:
    """Test every statement on rows in memory; see `audit` for the arguments."""
    data = as_table(data)
    like = data if like is None else as_table(like)
    knowledge, renamed = _checked(data, knowledge, level, block, like)
    table = measure(data, like, knowledge.features, knowledge.directed)
    block = int(block)
    length = max(block, block_length(table.rows))
    order = np.arange(len(data))
    found, spread = _gaps(table, knowledge, order // block, order // length)
    shape = Shape(len(table.rows), block, length, table.levels)
    return conclude(data, knowledge, found, spread, level=level, renamed=renamed, shape=shape)


@dataclass(frozen=True)
class Shape:
    """What notes say of the rows.

    Args:
        rows: their number.
        block: how many consecutive rows may depend on each other, as the user says.
        length: the same, as the rows say.
        levels: the number of levels of each categorical feature.
    """

    rows: int
    block: int
    length: int
    levels: Mapping[str, int]


def conclude(
    data: pd.DataFrame,
    knowledge: Knowledge,
    found: dict[str, np.ndarray],
    spread: np.ndarray,
    *,
    level: float,
    renamed: Sequence[str],
    shape: Shape,
) -> Audit:
    """Return the audit that follows from what was measured.

    Args:
        data: the rows, or some of many, for notes on columns that were never observed together.
        knowledge: the statements.
        found: the numbers of all findings; see `NUMBERS`.
        spread: the contribution of each cell of rows to each gap.
        level: the level of the tests.
        renamed: notes on names.
        shape: what notes say of the rows.
    """
    verdicts = _judge(found, level)
    findings = tuple(
        Finding(
            relation=relation,
            verdict=verdicts[i],
            rows=int(found["rows"][i]),
            **{name: float(found[name][i]) for name in NUMBERS},
        )
        for i, relation in enumerate(knowledge)
    )
    notes = *renamed, *_notes(findings, knowledge, shape), *unobserved_notes(data, knowledge)
    together = _together(knowledge, found, spread, verdicts)
    return Audit(findings, knowledge, level, notes, together.nats, together.at_least)


def level_problems(level: float, block: int, rows: int | None = None) -> list[str]:
    """Return the problems of the settings of `audit`, one sentence per problem.

    Args:
        level: the level of the tests.
        block: how many consecutive rows may depend on each other.
        rows: the number of rows, if known.
    """
    settings = []
    if not (isinstance(level, Real) and 0 < level < 1):
        settings.append(f"'level' must be in (0, 1), got {level}. The usual one is 0.05.")
    most = math.inf if rows is None else max(1, rows // BLOCKS)
    if count_problems("block", block, 1, "") or block > most:
        limit = "" if rows is None else f" ({rows // BLOCKS})"
        settings.append(f"'block' must be at least 1 and at most a {BLOCKS}th of the rows{limit}, got {block}.")
    return settings


def read_statements(knowledge: Knowledge | str, columns: Sequence[str]) -> tuple[Knowledge, list[str], list[str]]:
    """Return the knowledge in the names of columns, with notes on names, and the problems of the statements."""
    known, problems = Knowledge.examine(knowledge, columns)
    known, notes = (known or Knowledge(())).matched(columns)
    if not (known or problems):
        problems.append("the knowledge holds no statement. Write at least one.")
    return known, notes, problems


def _checked(
    data: pd.DataFrame, knowledge: Knowledge | str, level: float, block: int, like: pd.DataFrame
) -> tuple[Knowledge, list[str]]:
    """Return the knowledge in the columns' names, with notes, or raise all problems of the arguments of `audit`."""
    known, notes, statements = read_statements(knowledge, list(data.columns))
    used = [name for name in known.features if name in data.columns]
    settings = level_problems(level, block, len(data))
    raise_problems(settings=settings, knowledge=statements, data=table_problems(like, used, directed=known.directed))
    return known, notes


def _judge(found: dict[str, np.ndarray], level: float) -> list[Verdict]:
    """Return the verdict on each statement, corrected for the number of those that could be tested."""
    tested = found["rows"] >= MIN_ROWS
    holds, contradicted = (np.zeros(len(tested), dtype=bool) for _ in range(2))
    holds[tested] = _holm(found["pvalue"][tested], level)
    contradicted[tested] = _holm(found["converse_pvalue"][tested], level)
    # Raw gaps between columns of different types also depend on their spread, so the normalised order must agree.
    holds &= found["normalized_gap"] > 0
    contradicted &= found["normalized_gap"] < 0
    certain = found["gap"] >= CERTAIN * found["standard_error"]
    first_that_applies = (
        (Verdict.UNOBSERVED, ~tested),
        (Verdict.CONTRADICTED, contradicted),
        (Verdict.CERTAIN, holds & certain),
        (Verdict.HOLDS, holds),
        (Verdict.UNDECIDED, np.ones(len(tested), dtype=bool)),
    )
    return [next(verdict for verdict, applies in first_that_applies if applies[i]) for i in range(len(tested))]


def _together(
    knowledge: Knowledge, found: dict[str, np.ndarray], spread: np.ndarray, verdicts: Sequence[Verdict]
) -> Information:
    """Return what the statements say together, without those that the rows contradict, which no fit trains."""
    kept = [index for index, verdict in enumerate(verdicts) if verdict is not Verdict.CONTRADICTED]
    statements = [knowledge.statements[index] for index in kept]
    seen = found["rows"][kept] >= MIN_ROWS
    return joint(statements, standardize(found["gap"][kept], found["spread"][kept]), spread[kept], seen)


def _notes(findings: Sequence[Finding], knowledge: Knowledge, shape: Shape) -> list[str]:
    """Return what a reader of the audit should know, one sentence per note."""
    block, length = shape.block, shape.length
    notes = [explain_contradiction(cycle) for cycle in knowledge.contradictions()]
    counts = [finding.rows for finding in findings if finding.verdict is not Verdict.UNOBSERVED] or [0]
    rows, most = min(counts), max(counts)
    if 0 < rows < FEW_ROWS:
        notes.append(
            f"{rows} rows: below about {FEW_ROWS} rows tests are rough, so the larger jackknife error is used."
        )
    if block > 1:
        notes.append(f"Standard errors and half-samples are taken over blocks of {block} rows or more.")
    elif length > 1:
        notes.append(
            "Neighbouring rows correlate, as in time series and in sorted tables: half-samples are taken in blocks of "
            f"{length} rows. If this is a time series, p-values are too small; take blocks of {length} for them too."
        )
    if fewer := sum(0 < finding.rows < shape.rows for finding in findings if most == shape.rows):
        notes.append(
            f"{fewer} of {len(findings)} statements use fewer than all {shape.rows} rows, {rows} at least: rows "
            "with missing values are left out, and long tables are thinned for groups."
        )
    apart = [finding for finding in findings if finding.rows == 0]
    if len(apart) > 1:
        notes.append(f"No row has all the columns of {len(apart)} statements, so no row can test them.")
    for relation, finding in zip(knowledge, findings, strict=True):
        if finding.verdict is Verdict.UNOBSERVED:
            if finding.rows or len(apart) == 1:
                needed = f"{finding.rows} rows have all of its columns, and {MIN_ROWS} are needed to test it"
                notes.append(f"{relation.where}: {needed}.")
        elif finding.gap == 0 and finding.standard_error == 0:
            notes.append(f"{relation.where}: both sides are equal in these rows, so they can never decide.")
        elif max(abs(finding.gap), finding.standard_error) < ROUND_OFF:
            notes.append(f"{relation.where}: what it compares hardly varies in these rows, so they cannot decide.")
    notes += [f"'{name}' is compared as {count} categories." for name, count in shape.levels.items()]
    return notes


def _gaps(
    table: Measured, knowledge: Knowledge, blocks: np.ndarray, half_blocks: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the numbers of all findings, and the contribution of each cell of rows to each gap.

    Relations with the same complete rows share the work.
    """
    place = {name: index for index, name in enumerate(table.columns)}
    expanded = list(expand(knowledge, table.parts, table.ranks))
    columns = [[place[name] for group in relation.groups for name in group] for relation in expanded]
    present = ~np.isnan(table.rows)
    shared: dict[tuple[bytes, bool], list[int]] = defaultdict(list)
    for index, (relation, own) in enumerate(zip(expanded, columns, strict=True)):
        complete = present[:, own].all(axis=1)
        shared[np.packbits(complete).tobytes(), len(own) > len(relation.groups)].append(index)
    found = {name: np.full(len(knowledge), np.nan) for name in (*NUMBERS, "spread", "rows")}
    cells = cells_of(blocks)
    sums = np.zeros((len(knowledge), int(cells.max()) + 1))
    for (pattern, grouped), indices in shared.items():
        complete = np.unpackbits(np.frombuffer(pattern, dtype=np.uint8), count=len(table.rows)).astype(bool)
        found["rows"][indices] = complete.sum()
        if complete.sum() < MIN_ROWS:
            continue
        relations = Knowledge(tuple(expanded[index] for index in indices))
        module = RelativeDependence(relations, table.columns, data=table.reference, normalize=True)
        parts = [each if complete.all() else each[complete] for each in (table.rows, blocks, half_blocks, cells)]
        if grouped:
            parts = list(map(thin, parts))
        try:
            values, influence = measure_gaps(module, table.reference, *parts)
        except TooManyRowsError:
            values, influence = measure_gaps(module, table.reference, *map(thin, parts))
        sums[indices, : influence.shape[1]] = influence
        for name, value in values.items():
            found[name][indices] = value
    found["bits"] = bits_of(standardize(found["gap"], found["spread"]))
    return found, sums


def measure_gaps(
    module: RelativeDependence,
    reference: np.ndarray,
    rows: np.ndarray,
    blocks: np.ndarray,
    half_blocks: np.ndarray,
    cells: np.ndarray,
) -> tuple[dict[str, np.ndarray | int], np.ndarray]:
    """Return the numbers of findings, and the contribution of each cell of rows to each gap.

    Args:
        module: the statements.
        reference: the rows that fix the bandwidths.
        rows: the rows, in order.
        blocks: the block of each row.
        half_blocks: the same for half-samples.
        cells: the cell of each row.
    """
    m = len(rows)
    sample = torch.from_numpy(rows)
    ids, half_ids = (np.unique(each, return_inverse=True)[1] for each in (blocks, half_blocks))
    normalized = module(sample)
    raw = normalized.unnormalized()
    in_order = int(ids[-1]) + 1 < m
    errors = normalized.errors(torch.from_numpy(cells), torch.from_numpy(ids) if in_order else None)
    error, normalized_error = (each.double().numpy() for each in (errors.plain, errors.normalized))
    if m < FEW_ROWS:
        # The jackknife's variance is exactly this multiple of the plain one; with 4 rows it is infinite.
        with np.errstate(divide="ignore", invalid="ignore"):
            wider = np.sqrt(m * (m - 1)) / np.float64(m - MIN_ROWS)
            error, normalized_error = error * wider, normalized_error * wider
    gap = raw.gap.double().numpy()
    statistic = torch.from_numpy(gap / np.maximum(error, ROUND_OFF))
    spread = error
    if m <= BOOTSTRAP_ROWS and not in_order:
        spread = np.maximum(error, bootstrap_error(module, sample))
    if in_order:
        depends = _shifted_pvalues(module, reference, sample, -(-m // (int(ids[-1]) + 1)))
    else:
        depends = [pvalue.double().numpy() for pvalue in normalized.independence_pvalue()]
    values = {
        "gap": gap,
        "standard_error": error,
        "spread": spread,
        "normalized_gap": normalized.gap.double().numpy(),
        "normalized_error": normalized_error,
        "pvalue": np.maximum(torch.special.ndtr(-statistic).numpy(), depends[0]),
        "converse_pvalue": np.maximum(torch.special.ndtr(statistic).numpy(), depends[1]),
        "stability": stability(module, sample, half_ids),
        "rows": m,
    }
    return values, errors.sums.numpy()


def stability(module: RelativeDependence, rows: torch.Tensor, blocks: np.ndarray) -> np.ndarray:
    """Return the share of half-samples in which each gap is positive; NaN if there are too few rows."""
    if len(rows) < 2 * MIN_ROWS:
        return np.full(len(module.knowledge), np.nan)
    held = [(module(rows[half]).gap > 0).double().numpy() for half in halves(blocks, HALF_ROWS, SPLITS)]
    return np.mean(held, axis=0)


def _shifted_pvalues(
    module: RelativeDependence, reference: np.ndarray, rows: torch.Tensor, block: int
) -> list[np.ndarray]:
    """Return the p-values of 'ref is independent of plus' and of 'ref is independent of minus' for rows in time.

    Those of directions are 0: under independence the law of their gaps is normal, with the error over blocks.

    If neighbouring rows depend on each other, the unbiased HSIC is not 0 on average and varies more. Circular shifts of
    ref by a block or more keep the order in time within both sides but not between them, and so give the mean and the
    standard deviation of HSIC under independence. Long tables are thinned.

    Args:
        module: the statements.
        reference: the rows that fix the bandwidths.
        rows: the rows, in order.
        block: how many of them may depend on each other.

    References:
        Chwialkowski & Gretton, "A Kernel Independence Test for Random Processes", ICML 2014.
    """
    pvalues = np.zeros((2, len(module.knowledge)))
    ordered = [isinstance(statement, Relation) for statement in module.knowledge]
    if not any(ordered):
        return list(pvalues)
    most = HALF_ROWS if module.wide else MAX_ROWS
    step = -(-len(rows) // most)
    rows = rows[::step]
    names = list(module.features)
    moved = {name: f"moved\n{name}" for name in names}
    relations = [
        Relation([moved[name] for name in each.ref], each.plus, each.minus) for each in module.knowledge.relations
    ]
    both = RelativeDependence(
        Knowledge(tuple(relations)), [*moved.values(), *names], data=np.hstack([reference, reference])
    )
    observed = torch.stack(both(torch.cat([rows, rows], dim=1)).sides())
    least = -(-block // step)
    shifts = np.unique(np.linspace(least, len(rows) - least, SHIFTS).astype(int)).tolist()
    drawn = torch.stack([torch.stack(both(torch.cat([rows.roll(k, 0), rows], dim=1)).sides()) for k in shifts])
    deviation = drawn.std(0).clamp(min=ROUND_OFF)
    pvalues[:, ordered] = null_pvalue(observed, drawn.mean(0), deviation).double().numpy()
    return list(pvalues)


def _holm(pvalues: np.ndarray, level: float) -> np.ndarray:
    """Return which hypotheses Holm's step-down method rejects."""
    order = np.argsort(pvalues)
    passed = np.logical_and.accumulate(pvalues[order] <= level / np.arange(len(pvalues), 0, -1))
    rejected = np.empty(len(pvalues), dtype=bool)
    rejected[order] = passed
    return rejected

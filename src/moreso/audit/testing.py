"""The tests behind an audit."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from moreso.audit.findings import Audit, Finding, Verdict
from moreso.audit.numbers import BLOCKS, Numbers, block_length, halves, numbers, thin
from moreso.dependence import MIN_ROWS, TooManyRowsError
from moreso.relations import Knowledge, KnowledgeError, explain_contradiction
from moreso.relative import ROUND_OFF, RelativeDependence
from moreso.tables import check_table

FEW_ROWS = 50
"""Below this many rows the jackknife's larger standard error is used."""

CERTAIN = 4.0
"""Standard errors beyond which a statement is already certain: the margin that a regularizer asks for."""

HALF_ROWS = 1000
"""Half-samples of long tables are thinned to this many rows."""

SPLITS = 10
"""Random splits into two half-samples."""


def audit(
    data: pd.DataFrame,
    knowledge: Knowledge,
    *,
    level: float = 0.05,
    block: int = 1,
    like: pd.DataFrame | None = None,
) -> Audit:
    """Test every relation on data.

    The gap's one-sided test (`relative_test`) and its converse, each corrected for the number of relations by Holm's
    method; a verdict other than 'undecided' also needs a normalised gap of the same sign. Columns are standardised, so
    that features of one group weigh alike; text and categorical columns are compared as levels, any two equally far
    apart; the bandwidth is the median distance.
    A relation uses the rows in which all of its own columns are present. Relations between single columns use every
    row, a million in seconds; those with groups of columns, with categories of more than two levels, or with very heavy
    tails, 5000 rows, evenly spaced. Below 50 rows the standard error is the jackknife's, which is larger.

    The test takes rows as independent. Where neighbouring rows correlate, as in time series and in sorted tables,
    half-samples are taken in blocks of rows, and a note says so. Of a time series the p-values are then too small: pass
    the note's `block`, over which standard errors are taken too.

    Args:
        data: columns named as in the knowledge; others are ignored.
        knowledge: at least one relation.
        level: the probability that any statement gets a verdict of 'holds' (or of 'contradicted') by chance.
        block: how many rows in a row may depend on each other, at most a twentieth of them.
        like: rows that fix scales and bandwidths, to measure several tables by one ruler; by default `data`.

    Raises:
        KnowledgeError: no relation, or names that are not columns.
        ValueError: a column that is constant, infinite, or text with too many levels; fewer than 4 rows; a level
            outside (0, 1), or a block that is too long.

    References:
        Bounliphone et al., ICML 2015 (the test). Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
        Kunsch, "The Jackknife and the Bootstrap for General Stationary Observations", Annals of Statistics 1989
        (blocks).

    >>> inlet = np.random.default_rng(0).normal(size=100)
    >>> table = pd.DataFrame({"outlet": inlet**2, "inlet": inlet, "ambient": inlet[::-1]})
    >>> [str(finding.verdict) for finding in audit(table, Knowledge.parse("outlet: inlet > ambient"))]
    ['already certain']
    """
    if not 0 < level < 1:
        raise ValueError(f"'level' must be in (0, 1), got {level}. The usual one is 0.05.")
    if len(knowledge) == 0:
        raise KnowledgeError(["the knowledge holds no relation. Write at least one."])
    if not 1 <= block <= max(1, len(data) // BLOCKS):
        raise ValueError(
            f"'block' must be at least 1 and at most a {BLOCKS}th of the rows ({len(data) // BLOCKS}), got {block}."
        )
    faults: list[str] = []
    try:
        knowledge.check([str(name) for name in data.columns])
    except KnowledgeError as error:
        faults += error.faults
    used = [name for name in knowledge.features if name in data.columns]
    try:
        check_table(data if like is None else like, used, missing=True, categories=True)
    except ValueError as error:
        faults += str(error).splitlines()
    if faults:
        raise KnowledgeError(faults)
    table = numbers(data, data if like is None else like, knowledge.features)
    length = max(block, block_length(table.rows))
    order = np.arange(len(data))
    found = _gaps(table, knowledge, order // block, order // length)
    holds, contradicted = _holm(found["pvalue"], level), _holm(found["converse_pvalue"], level)
    # Raw gaps of columns of different type also compare their own spread, so a verdict needs the normalised order too.
    holds &= found["normalized_gap"] > 0
    contradicted &= found["normalized_gap"] < 0
    certain = found["gap"] >= CERTAIN * found["standard_error"]
    verdicts = [
        Verdict.CONTRADICTED
        if contradicted[i]
        else Verdict.UNDECIDED
        if not holds[i]
        else Verdict.CERTAIN
        if certain[i]
        else Verdict.HOLDS
        for i in range(len(knowledge))
    ]
    findings = tuple(
        Finding(
            relation=knowledge.describe(relation),
            verdict=verdicts[i],
            rows=int(found["rows"][i]),
            confidence=relation.confidence,
            reason=relation.reason,
            **{name: float(values[i]) for name, values in found.items() if name != "rows"},
        )
        for i, relation in enumerate(knowledge)
    )
    return Audit(findings, level, tuple(_notes(findings, knowledge, table, block, length)))


def _notes(findings: Sequence[Finding], knowledge: Knowledge, table: Numbers, block: int, length: int) -> list[str]:
    """Return what a reader should know, in sentences."""
    notes = [explain_contradiction(circle) for circle in knowledge.contradictions()]
    rows, most = min(finding.rows for finding in findings), max(finding.rows for finding in findings)
    if rows < FEW_ROWS:
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
    if holed := sum(finding.rows < len(table.rows) for finding in findings if most == len(table.rows)):
        notes.append(
            f"{holed} of {len(findings)} statements use fewer than all {len(table.rows)} rows, {rows} at least: rows "
            "with missing values are left out, and long tables are thinned for groups."
        )
    for relation, finding in zip(knowledge, findings, strict=True):
        if finding.gap == 0 and finding.standard_error == 0:
            notes.append(f"{relation.where}: both sides are equal in these rows, so they can never decide.")
        elif max(abs(finding.gap), finding.standard_error) < ROUND_OFF:
            notes.append(f"{relation.where}: what it compares hardly varies in these rows, so they cannot decide.")
    notes += [f"'{name}' is compared as {count} categories." for name, count in table.levels.items()]
    return notes


def _gaps(table: Numbers, knowledge: Knowledge, blocks: np.ndarray, half_blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Return the numbers of all findings; relations with the same complete rows share the work."""
    place = {name: index for index, name in enumerate(table.columns)}
    expanded = [table.expand(relation) for relation in knowledge]
    columns = [[place[name] for group in relation.groups for name in group] for relation in expanded]
    present = ~np.isnan(table.rows)
    shared: dict[tuple[bytes, bool], list[int]] = defaultdict(list)
    for index, (relation, own) in enumerate(zip(expanded, columns, strict=True)):
        complete = present[:, own].all(axis=1)
        shared[np.packbits(complete).tobytes(), len(own) > len(relation.groups)].append(index)
    names = ("gap", "standard_error", "normalized_gap", "pvalue", "converse_pvalue", "stability", "rows")
    found = {name: np.empty(len(knowledge)) for name in names}
    faults: list[str] = []
    for (pattern, grouped), indices in shared.items():
        complete = np.unpackbits(np.frombuffer(pattern, dtype=np.uint8), count=len(table.rows)).astype(bool)
        if (count := complete.sum()) < MIN_ROWS:
            faults += [
                f"{knowledge.relations[index].where} has {count} rows without missing values, and {MIN_ROWS} are "
                "needed. Add rows."
                for index in indices
            ]
            continue
        used = sorted({column for index in indices for column in columns[index]})
        ruler = table.ruler[~np.isnan(table.ruler[:, used]).any(axis=1)]
        relations = Knowledge(tuple(expanded[index] for index in indices))
        module = RelativeDependence(relations, table.columns, data=ruler, normalize=True)
        parts = [each if complete.all() else each[complete] for each in (table.rows, blocks, half_blocks)]
        if grouped:
            parts = list(map(thin, parts))
        try:
            values = _measure(module, *parts)
        except TooManyRowsError:
            values = _measure(module, *map(thin, parts))
        for name, value in values.items():
            found[name][indices] = value
    if faults:
        raise KnowledgeError(faults)
    return found


def _measure(
    module: RelativeDependence, rows: np.ndarray, blocks: np.ndarray, half_blocks: np.ndarray
) -> dict[str, np.ndarray | int]:
    m = len(rows)
    sample = torch.from_numpy(rows)
    ids, half_ids = (np.unique(each, return_inverse=True)[1] for each in (blocks, half_blocks))
    normalized = module(sample)
    raw = normalized.unnormalized()
    in_order = int(ids[-1]) + 1 < m
    error = (raw.blocked_error(torch.from_numpy(ids)) if in_order else raw.standard_error).double().numpy()
    if m < FEW_ROWS:
        # The jackknife's variance is exactly this multiple of the plain one's; of 4 rows it is infinite.
        with np.errstate(divide="ignore"):
            error = error * (np.sqrt(m * (m - 1)) / np.float64(m - MIN_ROWS))
    gap = raw.gap.double().numpy()
    statistic = gap / np.maximum(error, ROUND_OFF)
    held = [np.full(len(gap), np.nan)]
    if m >= 2 * MIN_ROWS:
        held = [(module(sample[half]).gap > 0).double().numpy() for half in halves(half_ids, HALF_ROWS, SPLITS)]
    return {
        "gap": gap,
        "standard_error": error,
        "normalized_gap": normalized.gap.double().numpy(),
        "pvalue": norm.sf(statistic),
        "converse_pvalue": norm.cdf(statistic),
        "stability": np.mean(held, axis=0),
        "rows": m,
    }


def _holm(pvalues: np.ndarray, level: float) -> np.ndarray:
    """Return which hypotheses Holm's step-down method rejects."""
    order = np.argsort(pvalues)
    passed = np.logical_and.accumulate(pvalues[order] <= level / np.arange(len(pvalues), 0, -1))
    rejected = np.empty(len(pvalues), dtype=bool)
    rejected[order] = passed
    return rejected

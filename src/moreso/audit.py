"""Knowledge against data: which statements hold, which are contradicted, and which these rows cannot decide."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.table import Table

from moreso.dependence import MIN_ROWS, TooManyRowsError
from moreso.relations import Knowledge, KnowledgeError, Relation
from moreso.relative import RelativeDependence
from moreso.tables import check_table

MAX_ROWS = 5000
"""Relations between groups of columns use at most this many rows, evenly spaced: their cost grows with the square."""

LONG = 100_000
"""Tables with more rows are audited in single precision, whose error is far below their standard errors."""

FEW_ROWS = 50
"""Below this many rows the test is known to be slightly liberal for strongly dependent groups."""


class Verdict(StrEnum):
    """What the data say of one statement; each value's sentence is `sentence`."""

    HOLDS = "holds"
    UNDECIDED = "undecided"
    CONTRADICTED = "contradicted"

    @property
    def sentence(self) -> str:
        """The verdict in words for a person."""
        return {
            Verdict.HOLDS: "the data already say so",
            Verdict.UNDECIDED: "these rows cannot decide; the statement adds what they lack",
            Verdict.CONTRADICTED: "the data say the opposite; look at the reason again",
        }[self]

    @property
    def style(self) -> str:
        """The colour of the verdict in terminals and pages."""
        return {Verdict.HOLDS: "green", Verdict.UNDECIDED: "yellow", Verdict.CONTRADICTED: "red"}[self]


@dataclass(frozen=True)
class Finding:
    """The audit of one relation.

    Args:
        relation: as text, `ref: plus > minus`.
        gap: HSIC(ref, plus) - HSIC(ref, minus).
        standard_error: of the gap.
        normalized_gap: the difference of the normalised HSICs, comparable between relations.
        pvalue: one-sided, of 'ref depends on plus no more than on minus'; 1 - pvalue is that of the converse.
        verdict: after correction for the number of relations.
        rows: how many were used.
        confidence: the person's.
        reason: the person's.
    """

    relation: str
    gap: float
    standard_error: float
    normalized_gap: float
    pvalue: float
    verdict: Verdict
    rows: int
    confidence: float
    reason: str


@dataclass(frozen=True)
class Audit:
    """Result of `audit`: iterates over findings, in the order of the relations, and prints itself as a table.

    Args:
        findings: one a relation.
        level: the level of the tests, over all relations.
    """

    findings: tuple[Finding, ...]
    level: float

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def count(self, verdict: Verdict) -> int:
        """Return how many findings have this verdict."""
        return sum(finding.verdict is verdict for finding in self)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a relation; the columns are the fields of `Finding`."""
        return pd.DataFrame([{**asdict(finding), "verdict": str(finding.verdict)} for finding in self])

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in Verdict)
        columns = ["relation", "gap", "standard_error", "pvalue", "verdict", "reason"]
        return f"{counts} (level {self.level})\n{self.to_frame()[columns].to_string(index=False)}"

    def __rich__(self) -> Table:
        table = Table(title=f"Audit of {len(self)} statements at level {self.level}", title_justify="left")
        for name in ("statement", "gap", "std. error", "p-value", "verdict", "reason"):
            table.add_column(name, justify="right" if name in ("gap", "std. error", "p-value") else "left")
        for finding in self:
            table.add_row(
                finding.relation,
                f"{finding.gap:+.4f}",
                f"{finding.standard_error:.4f}",
                f"{finding.pvalue:.3f}" if finding.pvalue >= 0.0005 else "<.001",
                f"[{finding.verdict.style}]{finding.verdict}",
                finding.reason,
            )
        return table

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the rows behind the findings."""
        rows = min(finding.rows for finding in self)
        notes = []
        if rows < FEW_ROWS:
            notes.append(f"{rows} rows: below about {FEW_ROWS} the test errs slightly more often than its level.")
        return notes


def audit(data: pd.DataFrame, knowledge: Knowledge, *, level: float = 0.05, like: pd.DataFrame | None = None) -> Audit:
    """Test every relation on data.

    The gap's one-sided test (`relative_test`) and its converse, each corrected for the number of relations by Holm's
    method. Columns are standardised, so that features of one group weigh alike; the bandwidth is the median distance.
    A relation uses the rows in which all of its own columns are present. Relations between single columns use every
    row, a million in seconds; those with groups of columns, or with very heavy tails, 5000 rows, evenly spaced.

    Args:
        data: columns named as in the knowledge; others are ignored.
        knowledge: at least one relation.
        level: the probability that any statement gets a verdict of 'holds' (or of 'contradicted') by chance.
        like: rows that fix scales and bandwidths, to measure several tables by one ruler; by default `data`.

    Raises:
        KnowledgeError: no relation, or names that are not columns.
        ValueError: a column that is not numeric, constant or infinite; fewer than 4 rows; a level outside (0, 1).

    References:
        Bounliphone et al., ICML 2015 (the test). Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    >>> inlet = np.random.default_rng(0).normal(size=100)
    >>> table = pd.DataFrame({"outlet": inlet**2, "inlet": inlet, "ambient": inlet[::-1]})
    >>> [str(finding.verdict) for finding in audit(table, Knowledge.parse("outlet: inlet > ambient"))]
    ['holds']
    """
    if not 0 < level < 1:
        raise ValueError(f"'level' must be in (0, 1), got {level}. The usual one is 0.05.")
    if len(knowledge) == 0:
        raise KnowledgeError(["the knowledge holds no relation. Write at least one."])
    faults: list[str] = []
    try:
        knowledge.check([str(name) for name in data.columns])
    except KnowledgeError as error:
        faults += error.faults
    used = [name for name in knowledge.features if name in data.columns]
    for table in [data] if like is None else [like]:
        try:
            check_table(table, used, missing=True)
        except ValueError as error:
            faults += str(error).splitlines()
    if faults:
        raise KnowledgeError(faults)
    gaps = _gaps(data, data if like is None else like, knowledge)
    holds, contradicted = _holm(gaps["pvalue"], level), _holm(1 - gaps["pvalue"], level)
    return Audit(
        tuple(
            Finding(
                relation=knowledge.describe(relation),
                gap=gaps["gap"][i],
                standard_error=gaps["standard_error"][i],
                normalized_gap=gaps["normalized_gap"][i],
                pvalue=gaps["pvalue"][i],
                verdict=Verdict.HOLDS if holds[i] else Verdict.CONTRADICTED if contradicted[i] else Verdict.UNDECIDED,
                rows=int(gaps["rows"][i]),
                confidence=relation.confidence,
                reason=relation.reason,
            )
            for i, relation in enumerate(knowledge)
        ),
        level,
    )


def _gaps(data: pd.DataFrame, ruler: pd.DataFrame, knowledge: Knowledge) -> dict[str, np.ndarray]:
    """Return the numbers of all findings; relations with the same complete rows share the work."""
    columns = list(knowledge.features)
    rows, scale = _standardised(data, ruler, columns)
    present = ~np.isnan(rows)
    shared: dict[tuple[bytes, bool], list[int]] = defaultdict(list)
    for index, relation in enumerate(knowledge):
        complete = present[:, [columns.index(name) for name in _columns(relation)]].all(axis=1)
        shared[np.packbits(complete).tobytes(), len(_columns(relation)) > len(relation.groups)].append(index)
    found = {name: np.empty(len(knowledge)) for name in ("gap", "standard_error", "normalized_gap", "pvalue", "rows")}
    faults: list[str] = []
    for (pattern, grouped), indices in shared.items():
        relations = Knowledge(tuple(knowledge.relations[index] for index in indices))
        complete = np.unpackbits(np.frombuffer(pattern, dtype=np.uint8), count=len(rows)).astype(bool)
        if (count := complete.sum()) < MIN_ROWS:
            faults += [
                f"{relation.where} has {count} rows without missing values, and {MIN_ROWS} are needed. Add rows."
                for relation in relations
            ]
            continue
        used = [columns.index(name) for name in relations.features]
        bandwidths = scale[~np.isnan(scale[:, used]).any(axis=1)]
        sample = torch.from_numpy(rows if complete.all() else rows[complete])
        try:
            gaps = _measure(relations, columns, bandwidths, _thin(sample) if grouped else sample)
        except TooManyRowsError:
            gaps = _measure(relations, columns, bandwidths, _thin(sample))
        for name, values in gaps.items():
            found[name][indices] = values
    if faults:
        raise KnowledgeError(faults)
    return found


def _measure(
    relations: Knowledge, columns: list[str], bandwidths: np.ndarray, rows: torch.Tensor
) -> dict[str, torch.Tensor | int]:
    normalized = RelativeDependence(relations, columns, data=bandwidths, normalize=True)(rows)
    raw = normalized.unnormalized()
    return {
        "gap": raw.gap,
        "standard_error": raw.standard_error,
        "pvalue": raw.pvalue,
        "normalized_gap": normalized.gap,
        "rows": len(rows),
    }


def _standardised(data: pd.DataFrame, ruler: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return both tables in standard deviations of the ruler, the ruler thinned to what fixes bandwidths.

    Long tables are kept in single precision, column by column, so that a million rows fit beside the table itself.
    """
    rows = np.empty((len(data), len(columns)), dtype=np.float32 if len(data) > LONG else np.float64)
    scale = np.empty((len(_thin(ruler)), len(columns)))
    for index, name in enumerate(columns):
        column = ruler[name].to_numpy(dtype=float, na_value=np.nan)
        mean, deviation = np.nanmean(column), np.nanstd(column)
        scale[:, index] = (_thin(column) - mean) / deviation
        rows[:, index] = (data[name].to_numpy(dtype=float, na_value=np.nan) - mean) / deviation
    return rows, scale


def _columns(relation: Relation) -> list[str]:
    return [name for group in relation.groups for name in group]


def _thin(rows: Any) -> Any:
    """Return at most `MAX_ROWS` rows of a table, an array or a tensor, evenly spaced."""
    return rows[:: -(-len(rows) // MAX_ROWS)]


def _holm(pvalues: np.ndarray, level: float) -> np.ndarray:
    """Return which hypotheses Holm's step-down method rejects."""
    order = np.argsort(pvalues)
    passed = np.logical_and.accumulate(pvalues[order] <= level / np.arange(len(pvalues), 0, -1))
    rejected = np.empty(len(pvalues), dtype=bool)
    rejected[order] = passed
    return rejected

"""Knowledge against data: which statements hold, which are contradicted, and which these rows cannot decide."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
import torch
from rich.table import Table

from moreso.dependence import MIN_ROWS
from moreso.relations import Knowledge, KnowledgeError, Relation
from moreso.relative import RelativeDependence
from moreso.tables import check_table

MAX_ROWS = 2000
"""Longer tables are thinned evenly to this many rows: the exact test needs memory that grows with their square."""

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
    A relation uses the rows in which all of its own columns are present. Tables of more than 2000 rows are thinned
    evenly.

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
    data, ruler = (table[used].astype(float) for table in (data, data if like is None else like))
    data, ruler = ((table - ruler.mean()) / ruler.std() for table in (data, ruler))
    gaps = _gaps(_thin(data), _thin(ruler), knowledge)
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
    patterns: dict[bytes, list[int]] = defaultdict(list)
    present, ruler_present = data.notna(), ruler.notna()
    for index, relation in enumerate(knowledge):
        patterns[present[_columns(relation)].all(axis=1).to_numpy().tobytes()].append(index)
    found = {name: np.empty(len(knowledge)) for name in ("gap", "standard_error", "normalized_gap", "pvalue", "rows")}
    faults: list[str] = []
    for pattern, indices in patterns.items():
        rows = torch.as_tensor(data.to_numpy()[np.frombuffer(pattern, dtype=bool)])
        relations = [knowledge.relations[index] for index in indices]
        if len(rows) < MIN_ROWS:
            faults += [
                f"{relation.where} has {len(rows)} rows without missing values, and {MIN_ROWS} are needed. Add rows."
                for relation in relations
            ]
            continue
        complete = ruler_present[list(Knowledge(tuple(relations)).features)].all(axis=1)
        raw, normalized = (
            RelativeDependence(
                Knowledge(tuple(relations)), list(data.columns), data=ruler[complete].to_numpy(), normalize=normalize
            )(rows)
            for normalize in (False, True)
        )
        found["gap"][indices] = raw.gap
        found["standard_error"][indices] = raw.standard_error
        found["pvalue"][indices] = raw.pvalue
        found["normalized_gap"][indices] = normalized.gap
        found["rows"][indices] = len(rows)
    if faults:
        raise KnowledgeError(faults)
    return found


def _columns(relation: Relation) -> list[str]:
    return [name for group in relation.groups for name in group]


def _thin(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[:: -(-len(table) // MAX_ROWS)]


def _holm(pvalues: np.ndarray, level: float) -> np.ndarray:
    """Return which hypotheses Holm's step-down method rejects."""
    order = np.argsort(pvalues)
    passed = np.logical_and.accumulate(pvalues[order] <= level / np.arange(len(pvalues), 0, -1))
    rejected = np.empty(len(pvalues), dtype=bool)
    rejected[order] = passed
    return rejected

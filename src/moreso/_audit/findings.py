"""The findings of an audit, as objects, tables and text."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from moreso.relations import Knowledge, Statement

if TYPE_CHECKING:
    from rich.table import Table


class Verdict(StrEnum):
    """What the data say about one statement; `sentence` explains it."""

    CERTAIN = "already certain"
    HOLDS = "holds"
    UNDECIDED = "undecided"
    UNOBSERVED = "never observed together"
    CONTRADICTED = "contradicted"

    @property
    def holds(self) -> bool:
        """Whether the data confirm the statement."""
        return self in (Verdict.CERTAIN, Verdict.HOLDS)

    @property
    def sentence(self) -> str:
        """The verdict as a phrase for people."""
        return {
            Verdict.CERTAIN: "these rows settle it, so the statement adds little",
            Verdict.HOLDS: "the data already say so",
            Verdict.UNDECIDED: "these rows cannot decide; the statement adds what they lack",
            Verdict.UNOBSERVED: "too few rows have all its columns; the statement says what no row can",
            Verdict.CONTRADICTED: "the data say the opposite; look at the reason again",
        }[self]

    @staticmethod
    def cautious(verdicts: Collection["Verdict"]) -> "Verdict":
        """Return the verdict that supports the statement least."""
        order = (Verdict.CONTRADICTED, Verdict.UNOBSERVED, Verdict.UNDECIDED, Verdict.HOLDS, Verdict.CERTAIN)
        return min(verdicts, key=order.index)

    @property
    def style(self) -> str:
        """The colour of the verdict in terminals and pages."""
        styles = {Verdict.UNDECIDED: "yellow", Verdict.UNOBSERVED: "yellow", Verdict.CONTRADICTED: "red"}
        return styles.get(self, "green")


@dataclass(frozen=True)
class Finding:
    """The audit of one relation.

    Args:
        relation: the statement.
        gap: HSIC(ref, plus) - HSIC(ref, minus). If the columns were never observed together, this and all numbers below
            except `rows` are NaN.
        standard_error: standard error of the gap.
        normalized_gap: difference of the normalised HSICs, comparable between relations.
        pvalue: one-sided p-value of 'ref depends on plus no more than on minus'.
        converse_pvalue: one-sided p-value of 'ref depends on minus no more than on plus'.
        stability: share of half-samples in which ref depends on plus more than on minus; NaN below 8 rows.
        verdict: the verdict, corrected for the number of relations.
        rows: the number of rows in which all of the relation's columns are present.
    """

    relation: Statement
    gap: float
    standard_error: float
    normalized_gap: float
    pvalue: float
    converse_pvalue: float
    stability: float
    verdict: Verdict
    rows: int


@dataclass(frozen=True)
class Audit:
    """Result of `audit`: iterates over findings, in the order of the relations, and prints itself as a table.

    Args:
        findings: one finding per relation.
        knowledge: the statements, with the user's names for groups.
        level: the level of the tests, over all relations.
        notes: what a reader should know about the rows and the statements behind the findings.
    """

    findings: tuple[Finding, ...]
    knowledge: Knowledge
    level: float
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def count(self, verdict: Verdict) -> int:
        """Return how many findings have this verdict."""
        return sum(finding.verdict is verdict for finding in self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per relation: its text, the fields of `Finding`, confidence and reason."""
        return pd.DataFrame([self._row(finding) for finding in self])

    def _row(self, finding: Finding) -> dict[str, Any]:
        relation, values = finding.relation, {field.name: getattr(finding, field.name) for field in fields(finding)}
        texts = {"relation": self.knowledge.describe(relation), "verdict": str(finding.verdict)}
        return {**values, **texts, "confidence": relation.confidence, "reason": relation.reason}

    def to_json(self) -> str:
        """Return everything as a JSON object; numbers that are not finite become null."""
        findings = json.loads(self.to_frame().to_json(orient="records", double_precision=15))
        content = {"moreso": version("moreso"), "level": self.level, "notes": list(self.notes), "findings": findings}
        return json.dumps(content, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in Verdict)
        columns = ["relation", "gap", "standard_error", "pvalue", "stability", "verdict", "reason"]
        table = self.to_frame()[columns].to_string(index=False)
        return "\n".join([f"{counts} (level {self.level})", table, *self.notes])

    def __rich__(self) -> "Table":
        from rich.markup import escape  # noqa: PLC0415 (only a terminal needs it)
        from rich.table import Table  # noqa: PLC0415 (only a terminal needs it)

        table = Table(title=f"Audit of {len(self)} statements at level {self.level}", title_justify="left")
        for name in ("statement", "gap", "std. error", "p-value", "halves", "verdict", "reason"):
            numeric = name in ("gap", "std. error", "p-value", "halves")
            table.add_column(name, justify="right" if numeric else "left")
        for finding in self:
            numbers = ["", "", "", ""]
            if finding.verdict is not Verdict.UNOBSERVED:
                numbers = [
                    f"{finding.gap:+.4f}",
                    f"{finding.standard_error:.4f}",
                    f"{finding.pvalue:.3f}" if finding.pvalue >= 0.0005 else "<.001",
                    f"{finding.stability:.0%}",
                ]
            table.add_row(
                escape(self.knowledge.describe(finding.relation)),
                *numbers,
                f"[{finding.verdict.style}]{finding.verdict}",
                escape(finding.relation.reason),
            )
        return table

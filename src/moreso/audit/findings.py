"""What an audit finds, as objects, tables and text."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version

import pandas as pd
from rich.table import Table


class Verdict(StrEnum):
    """What the data say of one statement; each value's sentence is `sentence`."""

    CERTAIN = "already certain"
    HOLDS = "holds"
    UNDECIDED = "undecided"
    CONTRADICTED = "contradicted"

    @property
    def holds(self) -> bool:
        """Whether the data confirm the statement."""
        return self in (Verdict.CERTAIN, Verdict.HOLDS)

    @property
    def sentence(self) -> str:
        """The verdict in words for a person."""
        return {
            Verdict.CERTAIN: "these rows settle it, so the statement adds little",
            Verdict.HOLDS: "the data already say so",
            Verdict.UNDECIDED: "these rows cannot decide; the statement adds what they lack",
            Verdict.CONTRADICTED: "the data say the opposite; look at the reason again",
        }[self]

    @staticmethod
    def cautious(verdicts: Collection["Verdict"]) -> "Verdict":
        """Return the verdict that claims least for the statement."""
        order = (Verdict.CONTRADICTED, Verdict.UNDECIDED, Verdict.HOLDS, Verdict.CERTAIN)
        return min(verdicts, key=order.index)

    @property
    def style(self) -> str:
        """The colour of the verdict in terminals and pages."""
        styles = {Verdict.UNDECIDED: "yellow", Verdict.CONTRADICTED: "red"}
        return styles.get(self, "green")


@dataclass(frozen=True)
class Finding:
    """The audit of one relation.

    Args:
        relation: as text, `ref: plus > minus`.
        gap: HSIC(ref, plus) - HSIC(ref, minus).
        standard_error: of the gap.
        normalized_gap: the difference of the normalised HSICs, comparable between relations.
        pvalue: one-sided, of 'ref depends on plus no more than on minus'.
        converse_pvalue: of 'ref depends on minus no more than on plus'.
        stability: share of half-samples in which ref depends on plus more so than on minus; NaN below 8 rows.
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
    converse_pvalue: float
    stability: float
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
        notes: what a reader should know of the rows and the statements behind the findings.
    """

    findings: tuple[Finding, ...]
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
        """Return a row a relation; the columns are the fields of `Finding`."""
        return pd.DataFrame([{**asdict(finding), "verdict": str(finding.verdict)} for finding in self])

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

    def __rich__(self) -> Table:
        table = Table(title=f"Audit of {len(self)} statements at level {self.level}", title_justify="left")
        for name in ("statement", "gap", "std. error", "p-value", "halves", "verdict", "reason"):
            numeric = name in ("gap", "std. error", "p-value", "halves")
            table.add_column(name, justify="right" if numeric else "left")
        for finding in self:
            table.add_row(
                finding.relation,
                f"{finding.gap:+.4f}",
                f"{finding.standard_error:.4f}",
                f"{finding.pvalue:.3f}" if finding.pvalue >= 0.0005 else "<.001",
                f"{finding.stability:.0%}",
                f"[{finding.verdict.style}]{finding.verdict}",
                finding.reason,
            )
        return table


def explain_left_out(statement: str) -> str:
    """Return the sentence about a statement that was not trained."""
    return (
        f"'{statement}' was left out of training: the training rows contradict it. Look at its reason again, or obey "
        "it all the same with trust 'all'."
    )

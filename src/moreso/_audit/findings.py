"""The findings of an audit, as objects, tables and text."""

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from moreso.relations import Knowledge, Statement

if TYPE_CHECKING:
    from rich.table import Table


class Verdict(StrEnum):
    """What the data say about one statement; `sentence` explains it.

    >>> Verdict("holds").holds, Verdict.CONTRADICTED.holds
    (True, False)
    >>> print(Verdict.UNDECIDED.sentence)
    these rows cannot decide; the statement adds what they lack
    >>> print(Verdict.cautious([Verdict.CERTAIN, Verdict.UNDECIDED]), Verdict.CONTRADICTED.style)
    undecided red
    """

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


def bits_text(bits: float) -> str:
    """Return bits for people: with one decimal, and 0 if they round to it."""
    return "0" if bits < 0.05 else f"{bits:.1f}"


@dataclass(frozen=True)
class Finding:
    """The audit of one relation.

    Args:
        relation: the statement.
        gap: HSIC(ref, plus) - HSIC(ref, minus). If the columns were never observed together, this and all numbers below
            except `bits` and `rows` are NaN.
        standard_error: standard error of the gap.
        normalized_gap: difference of the normalised HSICs, comparable between relations.
        normalized_error: standard error of the normalised gap.
        pvalue: one-sided p-value of 'ref depends on plus no more than on minus', at least that of 'ref is
            independent of plus'.
        converse_pvalue: one-sided p-value of 'ref depends on minus no more than on plus', at least that of 'ref is
            independent of minus'.
        stability: share of half-samples in which ref depends on plus more than on minus; NaN below 8 rows.
        bits: -log2 P(the statement holds | rows), what it says beyond the rows: 0 if it is certain. A statement never
            observed together has 1, or more if there are reasons against it.
        verdict: the verdict, corrected for the number of relations.
        rows: the number of rows in which all of the relation's columns are present.
    """

    relation: Statement
    gap: float
    standard_error: float
    normalized_gap: float
    normalized_error: float
    pvalue: float
    converse_pvalue: float
    stability: float
    bits: float
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
        nats: -ln P(all statements hold | rows), without those that the rows contradict: the most that they can add to
            the log-likelihood of all rows to come, summed. Infinite if they contradict each other.
        at_least: whether the truth may be larger than `nats`, since the probability is too small to measure.

    >>> import numpy as np
    >>> from moreso import audit
    >>> inlet = np.random.default_rng(0).normal(size=60)
    >>> table = pd.DataFrame({"outlet": inlet**2, "inlet": inlet, "ambient": inlet[::-1]})
    >>> found = audit(table, "outlet: inlet > ambient   # same pipe")
    >>> for finding in found:
    ...     print(finding.relation, "->", finding.verdict)
    outlet: inlet > ambient  # same pipe -> already certain
    >>> len(found), found.count(Verdict.CONTRADICTED), found.notes
    (1, 0, ())
    >>> print(found.information)
    This statement carries at most 0.0 nats beyond the 60 rows; expect little from it.
    >>> found.to_frame()[["relation", "verdict", "reason"]].iloc[0].to_list()
    ['outlet: inlet > ambient', 'already certain', 'same pipe']
    >>> json.loads(found.to_json())["findings"][0]["gap"] > 0
    True
    """

    findings: tuple[Finding, ...]
    knowledge: Knowledge
    level: float
    notes: tuple[str, ...] = ()
    nats: float = math.nan
    at_least: bool = False

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def count(self, verdict: Verdict) -> int:
        """Return how many findings have this verdict."""
        return sum(finding.verdict is verdict for finding in self)

    @property
    def information(self) -> str:
        """What the statements can add to the rows, in a sentence or two."""
        kept = [finding for finding in self if finding.verdict is not Verdict.CONTRADICTED]
        if not kept:
            return "The rows contradict every statement, so none is counted."
        count, rows = len(kept), max(finding.rows for finding in kept)
        one, several = ("This statement", f"These {count} statements")
        if count < len(self):
            several = f"The {count} statements that the rows do not contradict"
            one = several.replace("1 statements that the rows do", "1 statement that the rows do")
        subject, s = (one, "s") if count == 1 else (several, "")
        if math.isinf(self.nats):
            return f"{subject} contradict each other, so no bound can be given."
        beyond = f"beyond the {rows} rows" if rows else "beyond these rows"
        bound = f"{self.nats:.1f} nats"
        if self.at_least:
            found = f"{subject} carr{'ies' if s else 'y'} more than these draws can measure {beyond}: at least {bound}."
        else:
            found = f"{subject} carr{'ies' if s else 'y'} at most {bound} {beyond}"
            found += ", in all" if count > 1 else ""
            marked = sum(bits_text(finding.bits) == "0" for finding in kept)
            them = "it" if count == 1 else "them" if marked == count else "those marked 0"
            found += f"; expect little from {them}." if marked else "."
        if unseen := sum(finding.verdict is Verdict.UNOBSERVED for finding in kept):
            them = "It was" if count == 1 else f"{unseen} of them {'was' if unseen == 1 else 'were'}"
            found += f" {them} never observed together and may carry more."
        return found

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
        content |= {"nats": self.nats if math.isfinite(self.nats) else None, "at_least": self.at_least}
        content["information"] = self.information
        return json.dumps(content, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in Verdict)
        columns = ["relation", "gap", "standard_error", "pvalue", "stability", "bits", "verdict", "reason"]
        table = self.to_frame()[columns].to_string(index=False)
        return "\n".join([f"{counts} (level {self.level})", table, *self.notes, self.information])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table, and the notes below it."""
        columns = ["relation", "gap", "standard_error", "pvalue", "bits", "verdict", "reason"]
        table = self.to_frame()[columns].to_html(index=False, float_format="{:.3g}".format)
        return table + "".join(f"<p>{escape(note)}</p>" for note in (*self.notes, self.information))

    def __rich__(self) -> "Table":
        from rich.markup import escape as plain  # noqa: PLC0415 (only a terminal needs it)
        from rich.table import Table  # noqa: PLC0415 (only a terminal needs it)

        table = Table(title=f"Audit of {len(self)} statements at level {self.level}", title_justify="left")
        for name in ("statement", "gap", "std. error", "p-value", "halves", "bits", "verdict", "reason"):
            numeric = name in ("gap", "std. error", "p-value", "halves", "bits")
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
                plain(self.knowledge.describe(finding.relation)),
                *numbers,
                bits_text(finding.bits),
                f"[{finding.verdict.style}]{finding.verdict}",
                plain(finding.relation.reason),
            )
        return table

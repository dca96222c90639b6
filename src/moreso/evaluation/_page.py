"""The report as one HTML page, which needs neither a network nor JavaScript."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version

from jinja2 import Environment, PackageLoader

import moreso.evaluation._figures as figures
from moreso._audit import Verdict, bits_text
from moreso.evaluation._quality import Quality
from moreso.evaluation._rows import Evidence, Gap, Likelihood, Row, held_text
from moreso.evaluation._unobserved import PairRow, show_number, show_range
from moreso.evaluation._worth import Worth
from moreso.relations import Knowledge, explain_contradiction, explain_redundancy

SCATTERED = 30
"""The most statements with scatter plots, so that the page stays small; the most informative come first."""

PACKAGES = "moreso", "torch", "numpy", "pandas", "scikit-learn"

KINDS = {"data": "data", "without": "without knowledge", "with": "with knowledge", "shuffled": "data, columns shuffled"}
"""How a page calls the kinds of rows."""


@dataclass(frozen=True)
class Page:
    """What a page shows; see `Report` for the arguments that have the same names there.

    Args:
        model: the name of the model.
        fits: the number of fits.
        count: the number of rows per fit.
        held_out: whether these are other rows than those of the training.
        held: how many statements held, in a sentence.
        summary: the other findings in sentences.
        advice: what to do next.
        information: what the statements say beyond the rows.
        rows: one per statement.
        knowledge: the statements.
        likelihood: the log-likelihoods.
        worth: which statements carry the gain.
        pairs: pairs of columns that were never observed together.
        quality: how much samples are like the rows.
        evidence: rows, samples and trainings of the first fit.
        command: the command that made the report.
    """

    model: str
    fits: int
    count: int
    held_out: bool
    held: str
    summary: Sequence[str]
    advice: Sequence[str]
    information: str
    rows: Sequence[Row]
    knowledge: Knowledge
    likelihood: Likelihood | None
    worth: Worth | None
    pairs: Sequence[PairRow]
    quality: Quality
    evidence: Evidence
    command: str

    def render(self) -> str:
        """Return the page."""
        loader = PackageLoader("moreso.evaluation")
        environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        return environment.get_template("report.html").render(
            **{field.name: getattr(self, field.name) for field in fields(self)},
            helped=self._helped(),
            charts=[self._chart(row) for row in self.rows],
            scatters=self._scatters(),
            order=self._order(),
            tree=self._tree(),
            logic=self._logic(),
            curves=figures.curves(self.evidence),
            marginals=figures.marginals(self.evidence),
            matrices=figures.matrices(self.quality) if len(self.quality.columns) > 1 else None,
            versions={name: version(name) for name in PACKAGES} | {"Python": platform.python_version()},
            describe=self.knowledge.describe,
            bits_text=bits_text,
            held_text=held_text,
            interval_text=interval_text,
            kinds=KINDS,
            show_range=show_range,
            show_number=show_number,
        )

    def _helped(self) -> str:
        """Return whether knowledge helped, in a sentence."""
        if self.likelihood is None:
            return "This model has no density, so rows have no likelihood under it."
        low, high = self.likelihood.interval
        gain = f"{self.likelihood.gain:+.3f} nats per row (95% interval {low:+.3f} to {high:+.3f})"
        if low > 0:
            return f"Yes: rows are likelier with it, by {gain}."
        if high < 0:
            return f"No: rows are less likely with it, by {gain}."
        return f"Not measurably: the log-likelihood changed by {gain}."

    def _chart(self, row: Row) -> list[dict[str, object]]:
        """Return the marks of a forest plot: place and ends of each interval, in percent of the width."""
        reach = self._reach
        marks = []
        for kind, gap in (("data", row.data), ("without", row.without), ("with", row.with_knowledge)):
            if gap.normalized == gap.normalized:
                low, high = gap.interval if gap.normalized_error < float("inf") else (-reach, reach)
                places = [50 + 48 * max(-1.0, min(1.0, value / reach)) for value in (gap.normalized, low, high)]
                marks.append({"kind": kind, "at": places[0], "low": places[1], "high": places[2]})
        return marks

    @property
    def _reach(self) -> float:
        """The largest normalised gap, or end of an interval up to twice as far: all charts have one scale."""
        gaps = [gap for row in self.rows for gap in (row.data, row.without, row.with_knowledge)]
        most = max((abs(gap.normalized) for gap in gaps if gap.normalized == gap.normalized), default=0.0)
        ends = [abs(end) for gap in gaps for end in gap.interval if abs(end) < 2 * most]
        return max([most, *ends]) or 1.0

    def _scatters(self) -> dict[int, figures.Picture]:
        """Return the scatter plots of statements, by their position."""
        first = sorted(range(len(self.rows)), key=lambda index: -self.rows[index].bits)[:SCATTERED]
        return {index: figures.scatter(self.rows[index].relation, self.evidence) for index in sorted(first)}

    def _order(self) -> figures.Picture | None:
        order = self.knowledge.order()
        return figures.order(order, {row.relation: row for row in self.rows}) if figures.draws_order(order) else None

    def _tree(self) -> str:
        return "\n".join(self.knowledge.order().tree())

    def _logic(self) -> list[tuple[str, list[str]]]:
        """Return headings with what is to be said below each: contradictions, what follows, certain, the person's."""
        contradictions = self.knowledge.contradictions()
        follows = [] if contradictions else self.knowledge.redundancies()
        certain = [row for row in self.rows if row.verdict is Verdict.CERTAIN]
        alone = [row for row in self.rows if row.verdict is Verdict.UNOBSERVED]
        wrong = [row for row in self.rows if row.verdict is Verdict.CONTRADICTED]
        found = [
            ("Contradict each other", list(map(explain_contradiction, contradictions))),
            ("Contradicted by the data", [self.knowledge.describe(row.relation) for row in wrong]),
            ("Follow from others", [explain_redundancy(statement, grounds) for statement, grounds in follows]),
            ("Already certain in the data", [self.knowledge.describe(row.relation) for row in certain]),
            ("Known to the person alone", [self.knowledge.describe(row.relation) for row in alone]),
        ]
        return [(heading, sentences) for heading, sentences in found if sentences]


def interval_text(gap: Gap) -> str:
    """Return a normalised gap with its 95% interval; a dash if there is none."""
    if gap.normalized != gap.normalized:
        return "-"
    low, high = gap.interval
    return f"{gap.normalized:+.3f} ({low:+.3f} to {high:+.3f})"

"""Compare data, a model without knowledge and the same model with it, statement by statement."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from moreso._audit import Audit, Finding, Verdict, audit, bits_text, level_problems
from moreso._files import atomic_write
from moreso.evaluation._pairs import NAN
from moreso.evaluation._quality import Quality, measure_quality
from moreso.evaluation._rows import Evidence, Gap, Likelihood, Row, held_text
from moreso.evaluation._unobserved import PairRow, compare_pairs, explain_ranges, pairs_frame, pairs_table
from moreso.evaluation._worth import Worth
from moreso.guidance import MIN_DRAWS
from moreso.relations import Knowledge, Statement, count_problems, explain_left_out, raise_problems
from moreso.synthesizer import Synthesizer
from moreso.training import threads_for

if TYPE_CHECKING:
    from rich.table import Table

DRAWS = 2000
"""Rows to draw from each model; with this many, the order of two dependences is rarely undecided."""

TOLD_APART = 0.8
"""From this AUC on, samples are easily told from rows."""


@dataclass(frozen=True)
class Report:
    """Result of `report`; prints itself as a table.

    Args:
        model: the name of the model.
        fits: the number of fits compared.
        rows: the number of data rows per fit.
        held_out: whether these are other rows than those of the training.
        statements: one row per relation.
        left_out: statements that a fit left out of training because its rows contradict them.
        harm: why fits kept the plain model, one sentence per reason.
        likelihood: the log-likelihoods; None if the model has no density.
        knowledge: the statements, with the user's names for groups.
        information: what the statements say beyond the training rows of the first fit (or beyond the data, if the
            training rows are not known), in a sentence.
        quality: how much the samples of the first fit are like the rows.
        evidence: rows, samples and trainings of the first fit.
        worth: which statements carry the gain and how many rows it is worth; None if not computed.
        pairs: pairs of columns that were never observed together in the training rows, if there are any.

    >>> import tempfile
    >>> inlet = np.random.default_rng(0).normal(size=80)
    >>> table = pd.DataFrame({"outlet": 2 * inlet + inlet[::-1], "inlet": inlet, "ambient": inlet[::-1]})
    >>> knowledge = Knowledge.parse("outlet: inlet > ambient   # same pipe")
    >>> synthesizer = Synthesizer("factor", knowledge, trust="all", max_epochs=20, random_state=0)
    >>> found = report(synthesizer.fit(table[:40]), table[40:], draws=200)
    >>> found.to_frame()[["relation", "verdict", "reason"]].iloc[0].to_list()
    ['outlet: inlet > ambient', 'holds', 'same pipe']
    >>> found.held == found.summary[0], len(found.advice) > 0
    (True, True)
    >>> found.likelihood.over, len(found.summary), found.pairs_to_frame().empty, found.pairs_to_rich().row_count
    ('rows', 2, True, 0)
    >>> "outlet: inlet &gt; ambient" in found.to_html(), json.loads(found.to_json())["rows"]
    (True, 40)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found.write(os.path.join(folder, "report.json"))
    ...     os.listdir(folder)
    ['report.json']
    """

    model: str
    fits: int
    rows: int
    held_out: bool
    statements: tuple[Row, ...]
    left_out: tuple[Statement, ...]
    harm: tuple[str, ...]
    likelihood: Likelihood | None
    knowledge: Knowledge
    information: str
    quality: Quality
    evidence: Evidence = field(repr=False)
    worth: Worth | None = None
    pairs: tuple[PairRow, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return one row per statement: its text and reason, its gaps in the three kinds of rows, verdict and bits."""
        return pd.DataFrame([self._values(row) for row in self.statements])

    def _values(self, row: Row) -> dict[str, Any]:
        data, without, informed = row.data, row.without, row.with_knowledge
        return {
            "relation": self.knowledge.describe(row.relation),
            "reason": row.relation.reason,
            "data_gap": data.gap,
            "data_error": data.error,
            "gap_without": without.gap,
            "gap_with": informed.gap,
            "data_holds": data.holds,
            "holds_without": without.holds,
            "holds_with": informed.holds,
            "verdict": str(row.verdict),
            "bits": row.bits,
            "normalized_data": data.normalized,
            "normalized_data_error": data.normalized_error,
            "normalized_without": without.normalized,
            "normalized_without_error": without.normalized_error,
            "normalized_with": informed.normalized,
            "normalized_with_error": informed.normalized_error,
        }

    def pairs_to_frame(self) -> pd.DataFrame:
        """Return one row per pair of columns that were never observed together.

        The columns are the normalised HSIC and the correlation in the data, in samples without knowledge and with it;
        the range of the correlation over the members of the ensembles, and the possible one; and the statements.
        """
        return pairs_frame(self.pairs, self.knowledge)

    def pairs_to_rich(self) -> "Table":
        """Return the same as a table for a terminal."""
        return pairs_table(self.pairs, self.knowledge)

    def to_json(self) -> str:
        """Return everything as a JSON object; numbers that are not finite become null."""
        pairs = self.pairs_to_frame().to_dict("records")
        evidence = self.evidence
        content = {
            "moreso": version("moreso"),
            "model": self.model,
            "seed": evidence.seed,
            "fits": self.fits,
            "rows": self.rows,
            "held_out": self.held_out,
            "knowledge": str(self.knowledge),
            "statements": [self._values(row) for row in self.statements],
            "left_out": [self.knowledge.describe(relation) for relation in self.left_out],
            "harm": self.harm,
            "information": self.information,
            "likelihood": None
            if self.likelihood is None
            else asdict(self.likelihood) | {"interval": self.likelihood.interval},
            "worth": None if self.worth is None else self.worth.to_dict(),
            "unobserved": pairs,
            "quality": self.quality.to_dict(),
            "training": {
                "with": [asdict(history) for history in evidence.trained],
                "without": [asdict(history) for history in evidence.plain],
            },
            "advice": self.advice,
        }
        return json.dumps(_finite(content), indent=2)

    def to_html(self, command: str = "") -> str:
        """Return a self-contained HTML page.

        Args:
            command: the command that made the report, to show how to make it again.
        """
        from moreso.evaluation._page import Page  # noqa: PLC0415 (only a page needs Jinja and matplotlib)

        page = Page(
            model=self.model,
            fits=self.fits,
            count=self.rows,
            held_out=self.held_out,
            held=self.held,
            summary=self.summary[1:],
            advice=self.advice,
            information=self.information,
            rows=self.statements,
            knowledge=self.knowledge,
            likelihood=self.likelihood,
            worth=self.worth,
            pairs=self.pairs,
            quality=self.quality,
            evidence=self.evidence,
            command=command,
        )
        return page.render()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the findings, and a table of the statements."""
        table = self.to_frame()[["relation", "normalized_data", "normalized_without", "normalized_with", "verdict"]]
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in [*self.summary, *self.advice])
        return sentences + table.to_html(index=False, float_format="{:+.3f}".format)

    def write(self, path: str | os.PathLike[str], *, command: str = "") -> None:
        """Write the report to a file, atomically: JSON if its name ends in .json, else HTML.

        Args:
            path: the file.
            command: as for `to_html`.
        """
        text = self.to_json() if str(path).endswith(".json") else self.to_html(command)
        with atomic_write(path) as scratch:
            scratch.write_text(text, encoding="utf-8")

    @property
    def held(self) -> str:
        """How many statements held, in a sentence."""
        counts = [
            sum(gap.holds for gap in column)
            for column in zip(*((row.data, row.without, row.with_knowledge) for row in self.statements), strict=True)
        ]
        mean = ", on average over the fits" if self.fits > 1 else ""
        return (
            f"Of {len(self.statements)} statements {counts[1]:.3g} hold in samples of the model without knowledge "
            f"and {counts[2]:.3g} with it{mean}; the data confirm {counts[0]:.3g}."
        )

    @property
    def summary(self) -> list[str]:
        """The findings in sentences."""
        lines = [self.held]
        lines += [explain_left_out(self.knowledge.describe(relation)) for relation in self.left_out]
        lines += [f"{text[0].upper()}{text[1:]}" for text in dict.fromkeys(self.harm)]
        if self.likelihood is None:
            lines.append("This model has no density, so rows have no likelihood under it.")
        else:
            text = str(self.likelihood)
            rows = "" if self.held_out else " Rows are the validation rows of each model, which stopped its training."
            lines.append(f"{text[0].upper()}{text[1:]}.{rows}")
        return lines + explain_ranges(self.pairs) + (self.worth.summary if self.worth else [])

    @property
    def advice(self) -> list[str]:
        """What to do next, in sentences."""
        describe = self.knowledge.describe
        lines = []
        if wrong := [describe(row.relation) for row in self.statements if row.verdict is Verdict.CONTRADICTED]:
            lines.append(f"The data contradict {_listed(wrong)}: look at the reason again, or drop the statement.")
        lost = [
            describe(row.relation)
            for row in self.statements
            if row.with_knowledge.holds < 0.5 and row.verdict is not Verdict.CONTRADICTED and not self.harm
        ]
        if lost:
            lines.append(f"Samples do not follow {_listed(lost)}: train with trust 'all', or with a larger weight.")
        if self.harm:
            which = f"{len(self.harm)} of {self.fits} fits" if self.fits > 1 else "The fit"
            remedy = "audit the statements on more rows before you obey them"
            lines.append(f"{which} fell back to the plain model: {remedy}.")
        elif self.likelihood is not None and self.likelihood.interval[1] < 0:
            lines.append("The statements cost likelihood: see with 'moreso worth' which of them do, and drop these.")
        if self.likelihood is not None and self.likelihood.interval[0] > 0 and self.worth is None:
            lines.append("The statements help. 'moreso worth' shows which of them carry the gain.")
        if all(bits_text(row.bits) == "0" for row in self.statements):
            lines.append("The rows already say what these statements say: 'moreso ask' lists what the rows leave open.")
        auc = self.quality.auc.get("with", 0.5)
        if auc > TOLD_APART:
            lines.append(f"A classifier tells samples from rows (AUC {auc:.2f}): compare other models, such as 'flow'.")
        nearest = self.quality.nearest
        if nearest and nearest["with"].close > 2 * max(0.05, nearest["data"].close if "data" in nearest else 0.0):
            lines.append("Samples are closer to training rows than new rows are: look for copies before you share any.")
        return lines or ["Nothing is left to do here: sample from the model with 'moreso sample'."]

    def __str__(self) -> str:
        columns = ["relation", "data_gap", "gap_without", "gap_with", "verdict", "reason"]
        tables = [self.to_frame()[columns]]
        if self.worth and self.worth.statements:
            tables.append(self.worth.to_frame())
        if self.pairs:
            tables.append(self.pairs_to_frame())
        return "\n".join([*(table.to_string(index=False) for table in tables), *self.summary])

    def __rich__(self) -> "Table":
        from rich.markup import escape as plain  # noqa: PLC0415 (only a terminal needs it)
        from rich.table import Table  # noqa: PLC0415 (only a terminal needs it)

        table = Table(title="Gap of each statement in data and in samples", title_justify="left")
        table.add_column("statement")
        for name in ("data gap", "without knowledge", "with knowledge"):
            table.add_column(name, justify="right")
        for row in self.statements:
            table.add_row(
                plain(self.knowledge.describe(row.relation)),
                _gap(row.data, self.fits, row.verdict),
                _gap(row.without, self.fits),
                _gap(row.with_knowledge, self.fits),
            )
        return table


def _gap(gap: Gap, fits: int, verdict: Verdict = Verdict.UNOBSERVED) -> str:
    """Return a gap and whether it holds; if no rows show it, the verdict."""
    if np.isnan(gap.gap):
        return f"[{verdict.style}]{verdict}[/]"
    style = "green" if gap.holds == 1 else "red" if gap.holds == 0 else "yellow"
    return f"{gap.gap:+.4f} [{style}]{held_text(gap.holds, fits)}[/]"


def _listed(texts: Sequence[str], most: int = 3) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(f"'{text}'" for text in texts[:most]) + more


def _finite(value: Any) -> Any:
    """Return values of JSON with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


Audits = tuple[Audit, Audit, Audit]
"""The audits of data, and of samples without and with knowledge, for one fit."""


def report(
    synthesizers: Synthesizer | Sequence[Synthesizer],
    data: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    *,
    training: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    level: float = 0.05,
    draws: int = DRAWS,
    worth: Worth | None = None,
) -> Report:
    """Compare data with samples of models trained without and with knowledge.

    All gaps of one fit are measured with the scales and bandwidths of its data, and judged as in `audit`. If columns
    were never observed together in the training rows, the report also shows what the samples say of them.

    Args:
        synthesizers: fitted with knowledge and `compare=True`; several fits of the same knowledge are averaged.
        data: rows to compare with, one table per fit. Use rows that were not trained on. Without any, the report is on
            the training rows, and each member of an ensemble scores its own validation rows.
        training: the training rows, one table per fit: then the report also says what the statements carry beyond these
            rows, and how close samples are to them.
        level: the level of the tests behind 'holds'.
        draws: the number of rows to draw from each model, at least 4.
        worth: the result of `moreso.worth` on the training rows, to include in the report.

    Raises:
        ValueError: a synthesizer has no knowledge or no plain model to compare with, or the data do not match it.
        sklearn.exceptions.NotFittedError: before `fit`.

    >>> inlet = np.random.default_rng(0).normal(size=80)
    >>> table = pd.DataFrame({"outlet": 2 * inlet + inlet[::-1], "inlet": inlet, "ambient": inlet[::-1]})
    >>> synthesizer = Synthesizer("factor", "outlet: inlet > ambient", trust="all", max_epochs=20, random_state=0)
    >>> found = report(synthesizer.fit(table[:40]), table[40:], draws=200)
    >>> found.rows, [str(row.verdict) for row in found.statements]
    (40, ['holds'])
    """
    fits = [synthesizers] if isinstance(synthesizers, Synthesizer) else list(synthesizers)
    held_out = data is not None
    trained = None if training is None else _tables(training)
    tables = _tables(data) if data is not None else trained
    settings = level_problems(level, 1) + count_problems("draws", draws, MIN_DRAWS, f"The default is {DRAWS}.")
    if tables is None:
        settings.append("a report needs rows, got neither 'data' nor 'training'. Pass rows that were not trained on.")
    for name, given in (("data", tables if held_out else None), ("training", trained)):
        if given is not None and len(fits) != len(given):
            settings.append(
                f"'{name}' must hold one table for each fit, got {len(given)} for {len(fits)} fits. "
                "Pass a list of them."
            )
    raise_problems(settings=settings)
    assert tables is not None
    plains = [_plain(fit) for fit in fits]
    parameters = sum(each.numel() for each in fits[0].model_.parameters())
    with threads_for(sum(map(len, tables)) * parameters):
        conformed = [fit.encoder_.conform(given) for fit, given in zip(fits, tables, strict=True)]
        audits: list[Audits] = []
        scores: list[tuple[np.ndarray, np.ndarray]] = []
        drawn: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        for fit, plain, table in zip(fits, plains, conformed, strict=True):
            if fit.has_likelihood:
                one, other = ((each.score_samples if held_out else each.score_unseen)(table) for each in (plain, fit))
                scores.append((one, other))
            drawn.append((plain.sample(draws, missing=False), fit.sample(draws, missing=False)))
            data_audit, without, informed = (
                audit(rows, fit.statements, level=level, like=table) for rows in (table, *drawn[-1])
            )
            audits.append((data_audit, without, informed))
        beyond = [each[0] for each in audits]
        if held_out and trained is not None:
            beyond = [audit(rows, fit.statements, level=level) for fit, rows in zip(fits, trained, strict=True)]
        first = fits[0]
        return Report(
            model=first.name,
            fits=len(fits),
            rows=len(tables[0]),
            held_out=held_out,
            statements=tuple(_row(index, audits, beyond) for index in range(len(audits[0][0]))),
            left_out=tuple(dict.fromkeys(relation for fit in fits for relation in fit.left_out_)),
            harm=tuple(fit.harm_ for fit in fits if fit.harm_),
            likelihood=_likelihood(scores) if scores else None,
            knowledge=audits[0][0].knowledge,
            information=beyond[0].information,
            quality=measure_quality(
                first,
                plains[0],
                conformed[0],
                None if trained is None else trained[0],
                held_out=held_out,
                scores=dict(zip(("without", "with"), scores[0], strict=True)) if scores else {},
            ),
            evidence=Evidence(conformed[0], *drawn[0], first.histories_, plains[0].histories_, first.seed_),
            worth=worth,
            pairs=compare_pairs(fits, tables, audits[0][0].knowledge, int(draws)),
        )


def _tables(given: pd.DataFrame | Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    return [given] if isinstance(given, pd.DataFrame) else list(given)


def _plain(fit: Synthesizer) -> Synthesizer:
    """Return the plain model of a fit, or raise why there is nothing to compare."""
    if not fit.statements:
        raise ValueError(
            "the model was fitted without knowledge, so there is nothing to report. Fit it with knowledge."
        )
    plain = fit.plain_
    if plain is None:
        raise ValueError(
            "the model was fitted with compare=False, or its fit was interrupted, so there is no plain model to "
            "compare with. Fit with compare=True."
        )
    return plain


def _row(index: int, audits: Sequence[Audits], beyond: Sequence[Audit]) -> Row:
    data, without, informed = ([each.findings[index] for each in column] for column in zip(*audits, strict=True))
    return Row(
        relation=data[0].relation,
        data=_mean(data),
        without=_mean(without),
        with_knowledge=_mean(informed),
        verdict=Verdict.cautious([finding.verdict for finding in data]),
        bits=fmean(each.findings[index].bits for each in beyond),
    )


def _mean(findings: Sequence[Finding]) -> Gap:
    return Gap(
        gap=fmean(each.gap for each in findings),
        error=fmean(each.standard_error for each in findings),
        normalized=fmean(each.normalized_gap for each in findings),
        normalized_error=fmean(each.normalized_error for each in findings),
        holds=fmean(each.verdict.holds for each in findings),
    )


def _likelihood(scores: Sequence[tuple[np.ndarray, np.ndarray]]) -> Likelihood:
    without, with_knowledge = (tuple(float(score.mean()) for score in column) for column in zip(*scores, strict=True))
    if len(scores) > 1:
        differences = np.subtract(with_knowledge, without)
    else:
        differences = scores[0][1] - scores[0][0]
    count = len(differences)
    error = float(differences.std(ddof=1) / count**0.5) if count > 1 else NAN
    over = "fits" if len(scores) > 1 else "rows"
    return Likelihood(without, with_knowledge, float(differences.mean()), error, over, count)

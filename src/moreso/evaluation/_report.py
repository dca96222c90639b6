"""Compare data, a model without knowledge and the same model with it, statement by statement."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from moreso._audit import Audit, Verdict, audit, level_problems
from moreso._files import atomic_write
from moreso.evaluation._unobserved import (
    PairRow,
    compare_pairs,
    explain_ranges,
    pairs_frame,
    pairs_table,
    show_number,
    show_range,
)
from moreso.evaluation._worth import Worth
from moreso.guidance import MIN_DRAWS
from moreso.relations import Knowledge, Statement, count_problems, explain_left_out, raise_problems
from moreso.synthesizer import Synthesizer

if TYPE_CHECKING:
    from rich.table import Table

DRAWS = 2000
"""Rows to draw from each model; with this many, the order of two dependences is rarely undecided."""


@dataclass(frozen=True)
class Row:
    """One statement in data, in samples without knowledge and in samples with it; means over the fits.

    Args:
        relation: the statement.
        data_gap: HSIC(ref, plus) - HSIC(ref, minus) in the data.
        data_error: the standard error of `data_gap`.
        gap_without: the gap in samples of the plain model.
        gap_with: the gap in samples of the model trained with knowledge.
        data_holds: share of fits whose data confirm the statement.
        holds_without: share of fits whose plain model's samples confirm the statement.
        holds_with: the same for the model trained with knowledge.
        verdict: the verdict of the data; the most cautious one if there are several fits.
    """

    relation: Statement
    data_gap: float
    data_error: float
    gap_without: float
    gap_with: float
    data_holds: float
    holds_without: float
    holds_with: float
    verdict: Verdict


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood per row of the given rows, in nats: higher is better.

    Args:
        without: log-likelihood of the plain model, per fit.
        with_knowledge: log-likelihood of the model trained with knowledge, per fit.
        gain: mean difference.
        error: standard error of the gain, over fits, or over rows if there is only one fit.
        over: what `error` is over: "fits" or "rows".
    """

    without: tuple[float, ...]
    with_knowledge: tuple[float, ...]
    gain: float
    error: float
    over: str

    @property
    def won(self) -> int:
        """The number of fits in which knowledge improved the log-likelihood."""
        return sum(b > a for a, b in zip(self.without, self.with_knowledge, strict=True))

    def __str__(self) -> str:
        fits = len(self.without)
        won = f"; better in {self.won} of {fits} fits" if fits > 1 else ""
        return (
            f"log-likelihood per row: {fmean(self.without):.3f} without knowledge, "
            f"{fmean(self.with_knowledge):.3f} with it; gain {self.gain:+.3f} ± {self.error:.3f} "
            f"(mean ± standard error over {self.over}{won})"
        )


@dataclass(frozen=True)
class Report:
    """Result of `report`; prints itself as a table.

    Args:
        model: the name of the model.
        fits: the number of fits compared.
        rows: the number of data rows per fit.
        statements: one row per relation.
        left_out: statements that a fit left out of training because its rows contradict them.
        harm: why fits kept the plain model, one sentence per reason.
        likelihood: the log-likelihoods; None if the model has no density.
        knowledge: the statements, with the user's names for groups.
        worth: which statements carry the gain and how many rows it is worth; None if not computed.
        pairs: pairs of columns that were never observed together in the training rows, if there are any.
    """

    model: str
    fits: int
    rows: int
    statements: tuple[Row, ...]
    left_out: tuple[Statement, ...]
    harm: tuple[str, ...]
    likelihood: Likelihood | None
    knowledge: Knowledge
    worth: Worth | None = None
    pairs: tuple[PairRow, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return one row per relation; the columns are the fields of `Row` and the reason."""
        return pd.DataFrame([self._values(row) for row in self.statements])

    def _values(self, row: Row) -> dict[str, Any]:
        values = {field.name: getattr(row, field.name) for field in fields(row)}
        texts = {"relation": self.knowledge.describe(row.relation), "reason": row.relation.reason}
        return {**texts, **{name: value for name, value in values.items() if name != "relation"}} | {
            "verdict": str(row.verdict)
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
        """Return everything as a JSON object."""
        pairs = self.pairs_to_frame().to_dict("records")
        statements, unobserved = (
            [
                {
                    name: None if isinstance(value, float) and not np.isfinite(value) else value
                    for name, value in row.items()
                }
                for row in rows
            ]
            for rows in (map(self._values, self.statements), pairs)
        )
        content = {
            "moreso": version("moreso"),
            "model": self.model,
            "fits": self.fits,
            "rows": self.rows,
            "statements": statements,
            "left_out": [self.knowledge.describe(relation) for relation in self.left_out],
            "harm": self.harm,
            "likelihood": None if self.likelihood is None else asdict(self.likelihood),
            "worth": None if self.worth is None else self.worth.to_dict(),
            "unobserved": unobserved,
        }
        return json.dumps(content, indent=2)

    def to_html(self) -> str:
        """Return a self-contained HTML page."""
        from jinja2 import Environment, PackageLoader  # noqa: PLC0415 (only a page needs it)

        loader = PackageLoader("moreso.evaluation")
        page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        rows = self.to_frame().to_dict("records")
        return page.get_template("report.html").render(
            report=self,
            rows=rows,
            summary=self.summary,
            unobserved=Verdict.UNOBSERVED,
            show_range=show_range,
            show_number=show_number,
            version=version("moreso"),
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file, atomically: JSON if its name ends in .json, else HTML."""
        text = self.to_json() if str(path).endswith(".json") else self.to_html()
        with atomic_write(path) as scratch:
            scratch.write_text(text, encoding="utf-8")

    @property
    def summary(self) -> list[str]:
        """The findings in sentences."""
        held = [sum(getattr(row, name) for row in self.statements) for name in ("holds_without", "holds_with")]
        mean = ", on average over the fits" if self.fits > 1 else ""
        lines = [
            f"Of {len(self.statements)} statements {held[0]:.3g} hold in samples of the model without knowledge "
            f"and {held[1]:.3g} with it{mean}."
        ]
        lines += [explain_left_out(self.knowledge.describe(relation)) for relation in self.left_out]
        lines += [f"{text[0].upper()}{text[1:]}" for text in dict.fromkeys(self.harm)]
        if self.likelihood is None:
            lines.append("This model has no density, so rows have no likelihood under it.")
        else:
            text = str(self.likelihood)
            lines.append(f"{text[0].upper()}{text[1:]}.")
        return lines + explain_ranges(self.pairs) + (self.worth.summary if self.worth else [])

    def __str__(self) -> str:
        columns = ["relation", "data_gap", "gap_without", "gap_with", "verdict", "reason"]
        tables = [self.to_frame()[columns]]
        if self.worth and self.worth.statements:
            tables.append(self.worth.to_frame())
        if self.pairs:
            tables.append(self.pairs_to_frame())
        return "\n".join([*(table.to_string(index=False) for table in tables), *self.summary])

    def __rich__(self) -> "Table":
        from rich.markup import escape  # noqa: PLC0415 (only a terminal needs it)
        from rich.table import Table  # noqa: PLC0415 (only a terminal needs it)

        table = Table(title="Gap of each statement in data and in samples", title_justify="left")
        table.add_column("statement")
        for name in ("data gap", "without knowledge", "with knowledge"):
            table.add_column(name, justify="right")
        for row in self.statements:
            table.add_row(
                escape(self.knowledge.describe(row.relation)),
                _gap(row.data_gap, row.data_holds, self.fits, row.verdict),
                _gap(row.gap_without, row.holds_without, self.fits),
                _gap(row.gap_with, row.holds_with, self.fits),
            )
        return table


def _gap(gap: float, share: float, fits: int, verdict: Verdict = Verdict.UNOBSERVED) -> str:
    """Return a gap and whether it holds; if no rows show it, the verdict."""
    return f"[{verdict.style}]{verdict}[/]" if np.isnan(gap) else f"{gap:+.4f} {_share(share, fits)}"


def _share(share: float, fits: int) -> str:
    """Return the share of fits in which a statement held, as '3/5 hold', or 'holds' or 'does not' for one fit."""
    style = "green" if share == 1 else "red" if share == 0 else "yellow"
    word = f"{round(share * fits)}/{fits} hold" if fits > 1 else "holds" if share else "does not"
    return f"[{style}]{word}[/]"


def report(
    synthesizers: Synthesizer | Sequence[Synthesizer],
    data: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    level: float = 0.05,
    draws: int = DRAWS,
    worth: Worth | None = None,
) -> Report:
    """Compare data with samples of models trained without and with knowledge.

    All gaps of one fit are measured with the scales and bandwidths of its data, and judged as in `audit`. If columns
    were never observed together in the training rows, the report also shows what the samples say of them.

    Args:
        synthesizers: fitted with knowledge and `compare=True`; several fits of the same knowledge are averaged.
        data: rows to compare with, one table per fit. Use rows that were not trained on, else the likelihood is too
            optimistic.
        level: the level of the tests behind 'holds'.
        draws: the number of rows to draw from each model, at least 4.
        worth: the result of `moreso.worth` on the training rows, to include in the report.

    Raises:
        ValueError: a synthesizer has no knowledge or no plain model to compare with, or the data do not match it.
        sklearn.exceptions.NotFittedError: before `fit`.
    """
    fits = [synthesizers] if isinstance(synthesizers, Synthesizer) else list(synthesizers)
    tables = [data] if isinstance(data, pd.DataFrame) else list(data)
    settings = level_problems(level, 1) + count_problems("draws", draws, MIN_DRAWS, f"The default is {DRAWS}.")
    if len(fits) != len(tables):
        settings.append(
            f"'data' must hold one table for each fit, got {len(tables)} for {len(fits)} fits. Pass a list of them."
        )
    raise_problems(settings=settings)
    audits: list[tuple[Audit, Audit, Audit]] = []
    scores: list[tuple[np.ndarray, np.ndarray]] = []
    for fit, given in zip(fits, tables, strict=True):
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
        table = fit.encoder_.conform(given)
        if fit.has_likelihood:
            scores.append((plain.score_samples(table), fit.score_samples(table)))
        one, two, three = (
            audit(rows, fit.statements, level=level, like=table)
            for rows in (table, plain.sample(draws, missing=False), fit.sample(draws, missing=False))
        )
        audits.append((one, two, three))
    return Report(
        model=fits[0].name,
        fits=len(fits),
        rows=len(tables[0]),
        statements=tuple(_row(index, audits) for index in range(len(audits[0][0]))),
        left_out=tuple(dict.fromkeys(relation for fit in fits for relation in fit.left_out_)),
        harm=tuple(fit.harm_ for fit in fits if fit.harm_),
        likelihood=_likelihood(scores) if scores else None,
        knowledge=audits[0][0].knowledge,
        worth=worth,
        pairs=compare_pairs(fits, tables, audits[0][0].knowledge, int(draws)),
    )


def _row(index: int, audits: Sequence[tuple[Audit, Audit, Audit]]) -> Row:
    data, without, with_knowledge = ([each.findings[index] for each in column] for column in zip(*audits, strict=True))
    gaps = [fmean(finding.gap for finding in findings) for findings in (data, without, with_knowledge)]
    holds = [fmean(finding.verdict.holds for finding in findings) for findings in (data, without, with_knowledge)]
    return Row(
        relation=data[0].relation,
        data_gap=gaps[0],
        data_error=fmean(finding.standard_error for finding in data),
        gap_without=gaps[1],
        gap_with=gaps[2],
        data_holds=holds[0],
        holds_without=holds[1],
        holds_with=holds[2],
        verdict=Verdict.cautious([finding.verdict for finding in data]),
    )


def _likelihood(scores: Sequence[tuple[np.ndarray, np.ndarray]]) -> Likelihood:
    without, with_knowledge = (tuple(float(score.mean()) for score in column) for column in zip(*scores, strict=True))
    if len(scores) > 1:
        differences = np.subtract(with_knowledge, without)
    else:
        differences = scores[0][1] - scores[0][0]
    error = float(differences.std(ddof=1) / len(differences) ** 0.5) if len(differences) > 1 else float("nan")
    return Likelihood(without, with_knowledge, float(differences.mean()), error, "fits" if len(scores) > 1 else "rows")

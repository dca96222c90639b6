"""Columns that no row shows together, in samples with and without knowledge, and by how much members differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from moreso._audit import deciding, stated_pairs
from moreso.evaluation._pairs import MEASURED, NAN, Dependence, Found, measure_pairs
from moreso.models import members
from moreso.relations import Knowledge, Statement, write_name
from moreso.synthesizer import Fitted, Synthesizer
from moreso.tabular import Pair

if TYPE_CHECKING:
    from rich.table import Table

OTHERS = 10
"""The most pairs that are reported although no statement names them."""


@dataclass(frozen=True)
class PairRow:
    """A pair of columns that no training row shows together, in samples; means over the fits.

    Args:
        one: the first column.
        other: the second one.
        statements: the statements that compare them; without any, a fit takes them as independent given other columns.
        without: their dependence in samples of the model without knowledge.
        with_knowledge: the same with knowledge.
        data: the same in the rows of the report, if some have both columns.
        members_without: the least and the greatest correlation in samples of the members of the ensembles without
            knowledge.
        members_with: the same with knowledge.
        possible: the least and the greatest correlation that agrees with the training rows.
    """

    one: str
    other: str
    statements: tuple[Statement, ...]
    without: Dependence
    with_knowledge: Dependence
    data: Dependence
    members_without: tuple[float, float]
    members_with: tuple[float, float]
    possible: tuple[float, float]

    @property
    def name(self) -> str:
        """Both columns, as text."""
        return f"{write_name(self.one)} and {write_name(self.other)}"


def compare_pairs(
    fits: Sequence[Synthesizer], tables: Sequence[pd.DataFrame], knowledge: Knowledge, draws: int
) -> tuple[PairRow, ...]:
    """Return the pairs that statements name, and at most `OTHERS` more.

    Members of an ensemble are trained on different rows, none of which shows these pairs. So the range of their
    correlations is a range of guesses, not a confidence interval: `possible` shows what the rows leave open.

    Args:
        fits: fitted with knowledge and with a plain model.
        tables: the rows of the report, one table per fit.
        knowledge: the statements.
        draws: rows to draw from each model.
    """
    pairs = list(dict.fromkeys(each.pair for fit in fits for each in fit.unobserved_))
    stated = stated_pairs(pairs, knowledge)
    chosen = [*stated, *[pair for pair in pairs if pair not in stated][:OTHERS]]
    if not chosen:
        return ()
    rows = min(draws, MEASURED)
    plain, informed = [_plain(fit) for fit in fits], [fit.fitted_ for fit in fits]

    def measured(fitted: Sequence[Fitted]) -> list[Found]:
        samples = [each.sample(rows, missing=False) for each in fitted]
        return [measure_pairs(chosen, sample, like) for sample, like in zip(samples, tables, strict=True)]

    def ranged(fitted: Sequence[Fitted]) -> dict[Pair, tuple[float, float]]:
        own = [
            measure_pairs(chosen, replace(each, model=member).sample(rows, missing=False), like, bare=True)
            for each, like in zip(fitted, tables, strict=True)
            for member in members(each.model)
        ]
        return {pair: _range([found[pair].correlation for found in own]) for pair in chosen}

    data = [measure_pairs(chosen, table, table) for table in tables]
    columns = [measured(plain), measured(informed), data]
    ranges = [ranged(plain), ranged(informed)]
    possible = {each.pair: (each.low, each.high) for fit in fits for each in fit.unobserved_}
    found = []
    for pair in chosen:
        without, with_knowledge, shown = (_mean([each[pair] for each in column]) for column in columns)
        low, high = possible[pair]
        found.append(
            PairRow(
                one=pair[0],
                other=pair[1],
                statements=deciding(pair, knowledge),
                without=without,
                with_knowledge=with_knowledge,
                data=shown,
                members_without=ranges[0][pair],
                members_with=ranges[1][pair],
                possible=(NAN, NAN) if low is None or high is None else (low, high),
            )
        )
    return tuple(found)


def _plain(fit: Synthesizer) -> Fitted:
    plain = fit.fitted_.plain
    assert plain is not None
    return plain


def _mean(values: Sequence[Dependence]) -> Dependence:
    """Return the mean over the fits that show the pair."""
    shown = [[each for each in column if not np.isnan(each)] for column in zip(*values, strict=True)]
    return Dependence(*(fmean(column) if column else NAN for column in shown))


def _range(values: Sequence[float]) -> tuple[float, float]:
    shown = [each for each in values if not np.isnan(each)]
    return (min(shown), max(shown)) if shown else (NAN, NAN)


def pairs_frame(pairs: Sequence[PairRow], knowledge: Knowledge) -> pd.DataFrame:
    """Return one row per pair; ranges become two columns."""
    return pd.DataFrame([_values(pair, knowledge) for pair in pairs])


def _values(pair: PairRow, knowledge: Knowledge) -> dict[str, str | float]:
    parts = {"data": pair.data, "without": pair.without, "with": pair.with_knowledge}
    ranges = {
        "members_without": pair.members_without,
        "members_with": pair.members_with,
        "possible": pair.possible,
    }
    return {
        "pair": pair.name,
        **{f"hsic_{name}": each.hsic for name, each in parts.items()},
        **{f"correlation_{name}": each.correlation for name, each in parts.items()},
        **{f"{name}_{end}": each[index] for name, each in ranges.items() for index, end in enumerate(("low", "high"))},
        "statements": "; ".join(knowledge.describe(relation) for relation in pair.statements),
    }


def pairs_table(pairs: Sequence[PairRow], knowledge: Knowledge) -> "Table":
    """Return the pairs as a table for a terminal."""
    from rich.markup import escape  # noqa: PLC0415 (only a terminal needs it)
    from rich.table import Table  # noqa: PLC0415 (only a terminal needs it)

    table = Table(title="Columns that were never observed together: correlation in samples", title_justify="left")
    table.add_column("pair")
    shown = any(not np.isnan(pair.data.correlation) for pair in pairs)
    for name in ("without knowledge", "with knowledge", "possible", *(["these rows"] if shown else [])):
        table.add_column(name, justify="right")
    table.add_column("decided by")
    for pair in pairs:
        statements = "\n".join(knowledge.describe(relation) for relation in pair.statements)
        table.add_row(
            escape(pair.name),
            show_range(pair.without.correlation, pair.members_without),
            show_range(pair.with_knowledge.correlation, pair.members_with),
            show_range(None, pair.possible),
            *([show_number(pair.data.correlation)] if shown else []),
            escape(statements) or "no statement: independent given the others",
        )
    return table


def show_range(value: float | None, ends: tuple[float, float]) -> str:
    """Return a correlation with a range, such as '+0.50 (+0.41 to +0.62)'; a dash if there is none."""
    if np.isnan(ends[0]):
        return "-"
    spread = f"{ends[0]:+.2f} to {ends[1]:+.2f}"
    return spread if value is None else f"{value:+.2f} ({spread})"


def show_number(value: float) -> str:
    """Return a correlation, or a dash if there is none."""
    return "-" if np.isnan(value) else f"{value:+.2f}"


def explain_ranges(pairs: Sequence[PairRow]) -> list[str]:
    """Return what a reader should know of these pairs, in sentences."""
    if not pairs:
        return []
    decided = sum(bool(pair.statements) for pair in pairs)
    return [
        f"Columns that were never observed together: {decided} of {len(pairs)} reported pairs rest on statements, the "
        "others on independence given the other columns. The training rows confirm neither: they leave all possible "
        "correlations open."
    ]

"""The result of a fit: a frozen value that draws and scores rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from moreso import training
from moreso.guidance import MAX_SEED, RandomState, seed_of, seeded
from moreso.models import HasSamples, TakesMissing, impute, log_prob_known, members
from moreso.relations import DataError, Statement
from moreso.synthesizer import rejection
from moreso.synthesizer.selection import JUDGES
from moreso.synthesizer.streaming import validation_places
from moreso.tabular import (
    Frame,
    Pair,
    TableEncoder,
    Unobserved,
    as_table,
    evenly,
    pick_rows,
    row_strata,
)

SCORED = 2000
"""Rows to score or to fill at once, since an importance-weighted density needs memory for every row."""

PART, PART_VALUES, LEAST_PART = 250_000, 5_000_000, 1000
"""The most rows of a part of many samples, and its most values, but for very wide tables."""


@dataclass(frozen=True)
class Fitted:
    """A trained model of a table.

    Args:
        encoder: the encoder between the table and the matrix that the model learned.
        model: the model, or the mixture of an ensemble's members.
        dropout: the dropout rate of the training.
        histories: the histories of the trained members, with knowledge if there was any.
        seed: the seed of the fit.
        validation: share of the rows that each member used for early stopping.
        left_out: the statements that were left out of training because the rows contradict them.
        harm: why the plain model was kept instead of the one with knowledge, as a sentence; else empty.
        plain: the same model without knowledge, for comparison, or None.
        labels: the names of the table's columns, if some are numbers; the encoder has their text.
        unobserved: the pairs of columns that were never observed together.
        stops: the number of evenly spaced validation rows, if the rows were streamed; else 0.
    """

    encoder: TableEncoder
    model: nn.Module
    dropout: float
    histories: tuple[training.History, ...]
    seed: int
    validation: float
    left_out: tuple[Statement, ...] = ()
    harm: str = ""
    plain: "Fitted | None" = None
    labels: tuple[str | int, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
    stops: int = 0

    def sample(
        self, n: int, *, where: str | None = None, random_state: RandomState | None = None, missing: bool | None = None
    ) -> pd.DataFrame:
        """Return n rows; see `Synthesizer.sample`."""
        model = self.model
        assert isinstance(model, HasSamples)
        seed = self.seed if random_state is None else seed_of(random_state)
        missing = not self.unobserved if missing is None else missing
        random = np.random.default_rng(seed)
        with seeded(seed), torch.no_grad():

            def draw(count: int) -> pd.DataFrame:
                return self.encoder.decode(model.sample(count).double().numpy(), random, missing=missing)

            found = draw(n) if where is None else self.encoder.renumber(rejection.fulfil(draw, n, where))
        return self._labelled(found)

    @property
    def part_rows(self) -> int:
        """The rows of a part of many samples."""
        return max(LEAST_PART, min(PART, PART_VALUES // max(self.encoder.width, len(self.encoder.names))))

    def sample_part(
        self, number: int, n: int, size: int, *, where: str | None, seed: int, missing: bool | None
    ) -> pd.DataFrame:
        """Return one of the parts of n rows, counted from 0; see `Synthesizer.sample_parts`."""
        start = number * size
        (own,) = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
        rows = self.sample(min(size, n - start), where=where, random_state=int(own % MAX_SEED), missing=missing)
        plain = rows.set_axis(self.encoder.names, axis=1)
        return self._labelled(self.encoder.renumber(plain, start, n))

    def _labelled(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.set_axis(list(self.labels), axis=1) if self.labels else table

    def score_samples(self, table: pd.DataFrame) -> np.ndarray:
        """Return the log-density of each row; see `Synthesizer.score_samples`."""
        table = as_table(table)
        self._check(table, complete=True)
        return log_density(self.model, self.encoder, table, self.seed)

    def impute(self, table: pd.DataFrame, *, random_state: int) -> pd.DataFrame:
        """Return the table with draws in place of missing values; see `Synthesizer.impute`."""
        labels = list(table.columns)
        table = as_table(table)
        self._check(table, complete=False)
        added = [name for name in self.encoder.needed if name not in table.columns]
        given = table.assign(**dict.fromkeys(added, np.nan))
        with seeded(random_state), torch.no_grad():
            parts = _known(self.model, self.encoder, given).split(SCORED)
            filled = torch.cat([impute(self.model, part) for part in parts])
        drawn = self.encoder.decode(filled.double().numpy(), np.random.default_rng(random_state), missing=False)
        columns = []
        for name in given.columns:
            own = given[name]
            if name in self.encoder.needed and own.isna().any():
                values = drawn[name].set_axis(given.index)
                own = own.astype(object).where(own.notna(), values.astype(object)).astype(values.dtype)
            columns.append(own)
        own_labels = dict(zip(self.encoder.names, self.labels, strict=True)) if self.labels else {}
        return pd.concat(columns, axis=1).set_axis([*labels, *(own_labels.get(name, name) for name in added)], axis=1)

    def _check(self, table: pd.DataFrame, *, complete: bool) -> None:
        """Raise the problems of other rows; if they must be complete, columns that they lack are one."""
        lacking = [name for name in self.encoder.needed if name not in table.columns]
        if lacking and (complete or len(lacking) == len(self.encoder.needed)):
            raise DataError(
                [f"the table lacks the columns {', '.join(map(repr, lacking))} of the training table. Add them."]
            )
        if problems := self.encoder.unknown(table.assign(**dict.fromkeys(lacking, np.nan))):
            raise DataError(problems)

    def score_unseen(self, table: pd.DataFrame) -> np.ndarray:
        """Return the log-density of validation rows; see `Synthesizer.score_unseen`."""
        if self.stops:
            return log_density(self.model, self.encoder, judging_rows(table, self.stops), self.seed)
        table = as_table(table)
        strata = strata_of(table, [each.pair for each in self.unobserved])
        return unseen_density(self.model, self.encoder, table, self.seed, self.validation, strata)


def strata_of(table: pd.DataFrame, unobserved: Sequence[Pair]) -> torch.Tensor | None:
    """Return the strata of the rows of a table, in all of which validation rows have the same share, or None."""
    strata = row_strata(table, unobserved)
    return None if strata is None else torch.from_numpy(strata)


def judging_rows(table: Frame, stops: int) -> pd.DataFrame:
    """Return the validation rows that judge a model whose rows were streamed, at most `JUDGES`.

    Args:
        table: all rows, in memory or in partitions.
        stops: the number of validation rows.
    """
    places = validation_places(len(table), stops)
    return pick_rows(table, places[evenly(stops, min(stops, JUDGES))])


def unseen_density(
    model: nn.Module,
    encoder: TableEncoder,
    table: pd.DataFrame,
    seed: int,
    validation: float,
    strata: torch.Tensor | None = None,
) -> np.ndarray:
    """Return the log-density of validation rows of the training table, each under the member it was held out from."""
    scores, parts = [], members(model)
    for fold, part in enumerate(parts):
        _, stops = training.split(len(table), validation, seed, fold, strata=strata)
        scores.append(log_density(part, encoder, table.iloc[stops[: JUDGES // len(parts)].numpy()], seed))
    return np.concatenate(scores)


def log_density(model: nn.Module, encoder: TableEncoder, table: pd.DataFrame, seed: int) -> np.ndarray:
    """Return the log-density of what is known of each row, in the units of the table, in nats."""
    rows = _known(model, encoder, table)
    with seeded(seed), torch.no_grad():
        log_prob = torch.cat([log_prob_known(model, part) for part in rows.split(SCORED)])
    # Change of variables: the model's density is one of the encoded columns.
    return log_prob.double().numpy() + encoder.log_slope(encoder.encode(table))


def _known(model: nn.Module, encoder: TableEncoder, table: pd.DataFrame) -> torch.Tensor:
    """Return what a model conditions on, or scores: the values of a table, and for some models which are missing."""
    rows = torch.as_tensor(encoder.encode(table), dtype=torch.float32)
    if all(isinstance(part, TakesMissing) for part in members(model)):
        # Values are missing at random given the others, so the flags add nothing.
        rows[:, encoder.flags] = torch.nan
    return rows

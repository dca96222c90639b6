"""The estimator, in scikit-learn's conventions."""

import copy
import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from moreso import training
from moreso._audit import explain_directions, explain_pairs, stated_pairs
from moreso.guidance import MAX_SEED, Guidance, RandomState, seed_of, seed_problems, seeded
from moreso.models import MODELS, members
from moreso.relations import (
    Knowledge,
    Statement,
    count_problems,
    explain_contradiction,
    explain_left_out,
    raise_problems,
)
from moreso.synthesizer import persistence, selection
from moreso.synthesizer.ensemble import Ensemble, Trainer, count_members
from moreso.synthesizer.fitted import Fitted, log_density, strata_of, unseen_density
from moreso.synthesizer.fusion import cannot_fuse, fusion_problems
from moreso.synthesizer.penalty import make_penalty
from moreso.synthesizer.settings import Model, Problems, Settings
from moreso.synthesizer.streaming import (
    IN_MEMORY,
    Streamed,
    count_stops,
    stream_problems,
    stream_rows,
    validation_places,
)
from moreso.tabular import (
    Frame,
    Survey,
    TableEncoder,
    Unobserved,
    as_table,
    correlation_ranges,
    evenly,
    is_partitioned,
    table_problems,
    unobserved_pairs,
)

EVERY = 4
"""The number of steps from one push to the next, which is then so many times as heavy: a push costs more than a step of
a small model (docs/decisions/0016)."""


class Synthesizer(BaseEstimator):  # type: ignore[misc]
    """A generative model of a table, trained with or without knowledge, in scikit-learn's conventions.

    Columns of any common type become numbers. Measurements are standardised, and transformed if they are skewed or have
    heavy tails; levels and missing values become flags. Training stops early on validation rows. With knowledge, a
    penalty pushes samples to follow the statements (`Regularizer`). On small tables, several models with different
    validation rows are trained and averaged.

    Args:
        model: "factor", "vae", "gan", "vaegan", "gplvm", "flow", "flowmatching", a `GenerativeModel` for the number of
            encoded columns (copied, never changed), or a callable that builds one from that number. A measurement
            without missing values usually becomes one encoded column.
        knowledge: the statements, as `Knowledge` or as text; None trains the plain model.
        weight: the regularizer's weight; "auto" needs no tuning, see `moreso.guidance.Guidance`.
        trust: "audit" leaves out the statements that the training rows contradict, keeps the plain model if the
            statements seem to harm, and warns in both cases; "all" enforces every statement.
        compare: with knowledge, also fit the plain model from the same seed, so that a report can say what the
            knowledge changed. If plain models have to choose the dropout rate, they are fitted in any case.
        max_epochs: the most epochs to train, at least 1.
        device: where to train: "cpu", "cuda" or "auto". The trained model is always on the CPU.
        progress: show a progress bar while fitting.
        random_state: the seed, or a generator of NumPy's; None draws one. What was used is kept as `seed_`.
        settings: the rarer settings; by default `Settings()`.

    Attributes:
        fitted_: the complete result of the fit, as one frozen value; the attributes below are read from it.
        model_: the trained model of the encoded table, or the `moreso.models.Mixture` of several.
        encoder_: encodes the table for the model, and decodes samples.
        plain_: the same model trained without knowledge, as a fitted `Synthesizer`, or None.
        dropout_: the dropout rate that was kept.
        left_out_: the statements that were left out.
        harm_: why the plain model was kept instead of the one with knowledge, as a sentence; else empty. Ctrl-C is
            another possible reason.
        histories_: the `moreso.training.History` of each model.
        unobserved_: the pairs of columns that were never observed together, with the correlations that the rows allow.
        seed_: the seed that was used.
        feature_names_in_: names of the columns.

    References:
        Takeishi & Kawahara, "Knowledge-Based Regularization in Generative Modeling", IJCAI 2020, arXiv 1902.02068.

    >>> inlet = np.random.default_rng(0).normal(size=40)
    >>> table = pd.DataFrame({"inlet": inlet, "outlet": inlet**2, "ambient": inlet[::-1]})
    >>> synthesizer = Synthesizer("factor", Knowledge.parse("outlet: inlet > ambient"), max_epochs=5, random_state=2)
    >>> synthesizer.fit(table).sample(3).shape
    (3, 3)
    >>> synthesizer.name, synthesizer.has_likelihood, synthesizer.seed_, synthesizer.dropout_
    ('factor', True, 2, 0.0)
    >>> synthesizer.plain_.sample(3).shape, list(synthesizer.feature_names_in_), len(synthesizer.histories_)
    ((3, 3), ['inlet', 'outlet', 'ambient'], 4)
    >>> synthesizer.left_out_, synthesizer.unobserved_, type(synthesizer.harm_).__name__, len(synthesizer.statements)
    ((), (), 'str', 1)
    >>> synthesizer.encoder_.width, type(synthesizer.model_).__name__
    (3, 'Mixture')
    """

    fitted_: Fitted

    def __init__(
        self,
        model: Model = "vae",
        knowledge: Knowledge | str | None = None,
        *,
        weight: float | str = "auto",
        trust: str = "audit",
        compare: bool = True,
        max_epochs: int = 3000,
        device: str = "cpu",
        progress: bool = False,
        random_state: RandomState | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.model = model
        self.knowledge = knowledge
        self.weight = weight
        self.trust = trust
        self.compare = compare
        self.max_epochs = max_epochs
        self.device = device
        self.progress = progress
        self.random_state = random_state
        self.settings = settings

    def fit(
        self,
        X: pd.DataFrame,
        y: None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        log: str | os.PathLike[str] | None = None,
    ) -> "Synthesizer":
        """Train on a table.

        Every statement that is left out gives a warning; so does a name that only looks like a column's and is taken
        for it (`Knowledge.matched`). A statement that follows from others is not trained twice.
        `moreso.synthesizer.selection` describes which models are trained and which one is kept. Ctrl-C ends the
        training and keeps the best model so far; a plain model that has not been trained by then is skipped.

        Tables that share some columns are fitted as one, `pd.concat([a, b])`: columns that no row shows together are
        as dependent as the statements say, and else independent given the other columns. A warning says which pairs
        rest on what. Only models that take missing values (`moreso.models.TakesMissing`) can be trained on such rows.

        A Dask DataFrame of more than 50,000 rows is never in memory as a whole: its rows are streamed, and an epoch is
        2^17 of them at most. One model is trained, and up to 10,000 evenly spaced rows stop it early. What is learned
        of the columns comes from 50,000 evenly spaced rows, and from rows that hold the extremes, the levels and a
        missing value of each column. Shorter ones are fitted in memory.

        Args:
            X: at least 4 rows of numbers, booleans, text, categories, datetimes or timedeltas, with or without missing
                values. Columns may be named by text or by numbers, which statements name by their text. Constant and
                empty columns are kept as they are and not modelled. A DataFrame of pandas or of Dask.
            y: ignored; present for scikit-learn's pipelines.
            checkpoint: a file from which a killed fit resumes, with bit-identical results; deleted when the fit ends.
            log: a folder for a CSV log of loss, penalty and share of statements that hold, per epoch; see
                `training.machine`.

        Raises:
            KnowledgeError, DataError, ValueError: the knowledge, the table or the settings have problems; the error
                lists all of them.

        >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
        >>> Synthesizer("factor", max_epochs=5, random_state=0).fit(table).sample(2).columns.to_list()
        ['inlet', 'outlet']
        """
        fit_all([self], [X], checkpoint=checkpoint, log=log)
        return self

    def check(self, X: pd.DataFrame | None = None) -> None:
        """Raise what `fit` would raise before training: all problems of the settings, and of the table if it is given.

        Raises:
            KnowledgeError, DataError, ValueError: as `fit`.

        >>> Synthesizer("vae", "outlet: inlet > ambient").check()  # no problem without a table
        """
        _raise(self.problems(X))

    def problems(self, X: pd.DataFrame | None = None) -> Problems:
        """Return the problems that keep `fit` from training, for callers that check several inputs.

        >>> Synthesizer("vae", trust="none").problems().settings
        ["'trust' must be 'audit' or 'all', got 'none'."]
        """
        return _problems(self, None if X is None else _given(self, X))

    @property
    def statements(self) -> Knowledge:
        """The statements, whether they were passed as knowledge, as text or not at all."""
        return Knowledge(()) if self.knowledge is None else Knowledge.of(self.knowledge)

    @property
    def model_(self) -> nn.Module:
        """The trained model."""
        return self._fitted.model

    @property
    def encoder_(self) -> TableEncoder:
        """The encoder between the table and the matrix that the model learned."""
        return self._fitted.encoder

    @property
    def plain_(self) -> "Synthesizer | None":
        """The same model trained without knowledge."""
        plain = self._fitted.plain
        return None if plain is None else self._twin(plain)

    @property
    def dropout_(self) -> float:
        """The dropout rate that was kept."""
        return self._fitted.dropout

    @property
    def left_out_(self) -> tuple[Statement, ...]:
        """The statements that were left out."""
        return self._fitted.left_out

    @property
    def harm_(self) -> str:
        """Why the plain model was kept, as a sentence; else empty."""
        return self._fitted.harm

    @property
    def unobserved_(self) -> tuple[Unobserved, ...]:
        """The pairs of columns that were never observed together."""
        return self._fitted.unobserved

    @property
    def histories_(self) -> tuple[training.History, ...]:
        """The training history of each model."""
        return self._fitted.histories

    @property
    def seed_(self) -> int:
        """The seed that was used."""
        return self._fitted.seed

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns."""
        return np.asarray(self._fitted.labels or self._fitted.encoder.names, dtype=object)

    @property
    def _fitted(self) -> Fitted:
        check_is_fitted(self, "fitted_")
        return self.fitted_

    def _twin(self, fitted: Fitted) -> "Synthesizer":
        """Return a synthesizer with these settings, without knowledge, and with this fit."""
        settings = self.get_params(deep=False) | {"knowledge": None, "random_state": fitted.seed}
        return type(self)(**settings).take(fitted)

    def take(self, fitted: Fitted) -> "Synthesizer":
        """Take the result of a fit, and return self."""
        self.fitted_ = fitted
        return self

    def shared_settings(self) -> tuple[object, ...]:
        """Return the settings that synthesizers must share to be fitted at once; see `fit_all`."""
        rare = self.settings or Settings()
        machine = self.device, rare.precision, rare.devices, rare.strategy
        return self.weight, rare.ratio, rare.validation, self.max_epochs, *machine

    def sample(
        self,
        n: int,
        *,
        where: str | None = None,
        random_state: RandomState | None = None,
        missing: bool | None = None,
    ) -> pd.DataFrame:
        """Draw rows from the trained model, with the columns and dtypes of the training table, in its order.

        Integers stay integers and within the range of the training rows. Codes and categories are never invented.
        Values are missing only in columns that had missing values. The same seed gives the same rows.

        Args:
            n: how many rows to return, at least 1.
            where: a condition on the rows, such as "region == 'north' and flow > 3". It may hold column names (in
                backquotes unless they are plain words), constants, comparisons, `and`, `or`, `not`, `in` and
                arithmetic; nothing is executed. Rows are drawn until n fulfil it, but at most 100 n or 100,000.
            random_state: the seed, or a generator of NumPy's; by default the seed of the fit.
            missing: whether values are missing as in the training table; False returns complete rows. By default they
                are, unless columns were never observed together: then rows are complete.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: n is below 1 or not whole, the seed is none, or the condition is invalid or hardly ever true.

        >>> table = pd.DataFrame({"pump": ["on", "off"] * 20, "flow": np.linspace(0, 1, 40)})
        >>> fitted = Synthesizer("factor", max_epochs=5, random_state=0).fit(table)
        >>> rows = fitted.sample(5, where="pump == 'on' and flow > 0.2", random_state=1)
        >>> rows["pump"].unique().tolist(), (rows["flow"] > 0.2).all().item()
        (['on'], True)
        """
        fitted = self._fitted
        raise_problems(settings=draw_problems(n, random_state))
        return fitted.sample(int(n), where=where, random_state=random_state, missing=missing)

    def sample_parts(
        self,
        n: int,
        *,
        size: int | None = None,
        first: int = 0,
        where: str | None = None,
        random_state: RandomState | None = None,
        missing: bool | None = None,
    ) -> Iterator[pd.DataFrame]:
        """Draw rows in parts, one after the other, when they are too many for memory.

        The rows of a part depend on the seed, its number and its size alone, so parts may be drawn anew one by one.
        They are not the rows of `sample`. New identifiers differ in all parts.

        Args:
            n: how many rows to return in all, at least 1.
            size: the rows of each part but the last, at least 1; by default 250,000, and fewer of wide tables.
            first: the number of the part to begin with, from 0.
            where: as for `sample`, for each part.
            random_state: as for `sample`.
            missing: as for `sample`.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: as `sample`; or the size is below 1, or there is no such part.

        >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
        >>> fitted = Synthesizer("factor", max_epochs=5, random_state=0).fit(table)
        >>> [len(part) for part in fitted.sample_parts(25, size=10)]
        [10, 10, 5]
        """
        fitted = self._fitted
        size = fitted.part_rows if size is None else size
        problems = draw_problems(n, random_state) + count_problems("size", size, 1, "Leave it out.")
        parts = 0 if problems else -(-int(n) // int(size))
        if not problems and first not in range(parts + 1):
            problems.append(f"'first' must be from 0 to {parts}, the number of parts, got {first}. Leave it out.")
        raise_problems(settings=problems)
        seed = fitted.seed if random_state is None else seed_of(random_state)
        return (
            fitted.sample_part(number, int(n), int(size), where=where, seed=seed, missing=missing)
            for number in range(first, parts)
        )

    def impute(self, X: pd.DataFrame, *, draws: int = 1, random_state: RandomState | None = None) -> pd.DataFrame:
        """Return a table whose missing values are draws from the model, given the rest of each row.

        The draws are exact for "factor", by importance resampling for models with a density, and by regression from
        nearby samples for "gan". One draw is as uncertain as the value itself: repeat an analysis over several
        draws, or take their mean as the best guess.

        Args:
            X: the columns of the training table, in any order; columns that it lacks are added. Other columns, and
                values that are not missing, stay as they are.
            draws: how many tables to return.
            random_state: the seed, or a generator of NumPy's; by default the seed of the fit.

        Returns:
            The table; with several draws one below the other, with the number of the draw as first level of the index.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            DataError: X holds what the training table did not, or none of its columns.
            ValueError: draws is below 1 or not whole, or the seed is none.

        References:
            Rubin, "Multiple Imputation for Nonresponse in Surveys", 1987.

        >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
        >>> fitted = Synthesizer("factor", max_epochs=5, random_state=0).fit(table)
        >>> fitted.impute(table.assign(outlet=np.nan)).notna().all().all()
        np.True_
        """
        fitted = self._fitted
        raise_problems(settings=draw_problems(draws, random_state, "draws"))
        seed = fitted.seed if random_state is None else seed_of(random_state)
        tables = [fitted.impute(X, random_state=(seed + number) % MAX_SEED) for number in range(int(draws))]
        return tables[0] if draws == 1 else pd.concat(tables, keys=range(int(draws)), names=["draw"])

    @property
    def name(self) -> str:
        """The name of the fitted model, or its class if it is the user's own."""
        return self.model if isinstance(self.model, str) else type(members(self.model_)[0]).__name__

    @property
    def has_likelihood(self) -> bool:
        """Whether the fitted model has a density, so that `score_samples` works."""
        return selection.has_density(self.model_)

    def score_samples(self, X: pd.DataFrame) -> np.ndarray:
        """Return the log-density of each row, in nats, in the units of the table.

        The density is exact for "factor" and "flow", and integrated numerically for "flowmatching". For "vae", "vaegan"
        and "gplvm" it is an importance-weighted estimate (a lower bound on average). "gan" has no density.

        Of a row with missing values, it is the density of what is known: exact for "factor", else an
        importance-weighted estimate. Codes count as measurements. Levels count as their flags, whose density has no
        unit; if the table has any, compare only models of the same training table. The same holds for "flow" and
        "flowmatching" if training rows had missing values, since they also score what is missing. Columns that were
        constant in training do not contribute.

        Args:
            X: the columns of the training table, in any order.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            DataError: columns are missing, or contain what the training table did not: infinite numbers, or
                new categories.
            TypeError: the model has no density.

        >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
        >>> fitted = Synthesizer("factor", max_epochs=5, random_state=0).fit(table)
        >>> inside, outside = fitted.score_samples(pd.DataFrame({"inlet": [0.5, 9.0], "outlet": [1.0, -9.0]}))
        >>> inside > outside
        np.True_
        """
        return self._scored().score_samples(X)

    def score_unseen(self, X: pd.DataFrame) -> np.ndarray:
        """Return the log-density of rows of the training table under models that were not trained on them.

        Each member of an ensemble scores its own validation rows, at most 1000 in all. The result is slightly
        optimistic, since early stopping used the same rows.

        Args:
            X: the training table; if its rows were streamed, in memory or in partitions.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            TypeError: the model has no density.

        >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
        >>> np.isfinite(Synthesizer("factor", max_epochs=5, random_state=0).fit(table).score_unseen(table)).all()
        np.True_
        """
        return self._scored().score_unseen(X)

    def _scored(self) -> Fitted:
        fitted = self._fitted
        if not self.has_likelihood:
            raise TypeError(f"the model '{self.name}' has no 'log_prob(x)', so rows have no likelihood under it.")
        return fitted

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted synthesizer to one file, atomically: safetensors with a JSON header.

        Of a user's own module only the parameters are saved, and `load` needs the module again. The file of a "gplvm"
        contains training rows.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            OSError: the folder is missing or not writable.

        >>> import tempfile
        >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
        >>> fitted = Synthesizer("factor", max_epochs=5, random_state=0).fit(table)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(f"{folder}/plant.model")
        ...     fitted.sample(3).equals(Synthesizer.load(f"{folder}/plant.model").sample(3))
        True
        """
        persistence.save(path, self.get_params(deep=False), self._fitted)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, model: Model | None = None) -> "Synthesizer":
        """Read a synthesizer that `save` wrote. Nothing in the file is executed.

        Args:
            path: the file.
            model: the module or callable, if the saved model was the user's own.

        Raises:
            ValueError: the file is missing, is not such a file, belongs to another version or model, or needs `model`.

        >>> try:
        ...     Synthesizer.load("missing.model")
        ... except ValueError as error:
        ...     print(error)
        missing.model: cannot be read (No such file or directory). Check the path.
        """
        settings, rebuild = persistence.load(path, model)
        try:
            loaded = cls(**settings)
        except TypeError as error:
            raise ValueError(f"{path}: holds settings that this moreso does not know ({error}). Update it.") from error
        return loaded.take(rebuild(partial(build_model, loaded.model)))


def draw_problems(n: int, random_state: RandomState | None = None, called: str = "n") -> list[str]:
    """Return the problems of the arguments of `Synthesizer.sample` and `.impute`, one sentence per problem."""
    seeds = [] if random_state is None else seed_problems(random_state)
    return [*count_problems(called, n, 1, "Ask for as many as you want."), *seeds]


def fit_all(
    synthesizers: Sequence[Synthesizer],
    tables: Sequence[pd.DataFrame],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    bar: training.Bar | None = None,
) -> list[Synthesizer]:
    """Fit each synthesizer to its table, all at once, in little more time than the largest of them takes alone.

    The models of all fits are trained as one population (`moreso.training.train`), with the random numbers of the first
    fit's seed; splits and initial parameters follow the seed of each.

    Args:
        synthesizers: with equal weight, ratio, validation share, number of epochs, device and precision.
        tables: the training table of each; see `Synthesizer.fit`.
        checkpoint: as for `Synthesizer.fit`.
        log: as for `Synthesizer.fit`.
        bar: a progress bar that counts models over several calls; by default the first synthesizer's `progress` tells
            whether there is one.

    Returns:
        The synthesizers, fitted.

    Raises:
        KnowledgeError, DataError, ValueError: as `Synthesizer.fit`; or the settings of the synthesizers differ.
        KeyboardInterrupt: Ctrl-C came, and there are several synthesizers.

    >>> table = pd.DataFrame({"inlet": np.linspace(0, 1, 40), "outlet": np.linspace(0, 2, 40) ** 2})
    >>> fits = [Synthesizer("factor", max_epochs=5, random_state=seed) for seed in range(3)]
    >>> [fitted.sample(2).shape for fitted in fit_all(fits, [table] * 3)]
    [(2, 2), (2, 2), (2, 2)]
    """
    if len(synthesizers) != len(tables):
        raise ValueError(
            f"there must be one table for each synthesizer, got {len(tables)} for {len(synthesizers)}. Pass as many."
        )
    given = [_given(synthesizer, table) for synthesizer, table in zip(synthesizers, tables, strict=True)]
    for synthesizer, table in zip(synthesizers, given, strict=True):
        _raise(_problems(synthesizer, table))
    shared = [each.shared_settings() for each in synthesizers]
    if any(each != shared[0] for each in shared):
        raise ValueError(
            "synthesizers that are fitted at once must share weight, ratio, validation share, epochs, devices, "
            "strategy and precision. Fit the others by themselves."
        )
    first = synthesizers[0]
    settings = first.settings or Settings()
    fabric = training.machine(first.device, settings.precision, settings.devices)
    fabric.launch()
    # A seed that was drawn differs from process to process.
    own = json.dumps([_seed(synthesizer) for synthesizer in synthesizers])
    seeds = json.loads(training.Processes.of(fabric).send_text(own))
    plans = [_plan(*each) for each in zip(synthesizers, given, seeds, strict=True)]
    raise_problems(
        data=[
            problem
            for synthesizer, plan in zip(synthesizers, plans, strict=True)
            for problem in plan.fusion_problems(synthesizer.model)
        ]
    )
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        warnings.warn(note, stacklevel=3)
    tasks = [plan.task for plan in plans]
    models = sum(task.models for task in tasks)
    shows = first.progress and fabric.is_global_zero
    with nullcontext(bar) if bar else training.Bar(shown=shows).showing() as shown:
        shown.expect(models)
        trainer = Trainer(
            guidance=_guidance(first.weight, settings.ratio),
            schedule=training.Schedule(settings.validation, max_epochs=int(first.max_epochs)),
            fabric=fabric,
            strategy=settings.strategy,
            checkpoint=None if checkpoint is None else os.fspath(checkpoint),
            log=log,
            bar=shown,
        )
        selections = selection.select(trainer, tasks)
        trainer.forget(models, ("", selection.PLAIN) if any(task.informed for task in tasks) else ("",))
    for synthesizer, plan, chosen in zip(synthesizers, plans, selections, strict=True):
        synthesizer.take(_fitted(plan, chosen, settings.validation))
        for notice in plan.encoder.notices:
            warnings.warn(notice, stacklevel=3)
        for relation in plan.left_out:
            warnings.warn(explain_left_out(plan.knowledge.describe(relation)), stacklevel=3)
        if chosen.reason:
            warnings.warn(chosen.reason, stacklevel=3)
    return list(synthesizers)


def _guidance(weight: float | str, ratio: float) -> Guidance:
    """Return pushes at every `EVERY`th step that are as heavy as lighter ones at every step."""
    return Guidance(weight * EVERY if isinstance(weight, int | float) else weight, ratio * EVERY, every=EVERY)


def _given(synthesizer: Synthesizer, table: Frame) -> pd.DataFrame | Survey:
    """Return a table in memory, or what a fit needs of one in partitions if it is too long for that."""
    if isinstance(table, pd.DataFrame) or not is_partitioned(table):
        own: pd.DataFrame = table
        return own
    if len(table) <= IN_MEMORY:
        rows: pd.DataFrame = table.compute().reset_index(drop=True)
        return rows
    names = [str(name) for name in table.columns]
    knowledge = synthesizer.knowledge
    known = None if knowledge is None else Knowledge.examine(knowledge, names)[0]
    features = known.matched(names)[0].features if known else ()
    return Survey.of(table, features, (synthesizer.settings or Settings()).identifiers)


def _problems(synthesizer: Synthesizer, given: pd.DataFrame | Survey | None) -> Problems:
    """Return the problems that keep a table, or the reference sample of one, from being fitted."""
    settings = synthesizer.settings or Settings()
    survey = given if isinstance(given, Survey) else None
    table = given.reference if isinstance(given, Survey) else given
    identifiers = settings.identifiers if survey is None else survey.identifiers
    names = None if table is None else list(as_table(table).columns)
    known, statements = (None, []) if synthesizer.knowledge is None else Knowledge.examine(synthesizer.knowledge, names)
    knowledge = known or Knowledge(())
    if names is not None:
        knowledge, _ = knowledge.matched(names)
    statements = [explain_contradiction(cycle) for cycle in knowledge.contradictions()] + statements
    data: list[str] = []
    if table is not None:
        # A regularizer needs the same measurements as an audit.
        data = table_problems(
            table, knowledge.features, directed=knowledge.directed, modelled=True, identifiers=identifiers
        )
    if table is not None and not data and (survey is not None or cannot_fuse(synthesizer.model)):
        pairs = unobserved_pairs(table, knowledge.features, identifiers)
        if survey is None:
            data = fusion_problems(pairs, synthesizer.model)
        else:
            data = stream_problems(survey, synthesizer.model, settings, pairs)
    rows = None if table is None else len(table)
    found = settings.problems(synthesizer.model, rows if survey is None else None)
    found += Guidance(synthesizer.weight, settings.ratio).problems()
    found += training.Schedule(max_epochs=synthesizer.max_epochs).problems()
    found += [] if synthesizer.random_state is None else seed_problems(synthesizer.random_state)
    found += training.machine_problems(synthesizer.device, settings.precision, settings.devices, settings.strategy)
    if synthesizer.trust not in ("audit", "all"):
        found.append(f"'trust' must be 'audit' or 'all', got '{synthesizer.trust}'.")
    if isinstance(synthesizer.model, str) and synthesizer.model not in MODELS:
        found.append(f"the model must be one of {', '.join(MODELS)} or a module, got '{synthesizer.model}'.")
    return Problems(found, statements, data)


def _raise(problems: Problems) -> None:
    """Raise the problems of a fit, if there are any."""
    raise_problems(settings=problems.settings, knowledge=problems.knowledge, data=problems.data)


@dataclass(frozen=True)
class _Plan:
    """A fit that is about to begin.

    Args:
        task: what is to be trained.
        encoder: the encoder of the table.
        knowledge: all statements, in the columns' own names.
        notes: the names in them that were taken for columns, one sentence each.
        left_out: those that the rows contradict.
        labels: the names of the table's columns, if some are numbers.
        unobserved: the pairs of columns that were never observed together.
    """

    task: selection.Task
    encoder: TableEncoder
    knowledge: Knowledge
    notes: list[str]
    left_out: tuple[Statement, ...]
    labels: tuple[str | int, ...]
    unobserved: tuple[Unobserved, ...] = ()

    def fusion_problems(self, model: Model) -> list[str]:
        """Return why a user's own model cannot be trained on these rows; the models of others were checked before."""
        pairs = [each.pair for each in self.unobserved]
        own = pairs and not isinstance(model, str | nn.Module)
        return fusion_problems(pairs, model) if own and cannot_fuse(self.task.build(0, 0.0)) else []

    @property
    def stops(self) -> int:
        """The number of evenly spaced validation rows, if the rows are streamed; else 0."""
        return len(self.task.rows.stops) if isinstance(self.task.rows, Streamed) else 0


def _seed(synthesizer: Synthesizer) -> int:
    """Return the seed of a fit, which is drawn if none was given."""
    state = synthesizer.random_state
    return seed_of(np.random.default_rng() if state is None else state)


def _plan(synthesizer: Synthesizer, given: pd.DataFrame | Survey, seed: int) -> _Plan:
    settings = synthesizer.settings or Settings()
    survey = given if isinstance(given, Survey) else None
    table = given.reference if isinstance(given, Survey) else given
    labels = _labels(table if survey is None else survey.data)
    table = as_table(table)
    identifiers = settings.identifiers if survey is None else survey.identifiers
    knowledge, notes = synthesizer.statements.matched(table.columns)
    encoder = TableEncoder.fit(table, knowledge.features, identifiers)
    rows = torch.as_tensor(encoder.encode(table), dtype=torch.float32)
    audited = table if survey is None else survey.data
    stated, left_out = selection.choose_statements(audited, knowledge, synthesizer.trust)
    # Tables in partitions that have such pairs were refused.
    pairs = unobserved_pairs(table, knowledge.features, identifiers) if survey is None else ()
    strata = strata_of(table, pairs)
    if pairs:
        enforced = stated if synthesizer.weight != 0 else Knowledge(())
        notes = [*notes, explain_pairs(pairs, enforced), *explain_directions(pairs, enforced, table)]
    count = settings.members or count_members(len(table), settings.validation)
    blind = bool(stated_pairs(pairs, stated))
    penalty = make_penalty(encoder, stated, rows, settings.margin_for(blind)) if synthesizer.weight != 0 else None
    trained: torch.Tensor | Streamed = rows
    judge: selection.Judge = partial(
        unseen_density, encoder=encoder, table=table, seed=seed, validation=settings.validation, strata=strata
    )
    if survey is not None:
        stops = survey.pick(validation_places(survey.rows, count_stops(survey.rows, settings.validation)))
        trained = stream_rows(survey, encoder, stops, seed)
        judges = stops.iloc[evenly(len(stops), min(len(stops), selection.JUDGES))]
        judge = partial(log_density, encoder=encoder, table=judges, seed=seed)
    task = selection.Task(
        build=partial(build_model, synthesizer.model, encoder.width, seed, encoder.incomplete),
        rows=trained,
        members=count,
        seed=seed,
        judge=judge,
        shares=selection.dropout_shares(synthesizer.model, settings.dropout, count),
        penalty=penalty,
        compare=synthesizer.compare and bool(knowledge),
        fall_back=synthesizer.trust == "audit",
        strata=strata,
    )
    ranges = correlation_ranges(table, pairs, knowledge.features, identifiers)
    return _Plan(task, encoder, knowledge, notes, left_out, labels, ranges)


def _labels(table: Frame) -> tuple[str | int, ...]:
    """Return the names of a table's columns, if some are numbers."""
    numbered = any(not isinstance(name, str) for name in table.columns)
    return tuple(name if isinstance(name, str) else int(name) for name in table.columns) if numbered else ()


def _fitted(plan: _Plan, chosen: selection.Selection, validation: float) -> Fitted:
    def fitted(ensemble: Ensemble, **others: Any) -> Fitted:
        return Fitted(
            plan.encoder,
            ensemble.model,
            ensemble.dropout,
            ensemble.histories,
            plan.task.seed,
            validation,
            labels=plan.labels,
            unobserved=plan.unobserved,
            stops=plan.stops,
            **others,
        )

    plain = None if chosen.plain is None else fitted(chosen.plain)
    kept = replace(chosen.kept, histories=chosen.trained.histories)
    return fitted(kept, left_out=plan.left_out, harm=chosen.reason, plain=plain)


def build_model(model: Model, width: int, seed: int, missing: bool, member: int, dropout: float) -> nn.Module:
    """Return an untrained model.

    Args:
        model: its name, a module (which is copied), or a callable from the number of columns.
        width: the number of columns.
        seed: the ensemble's seed; the member's number is added to it.
        missing: whether the training rows have missing values, for models that can be trained on such rows.
        member: the model's number in the ensemble.
        dropout: the dropout rate, for models that have it.
    """
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    with seeded(seed + member):
        build: Callable[..., nn.Module] = MODELS[model] if isinstance(model, str) else model
        settings: dict[str, Any] = {"dropout": dropout} if dropout else {}
        if missing and isinstance(model, str) and "missing" in inspect.signature(MODELS[model]).parameters:
            settings["missing"] = True
        return build(width, **settings)

"""The estimator, in scikit-learn's conventions."""

import copy
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from moreso import training
from moreso.models import MODELS, HasDensity, members
from moreso.relations import Knowledge
from moreso.synthesizer import checks, conditions, fitting, knowing, saving
from moreso.synthesizer.columns import Columns

SCORED = 2000
"""Rows that are scored at once, since an importance-weighted density takes memory for every row."""

Model = str | nn.Module | Callable[[int], nn.Module]


class Synthesizer(BaseEstimator):  # type: ignore[misc]
    """A generative model of a table, trained with or without knowledge, in scikit-learn's conventions.

    Columns of any common type become numbers: measurements are standardised, and bent where they are skewed or have
    heavy tails; levels and missing values become flags. The model is trained with early stopping on a split of the
    rows, and with knowledge its samples are pushed to follow the statements (`Regularizer`). Of few rows none can be
    spared for the stopping: then several models, each stopped by other rows, are mixed.

    Args:
        model: "factor", "vae", "gan", "vaegan", "gplvm", "flow", "flowmatching", a `GenerativeModel` for the number of
            columns that the table becomes (copied, never changed), or a callable that builds one from that number,
            which is the table's own for whole tables of numbers.
        knowledge: the statements; none gives the plain model.
        weight: of the regularizer; "auto" needs no tuning, see `moreso.training.fit`.
        ratio: of the regularizer's gradient to the loss's, where the weight is "auto".
        margin: of the regularizer, in standard errors of the gap.
        validation: share of the rows that decide when to stop.
        folds: how many models are mixed in equal parts, at most 1 / `validation`; by default 4 up to 200 rows,
            and fewer above: n models take n times as long, plain VAEs twice that to choose their dropout.
        dropout: of the model "vae", which regularizes it; by default a mixture is fitted without and with a share of
            .3, and the one kept under which rows that decide when to stop are more likely. 0 saves that time.
        max_epochs: after which training stops anyway.
        trust: "audit" leaves statements out that the training rows contradict, keeps the plain model where the
            statements seem to harm, and warns; "all" obeys the person.
        compare: with knowledge, also fit the plain model from the same seed, so that a report can say what the
            knowledge changed. Where plain models choose the dropout, they are fitted in any case.
        progress: show a bar while fitting.
        device: where to train: "cpu", "cuda" or "auto"; the trained model is on the CPU.
        precision: to train in: "32-true" or "bf16-mixed".
        random_state: seed of everything; None draws one and keeps it as `seed_`.

    Attributes:
        model_: the trained model, or the `moreso.models.Mixture` of them, of the matrix that the table becomes.
        columns_: how the table becomes that matrix, and back.
        plain_: the same model trained without knowledge, as a fitted `Synthesizer`, or None.
        dropout_: the share of dropout that was kept.
        left_out_: the statements that were left out, as text.
        harm_: why the plain model was kept in place of one with knowledge, as a sentence; empty where it was not. Also
            Ctrl-C can be why.
        histories_: the `moreso.training.History` of each model.
        seed_: the seed that was used.
        feature_names_in_: names of the columns.

    References:
        Takeishi & Kawahara, "Knowledge-Based Regularization in Generative Modeling", IJCAI 2020, arXiv 1902.02068.

    >>> inlet = np.random.default_rng(0).normal(size=40)
    >>> table = pd.DataFrame({"inlet": inlet, "outlet": inlet**2, "ambient": inlet[::-1]})
    >>> synthesizer = Synthesizer("factor", Knowledge.parse("outlet: inlet > ambient"), max_epochs=5, random_state=1)
    >>> synthesizer.fit(table).sample(3).shape
    (3, 3)
    """

    model_: Any
    columns_: Columns
    plain_: "Synthesizer | None"
    dropout_: float
    left_out_: tuple[str, ...]
    harm_: str
    histories_: tuple[training.History, ...]
    seed_: int
    feature_names_in_: np.ndarray

    def __init__(
        self,
        model: Model = "vae",
        knowledge: Knowledge | None = None,
        *,
        weight: float | str = "auto",
        ratio: float = training.AUTO_RATIO,
        margin: float = 4.0,
        validation: float = 0.25,
        folds: int | None = None,
        dropout: float | None = None,
        max_epochs: int = 3000,
        trust: str = "audit",
        compare: bool = True,
        progress: bool = False,
        device: str = "cpu",
        precision: str = "32-true",
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.knowledge = knowledge
        self.weight = weight
        self.ratio = ratio
        self.margin = margin
        self.validation = validation
        self.folds = folds
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.trust = trust
        self.compare = compare
        self.progress = progress
        self.device = device
        self.precision = precision
        self.random_state = random_state

    def fit(
        self,
        X: pd.DataFrame,
        y: None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        log: str | os.PathLike[str] | None = None,
    ) -> "Synthesizer":
        """Train on a table.

        Warns of every statement that is left out. What follows from other statements is not trained twice. Where
        dropout is to be chosen, plain models choose it. Ctrl-C ends the training and keeps the best model so far, in
        that choice a plain one; a plain model that was still to come is then not fitted.

        Args:
            X: at least 4 rows of numbers, truth values, text, categories, dates or spans of time, with or without
                missing values. Constant and empty columns are kept as they are, and not modelled.
            y: ignored, for scikit-learn's pipelines.
            checkpoint: a file from which a fit that was killed goes on, to the same bits; gone when the fit has ended.
            log: a folder for loss, penalty and share of statements held of each epoch, as CSV; see `training.machine`.

        Raises:
            ValueError: what the table, the knowledge or the settings lack; all faults at once.
        """
        self.check(X)
        first = None if checkpoint is None else os.fspath(checkpoint)
        fitting.fit(self, X, first, log)
        fitting.forget(self, len(X), first)
        if self.harm_:
            warnings.warn(self.harm_, stacklevel=2)
        return self

    def check(self, X: pd.DataFrame | None = None) -> None:
        """Raise what `fit` would raise before it trains: faults of the settings, and of a table where one is given."""
        if X is not None and not isinstance(X, pd.DataFrame):
            raise TypeError(f"the table must be a pandas DataFrame, got {type(X).__name__}. Wrap it: pd.DataFrame(x).")
        if faults := checks.faults(self, X):
            raise ValueError("\n".join(faults))

    def _build(self, n_features: int, fold: int = 0, *, dropout: float = 0.0) -> nn.Module:
        if isinstance(self.model, nn.Module):
            return copy.deepcopy(self.model)
        with training.seeded(self.seed_ + fold):
            build: Any = MODELS[self.model] if isinstance(self.model, str) else self.model
            made: nn.Module = build(n_features, dropout=dropout) if dropout else build(n_features)
            return made

    def sample(self, n: int, *, where: str | None = None, random_state: int | None = None) -> pd.DataFrame:
        """Draw rows from the trained model: the columns of the training table, in order and with its dtypes.

        Whole numbers stay whole and in the range of the training rows; codes and categories are never invented; values
        are missing only in columns where some were. The same seed gives the same rows.

        Args:
            n: how many rows, at least 1; as many are returned.
            where: a condition on the rows, as in `pandas.DataFrame.query`: "region == 'north' and flow > 3". Rows are
                drawn until n fulfil it, at most 100 n or 100,000.
            random_state: seed; by default that of the fit.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: n is below 1, or the condition is none, or hardly ever true.
        """
        check_is_fitted(self, "model_")
        if n < 1:
            raise ValueError(f"'n' must be at least 1, got {n}. Ask for as many rows as you want.")
        seed = self.seed_ if random_state is None else random_state
        random = np.random.default_rng(seed)
        with training.seeded(seed), torch.no_grad():

            def draw(count: int) -> pd.DataFrame:
                return self.columns_.decode(self.model_.sample(count).double().numpy(), random)

            return draw(n) if where is None else conditions.fulfil(draw, n, where)

    @property
    def name(self) -> str:
        """What the fitted model is called: its name, or its class where it is the user's own."""
        return self.model if isinstance(self.model, str) else type(members(self.model_)[0]).__name__

    @property
    def has_likelihood(self) -> bool:
        """Whether the fitted model has a density, so that `score_samples` works."""
        return all(isinstance(model, HasDensity) for model in members(self.model_))

    def score_samples(self, X: pd.DataFrame) -> np.ndarray:
        """Return the log-density of each row, in nats, in the units of the table.

        Exact for "factor" and "flow", integrated by steps for "flowmatching"; for "vae", "vaegan" and "gplvm" an
        importance-weighted estimate (a lower bound on average). "gan" has no density.

        For whole tables of measurements it is the density of the row itself. Codes count as measurements; levels and
        missing values as their flags, whose density has no unit: where there are any, compare only models of the same
        training table.
        Columns that were constant in training count for nothing.

        Args:
            X: the columns of the training table, in any order.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: columns are missing, or hold what the training table did not: infinite numbers, new categories,
                holes in columns that had none.
            TypeError: the model has no density.
        """
        check_is_fitted(self, "model_")
        lacking = [name for name in self.feature_names_in_ if name not in X.columns]
        if lacking:
            raise ValueError(
                f"the table lacks the columns {', '.join(map(repr, lacking))} of the training table. Add them."
            )
        if faults := self.columns_.unknown(X):
            raise ValueError("\n".join(faults))
        return self._density(self.model_, X)

    def score_unseen(self, X: pd.DataFrame) -> np.ndarray:
        """Return the log-density of rows of the training table under the model that was not trained on them.

        Each model of a mixture scores the rows that decided when it stopped, at most 1000 in all, which flatters it.

        Args:
            X: the training table.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            TypeError: the model has no density.
        """
        check_is_fitted(self, "model_")
        return self._unseen(self.model_, X)

    def _unseen(self, model: nn.Module, X: pd.DataFrame) -> np.ndarray:
        """Return what `score_unseen` does, of a model or mixture that was trained on the same rows."""
        scores, models = [], members(model)
        for fold, part in enumerate(models):
            _, stops = training.split(len(X), self.validation, self.seed_, fold)
            scores.append(self._density(part, X.iloc[stops[: knowing.JUDGED // len(models)].numpy()]))
        return np.concatenate(scores)

    def _density(self, model: Any, X: pd.DataFrame) -> np.ndarray:
        if not self.has_likelihood:
            raise TypeError(f"the model '{self.name}' has no 'log_prob(x)', so rows have no likelihood under it.")
        rows = self.columns_.encode(X)
        with training.seeded(self.seed_), torch.no_grad():
            parts = torch.as_tensor(rows, dtype=torch.float32).split(SCORED)
            log_prob = torch.cat([model.log_prob(part) for part in parts])
        # Change of variables: the model's density is one of the encoded columns.
        return log_prob.double().numpy() + self.columns_.log_slope(rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted synthesizer to one file: safetensors with a JSON header, whole or not at all.

        A module of one's own is saved by its parameters, and `load` needs it again. A "gplvm" keeps training rows.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            OSError: the folder is missing or not writable.
        """
        check_is_fitted(self, "model_")
        saving.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, model: Model | None = None) -> "Synthesizer":
        """Read a synthesizer that `save` wrote. Nothing in the file is executed.

        Args:
            path: the file.
            model: the module or callable, where the saved one was the user's own.

        Raises:
            ValueError: the file is missing, is not such a file, is of another version or model, or needs `model`.
        """
        return saving.load(cls, path, model)

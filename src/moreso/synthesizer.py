"""DataFrame in, DataFrame out: a generative model of a table that follows what was stated about it."""

import copy
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from torch import nn

from moreso import archive, training
from moreso.audit import Verdict, audit, explain_left_out
from moreso.models import MODELS, HasDensity
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge, explain_contradiction
from moreso.tables import check_table, column_faults

Model = str | nn.Module | Callable[[int], nn.Module]


class Synthesizer(BaseEstimator):  # type: ignore[misc]
    """A generative model of a numeric table, trained with or without knowledge, in scikit-learn's conventions.

    Columns are standardised; the model is trained with early stopping on a split of the rows, and with knowledge its
    samples are pushed to follow the statements (`Regularizer`).

    Args:
        model: a name in `moreso.models.MODELS` ("factor", "vae"), a `GenerativeModel` for the table's number of
            columns (copied, never changed), or a callable that builds one from that number.
        knowledge: the statements; none gives the plain model.
        weight: of the regularizer; "auto" needs no tuning, see `moreso.training.fit`.
        margin: of the regularizer, in standard errors of the gap.
        validation: share of the rows that decide when to stop.
        max_epochs: after which training stops anyway.
        trust: "audit" leaves statements out that the training rows contradict, and warns; "all" obeys the person.
        compare: with knowledge, also fit the plain model from the same seed, so that a report can say what the
            knowledge changed.
        progress: show a bar while fitting.
        random_state: seed of everything; None draws one and keeps it as `seed_`.

    Attributes:
        model_: the trained model, in standardised units.
        plain_: the same model trained without knowledge, as a fitted `Synthesizer`, or None.
        left_out_: the statements that were left out, as text.
        history_: the `moreso.training.History` of the fit.
        seed_: the seed that was used.
        feature_names_in_: names of the columns.

    References:
        Takeishi & Kawahara, "Knowledge-Based Regularization in Generative Modeling", IJCAI 2020, arXiv 1902.02068.

    >>> inlet = np.random.default_rng(0).normal(size=40)
    >>> table = pd.DataFrame({"inlet": inlet, "outlet": inlet**2, "ambient": inlet[::-1]})
    >>> synthesizer = Synthesizer("factor", Knowledge.parse("outlet: inlet > ambient"), max_epochs=5, random_state=0)
    >>> synthesizer.fit(table).sample(3).shape
    (3, 3)
    """

    def __init__(
        self,
        model: Model = "vae",
        knowledge: Knowledge | None = None,
        *,
        weight: float | str = "auto",
        margin: float = 4.0,
        validation: float = 0.25,
        max_epochs: int = 3000,
        trust: str = "audit",
        compare: bool = True,
        progress: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.knowledge = knowledge
        self.weight = weight
        self.margin = margin
        self.validation = validation
        self.max_epochs = max_epochs
        self.trust = trust
        self.compare = compare
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: None = None) -> "Synthesizer":
        """Train on a table of numbers.

        Warns of every statement that is left out. What follows from other statements is not trained twice.

        Args:
            X: at least 4 rows; every column numeric, without missing values, and not constant.
            y: ignored, for scikit-learn's pipelines.

        Raises:
            ValueError: what the table, the knowledge or the settings lack; all faults at once.
        """
        self.check(X)
        columns = list(map(str, X.columns))
        self.seed_ = int(np.random.default_rng().integers(2**31)) if self.random_state is None else self.random_state
        self.feature_names_in_ = np.asarray(columns, dtype=object)
        self.dtypes_ = {name: str(dtype) for name, dtype in zip(columns, X.dtypes, strict=True)}
        self.scaler_ = StandardScaler().fit(X.to_numpy(dtype=float))
        rows = torch.as_tensor(self.scaler_.transform(X.to_numpy(dtype=float)), dtype=torch.float32)
        self.model_: Any = self._build(len(columns))
        used = self._audited(X)
        penalty = Regularizer(used, columns, data=rows, margin=self.margin) if used else None
        self.history_ = training.fit(
            self.model_,
            rows,
            penalty=penalty,
            weight=self.weight,
            validation=self.validation,
            max_epochs=self.max_epochs,
            random_state=self.seed_,
            progress=self.progress,
            label="with knowledge" if self.knowledge else "plain model",
        )
        self.plain_: Synthesizer | None = None
        if self.knowledge and self.compare:
            self.plain_ = clone(self).set_params(knowledge=None, random_state=self.seed_).fit(X)
        return self

    def _audited(self, X: pd.DataFrame) -> Knowledge | None:
        """Return what is trained: the statements that the rows do not contradict and that do not follow from others."""
        self.left_out_: tuple[str, ...] = ()
        if not self.knowledge:
            return None
        kept = list(self.knowledge)
        if self.trust == "audit":
            found = audit(X, self.knowledge)
            against = [finding.verdict is Verdict.CONTRADICTED for finding in found]
            kept = [relation for relation, out in zip(self.knowledge, against, strict=True) if not out]
            self.left_out_ = tuple(finding.relation for finding, out in zip(found, against, strict=True) if out)
        for text in self.left_out_:
            warnings.warn(explain_left_out(text), stacklevel=3)
        return Knowledge(tuple(kept)).reduction()

    def check(self, X: pd.DataFrame | None = None) -> None:
        """Raise what `fit` would raise before it trains: faults of the settings, and of a table where one is given."""
        if X is not None and not isinstance(X, pd.DataFrame):
            raise TypeError(f"the table must be a pandas DataFrame, got {type(X).__name__}. Wrap it: pd.DataFrame(x).")
        checks: list[Callable[[], None]] = [lambda: training.check_weight(self.weight)]
        if X is not None:
            checks.append(lambda: check_table(X))
            if knowledge := self.knowledge:
                checks.append(lambda: knowledge.check([str(name) for name in X.columns]))
        faults: list[str] = []
        for check in checks:
            try:
                check()
            except ValueError as error:
                faults += str(error).splitlines()
        if self.knowledge:
            faults += [explain_contradiction(circle) for circle in self.knowledge.contradictions()]
        if self.trust not in ("audit", "all"):
            faults.append(f"'trust' must be 'audit' or 'all', got '{self.trust}'.")
        if isinstance(self.model, str) and self.model not in MODELS:
            faults.append(f"the model must be one of {', '.join(MODELS)} or a module, got '{self.model}'.")
        if faults:
            raise ValueError("\n".join(faults))

    def _build(self, n_features: int) -> nn.Module:
        if isinstance(self.model, nn.Module):
            return copy.deepcopy(self.model)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed_)
            return (MODELS[self.model] if isinstance(self.model, str) else self.model)(n_features)

    def sample(self, n: int, *, random_state: int | None = None) -> pd.DataFrame:
        """Draw rows from the trained model: the columns of the training table, in order and with its dtypes.

        Integer columns are rounded. The same seed gives the same rows.

        Args:
            n: how many rows, at least 1; as many are returned.
            random_state: seed; by default that of the fit.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: n is below 1.
        """
        check_is_fitted(self, "model_")
        if n < 1:
            raise ValueError(f"'n' must be at least 1, got {n}. Ask for as many rows as you want.")
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self.seed_ if random_state is None else random_state)
            rows = self.scaler_.inverse_transform(self.model_.sample(n).double().numpy())
        table = pd.DataFrame(rows, columns=self.feature_names_in_)
        for name, dtype in self.dtypes_.items():
            kind = pd.api.types.pandas_dtype(dtype)
            if pd.api.types.is_bool_dtype(kind):
                table[name] = (table[name] > 0.5).astype(kind)
            elif pd.api.types.is_integer_dtype(kind):
                table[name] = table[name].round().astype(kind)
            else:
                table[name] = table[name].astype(kind)
        return table

    @property
    def has_likelihood(self) -> bool:
        """Whether the fitted model has a density, so that `score_samples` works."""
        return isinstance(self.model_, HasDensity)

    def score_samples(self, X: pd.DataFrame) -> np.ndarray:
        """Return the log-density of each row, in nats, in the units of the table.

        Exact for "factor"; for "vae" an importance-weighted estimate (a lower bound on average).

        Args:
            X: the columns of the training table, in any order.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: columns are missing, or hold what is not a finite number.
            TypeError: the model has no density.
        """
        check_is_fitted(self, "model_")
        if not self.has_likelihood:
            raise TypeError(f"{type(self.model_).__name__} has no 'log_prob(x)', so rows have no likelihood under it.")
        rows = self._rows(X)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self.seed_)
            log_prob = self.model_.log_prob(torch.as_tensor(self.scaler_.transform(rows), dtype=torch.float32))
        # Change of variables: the model's density is one of standardised columns.
        return log_prob.double().numpy() - np.log(self.scaler_.scale_).sum()

    def _rows(self, X: pd.DataFrame) -> np.ndarray:
        lacking = [name for name in self.feature_names_in_ if name not in X.columns]
        if lacking:
            raise ValueError(
                f"the table lacks the columns {', '.join(map(repr, lacking))} of the training table. Add them."
            )
        rows = X[list(self.feature_names_in_)]
        faults = [fault for name in rows for fault in column_faults(rows[name], constant=True)]
        if faults:
            raise ValueError("\n".join(faults))
        return rows.to_numpy(dtype=float)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted synthesizer to one file: safetensors with a JSON header, whole or not at all.

        A model of the user's own is saved by its parameters; `load` needs the module again.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            OSError: the folder is missing or not writable.
        """
        check_is_fitted(self, "model_")
        header, tensors = self._state()
        if self.plain_ is not None:
            header["plain"], plain = self.plain_._state()
            tensors |= {f"plain.{name}": tensor for name, tensor in plain.items()}
        archive.write(path, header, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, model: Model | None = None) -> "Synthesizer":
        """Read a synthesizer that `save` wrote. Nothing in the file is executed.

        Args:
            path: the file.
            model: the module or callable, where the saved one was the user's own.

        Raises:
            ValueError: the file is missing, is not such a file, is of a newer version, or needs `model`.
        """
        header, tensors = archive.read(path)
        model = header.pop("model") or model
        if model is None:
            raise ValueError(f"{path}: holds a model of your own. Pass it again: Synthesizer.load(path, model=...).")
        plain = header.pop("plain", None)
        loaded = cls._restored(header, {k: v for k, v in tensors.items() if not k.startswith("plain.")}, model)
        if plain is not None:
            own = {k.removeprefix("plain."): v for k, v in tensors.items() if k.startswith("plain.")}
            loaded.plain_ = cls._restored(plain, own, model)
        return loaded

    def _state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Return what `_restored` needs: a JSON object and tensors."""
        settings = {
            name: value for name, value in self.get_params(deep=False).items() if name not in ("model", "knowledge")
        }
        header = {
            "model": self.model if isinstance(self.model, str) else None,
            "knowledge": str(self.knowledge) if self.knowledge else None,
            "settings": settings,
            "seed": self.seed_,
            "dtypes": self.dtypes_,
            "history": asdict(self.history_),
            "left_out": self.left_out_,
        }
        tensors = {f"model.{name}": tensor for name, tensor in self.model_.state_dict().items()}
        for name in ("mean_", "scale_", "var_"):
            tensors[f"scaler.{name}"] = torch.as_tensor(getattr(self.scaler_, name))
        return header, tensors

    @classmethod
    def _restored(cls, header: dict[str, Any], tensors: dict[str, torch.Tensor], model: Model) -> "Synthesizer":
        knowledge = Knowledge.parse(header["knowledge"]) if header["knowledge"] else None
        loaded = cls(model, knowledge, **header["settings"])
        loaded.seed_ = header["seed"]
        loaded.left_out_ = tuple(header["left_out"])
        loaded.dtypes_ = header["dtypes"]
        loaded.feature_names_in_ = np.asarray(list(header["dtypes"]), dtype=object)
        history: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["history"].items()}
        loaded.history_ = training.History(**history)
        loaded.plain_ = None
        loaded.scaler_ = StandardScaler()
        for name in ("mean_", "scale_", "var_"):
            setattr(loaded.scaler_, name, tensors.pop(f"scaler.{name}").numpy())
        loaded.model_ = loaded._build(len(loaded.dtypes_))
        loaded.model_.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
        loaded.model_.eval()
        return loaded

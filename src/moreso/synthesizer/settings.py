"""The rarer settings of a synthesizer, and the problems of settings, found before any training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from moreso import training
from moreso.guidance import AUTO_RATIO
from moreso.models import MODELS
from moreso.regularizer import MARGIN

Model = str | nn.Module | Callable[[int], nn.Module]
"""A model's name, a module (which is copied), or a callable from the number of columns."""


class Problems(NamedTuple):
    """What keeps a synthesizer from being fitted, one sentence per problem.

    Args:
        settings: problems of its arguments.
        knowledge: problems of its statements.
        data: problems of the table.
    """

    settings: list[str]
    knowledge: list[str]
    data: list[str]


BLIND_MARGIN = 2.0
"""The default margin if statements concern columns that were never observed together (docs/decisions/0020)."""


@dataclass(frozen=True)
class Settings:
    """Settings of a `Synthesizer` that few users change.

    Args:
        members: the number of models in the ensemble, at most 1 / `validation`; by default 4 up to 200 rows, and fewer
            above. They are trained at once, which takes less than so many times as long.
        validation: share of the rows that each member uses for early stopping and is not trained on.
        dropout: dropout rate of the model "vae", which regularizes it. By default an ensemble is fitted without dropout
            and with a rate of .3, and the one under which validation rows are more likely is kept. 0 saves that time.
        ratio: length of the regularizer's gradient relative to the loss's, if the weight is "auto".
        margin: margin of the regularizer, in standard errors of the gap; by default 4, and 2 if statements concern
            columns that were never observed together, where no row would correct a push that goes too far.
        precision: precision of the training: "32-true" or "bf16-mixed".
        devices: the number of processes that train, each on a GPU of its own or on the processors. They run the whole
            script that calls `fit`, as Lightning's do, and all of them get the fitted model; with torchrun, its number
            of processes counts.
        strategy: what they share: "ddp" the rows of every batch, for long tables; "members" the models of ensembles and
            comparisons, for short ones; "auto" the models if there are as many as processes, else the rows.
        identifiers: the columns that only tell rows apart, such as names or numbers of patients: they are not modelled,
            and samples get new ones. By default they are found, see `moreso.tabular.find_identifiers`; () for none.

    >>> settings = Settings(members=9)
    >>> settings.problems("vae")[0].split(",")[0]
    "'members' must be from 1 to 4"
    >>> settings.margin_for(blind=False), settings.margin_for(blind=True)
    (4.0, 2.0)
    """

    members: int | None = None
    validation: float = 0.25
    dropout: float | None = None
    ratio: float = AUTO_RATIO
    margin: float | None = None
    precision: str = "32-true"
    devices: int = 1
    strategy: str = "auto"
    identifiers: tuple[str, ...] | None = None

    def problems(self, model: object, rows: int | None = None) -> list[str]:
        """Return the problems of the settings, one sentence per problem.

        Args:
            model: the `model` of the `Synthesizer`.
            rows: the number of rows of the table, if known.
        """
        found = self._ensemble_problems(rows) + self._dropout_problems(model) + self._margin_problems()
        return found + self._strategy_problems(model)

    def margin_for(self, blind: bool) -> float:
        """Return the margin of a fit.

        Args:
            blind: whether statements concern columns that were never observed together.
        """
        return self.margin or (BLIND_MARGIN if blind else MARGIN)

    def _ensemble_problems(self, rows: int | None) -> list[str]:
        if not 0 < self.validation < 1:
            return [f"'validation' must be a share between 0 and 1, got {self.validation}. Leave it at 0.25."]
        most = int(1 / self.validation) if rows is None else training.most_folds(rows, self.validation)
        if self.members is None or 1 <= self.members <= most:
            return []
        return [
            f"'members' must be from 1 to {most}, for each takes a share of {self.validation} of the rows for "
            f"validation, got {self.members}. Leave it out."
        ]

    def _dropout_problems(self, model: object) -> list[str]:
        if self.dropout is not None and not (isinstance(self.dropout, int | float) and 0 <= self.dropout < 1):
            return [f"'dropout' must be a share from 0 to below 1, got {self.dropout!r}. Leave it out."]
        if self.dropout and model != "vae":
            return [
                f"'dropout' is for the model 'vae' alone, got {self.dropout}. Leave it out, or build the model with it."
            ]
        return []

    def _strategy_problems(self, model: object) -> list[str]:
        kind = MODELS.get(model) if isinstance(model, str) else None
        if self.strategy != "ddp" or self.devices == 1 or not hasattr(kind, "remember"):
            return []
        return [f"the model '{model}' needs batches whole, which 'ddp' splits. Take the strategy 'members'."]

    def _margin_problems(self) -> list[str]:
        if self.margin is None or self.margin > 0:
            return []
        return [f"'margin' must be positive, got {self.margin}. The default is {MARGIN:g} standard errors."]

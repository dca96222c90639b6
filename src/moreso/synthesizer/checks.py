"""What keeps a synthesizer from being fitted, in sentences, before anything is trained."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from moreso import training
from moreso.models import MODELS
from moreso.relations import explain_contradiction
from moreso.synthesizer.columns import table_faults
from moreso.tables import check_table


def faults(synthesizer: Any, X: pd.DataFrame | None) -> list[str]:
    """Return the faults of its settings and its knowledge, and of a table where one is given."""
    knowledge = synthesizer.knowledge
    found = _shares(synthesizer.validation, synthesizer.folds, None if X is None else len(X))
    checks: list[Callable[[], None]] = [lambda: training.check_weight(synthesizer.weight, synthesizer.ratio)]
    if X is not None:
        found += table_faults(X)
        if knowledge:
            used = [name for name in knowledge.features if name in X.columns]
            checks.append(lambda: knowledge.check([str(name) for name in X.columns]))
            # What an audit cannot measure, a regularizer cannot push.
            checks.append(lambda: check_table(X, used, missing=True, categories=True))
    for check in checks:
        try:
            check()
        except ValueError as error:
            found += [line for line in str(error).splitlines() if line not in found]
    if knowledge:
        found += [explain_contradiction(circle) for circle in knowledge.contradictions()]
    found += training.machine_faults(synthesizer.device, synthesizer.precision)
    if synthesizer.trust not in ("audit", "all"):
        found.append(f"'trust' must be 'audit' or 'all', got '{synthesizer.trust}'.")
    if isinstance(synthesizer.model, str) and synthesizer.model not in MODELS:
        found.append(f"the model must be one of {', '.join(MODELS)} or a module, got '{synthesizer.model}'.")
    return found + _dropout(synthesizer.dropout, synthesizer.model)


def _dropout(share: float | None, model: Any) -> list[str]:
    if share is not None and not (isinstance(share, int | float) and 0 <= share < 1):
        return [f"'dropout' must be a share from 0 to below 1, got {share!r}. Leave it out."]
    if share and model != "vae":
        return [f"'dropout' is for the model 'vae' alone, got {share}. Leave it out, or build the model with it."]
    return []


def _shares(validation: float, folds: int | None, rows: int | None) -> list[str]:
    if not 0 < validation < 1:
        return [f"'validation' must be a share between 0 and 1, got {validation}. Leave it at 0.25."]
    most = int(1 / validation) if rows is None else training.most_folds(rows, validation)
    if folds is None or 1 <= folds <= most:
        return []
    rule = f"'folds' must be from 1 to {most}, for each takes a share of {validation} of the rows"
    return [f"{rule}, got {folds}. Leave it out."]

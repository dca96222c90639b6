"""Which models can be trained on rows that never show some columns together."""

import inspect
from collections.abc import Sequence

from torch import nn

from moreso.models import MODELS, TakesMissing
from moreso.synthesizer.settings import Model
from moreso.tabular import Pair, count_pairs, name_pairs


def cannot_fuse(model: Model) -> bool:
    """Return whether a model is known not to take missing values, so that it cannot learn of columns kept apart."""
    if isinstance(model, str):
        return model in MODELS and "missing" not in inspect.signature(MODELS[model]).parameters
    return isinstance(model, nn.Module) and not (isinstance(model, TakesMissing) and model.missing)


def fusion_problems(pairs: Sequence[Pair], model: Model) -> list[str]:
    """Return why a model cannot be trained on rows that never show these pairs of columns together."""
    if not pairs:
        return []
    able = ", ".join(f"'{name}'" for name in MODELS if not cannot_fuse(name))
    called = f"the model '{model}'" if isinstance(model, str) else "your own model"
    return [
        f"{count_pairs(len(pairs))} never observed together ({name_pairs(pairs)}), and {called} cannot be trained "
        f"on such rows, since it does not take missing values. Take one of {able}."
    ]

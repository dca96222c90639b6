"""Fitted synthesizers as files, without pickle: settings and columns as JSON, parameters as tensors."""

import os
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from moreso import archive, training
from moreso.models import join, members
from moreso.relations import Knowledge
from moreso.synthesizer.columns import Columns


def save(synthesizer: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted synthesizer, with the plain model that it is compared with."""
    header, tensors = _state(synthesizer)
    if synthesizer.plain_ is not None:
        header["plain"], plain = _state(synthesizer.plain_)
        tensors |= {f"plain.{name}": tensor for name, tensor in plain.items()}
    archive.write(path, header, tensors)


def load(cls: type[Any], path: str | os.PathLike[str], model: Any) -> Any:
    """Read what `save` wrote, as an object of class `cls`.

    Raises:
        ValueError: the file is missing, is not such a file, is of another version or model, or needs `model`.
    """
    header, tensors = archive.read(path)
    model = header.pop("model") or model
    if model is None:
        raise ValueError(f"{path}: holds a model of your own. Pass it again: Synthesizer.load(path, model=...).")
    if "histories" not in header:
        raise ValueError(f"{path}: was written by an older moreso. Fit and save it again.")
    plain = header.pop("plain", None)
    try:
        loaded = _restored(cls, header, {k: v for k, v in tensors.items() if not k.startswith("plain.")}, model)
        if plain is not None:
            own = {k.removeprefix("plain."): v for k, v in tensors.items() if k.startswith("plain.")}
            loaded.plain_ = _restored(cls, plain, own, model)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: does not hold the parameters of this model ({str(error).splitlines()[0]}). It is of another "
            "model or was written by an older moreso. Pass the model that it is of, or fit and save it again."
        ) from error
    return loaded


def _state(synthesizer: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what `_restored` needs: a JSON object and tensors."""
    settings = synthesizer.get_params(deep=False)
    model, knowledge = settings.pop("model"), settings.pop("knowledge")
    header = {
        "model": model if isinstance(model, str) else None,
        "knowledge": str(knowledge) if knowledge else None,
        "settings": settings,
        "seed": synthesizer.seed_,
        "columns": synthesizer.columns_.to_state(),
        "models": len(members(synthesizer.model_)),
        "histories": [asdict(history) for history in synthesizer.histories_],
        "left_out": synthesizer.left_out_,
        "harm": synthesizer.harm_,
        "dropout": synthesizer.dropout_,
    }
    return header, {f"model.{name}": tensor for name, tensor in synthesizer.model_.state_dict().items()}


def _restored(cls: type[Any], header: dict[str, Any], tensors: dict[str, torch.Tensor], model: Any) -> Any:
    knowledge = Knowledge.parse(header["knowledge"]) if header["knowledge"] else None
    loaded = cls(model, knowledge, **header["settings"])
    loaded.seed_ = header["seed"]
    loaded.left_out_ = tuple(header["left_out"])
    loaded.harm_ = header["harm"]
    loaded.dropout_ = header.get("dropout", 0.0)
    loaded.columns_ = Columns.from_state(header["columns"])
    loaded.feature_names_in_ = np.asarray(loaded.columns_.names, dtype=object)
    histories: list[dict[str, Any]] = [
        {k: tuple(v) if isinstance(v, list) else v for k, v in history.items()} for history in header["histories"]
    ]
    loaded.histories_ = tuple(training.History(**history) for history in histories)
    loaded.plain_ = None
    loaded.model_ = join(
        [loaded._build(loaded.columns_.width, dropout=loaded.dropout_) for _ in range(header["models"])]
    )
    loaded.model_.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
    loaded.model_.eval()
    return loaded

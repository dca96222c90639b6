"""Fitted synthesizers as files, without pickle: settings and columns as JSON, parameters as tensors."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from moreso import _archive, training
from moreso.models import join, members
from moreso.relations import Direction, Knowledge, Relation, Statement
from moreso.synthesizer.fitted import Fitted
from moreso.synthesizer.settings import Model, Settings
from moreso.tabular import TableEncoder, Unobserved

MODEL, PLAIN = "model.", "plain."
"""Prefixes of the names of a model's tensors."""

TRIED = 8.0
"""How far from its mean, in standard deviations, each column of a model that is read is decoded on trial."""

Header = dict[str, Any]
"""A JSON object."""

Build = Callable[[int, int, bool, int, float], nn.Module]
"""Builds an untrained model from width, seed, whether values may be missing, number and dropout rate."""


def save(path: str | os.PathLike[str], settings: dict[str, Any], fitted: Fitted) -> None:
    """Write a fit, together with the plain fit for comparison.

    Args:
        path: the file to write.
        settings: the arguments of the synthesizer.
        fitted: the result of its fit.
    """
    model, knowledge, rare = settings["model"], settings["knowledge"], settings["settings"]
    if isinstance(settings["random_state"], np.random.RandomState | np.random.Generator):
        settings = settings | {"random_state": fitted.seed}
    header: Header = {
        "model": model if isinstance(model, str) else None,
        "knowledge": str(Knowledge.of(knowledge)) if knowledge else None,
        "rare": None if rare is None else asdict(rare),
        "settings": {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in settings.items()
            if name not in ("model", "knowledge", "settings")
        },
        "fit": _header(fitted, MODEL),
        "plain": None,
    }
    tensors = _tensors(fitted, MODEL)
    if fitted.plain is not None:
        # If the fit fell back, its model is the plain one, and is written once.
        prefix = MODEL if fitted.plain.model is fitted.model else PLAIN
        header["plain"] = _header(fitted.plain, prefix)
        tensors |= _tensors(fitted.plain, prefix)
    _archive.write(path, header, tensors)


def load(path: str | os.PathLike[str], model: Model | None) -> tuple[dict[str, Any], Callable[[Build], Fitted]]:
    """Return the arguments of the synthesizer, and a function that rebuilds its fit.

    Args:
        path: a file that `save` wrote.
        model: the user's own module or callable, if the file holds one.

    Raises:
        ValueError: the file is missing, is not such a file, belongs to another version or model, or needs `model`.
    """
    header, tensors = _archive.read(path)
    if "fit" not in header:
        raise ValueError(f"{path}: was written by an older moreso. Fit and save it again.")
    with _damaged(path):
        model = header["model"] or model
        knowledge = Knowledge.parse(header["knowledge"]) if header["knowledge"] else None
        rare = None if header["rare"] is None else Settings(**_tuples(header["rare"]))
        settings = {"model": model, "knowledge": knowledge, **header["settings"], "settings": rare}
    if model is None:
        raise ValueError(f"{path}: holds a model of your own. Pass it again: Synthesizer.load(path, model=...).")

    def rebuild(build: Build) -> Fitted:
        try:
            with _damaged(path):
                plain = None if header["plain"] is None else _fitted(header["plain"], tensors, build)
                return _fitted(header["fit"], tensors, build, plain)
        except RuntimeError as error:
            raise ValueError(
                f"{path}: does not hold the parameters of this model ({str(error).splitlines()[0]}). It is of another "
                "model or was written by an older moreso. Pass the model that it is of, or fit and save it again."
            ) from error

    return settings, rebuild


@contextmanager
def _damaged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise a sentence for any error but a RuntimeError, which PyTorch raises if tensors do not suit a model.

    A header may hold anything: its checksum tells damage, not who wrote it.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RecursionError | NotImplementedError):
            raise ValueError(f"{path}: is damaged ({type(error).__name__}). Fit and save it again.") from error
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ValueError(f"{path}: is damaged ({type(error).__name__}: {reason}). Fit and save it again.") from error


def _header(fitted: Fitted, prefix: str) -> Header:
    return {
        "tensors": prefix,
        "columns": fitted.encoder.to_state(),
        "members": len(members(fitted.model)),
        "dropout": fitted.dropout,
        "histories": [asdict(history) for history in fitted.histories],
        "seed": fitted.seed,
        "validation": fitted.validation,
        "left_out": [asdict(statement) for statement in fitted.left_out],
        "harm": fitted.harm,
        "labels": list(fitted.labels),
        "unobserved": [asdict(each) for each in fitted.unobserved],
        "stops": fitted.stops,
    }


def _tensors(fitted: Fitted, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in fitted.model.state_dict().items()}


def _fitted(header: Header, tensors: dict[str, torch.Tensor], build: Build, plain: Fitted | None = None) -> Fitted:
    prefix = header["tensors"]
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    encoder = TableEncoder.from_state(header["columns"])
    labels = tuple(header.get("labels", ()))
    _check(encoder, header["members"], own, labels)
    seed, dropout = header["seed"], header["dropout"]
    missing = encoder.incomplete
    model = join([build(encoder.width, seed, missing, member, dropout) for member in range(header["members"])])
    model.load_state_dict(own)
    model.eval()
    histories = tuple(training.History(**_tuples(history)) for history in header["histories"])
    left_out = tuple(map(_statement, header["left_out"]))
    unobserved = tuple(Unobserved(**each) for each in header.get("unobserved", ()))
    rest = left_out, header["harm"], plain, labels, unobserved, header.get("stops", 0)
    return Fitted(encoder, model, dropout, histories, seed, header["validation"], *rest)


def _check(encoder: TableEncoder, count: int, tensors: dict[str, torch.Tensor], labels: tuple[object, ...]) -> None:
    """Raise if a header claims more than its tensors hold, before a model is built, or columns that give no rows."""
    widest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    if not 1 <= count <= max(1, len(tensors)) or (tensors and encoder.width > widest):
        raise ValueError(f"{count} models of {encoder.width} columns, and the tensors are of fewer")
    # As `sample`, `impute` and `score_samples` will do.
    rows = np.linspace(-TRIED, TRIED, 9)[:, None].repeat(encoder.width, axis=1)
    for missing in (True, False):
        decoded = encoder.decode(rows, np.random.default_rng(0), missing=missing)
        encoder.encode(decoded)
        if labels:
            decoded.set_axis(labels, axis=1)
    encoder.log_slope(rows)


def _statement(values: Header) -> Statement:
    return (Direction if "sign" in values else Relation)(**_tuples(values))


def _tuples(values: Header) -> Header:
    """Return the fields of a dataclass with tuples, which JSON turned into lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

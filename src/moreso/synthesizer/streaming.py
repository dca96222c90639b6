"""Fits of tables in partitions: what is in memory, what is streamed, and which models can be trained so."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from moreso import training
from moreso.models import MODELS, HasMemory
from moreso.synthesizer.settings import Model, Settings
from moreso.tabular import (
    Pair,
    Survey,
    TableEncoder,
    as_table,
    compute,
    count_pairs,
    evenly,
    name_pairs,
    places_in,
    task,
)

IN_MEMORY = 50_000
"""Tables of at most so many rows are fitted in memory."""

STOPS = 10_000
"""The most validation rows of a table in partitions: more would stop a training no better, and take time."""

READ = 4
"""How many partitions are read at once."""


@dataclass(frozen=True)
class Streamed:
    """The rows of a table in partitions that a model is trained on, and those that stop it early.

    Args:
        stream: the training rows.
        stops: the validation rows, which the stream leaves out.
    """

    stream: training.Stream
    stops: Tensor


def count_stops(rows: int, validation: float) -> int:
    """Return the number of validation rows of a table in partitions."""
    return min(STOPS, max(1, round(validation * rows)))


def validation_places(rows: int, count: int) -> np.ndarray:
    """Return the places of the validation rows: evenly spaced ones."""
    return evenly(rows, count, 0.5)


def stream_rows(survey: Survey, encoder: TableEncoder, stops: pd.DataFrame, seed: int) -> Streamed:
    """Return the encoded rows of a table in partitions.

    Args:
        survey: the table.
        encoder: the encoder of its reference sample.
        stops: the validation rows.
        seed: the seed of the order.
    """
    left_out = places_in(survey.counts, validation_places(survey.rows, len(stops)))
    counts = [count - len(own) for count, own in zip(survey.counts, left_out, strict=True)]

    def read(numbers: Sequence[int]) -> Iterator[Tensor]:
        for start in range(0, len(numbers), READ):
            some = numbers[start : start + READ]
            tasks = [task(_encode, survey.parts[number], encoder, left_out[number]) for number in some]
            yield from map(torch.from_numpy, compute(tasks))

    columns = json.dumps(encoder.to_state(), sort_keys=True, default=str)
    stream = training.PartStream(
        counts,
        encoder.width,
        read,
        random_state=seed,
        missing=encoder.incomplete,
        digest=hashlib.sha256(columns.encode()).hexdigest(),
    )
    return Streamed(stream, torch.as_tensor(encoder.encode(stops), dtype=torch.float32))


def _encode(frame: pd.DataFrame, encoder: TableEncoder, left_out: np.ndarray) -> np.ndarray:
    """Return the encoded rows of a partition but for those left out."""
    kept = np.delete(np.arange(len(frame)), left_out)
    return encoder.encode(as_table(frame).iloc[kept]).astype(np.float32)


def stream_problems(survey: Survey, model: Model, settings: Settings, pairs: Sequence[Pair]) -> list[str]:
    """Return why a table cannot be fitted in partitions.

    Args:
        survey: the table.
        model: the model.
        settings: the settings of the fit.
        pairs: the pairs of columns that the reference sample never shows together.
    """
    found = survey.problems()
    if settings.members is not None and settings.members > 1:
        found.append(
            f"a table in partitions trains one model, and 'members' is {settings.members}. Leave it out, or fit a "
            "sample of the rows in memory."
        )
    if apart := survey.unobserved(pairs):
        found.append(
            f"{count_pairs(len(apart))} never observed together ({name_pairs(apart)}). Fit such tables in memory."
        )
    if _remembers(model):
        able = ", ".join(f"'{name}'" for name in MODELS if not _remembers(name))
        called = f"the model '{model}'" if isinstance(model, str) else "your own model"
        found.append(
            f"{called} keeps all training rows, and those of a table in partitions are too many. Take one of {able}, "
            "or fit a sample of the rows in memory."
        )
    return found


def _remembers(model: Model) -> bool:
    """Whether a model is known to keep its training rows; what a callable builds is found out by the training."""
    if isinstance(model, str):
        return model in MODELS and issubclass(MODELS[model], HasMemory)
    return isinstance(model, HasMemory)

"""The loop, for people who have none: any model with a loss and samples, and optionally a penalty on its samples."""

from moreso.training.loop import History, fit, most_folds, split
from moreso.training.machine import machine, machine_faults, seeded
from moreso.training.pushing import AUTO_RATIO, Penalty, check_weight, relative_weight

__all__ = [
    "AUTO_RATIO",
    "History",
    "Penalty",
    "check_weight",
    "fit",
    "machine",
    "machine_faults",
    "most_folds",
    "relative_weight",
    "seeded",
    "split",
]

"""The loop, for people who have none: any model with a loss and samples, and optionally a penalty on its samples."""

from moreso.training.loop import AUTO_RATIO, History, Penalty, check_weight, fit, most_folds, relative_weight, split
from moreso.training.machine import machine, machine_faults, seeded

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

"""Train any model that has a loss and samples, optionally with a penalty on its samples."""

from moreso.training.checkpoint import Resume
from moreso.training.device import machine, machine_problems
from moreso.training.population import History, Member, Schedule, fit, most_folds, split, train
from moreso.training.progress import Bar
from moreso.training.stack import Stack

__all__ = [
    "Bar",
    "History",
    "Member",
    "Resume",
    "Schedule",
    "Stack",
    "fit",
    "machine",
    "machine_problems",
    "most_folds",
    "split",
    "train",
]

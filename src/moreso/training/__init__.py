"""Train any model that has a loss and samples, optionally with a penalty on its samples."""

from moreso.training.checkpoint import Resume
from moreso.training.device import machine, machine_problems
from moreso.training.loop import History, Schedule, fit, most_folds, split

__all__ = ["History", "Resume", "Schedule", "fit", "machine", "machine_problems", "most_folds", "split"]

"""Train any model that has a loss and samples, optionally with a penalty on its samples."""

from moreso.training.checkpoint import Resume
from moreso.training.device import machine, machine_problems, threads_for
from moreso.training.population import History, Member, Schedule, fit, most_folds, split, train
from moreso.training.processes import Processes, files_of, is_first_process
from moreso.training.progress import Bar
from moreso.training.stack import Stack
from moreso.training.stream import PartStream, Stream

__all__ = [
    "Bar",
    "History",
    "Member",
    "PartStream",
    "Processes",
    "Resume",
    "Schedule",
    "Stack",
    "Stream",
    "files_of",
    "fit",
    "is_first_process",
    "machine",
    "machine_problems",
    "most_folds",
    "split",
    "threads_for",
    "train",
]

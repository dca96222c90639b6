"""The device, precision and log of a fit."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

from moreso.training.processes import STRATEGIES

DEVICES: dict[str, Callable[[], bool]] = {"cpu": lambda: True, "cuda": torch.cuda.is_available}

PRECISIONS = "32-true", "bf16-mixed"
"""Losses and samples may use half precision; parameters and the regularizer's sums never do."""

SHARED = 2**25
"""Rows times parameters of a step from which several threads compute it. Below, a second one saves at most 15% of
the time and takes a core of its own, and fits that run side by side keep each other waiting (docs/decisions/0016)."""


def machine_problems(device: str, precision: str, devices: object = 1, strategy: str = "auto") -> list[str]:
    """Return the problems of a choice of devices and precision, one sentence per problem; see `machine`."""
    found = []
    if device not in (*DEVICES, "auto"):
        found.append(f"the device must be one of auto, {', '.join(DEVICES)}, got '{device}'.")
    elif device != "auto" and not DEVICES[device]():
        found.append(
            f"the device '{device}' is not available here. Take 'cpu', or 'auto', which takes a GPU if there is one."
        )
    if precision not in PRECISIONS:
        found.append(f"the precision must be one of {', '.join(PRECISIONS)}, got '{precision}'.")
    if strategy not in STRATEGIES:
        found.append(f"the strategy must be one of {', '.join(STRATEGIES)}, got '{strategy}'.")
    return found + _count_problems(device, devices)


def _count_problems(device: str, devices: object) -> list[str]:
    if not (isinstance(devices, int | float) and 1 <= devices < math.inf and devices % 1 == 0):
        return [f"'devices' must be a whole number of at least 1, got {devices}. The default is 1."]
    if devices == 1 or _started():
        return []
    if hasattr(sys, "ps1"):
        return ["several devices need a script, since each process runs it. Call it from a file, or take one device."]
    there = torch.cuda.device_count() if _on_cuda(device) else math.inf
    return [f"there are {there} GPUs here, got {devices} devices. Ask for fewer."] if devices > there else []


def _on_cuda(device: str) -> bool:
    return device == "cuda" or (device == "auto" and DEVICES["cuda"]())


def _started() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def machine(
    device: str = "cpu",
    precision: str = "32-true",
    devices: int = 1,
    *,
    log: str | os.PathLike[str] | None = None,
    name: str = "fit",
) -> Fabric:
    """Return the `fabric` argument of `fit`.

    Args:
        device: "cpu", "cuda", or "auto", which is "cuda" if available.
        precision: "32-true", or "bf16-mixed" for large models on devices that are fast in half precision.
        devices: the number of processes, each with a GPU of its own or a share of the processors. `Fabric.launch`
            starts them, or joins those that torchrun has started, whose number then counts.
        log: a folder for a CSV file with one line per epoch: log/name/version_0/metrics.csv, then version_1 for the
            next fit.
        name: the name of the fit in the log.

    Raises:
        ValueError: there is no such device or precision; the error lists all problems.
    """
    if problems := machine_problems(device, precision, devices):
        raise ValueError("\n".join(problems))
    settings: dict[str, Any] = {"accelerator": "cuda" if _on_cuda(device) else "cpu", "precision": precision}
    if _started():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        settings["num_nodes"] = int(os.environ["WORLD_SIZE"]) // devices
    if devices * settings.get("num_nodes", 1) > 1:
        settings["strategy"] = "ddp"
    return Fabric(devices=devices, loggers=None if log is None else CSVLogger(os.fspath(log), name), **settings)


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """Compute with one thread for a while if steps are small.

    Args:
        work: rows times parameters of a step, of all models.
    """
    before = torch.get_num_threads()
    if work < SHARED:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

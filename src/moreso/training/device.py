"""The device, precision and log of a fit."""

import os
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

DEVICES: dict[str, Callable[[], bool]] = {"cpu": lambda: True, "cuda": torch.cuda.is_available}

PRECISIONS = "32-true", "bf16-mixed"
"""Losses and samples may use half precision; parameters and the regularizer's sums never do."""


def machine_problems(device: str, precision: str) -> list[str]:
    """Return the problems of a choice of device and precision, one sentence per problem."""
    found = []
    if device not in (*DEVICES, "auto"):
        found.append(f"the device must be one of auto, {', '.join(DEVICES)}, got '{device}'.")
    elif device != "auto" and not DEVICES[device]():
        found.append(
            f"the device '{device}' is not available here. Take 'cpu', or 'auto', which takes a GPU if there is one."
        )
    if precision not in PRECISIONS:
        found.append(f"the precision must be one of {', '.join(PRECISIONS)}, got '{precision}'.")
    return found


def machine(
    device: str = "cpu",
    precision: str = "32-true",
    *,
    log: str | os.PathLike[str] | None = None,
    name: str = "fit",
) -> Fabric:
    """Return the `fabric` argument of `fit`.

    Args:
        device: "cpu", "cuda", or "auto", which is "cuda" if available.
        precision: "32-true", or "bf16-mixed" for large models on devices that are fast in half precision.
        log: a folder for a CSV file with one line per epoch: log/name/version_0/metrics.csv, then version_1 for the
            next fit.
        name: the name of the fit in the log.

    Raises:
        ValueError: there is no such device or precision; the error lists all problems.
    """
    if problems := machine_problems(device, precision):
        raise ValueError("\n".join(problems))
    if device == "auto":
        device = "cuda" if DEVICES["cuda"]() else "cpu"
    settings: dict[str, Any] = {"accelerator": device, "precision": precision}
    return Fabric(devices=1, loggers=None if log is None else CSVLogger(os.fspath(log), name), **settings)

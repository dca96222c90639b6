"""Where a fit runs, how precisely, and where its log goes."""

import os
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

DEVICES: dict[str, Callable[[], bool]] = {
    "cpu": lambda: True,
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
}

PRECISIONS = "32-true", "bf16-mixed"
"""Losses and samples may be computed in half precision; parameters and the regularizer's sums never are."""


def machine_faults(device: str, precision: str) -> list[str]:
    """Return what is wrong with a choice of device and precision, one sentence a fault."""
    found = []
    if device not in (*DEVICES, "auto"):
        found.append(f"the device must be one of auto, {', '.join(DEVICES)}, got '{device}'.")
    elif device != "auto" and not DEVICES[device]():
        found.append(f"the device '{device}' is not available here. Take 'cpu', or 'auto' for the best that there is.")
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
    """Return what `fit` takes as `fabric`.

    Args:
        device: "cpu", "cuda", "mps", or "auto", the best that there is.
        precision: "32-true", or "bf16-mixed" for large models on devices that are fast in half precision.
        log: a folder, for a line of CSV an epoch: log/name/version_0/metrics.csv, version_1 for the next fit.
        name: of the fit, in the log.

    Raises:
        ValueError: there is no such device or precision; all faults at once.
    """
    if faults := machine_faults(device, precision):
        raise ValueError("\n".join(faults))
    settings: dict[str, Any] = {"accelerator": device, "precision": precision}
    return Fabric(devices=1, loggers=None if log is None else CSVLogger(os.fspath(log), name), **settings)

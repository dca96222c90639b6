"""Where a fit runs, how precisely, and where its log goes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

DEVICES: dict[str, Callable[[], bool]] = {"cpu": lambda: True, "cuda": torch.cuda.is_available}

PRECISIONS = "32-true", "bf16-mixed"
"""Losses and samples may be computed in half precision; parameters and the regularizer's sums never are."""


def machine_faults(device: str, precision: str) -> list[str]:
    """Return what is wrong with a choice of device and precision, one sentence a fault."""
    found = []
    if device not in (*DEVICES, "auto"):
        found.append(f"the device must be one of auto, {', '.join(DEVICES)}, got '{device}'.")
    elif device != "auto" and not DEVICES[device]():
        found.append(
            f"the device '{device}' is not available here. Take 'cpu', or 'auto', which takes a GPU where there is one."
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
    """Return what `fit` takes as `fabric`.

    Args:
        device: "cpu", "cuda", or "auto", which is "cuda" where there is one.
        precision: "32-true", or "bf16-mixed" for large models on devices that are fast in half precision.
        log: a folder, for a line of CSV an epoch: log/name/version_0/metrics.csv, version_1 for the next fit.
        name: of the fit, in the log.

    Raises:
        ValueError: there is no such device or precision; all faults at once.
    """
    if faults := machine_faults(device, precision):
        raise ValueError("\n".join(faults))
    if device == "auto":
        device = "cuda" if DEVICES["cuda"]() else "cpu"
    settings: dict[str, Any] = {"accelerator": device, "precision": precision}
    return Fabric(devices=1, loggers=None if log is None else CSVLogger(os.fspath(log), name), **settings)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run with PyTorch's random numbers of a seed; those of before go on afterwards.

    Args:
        seed: of the CPU, and of all CUDA devices where CUDA is in use or `device` is one.
        device: that is about to be used.
    """
    # An unused CUDA stays unused: asking for its state would start it, and torch.manual_seed queues its seed, slowly.
    cuda = torch.cuda.is_initialized() or (device is not None and device.type == "cuda")
    with torch.random.fork_rng(range(torch.cuda.device_count()) if cuda else ()):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        yield

"""Model files: tensors and a JSON header in one safetensors file. No pickle, nothing to execute."""

import json
import os
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moreso.files import atomic_write

FORMAT = "moreso"
VERSION = 1


def write(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: where to.
        header: what JSON can hold.
        tensors: by name.

    Raises:
        OSError: the folder is missing or not writable.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **header})
    with atomic_write(path) as scratch:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, scratch, {FORMAT: text})


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the header and the tensors of a file that `write` wrote.

    Raises:
        ValueError: the file is missing, is not such a file, or is of a newer version.
    """
    try:
        with open(path, "rb"):  # for the reason: safetensors' own error lacks it
            pass
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[FORMAT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, not a dict)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: is not a model that moreso wrote, or is damaged. Fit and save it again.") from error
    if header["version"] > VERSION:
        raise ValueError(f"{path}: has version {header['version']}, and this moreso reads {VERSION}. Update moreso.")
    return header, tensors

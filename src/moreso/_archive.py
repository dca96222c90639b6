"""Model files: tensors and a JSON header in one safetensors file, without pickle or executable content."""

import hashlib
import json
import os
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from moreso._files import atomic_write

FORMAT = "moreso"
VERSION = 2


def write(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a model file, atomically.

    Args:
        path: the file to write.
        header: a JSON object.
        tensors: the tensors by name.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **header})
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as scratch:
        # A single entry, since safetensors writes several in random order, and equal fits must give equal bytes. Python
        # writes, since errors of safetensors are no OSError.
        scratch.write_bytes(save(whole, {FORMAT: f"{_digest(text, whole)} {text}"}))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the header and the tensors of a file that `write` wrote.

    Raises:
        ValueError: the file is missing, is not such a file, is damaged, or has a newer version.
    """
    try:
        with open(path, "rb"):  # for the reason, which safetensors' own error lacks
            pass
        with safe_open(path, framework="pt") as file:
            digest, text = (file.metadata() or {})[FORMAT].split(" ", 1)
            header = json.loads(text)
            version = int(header["version"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, not a dict)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: is not a model that moreso wrote, or is damaged. Fit and save it again.") from error
    if version > VERSION:
        raise ValueError(f"{path}: has version {version}, and this moreso reads {VERSION}. Update moreso.")
    if digest != _digest(text, tensors):
        raise ValueError(f"{path}: is damaged: its contents do not match their checksum. Fit and save it again.")
    return header, tensors


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """Return a checksum of the header and of the names, types, shapes and bytes of the tensors."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()

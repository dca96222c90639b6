"""A folder of samples in Parquet files, which a command that was killed goes on filling."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from moreso._files import atomic_write

ABOUT = "_moreso.json"
"""Says what the files are samples of. Readers of Parquet folders skip names that begin so."""

About = Mapping[str, object]
"""What a folder holds: the same for the same rows."""

CALLED = {"model": "of another model", "version": "of another version of moreso"}
"""What a folder holds if this entry differs."""


def is_folder(path: str) -> bool:
    """Return whether an output is meant as a folder: it ends with a slash, or is one."""
    return path.endswith(("/", os.sep)) or os.path.isdir(path)


def check_folder(path: Path) -> None:
    """Raise unless files can be written into a folder, which need not exist yet.

    Raises:
        ValueError: it is a file, or cannot be written or made.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: is a file. Name a folder, or leave out the slash.")
    place = path if path.exists() else path.parent
    if not place.is_dir():
        raise ValueError(f"{path}: the folder '{place}' does not exist. Make it first.")
    if not os.access(place, os.W_OK):
        raise ValueError(f"{path}: the folder '{place}' is not writable. Choose another.")


def digest(path: Path) -> str:
    """Return a digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_path(folder: Path, number: int) -> Path:
    """Return the file of a part, counted from 0."""
    return folder / f"part-{number:05}.parquet"


def open_folder(folder: Path, about: About) -> int:
    """Return the number of parts that are finished, all from the first one on.

    Args:
        folder: the folder, which is made if it does not exist.
        about: what it is to hold.

    Raises:
        ValueError: it holds other files, or other samples.
    """
    folder.mkdir(exist_ok=True)
    if not any(not each.name.startswith(".") for each in folder.iterdir()):
        with atomic_write(folder / ABOUT) as scratch:
            scratch.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return 0
    if not (folder / ABOUT).exists():
        raise ValueError(f"{folder}: is not empty. Name a new folder, or empty it.")
    found = _read(folder / ABOUT)
    if different := [name for name, value in about.items() if found.get(name) != value]:
        name = different[0]
        held = CALLED.get(name, f"with {name} {found.get(name)}, not {about[name]}")
        raise ValueError(f"{folder}: holds samples {held}. Name a new folder, or empty it.")
    for scratch in folder.glob(".part-*.parquet"):
        # Of a command that was killed while it wrote.
        scratch.unlink(missing_ok=True)
    number = 0
    while part_path(folder, number).exists():
        number += 1
    return number


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

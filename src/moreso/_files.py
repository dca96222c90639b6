"""Atomic writes: a file is either complete or not there at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a scratch path beside `path`, and move it there only if the block succeeds.

    A reader sees the old file or the new one, never a partial file. After an error the old file is unchanged. Of a
    process that was killed, the scratch file may stay: it is hidden, and begins with a dot and the name of `path`.

    Args:
        path: where the finished file goes; its folder must exist.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full. It names `path`.
    """
    path = Path(path)
    try:
        with _scratch(path) as scratch:
            yield scratch
    except OSError as error:
        # Errors of a write name no file, others name the scratch file, and those of pyarrow have words of their own.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, reason, str(path)) from error


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        # Scratch files are private, but users expect the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        scratch.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise unless a file can be written at `path`; checked before long work, so that none is lost.

    Raises:
        ValueError: the folder is missing or not writable, or `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder '{path.parent}' does not exist. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path}: the folder '{path.parent}' is not writable. Choose another.")

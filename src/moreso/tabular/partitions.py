"""Tables larger than memory: Parquet files that Dask reads partition by partition; on demand, as Dask is optional."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.dataframe as dd

from moreso.relations import DataError


def read_partitions(paths: Sequence[str | os.PathLike[str]]) -> Any:
    """Return a Dask DataFrame of Parquet files.

    Args:
        paths: files, folders of files, or patterns such as "plant/*.parquet", in order.

    Raises:
        DataError: a path names no Parquet file, or a file cannot be read.
    """
    files, problems = [], []
    for path in [os.fspath(each) for each in paths]:
        pattern = os.path.join(path, "*.parquet") if os.path.isdir(path) else path
        found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [path] if os.path.exists(path) else []
        if not found:
            problems.append(f"{path}: names no file. Check the path.")
        elif odd := [each for each in found if Path(each).suffix.lower() != ".parquet"]:
            problems.append(f"{odd[0]}: Dask reads Parquet files here, got '{Path(odd[0]).suffix}'. Convert it.")
        files += found
    if problems:
        raise DataError(problems)
    try:
        return dd.read_parquet(files)
    except (ValueError, OSError) as error:
        raise DataError([f"{files[0]}: cannot be read ({str(error).splitlines()[0]}). Check the files."]) from error


@contextmanager
def scheduler(address: str | None) -> Iterator[None]:
    """Compute on a running scheduler while the block runs, or with the threads of this process if there is none.

    Args:
        address: such as "tcp://10.0.0.1:8786".

    Raises:
        ValueError: nothing answers there.
    """
    if address is None:
        yield
        return
    from dask.distributed import Client  # noqa: PLC0415 (only a scheduler needs it)

    try:
        # By default, even a client that nothing answers would get all later computations of the process.
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}. Check the address, or leave it out.") from error
    with client, client.as_current():
        yield

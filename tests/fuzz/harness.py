"""One function for each reader, which fails if some bytes break it; `python -m tests.fuzz` drives them."""

import json
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from moreso import Knowledge, Synthesizer, _archive
from moreso.tabular import read_table
from moreso.tabular.conditions import matches

CORPUS = Path(__file__).parent / "corpus"
FOLDER = tempfile.TemporaryDirectory(prefix="moreso-fuzz-")
SCRATCH = Path(FOLDER.name)

TABLE = pd.DataFrame(
    {
        "flow": [1, 2, 3],
        "heat": [0.5, np.nan, -1.5],
        "open": [True, False, True],
        "region": ["north", "south", None],
        "size": pd.Categorical(["S", "M", None], ["S", "M"], ordered=True),
        "when": pd.to_datetime(["2024-01-31", "NaT", "2025-01-01"]),
    }
)


def told(error: ValueError, start: str = "") -> None:
    """Fail unless an error is a sentence that starts so."""
    if not str(error).strip() or not str(error).startswith(start):
        raise AssertionError(f"{error!r} does not start with '{start}'") from error


def knowledge(data: bytes) -> None:
    """A knowledge file is refused with sentences, or its text is read back as the same statements."""
    path = SCRATCH / "knowledge.txt"
    path.write_bytes(data)
    try:
        found = Knowledge.read(path)
    except ValueError as error:
        told(error)
        return
    assert Knowledge.parse(str(found)) == found


def table(data: bytes) -> None:
    """A CSV file is refused with a sentence that names it, or has distinct columns of one length."""
    path = SCRATCH / "table.csv"
    path.write_bytes(data)
    try:
        found = read_table(path).table
    except ValueError as error:
        told(error, str(path))
        return
    assert found.columns.is_unique and len(found.columns)
    assert found.size <= len(data)


def header(data: bytes) -> None:
    """A model file with this header, and the right checksum, is refused by name, or gives rows."""
    text = data.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(content, dict):
        return
    path = SCRATCH / "some.model"
    _archive.write(path, content, tensors())
    try:
        made = Synthesizer.load(path)
    except ValueError as error:
        told(error, str(path))
        return
    assert len(made.sample(3, random_state=0)) == 3


def condition(data: bytes) -> None:
    """A condition is refused with a sentence, or tells which rows fulfil it."""
    text = data.decode("utf-8", "replace")
    try:
        found = matches(TABLE, text)
    except ValueError as error:
        told(error, "the condition ")
        return
    assert found.shape == (len(TABLE),) and found.dtype == bool


TARGETS: dict[str, Callable[[bytes], None]] = {
    "knowledge": knowledge,
    "table": table,
    "header": header,
    "condition": condition,
}


@cache
def tensors() -> dict[str, torch.Tensor]:
    """Return the tensors of the model whose headers are in the corpus."""
    fitted().save(SCRATCH / "right.model")
    return _archive.read(SCRATCH / "right.model")[1]


def fitted() -> Synthesizer:
    """Return the model whose headers are in the corpus: columns of several kinds, some with missing values."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "flow": random.poisson(5, 24),
            "heat": random.normal(size=24),
            "open": random.random(24) > 0.5,
            "region": random.choice(["north", "south"], 24),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 99, 24), unit="D"),
        }
    )
    rows.loc[::5, "heat"] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Synthesizer("factor", "heat: flow > when", max_epochs=2, trust="all", random_state=0).fit(rows)


def corpus(target: str) -> list[bytes]:
    """Return the stored inputs of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


TOKENS = (
    *(bytes([each]) for each in b"\0\r\n\t,;\"'`>+-@=#{}().:\xff"),
    *(b"null", b"-1", b"0", b"1e999", b"NaN", b"1000000000000", b"[]", b"{}", b'""', b'"x"', b"true", b"[[["),
    *(b"\xef\xbb\xbf", b"\xe2\x80\xae", b"1,5", b"1.5", b"2024-13-99", b" and ", b" not ", b" in "),
)
"""What a mutation puts in."""


VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2,
    0.5,
    1e-320,
    1e308,
    math.inf,
    math.nan,
    10**12,
    10**30,
    "",
    "x",
    [],
    [0],
    {},
    [[]],
)
"""What takes the place of a value in JSON."""


JSON_TARGETS = ("header",)
"""The targets whose inputs are JSON."""


def altered(data: bytes, random: np.random.Generator) -> bytes:
    """Return JSON in which some values are others, or in other places, or not there; other bytes as they are."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(random.integers(1, 4)):
        places = [
            (each, name) for each in walk(content) for name in (each if isinstance(each, dict) else range(len(each)))
        ]
        if not places:
            break
        (inside, name), (other, last) = (places[random.integers(len(places))] for _ in range(2))
        choice = random.integers(4)
        if choice == 0:
            del inside[name]
        elif choice == 1:
            inside[name] = json.loads(json.dumps(other[last]))
        else:
            inside[name] = VALUES[random.integers(len(VALUES))]
    return json.dumps(content).encode()


def walk(content: Any) -> Iterator[Any]:
    """Yield every list and dictionary in a value."""
    if isinstance(content, dict | list):
        yield content
        for each in content.values() if isinstance(content, dict) else content:
            yield from walk(each)


def mutations(target: str, seed: int) -> Iterator[bytes]:
    """Yield inputs of the corpus with a few changes each, without end."""
    random, stored = np.random.default_rng([seed, len(target)]), corpus(target)
    while True:
        data = stored[random.integers(len(stored))]
        if target in JSON_TARGETS and random.random() < 0.5:
            yield altered(data, random)
            continue
        for _ in range(random.integers(1, 4)):
            start = int(random.integers(len(data) + 1))
            end = min(len(data), start + int(random.choice([0, 0, 1, 2, 8, 40])))
            other = stored[random.integers(len(stored))]
            cut = int(random.integers(len(other) + 1))
            put = [TOKENS[random.integers(len(TOKENS))], other[cut : cut + 20], data[start:end] * 2, b""]
            data = data[:start] + put[random.integers(4)] + data[end:]
        yield data


def forbid(event: str, arguments: tuple[object, ...]) -> None:
    """Fail what runs a program or opens a connection, or writes a file elsewhere."""
    if event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect"):
        raise AssertionError(f"{event}{arguments}")
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and isinstance(path, str) and not path.startswith((str(SCRATCH), "/dev/")):
            raise AssertionError(f"{path} was opened to be written")


def watch() -> None:
    """From here on, fail what a reader must not do; a process cannot take it back."""
    sys.addaudithook(forbid)

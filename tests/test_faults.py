"""When things break: killed processes, full disks, read-only folders, damaged files. Results are whole or absent."""

import json
import os
import resource
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from experiments import runs

from moreso import Knowledge, Synthesizer, _archive
from moreso.cli import main
from moreso.training.checkpoint import Checkpoint, Resume, State

OLD = b"what was there before"
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["moreso.evaluation._report", "moreso.evaluation._page", "moreso.cli", __name__])


@dataclass(frozen=True)
class Command:
    """A command, and the file that it writes; without one it prints."""

    typed: str
    writes: str = ""


COMMANDS = {
    "fit": Command("fit data.csv knowledge.txt -o new.model --model factor --max-epochs 120", "new.model"),
    "audit": Command("audit data.csv knowledge.txt --json"),
    "sample": Command("sample old.model -n 2000 -o new.csv", "new.csv"),
    "impute": Command("impute old.model incomplete.csv -o new.parquet", "new.parquet"),
    "report": Command("report old.model data.csv -o new.html", "new.html"),
    "worth": Command("worth data.csv knowledge.txt --model factor --splits 2 --budget 4 --json"),
    "experiment": Command("", "new.jsonl"),
}


def experiment(path: Path, number: int) -> None:
    """One run of an experiment: skipped if it is there."""
    if number not in [line["number"] for line in runs.read(path)]:
        time.sleep(0.01)
        runs.write(path, {"number": number, "text": "x" * 20_000, "value": float(np.sin(number))})


def enter(folder: Path, typed: str, output: Path, limit: int | None) -> None:
    """Run a command in a process of its own; `limit` is the size that a file may have."""
    os.chdir(folder)
    torch.set_num_threads(1)
    for number in (1, 2):
        os.dup2(os.open(output.with_suffix(f".{number}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if typed:
        main(typed.split(), prog_name="moreso")
    else:
        runs.do(experiment, [(Path("new.jsonl"), number) for number in range(20)])


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int | None
    printed: bytes
    told: str
    seconds: float


def run(folder: Path, typed: str, *, after: float | None = None, limit: int | None = None) -> Ended:
    """Run a command in a folder, and kill it after so many seconds."""
    output = folder.with_suffix(".output")
    process = SERVER.Process(target=enter, args=(folder, typed, output, limit))
    start = time.perf_counter()
    process.start()
    process.join(after)
    process.kill()
    process.join()
    texts = [output.with_suffix(f".{number}") for number in (1, 2)]
    printed, told = (text.read_bytes() if text.is_file() else b"" for text in texts)
    return Ended(process.exitcode, printed, told.decode(), time.perf_counter() - start)


def files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def inputs() -> Iterator[Mapping[str, bytes]]:
    """The files from which all commands start."""
    random = np.random.default_rng(0)
    inlet = random.normal(size=30)
    table = pd.DataFrame(
        {"ambient": random.normal(10, 5, 30), "inlet": inlet, "outlet": inlet**2 + 0.1 * random.normal(size=30)}
    )
    knowledge = Knowledge.parse("outlet: inlet > ambient")
    fitted = Synthesizer("factor", knowledge, max_epochs=20, trust="all", random_state=0).fit(table)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted.save(folder / "old.model")
        table.to_csv(folder / "data.csv", index=False)
        table.assign(outlet=table["outlet"].where(table.index % 3 > 0)).to_csv(folder / "incomplete.csv", index=False)
        (folder / "knowledge.txt").write_text(str(knowledge))
        yield files(folder)


def place(folder: Path, contents: Mapping[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_bytes(text)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_any_moment(name: str, kills: int, inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    """The result is whole or absent, what was there stays, and the same command ends with the same bits."""
    command = COMMANDS[name]
    whole = place(tmp_path / "whole", inputs)
    undisturbed = run(whole, command.typed)
    assert undisturbed.code == 0, undisturbed.told
    right = files(whole)
    assert set(right) == {*inputs, *filter(None, [command.writes])}
    if command.writes.endswith(".html"):
        assert right[command.writes].endswith(b"</html>")
    random = np.random.default_rng([kills, len(name)])
    for turn in range(kills // 2):
        # An experiment adds to what is there; all others replace it.
        before = {command.writes: OLD} if command.writes and command.typed and turn % 2 == 0 else {}
        folder = place(tmp_path / str(turn), {**inputs, **before})
        for _ in range(2):
            ended = run(folder, command.typed, after=random.uniform(0, undisturbed.seconds))
            assert ended.code in (0, -9), ended.told
            left = {file: text for file, text in files(folder).items() if not file.startswith(f".{command.writes}.")}
            result = left.pop(command.writes, None)
            if command.typed:
                assert result in (before.get(command.writes), right.get(command.writes))
            else:
                lines = [line["number"] for line in runs.read(folder / command.writes)]
                assert lines == list(range(len(lines)))
            checkpoints = {file for file in left if file.startswith("new.model.checkpoint")}
            assert {file: text for file, text in left.items() if file not in checkpoints} == inputs
        again = run(folder, command.typed)
        assert again.code == 0, again.told
        assert again.printed == undisturbed.printed or name == "experiment"
        end = files(folder)
        assert {file: text for file, text in end.items() if not file.startswith(".")} == right


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", *SMALL, folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


SMALL = "-t", "tmpfs", "-o", "size=64k", "tmpfs"
WRITES = {
    **{name: each for name, each in COMMANDS.items() if each.typed and each.writes},
    "csv": Command("sample {}/old.model -n 2000 -o {}/new.csv", "new.csv"),
    "feather": Command("sample {}/old.model -n 2000 -o {}/new.feather", "new.feather"),
    "json": Command("report {}/old.model {}/data.csv -o {}/new.json", "new.json"),
}


def fill(folder: Path) -> None:
    """Fill a disk."""
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk(name: str, inputs: Mapping[str, bytes], disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = WRITES[name]
    place(disk, {**inputs, command.writes: OLD})
    fill(disk)
    before = files(disk)
    monkeypatch.chdir(disk)
    ended = CliRunner().invoke(main, command.typed.replace("{}/", "").split())
    assert ended.exit_code == 2, ended.output
    told = ended.stderr.splitlines()[-1]
    assert told.startswith(command.writes), ended.stderr  # or its checkpoint
    assert told.endswith(": cannot be written (No space left on device). Check the path and the disk.")
    assert files(disk) == before
    monkeypatch.undo()


def test_an_experiment_on_a_full_disk(disk: Path) -> None:
    path = disk / "new.jsonl"
    runs.write(path, {"number": 0})
    fill(disk)
    with pytest.raises(OSError, match="No space left"):  # half of it fits on the last page
        runs.write(path, {"text": "x" * 5000})
    assert runs.read(path) == [{"number": 0}]
    runs.write(path, {"number": 1})
    assert runs.read(path) == [{"number": 0}, {"number": 1}]


def test_a_line_that_was_cut_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    for before in ([], [{"number": 0}], [{"text": "x" * 200_000}]):
        whole = "".join(f"{json.dumps(line)}\n" for line in before)
        path.write_text(whole + '{"number"' + "1" * 70_000)
        assert runs.read(path) == before
        runs.write(path, {"number": 2})
        assert runs.read(path) == [*before, {"number": 2}]


@pytest.mark.parametrize("name", ["fit", "csv", "report"])
def test_a_read_only_folder(name: str, inputs: Mapping[str, bytes], disk: Path) -> None:
    command = WRITES[name]
    place(disk, {**inputs, command.writes: OLD})
    before = files(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    typed = " ".join(f"{{}}/{word}" if word in before else word for word in command.typed.replace("{}/", "").split())
    ended = CliRunner().invoke(main, typed.replace("{}", str(disk)).split())
    assert ended.exit_code == 2
    assert f"the folder '{disk}' is not writable. Choose another." in ended.stderr
    assert files(disk) == before


@pytest.mark.parametrize("name", ["fit", "sample"])
def test_a_limit_on_the_size_of_files(name: str, inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    """As a full disk, but for everybody."""
    command = COMMANDS[name]
    folder = place(tmp_path / "folder", {**inputs, command.writes: OLD})
    ended = run(folder, command.typed, limit=4096)
    assert ended.code == 2, ended.told
    assert ended.told.splitlines()[-1].startswith(command.writes)
    assert ended.told.splitlines()[-1].endswith(": cannot be written (File too large). Check the path and the disk.")
    assert files(folder) == {**inputs, command.writes: OLD}


def test_output_that_cannot_be_written(inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    folder = place(tmp_path / "folder", inputs)
    (tmp_path / "folder.1").symlink_to("/dev/full")
    ended = run(folder, COMMANDS["audit"].typed)
    assert ended.code == 2
    assert ended.told.splitlines()[1:] == [
        "the output: cannot be written (No space left on device). Check the path and the disk."
    ]


def broken(whole: bytes, every: int, random: np.random.Generator) -> Iterator[bytes]:
    """Yield a file with a wrong byte, and one that ends early, at every so many bytes."""
    for at in range(random.integers(every), len(whole), every):
        yield whole[:at] + bytes([whole[at] ^ random.integers(1, 256)]) + whole[at + 1 :]
        yield whole[:at]


@pytest.mark.parametrize("every", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_files(every: int, inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    """A model and a checkpoint that are not what was written are refused by name."""
    tensors = {"a": torch.arange(12.0).reshape(3, 4)}
    checkpoint = Checkpoint(Resume(tmp_path / "file"), "purpose")
    checkpoint.write(State.of(2), tensors, tensors, None, None)
    assert checkpoint.read() is not None
    cases = (
        (inputs["old.model"], lambda: Synthesizer.load(tmp_path / "file")),
        ((tmp_path / "file").read_bytes(), checkpoint.read),
    )
    random = np.random.default_rng(every)
    for whole, read in cases:
        for damaged in broken(whole, every, random):
            (tmp_path / "file").write_bytes(damaged)
            with pytest.raises(ValueError, match=r"is damaged|Update moreso") as caught:
                read()
            assert str(caught.value).startswith(str(tmp_path / "file"))


def load_within(path: Path, more: int) -> None:
    """Load a model with so many more bytes of memory, and end with 3 if it is refused."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)
    try:
        Synthesizer.load(path)
    except ValueError as error:
        os._exit(5 if "memory" in str(error).lower() else 3 if str(error).startswith(f"{path}: is") else 4)


def claim_rows(path: Path) -> None:
    """Write a file whose first tensor has 10^12 rows."""
    claim = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(claim)) + claim + bytes(64))


def claim(path: Path, **changes: object) -> None:
    """Let the header of a model say something else, with the right checksum."""
    header, tensors = _archive.read(path)
    for name, value in changes.items():
        where = header["fit"]
        *ways, last = name.split("__")
        for way in ways:
            where = where[int(way) if way.isdigit() else way]
        where[last] = value
    _archive.write(path, header, tensors)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux alone")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(claim_rows, id="rows"),
        pytest.param(lambda path: claim(path, members=10**12), id="members"),
        pytest.param(lambda path: claim(path, members=10**12, tensors="none."), id="members without tensors"),
        pytest.param(lambda path: claim(path, columns__columns__0__kind="one-hot"), id="kind"),
        pytest.param(lambda path: claim(path, columns__columns=[{"kind": "column"}] * 100_000), id="columns"),
        pytest.param(lambda path: claim(path, columns__columns__0__storage=[[]]), id="storage"),
    ],
)
def test_a_header_that_claims_too_much(change: Callable, inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    """Nothing is allocated that the file does not hold: 64 MiB are enough to refuse it."""
    path = tmp_path / "old.model"
    path.write_bytes(inputs["old.model"])
    change(path)
    process = SERVER.Process(target=load_within, args=(path, 64 << 20))
    process.start()
    process.join()
    assert process.exitcode == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["of another table"]},
        {"columns__columns__0__scale": [1.0]},
        {"columns__columns__0__storage__form": "levels"},
    ],
)
def test_a_header_that_gives_no_rows(changes: dict[str, object], inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    """What would fail when the model is used is refused when it is read."""
    path = tmp_path / "old.model"
    path.write_bytes(inputs["old.model"])
    assert len(Synthesizer.load(path).sample(2)) == 2
    claim(path, **changes)
    with pytest.raises(ValueError, match="is damaged"):
        Synthesizer.load(path)


def test_an_infinite_version(inputs: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "old.model"
    path.write_bytes(inputs["old.model"])
    header, tensors = _archive.read(path)
    _archive.write(path, header | {"version": float("inf")}, tensors)
    with pytest.raises(ValueError, match="or is damaged"):
        Synthesizer.load(path)

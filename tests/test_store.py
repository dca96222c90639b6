"""Runs of experiments that several processes share through a database: each is done once, whoever dies."""

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from uuid import uuid4

import pandas as pd
import pytest
from click.testing import CliRunner
from experiments import adapters, compare, fusion, gain, games, missing, privacy, runs, sets, store
from experiments.store import LostClaimError, Store
from sqlalchemy import func, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from tests.sharing import KEY, PARTS, join, work

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.sharing"])
Build = Callable[..., Store]


@pytest.fixture(params=["sqlite", "postgresql"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Build]:
    """Make a store; PostgreSQL's, `postgresql+psycopg://...`, is tested if MORESO_POSTGRESQL names a database."""
    url = f"sqlite:///{tmp_path}/runs.db" if request.param == "sqlite" else os.environ.get("MORESO_POSTGRESQL", "")
    if not url:
        pytest.skip("MORESO_POSTGRESQL names no database")
    # One database may serve several tests.
    path = tmp_path / f"{uuid4().hex}.jsonl"
    yield partial(Store, url, path, KEY)
    with store.connected(url).begin() as connection:
        connection.execute(store.LINES.delete().where(store.LINES.c.results == path.name))
        connection.execute(store.CLAIMS.delete().where(store.CLAIMS.c.job.startswith(path.name)))


@pytest.mark.parametrize(("jobs", "kills"), [(24, 8), pytest.param(60, 60, marks=pytest.mark.slow)])
def test_every_run_is_done_once_although_processes_are_killed(jobs: int, kills: int, build: Build) -> None:
    shared = build(beat=0.2, grace=2.0)
    choose = random.Random(0)
    alive: list[ForkServerProcess] = []
    killed: set[int | None] = set()
    deadline = time.monotonic() + 300
    while alive or not killed:
        if len(killed) < kills:
            while len(alive) < 6:
                alive.append(SERVER.Process(target=join, args=(shared, jobs, 0.02)))
                alive[-1].start()
            time.sleep(choose.uniform(0.02, 0.3))
            victim = alive.pop(choose.randrange(len(alive)))
            if victim.is_alive():
                killed.add(victim.pid)
            victim.kill()
            victim.join()
        for process in alive:
            process.join(0.1)
        assert all(process.exitcode in (None, 0) for process in alive)
        alive = [process for process in alive if process.exitcode is None]
        assert time.monotonic() < deadline
    found = [(line["job"], line["part"]) for line in runs.read(shared.path)]
    assert found == [(job, part) for job in range(jobs) for part in range(PARTS)]
    log = [words.split() for words in shared.path.with_suffix(".log").read_text().splitlines()]
    by_run = defaultdict(list)
    for what, which, number in log:
        by_run[which].append((what, int(number)))
    for events in by_run.values():
        # Only a process that was killed leaves a run to another, and none that was told to be written.
        assert all(what == "begun" and process in killed for what, process in events[:-1] if events[-1][1] != process)
        assert [what for what, _ in events].count("written") <= 1


def test_a_job_longer_than_the_grace_stays_its_own(build: Build) -> None:
    shared = build(beat=0.1, grace=1.5)
    both = [SERVER.Process(target=join, args=(shared, 1, 2.0)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        process.kill()
        process.join()
        assert process.exitcode == 0
    log = shared.path.with_suffix(".log").read_text().splitlines()
    assert [words.split()[0] for words in log] == ["begun", "written"] * PARTS


def test_who_was_taken_for_dead_writes_nothing(build: Build) -> None:
    job = ("vae", 3, ["plain", "default"], Path("here"), 0.5)
    silent, other = build(beat=60.0, grace=0.3), build(beat=60.0, grace=0.3)
    with silent.claim(job) as first:
        assert first
        first.write({"job": 0, "part": 0})
        # What is lacking, and where it is written, may differ.
        with other.claim(("vae", 3, ["default"], Path("there"), 0.5)) as second:
            assert second is None
        with other.claim(("vae", 4, ["default"], Path("there"), 0.5)) as second:
            assert second
        time.sleep(0.4)
        with other.claim(job) as second:
            assert second
            with pytest.raises(LostClaimError, match=r"\[\"vae\", 3, 0.5\]: silent for 0.3 seconds"):
                first.write({"job": 1, "part": 0})
            second.write({"job": 1, "part": 0, "by": "the second"})
            second.write({"job": 1, "part": 0, "by": "nobody"})
    with other.claim(job) as third:
        assert third
    assert silent.lines() == [{"job": 0, "part": 0}, {"job": 1, "part": 0, "by": "the second"}]


def test_an_error_ends_it_and_leaves_the_job_to_others(build: Build) -> None:
    shared = build()
    with pytest.raises(TypeError, match="not JSON serializable"):
        runs.do(runs.write, [(shared.path, {"job": 0, "part": object()})], store=shared)
    runs.do(runs.write, [(shared.path, {"job": 0, "part": 0})], store=shared)
    assert runs.read(shared.path) == [{"job": 0, "part": 0}]


def test_several_at_once_and_files_keep_their_own_lines(build: Build, tmp_path: Path) -> None:
    shared = build(beat=0.1)
    own = {"job": 1, "part": 0, "process": "an earlier one"}
    runs.write(shared.path, own)
    asked = [(shared.path, job, [0], 0.0) for job in (10, 2, 1)]
    runs.do(work, asked, 2, shared)
    found = [(line["job"], line["part"]) for line in runs.read(shared.path)]
    assert runs.read(shared.path)[0] == own and found == [(1, 0), (2, 0), (10, 0)]
    command = ["collect", shared.url, "--folder", str(tmp_path / "new")]
    for _ in range(2):
        assert CliRunner().invoke(runs.main, command, catch_exceptions=False).exit_code == 0
    assert runs.read(tmp_path / "new" / shared.path.name) == runs.read(shared.path)[1:]


def test_a_database_that_is_away_for_a_while_costs_no_run(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, begin, left = build(beat=0.01), Engine.begin, list(range(8))
    store.connected(shared.url)

    def sometimes(engine: Engine) -> object:
        if left and (number := left.pop()) % 4:
            kind = OperationalError if number % 2 else ProgrammingError
            raise kind("statement", {}, ConnectionError("the server is away"))
        return begin(engine)

    monkeypatch.setattr(Engine, "begin", sometimes)
    join(shared, 1, 0.0)
    assert not left and len(runs.read(shared.path)) == PARTS
    left.append(1)
    monkeypatch.setattr(store, "PATIENCE", -1.0)
    with pytest.raises(OperationalError, match="the server is away"):
        join(shared, 1, 0.0)


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="is postgresql or sqlite, not duck"):
        store.connected("duck://")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[runs.Line]:
    """Let stand-ins do the runs of all experiments; return the runs that were done."""
    runs_done: list[runs.Line] = []

    def instead(*names: str, **more: object) -> Callable[..., runs.Line]:
        def run(*values: object) -> runs.Line:
            runs_done.append({**dict(zip(names, values, strict=True)), **more})
            return runs_done[-1]

        return run

    class Stand:
        harm_ = ""

        def __init__(self, *_: object, **__: object) -> None:
            runs_done.append({})

        def fit(self, _: object) -> "Stand":
            return self

        def impute(self, table: pd.DataFrame, **_: object) -> pd.DataFrame:
            return table

    monkeypatch.setattr(sets, "there", list)
    monkeypatch.setattr(compare, "installed", lambda package: package != "ctgan")
    for name in ("table", "summary", "costs"):
        monkeypatch.setattr(compare, name, str)
    monkeypatch.setattr(compare, "measure", instead("set", "model", "seed", version=compare.made_by("vae")))
    monkeypatch.setattr(adapters, "run", instead("host", "seed"))
    monkeypatch.setattr(fusion, "run", instead("set", "rows", "seed", "model", "arm"))
    monkeypatch.setattr(gain, "run", instead("set", "model", "seed", "arm", "rows", "folds", edition=gain.EDITION))
    monkeypatch.setattr(games, "run", instead("model", "set", "seed"))
    for module in (missing, privacy):
        monkeypatch.setattr(module, "Synthesizer", Stand)
        monkeypatch.setattr(module, "SETS", ("wine",))
    monkeypatch.setattr(missing, "RIVALS", {})
    monkeypatch.setattr(missing, "quality", lambda *_: {})
    monkeypatch.setattr(missing, "likelihood", lambda *_: float(len(str(Stand()) * 0)))
    quality = SimpleNamespace(nearest={}, membership={})
    monkeypatch.setattr(privacy, "report", lambda *_, **__: SimpleNamespace(quality=quality))
    return runs_done


EXPERIMENTS: dict[str, tuple[ModuleType, str]] = {
    "adapters": (adapters, "--seeds 2"),
    "compare": (compare, ""),
    "fusion": (fusion, "--set wine --set diabetes --seeds 2 --arm nearest --arm random"),
    "gain": (gain, "vae --seeds 1 --stage claim"),
    "games": (games, "gan --seeds 2"),
    "missing": (missing, "factor --seeds 1"),
    "privacy": (privacy, "vae --seeds 1"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_shares_its_runs(
    name: str, called: list[runs.Line], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one machine has run, another has in its file and runs not; what it lacks of a job, it runs."""
    module, typed = EXPERIMENTS[name]
    found, url = [], f"sqlite:///{tmp_path}/runs.db"
    for machine in ("one", "two"):
        path = tmp_path / machine / f"{name}.jsonl"
        monkeypatch.setattr(module, "RESULTS", path)
        path.parent.mkdir()
        if module is compare:
            compare.main(path, names=["wine", "digits"], seeds=[0, 1], store=url)
        else:
            words = [*typed.split(), "--processes", "1", "--store", url]
            assert CliRunner().invoke(module.main, words, catch_exceptions=False).exit_code == 0
        found.append(runs.read(path))
        if machine == "one":
            with store.connected(url).begin() as connection:
                last = connection.execute(select(func.max(store.LINES.c.key))).scalar_one()
                connection.execute(store.LINES.delete().where(store.LINES.c.key == last))
    assert len(called) == len(found[0]) + 1 > 2
    assert sorted(map(str, found[0])) == sorted(map(str, found[1]))
    assert all(set(module.KEY) <= set(line) for line in found[0])
    assert len({tuple(line[each] for each in module.KEY) for line in found[0]}) == len(found[0])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_keys_are_those_of_the_lines_that_were_measured(name: str) -> None:
    module = EXPERIMENTS[name][0]
    lines = [line for line in runs.read(module.RESULTS) if line.get("edition", 1) == gain.EDITION or module is not gain]
    keys = [tuple(line[each] for each in module.KEY) for line in lines]
    assert len(set(keys)) == len(keys) > 0

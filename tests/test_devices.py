"""A training by several processes: what they share, what they become, and how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from moreso import Regularizer, Settings, Synthesizer
from moreso.guidance import Across, Guidance, Push
from moreso.models import VAE, FactorAnalysis
from moreso.training import Member, Resume, Schedule, machine, train

NAMES = list("abc")
TEXT = "c: a > b"
KILLED = 20
"""Steps after which a training is killed."""

SCHEDULE = Schedule(max_epochs=12, batch_size=29, patience=100)
"""Of 30 rows: the last batch of an epoch is a single row, fewer than there are processes."""


class KilledError(Exception):
    """Stands for the end of a process."""


class Mortal(FactorAnalysis):
    """A model that is killed at one of its steps."""

    left = 10**9

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss, a few times."""
        live(self)
        return super().loss(x)


class MortalVAE(VAE):
    """One whose loss has random numbers."""

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss, a few times."""
        live(self)
        return super().loss(x)


def live(model: nn.Module) -> None:
    Mortal.left -= model.training
    if Mortal.left < 0:
        raise KilledError


def rows() -> Tensor:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x[:, 2] += x[:, 0]
    return x


def member(kind: Callable[..., nn.Module], lane: int, *, penalty: bool = False) -> Member:
    with torch.random.fork_rng():
        torch.manual_seed(lane)
        model = kind(3)
    x = rows().roll(lane, 0)
    regularizer = Regularizer("c: b > a", NAMES, data=x) if penalty else None
    return Member(model, x[:30], x[30:], regularizer, lane)


def trained(members: list[Member], **settings: Any) -> dict[str, Any]:
    histories = train(members, schedule=SCHEDULE, random_state=3, **settings)
    vectors = [nn.utils.parameters_to_vector(each.model.parameters()).detach() for each in members]
    return {"parameters": torch.cat(vectors), "histories": histories}


def factors() -> list[Member]:
    return [member(FactorAnalysis, 0)]


def vaes() -> list[Member]:
    return [member(VAE, lane, penalty=True) for lane in range(5)]


def mixed() -> list[Member]:
    return [member(VAE, 0), member(FactorAnalysis, 1), member(VAE, 2), member(FactorAnalysis, 3), member(VAE, 4)]


def mortal(kind: Callable[..., nn.Module] = Mortal) -> list[Member]:
    return [member(kind, lane) for lane in range(4)]


def interrupted(settings: dict[str, Any]) -> list[Any]:
    """Return the histories of a training in which Ctrl-C comes to the first process alone."""

    class Interrupts(FactorAnalysis):
        def loss(self, x: Tensor) -> Tensor:
            if self.training and not dist.get_rank():
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(x)

    return train([member(Interrupts, 0)], schedule=Schedule(max_epochs=10**6), **settings)


def pushed(across: Across = Across.MEAN) -> Tensor:
    """Return the gradient of a push on samples that do not depend on chance: each process draws its part of them."""
    scale = torch.ones(3, requires_grad=True, dtype=torch.float64)
    whole = torch.randn(100, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    penalty = Regularizer(TEXT, NAMES, data=rows().double())
    share = slice(None)
    if across is Across.SUM:
        assert dist.group.WORLD is not None
        penalty, share = penalty.spread(dist.group.WORLD), slice(dist.get_rank(), None, dist.get_world_size())

    def draw(n: int) -> Tensor:
        own = whole[share]
        assert n == len(own)
        return own * scale

    scale.grad = torch.zeros_like(scale)
    Push(draw, penalty, Guidance(weight=1.0, draws=100), across=across).add([scale], step=0)
    return scale.grad


def work(rank: int, processes: int, folder: str, port: int) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    fabric = machine(devices=processes)
    fabric.launch()
    own = Path(folder)
    found: dict[str, Any] = {"pushed": pushed(Across.SUM)}
    for strategy in ("ddp", "members"):
        settings = {"fabric": fabric, "strategy": strategy}
        found[f"{strategy}: factors"] = trained(factors(), **settings)
        found[f"{strategy}: vaes"] = trained(vaes(), **settings)
        found[f"{strategy}: mixed"] = trained(mixed(), **settings)
        Mortal.left = 10**9
        found[f"{strategy}: whole"] = trained(mortal(MortalVAE), **settings)
        # A training of which all processes are killed, and which goes on.
        for steps in (KILLED, 10**9):
            Mortal.left = steps
            file = Resume(own / f"{strategy}.checkpoint", every=1)
            try:
                found[f"{strategy}: mortal"] = trained(mortal(MortalVAE), **settings, resume=file)
            except KilledError:
                found[f"{strategy}: killed"] = sorted(each.name for each in own.glob(f"{strategy}.*"))
                fabric.barrier()
        # One that is left for others to go on with.
        Mortal.left = KILLED
        with suppress(KilledError):
            trained(mortal(), **settings, resume=Resume(own / f"left-{strategy}", every=1))
        fabric.barrier()
    # One that a single process has begun.
    Mortal.left = 10**9
    begun = own / f"begun-{processes}"
    found["begun"] = trained(mortal(), fabric=fabric, strategy="ddp", resume=Resume(begun, every=1))
    found["interrupted"] = interrupted({"fabric": fabric, "strategy": "ddp"})
    torch.save(found, own / f"{rank}.pt")
    fabric.barrier()


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def several(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Return the folder of several processes, and what each found."""
    folder, processes = tmp_path_factory.mktemp("processes"), request.param
    Mortal.left = KILLED
    with pytest.raises(KilledError):
        trained(mortal(), resume=Resume(folder / f"begun-{processes}", every=1))
    Mortal.left = 10**9
    spawn(work, (processes, str(folder), 29_500 + os.getpid() % 1000 + processes), nprocs=processes)
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(processes)]


def differ(one: dict[str, Any], other: dict[str, Any]) -> float:
    return float((one["parameters"] - other["parameters"]).abs().max())


def test_all_processes_return_the_same_models_and_histories(several: tuple[Path, list[Any]]) -> None:
    first, *others = several[1]
    for other in others:
        for name in ("factors", "vaes", "mixed", "mortal"):
            for strategy in ("ddp", "members"):
                one, two = (each[f"{strategy}: {name}"] for each in (first, other))
                assert torch.equal(one["parameters"], two["parameters"]), (strategy, name)
                assert one["histories"] == two["histories"], (strategy, name)


def test_processes_that_share_rows_train_as_one(several: tuple[Path, list[Any]]) -> None:
    found, alone = several[1][0]["ddp: factors"], trained(factors())
    assert differ(found, trained([member(FactorAnalysis, 1)])) > 0.01
    assert differ(found, alone) < 1e-4
    assert found["histories"][0].validation_loss == pytest.approx(alone["histories"][0].validation_loss, abs=1e-4)


def test_processes_that_share_models_train_each_as_one_would(several: tuple[Path, list[Any]]) -> None:
    for name, make in (("factors", factors), ("vaes", vaes), ("mixed", mixed)):
        assert differ(several[1][0][f"members: {name}"], trained(make())) < 1e-4, name


def test_penalties_reach_processes_that_share_rows(several: tuple[Path, list[Any]]) -> None:
    """The draws depend on the number of processes, but what is pushed does not, beyond that."""
    torch.testing.assert_close(several[1][0]["pushed"], pushed(), rtol=1e-6, atol=1e-6)
    assert pushed().abs().max() > 0.01
    for history in several[1][0]["ddp: vaes"]["histories"]:
        assert len(history.penalty) == len(history.validation_loss)
        assert np.isfinite(history.penalty).all()


def test_killed_trainings_go_on_to_the_same_bits(several: tuple[Path, list[Any]]) -> None:
    folder, (first, *_) = several
    for strategy in ("ddp", "members"):
        assert first[f"{strategy}: killed"], strategy
        assert not list(folder.glob(f"{strategy}.checkpoint*")), strategy
        assert differ(first[f"{strategy}: mortal"], first[f"{strategy}: whole"]) == 0, strategy
    assert differ(first["members: mortal"], trained(mortal(MortalVAE))) < 1e-4


def test_other_numbers_of_processes_go_on(several: tuple[Path, list[Any]]) -> None:
    folder, (first, *_) = several
    whole = trained(mortal())
    found = [first["begun"]]
    for strategy, files in (("ddp", 1), ("members", len(several[1]))):
        assert len(list(folder.glob(f"left-{strategy}*"))) == files
        found.append(trained(mortal(), resume=Resume(folder / f"left-{strategy}", every=1)))
        assert not list(folder.glob(f"left-{strategy}*"))
    for each in found:
        assert differ(each, whole) < 1e-4
        assert len(each["histories"][0].validation_loss) == len(whole["histories"][0].validation_loss)


def test_one_interrupt_ends_all(several: tuple[Path, list[Any]]) -> None:
    for found in several[1]:
        (history,) = found["interrupted"]
        assert history.interrupted
        assert history.epochs < 100


def command(folder: Path, *arguments: str, launcher: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a fit of the command line."""
    clean = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, *launcher, "-m", "moreso", "fit", "plant.csv", "knowledge.txt", *arguments],
        cwd=folder,
        env=clean | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table, statements and the model of one process."""
    folder = tmp_path_factory.mktemp("plant")
    pd.DataFrame(rows().numpy(), columns=NAMES).to_csv(folder / "plant.csv", index=False)
    (folder / "knowledge.txt").write_text(TEXT)
    found = command(folder, "-o", "one.model", "--max-epochs", "20")
    assert found.returncode == 0, found.stderr
    return folder


def drawn(folder: Path, name: str) -> np.ndarray:
    return Synthesizer.load(folder / name).sample(20).to_numpy()


def test_the_command_starts_processes_and_speaks_once(plant: Path) -> None:
    found = command(plant, "-o", "two.model", "--max-epochs", "20", "--devices", "2")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("wrote two.model") == 1
    assert found.stderr.count("read 40 rows") == 1
    assert found.stderr.count("\n") == 1, found.stderr
    np.testing.assert_allclose(drawn(plant, "two.model"), drawn(plant, "one.model"), atol=1e-3)
    assert not list(plant.glob("*.checkpoint*"))


def test_torchrun_starts_the_command(plant: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["-o", "three.model", "--max-epochs", "20", "--strategy", "ddp"]
    found = command(plant, *options, launcher=launcher)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("wrote three.model") == 1
    assert np.isfinite(drawn(plant, "three.model")).all()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "members"])
def test_a_killed_process_ends_the_command_which_goes_on_when_repeated(plant: Path, strategy: str) -> None:
    options = ["--max-epochs", "400", "--devices", "2", "--strategy", strategy]
    whole = command(plant, "-o", f"{strategy}-whole.model", *options)
    assert whole.returncode == 0, whole.stderr
    name = f"{strategy}-killed.model"
    arguments = [sys.executable, "-m", "moreso", "fit", "plant.csv", "knowledge.txt", "-o", name, *options]
    started = subprocess.Popen(
        arguments, cwd=plant, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 120
    while not list(plant.glob(f"{name}.checkpoint*")) and time.monotonic() < end:
        time.sleep(0.05)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert started.wait(120) != 0
    assert not (plant / name).exists()
    found = command(plant, "-o", name, *options)
    assert found.returncode == 0, found.stderr
    assert np.array_equal(drawn(plant, name), drawn(plant, f"{strategy}-whole.model"))


def test_models_that_keep_rows_need_batches_whole() -> None:
    synthesizer = Synthesizer("gplvm", settings=Settings(devices=2, strategy="ddp"))
    assert "members" in synthesizer.problems().settings[0]


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (Settings(devices=0), "'devices' must be a whole number"),
        (Settings(devices=1.5), "'devices' must be a whole number"),  # type: ignore[arg-type]
        (Settings(strategy="both"), "auto, ddp, members"),
    ],
)
def test_devices_that_cannot_be(settings: Settings, part: str) -> None:
    (problem,) = Synthesizer("factor", settings=settings).problems().settings
    assert part in problem


def test_a_seed_that_was_drawn_is_that_of_all_processes(tmp_path: Path) -> None:
    script = """
import sys, pandas as pd
from moreso import Settings, Synthesizer
table = pd.read_csv("plant.csv")
settings = Settings(devices=2, strategy="ddp", members=1)
fitted = Synthesizer("factor", max_epochs=5, settings=settings).fit(table)
print(f"{fitted.seed_}\\n", end="", flush=True)
"""
    (tmp_path / "fit.py").write_text(script)
    pd.DataFrame(rows().numpy(), columns=NAMES).to_csv(tmp_path / "plant.csv", index=False)
    clean = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    found = subprocess.run(
        [sys.executable, "fit.py"], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.split()) == 2, (found.stdout, found.stderr)
    assert len(set(found.stdout.split())) == 1

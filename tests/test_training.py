"""Laws of the loop."""

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from moreso import Knowledge, Regularizer
from moreso.guidance import AUTO_RATIO, Guidance, Term, relative_weight, seeded
from moreso.models import FactorAnalysis
from moreso.training import Resume, Schedule, fit, machine, population, split
from moreso.training.device import DEVICES


class Noisy(FactorAnalysis):
    """A factor model whose noise is trained on alone."""

    def noise_parameters(self) -> list[nn.Parameter]:
        return [self.log_scale]


def model(build: type[FactorAnalysis] = FactorAnalysis) -> FactorAnalysis:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(3)


def rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    states = []
    for seed in (1, 1, 2):
        trained = model()
        fit(trained, rows(), random_state=seed, schedule=Schedule(interval=1, max_epochs=5))
        states.append(trained.loadings.detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_best_epoch_is_kept_and_patience_ends_the_fit() -> None:
    trained = model()
    history = fit(trained, rows(), schedule=Schedule(interval=1, max_epochs=2000, patience=15))
    assert history.epochs == history.best_epoch + 16 < 2000
    assert history.validation_loss[history.best_epoch] == min(history.validation_loss)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert trained.loss(rows()[order[-10:]]).item() == pytest.approx(min(history.validation_loss), rel=1e-5)


@pytest.mark.parametrize("stated", [None, "a: b > c"])
def test_the_noise_is_trained_on_alone_from_the_best_epoch(stated: str | None) -> None:
    """Beside the same fit of the same model that does not tell its noise."""
    table, found, histories = 0.3 * rows(12), [], []
    for build in (FactorAnalysis, Noisy):
        penalty = Regularizer(Knowledge.parse(stated), ["a", "b", "c"], data=table) if stated else None
        trained = model(build)
        histories.append(
            fit(trained, table, penalty=penalty, schedule=Schedule(interval=1, patience=30, learning_rate=0.02))
        )
        found.append({name: value.detach().clone() for name, value in trained.named_parameters()})
        assert all(parameter.requires_grad for parameter in trained.parameters())
    whole, more = histories
    assert more.validation_loss[: whole.epochs] == whole.validation_loss
    # The noise alone waits for half of the epochs.
    assert more.epochs - 16 == more.best_epoch >= whole.epochs
    assert min(more.validation_loss) < min(whole.validation_loss) - (0 if stated else 0.05)
    assert len(more.penalty) == (more.epochs if stated else 0)
    assert {name for name in found[0] if not torch.equal(found[0][name], found[1][name])} == {"log_scale"}


def test_the_noise_is_not_trained_on_after_the_last_epoch_or_an_interrupt() -> None:
    def penalty(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        if len(calls) == 8:
            raise KeyboardInterrupt
        return x.square().mean()

    calls: list[int] = []
    for settings in ({"schedule": Schedule(interval=1, max_epochs=7)}, {"penalty": penalty}):
        history = fit(model(Noisy), rows(), **settings)
        assert history.epochs == 7


def test_noise_that_was_frozen_stays_as_it_is() -> None:
    trained = model(Noisy)
    trained.log_scale.requires_grad_(False)
    history = fit(trained, rows(), schedule=Schedule(interval=1, patience=5, learning_rate=0.05))
    assert history.epochs == history.best_epoch + 6
    assert (trained.log_scale == -0.5).all()


def test_patience_is_shorter_where_an_epoch_is_many_steps() -> None:
    class Still(torch.nn.Linear):
        def loss(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * self.weight.sum() + 1

        def sample(self, n: int) -> torch.Tensor:
            return torch.zeros(n, 3)

    with torch.random.fork_rng():
        still = Still(1, 1)
    for n, batch_size, patience in ((40, 10, 200), (40, 1, 67), (400, 1, 10)):
        history = fit(still, rows(n), schedule=Schedule(interval=1, batch_size=batch_size, max_epochs=300))
        assert history.best_epoch == 0
        assert history.epochs == patience + 1


@pytest.mark.parametrize("fold", [0, 1, 3])
def test_validation_rows_are_not_trained_on(fold: int) -> None:
    seen: list[torch.Tensor] = []

    class Spy(FactorAnalysis):
        def loss(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                seen.append(x[:, 0])
            return super().loss(x)

    numbered = torch.arange(40.0)[:, None].repeat(1, 3) / 40
    with torch.random.fork_rng():
        fit(Spy(3), numbered, fold=fold, schedule=Schedule(interval=1, max_epochs=3, validation=0.25, batch_size=8))
    trained, stops = ({round(row / 40, 4) for row in part.tolist()} for part in split(40, 0.25, 0, fold))
    assert {round(value, 4) for value in torch.cat(seen).tolist()} == trained
    assert len(trained) == 30 and len(stops) == 10 and not trained & stops
    assert len(torch.cat(seen)) == 3 * 30


def test_a_penalty_moves_the_model_towards_what_was_stated() -> None:
    regularizer = Regularizer(Knowledge.parse("a: b > c"), ["a", "b", "c"], data=rows())
    gaps = []
    for weight in (0, "auto", 3.0):
        trained = model()
        history = fit(
            trained,
            rows(),
            penalty=regularizer,
            guidance=Guidance(weight=weight),
            schedule=Schedule(interval=1, max_epochs=60),
        )
        assert len(history.penalty) == (history.epochs if weight else 0)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            gaps.append(regularizer.gaps(trained.sample(1000)).gap.item())
    assert gaps[0] < gaps[1]
    assert gaps[0] < gaps[2]


def test_auto_weight_makes_the_penalty_gradient_a_fixed_share() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([3.0, 0.0, 4.0])
    gradient = torch.tensor([0.0, 1e-3, 0.0])
    weight = relative_weight([(parameter, gradient)])
    assert (weight * gradient).norm().item() == pytest.approx(AUTO_RATIO * 5)
    assert relative_weight([(parameter, 0 * gradient)]) == 0


def test_a_weight_multiplies_the_penalty() -> None:
    """One step of plain descent equals descent on loss + weight * penalty."""
    losses = []
    for weight in (2.0, 6.0):
        trained = model()
        fit(
            trained,
            rows(),
            penalty=lambda x: x.mean() * 0 + x.square().mean(),
            guidance=Guidance(weight=weight),
            schedule=Schedule(interval=1, max_epochs=1),
        )
        losses.append(trained.log_scale.detach())
    assert not torch.equal(losses[0], losses[1])


def test_a_penalty_is_asked_at_every_kth_step() -> None:
    for every, expected in ((1, 12), (5, 3)):
        seen: list[int] = []

        def penalty(x: torch.Tensor, seen: list[int] = seen) -> torch.Tensor:
            seen.append(len(x))
            return x.square().mean()

        fit(
            model(),
            rows(),
            penalty=penalty,
            guidance=Guidance(every=every, draws=7),
            schedule=Schedule(interval=1, max_epochs=12),
        )
        assert seen == [7] * expected


LONG = Schedule(interval=1, learning_rate=5e-3, patience=12, batch_size=10, validation=0.25)
KNOWLEDGE = Knowledge.parse("a: b > c\nb: c > a")


class Killing(Regularizer):
    """A regularizer that kills its process, as the operating system does, when it is called for the nth time."""

    calls = 0
    deadly = 0

    def measure(self, x: object, standard_error: torch.Tensor | None = None) -> Term:
        self.calls += 1
        if self.calls == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(x, standard_error)


def killed(path: str, deadly: int) -> None:
    """Fit until death; called in a process of its own."""
    penalty = Killing(KNOWLEDGE, ["a", "b", "c"], data=rows())
    penalty.deadly = deadly
    fit(model(Noisy), rows(), penalty=penalty, schedule=LONG, resume=Resume(path, every=20))


@pytest.mark.parametrize("deadly", [70, 115])
def test_a_killed_fit_goes_on_to_the_same_bits(deadly: int, tmp_path: Path) -> None:
    path = tmp_path / "model.checkpoint"
    code = f"from tests.test_training import killed; killed({str(path)!r}, {deadly})"
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert path.exists()
    found = []
    for resume in (Resume(path, every=20), None):
        trained = model(Noisy)
        penalty = Killing(KNOWLEDGE, ["a", "b", "c"], data=rows())
        history = fit(trained, rows(), penalty=penalty, schedule=LONG, resume=resume)
        found.append((history, penalty.calls, trained.state_dict()))
    (resumed, calls, state), (whole, all_calls, expected) = found
    assert deadly - 24 <= all_calls - calls < deadly, "it went on from the last checkpoint, not from the start"
    assert resumed == whole
    alone = 3 * (whole.best_epoch + 2 * LONG.patience // 3 + 1)
    assert (deadly > alone) == (deadly == 115), "one is killed while the noise is trained on alone"
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert not path.exists()


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.checkpoint"
    code = f"from tests.test_training import killed; killed({str(path)!r}, 70)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, check=False)
    before = path.read_bytes()
    penalty, other, looser = (
        Regularizer(knowledge, ["a", "b", "c"], data=rows(), margin=margin)
        for knowledge, margin in ((KNOWLEDGE, 4.0), (Knowledge.parse("a: c > b\nb: a > c"), 4.0), (KNOWLEDGE, 3.0))
    )
    for settings in (
        {"rows": rows() + 1},
        {"guidance": Guidance(draws=100)},
        {"penalty": other},
        {"penalty": looser},
        {"penalty": None},
    ):
        arguments = {"rows": rows(), "penalty": penalty, "schedule": LONG, **settings}
        with pytest.raises(ValueError, match=r"belongs to a fit of other rows or with other settings\. Delete it"):
            fit(model(Noisy), resume=Resume(path, every=20), **arguments)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_an_interrupted_fit_leaves_the_best_model() -> None:
    def penalty(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return x.square().mean()

    calls: list[int] = []
    trained, whole = model(), model()
    history = fit(trained, rows(), penalty=penalty, schedule=Schedule(interval=1, max_epochs=60))
    assert history.interrupted
    assert history.epochs == 19
    calls = [0] * 100
    expected = fit(whole, rows(), penalty=penalty, schedule=Schedule(interval=1, max_epochs=19))
    assert not expected.interrupted
    assert history.validation_loss == expected.validation_loss
    assert torch.equal(trained.loadings, whole.loadings)


def test_loggers_get_a_line_an_epoch(tmp_path: Path) -> None:
    penalty = Regularizer(KNOWLEDGE, ["a", "b", "c"], data=rows())
    history = fit(
        model(),
        rows(),
        penalty=penalty,
        fabric=machine(log=tmp_path, name="here"),
        schedule=Schedule(interval=1, max_epochs=12),
    )
    lines = pd.read_csv(tmp_path / "here" / "version_0" / "metrics.csv")
    assert lines.step.tolist() == list(range(1, 13))
    assert lines.validation_loss.tolist() == pytest.approx(list(history.validation_loss))
    assert lines.penalty.tolist() == pytest.approx(list(history.penalty))
    assert set(lines.held) <= {0.0, 0.5, 1.0}


def test_half_precision_reaches_losses_and_samples_and_no_parameter() -> None:
    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 3)

        def loss(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            seen.append(("loss", y.dtype))
            return (y - x).square().mean()

        def sample(self, n: int) -> torch.Tensor:
            y = self.layer(torch.randn(n, 3))
            seen.append(("sample", y.dtype))
            return y

    seen: list[tuple[str, torch.dtype]] = []
    with torch.random.fork_rng():
        trained = Linear()
    penalty = Regularizer(KNOWLEDGE, ["a", "b", "c"], data=rows())
    fit(
        trained,
        rows(),
        penalty=penalty,
        fabric=machine(precision="bf16-mixed"),
        schedule=Schedule(interval=1, max_epochs=3),
    )
    assert set(seen) == {("loss", torch.bfloat16), ("sample", torch.bfloat16)}
    assert {value.dtype for value in trained.state_dict().values()} == {torch.float32}


def test_what_is_wrong_with_a_machine_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "cuda", lambda: False)
    with pytest.raises(ValueError, match=r"(?s)'cuda' is not available here.*32-true, bf16-mixed, got '8'"):
        machine("cuda", "8")
    with pytest.raises(ValueError, match="the device must be one of auto, cpu, cuda, got 'gpu'"):
        machine("gpu")


def test_a_gpu_is_seeded_before_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit is what starts CUDA, and its first random numbers there must be those of the seed."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with seeded(3):
        pass
    assert not seeds
    with seeded(4, torch.device("cuda")):
        pass
    assert seeds == [4]
    devices: list[torch.device | None] = []

    def spy(seed: int, device: torch.device | None = None) -> AbstractContextManager[None]:
        devices.append(device)
        return seeded(seed)

    monkeypatch.setattr(population, "seeded", spy)
    fabric = machine()
    fit(model(), rows(), fabric=fabric, schedule=Schedule(interval=1, max_epochs=1))
    assert devices[0] == fabric.device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_fit_on_a_gpu_is_the_same_in_another_process() -> None:
    code = (
        "import torch; from moreso.models import VAE; from moreso.training import Schedule, fit, machine;"
        "torch.manual_seed(0); x = torch.randn(40, 3); schedule = Schedule(interval=1, max_epochs=5);"
        "print(fit(VAE(3), x, fabric=machine('cuda'), schedule=schedule).validation_loss)"
    )
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(found) == 1

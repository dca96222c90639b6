"""Laws of many models trained as one."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn

import moreso
from moreso import Knowledge, Regularizer, Settings, Synthesizer
from moreso.dependence.exact import NEGLIGIBLE, Exact
from moreso.dependence.moments import Pairs
from moreso.guidance import Guidance, Penalty, Push, Term, stack
from moreso.models import MODELS, VAE, FactorAnalysis
from moreso.training import Bar, History, Member, Resume, Schedule, progress, train
from moreso.training.stack import Stack

NAMES = ["a", "b", "c"]
TEXTS = ("a: b > c", "b: c > a\na: b > c", "c: a > b @ 0.5")
SHORT = Schedule(max_epochs=25, interval=1)


@pytest.fixture(autouse=True)
def _forked() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def rows(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def penalty(text: str, seed: int = 0) -> Regularizer:
    return Regularizer(Knowledge.parse(text), NAMES, data=(1 + seed) * rows(40, seed))


def population(
    name: str = "factor", texts: Sequence[str | None] = TEXTS, kind: type[Regularizer] = Regularizer
) -> list[Member]:
    members = []
    for seed, text in enumerate(texts):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = MODELS[name](3)
        own = None if text is None else kind(Knowledge.parse(text), NAMES, data=(1 + seed) * rows(40, seed))
        members.append(Member(model, rows(30, seed), rows(10, 10 + seed), own))
    return members


def parameters(member: Member) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in member.model.parameters()])


@pytest.mark.parametrize("texts", [TEXTS, (None, None, None)])
@pytest.mark.parametrize("name", ["factor", "vae", "flow"])
def test_a_member_becomes_what_it_becomes_alone(name: str, texts: Sequence[str | None]) -> None:
    """But for rounding, which differs between a product of many matrices and many products."""
    together, apart = population(name, texts), population(name, texts)
    histories = train(together, schedule=SHORT)
    for member, own, history in zip(together, apart, histories, strict=True):
        (expected,) = train([own], schedule=SHORT)
        np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=0.01, atol=0.01)
        assert len(history.penalty) == len(expected.penalty)
        assert history.penalty[:1] == pytest.approx(expected.penalty[:1], rel=1e-4)
        assert (parameters(member) - parameters(own)).abs().mean() < 0.01


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    found = []
    for seed in (1, 1, 2):
        members = population("vae")
        train(members, schedule=SHORT, random_state=seed)
        found.append(torch.cat([parameters(member) for member in members]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", ["factor", "vae"])
def test_weight_0_is_bit_identical_to_no_penalty(name: str) -> None:
    with_penalty, without = population(name), population(name, (None, None, None))
    histories = train(with_penalty, guidance=Guidance(weight=0), schedule=SHORT)
    assert histories == train(without, schedule=SHORT)
    for one, other in zip(with_penalty, without, strict=True):
        assert torch.equal(parameters(one), parameters(other))


def test_each_member_stops_by_itself_and_keeps_its_own_best() -> None:
    schedule = Schedule(patience=15, interval=1, learning_rate=0.05)
    members = population()
    histories = train(members, schedule=schedule)
    assert len({history.epochs for history in histories}) == 3
    for member, history in zip(members, histories, strict=True):
        assert history.epochs == history.best_epoch + 16 == len(history.validation_loss)
        with torch.no_grad():
            loss = member.model.loss(member.stops).item()  # type: ignore[operator]
        assert loss == pytest.approx(min(history.validation_loss), rel=1e-4)


class Refused(FactorAnalysis):
    """A model that cannot be stacked, since it asks for a number."""

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return super().loss(x) * (1 if x.sum().item() < 1e9 else 2)


def test_models_that_cannot_be_stacked_are_trained_one_after_the_other_and_told() -> None:
    stacked, refused = population(), []
    for member in population():
        model = Refused(3)
        model.load_state_dict(member.model.state_dict())
        refused.append(Member(model, member.rows, member.stops, member.penalty))
    with pytest.warns(UserWarning, match=r"the 3 models of class 'Refused' are trained one after the other, since .*"):
        found = train(refused, schedule=SHORT)
    for history, expected in zip(found, train(stacked, schedule=SHORT), strict=True):
        np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(refused[:1], schedule=SHORT)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return (self.second(self.first(x)) - x).square().mean()

    def sample(self, n: int) -> torch.Tensor:
        sample: torch.Tensor = self.second(self.first(torch.randn(n, 3)))
        return sample


def test_tensors_that_layers_share_stay_shared() -> None:
    models = [Tied() for _ in range(2)]
    x = torch.stack([rows(20, 0), rows(20, 1)])
    stack = Stack(models)
    stack.move(stack.names)
    with torch.no_grad():
        expected = torch.stack([model.loss(own) for model, own in zip(models, x, strict=True)])
    torch.testing.assert_close(stack.loss(x).detach(), expected)
    train([Member(model, own[:15], own[15:]) for model, own in zip(models, x, strict=True)], schedule=SHORT)
    for model, before, own in zip(models, expected, x, strict=True):
        assert torch.equal(model.first.weight, model.second.weight) and model.loss(own) < before


def test_models_of_other_settings_are_no_stack() -> None:
    """What a forward pass reads from a module, such as a bound of the noise, may not be that of another member."""
    members = [Member(VAE(3, min_scale=scale), rows(30, 0), rows(10, 1)) for scale in (0.05, 0.5)]
    for member in members:
        member.model.load_state_dict(members[0].model.state_dict())
    wide = Member(VAE(3, min_scale=0.5), rows(30, 0), rows(10, 1))
    wide.model.load_state_dict(members[0].model.state_dict())
    first, second = train(members, schedule=SHORT)
    assert (second,) == tuple(train([wide], schedule=SHORT))
    assert first != second


def test_a_tensor_that_is_no_buffer_keeps_models_apart() -> None:
    """Stacked, all members would compute with that of the first."""

    class Shifted(FactorAnalysis):
        def __init__(self, shift: float) -> None:
            super().__init__(3)
            self.shift = torch.tensor([shift])

        def loss(self, x: torch.Tensor) -> torch.Tensor:
            return super().loss(x + self.shift)

    def members() -> list[Member]:
        made = [Member(Shifted(shift), rows(30, 0), rows(10, 1)) for shift in (0.0, 3.0)]
        made[1].model.load_state_dict(made[0].model.state_dict())
        return made

    first, second = train(members(), schedule=SHORT)
    assert first.validation_loss[0] < second.validation_loss[0]


class Killing(Regularizer):
    """A regularizer whose population kills its process, as the operating system does, at its nth push."""

    calls = 0
    deadly = 10**9

    def stack(self, others: Sequence[object]) -> "Killing | None":
        whole = super().stack(others)
        return None if whole is None else Spied(whole)  # type: ignore[return-value]


class Spied(nn.Module):
    """Counts the pushes."""

    def __init__(self, inner: Regularizer) -> None:
        super().__init__()
        self.inner = inner

    def keep(self, members: torch.Tensor) -> "Spied":
        return Spied(self.inner.keep(members))

    def measure(self, x: torch.Tensor, standard_error: torch.Tensor | None = None) -> Term:
        Killing.calls += 1
        if Killing.calls == Killing.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.measure(x, standard_error)


LONG = Schedule(patience=20, interval=2)


def killed(path: str, deadly: int) -> None:
    """Train until death; called in a process of its own."""
    Killing.deadly = deadly
    train(population("vae", kind=Killing), schedule=LONG, resume=Resume(path, every=10))


@pytest.mark.parametrize("late", [False, True])
def test_a_killed_population_goes_on_to_the_same_bits(late: bool, tmp_path: Path) -> None:
    """Also after some members have left it, and while the noise is trained alone."""
    Killing.calls, whole = 0, population("vae", kind=Killing)
    expected = train(whole, schedule=LONG)
    deadly = Killing.calls - 15 if late else 45
    path = tmp_path / "a.checkpoint"
    code = f"from tests.test_population import killed; killed({str(path)!r}, {deadly})"
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert path.exists()
    total, Killing.calls, resumed = Killing.calls, 0, population("vae", kind=Killing)
    histories: list[History] = train(resumed, schedule=LONG, resume=Resume(path, every=10))
    assert deadly - 25 <= total - Killing.calls < deadly, "it went on from the last checkpoint, not from the start"
    assert histories == expected
    for one, other in zip(resumed, whole, strict=True):
        assert torch.equal(parameters(one), parameters(other))
    assert not path.exists()


@pytest.mark.parametrize("knowledge", [("a: b > c",) * 3, TEXTS, ("a: {b, d} > c", "d: a > b", "{a, b}: c > d")])
@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_regularizer_of_members_is_that_of_each(knowledge: Sequence[str], n: int, normalize: bool) -> None:
    """Values, shares of statements that hold, standard errors of one's own statements, and gradients."""
    names = [*NAMES, "d"]
    random = torch.Generator().manual_seed(1)
    data = [scale * torch.randn(60, 4, generator=random).double() for scale in (1, 2, 3)]
    each = [
        Regularizer(Knowledge.parse(text), names, data=own, normalize=normalize)
        for text, own in zip(knowledge, data, strict=True)
    ]
    x = torch.randn(3, n, 4, generator=random).double().requires_grad_()
    whole = stack(each)
    assert isinstance(whole, Regularizer)
    term = whole.measure(x)
    (slope,) = torch.autograd.grad(term.value.sum(), x)
    assert term.standard_error is not None
    shared = whole.measure(x, term.standard_error)
    torch.testing.assert_close(shared.value, term.value)
    for index, one in enumerate(each):
        own = x[index].detach().requires_grad_()
        expected = one.measure(own)
        torch.testing.assert_close(term.value[index], expected.value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(term.held[index], expected.held)
        # Bases of features that cover other ranges differ by their tolerance.
        torch.testing.assert_close(slope[index], torch.autograd.grad(expected.value, own)[0], rtol=1e-3, atol=1e-5)
        places = [list(whole.knowledge).index(relation) for relation in one.knowledge]
        torch.testing.assert_close(term.standard_error[index, places], expected.standard_error, rtol=1e-4, atol=1e-9)


def test_penalties_that_do_not_fit_are_computed_one_after_the_other() -> None:
    one, other = penalty("a: b > c"), Regularizer(Knowledge.parse("a: b > c"), NAMES, data=rows(40, 0), margin=1.0)
    x = torch.stack([rows(60, 1), rows(60, 2)]).requires_grad_()

    def plain(x: torch.Tensor) -> torch.Tensor:
        return x.square().mean()

    pairs: list[tuple[Penalty, Penalty]] = [(one, other), (one, plain), (plain, one), (plain, plain)]
    for first, second in pairs:
        whole = stack([first, second])
        torch.testing.assert_close(whole.measure(x).value, torch.stack([first(x[0]), second(x[1])]))
        torch.testing.assert_close(whole.keep(torch.tensor([1])).measure(x[1:]).value, second(x[1])[None])


@pytest.mark.parametrize("name", list(MODELS))
def test_samples_of_a_lane_do_not_depend_on_the_other_members(name: str) -> None:
    models = []
    for _ in range(4):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            models.append(MODELS[name](3))
    drawn = []
    for lanes in ([0, 1, 0, 2], [2, 1]):
        torch.manual_seed(1)
        drawn.append(Stack(models[: len(lanes)], lanes, 3).sample(7).detach())
    whole, part = drawn
    assert whole.shape == (4, 7, 3)
    torch.testing.assert_close(whole[0], whole[2])
    assert not torch.allclose(whole[0], whole[1]) and not torch.allclose(whole[1], whole[3])
    torch.testing.assert_close(part, whole[[3, 1]])


class Foreign(FactorAnalysis):
    """A model whose random numbers come from functions of PyTorch, in every way that a user may call them."""

    def sample(self, n: int) -> torch.Tensor:
        drawn = [torch.randn(n, 3), torch.rand((n, 3)), torch.randn(size=(n, 3)), torch.rand(n, 3, dtype=torch.float32)]
        drawn += [torch.randn_like(self.mean.expand(n, 3)), torch.rand_like(drawn[0], dtype=torch.float64)]
        return self.mean.repeat(len(drawn)) + torch.cat(drawn, 1)


def test_a_model_that_draws_by_functions_of_pytorch_has_lanes_too() -> None:
    models = [Foreign(3) for _ in range(4)]
    drawn = []
    for lanes in ([0, 1, 0, 2], [2, 1]):
        torch.manual_seed(1)
        trial = Stack(models[: len(lanes)], lanes, 3)
        drawn.append([trial.sample(7).detach() for _ in range(3)])
    for whole, part in zip(*drawn, strict=True):
        apart = (whole[0] - whole[1]).abs().amin(0).view(6, 3).amin(1)
        torch.testing.assert_close(whole[0], whole[2])
        assert (apart > 0).all() and whole.dtype == torch.float64
        torch.testing.assert_close(part, whole[[3, 1]])


def test_every_member_has_its_own_weight() -> None:
    """The length of its push is the same share of the length of its own loss's gradient."""
    scale = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]], requires_grad=True)
    whole = stack([penalty("a: b > c"), penalty("c: a > b")])
    push = Push(lambda n: scale[:, None, :] * torch.randn(2, n, 3), whole, Guidance(draws=50))
    loss = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.1, 0.0]])
    scale.grad = loss.clone()
    added = push.add([scale], step=0)
    assert added is not None and added.weight.shape == (2,)
    torch.testing.assert_close((scale.grad - loss).norm(dim=1), 0.3 * torch.tensor([5.0, 0.1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_far_sample_gives_no_denormal_numbers_and_the_same_values(dtype: torch.dtype) -> None:
    near = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    near[0], near[1] = 1000.0, 11.5
    pairs = Pairs(torch.tensor([0, 1]), torch.tensor([1, 2]), 3)
    exact = Exact(near, (), pairs)
    assert exact.kept is not None
    positive = exact.kept[exact.kept > 0]
    assert positive.min() >= NEGLIGIBLE[dtype]
    assert positive.min() ** 2 >= torch.finfo(dtype).tiny
    reference = Exact(near.double(), (), pairs)
    torch.testing.assert_close(exact.found.double(), reference.found, rtol=1e-4, atol=1e-8)
    regularizer = penalty("a: b > c")
    x = rows(256, 0)
    far = x.clone()
    far[0] = 1000 * x[0].sign()
    far[1] = 500 * x[1].sign()
    for each in (far, far.double()):
        each.requires_grad_()
        value = regularizer(each)
        assert torch.autograd.grad(value, each)[0].isfinite().all()


def test_fits_at_once_are_the_fits_one_by_one(plant: pd.DataFrame) -> None:
    """Of one seed, of several tables and statements, with levels and without."""
    other = plant.assign(grade=np.where(plant.inlet > 0, "high", "low")).drop(columns="ambient")
    known = Knowledge.parse("outlet: inlet > flow"), Knowledge.parse("outlet: grade > flow\nflow: inlet > outlet")
    tables = [plant[:40], plant[20:], other[:40], other[10:50]]

    def made() -> list[Synthesizer]:
        return [Synthesizer("vae", known[i > 1], max_epochs=20, random_state=3, trust="all") for i in range(4)]

    for fitted, alone, table in zip(moreso.fit_all(made(), tables), made(), tables, strict=True):
        alone.fit(table)
        assert fitted.dropout_ == alone.dropout_
        for one, expected in zip(fitted.histories_, alone.histories_, strict=True):
            np.testing.assert_allclose(one.validation_loss, expected.validation_loss, rtol=0.02, atol=0.02)
        assert fitted.plain_ is not None and not fitted.sample(9).equals(fitted.plain_.sample(9))


def test_fits_at_once_share_their_schedule(plant: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"must share weight, ratio, .* Fit the others by themselves"):
        moreso.fit_all([Synthesizer("factor"), Synthesizer("factor", max_epochs=7)], [plant, plant])
    interrupted = [Synthesizer(Interrupted, max_epochs=7, settings=Settings(members=1)) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        moreso.fit_all(interrupted, [plant, plant])


class Interrupted(FactorAnalysis):
    """A model whose user presses Ctrl-C."""

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 10:
            raise KeyboardInterrupt
        return super().loss(x)


def test_a_bar_tells_how_many_models_are_done_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 30.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=StringIO(), force_terminal=True))
    with Bar().showing() as bar:
        bar.expect(4)
        bar.update("plain", [0.5, 0.5])
        assert bar.note == "0 of 4 models, about 30 s left"
        bar.finish(2)
        bar.update("knowledge", [1.0, 0.0])
        assert bar.note == "3 of 4 models, about 10 s left"


@pytest.mark.parametrize(("columns", "expected"), [(3, 1), (3000, 2)])
def test_small_steps_take_one_thread(columns: int, expected: int) -> None:
    seen = []

    class Watched(FactorAnalysis):
        def loss(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().loss(x)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = torch.randn(2000, columns)
        train([Member(Watched(columns), rows, rows[:2])], schedule=Schedule(max_epochs=1, batch_size=2000))
        assert set(seen) == {expected} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

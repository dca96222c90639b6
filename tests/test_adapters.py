"""Laws of the adapters: an attached model takes the steps of an explicit sum, and nothing else is touched."""

import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moreso import Knowledge, Regularizer
from moreso.adapters import Push, attach, check_adapter
from moreso.adapters.checking import same_law
from moreso.guidance import AUTO_RATIO, Guidance, Term, forked

NAMES = ["a", "b", "c"]
FALSE = Knowledge.parse("a: c > b")


def rows(n: int = 200) -> torch.Tensor:
    """Return rows in which b follows a, and c is of its own."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    return x


def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how far two samples are apart in their first and second moments."""
    return (x.T @ x / len(x) - y.T @ y / len(y)).square().sum() + (x.mean(0) - y.mean(0)).square().sum()


class Host(nn.Module):
    """A stranger's model, fitted with random numbers of two libraries."""

    def __init__(self, *, norm: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8) if norm else nn.Tanh(), nn.Linear(8, 3))

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def sample(self, n: int) -> torch.Tensor:
        return self.net(torch.randn(n, 3))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.tensor(np.random.normal(size=3), dtype=torch.float32)
        return distance(self.sample(64) + 0.01 * noise, x)


class Fixed:
    """Draws that use the same noise at every call, so that an explicit sum can be written."""

    def __init__(self, host: Host) -> None:
        self.host, self.noise = host, torch.randn(64, 3, generator=torch.Generator().manual_seed(5)).to(host.dtype)

    def __call__(self, n: int) -> torch.Tensor:
        return self.host.net(self.noise[:n])


def penalty(x: torch.Tensor) -> torch.Tensor:
    """Return a penalty without a state: the squared covariance of two columns."""
    return x[:, :2].T.cov()[0, 1].square()


def scaled(scale: float, x: torch.Tensor) -> torch.Tensor:
    return scale * penalty(x)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "fused": lambda parameters: torch.optim.Adam(parameters, lr=0.01, fused=True),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=5, line_search_fn="strong_wolfe"),
}


def train(
    host: Host,
    optimizer: torch.optim.Optimizer,
    extra: Callable[[], torch.Tensor] = lambda: torch.zeros(()),
    *,
    how: str = "step",
    steps: int = 6,
) -> None:
    """Train in one of the ways that loops are written in, with a loss of fixed noise."""
    x, draw = rows().to(host.dtype), Fixed(host)

    def loss() -> torch.Tensor:
        return distance(draw(64), x)

    def closure() -> Any:
        optimizer.zero_grad()
        total = loss() + extra()
        total.backward()
        return total

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=how in ("scaled", "unscaled"))
    for _ in range(steps):
        if how == "closure":
            optimizer.step(closure)
        elif how == "keyword":
            optimizer.step(closure=closure)
        elif how == "accumulated":
            optimizer.zero_grad()
            for _ in range(3):
                ((loss() + extra()) / 3).backward()
            optimizer.step()
        elif how in ("scaled", "unscaled"):
            optimizer.zero_grad()
            scaler.scale(loss() + extra()).backward()
            if how == "unscaled":
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        else:
            closure()
            optimizer.step()


def state(host: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in host.state_dict().values()])


WAYS = [
    (name, how)
    for name in OPTIMIZERS
    for how in ("step", "closure", "keyword", "accumulated", "scaled", "unscaled")
    if (name != "lbfgs" or how in ("closure", "keyword")) and (name != "fused" or how != "closure")
]


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_an_attached_step_is_that_of_the_explicit_sum(name: str, how: str) -> None:
    # In double precision: a line search makes much of a last digit.
    explicit, attached, plain = (Host().double() for _ in range(3))
    train(explicit, OPTIMIZERS[name](explicit.parameters()), lambda: 2.5 * penalty(Fixed(explicit)(50)), how=how)
    with attach(attached, Fixed(attached), penalty, weight=2.5, draws=50) as push:
        train(attached, OPTIMIZERS[name](attached.parameters()), how=how)
    train(plain, OPTIMIZERS[name](plain.parameters()), how=how)
    torch.testing.assert_close(state(attached), state(explicit), rtol=0, atol=1e-9)
    assert (state(plain) - state(explicit)).abs().max() > 1e-3
    assert [pushed.step for pushed in push.history] == list(range(6))
    assert all(pushed.weight == 2.5 for pushed in push.history)


def noisy(host: Host, *, how: str = "step", steps: int = 5) -> list[Any]:
    """Train with random numbers of two libraries; return what is left, of the model and of their states."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = np.random.get_state()
        np.random.seed(1)
        optimizer = torch.optim.Adam(host.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            host.loss(rows()).backward()
            optimizer.step()
        left = [state(host).tolist(), torch.get_rng_state().tolist(), np.random.random()]
        np.random.set_state(before)
    return left


def draw_of_all(host: Host) -> Callable[[int], torch.Tensor]:
    """Draw with random numbers of both libraries."""
    return lambda n: host.sample(n) + float(np.random.normal())


@pytest.mark.parametrize("norm", [False, True])
def test_weight_0_is_bit_identical_to_unattached(norm: bool) -> None:
    """Also where draws are made: their random numbers, and what they do to BatchNorm, are undone."""
    plain, idle, nothing = (Host(norm=norm) for _ in range(3))
    expected = noisy(plain)
    with attach(idle, draw_of_all(idle), FALSE, features=NAMES, data=rows(), weight=0) as push:
        assert noisy(idle) == expected
    with attach(nothing, draw_of_all(nothing), lambda x: 0 * x.sum(), weight=1.0):
        assert noisy(nothing) == expected
    assert [pushed.weight for pushed in push.history] == [0.0] * 5
    assert min(pushed.penalty for pushed in push.history) > 0


def test_random_states_are_forked() -> None:
    def numbers() -> tuple[float, ...]:
        return float(torch.rand(())), float(np.random.random()), random.random()

    with forked(1):
        first = numbers()
        with forked(2):
            other = numbers()
        then = numbers()
    with forked(1):
        assert (numbers(), numbers()) == (first, then)
    assert not set(first) & set(other)


def test_an_attached_run_is_reproduced_and_its_seed_matters() -> None:
    left = []
    for seed in (0, 0, 1):
        host = Host()
        with attach(host, host.sample, FALSE, features=NAMES, data=rows(), random_state=seed) as push:
            noisy(host)
        left.append((state(host).tolist(), push.history))
    assert left[0] == left[1]
    assert left[0][0] != left[2][0]
    assert len({pushed.penalty for pushed in left[0][1]}) == 5


def test_the_default_weight_is_relative_to_the_gradient_of_the_loss() -> None:
    host, other = Host(), Host()
    seen = []

    def watch(optimizer: Any, args: Any, kwargs: Any) -> None:
        seen.append(torch.cat([parameter.grad.flatten() for parameter in optimizer.param_groups[0]["params"]]))

    for model, scale in ((host, 1.0), (other, 1000.0)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        with attach(model, Fixed(model), partial(scaled, scale), draws=50) as push:
            optimizer.register_step_pre_hook(watch)
            train(model, optimizer, steps=1)
        seen.append(torch.tensor(push.history[0].weight))
    plain = Host()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.0)
    optimizer.register_step_pre_hook(watch)
    train(plain, optimizer, steps=1)
    assert (seen[0] - seen[4]).norm().item() == pytest.approx(AUTO_RATIO * seen[4].norm().item(), rel=1e-4)
    torch.testing.assert_close(seen[0], seen[2], rtol=1e-4, atol=1e-5)
    assert seen[1].item() == pytest.approx(1000 * seen[3].item(), rel=1e-4)


@pytest.mark.parametrize("how", ["step", "scaled"])
def test_a_recorded_weight_is_that_of_the_sum(how: str) -> None:
    """A gradient that a scaler has scaled does not make the weight 1024 times larger."""
    weights = []
    for each in (how, "step"):
        host = Host()
        with attach(host, Fixed(host), penalty, draws=50) as push:
            train(host, OPTIMIZERS["fused"](host.parameters()), how=each, steps=1)
        weights.append(push.history[0].weight)
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


def test_it_pushes_every_kth_step_of_each_optimizer() -> None:
    host = Host()
    first = torch.optim.SGD(host.net[0].parameters(), lr=0.01)
    second = torch.optim.SGD(host.net[2].parameters(), lr=0.01)
    moved = []
    with forked(0), attach(host, host.sample, penalty, every=3, draws=50) as push:
        for _ in range(7):
            for optimizer in (first, second):
                optimizer.zero_grad()
                host.loss(rows()).backward()
                before = len(push.history)
                optimizer.step()
                moved.append(len(push.history) - before)
    assert moved == [1, 1, 0, 0, 0, 0] * 2 + [1, 1]


def test_a_step_that_is_not_of_the_model_is_left_alone() -> None:
    """Another optimizer's, and one at which the model has no gradient."""
    with forked(0):
        host, critic = Host(), nn.Linear(3, 1)
    both = torch.optim.SGD([*host.parameters(), *critic.parameters()], lr=0.1)
    alone = torch.optim.SGD(critic.parameters(), lr=0.1)
    before = state(host)
    with forked(0), attach(host, host.sample, penalty, weight=1.0) as push:
        for optimizer in (both, alone):
            optimizer.zero_grad()
            critic(rows()).mean().backward()
            optimizer.step()
        assert push.history == []
        assert torch.equal(state(host), before)
        noisy(host, steps=1)
    assert len(push.history) == 1


def test_one_optimizer_may_be_given_and_others_are_left_alone() -> None:
    host, other = Host(), Host()
    optimizer = torch.optim.Adam(host.parameters(), lr=0.01)
    expected = noisy(Host())
    with attach(optimizer, host.sample, penalty, draws=50) as push:
        assert noisy(other) == expected
        assert push.history == []
        train(host, optimizer)
    assert len(push.history) == 6


def test_parameters_may_come_into_being_later() -> None:
    class Late:
        net: Host | None = None

        def parameters(self) -> list[nn.Parameter]:
            return [] if self.net is None else list(self.net.parameters())

        def draw(self, n: int) -> torch.Tensor:
            assert self.net is not None
            return self.net.sample(n)

    late = Late()
    with attach(late, late.draw, penalty, draws=50) as push:
        noisy(Host(), steps=1)
        late.net = Host()
        noisy(late.net, steps=2)
    assert len(push.history) == 2


def test_after_the_block_nothing_is_left() -> None:
    host = Host()
    optimizer = torch.optim.Adam(host.parameters(), lr=0.01)
    for owner in (host, optimizer):
        with attach(owner, host.sample, penalty, draws=50) as push:
            train(host, optimizer)
        train(host, optimizer)
        assert len(push.history) == 6


def test_a_penalty_without_a_push_is_told_and_hides_no_other_error() -> None:
    host = Host()
    with pytest.raises(RuntimeError, match="nothing was pushed"), attach(host, host.sample, penalty):
        pass
    with pytest.raises(ZeroDivisionError), attach(host, host.sample, penalty) as push:
        raise ZeroDivisionError
    noisy(host)
    assert push.history == []


def test_statements_that_were_broken_hold_in_samples() -> None:
    """And the share held is told: the loss makes b follow a, the (false) knowledge denies it."""
    hosts = {}
    for weight in (0.0, "auto"):
        host = hosts[weight] = Host()
        with attach(host, host.sample, FALSE, features=NAMES, data=rows(), weight=weight) as push:
            noisy(host, steps=150)
        assert push.history[-1].held == 0
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        judge = Regularizer(FALSE, NAMES, data=rows())
        gaps = {weight: judge.gaps(host.sample(1000)).gap.item() for weight, host in hosts.items()}
    assert gaps["auto"] > gaps[0.0] + 0.02


class Toy:
    """An adapter that keeps the contract, around a stranger's model with BatchNorm and noise."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        self.net = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))

    def parameters(self) -> Any:
        return self.net.parameters()

    def buffers(self) -> Any:
        return self.net.buffers()

    def draw(self, n: int) -> torch.Tensor:
        return self.net(torch.randn(n, 3)) + 0.3 * torch.randn(n, 3)

    def sample(self, n: int) -> torch.Tensor:
        return self.draw(n).detach()


def fit(toy: Toy) -> None:
    optimizer = torch.optim.Adam(toy.net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        distance(Toy.draw(toy, 128), rows()).backward()
        optimizer.step()


def reload(toy: Toy) -> Toy:
    copy = Toy()
    copy.net.load_state_dict(toy.net.state_dict())
    return copy


def test_an_adapter_that_keeps_the_contract_passes() -> None:
    found = check_adapter(Toy, fit, reload=reload, weight=1.0)
    assert found.pvalue > 0.05
    assert found.gap_before < 0 < found.gap_after - found.gap_before - 2 * found.standard_error


class Clean(Toy):
    def draw(self, n: int) -> torch.Tensor:
        return self.net(torch.randn(n, 3))

    def sample(self, n: int) -> torch.Tensor:
        return super().draw(n).detach()


class Cut(Toy):
    def draw(self, n: int) -> torch.Tensor:
        return super().draw(n).detach()


class Wide(Toy):
    def sample(self, n: int) -> torch.Tensor:
        return super().sample(n + 1)


class Infinite(Toy):
    def sample(self, n: int) -> torch.Tensor:
        return super().sample(n) / 0


class Forgetful(Toy):
    def buffers(self) -> Any:
        return iter(())


class Counting(Toy):
    """Something in `draw` moves the parameters."""

    def draw(self, n: int) -> torch.Tensor:
        with torch.no_grad():
            next(self.net.parameters()).add_(0.01)
        return super().draw(n)


@contextmanager
def endless(toy: Toy, penalty: Any, **settings: Any) -> Iterator[Push]:
    """Attach, and never detach."""
    context = attach(toy, toy.draw, penalty, **settings)
    kept.append(context)
    yield context.__enter__()


@contextmanager
def idle(toy: Toy, penalty: Any, **settings: Any) -> Iterator[Push]:
    """Attach so that nothing is pushed."""
    with attach(toy, toy.draw, penalty, **(settings | {"weight": 0})) as push:
        yield push


kept: list[Any] = []

BROKEN: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "another law": (Clean, {}, "draws and samples are not of one law (p = 0.0010)"),
    "no gradient": (Cut, {}, "draws carry no gradient to any parameter."),
    "another form": (Wide, {}, "draw(500) has shape (500, 3) and sample(500) (501, 3)."),
    "not finite": (Infinite, {}, "draws or samples are not finite."),
    "a draw leaves traces": (Counting, {}, "weight 0 changes the fit."),
    "a hook that stays": (Toy, {"attached": endless}, "a fit after the 'with' block is still pushed."),
    "nothing is pushed": (Toy, {"attached": idle}, "was planted, and its gap in samples went from"),
    "silence": (Toy, {"attached": endless}, "a 'with' block in which nothing was fitted passes in silence."),
    "saving": (Toy, {"reload": lambda toy: Toy()}, "the host that was saved and read back draws other samples."),
    "errors": ([].pop, {}, "a fit: IndexError: pop from empty list"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_adapter_that_breaks_the_contract_is_told(name: str) -> None:
    build, arguments, sentence = BROKEN[name]
    try:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            check_adapter(build, fit, **arguments)
    finally:
        for context in kept:
            context.gen.close()
        kept.clear()


def test_a_fit_that_is_not_reproduced_is_told() -> None:
    calls: list[int] = []

    def drifting(toy: Toy) -> None:
        calls.append(1)
        with torch.no_grad():
            next(toy.net.parameters()).add_(len(calls))

    with pytest.raises(ValueError, match="two fits from the same seed differ"):
        check_adapter(Toy, drifting)


def test_the_energy_test_keeps_its_level_and_sees_a_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [
        [
            same_law(torch.randn(60, 2, generator=generator), torch.randn(60, 2, generator=generator) + shift, 0, 99)
            for _ in range(60)
        ]
        for shift in (0.0, 0.7)
    ]
    assert np.mean(np.array(found[0]) <= 0.1) < 0.25
    assert np.mean(np.array(found[1]) <= 0.1) > 0.9


def all_of(samples: torch.Tensor, n: int) -> torch.Tensor:
    return 1 * samples


def test_statements_are_pushed_to_the_margin_of_the_regularizer() -> None:
    """By default as far as everywhere else; to one standard error if a regularizer asks for one."""
    x = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] += 0.7 * x[:, 0]
    knowledge = Knowledge.parse("a: b > c")
    default, soft = Regularizer(knowledge, NAMES, data=x), Regularizer(knowledge, NAMES, data=x, margin=1.0)
    assert 1.5 < default.gaps(x).statistic.item() < 3.5
    cases: list[tuple[Any, dict[str, Any], Regularizer]] = [
        (knowledge, {"features": NAMES, "data": x}, default),
        (default, {}, default),
        (soft, {}, soft),
    ]
    for given, settings, expected in cases:
        samples = nn.Parameter(x.clone())
        optimizer = torch.optim.SGD([samples], lr=0.1)
        with attach(optimizer, partial(all_of, samples), given, weight=1.0, **settings) as push:
            samples.grad = torch.zeros_like(x)
            optimizer.step()
        assert push.history[0].penalty == pytest.approx(expected(x).item())
        assert (push.history[0].penalty > 0) == (expected is default) == (not torch.equal(samples, x))


class Spy:
    """A penalty that notes which standard errors it is given; its own are numbered by its calls."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a penalty that measures was not asked to")

    def measure(self, x: torch.Tensor, standard_error: torch.Tensor | None = None) -> Term:
        own = torch.full((1,), float(len(self.given))) if standard_error is None else standard_error
        self.given.append(math.nan if standard_error is None else standard_error.item())
        return Term(penalty(x) / (1 + own.sum()), torch.tensor(0.25), own)


NEW = pytest.approx(math.nan, nan_ok=True)


def pushes(push: Push, parameter: torch.Tensor, calls: str) -> None:
    """Push at one step for each word, and again for each further letter of it."""
    for step, word in enumerate(calls.split(), len(push.history)):
        for letter in range(len(word)):
            parameter.grad = torch.ones_like(parameter)
            push([parameter], step=step, again=letter > 0)


@pytest.mark.parametrize(
    ("refresh", "calls", "given"),
    [
        (1, "a a a", [NEW, NEW, NEW]),
        (3, "a a a a a a a", [NEW, 0, 0, NEW, 3, 3, NEW]),
        # Evaluations of one step use the errors of its first, and do not count.
        (1, "aaa a", [NEW, 0, 0, NEW]),
        (2, "aa aa aa", [NEW, 0, 0, 0, NEW, 4]),
    ],
)
def test_a_few_pushes_share_standard_errors(refresh: int, calls: str, given: list[Any]) -> None:
    scale, spy = nn.Parameter(torch.ones(3)), Spy()
    push = Push(lambda n: scale * torch.randn(n, 3), spy, Guidance(1.0, draws=50, refresh=refresh))
    pushes(push, scale, calls)
    assert spy.given == given
    assert [pushed.step for pushed in push.history] == list(range(len(calls.split())))
    assert {pushed.held for pushed in push.history} == {0.25}


def test_standard_errors_are_those_of_batches_of_one_size() -> None:
    sizes, scale, spy = [50, 50, 40, 40, 40, 40, 50], nn.Parameter(torch.ones(3)), Spy()
    left = iter(sizes)
    push = Push(lambda n: scale * torch.randn(next(left), 3), spy, Guidance(1.0, refresh=3))
    pushes(push, scale, "a " * len(sizes))
    assert spy.given == [NEW, 0, NEW, 2, 2, NEW, NEW]


def test_an_attached_penalty_is_measured_and_its_errors_are_shared() -> None:
    host, spies = Host(), [Spy(), Spy()]
    for spy in spies:
        with attach(host, host.sample, spy, draws=50):
            noisy(host, steps=12)
        # Nothing is left in the penalty, nor shared with another block.
        assert spy.given == [NEW, *[0] * 9, NEW, 10]


@pytest.mark.parametrize("before", range(6))
def test_a_push_goes_on_from_its_state_to_the_same_bits(before: int) -> None:
    """Also in the midst of pushes that share their standard errors."""

    scale = nn.Parameter(torch.ones(3))

    def made(seed: int) -> Push:
        regularizer = Regularizer(FALSE, NAMES, data=rows())
        return Push(lambda n: scale * torch.randn(n, 3), regularizer, Guidance(draws=50, refresh=3), random_state=seed)

    def gradients(push: Push, times: int) -> list[list[float]]:
        found = []
        for _ in range(times):
            pushes(push, scale, "a")
            assert scale.grad is not None
            found.append(scale.grad.tolist())
        return found

    whole, first, last = made(0), made(0), made(1)
    expected = gradients(whole, 7)
    found = gradients(first, before)
    kept = first.state()
    gradients(first, 2)
    last.restore(kept)
    found += gradients(last, 7 - before)
    assert found == expected
    assert [pushed[1:] for pushed in whole.history[before:]] == [pushed[1:] for pushed in last.history]


@pytest.mark.parametrize("given", [penalty, Spy(), lambda x: 0 * x.sum()], ids=["plain", "measured", "zero"])
@pytest.mark.parametrize("weight", [0.0, 1.0, "auto"])
def test_draws_without_a_gradient_are_told_and_change_nothing(given: Any, weight: float | str) -> None:
    scale = nn.Parameter(torch.ones(3))
    push = Push(lambda n: scale.detach() * torch.randn(n, 3), given, Guidance(weight, draws=50))
    with pytest.raises(ValueError, match=r"^the draws carry no gradient to the parameters .* Draw with rsample\(\)"):
        pushes(push, scale, "a")
    assert push.history == []
    assert torch.equal(scale.grad, torch.ones(3))  # type: ignore[arg-type]

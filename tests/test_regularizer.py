"""Laws of the loss term."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from moreso import Knowledge, Regularizer
from moreso.guidance import Guidance, Push

NAMES = ["a", "b", "c", "d"]


def true_sample(n: int = 300) -> torch.Tensor:
    """b follows a; c and d are of their own."""
    x = torch.randn(n, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 0] ** 2 + 0.1 * x[:, 1]
    return x


@pytest.mark.parametrize("studentize", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_true_statement_costs_nothing_and_its_converse_costs(studentize: bool, normalize: bool) -> None:
    x, margin = true_sample(), 3.0 if studentize else 0.01
    true, false = (
        Regularizer(Knowledge.parse(text), NAMES, data=x, margin=margin, studentize=studentize, normalize=normalize)
        for text in ("a: b > c", "a: c > b")
    )
    assert true(x).item() == 0
    assert false(x).item() > margin


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_many_cost_their_mean_weighted_by_confidence(weights: list[float]) -> None:
    x = true_sample(30)
    texts = ["a: c > b", "a: c > d", "{c, d}: a > b"]
    knowledge = Knowledge.parse("\n".join(f"{text} @ {weight}" for text, weight in zip(texts, weights, strict=True)))
    single = torch.stack([Regularizer(Knowledge.parse(text), NAMES, data=x)(x) for text in texts])
    expected = (torch.tensor(weights).double() * single).sum() / sum(weights)
    torch.testing.assert_close(Regularizer(knowledge, NAMES, data=x)(x), expected, rtol=1e-5, atol=0)


def test_it_is_the_hinge_of_the_gap() -> None:
    x = true_sample(40)
    knowledge = Knowledge.parse("a: c > b")
    plain = Regularizer(knowledge, NAMES, data=x, studentize=False, margin=0.02)
    gaps = plain.gaps(x)
    assert plain(x).item() == pytest.approx(0.02 - gaps.gap.item())
    studentized = Regularizer(knowledge, NAMES, data=x, margin=2.0)
    assert studentized(x).item() == pytest.approx(2.0 - gaps.statistic.item())


def test_descent_makes_samples_follow_a_statement_that_they_broke() -> None:
    x = true_sample(100).requires_grad_()
    regularizer = Regularizer(Knowledge.parse("a: c > b"), NAMES, data=true_sample())
    optimizer = torch.optim.Adam([x], lr=0.05)
    before = regularizer(x).item()
    for _ in range(200):
        optimizer.zero_grad()
        regularizer(x).backward()
        optimizer.step()
    assert regularizer(x).item() == 0 < before
    assert regularizer.gaps(x).gap.item() > 0


@pytest.mark.parametrize("training", [True, False])
def test_the_value_depends_on_the_samples_alone(training: bool) -> None:
    """And not on what was measured before."""
    x, knowledge = true_sample(100), Knowledge.parse("a: c > b")
    regularizer = Regularizer(knowledge, NAMES, data=true_sample()).train(training)
    noisy = x + 0.5
    noisy[:50] = noisy[:50].flip(1)
    for sample in (x, noisy, x[:60], x):
        fresh = Regularizer(knowledge, NAMES, data=true_sample())(sample)
        assert regularizer(sample).item() == fresh.item()


def test_standard_errors_may_be_those_of_other_samples() -> None:
    x, knowledge = true_sample(100), Knowledge.parse("a: c > b\na: b > d")
    regularizer = Regularizer(knowledge, NAMES, data=true_sample(), margin=2.0)
    noisy = x + 0.5
    noisy[:50] = noisy[:50].flip(1)
    own, other = regularizer.measure(x), regularizer.measure(noisy)
    assert own.standard_error is not None
    shared = regularizer.measure(noisy, own.standard_error)
    assert torch.equal(shared.value, (2 - regularizer.gaps(noisy).gap / own.standard_error).clamp(min=0).mean())
    assert shared.value.item() != other.value.item()
    assert own.held == 0.5 and torch.equal(regularizer(x), own.value)
    assert not own.standard_error.requires_grad


def test_gradient() -> None:
    x = true_sample(8).requires_grad_()
    regularizer = Regularizer(Knowledge.parse("a: c > {b, d} @ 0.5"), NAMES, data=true_sample(), studentize=False)
    torch.autograd.gradcheck(regularizer, x)


def test_features_may_be_read_by_callables() -> None:
    x = true_sample(50)
    knowledge = Knowledge.parse("left: right > other")
    regions = {"left": lambda x: x[:, 0], "right": lambda x: x[:, 1], "other": lambda x: x[:, 2:].reshape(-1, 2, 1)}
    columns = Regularizer(Knowledge.parse("a: b > {c, d}"), NAMES, data=x)
    torch.testing.assert_close(Regularizer(knowledge, regions, data=x)(x), columns(x))


def test_bandwidths_are_saved_and_do_not_move() -> None:
    x = true_sample(50)
    regularizer = Regularizer(Knowledge.parse("a: b > c"), NAMES, data=x)
    before = {name: tensor.clone() for name, tensor in regularizer.state_dict().items()}
    regularizer(3 * x)
    assert list(before) == ["relative.bandwidths"]
    torch.testing.assert_close(regularizer.state_dict()["relative.bandwidths"], before["relative.bandwidths"])


@pytest.mark.parametrize("text", ["a: c > b", "a: {c, d} > b"])
def test_half_precision_around_it_changes_nothing(text: str) -> None:
    x = true_sample(150).bfloat16()
    regularizer = Regularizer(Knowledge.parse(text), NAMES, data=x.float())
    expected = regularizer(x.float())
    assert expected.item() > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(regularizer(x.float()), expected)
    assert torch.equal(regularizer(x), expected)


@pytest.mark.parametrize("weight", [0.0, 0.5, "auto"])
def test_a_push_adds_the_weighted_gradient_of_the_penalty(weight: float | str) -> None:
    parameter = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
    loss_gradient = torch.tensor([3.0, 0.0, 4.0])
    parameter.grad = loss_gradient.clone()
    push = Push(lambda n: parameter.expand(n, 3), lambda x: x.square().sum(1).mean(), Guidance(weight, ratio=0.2))
    pushed = push([parameter], step=0)
    assert pushed is not None and pushed.penalty == pytest.approx(5.25)
    torch.testing.assert_close(parameter.grad, loss_gradient + pushed.weight * 2 * parameter.detach())
    if weight == "auto":
        assert (parameter.grad - loss_gradient).norm().item() == pytest.approx(0.2 * loss_gradient.norm().item())
    else:
        assert pushed.weight == weight

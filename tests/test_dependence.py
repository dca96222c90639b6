"""Laws of the dependence measure."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moreso import hsic
from moreso.dependence import TOLERANCE, Dependence, Gaps, Moments, Pairs, exactly
from moreso.dependence import exact as exact_room
from moreso.dependence import lowrank as lowrank_room
from moreso.dependence import moments as moments_room
from moreso.dependence.kernels import cosine_basis
from moreso.dependence.lowrank import LowRank
from tests import oracles

samples = st.tuples(
    arrays(np.float64, (7, 2), elements=st.floats(-3, 3)), arrays(np.float64, (7, 1), elements=st.floats(-3, 3))
)


def draw(n: int, width: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@given(samples)
def test_hsic_equals_its_definition_over_4_tuples(xy: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = xy
    expected = oracles.hsic(oracles.gram(x, 1.3), oracles.gram(y, 0.7))
    found = hsic(torch.as_tensor(x), torch.as_tensor(y), bandwidths=(1.3, 0.7)).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_mean_over_all_permutations_is_zero() -> None:
    x, y = draw(6, 2), draw(6, 1, seed=1)
    values = [hsic(x, y[list(order)], bandwidths=(1.0, 1.0)).item() for order in permutations(range(6))]
    assert abs(np.mean(values)) < 1e-15 < np.std(values)


def test_symmetry_and_joint_permutation_invariance() -> None:
    x, y = draw(30, 2), draw(30, 3, seed=1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    for normalize in (False, True):
        value = hsic(x, y, normalize=normalize)
        torch.testing.assert_close(hsic(y, x, normalize=normalize), value)
        torch.testing.assert_close(hsic(x[order], y[order], normalize=normalize), value)


def test_normalised_form_is_1_for_itself_and_agrees_across_widths() -> None:
    x = draw(100, 3)
    assert hsic(x, 2 * x, normalize=True).item() == pytest.approx(1.0)
    signal = draw(500)
    other = 0.6 * signal + 0.8 * draw(500, seed=1)
    for width in (1, 4, 16, 100):
        x, y = signal + 0.1 * draw(500, width, seed=2), other + 0.1 * draw(500, width, seed=3)
        assert hsic(x, y, normalize=True).item() == pytest.approx(hsic(signal, other, normalize=True).item(), abs=0.03)


def test_a_collapsed_group_depends_on_nothing() -> None:
    x = draw(20).requires_grad_()
    value = hsic(x * 0, draw(20, seed=1), bandwidths=(1.0, 1.0), normalize=True)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("normalize", [False, True])
def test_gradient(normalize: bool) -> None:
    x, y = draw(6, 2).requires_grad_(), draw(6, seed=1).requires_grad_()
    torch.autograd.gradcheck(lambda x, y: hsic(x, y, bandwidths=(1.1, 0.9), normalize=normalize), (x, y))


@pytest.mark.parametrize("normalize", [False, True])
def test_single_precision_agrees(normalize: bool) -> None:
    x, y = draw(200, 2), draw(200, seed=1)
    y = y + x[:, :1]
    double = hsic(x, y, normalize=normalize)
    single = hsic(x.float(), y.float(), normalize=normalize)
    assert single.item() == pytest.approx(double.item(), rel=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_standard_error_is_the_spread_over_fresh_samples(normalize: bool) -> None:
    values, errors = [], []
    for seed in range(300):
        x, noise = draw(120, seed=seed), draw(120, seed=1000 + seed)
        found = Dependence(torch.cat([x, (x + noise) / 1.3, x * 0], 1), [], [(0, 1), (0, 2)], normalize=normalize)
        values.append(found.value[0].item())
        errors.append(Gaps(found, torch.tensor([0]), torch.tensor([1])).standard_error.item())
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


# Groups 0-3 are scalar, 4 and 5 are wide; pairs of every kind, self-pairs among them.
PAIRS = [(0, 1), (1, 2), (0, 3), (2, 2), (3, 4), (4, 5), (5, 5), (0, 5)]


def groups(n: int, dtype: torch.dtype = torch.double) -> tuple[torch.Tensor, list[torch.Tensor]]:
    x = draw(n, 9) @ draw(9, 9, seed=1) / 3
    return x[:, :4].to(dtype), [x[:, 4:6].to(dtype), x[:, 6:].to(dtype)]


def numbers(
    n: int, *, dtype: torch.dtype = torch.double, normalize: bool = False, tolerance: float = TOLERANCE
) -> list[torch.Tensor]:
    """Values, gradients of a combination of them, and standard errors."""
    scalars, wide = groups(n, dtype)
    inputs = [scalars.requires_grad_(), *(part.requires_grad_() for part in wide)]
    found = Dependence(scalars, wide, PAIRS, normalize=normalize, tolerance=tolerance)
    weights = torch.linspace(-1, 1, len(PAIRS), dtype=dtype)
    gradients = torch.autograd.grad(found.value @ weights, inputs)
    errors = Gaps(found, torch.tensor([0, 2, 4, 1]), torch.tensor([1, 0, 5, 4])).standard_error
    return [found.value.detach(), *gradients, errors]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dense", [1.0, 1e9])
def test_both_paths_give_the_same_numbers(normalize: bool, dense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_room, "DENSE", dense)
    expected = numbers(150, normalize=normalize, tolerance=0)
    for tolerance in (1e-6, 1e-9):
        for found, truth in zip(numbers(150, normalize=normalize, tolerance=tolerance), expected, strict=True):
            assert (found - truth).abs().max() <= 30 * tolerance * truth.abs().max()


def test_chunks_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = numbers(700)
    monkeypatch.setattr(lowrank_room, "CHUNK", 1)  # the least chunk is 256 rows
    monkeypatch.setattr(exact_room, "TILE", 6 * 700 * 100)
    for found, truth in zip(numbers(700), expected, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("tolerance", [0, 1e-6])
def test_single_precision_agrees_on_the_scale_of_the_statistic(normalize: bool, tolerance: float) -> None:
    expected = numbers(400, normalize=normalize, tolerance=tolerance)
    found = numbers(400, normalize=normalize, tolerance=tolerance, dtype=torch.float32)
    for single, double in zip(found, expected, strict=True):
        assert single.dtype == torch.float32
        assert (single.double() - double).abs().max() < 1e-4 * double.abs().max()


@pytest.mark.parametrize("tolerance", [0, 1e-9])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_of_every_path(tolerance: float, normalize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moreso.dependence.engine.LOW_RANK_ROWS", 4)
    scalars, wide = groups(7)
    torch.autograd.gradcheck(
        lambda x, y, z: Dependence(x, [y, z], PAIRS, normalize=normalize, tolerance=tolerance).value,
        (scalars.requires_grad_(), *(part.requires_grad_() for part in wide)),
    )


@pytest.mark.parametrize("n", [50, 150])
def test_a_second_derivative_is_refused_in_a_sentence(n: int) -> None:
    x = draw(n, 2).requires_grad_()
    value = Dependence(x, [], [(0, 1)]).value
    with pytest.raises(RuntimeError, match="closed-form gradient but no second derivative"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


def test_the_gradient_can_be_taken_twice() -> None:
    x = draw(150, 2).requires_grad_()
    value = Dependence(x, [], [(0, 1)]).value.sum()
    once = torch.autograd.grad(value, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(value, x), once)


def test_moments_merge_over_chunks() -> None:
    z, pairs = draw(300, 3), Pairs(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 2]), 3)
    basis = cosine_basis(8.0)

    def part(rows: slice) -> Moments:
        owner = LowRank(z[rows], torch.stack(z[rows].aminmax(dim=0)), pairs, tolerance=1e-6)
        owner.basis, owner.middle = basis, torch.zeros(3, dtype=torch.double)
        return Moments.of(basis.projection @ owner.raw(slice(None)), pairs, basis)

    merged = part(slice(0, 100)) + part(slice(100, 117)) + part(slice(117, 300))
    torch.testing.assert_close(merged.hsic(), part(slice(0, 300)).hsic(), rtol=1e-10, atol=1e-14)
    truth = exactly([z[:, [g]] for g in range(3)], [(0, 1), (1, 2), (2, 2)]).value
    torch.testing.assert_close(merged.hsic(), truth, rtol=0, atol=1e-6)
    other = Moments(5, merged.mean, merged.cross, pairs, cosine_basis(20.0))
    with pytest.raises(ValueError, match="moments merge only if they were taken with one basis"):
        _ = merged + other


@pytest.mark.parametrize("power", [1, 20])
def test_heavy_tails_are_squeezed_or_take_the_exact_path(power: int) -> None:
    x = draw(400, 3)
    x = torch.cat([x[:, :2], (x[:, 1:2] + x[:, 2:]) ** power], 1)
    x[:3, 2] = torch.tensor([1e5, -300.0, -302.0])
    x.requires_grad_()
    found, truth = (Dependence(x, [], [(0, 1), (1, 2)], tolerance=tolerance) for tolerance in (1e-6, 0))
    assert [type(part[0]).__name__ for part in found.parts] == (["LowRank"] if power == 1 else ["LowRank", "Exact"])
    torch.testing.assert_close(found.value, truth.value, rtol=0, atol=1e-7)
    one, two = (torch.autograd.grad(part.value.sum(), x)[0] for part in (found, truth))
    assert (one - two).abs().max() < 1e-5 * two.abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tolerance", [0, 1e-6])
def test_cuda_gives_the_same_numbers(tolerance: float) -> None:
    scalars, wide = groups(400, torch.float32)
    found = Dependence(scalars.cuda(), [part.cuda() for part in wide], PAIRS, tolerance=tolerance)
    expected = Dependence(scalars, wide, PAIRS, tolerance=tolerance)
    torch.testing.assert_close(found.value.cpu(), expected.value, rtol=0, atol=1e-6)
    plus, minus = torch.tensor([0, 2]), torch.tensor([1, 0])
    errors = Gaps(found, plus.cuda(), minus.cuda()).standard_error.cpu()
    torch.testing.assert_close(errors, Gaps(expected, plus, minus).standard_error, rtol=1e-3, atol=0)


@pytest.mark.parametrize("tolerance", [0, 1e-6])
def test_standard_errors_over_blocks_are_those_of_sums_of_influences(tolerance: float) -> None:
    x = draw(1500 if tolerance else 120, 3)
    x[:, 1] += x[:, 0]
    found = Dependence(x, [], [(0, 1), (0, 2)], tolerance=tolerance)
    gaps = Gaps(found, torch.tensor([0]), torch.tensor([1]))
    torch.testing.assert_close(gaps.blocked_error(torch.arange(len(x))), gaps.standard_error)
    blocks = torch.arange(len(x)) // 7
    influence = torch.cat([spread[0] - spread[1] for spread in found.influence()]).numpy()
    expected = np.sqrt(sum(influence[blocks.numpy() == b].sum() ** 2 for b in range(int(blocks.max()) + 1))) / len(x)
    assert gaps.blocked_error(blocks).item() == pytest.approx(expected)

"""Laws of the dependence measure."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moreso import hsic
from moreso.dependence import pair_dependence, u_centre
from moreso.kernels import gaussian_gram
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
    assert abs(np.mean(values)) < 1e-16 < np.std(values)


def test_symmetry_and_joint_permutation_invariance() -> None:
    x, y = draw(30, 2), draw(30, 3, seed=1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    for normalize in (False, True):
        value = hsic(x, y, normalize=normalize)
        torch.testing.assert_close(hsic(y, x, normalize=normalize), value)
        torch.testing.assert_close(hsic(x[order], y[order], normalize=normalize), value)


def test_u_centring_sums_to_zero_and_does_not_feel_constants() -> None:
    gram = gaussian_gram(draw(20), 1.0)
    shift = draw(20, seed=3)
    torch.testing.assert_close(u_centre(gram).sum(1), torch.zeros(20).double(), atol=1e-14, rtol=0)
    torch.testing.assert_close(u_centre(gram + shift + shift.T), u_centre(gram))


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
    assert value.item() == 0
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
def test_influence_gives_the_spread_over_fresh_samples(normalize: bool) -> None:
    values, errors = [], []
    for seed in range(300):
        x, noise = draw(120, seed=seed), draw(120, seed=1000 + seed)
        grams = [gaussian_gram(x, 1.0), gaussian_gram(x + noise, 1.3)]
        found = pair_dependence(grams, [(0, 1)], normalize=normalize)
        values.append(found.value.item())
        errors.append((found.influence.square().mean() / 120).sqrt().item())
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)

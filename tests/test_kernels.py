"""Laws of the kernel and its bandwidths."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moreso.dependence.kernels import cosine_basis, gaussian_gram, median_bandwidth, spread_bandwidth
from tests import oracles


@pytest.mark.parametrize("width", [1, 3])
def test_gram_equals_its_definition_and_has_a_gradient(width: int) -> None:
    x = torch.randn(7, width, dtype=torch.double, generator=torch.Generator().manual_seed(0), requires_grad=True)
    np.testing.assert_allclose(gaussian_gram(x, 0.8).detach(), oracles.gram(x.detach().numpy(), 0.8), rtol=1e-12)
    mask = torch.ones(7, 7).triu(1).bool()  # the clamp at distance 0 has no derivative on the diagonal
    torch.autograd.gradcheck(lambda x: gaussian_gram(x, 0.8)[mask], x)


def test_an_offset_costs_no_accuracy_in_single_precision() -> None:
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    exact = gaussian_gram(x.double() + 1000, 1.0)
    assert (gaussian_gram(x + 1000, 1.0).double() - exact).abs().max() < 2e-4
    assert (gaussian_gram(x, 1.0).double() - gaussian_gram(x.double(), 1.0)).abs().max() < 1e-6


def test_median_is_over_pairs_and_falls_back_when_most_are_tied() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert median_bandwidth(x) == 3.0  # of 1, 2, 3, 4, 6, 7: the lower middle
    tied = torch.tensor([[0.0]] * 9 + [[2.0]])
    assert median_bandwidth(tied) == 2.0
    with pytest.raises(ValueError, match="constant group has no bandwidth"):
        median_bandwidth(torch.ones(5, 2))


def test_spread_is_the_median_distance_of_gaussian_rows_and_scales_with_them() -> None:
    for width in (1, 4, 30):
        x = torch.randn(2000, width, generator=torch.Generator().manual_seed(0))
        assert spread_bandwidth(x).item() == pytest.approx(median_bandwidth(x, max_rows=2000).item(), rel=0.05)
        assert spread_bandwidth(5 * x).item() == pytest.approx(5 * spread_bandwidth(x).item())


def test_thinning_hardly_moves_the_median() -> None:
    x = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    assert median_bandwidth(x).item() == pytest.approx(median_bandwidth(x, max_rows=5000).item(), rel=0.03)


@given(st.floats(0.5, 60), st.sampled_from([1e-4, 1e-6, 1e-9]))
def test_features_give_the_kernel_within_the_tolerance_over_the_whole_range(width: float, tolerance: float) -> None:
    basis = cosine_basis(width, tolerance=tolerance)
    assert width <= basis.width <= 1.05 * max(width, 1)
    x = torch.linspace(-basis.width / 2, basis.width / 2, 401, dtype=torch.double)
    angles = basis.frequencies * x
    features = basis.projection @ torch.cat([angles.cos(), angles.sin()])
    error = features.T @ features - gaussian_gram(x[:, None], 1.0)
    # The constant term is left out: the error may be any constant, but must be one to within the tolerance.
    assert (error.max() - error.min()).item() <= 2 * tolerance
    assert (features.square().sum(0) - basis.square).abs().max().item() <= tolerance


def test_a_tighter_tolerance_and_a_wider_range_cost_more_features() -> None:
    ranks = [[cosine_basis(width, tolerance=tolerance).rank for tolerance in (1e-4, 1e-6)] for width in (7, 20)]
    assert ranks[0][0] < ranks[0][1] <= 17
    assert ranks[0][0] < ranks[1][0] < ranks[1][1]

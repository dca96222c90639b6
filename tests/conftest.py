"""Fixtures for all tests."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings as hypothesis

# A law may take its time on a busy machine; a timed test would be a test of the machine.
hypothesis.register_profile("moreso", deadline=None)
hypothesis.load_profile("moreso")


@pytest.fixture(autouse=True)
def _global_state_is_left_alone() -> Iterator[None]:
    """No call of the library may move a global random state, or switch a global of PyTorch."""
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    settings = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    yield
    assert torch.equal(torch.get_rng_state(), before[0]), "the test moved PyTorch's global random state"
    assert np.random.get_state()[1].tolist() == before[1], "the test moved NumPy's"  # type: ignore[index]
    assert settings == (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())


@pytest.fixture
def plant() -> pd.DataFrame:
    """A small plant: outlet follows inlet without a linear trace, ambient is of its own, flow is an integer."""
    random = np.random.default_rng(0)
    inlet = random.normal(size=60)
    return pd.DataFrame(
        {
            "ambient": random.normal(10, 5, size=60),
            "inlet": inlet,
            "outlet": inlet**2 + 0.1 * random.normal(size=60),
            "flow": random.poisson(20, size=60),
        }
    )

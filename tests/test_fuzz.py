"""The readers of what others wrote, on damaged inputs: `make fuzz` searches longer, guided by coverage."""

from itertools import islice

import pytest

from tests.fuzz.harness import TARGETS, corpus, mutations

TIMES = {"knowledge": 400, "table": 120, "header": 60, "condition": 300}


@pytest.mark.parametrize("target", TARGETS)
def test_stored_inputs(target: str) -> None:
    assert len(corpus(target)) > 1
    for data in corpus(target):
        TARGETS[target](data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("many", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_damaged_inputs(target: str, many: int) -> None:
    for data in islice(mutations(target, many), many * TIMES[target]):
        try:
            TARGETS[target](data)
        except Exception as error:
            pytest.fail(f"{data!r}: {type(error).__name__}: {error}")

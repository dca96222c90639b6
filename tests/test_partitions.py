"""The audit of partitions is the audit in memory."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import moreso
from moreso._audit import partitions as _partitions
from moreso.cli import main
from moreso.dependence import RelativeDependence
from moreso.relations import DataError, KnowledgeError

dask = pytest.importorskip("dask", reason="dask")
dd = pytest.importorskip("dask.dataframe", reason="dask")

NUMBERS = ["gap", "standard_error", "normalized_gap", "normalized_error", "pvalue", "converse_pvalue", "bits"]

KNOWLEDGE = """
a: +b > c          # single columns, some rows missing
a: b > d           # a curve
a: on > kind       # two levels, and three
b: a > {c, d}      # a group
d: a > when        # times
size: +a           # ordered levels
rare: a > b        # few rows have it
never: a > b       # fewer than four
a: b > far         # heavy tails
"""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    n = 8000
    a = random.normal(size=n)
    rows = pd.DataFrame(
        {
            "a": a,
            "b": 1000 + 0.001 * (a + random.normal(size=n)),
            "c": random.normal(size=n),
            "d": a**2 + random.normal(size=n),
            "when": pd.Timestamp("2024-01-01", tz="Europe/Paris") + pd.to_timedelta(np.arange(n), "min"),
            "on": random.choice(["yes", "no"], n),
            "kind": random.choice(["p", "q", "s"], n),
            "size": pd.Categorical(
                np.select([a < -0.5, a < 0.5], ["small", "middle"], "large"), ["small", "middle", "large"], ordered=True
            ),
            "rare": random.normal(size=n),
            "never": np.nan,
            "far": random.standard_t(1.1, size=n),
        }
    )
    rows.loc[random.random(n) < 0.1, "c"] = np.nan
    rows.loc[random.random(n) > 0.01, "rare"] = np.nan
    rows.loc[[7, 4000, 7999], "never"] = [1.0, 2.0, 3.0]
    return rows


def partitions(table: pd.DataFrame, ends: list[int]) -> Any:
    """Return a Dask DataFrame with partitions of unequal length."""
    parts = [table[start:stop] for start, stop in zip([0, *ends], [*ends, len(table)], strict=True)]
    return dd.concat([dd.from_pandas(part, npartitions=1) for part in parts])


def test_every_number_is_that_of_the_audit_in_memory(table: pd.DataFrame) -> None:
    expected = moreso.audit(table, KNOWLEDGE)
    found = moreso.audit(partitions(table, [1, 3000, 3001, 7000]), KNOWLEDGE)
    one, other = expected.to_frame().set_index("relation"), found.to_frame().set_index("relation")
    assert list(one.index) == list(other.index)
    exact = [name for name in one.index if "far" not in name]
    np.testing.assert_allclose(other.loc[exact, NUMBERS], one.loc[exact, NUMBERS], rtol=1e-6, atol=1e-9)
    assert (other.loc[exact, "rows"] == one.loc[exact, "rows"]).all() and (other["verdict"] == one["verdict"]).all()
    assert abs(found.nats - expected.nats) < 0.2
    assert set(expected.notes[1:]) == set(found.notes[1:])
    (far,) = set(one.index) - set(exact)
    assert abs(other.loc[far, "gap"] - one.loc[far, "gap"]) < 3 * one.loc[far, "standard_error"]


def test_a_column_with_an_outlier_needs_no_other_path_than_its_moments() -> None:
    """In memory, it is squeezed; its span is beyond what Gram matrices are cheaper for."""
    random = np.random.default_rng(1)
    a, far = random.normal(size=(2, 8000))
    far[17] = 55.0
    rows = pd.DataFrame({"a": a, "b": a + random.normal(size=8000), "far": far})
    one, other = (
        moreso.audit(each, "a: b > far\nb: a > far").to_frame() for each in (rows, partitions(rows, [3000, 5000]))
    )
    np.testing.assert_allclose(other[NUMBERS], one[NUMBERS], rtol=1e-5, atol=1e-7)
    assert (other["rows"] == 8000).all()


def test_a_short_table_is_audited_in_memory(table: pd.DataFrame) -> None:
    short = table[["a", "b", "d"]][:300]
    knowledge = "a: b > d\na: +b"
    pd.testing.assert_frame_equal(
        moreso.audit(partitions(short, [100]), knowledge).to_frame(), moreso.audit(short, knowledge).to_frame()
    )


def test_problems_are_those_of_the_whole_table(table: pd.DataFrame) -> None:
    odd = table.assign(
        a=table["a"].where(table.index != 6001, np.inf), c="same", b=[f"x{i}" for i in range(len(table))]
    )
    with pytest.raises(DataError) as caught:
        moreso.audit(partitions(odd, [5000]), "a: b > c\nd: a > c")
    for part in ("'a' has infinite values", "'c' is constant", "'b' holds more than 100 different texts"):
        assert part in str(caught.value)
    with pytest.raises(KnowledgeError, match="nowhere"):
        moreso.audit(partitions(table, [5000]), "a: b > nowhere")
    with pytest.raises(ValueError, match="'block' and 'like' need rows in memory"):
        moreso.audit(partitions(table, [5000]), "a: b > c", block=10)


def made(number: int, rows: int) -> pd.DataFrame:
    """Return a partition that is made when it is read."""
    a, b, c, d = np.random.default_rng(number).normal(size=(4, rows))
    return pd.DataFrame({"a": a, "b": a + b, "c": c, "d": d + c})


def peak_of(partitions: int) -> int:
    """Return the most memory that an audit of so many partitions of 10,000 rows has in arrays at once."""
    table = dd.from_map(made, range(partitions), rows=10_000, meta=made(0, 1))
    with dask.config.set(scheduler="synchronous"):
        tracemalloc.start()
        moreso.audit(table, "a: b > c")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found


def test_more_partitions_need_no_more_memory() -> None:
    """Both tables are longer than the first rows that are kept."""
    peak_of(1)  # what is loaded once
    assert peak_of(60) < 1.2 * peak_of(15)


def test_each_pass_reads_a_partition_once_and_measures_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pass leaves out partitions none of whose rows are needed as they are."""
    monkeypatch.setattr(_partitions, "MAX_ROWS", 20)
    monkeypatch.setattr(_partitions, "HEAD", 100)
    read, measured = [], []
    statistics = RelativeDependence.statistics

    def reading(number: int) -> pd.DataFrame:
        read.append(number)
        return made(number, 100)

    def measuring(self: RelativeDependence, *arguments: Any) -> Any:
        measured.append(len(arguments[0]))
        return statistics(self, *arguments)

    monkeypatch.setattr(RelativeDependence, "statistics", measuring)
    with dask.config.set(scheduler="synchronous"):
        moreso.audit(dd.from_map(reading, range(40), meta=made(0, 1)), "a: b > c\nd: c > a\nb: +a")
    needed = {place // 100 for place in range(0, 4000, 200)}
    assert measured == [100] * 40
    assert sorted(read) == sorted([*range(40)] * 3 + sorted(needed))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    return result.exit_code, result.output


def test_the_command_reads_folders_patterns_and_files(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plant").mkdir()
    own = table[["a", "b", "c"]]
    own[:3000].to_parquet("plant/1.parquet")
    own[3000:].to_parquet("plant/2.parquet")
    own.to_parquet("whole.parquet")
    Path("k.txt").write_text("a: +b > c\n")
    expected = run("audit", "whole.parquet", "k.txt", "--csv")
    for data in (["plant"], ["plant/*.parquet"], ["plant/1.parquet", "plant/2.parquet"]):
        code, output = run("audit", *data, "k.txt", "--csv", "--engine", "dask")
        assert code == expected[0] == 0
        assert [line.split(",")[0] for line in output.splitlines()] == [
            line.split(",")[0] for line in expected[1].splitlines()
        ]
    code, output = run("audit", "none/*.parquet", "k.txt", "--engine", "dask", "--separator", ";")
    assert code == 2 and "none/*.parquet: names no file" in output and "have types" in output
    code, output = run("audit", "k.txt", "k.txt", "--engine", "dask")
    assert code == 2 and "Dask reads Parquet files" in output
    code, output = run("audit", "whole.parquet", "k.txt", "--scheduler", "tcp://127.0.0.1:1")
    assert code == 2 and "--engine dask" in output
    code, output = run("audit", "whole.parquet", "k.txt", "--engine", "dask", "--scheduler", "nonsense")
    assert code == 2 and "no Dask scheduler answers at nonsense" in output
    with pytest.raises(ValueError, match="No clients found"):  # which would get all later computations
        pytest.importorskip("distributed").default_client()


def test_dask_is_loaded_on_demand() -> None:
    code = "import moreso, sys; from moreso.tabular import is_partitioned; moreso.audit; print('dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


KILLING = """
import sys
import dask.dataframe as dd
import pandas as pd
from distributed import Client, LocalCluster
import moreso

if __name__ == "__main__":
    table = dd.from_pandas(pd.read_parquet("table.parquet"), npartitions=4)
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        next(iter(cluster.workers.values())).process.process.kill()
        moreso.audit(table, sys.argv[1]).to_frame().to_json("found.json", double_precision=15)
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(table: pd.DataFrame, tmp_path: Path) -> None:
    """In a process of its own, since workers start as copies of the process that asks for them."""
    pytest.importorskip("distributed")
    own, knowledge = table[["a", "b", "c", "d"]], "a: +b > c\na: b > d"
    own.to_parquet(tmp_path / "table.parquet")
    (tmp_path / "killing.py").write_text(KILLING)
    subprocess.run([sys.executable, "killing.py", knowledge], cwd=tmp_path, check=True, timeout=120)
    found = pd.read_json(tmp_path / "found.json")
    expected = moreso.audit(dd.from_pandas(own, npartitions=4), knowledge).to_frame()
    np.testing.assert_allclose(found[NUMBERS], expected[NUMBERS], rtol=1e-9, atol=1e-14)

"""Tables on disk."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moreso.tabular import column_problems, read_table, table_problems, write_table


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "CSV"])
def test_a_table_is_read_back(plant: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plant.{suffix}"
    write_table(plant, path)
    pd.testing.assert_frame_equal(read_table(path).table, plant)
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for suffix in ("parquet", "feather"):
        path = tmp_path / f"plant.{suffix}"
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=rf"plant.{suffix}: is not a {suffix.upper()} table"):
            read_table(path)


def test_duplicate_columns_and_an_empty_table_are_refused(plant: pd.DataFrame) -> None:
    doubled = pd.concat([plant, plant[["inlet"]]], axis=1)
    assert table_problems(doubled) == ["column 'inlet' occurs more than once. Give every column a name of its own."]
    assert table_problems(plant[[]]) == ["the table has no columns. Check the file."]


def test_only_the_columns_that_statements_name_must_vary(plant: pd.DataFrame) -> None:
    mixed = plant.assign(site="north", late=np.nan)
    assert table_problems(mixed, ["inlet", "outlet"], modelled=True) == []
    sentences = [
        "column 'site' is constant (every value is north). Leave it out.",
        "column 'late' is empty. Leave it out.",
    ]
    assert table_problems(mixed, ["site", "late"]) == sentences
    assert table_problems(mixed, ["site", "late"], modelled=True) == sentences


def test_coordinates_must_be_numbers_without_missing_values(plant: pd.DataFrame) -> None:
    assert column_problems(plant.inlet, numeric=True) == []
    for column, sentence in (
        (plant.inlet.astype(str), "is not numeric"),
        (plant.inlet.where(plant.inlet > 0), "missing values"),
        (0 * plant.inlet + np.inf, "has infinite values"),
    ):
        (problem,) = column_problems(column, numeric=True)
        assert sentence in problem and "'inlet'" in problem


def test_new_files_have_ordinary_permissions(plant: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_table(plant, tmp_path / "plant.csv")
    assert (tmp_path / "plant.csv").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_query_gives_a_table(plant: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for part in (0, 1):
        write_table(plant.iloc[part::2], Path(f"part{part}.parquet"))
    query = tmp_path / "plant.sql"
    query.write_text("SELECT inlet, flow FROM 'part*.parquet' WHERE flow > 20 ORDER BY inlet;")
    expected = plant[plant.flow > 20][["inlet", "flow"]].sort_values("inlet", ignore_index=True)
    pd.testing.assert_frame_equal(read_table(query).table, expected)
    for text, reason in (("SELECT nothing", "Binder Error"), ("CREATE TABLE t(x INT)", "one query that only reads")):
        query.write_text(text)
        with pytest.raises(ValueError, match=rf"plant.sql: is not a query that works \(.*{reason}"):
            read_table(query)
    with pytest.raises(ValueError, match=r"tables end in \.csv, \.parquet, \.feather, got '\.sql'"):
        write_table(plant, query)


@pytest.mark.parametrize(
    "text",
    [
        "COPY (SELECT 1) TO 'new.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'new.csv'",
        "SELECT 1; COPY (SELECT 1) TO 'new.csv'",
        "WITH a AS (COPY (SELECT 1) TO 'new.csv') SELECT 1",
        "WITH \"ä€\" AS (cOpY(SELECT 1) TO 'new.csv') SELECT 1",
        "COPY (PIVOT (SELECT 1 a, 2 b) ON a USING sum(b)) TO 'new.csv'",
        "WITH a AS (COPY (SELECT 1) TO 'new.csv'), b AS (SELECT 1 x, 2 y) PIVOT b ON x USING sum(y)",
        "SELECT * FROM query('WITH a AS (COPY (SELECT 1) TO ''new.csv'') SELECT 1')",
        "ATTACH 'new.db'",
        "EXPORT DATABASE 'new'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_logging = true",
        "FROM enable_logging(storage = 'file', storage_path = 'new')",
        "CREATE PERSISTENT SECRET a (TYPE s3)",
        "SELECT * FROM 'https://example.com/table.csv'",
        "SELECT * FROM SAFE",
        "SELECT 1; SELECT 2",
        "-- nothing",
    ],
)
def test_a_query_only_reads(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("query.sql").write_text(text)
    with pytest.raises(ValueError, match=r"query\.sql: is not a query that works"):
        read_table("query.sql")
    assert [file.name for file in tmp_path.iterdir()] == ["query.sql"]


def test_a_query_may_pivot_and_name_a_column_as_it_likes(tmp_path: Path) -> None:
    query = tmp_path / "query.sql"
    for text in (
        'PIVOT (SELECT \'a\' AS "copy", 2 AS load) ON "copy" USING sum(load)',
        "-- a note\nFROM (SELECT 2 AS a)",
        "SELECT 2 AS a, 'COPY' AS copyright",
        "SELECT 2 AS Count",
    ):
        query.write_text(text)
        assert read_table(query).table.iloc[0, 0] == 2


def test_a_query_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "moreso.tabular.sql", raising=False)
    (tmp_path / "plant.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match=r"needs the package 'duckdb'. Install it with: pip install 'moreso\[sql\]'"):
        read_table(tmp_path / "plant.sql")


def test_texts_with_too_many_levels_are_refused(plant: pd.DataFrame) -> None:
    """By audit and model alike; statements also compare no more than 100 levels."""
    assert table_problems(plant.assign(site=["north", "south"] * 30), ["site"], modelled=True) == []
    named = plant.assign(site=[f"n{i % 40}" for i in range(60)])
    for measured, modelled in ((["site"], False), ((), True), (["site"], True)):
        (problem,) = table_problems(named, measured, modelled=modelled)
        assert "column 'site' holds 40 different texts in 60 rows" in problem
    towns = pd.concat([plant] * 5).assign(site=[f"n{i % 120}" for i in range(300)])
    assert table_problems(towns, modelled=True) == []
    (problem,) = table_problems(towns, ["site"], modelled=True)
    assert "'site' holds 120 different texts" in problem and "100" in problem

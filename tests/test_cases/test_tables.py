"""Tables as people have them, from the file to the sample: what comes out looks like what went in."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

from moreso import Knowledge, Settings, Synthesizer, audit, report
from moreso.cli import main
from moreso.tabular import OneHotEncoder, TableEncoder, measure, read_table, table_problems, write_table

DATA = Path(__file__).parent / "data"


def quick(**given: Any) -> Synthesizer:
    return Synthesizer("factor", **{"max_epochs": 3, "random_state": 0, **given})


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.output


def sampled(name: str, folder: Path, *knowledge: Path) -> tuple[pd.DataFrame, str]:
    """Return samples of a model of a file, as text, and what the fit printed; all through the shell."""
    output = run("fit", DATA / name, *knowledge, "-o", folder / "m", "--model", "factor", "--max-epochs", 3)
    run("sample", folder / "m", "-n", 500, "-o", folder / "s.csv")
    return pd.read_csv(folder / "s.csv", dtype=str, keep_default_na=False), output


def test_a_sample_looks_as_its_file_does(tmp_path: Path) -> None:
    sample, output = sampled("zip-codes-na-integers-prices.csv", tmp_path)
    assert set(sample["zip"]) <= {"90210", "02139", "00501", "01234", "94105", "10115"} and "02139" in set(
        sample["zip"]
    )
    assert set(sample["country"]) == {"DE", "FR", "NA"}
    assert sample["age"].str.fullmatch(r"\d*").all() and sample["age"].eq("").any()
    assert sample["price"].str.fullmatch(r"-?\d+\.\d{1,2}").all()
    assert "missing values: age" in output


@pytest.mark.parametrize("rows", [40, 90])
def test_no_real_identifier_leaves(rows: int, tmp_path: Path) -> None:
    real = set(read_table(DATA / f"identifiers-{rows}-rows.csv").table["patient"])
    sample, output = sampled(f"identifiers-{rows}-rows.csv", tmp_path)
    assert sample["patient"].is_unique and sample["patient"].str.fullmatch(r"P\d+").all()
    assert not real & set(sample["patient"])
    content = (tmp_path / "m").read_bytes()
    assert not any(re.search(rf"\b{each}\b".encode(), content) for each in real)
    assert "column 'patient' holds identifiers" in output and "P10000" in output


def test_whole_numbers_may_be_identifiers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"patient": random.permutation(9000)[:60] + 1000, "a": random.normal(size=60)})
    with pytest.warns(UserWarning, match="'patient' holds identifiers"):
        fitted = quick().fit(table)
    sample = fitted.sample(50, where="a > 0")
    assert sample["patient"].tolist() == list(range(10_000, 10_050))
    assert np.isfinite(fitted.score_samples(table[["a"]])).all()
    kept = quick(settings=Settings(identifiers=())).fit(table)
    assert kept.encoder_.width == 2
    with pytest.raises(ValueError, match="no column 'nobody'"):
        quick(settings=Settings(identifiers=("nobody",))).fit(table)
    with pytest.raises(ValueError, match="'a' holds identifiers, as you say, and statements name it"):
        quick(knowledge=Knowledge.parse("patient: a > b"), settings=Settings(identifiers=("a",))).fit(
            table.assign(b=1.5 * table["a"] ** 2)
        )


def test_identifiers_may_be_named_at_the_shell(tmp_path: Path) -> None:
    table = pd.DataFrame({"code": [f"{i % 5}" for i in range(40)], "number": range(40), "x": np.sqrt(range(40))})
    write_table(table, tmp_path / "t.csv")
    options = ("--column", "code=identifiers", "--column", "number=numbers")
    output = run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--model", "factor", "--max-epochs", 2, *options)
    assert "column 'code' holds identifiers" in output and "'number'" not in output


@pytest.mark.parametrize("name", ["ward", "remark"])
def test_another_part_of_the_same_table(name: str, tmp_path: Path) -> None:
    """Its values are of other dtypes, since the part holds other values; they mean the same."""
    (tmp_path / "k.txt").write_text("chol: age > bp\n" if name == "remark" else "chol: age > ward\n")
    fit = ("--model", "factor", "--max-epochs", 3, "--trust", "all")
    run("fit", DATA / f"{name}-train.csv", tmp_path / "k.txt", "-o", tmp_path / "m", *fit)
    run("report", tmp_path / "m", DATA / f"{name}-held-out.csv", "-o", tmp_path / "r.html")
    fitted = Synthesizer.load(tmp_path / "m")
    part = read_table(DATA / f"{name}-held-out.csv").table
    assert np.isfinite(fitted.score_samples(part)).all()
    assert report(fitted, part).statements
    if name == "ward":
        same = fitted.score_samples(part.assign(ward=part["ward"].astype(str)))
        np.testing.assert_array_equal(fitted.score_samples(part), same)
        with pytest.raises(ValueError, match="categories that were not in training: '9'"):
            fitted.score_samples(part.assign(ward=9))


def test_text_that_means_numbers_dates_or_truth() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "x": random.normal(size=40).round(2),
            "n": random.integers(0, 30, 40),
            "day": pd.date_range("2024-01-01", periods=40),
            "on": random.random(40) < 0.5,
        }
    )
    fitted = quick().fit(table)
    np.testing.assert_array_equal(fitted.score_samples(table.astype(str)), fitted.score_samples(table))
    with pytest.raises(ValueError, match="column 'n' is of type"):
        fitted.score_samples(table.assign(n="many"))


def test_the_number_1_and_the_text_are_one_level() -> None:
    one, other = pd.DataFrame({"a": ["1", "2", "x"] * 5}), pd.DataFrame({"a": [1, 2.0, 2] * 5})
    measured = measure(other, one, ["a"])
    assert measured.levels == {"a": 3}
    assert len(np.unique(measured.rows, axis=0)) == 2


FRAMES: dict[str, tuple[list[Any], pa.DataType]] = {
    "decimal": ([Decimal(i * i).scaleb(-2) for i in range(40)], pa.decimal128(10, 2)),
    "date": (list(pd.date_range("2024-01-01", periods=40).date), pa.date32()),
    "text": (["red", "green", None, "blue"] * 10, pa.string()),
    "integer": ([1, 5, None, 7, 2] * 8, pa.int16()),
    "float": ([i / 3 for i in range(40)], pa.float32()),
    "truth": ([True, False, None, True] * 10, pa.bool_()),
    "time": (list(pd.date_range("2024-01-01", periods=40, tz="Europe/Berlin")), pa.timestamp("us", "Europe/Berlin")),
    "duration": (list(pd.timedelta_range("1h", periods=40)), pa.duration("s")),
    "dictionary": (["red", "green", "red", "blue"] * 10, pa.dictionary(pa.int8(), pa.string())),
}


@pytest.mark.parametrize("name", FRAMES)
def test_columns_of_arrow(name: str) -> None:
    values, kind = FRAMES[name]
    column = pd.Series(values, dtype=object).astype(pd.ArrowDtype(kind))
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40), "y": column, "z": np.arange(40) ** 1.5})
    assert table_problems(table, ["y"], modelled=True) == []
    assert len(audit(table, Knowledge.parse("x: y > z"))) == 1
    fitted = quick(knowledge=Knowledge.parse("x: y > z"), trust="all").fit(table)
    sample = fitted.sample(60)
    assert sample["y"].dtype == table["y"].dtype
    assert sample["y"].isna().any() == table["y"].isna().any()
    back = fitted.encoder_.decode(fitted.encoder_.encode(table), np.random.default_rng(0), missing=False)
    pd.testing.assert_series_equal(back["y"], table["y"])


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".csv"])
@pytest.mark.parametrize("name", ["decimals", "dates"])
def test_decimals_and_dates_of_databases(name: str, suffix: str, tmp_path: Path) -> None:
    table = pd.read_parquet(DATA / f"{name}.parquet")
    write_table(table, tmp_path / f"t{suffix}")
    read = read_table(tmp_path / f"t{suffix}").table
    fitted = quick(knowledge=Knowledge.parse("outlet: inlet > ambient"), trust="all").fit(read)
    sample = fitted.sample(30)
    if suffix != ".csv":
        for column in table:
            assert type(sample[column].iloc[0]) is type(table[column].iloc[0])
    if name == "decimals":
        assert sample["inlet"].astype(str).str.fullmatch(r"-?\d+\.\d{1,2}").all()
    write_table(sample, tmp_path / f"s{suffix}")
    assert len(read_table(tmp_path / f"s{suffix}").table) == 30


def test_a_query_gives_decimals_and_dates(tmp_path: Path) -> None:
    (tmp_path / "t.sql").write_text(f"SELECT *, inlet + 1 AS other FROM '{DATA / 'decimals.parquet'}'")
    assert quick().fit(read_table(tmp_path / "t.sql").table).sample(5).shape == (5, 4)


def test_a_category_in_several_columns_stays_one(tmp_path: Path) -> None:
    sample, output = sampled("one-hot.csv", tmp_path)
    ones = sample[["is_x", "is_y", "is_z"]].astype(int)
    assert (ones.sum(axis=1) == 1).all() and (ones.sum() > 0).all()
    assert "are one category: each row has exactly one 1" in output


def test_statements_name_the_columns_of_a_category() -> None:
    table = read_table(DATA / "one-hot.csv").table.assign(b=lambda t: t["a"] ** 2)
    encoder = TableEncoder.fit(table)
    (group,) = (column for column in encoder.columns if isinstance(column, OneHotEncoder))
    assert group.names == ("is_x", "is_y", "is_z")
    back = encoder.decode(encoder.encode(table), np.random.default_rng(0))
    pd.testing.assert_frame_equal(back, table)
    with pytest.warns(UserWarning, match="are one category"):
        fitted = quick(knowledge=Knowledge.parse("a: is_x > is_y\nis_z: b > a"), trust="all").fit(table)
    assert len(report(fitted, table).statements) == 2
    with pytest.raises(ValueError, match="2 rows do not have exactly one 1"):
        fitted.score_samples(table.assign(is_x=np.where(table.index < 2, 1 - table["is_x"], table["is_x"])))


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"sex_m": [1, 0] * 10, "sex_f": [0, 1] * 10}, 1),
        ({"m": [1, 0] * 10, "f": [0, 1] * 10}, 0),
        ({"x_a": [1, 0] * 10, "x_b": [0, 0] * 10}, 0),
        ({"x_a": [True, False, False] * 7, "x_b": [False, True, False] * 7, "x_c": [False, False, True] * 7}, 1),
        ({"x_a": [1, 0, 0] * 7, "x_b": [0, 1, 0] * 7, "x_c": [0, 1, 1] * 7}, 0),
        ({"a": [1, 0] * 10, "x_a": [1, 0] * 10, "x_b": [0, 1] * 10}, 1),
    ],
)
def test_which_columns_are_one_category(columns: dict[str, Any], found: int) -> None:
    encoder = TableEncoder.fit(pd.DataFrame(columns))
    assert sum(isinstance(column, OneHotEncoder) for column in encoder.columns) == found


def test_decimals_are_kept() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "two": random.normal(size=60).round(2),
            "none": random.normal(size=60).round() + 0.0,
            "many": random.normal(size=60),
            "single": random.normal(size=60).round(1).astype(np.float32),
        }
    )
    sample = quick().fit(table).sample(500)
    for name, places in (("two", 2), ("none", 0), ("single", 1)):
        assert (sample[name].round(places) == sample[name]).all()
    assert (sample["many"].round(6) != sample["many"]).any()
    assert (sample.dtypes == table.dtypes).all()


def test_a_fit_says_what_it_made_of_the_table(tmp_path: Path) -> None:
    _, output = sampled("zip-codes-na-integers-prices.csv", tmp_path)
    assert "modelled: 2 categories, 1 whole number, 1 measurement." in output
    assert "read 60 rows x 4 columns, separated by ','." in output

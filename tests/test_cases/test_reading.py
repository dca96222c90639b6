"""Text files as people have them: read right, and what is not plain is said."""

import bz2
import gzip
import lzma
import re
import warnings
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moreso import Synthesizer
from moreso.cli import main
from moreso.tabular import Read, Reading, find_identifiers, read_table, table_problems, write_table

DATA = Path(__file__).parent / "data"


def text(path: Path, content: str | bytes, **options: Any) -> Read:
    """Write a file and read it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, Reading(**options))


def said(read: Read, part: str) -> bool:
    return any(part in note for note in read.notes)


def test_codes_keep_their_zeros_and_namibia_its_name() -> None:
    table, _ = read = read_table(DATA / "zip-codes-na-integers-prices.csv")
    assert table["zip"][1] == "02139" and set(table["country"]) == {"DE", "FR", "NA"}
    assert str(table["age"].dtype) == "Int64" and table["age"].isna().any()
    assert said(read, "'zip' holds codes with leading zeros") and said(read, "'NA' was taken for one of them")


def test_a_trailing_separator_moves_no_column() -> None:
    table, _ = read = read_table(DATA / "logger-trailing-comma.csv")
    pd.testing.assert_frame_equal(table, read_table(DATA / "logger-clean.csv").table)
    assert said(read, "empty last column was left out")


@pytest.mark.parametrize("command", ["audit t.csv k.txt", "fit t.csv k.txt -o m", "ask t.csv"])
def test_two_columns_of_one_name_are_refused(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_bytes((DATA / "two-columns-named-temp.csv").read_bytes())
    Path("k.txt").write_text("outlet: temp > flow\n")
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 2
    assert "column 'temp' occurs more than once" in result.stderr


@pytest.mark.parametrize(
    ("name", "column", "missing", "note"),
    [
        ("numbers-with-question-marks.csv", "power", 2, "column 'power' holds 118 numbers and the text '?' 2 times"),
        ("below-detection-limit.csv", "ambient", 1, "column 'ambient' holds 39 numbers and the text '<0.5' once"),
        ("units-in-second-row.csv", "inlet", 0, "the second line holds units ('degC', ...)"),
    ],
)
def test_texts_among_numbers(name: str, column: str, missing: int, note: str) -> None:
    table, _ = read = read_table(DATA / name)
    assert pd.api.types.is_numeric_dtype(table[column])
    assert table[column].isna().sum() == missing
    assert said(read, note)


def test_a_user_may_say_otherwise() -> None:
    power = read_table(DATA / "numbers-with-question-marks.csv", Reading(kinds={"power": "text"})).table["power"]
    assert (power == "?").sum() == 2
    ward = read_table(DATA / "ward-train.csv", Reading(kinds={"ward": "numbers"})).table["ward"]
    assert set(ward.dropna()) == {1, 2, 3} and ward.isna().sum() == 15
    day = read_table(DATA / "dates-as-numbers.csv", Reading(kinds={"day": "dates"})).table["day"]
    assert day[0] == pd.Timestamp("2024-01-20")


def test_dates() -> None:
    assert read_table(DATA / "iso-dates.csv").table["day"][0] == pd.Timestamp("2024-01-20")
    table, _ = read = read_table(DATA / "dates-as-numbers.csv")
    assert table["day"][0] == 20240120
    assert said(read, "look like dates (20240120): taken as numbers. If they are dates, say so: --column day=dates.")


def test_a_few_numbers_and_a_word_are_levels(tmp_path: Path) -> None:
    """However long the file: nothing is read in pieces."""
    codes = [*range(5)] * 60_000 + ["UNK"] * 10
    read = text(tmp_path / "t.csv", "code,x\n" + "\n".join(f"{code},1.5" for code in codes))
    assert set(read.table["code"]) == {"0", "1", "2", "3", "4", "UNK"}
    assert said(read, "'UNK' 10 times: taken as categories")


LAYOUTS = {
    "semicolons and decimal commas": ("a;b\n1,5;x\n-2,25;y\n1.234,5;z\n", "separated by ';', with decimal commas"),
    "tabs": ("a\tb\n1.5\tx\n-2.25\ty\n1234.5\tz\n", "separated by tabs"),
    "bars": ("a|b\n1.5|x\n-2.25|y\n1234.5|z\n", "separated by '|'"),
    "thousands": ('a,b\n1.5,x\n-2.25,y\n"1,234.5",z\n', "separated by ','"),
    "blanks": ("a,b\n 1.5 ,x\n-2.25 ,y\n1234.5,z\n\n", "separated by ','"),
    "row numbers": (",a,b\n0,1.5,x\n1,-2.25,y\n2,1234.5,z\n", "the first column has no name"),
    "row names without a header": ("a,b\nr1,1.5,x\nr2,-2.25,y\nr3,1234.5,z\n", "the first column has no name"),
    "Excel's line": ("sep=;\na;b\n1.5;x\n-2.25;y\n1234.5;z\n", "separated by ';'"),
    "a byte-order mark": ("\ufeffa,b\n1.5,x\n-2.25,y\n1234.5,z\n", "separated by ','"),
    "returns": ("a,b\r1.5,x\r-2.25,y\r1234.5,z\r", "separated by ','"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, tmp_path: Path) -> None:
    content, note = LAYOUTS[name]
    read = text(tmp_path / "t.csv", content)
    assert read.table.to_dict("list") == {"a": [1.5, -2.25, 1234.5], "b": ["x", "y", "z"]}
    assert read.notes[0].startswith("read 3 rows x 2 columns") and said(read, note)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    read = text(tmp_path / "t.csv", "größe,b\n1,é\n2,ü\n".encode(encoding))
    assert read.table.to_dict("list") == {"größe": [1, 2], "b": ["é", "ü"]}
    assert said(read, "cp1252") == (encoding in ("cp1252", "latin-1"))


def test_compressed_files(tmp_path: Path) -> None:
    content = b"a,b\n1,x\n2,y\n"
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("inside.csv", content)
    for suffix, packed in (
        (".gz", gzip.compress(content)),
        (".bz2", bz2.compress(content)),
        (".xz", lzma.compress(content)),
    ):
        (tmp_path / f"t.csv{suffix}").write_bytes(packed)
    for path in tmp_path.iterdir():
        assert read_table(path).table["a"].tolist() == [1, 2]
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read .*gzip"):
        read_table(tmp_path / "t.csv.gz")
    for path in tmp_path.iterdir():
        # Damaged in the middle, and cut off.
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2 :] = b"\xff" * 3
        path.write_bytes(whole)
        with pytest.raises(ValueError, match=r"t.csv"):
            read_table(path)


def test_commas_in_names_and_numbers_separate_nothing(tmp_path: Path) -> None:
    table = text(tmp_path / "t.csv", "inlet, C;outlet, C\n1,5;2,25\n3,5;4,25\n").table
    assert table.to_dict("list") == {"inlet, C": [1.5, 3.5], "outlet, C": [2.25, 4.25]}


def test_line_breaks_and_quotes_in_cells_and_names(tmp_path: Path) -> None:
    table = text(tmp_path / "t.csv", '"a\nb","c ""d"""\n"x\ny","1"\n"p, q","2"\n').table
    assert table.to_dict("list") == {"a\nb": ["x\ny", "p, q"], 'c "d"': [1, 2]}


REFUSED = {
    "ragged": ("a,b\n1,2\n3,4,5\n", "the first row has 2 fields, and the row '3,4,5' has 3"),
    "one column of many": ("a;b\n1;2;3\n4;5\n6;7;8;9\n", "its lines hold ';'|the first row has 2 fields"),
    "no name": ("a,,c\n1,2,3\n1,2,3\n", "column 2 has no name"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        text(tmp_path / "t.csv", content)


def test_a_single_column_full_of_separators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"single column.*';'.*--separator"):
        text(tmp_path / "t.csv", "a;b\n1;2\n3;4\n", separator=",")


def test_typed_files_keep_their_types(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", Reading(kinds={"a": "identifiers"})).table.shape == (2, 2)
    with pytest.raises(ValueError, match="holds column 'a' with its type"):
        read_table(tmp_path / "t.parquet", Reading(kinds={"a": "text"}))
    with pytest.raises(ValueError, match="has no column 'z'"):
        read_table(tmp_path / "t.parquet", Reading(kinds={"z": "identifiers"}))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--separator", ";;"], "the separator must be one character"),
        (["--decimal", "x"], "the decimal mark must be"),
        (["--encoding", "none"], "the encoding 'none' is unknown"),
        (["--column", "a"], "--column must be NAME=KIND"),
        (["--column", "a=colour"], "column 'a' must be one of numbers, text, dates, identifiers"),
        (["--column", "z=text"], "has no column 'z'"),
    ],
)
def test_options_of_reading_are_checked(options: list[str], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n2,3,4\n3,1,2\n5,6,1\n")
    result = CliRunner().invoke(main, ["ask", str(tmp_path / "t.csv"), *options])
    assert result.exit_code == 2
    assert sentence in result.stderr


# ---- Any table, as people write it.


@st.composite
def columns(draw: st.DrawFn, rows: int) -> tuple[str, list[Any]]:
    """Return a kind of column and its cells as they are meant; None is missing."""
    kind = draw(st.sampled_from(["whole", "decimals", "floats", "codes", "words", "dates", "truth"]))
    cells: Any = {
        "whole": st.integers(-(10**9), 10**9),
        "decimals": st.integers(-(10**6), 10**6).map(lambda n: Decimal(n).scaleb(-2)),
        "floats": st.floats(allow_nan=False, allow_infinity=False),
        "codes": st.from_regex(r"0[0-9]{3}", fullmatch=True),
        "words": st.sampled_from(["red", "blue, dark", "grün", 'say "no"', "two\nlines", "x;y", "a\tb"]),
        "dates": st.dates(),
        "truth": st.booleans(),
    }[kind]
    if draw(st.booleans()):
        cells = cells | st.none()
    values = draw(st.lists(cells, min_size=rows, max_size=rows))
    return kind, values


def written(value: Any, decimal: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float | Decimal):
        return (repr(value) if isinstance(value, float) else f"{value:.2f}").replace(".", decimal)
    return str(value)


def quoted(cell: str, separator: str) -> str:
    """Quote what has to be quoted; what cannot be read otherwise."""
    special = separator in cell or any(mark in cell for mark in '"\n\r')
    return '"' + cell.replace('"', '""') + '"' if special else cell


def meant(value: Any, kind: str) -> Any:
    if value is None:
        return None
    return {"decimals": float, "dates": pd.Timestamp}.get(kind, lambda x: x)(value)


@settings(max_examples=500)
@given(st.data())
def test_every_cell_is_read_as_it_is_meant(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    rows = data.draw(st.integers(4, 12))
    found = data.draw(st.lists(columns(rows), min_size=2, max_size=5))
    separator, decimal = data.draw(st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", ","), ("|", ".")]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    names = [f"c{place}" for place in range(len(found))]
    lines = [names] + [[written(values[row], decimal) for _, values in found] for row in range(rows)]
    whole = end.join(separator.join(quoted(cell, separator) for cell in line) for line in lines) + end
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    # Marks that no cell shows are nobody's to find.
    shown = any(kind in ("decimals", "floats") and any(v is not None for v in values) for kind, values in found)
    table, _ = text(path, whole.encode(encoding), decimal=None if shown else decimal)
    assert table.shape == (rows, len(found))
    for name, (kind, values) in zip(names, found, strict=True):
        own = [None if pd.isna(each) else each for each in table[name]]
        assert own == [meant(value, kind) for value in values], (name, kind)
        if kind == "whole" and any(value is not None for value in values):
            assert pd.api.types.is_integer_dtype(table[name])


@settings(max_examples=20)
@given(st.data())
def test_samples_look_as_the_file_does(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cells of samples are written as those of the file: zeros in front, decimals, whole numbers, dates, words."""
    looks = {
        "whole": r"-?\d+",
        "decimals": r"-?\d+\.\d{1,2}",
        "floats": r"[-+.e\d]+",
        "codes": r"0\d{3}",
        "dates": r"\d{4}-\d{2}-\d{2}",
        "truth": r"True|False",
    }
    # Few values, so that no column holds identifiers.
    found = [
        (kind, [values[row % 6] for row in range(24)])
        for kind, values in data.draw(st.lists(columns(6), min_size=2, max_size=4))
    ]
    names = [f"c{place}" for place in range(len(found))]
    lines = [names] + [[written(values[row], ".") for _, values in found] for row in range(24)]
    folder = tmp_path_factory.mktemp("looks")
    read = text(folder / "t.csv", "\n".join(",".join(quoted(cell, ",") for cell in line) for line in lines) + "\n")
    assume(not table_problems(read.table, modelled=True))
    with warnings.catch_warnings():
        # Two columns of truth values may complement each other.
        warnings.simplefilter("ignore")
        sample = Synthesizer("factor", max_epochs=1, random_state=0).fit(read.table).sample(50)
    write_table(sample, folder / "s.csv")
    cells = pd.read_csv(folder / "s.csv", dtype=str, keep_default_na=False)
    again = read_table(folder / "s.csv").table
    for name, (kind, values) in zip(names, found, strict=True):
        present = cells[name][cells[name] != ""]
        if any(value is not None for value in values):
            assert present.str.fullmatch(looks.get(kind, ".*"), flags=re.DOTALL).all(), (name, kind)
        assert None in values or len(present) == 50
        if kind in ("codes", "words", "truth", "dates"):
            assert set(again[name].dropna()) <= set(read.table[name].dropna()) or kind == "dates"


def test_numbers_are_rounded_correctly(tmp_path: Path) -> None:
    """To the nearest double, which pandas misses by one place now and then."""
    random = np.random.default_rng(0)
    x = random.normal(size=20_000) * 10.0 ** random.integers(-300, 300, 20_000)
    assert (
        text(tmp_path / "t.csv", "x,y\n" + "".join(f"{each!r},1\n" for each in x.tolist())).table["x"].tolist()
        == x.tolist()
    )


def test_identifiers_are_found_among_numbers_and_texts() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "patient_id": random.permutation(10**6)[:40],
            "number": np.arange(100, 140),
            "name": [f"name {i}" for i in range(40)],
            "hour": np.arange(40),
            "weight": random.permutation(3000)[:40],
            "dose": ["low", "high"] * 20,
            "length": [f"{i} mm" for i in range(40)],
        }
    )
    assert find_identifiers(table) == ["patient_id", "number", "name"]
    assert find_identifiers(table, ["number"]) == ["patient_id", "name"]

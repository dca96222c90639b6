"""How a text file is laid out: encoding, separator, header; and its cells as text, before anyone interprets them."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
from pyarrow import compute
from pyarrow.csv import ConvertOptions, InvalidRow, ParseOptions, ReadOptions, read_csv

from moreso.relations import DataError

SEPARATORS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
"""The separators that are tried -> what messages call them."""

LOOKED_AT = 2**18
"""The first characters, which show the layout."""

UNNAMED = re.compile(r"(Unnamed: \d+)?")
"""The name that pandas writes, or gives, to a column without one."""

NUMBER = re.compile(r"[+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?")
"""What is a number under one decimal mark or the other."""

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""Characters that no text holds."""

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte-order marks -> the encoding."""


def _first_of_zip(path: str | os.PathLike[str]) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise ValueError(f"the archive holds {len(names)} files, and must hold one")
    return archive.open(names[0])


OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _first_of_zip,
}
"""Suffixes of compressed files."""


class Cells(NamedTuple):
    """A text file as columns of text.

    Args:
        names: the name of each column, as they stand in the file.
        columns: the cells of each column.
        notes: what was found, as sentences.
        decimal: the decimal mark, "." or ",".
    """

    names: list[str]
    columns: list[pa.ChunkedArray]
    notes: list[str]
    decimal: str


@dataclass(frozen=True)
class _Shape:
    """What the first records of a file show.

    Args:
        separator: the separator.
        header: the names.
        records: the first records after it.
        end: the place in the text where they begin.
    """

    separator: str
    header: list[str]
    records: list[list[str]]
    end: int

    @property
    def width(self) -> int:
        """The number of fields that most records have."""
        counts = Counter(map(len, self.records))
        return counts.most_common(1)[0][0] if counts else len(self.header)

    @property
    def merits(self) -> tuple[bool, bool, float, float, int]:
        """What speaks for this layout, in order."""
        cells = [cell.strip() for record in self.records[:100] for cell in record]
        numbers = sum(NUMBER.fullmatch(cell) is not None for cell in cells) / max(len(cells), 1)
        named = len(self.header) > 1 and self.share > 0
        return named, self.width == len(self.header), self.share, numbers, self.width

    @property
    def fields(self) -> int:
        """The number of fields that every record must have."""
        return self.width if self.share == 1 else len(self.header)

    @property
    def share(self) -> float:
        """The share of the records that have so many fields, 0 if the header has others."""
        width = self.width
        if not len(self.header) <= width <= len(self.header) + 1:
            return 0.0
        return sum(len(record) == width for record in self.records) / len(self.records) if self.records else 1.0


def read_cells(
    path: str | os.PathLike[str], *, separator: str | None, decimal: str | None, encoding: str | None
) -> Cells:
    """Read a text file as columns of text.

    Args:
        path: the file, perhaps compressed.
        separator: the separator, or None to find it.
        decimal: the decimal mark, or None to find it.
        encoding: the encoding, or None to find it.

    Raises:
        DataError: the cells do not form a table.
        OSError, ValueError: the file cannot be read.
    """
    text, notes = _text(path, encoding)
    if CONTROL.search(text):
        raise ValueError("it holds control characters, so it is no text")
    if first := re.match(r"sep=(.)\r?\n", text):
        # Excel writes this line and reads it.
        separator, text = separator or first[1], text[first.end() :]
    shape = _shape(text, separator, path)
    names, columns = shape.header, _columns(text, shape, path)
    lacking = shape.fields - len(names)
    if len(columns) > 1 and _empty(columns[-1]) and (lacking or not names[-1].strip()):
        names, columns = names[: len(columns) - 1], columns[:-1]
        notes.append("every row ends with a separator: the empty last column was left out.")
    elif lacking:
        # R names the rows and not their column.
        names = ["", *names]
    names, columns = _without_row_names(names, columns, notes, path)
    names, columns = _without_units(names, columns, notes)
    mark = decimal or _decimal(columns, shape.separator)
    separated = f", separated by {SEPARATORS.get(shape.separator, repr(shape.separator))}" if len(columns) > 1 else ""
    commas = ", with decimal commas" if mark == "," else ""
    notes.insert(0, f"read {len(columns[0])} rows x {len(columns)} columns{separated}{commas}.")
    return Cells(names, columns, notes, mark)


def _text(path: str | os.PathLike[str], encoding: str | None) -> tuple[str, list[str]]:
    """Return the text of a file, and a note if its encoding is not UTF-8."""
    opener = OPENERS.get(Path(path).suffix.lower())
    try:
        with open(path, "rb") if opener is None else opener(path) as file:
            raw = file.read()
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"it cannot be decompressed, {error}") from error
    if encoding is not None:
        return raw.decode(encoding), []
    for mark, name in MARKS.items():
        if raw.startswith(mark):
            return raw.decode(name).removeprefix("\ufeff"), [] if name == "utf-8-sig" else [
                f"the encoding is {name.upper()}."
            ]
    even, odd = (raw[start:2000:2].count(0) for start in (0, 1))
    tried = ["utf-8", "cp1252", "latin-1"] if even + odd < len(raw[:2000]) / 4 else []
    for name in tried or ["utf-16-le" if odd > even else "utf-16-be"]:
        try:
            text = raw.decode(name)
        except UnicodeDecodeError:
            continue
        said = f"the file is not in UTF-8 and was read as {name}. If letters look wrong, name the encoding: --encoding."
        return text, [] if name == "utf-8" else [said]
    raise ValueError("its encoding is unknown, name it with --encoding")


def _shape(text: str, separator: str | None, path: str | os.PathLike[str]) -> _Shape:
    """Return the layout that fits the first records best."""
    if not text.strip():
        raise DataError([f"{path}: is not a CSV table (it is empty). Check the file."])
    tried = [_parse(text, each) for each in ([separator] if separator else SEPARATORS)]
    best = max(tried, key=lambda shape: shape.merits)
    lines = [line for record in best.records for line in record]
    if best.width == 1 and len(lines) > 1:
        # One column is a table, but lines full of a separator belong to another.
        for mark, called in SEPARATORS.items():
            found = sorted(line.count(mark) for line in lines)
            if mark != best.separator and found[len(lines) // 4] > 0:
                raise DataError(
                    [
                        f"{path}: was read as a single column, but its lines hold {called}, {found[0]} to {found[-1]} "
                        "each. Name the separator with --separator, or give every line as many fields."
                    ]
                )
    return best


def _parse(text: str, separator: str) -> _Shape:
    stream = io.StringIO(text[:LOOKED_AT], newline="")
    rows = csv.reader(iter(stream.readline, ""), delimiter=separator)
    header: list[str] = []
    records: list[list[str]] = []
    end = 0
    try:
        header = next((row for row in rows if row), [])
        end = stream.tell()
        records = [row for row in rows if row]
    except csv.Error:
        # A quoted cell that never ends, for example: no table under this separator.
        pass
    # The last record may be cut off.
    return _Shape(separator, header, records[:-1] if len(text) > LOOKED_AT and len(records) > 1 else records, end)


def _columns(text: str, shape: _Shape, path: str | os.PathLike[str]) -> list[pa.ChunkedArray]:
    """Return the cells after the header."""
    names = [f"f{place}" for place in range(shape.fields)]
    rest = text[shape.end :]
    if not rest.strip():
        return [pa.chunked_array([pa.array([], pa.string())]) for _ in names]
    ragged: list[tuple[int, str]] = []

    def collect(row: InvalidRow) -> str:
        ragged.append((row.actual_columns, row.text))
        return "skip"

    table = read_csv(
        io.BytesIO(rest.encode()),
        read_options=ReadOptions(column_names=names, use_threads=False),
        parse_options=ParseOptions(delimiter=shape.separator, newlines_in_values=True, invalid_row_handler=collect),
        convert_options=ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    if ragged:
        count, line = ragged[0]
        others = f" and {len(ragged) - 1} more" if len(ragged) > 1 else ""
        raise DataError(
            [
                f"{path}: the first row has {len(shape.header)} fields, and the row '{line[:60]}'{others} has {count}. "
                "Give every row as many, and put fields that hold the separator in quotes."
            ]
        )
    return list(table.columns)


def _empty(column: pa.ChunkedArray) -> bool:
    return bool(
        compute.all(compute.equal(compute.utf8_trim_whitespace(column), "")).as_py() is not False and len(column) > 0
    )


def _without_row_names(
    names: Sequence[str], columns: Sequence[pa.ChunkedArray], notes: list[str], path: str | os.PathLike[str]
) -> tuple[list[str], list[pa.ChunkedArray]]:
    """Leave out first columns without a name that number or name the rows; no other may lack one."""
    names, columns = list(names), list(columns)
    while len(names) > 1 and UNNAMED.fullmatch(names[0].strip()) and len(columns[0]) == columns[0].unique().__len__():
        first = columns[0][0].as_py() if len(columns[0]) else ""
        notes.append(f"the first column has no name and differs in every row ('{first}', ...): it was left out.")
        names, columns = names[1:], columns[1:]
    problems = [
        f"{path}: column {place + 1} has no name. Name it in the first row."
        for place, name in enumerate(names)
        if not name.strip()
    ]
    problems += [
        f"{path}: column '{name}' occurs more than once. Give every column a name of its own."
        for name, count in Counter(names).items()
        if count > 1 and name.strip()
    ]
    if problems:
        raise DataError(problems)
    return names, columns


def _without_units(
    names: list[str], columns: list[pa.ChunkedArray], notes: list[str]
) -> tuple[list[str], list[pa.ChunkedArray]]:
    """Leave out a first row that holds units: texts above columns of numbers, and no number."""
    if not columns or len(columns[0]) < 3:
        return names, columns
    first = [column[0].as_py().strip() for column in columns]
    rest = [column.slice(1) for column in columns]
    numeric = [_numeric_share(column) for column in rest]
    above = [text for text, share in zip(first, numeric, strict=True) if text and share == 1]
    if not above or any(map(NUMBER.fullmatch, first)) or len(above) < sum(share == 1 for share in numeric) / 2:
        return names, columns
    notes.append(f"the second line holds units ('{above[0]}', ...): it was left out.")
    return names, rest


def _numeric_share(column: pa.ChunkedArray) -> float:
    """Return the share of numbers among the cells that are not empty, 0 if all are."""
    text = compute.utf8_trim_whitespace(column)
    held = text.filter(compute.not_equal(text, ""))
    if not len(held):
        return 0.0
    return float(compute.mean(compute.match_substring_regex(held, f"^{NUMBER.pattern}$")).as_py())


def _decimal(columns: Sequence[pa.ChunkedArray], separator: str) -> str:
    """Return the decimal mark: a comma if numbers hold decimal commas and none hold decimal points."""

    def holds(pattern: str) -> bool:
        return any(
            bool(compute.any(compute.match_substring_regex(column, f"^{pattern}$")).as_py()) for column in numeric
        )

    numeric = [compute.utf8_trim_whitespace(column) for column in columns if _numeric_share(column) > 0.5]
    if holds(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+"):
        return ","
    if holds(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?"):
        return "."
    # Between commas, a quoted '1,234' is a thousand.
    comma = r"[+-]?(?:\d*,\d{1,2}|\d*,\d{4,}|0,\d+|\d{4,},\d+)(?:[eE][+-]?\d+)?"
    return "," if holds(comma if separator == "," else r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?") else "."

"""Conditions are data: what is no comparison is refused and does nothing, and the rest means what pandas means by it."""

# ruff: noqa: E501 (conditions and sentences are not broken)

import builtins
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreso.tabular.conditions import DEEPEST, LONGEST, matches


def times(*texts: str | None) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([pd.Timestamp(text) if text else pd.NaT for text in texts])


TABLE = pd.DataFrame(
    {
        "flow": [1, 2, 3, 4, -5, 0],
        "heat": [0.5, np.nan, -1.5, 2.0, np.nan, 3.0],
        "half": np.array([0.1, 2.0, np.nan, 0.3, -4.0, 1.0], dtype=np.float32),
        "byte": np.array([0, 1, 2, 3, 254, 255], dtype=np.uint8),
        "count": pd.array([1, None, 3, 4, None, 0], dtype="Int64"),
        "share": pd.array([0.5, None, 0.25, 1.0, 2.0, None], dtype="Float64"),
        "open": [True, False, True, True, False, False],
        "known": pd.array([True, None, False, True, None, False], dtype="boolean"),
        "region": ["north", "south", None, "it's", "north", ""],
        "code": pd.array(["a", "b", None, "a & b", "c", "`d`"], dtype="string"),
        "thing": pd.Series(["a", 1, None, True, 2.5, "b"], dtype=object),
        "kind": pd.Categorical(["a", "b", None, "a", "c", "b"]),
        "size": pd.Categorical(["S", "M", None, "L", "M", "S"], ["S", "M", "L"], ordered=True),
        "level": pd.Categorical([1, 2, None, 1, 3, 2]),
        "when": times("2024-01-31", "2024-02-01", None, "2023-12-31 12:00", "2025-01-01", "2024-01-31"),
        "until": times("2024-02-03", "2024-02-01", "2024-01-01", None, "2025-01-02", "2024-03-31"),
        "local": times("2024-01-31", "2024-02-01", None, "2023-12-31", "2025-01-01", "2024-01-31")
        .tz_localize("Europe/Berlin"),
        "span": pd.to_timedelta(["1 days", "2 days", None, "3 hours", "-1 days", "1 days"]),
        "inlet temp (C)": [20.0, 30.0, np.nan, 25.0, 10.0, 40.0],
        "class": [1, 2, 3, 1, 2, 3],
        "größe": [1, 2, 3, 4, 5, 6],
        "__import__": [0, 1, 0, 1, 0, 1],
        "n0": [9, 8, 7, 6, 5, 4],
        "open('x').read()": [0, 1, 0, 1, 0, 1],
    }
)  # fmt: skip


def by_pandas(condition: str) -> np.ndarray:
    mask = TABLE.eval(condition, engine="python")
    assert isinstance(mask, pd.Series) and pd.api.types.is_bool_dtype(mask)
    return mask.fillna(False).astype(bool).to_numpy()


def same(condition: str, rows: list[int]) -> bool:
    mask = matches(TABLE, condition)
    return mask.dtype == bool and np.flatnonzero(mask).tolist() == rows


@pytest.fixture
def _harmless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fail a test that runs, imports, evaluates or opens anything, and work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for module, name in (
        (os, "system"),
        (os, "popen"),
        (subprocess, "Popen"),
        (builtins, "eval"),
        (builtins, "exec"),
        (builtins, "breakpoint"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))


# What tries to get out -> what the sentence says of it.
ESCAPES = {
    "@pd.io.common.os.system('touch canary') == 0": "may not hold '@' here",
    "flow.to_csv('canary') == 0": "may not call functions",
    "`flow`.to_csv('canary') == 0": "may not call functions",
    "(flow > 1).to_csv('canary') == 0": "may not call functions",
    "flow > 1 & flow.to_csv('canary') == 0": "may not call functions",
    "flow in [flow.to_csv('canary')]": "may not call functions",
    "not flow.to_csv('canary')": "may not call functions",
    "-flow.to_csv('canary') == 0": "may not call functions",
    "flow + flow.to_csv('canary') == 0": "may not call functions",
    "0 < 1 < flow.to_csv('canary')": "may not call functions",
    "__import__('os').system('touch canary') == 0": "may not call functions",
    "`__import__`('os').system('touch canary') == 0": "may not call functions",
    "eval('1') == 1": "may not call functions",
    "open('canary', 'w') == 0": "may not call functions",
    "abs(flow) > 1": "may not call functions",
    "().__class__.__bases__[0].__subclasses__() == 0": "may not call functions",
    "'a'.join(['a']) == 'a'": "may not call functions",
    "().__class__ == 0": "may not look into columns with '.'",
    "flow.values > 1": "may not look into columns with '.'",
    "flow.__class__ == 0": "may not look into columns with '.'",
    "1.0.real == 1": "may not look into columns with '.'",
    "1..real == 1": "may not look into columns with '.'",
    "flow[0] > 1": "may not look into columns with '[...]'",
    "[flow][0] > 1": "may not look into columns with '[...]'",
    "flow[flow.to_csv('canary')] > 1": "may not look into columns with '[...]'",
    "__builtins__ == 0": "names an unknown column '__builtins__'",
    "__debug__": "names an unknown column '__debug__'",
    "index > 1": "names an unknown column 'index'",
    "None == flow": "names an unknown column 'None'",
    "`flow > 1 or __import__('os').system('touch canary')` > 1": "names an unknown column",
    "`n0 = __import__('os')` > 1": "names an unknown column",
    "``": "names an unknown column ''",
    "`flow\n` > 1": "names an unknown column 'flow\\n'",
    "`flow` `heat` > 1": "cannot be read",
    "`flow > 1": "may not hold '`' here. Close each quote.",
    "region == 'north": "may not hold \"'\" here. Close each quote.",
    "region == 'a\nb'": "may not hold \"'\" here. Close each quote.",
    "region == 'a' + \"b' or flow.to_csv('canary') == '": "may not hold '\"' here. Close each quote.",
    "region == '\\N{nothing}'": "cannot be read",
    "region == '\ud800'": "cannot be read",
    "(lambda: flow)() > 1": "may not hold ':' here",
    "lambda flow": "cannot be read",
    "flow if open else heat": "cannot be read",
    "[flow for flow in [1]] == 1": "cannot be read",
    "{flow} == 1": "may not hold '{' here",
    "f'{flow.to_csv(\"canary\")}' == region": "cannot be read",
    "rf\"{flow.to_csv('canary')}\" == region": "cannot be read",
    "region == b'north'": "cannot be read",
    "(flow := 3) > 1": "may not hold ':' here",
    "flow = 3": "may not hold '=' here. Compare with '=='.",
    "flow == 3; heat = 1": "may not hold ';' here",
    "flow > 1\nimport os": "cannot be read",
    "import os": "cannot be read",
    "await flow": "cannot be read",
    "flow is 1": "cannot be read",
    "*flow": "cannot be read",
    "flow in [*region]": "may hold comparisons, arithmetic, 'and', 'or' and 'not' alone",
    "flow > 1 # __import__('os')": "may not hold '#' here",
    "flow > 1 \\\n": "may not hold '\\\\' here",
    "flow > 1\0": "may not hold '\\x00' here",
    "flow > ...": "cannot be read",
    "flow > 1j": "cannot be read",
    "flow > 0x1f": "cannot be read",
    "flow ^ 1 > 2": "may not hold '^' here",
    "flow << 99999999 > 1": "cannot be read",
    "flow << 1 > 2": "cannot be read",
    "flow.": "cannot be read",
    # NFKC makes these "flow", "__import__" and "n0".
    "ｆlow > 1": "names an unknown column 'ｆlow'. Did you mean 'flow'?",
    "__ｉmport__('os') == 0": "may not call functions",
    "ｎ0 > 1 and `flow` > 1": "names an unknown column 'ｎ0'",
    "flow\xa0> 1": "names an unknown column 'flow\\xa0'. Did you mean 'flow'?",
    "flow > ١": "names an unknown column '١'",
    "flow > 1\u0301": "cannot be read",
    # Resources.
    "flow > 1" + " " * LONGEST: f"has {LONGEST + 8} characters, and {LONGEST} are allowed. Shorten it.",
    "('a' * 1000000000) * 1000000000 == region": "may calculate with numbers alone",
    "region * 1000000000 == region": "may calculate with numbers alone",
    "[1] * 1000000000 == flow": "may calculate with numbers alone",
    "'%999999999d' % 1 == region": "may calculate with numbers alone",
    f"flow > {'9' * 5000}": "cannot be read",
    f"flow > {'9' * 4000} * 1": "cannot be evaluated",
    "(" * 4000 + "flow" + ")" * 4000: "nests more than",
    "-" * 9000 + "flow > 1": "nests more than",
    "not " * 2000 + "open": "nests more than",
    "~" * 9000 + "open": "nests more than",
    "flow > " + "1 + " * 2000 + "1": "nests more than",
    "flow > " + "2 ** " * 1500 + "2": "nests more than",
    "flow > 1" + " < 2" * 2000: "nests more than",
    "flow" + ".a" * 4000: "nests more than",
    "flow" + "()" * 4000: "nests more than",
    "flow" + "[0]" * 3000: "nests more than",
    "flow in " + "[1, " * 2000: "nests more than",
    "(not not not flow < (1 or -" * 300: "nests more than",
    "1if 1else " * 900 + "1": "cannot be read",
}  # fmt: skip


@pytest.mark.usefixtures("_harmless")
@pytest.mark.parametrize("condition", ESCAPES, ids=lambda condition: condition[:50].encode("ascii", "replace").decode())
def test_what_is_no_comparison_is_refused_and_does_nothing(condition: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        matches(TABLE, condition)
    assert f" {ESCAPES[condition]}" in str(caught.value)
    assert str(caught.value).startswith("the condition '") or str(caught.value).startswith('the condition "')
    assert len(str(caught.value)) < 800
    assert os.listdir() == []


SENTENCES = {
    "flow.to_csv('x') == 0": "the condition \"flow.to_csv('x') == 0\" may not call functions. Compare columns with "
    "values, for example \"region == 'north' and flow > 3\".",
    "Flwo > 1": "the condition 'Flwo > 1' names an unknown column 'Flwo'. Did you mean 'flow'? Columns: __import__, byte, "
    "class, code, count, flow, größe, half, heat, inlet temp (C), kind, known, ... (24 in all). Put texts in quotes, and "
    "names that are no plain words in backticks.",
    "": "the condition '' cannot be read (invalid syntax). Compare columns with values, for example \"region == 'north' "
    'and flow > 3".',
    "flow + 1": "the condition 'flow + 1' is neither true nor false for each row. Compare columns with values: \"flow > 3\".",
    "flow > 1 and heat": "the condition 'flow > 1 and heat' is neither true nor false for each row. ",
    "not flow": "the condition 'not flow' is neither true nor false for each row. ",
    "region": "the condition 'region' is neither true nor false for each row. ",
    "thing and open": "the condition 'thing and open' is neither true nor false for each row. ",
    "flow, heat": "the condition 'flow, heat' may list values alone. ",
    "flow in [1, heat]": "may list values alone. ",
    "flow in [[1]]": "may list values alone. ",
    "[1, 2]": "is neither true nor false for each row. ",
    "True": "is the same for all rows. ",
    "not 1 < 2": "is the same for all rows. ",
    "region < 3": "cannot be evaluated (",
    "flow < 'north'": "cannot be evaluated (",
    "when < 'north'": "cannot be evaluated (",
    "when == 'north'": "cannot be evaluated (",
    "when < span": "cannot be evaluated (",
    "when + 1 > until": "cannot be evaluated (",
    "when > '2024-01-01T00:00+01:00'": "cannot be evaluated (",
    "span > 1": "cannot be evaluated (",
    "kind < 'b'": "cannot be evaluated (",
    "size < 'XL'": "cannot be evaluated (",
    "flow ** -1 > 1": "cannot be evaluated (",
    "region + 'x' == 'northx'": "may calculate with numbers alone. ",
    "kind + 1 > 1": "may calculate with numbers alone. ",
    "-'a' == 1": "may calculate with numbers alone. ",
    "flow < [1, 2, 3, 4, 5, 6]": "may look up columns in lists alone. ",
    "flow in heat": "may look up columns in lists alone. ",
    "1 in [1, 2]": "may look up columns in lists alone. ",
}  # fmt: skip


@pytest.mark.usefixtures("_harmless")
@pytest.mark.parametrize("condition", SENTENCES)
def test_a_fault_gets_a_sentence(condition: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        matches(TABLE, condition)
    assert SENTENCES[condition] in str(caught.value)


def test_a_column_that_occurs_twice_is_refused() -> None:
    table = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match="names the column 'a', which occurs more than once"):
        matches(table, "a > 1")


HONEST = [
    *(
        f"{column} {sign} {value}"
        for columns, values in {
            ("flow", "heat", "half", "byte", "count", "share"): ("2", "0.5", "-1.5", "0.1", "-5", "1e3", ".5", "1_0", "300"),
            ("open", "known"): ("True", "False", "1"),
            ("size",): ("'M'", '"S"'),
            ("region", "code"): ("'north'", "'a'", '"it\'s"', "'a & b'", "''", "'`d`'", "'no|ne'"),
        }.items()
        for column in columns
        for value in values
        for sign in ("==", "!=", "<", "<=", ">", ">=")
    ),
    *(
        f"{column} {sign} {value}"
        for column in TABLE
        if str(column).isidentifier() and column not in ("class", "when", "until", "local", "span", "__import__")
        for sign in ("==", "!=", "in", "not in")
        for value in ("'a'", "'north'", "['a', 'north']", "('a', 'b')", "[1, -5, 0.5]", "[]", "[True]", "['a', 1]", "1")
        if sign in ("==", "!=") or value != "1"
    ),
    *(f"{column} {sign} '2024-01-31'" for column in ("when", "until") for sign in ("<", "<=", ">", ">=")),
    "kind == kind", "kind != kind", "region == code", "region != code", "count == heat", "count != heat", "size <= size",
    "level == 1", "level != 2", "'north' == region", "'north' in region", "['a', 'b'] == code", "2 < flow", "3 >= heat",
    "'2024-01-31' < when", "when > 2024", "when > 20240131", "when < until", "when != until", "until - when > '1 days'",
    "until - when < span", "span < '1 days'", "span >= '1 days'", "-span > '0 days'", "span * 2 > '1 days'",
    "1 < flow <= 3", "0 <= heat < 2 < flow", "1 < 2 < flow", "1 < 2 and flow > 2", "flow > 2 and True", "False | open",
    "flow > 1 & heat < 2", "flow > 1 | heat > 0 & open", "~(flow > 1) & known", "not flow > 1 or known", "~known",
    "not (count > 1)", "not known & open", "not count != 3", "not region == 'north'", "~open == True", "open == known",
    "open", "known", "not open", "`inlet temp (C)` > 20", "`flow` == 1", "`class` >= 2 and `inlet temp (C)` < 31.5",
    "flow + heat * 2 - 1 > 0", "flow / 2 >= 1", "flow // 2 == 1", "flow % 2 == 0", "flow ** 2 > 4", "-flow > 0",
    "+flow > 0", "- - flow > 2", "2 ** 2 * flow > 8", "(flow + 1) * (heat - 1) > 0", "count / 0 > 1", "count % 2 == 1",
    "flow / 0 > 1", "flow % 0 > 1", "byte + 1 > 255", "-byte > 3", "half * 3 == 0.3", "half == 0.1", "flow * half > 1",
    "(flow > 1) + open", "  flow > 1  ", "größe > 2", "__import__ == 1", "flow<1or heat>1", "flow > 1and open",
    "((((flow > 1))))", "region == 'no' 'rth'", "region == '\\x6eorth'", "region == 'it\\'s'", "n0 > 5",
    "`n0` > 5 and flow > 0", "flow > 1000000000000000000000", "thing == 1", "thing != 'a'", "thing == True",
    " + ".join(["flow"] * 90) + " > 90", f"flow in [{', '.join(f'-{i}.5, {i}' for i in range(500))}]", "-open", "open + known",
]  # fmt: skip


def test_a_condition_means_what_pandas_means_by_it() -> None:
    assert len(HONEST) > 1000
    assert [each for each in HONEST if matches(TABLE, each).tolist() != by_pandas(each).tolist()] == []


def test_what_pandas_cannot_say() -> None:
    # pandas 3 looks texts up among times as texts, and finds none.
    assert same("when == '2024-01-31'", [0, 5])
    assert same("when == 20240131", [0, 5])
    assert same("when != '2024-01-31'", [1, 2, 3, 4])
    assert same("when in ['2024-01-31', '2025']", [0, 4, 5])
    assert same("when not in ['2024-01-31', '2025']", [1, 2, 3])
    assert same("when == '2023-12-31 12:00'", [3])
    assert same("span == '1 days'", [0, 5])
    assert same("span in ['1 days', '3 hours']", [0, 3, 5])
    # It compares times of a zone with none.
    assert same("local == '2024-01-31'", [0, 5])
    assert same("local > '2024-01-31T00:00+02:00'", [0, 1, 4, 5])
    assert same("local in ['2024-01-31']", [0, 5])
    # It has no room for many operands.
    assert same(" or ".join(f"flow == {i}" for i in range(2, 500)), [1, 2, 3])
    assert same(" | ".join(f"(flow + 1 == {i})" for i in range(3, 400)), [1, 2, 3])
    # Words of Python may be names, and text may go over lines.
    assert same("class > 2", [2, 5])
    assert same("flow > 1\n  and heat > 0\n", [3])
    # What looks like code may be a name.
    assert same("`open('x').read()` == 1", [1, 3, 5])


@pytest.mark.parametrize(
    "dtype", ["timestamp[us][pyarrow]", "timestamp[us, tz=Europe/Berlin][pyarrow]", "date32[pyarrow]"]
)
def test_times_of_arrow(dtype: str) -> None:
    table = pd.DataFrame({"when": TABLE["local" if "tz" in dtype else "when"].astype(pd.api.types.pandas_dtype(dtype))})
    for condition, rows in {
        "when >= '2024-02-01'": [1, 4],
        "when == '2024-01-31'": [0, 5],
        "when != '2024-01-31'": [1, 2, 3, 4],
        "when not in ['2024-01-31']": [1, 2, 3, 4],
        "when > '2023-12-31' and when < '2024-01-31 12:00'": [0, 5] if dtype != "timestamp[us][pyarrow]" else [0, 3, 5],
    }.items():
        assert np.flatnonzero(matches(table, condition)).tolist() == rows, condition


def test_powers_of_constants_take_no_time() -> None:
    began = time.perf_counter()
    assert same("flow < 9 ** 9 ** 9 ** 9", [0, 1, 2, 3, 4, 5])
    assert same("flow < 9999999999 ** 9999999999 ** 9", [0, 1, 2, 3, 4, 5])
    assert same("flow > (-8) ** 0.5", [])
    assert same("flow > 1 / 0", [])
    assert same("flow == 2 * 3 // 4 + 1", [1])
    assert time.perf_counter() - began < 5


def test_the_deepest_condition_fits_into_a_small_stack() -> None:
    deep = DEEPEST - 1
    conditions = [
        "(" * deep + "flow > 1" + ")" * deep,
        "-" * deep + "flow > 1",
        "not " * deep + "flow > 1",
        "flow > " + "1 ** " * (deep - 1) + "1",
        "flow > " + "-(" * (deep // 2) + "1" + ")" * (deep // 2),
        "not (" * (deep // 2) + "flow > 1" + ")" * (deep // 2),
    ]
    found: list[int] = []
    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.extend(int(matches(TABLE, each).sum()) for each in conditions))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert len(found) == len(conditions)
    assert found == [3, 1, 3, 3, 5, 3]


def test_little_room_for_recursion_gets_a_sentence() -> None:
    def deeper(left: int) -> None:
        if left:
            deeper(left - 1)
        else:
            matches(TABLE, "not " * 90 + "flow > 1")

    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    with pytest.raises(ValueError, match="recursion"):
        deeper(sys.getrecursionlimit() - used - 60)


TOKENS = [
    *("flow", "heat", "count", "known", "region", "kind", "when", "span", "thing", "`inlet temp (C)`", "nothing"),
    *("1", "0", "-1", "2.5", "1e400", ".5", "'north'", '"2024-01-31"', "'1 days'", "True", "None", "b", "f", "'", '"', "`"),
    *("==", "!=", "<", "<=", ">", ">=", "in", "not in", "not", "and", "or", "&", "|", "~", "=", ":=", "is", "if", "else"),
    *("+", "-", "*", "/", "//", "%", "**", "(", ")", "[", "]", "{", "}", ",", ".", "@", "#", ";", ":", "\\", "\n", "\0"),
    *("__class__", "to_csv", "lambda", "for", "await", "import", " ", "ｆlow", "\u0301", "\ud800"),
]  # fmt: skip


def boolean_or_value_error(condition: str) -> None:
    try:
        mask = matches(TABLE, condition)
    except ValueError as error:
        sentence = str(error)
    else:
        assert mask.dtype == bool and mask.shape == (len(TABLE),)
        return
    assert sentence.startswith("the condition ") and sentence.endswith(".")


@given(st.lists(st.sampled_from(TOKENS), max_size=25), st.sampled_from(["", " "]))
def test_a_soup_of_tokens_never_ends_otherwise(tokens: list[str], between: str) -> None:
    boolean_or_value_error(between.join(tokens))


@given(st.text(max_size=50))
def test_any_text_never_ends_otherwise(text: str) -> None:
    boolean_or_value_error(text)
    boolean_or_value_error(f"flow > 1 and region == '{text}'")
    boolean_or_value_error(f"`{text}` > 1")


@given(st.text("([-~+*. 1n,'\"`<)]", max_size=LONGEST))
def test_any_nest_never_ends_otherwise(text: str) -> None:
    boolean_or_value_error(text)
    boolean_or_value_error("flow > " + text * (LONGEST // 2 // max(len(text), 1)))


# No "byte": pandas lets it overflow, with or without an error.
columns = st.sampled_from(["flow", "heat", "half", "count", "share", "`inlet temp (C)`", "`class`", "größe"])
constants = st.one_of(st.integers(-9, 300).map(str), st.floats(-9, 9).map(str), st.sampled_from(["1e3", ".5", "2."]))
terms = st.recursive(
    columns | constants,
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from("+-*"), inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(["/", "//", "%"]), st.sampled_from(["2", "0.5", "flow", "heat"])),
        inner.map("({})".format),
        inner.map("-{}".format),
        inner.map("({}) ** 2".format),
    ),
    max_leaves=4,
)  # fmt: skip
signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
texts = st.sampled_from(["region", "code", "kind"])
lists = st.lists(st.sampled_from(["a", "north", "b", "a & b"]), max_size=3).map(str)
comparisons = st.one_of(
    st.builds("{} {} {}".format, columns, signs, terms),
    st.builds("{} {} {} {} {}".format, constants, signs, columns, signs, terms),
    st.builds("{} {} {}".format, texts, st.sampled_from(["==", "!="]), st.sampled_from(["'a'", "'north'", "'a & b'"])),
    st.builds("{} {} {}".format, texts, st.sampled_from(["in", "not in"]), lists),
    st.builds("{} {} {}".format, columns, st.sampled_from(["in", "not in"]), st.lists(st.integers(-3, 5)).map(str)),
    st.sampled_from(["open", "known", "known == True", "when > '2024-01-31'", "size <= 'M'", "span < '1 days'"]),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner),
        inner.map("not {}".format),
        inner.map("~({})".format),
        inner.map("({})".format),
    ),
    max_leaves=5,
)


@given(conditions)
def test_any_condition_means_what_pandas_means_by_it(condition: str) -> None:
    assert matches(TABLE, condition).tolist() == by_pandas(condition).tolist()

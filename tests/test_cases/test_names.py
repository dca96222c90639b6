"""Names that look alike: what a person sees as one name is one, and every change is told."""

import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from moreso import Knowledge, KnowledgeError, Regularizer, Synthesizer, adapters, ask, audit, report, worth
from moreso.cli import main
from moreso.models import FactorAnalysis

COMPOSED, APART = "entr\u00e9e", "entre\u0301e"
"""Two spellings of one word, which no screen tells apart."""

LETTERS = st.sampled_from([*"abz1_ ", "\u00e9", "\u00df", "\u00b2", "\u00b5"])
DISGUISES: dict[str, Callable[[str], str]] = {
    "accents apart": lambda name: unicodedata.normalize("NFD", name),
    "compatible": lambda name: unicodedata.normalize("NFKC", name),
    "capitals": str.upper,
    "no-break spaces": lambda name: name.replace(" ", "\u00a0"),
    "doubled blanks": lambda name: name.replace(" ", " \t "),
    "blanks around": lambda name: f" {name}\u2003",
    "no width": lambda name: name[:1] + "\u200b" + name[1:],
}


def seen(name: str) -> str:
    """Return a name as a person sees it."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def disguised() -> st.SearchStrategy[Callable[[str], str]]:
    def apply(steps: list[str]) -> Callable[[str], str]:
        def change(name: str) -> str:
            for step in steps:
                name = DISGUISES[step](name)
            return name

        return change

    return st.lists(st.sampled_from(sorted(DISGUISES)), max_size=3, unique=True).map(apply)


def state(names: Iterable[str]) -> Knowledge:
    ref, plus, minus, *others = names
    records = [{"ref": ref, "plus": plus, "minus": minus}, {"ref": minus, "plus": [ref, *others], "minus": plus}]
    return Knowledge.from_records(records, {"\U0001f984": (ref, *others)})


POOLS = st.lists(st.text(LETTERS, min_size=1).filter(seen), min_size=3, max_size=5, unique_by=seen)


@given(POOLS, disguised(), disguised())
def test_what_looks_like_a_column_is_one(
    pool: list[str], one: Callable[[str], str], other: Callable[[str], str]
) -> None:
    columns, written = [list(map(change, pool)) for change in (one, other)]
    matched, notes = state(written).matched([*columns, "else"])
    assert matched == state(columns)
    assert matched.groups == state(columns).groups
    assert len(notes) == sum(a != b for a, b in zip(columns, written, strict=True))
    assert matched.problems(columns) == []
    assert matched.matched(columns) == (matched, [])
    assert Knowledge.parse(str(matched)) == matched


@given(POOLS, disguised())
def test_a_column_that_is_named_exactly_stays(pool: list[str], change: Callable[[str], str]) -> None:
    """Whatever else looks like it."""
    knowledge = state(pool)
    assert knowledge.matched([*map(change, pool), *pool]) == (knowledge, [])
    assert Knowledge.parse(str(knowledge)) == knowledge


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("Inlet ", ["inlet", "Inlet"], "Inlet"),
        (COMPOSED, [APART.upper(), f"{APART} ", APART], APART),
        ("x\u00b2", ["X2", "x2"], "x2"),
        ("T\u00a01", ["t 1", "T  1"], "T  1"),
    ],
)
def test_the_closest_column_is_meant(name: str, columns: list[str], expected: str) -> None:
    """Accents come before blanks, and these before case."""
    found, _ = Knowledge.from_records([{"ref": "a", "plus": name, "minus": "b"}]).matched(["a", "b", *columns])
    assert found.relations[0].plus == (expected,)


def test_a_note_shows_what_nobody_sees() -> None:
    _, notes = Knowledge.parse(f'out: {COMPOSED} > "a  b"').matched(["OUT", APART, "a\u00a0b"])
    assert [re.search(r"\((.*)\)", note)[1] for note in notes] == [  # type: ignore[index]
        "they differ in: out and OUT",
        "they differ in: U+00E9 and e + U+0301",
        "they differ in: U+0020 + U+0020 and U+00A0",
    ]
    assert f"'{COMPOSED}' was taken for the column '{APART}'" in notes[1]


def test_where_more_than_one_fits_they_are_told() -> None:
    columns = ["out", "amb", f"{APART} ", f"\u00a0{APART}"]
    with pytest.raises(KnowledgeError) as caught:
        Knowledge.parse(f"out: {COMPOSED} > amb", columns)
    (problem,) = caught.value.problems
    assert all(f"'{column}'" in problem for column in columns[2:])
    assert "U+00E9 and e + U+0301; nothing and U+0020" in problem
    assert "nothing and U+00A0" in problem


def test_a_statement_keeps_its_place_and_reason() -> None:
    text = "out: Inlet > amb  @ 0.5  # same pipe"
    (relation,), _ = Knowledge.parse(f"\n{text}").matched(["out", "inlet", "amb"])
    assert (str(relation), relation.line) == (text.replace("Inlet", "inlet"), 2)


def test_groups_are_matched_and_keep_their_names() -> None:
    knowledge = Knowledge.parse("Unit_A = T_in, t_out\nx: Unit_A > y")
    matched, _ = knowledge.matched(["t_in", "T_out ", "x", "y", "UNIT_A"])
    assert str(matched) == 'Unit_A = t_in, "T_out "\nx: Unit_A > y'


@pytest.mark.parametrize("others", [["UNIT_A"], []])
def test_what_looks_like_a_group_is_no_column(others: list[str]) -> None:
    """It may mean either."""
    knowledge = Knowledge.parse("unit_a = t_in, t_out\nx: Unit_A > y")
    columns = ["t_in", "t_out", "x", "y", *others]
    assert knowledge.matched(columns) == (knowledge, [])
    (problem,) = knowledge.problems(columns)
    assert all(f"'{name}' (they differ in" in problem for name in ["unit_a", *others])


@pytest.mark.parametrize("text", ["out: Inlet > inlet", "out: Inlet > INLET", "g = Inlet, INLET\nout: g > amb"])
def test_no_statement_names_a_column_twice(text: str) -> None:
    knowledge, columns = Knowledge.parse(text), ["out", "inlet", "amb"]
    assert knowledge.matched(columns) == (knowledge, [])
    with pytest.raises(KnowledgeError, match=r"'Inlet'.*mean 'inlet' "):
        Knowledge.parse(text, columns)


# The doors of the library.


@pytest.fixture
def table(plant: pd.DataFrame) -> pd.DataFrame:
    return plant.rename(columns={"inlet": APART, "flow": "Flow rate"})


TEXT = f'outlet: {COMPOSED} > ambient  # same pipe\noutlet: {COMPOSED} > "flow  rate"'
KNOWN = Knowledge.parse(TEXT)
OWN = f'outlet: {APART} > ambient  # same pipe\noutlet: {APART} > "Flow rate"'


def warned(call: Callable[[], Any]) -> Any:
    """Return what a call returns, which must warn of both names, here, and of nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    told = [str(each.message) for each in caught if each.category is UserWarning]
    assert len([each for each in told if "was taken for the column" in each]) == 2, told
    return result


def test_knowledge_of_columns(table: pd.DataFrame, tmp_path: Path) -> None:
    KNOWN.write(tmp_path / "k.txt")
    columns = list(table.columns)
    for call in (
        lambda: Knowledge.parse(TEXT, columns),
        lambda: Knowledge.read(tmp_path / "k.txt", columns),
        lambda: KNOWN.restrict(columns),
    ):
        assert str(warned(call)) == OWN
    # Without columns, names are what is written.
    assert str(Knowledge.read(tmp_path / "k.txt")) == TEXT


def test_audit(table: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = audit(table, KNOWN)
    assert str(found.knowledge) == OWN
    assert [str(finding.relation) for finding in found] == OWN.splitlines()
    assert sum("was taken for the column" in note for note in found.notes) == 2
    assert all(note in found.to_json() for note in found.notes)
    same = audit(table, Knowledge.parse(OWN))
    assert [finding.gap for finding in same] == [finding.gap for finding in found]


def test_fit_report_and_worth(table: pd.DataFrame) -> None:
    synthesizer = Synthesizer("factor", KNOWN, max_epochs=2, random_state=0, trust="all")
    synthesizer.check(table)
    fitted = warned(lambda: synthesizer.fit(table))
    assert fitted.knowledge == KNOWN
    own = Synthesizer("factor", Knowledge.parse(OWN), max_epochs=2, random_state=0, trust="all").fit(table)
    pd.testing.assert_frame_equal(own.sample(5), fitted.sample(5))
    found = report(fitted, table)
    assert str(found.knowledge) == OWN
    assert [str(row.relation) for row in found.statements] == OWN.splitlines()
    weighed = warned(lambda: worth(synthesizer, table, splits=2, budget=12))
    assert [str(relation) for relation, _ in weighed.statements] == OWN.splitlines()


def test_contradictions_between_spellings_are_found(table: pd.DataFrame) -> None:
    knowledge = Knowledge.parse(f"outlet: {COMPOSED} > ambient\noutlet: ambient > {APART}")
    with pytest.raises(KnowledgeError, match="contradict each other"):
        Synthesizer("factor", knowledge).check(table)
    assert "contradict each other" in " ".join(audit(table, knowledge).notes)


def test_regularizer_and_adapters(table: pd.DataFrame) -> None:
    rows, columns = torch.tensor(table.to_numpy(), dtype=torch.float32), list(table.columns)
    regularizer = warned(lambda: Regularizer(KNOWN, columns, data=rows))
    assert str(regularizer.knowledge) == OWN
    assert torch.equal(regularizer(rows), Regularizer(Knowledge.parse(OWN), columns, data=rows)(rows))

    def train() -> None:
        model = FactorAnalysis(4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with adapters.attach(model, model.sample, KNOWN, features=columns, data=rows):
            model.loss(rows).backward()
            optimizer.step()

    with torch.random.fork_rng():
        warned(train)


def test_ask(table: pd.DataFrame) -> None:
    found = warned(lambda: ask(table, [COMPOSED, "flow rate", "ambient", "outlet"], questions=3))
    assert found == ask(table, [APART, "Flow rate", "ambient", "outlet"], questions=3)


# The shell.


@pytest.fixture
def folder(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table.to_csv("data.csv", index=False)
    Path("knowledge.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "check knowledge.txt --features data.csv --show reduction",
        "audit data.csv knowledge.txt --json",
        "fit data.csv knowledge.txt -o plant.model --model factor --max-epochs 2",
        "worth data.csv knowledge.txt --model factor --splits 2 --budget 4 --json",
        f"ask data.csv --features {COMPOSED},flow\u00a0rate,ambient,outlet",
    ],
)
def test_every_command_tells_what_it_took_for_a_column(command: str, folder: Path) -> None:
    result = CliRunner().invoke(main, command.split(" "))
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if "was taken for the column" in line]
    assert len(told) == 2
    assert f"'{COMPOSED}' was taken for the column '{APART}'" in told[0]
    assert all(COMPOSED not in line for line in result.stdout.splitlines())
    if "--json" in command:
        json.loads(result.stdout)
    if "reduction" in command:
        assert result.stdout == f"{OWN}\n"


def test_a_model_of_the_shell_holds_the_columns_own_names(folder: Path) -> None:
    fit = "fit data.csv knowledge.txt -o plant.model --model factor --max-epochs 2"
    assert CliRunner().invoke(main, fit.split(" ")).exit_code == 0
    assert str(Synthesizer.load("plant.model").knowledge) == OWN


def test_the_shell_names_all_that_fit(folder: Path) -> None:
    Path("data.csv").write_text("out,In,in,amb\n1,2,3,4\n")
    Path("knowledge.txt").write_text("out: IN > amb\n")
    result = CliRunner().invoke(main, ["check", "knowledge.txt", "--features", "data.csv"])
    assert result.exit_code == 2
    assert "'In' (they differ in: N and n) or 'in' (they differ in: IN and in)" in result.stderr

"""The commands as a person types them."""

import inspect
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import CliRunner

import moreso
from moreso import Knowledge, Synthesizer, worth
from moreso.cli import main
from moreso.cli import run as demo
from moreso.models import MODELS

READ = "data.csv: read 60 rows x 4 columns, separated by ','."


@pytest.fixture
def folder(tmp_path: Path, plant: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a table and two knowledge files, one of them wrong."""
    monkeypatch.chdir(tmp_path)
    plant.to_csv("data.csv", index=False)
    Path("true.txt").write_text("outlet: inlet > ambient  # same pipe\n")
    Path("false.txt").write_text("outlet: ambient > inlet\n")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    return result.exit_code, result.output


def test_audit_exits_0_or_1(folder: Path) -> None:
    code, output = run("audit", "data.csv", "true.txt")
    assert code == 0
    assert "outlet: inlet > ambient" in output
    assert "same pipe" in output
    assert "holds: 1" in output
    code, output = run("audit", "data.csv", "false.txt")
    assert code == 1
    assert "contradicted: 1" in output


def test_check_tells_what_follows_and_what_contradicts(folder: Path) -> None:
    Path("good.txt").write_text(
        "pipe = inlet, flow\noutlet: pipe > ambient @ 0.9  # near\noutlet: pipe > ambient @ 0.9"
    )
    code, output = run("check", "good.txt", "--features", "data.csv")
    assert code == 0
    assert output.splitlines() == [
        READ,
        "good.txt: 2 statements, 1 named group, 4 features.",
        "no statements contradict each other.",
        "redundant statements: 1",
        "  line 3: 'outlet: {inlet, flow} > ambient' repeats line 2: 'outlet: {inlet, flow} > ambient'. "
        "It can be left out.",
    ]
    Path("bad.txt").write_text("outlet: inlet > ambient > inlet")
    code, output = run("check", "bad.txt")
    assert code == 1
    assert output.splitlines()[1:] == [
        "contradictions: 1",
        "  line 1: 'outlet: inlet > ambient' and line 1: 'outlet: ambient > inlet' contradict each other: "
        "they cannot both be true. Drop or turn one.",
    ]
    assert "no statement follows from others." in run("check", "true.txt")[1]


def test_check_shows_knowledge_files(folder: Path) -> None:
    Path("good.txt").write_text("[g] = b, e\na: [g] > c > d\na: [g] > d  @ 0.5")
    for show, count in (("closure", 3), ("reduction", 2)):
        result = CliRunner().invoke(main, ["check", "good.txt", "--show", show])
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith("[g] = b, e\n")
        knowledge = Knowledge.parse(result.stdout)
        assert len(knowledge) == count
        assert knowledge == getattr(Knowledge.read("good.txt"), show)()
        Path("bad.txt").write_text("a: b > c > b")
        result = CliRunner().invoke(main, ["check", "bad.txt", "--show", show])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "contradict each other" in result.stderr


def test_show_draws_a_tree_or_says_why_not(folder: Path) -> None:
    Path("good.txt").write_text("near = inlet, flow\noutlet: near > [red]  # same pipe\noutlet: +inlet\n")
    assert run("show", "good.txt") == (0, "outlet and near\n└─ outlet and [red]  # same pipe\noutlet and inlet (+)\n")
    Path("bad.txt").write_text("outlet: inlet > ambient > inlet")
    result = CliRunner().invoke(main, ["show", "bad.txt"])
    assert (result.exit_code, result.stdout) == (1, "") and "contradict each other" in result.stderr
    assert run("show", "missing.txt")[0] == 2


def test_a_fit_can_write_its_report(folder: Path) -> None:
    fit = ("fit", "data.csv", "true.txt", "-o", "plant.model", "--model", "factor", "--max-epochs", "5")
    assert run(*fit, "--report", "fit report.html")[0] == 0
    page = Path("fit report.html").read_text()
    assert "on which the models were trained" in page
    assert (
        "moreso fit data.csv true.txt -o plant.model --model factor --max-epochs 5 --report &#39;fit report.html"
        in page
    )
    assert run(*fit, "--report", "report.json")[0] == 0
    assert json.loads(Path("report.json").read_text())["held_out"] is False
    code, output = run("fit", "data.csv", "-o", "other.model", "--report", "none/report.html")
    assert code == 2 and not Path("other.model").exists()
    assert "--report compares models with and without KNOWLEDGE" in output and "none" in output


def test_fit_sample_report(folder: Path, plant: pd.DataFrame) -> None:
    fit = ("fit", "data.csv", "true.txt", "-o", "plant.model", "--model", "factor", "--max-epochs", "5")
    assert run(*fit)[0] == 0
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet), ("feather", pd.read_feather)):
        assert run("sample", "plant.model", "-n", "50", "-o", f"synthetic.{suffix}")[0] == 0
        sample = read(f"synthetic.{suffix}")
        assert len(sample) == 50
        pd.testing.assert_series_equal(sample.dtypes, plant.dtypes)
    code, output = run("report", "plant.model", "data.csv", "-o", "report.html")
    assert code == 0
    assert "log-likelihood per row" in output.lower()
    page = Path("report.html").read_text()
    assert "outlet: inlet &gt; ambient" in page
    assert "same pipe" in page
    assert run("report", "plant.model", "data.csv", "-o", "report.json")[0] == 0
    assert json.loads(Path("report.json").read_text())["statements"][0]["reason"] == "same pipe"
    weighed = ("--training", "data.csv", "--splits", "2", "--budget", "10", "--seed", "3")
    code, output = run("report", "plant.model", "data.csv", "-o", "report.json", *weighed)
    assert code == 0 and "What each statement adds to the others" in output
    synthesizer = Synthesizer.load("plant.model")
    expected = worth(synthesizer, pd.read_csv("data.csv"), splits=2, budget=10, random_state=3)
    assert json.loads(Path("report.json").read_text())["worth"] == json.loads(json.dumps(expected.to_dict()))
    assert all(sentence in " ".join(output.split()) for sentence in expected.summary)


def test_a_plain_model_needs_no_knowledge(folder: Path) -> None:
    assert run("fit", "data.csv", "-o", "plain.model", "--model", "factor", "--max-epochs", "3")[0] == 0
    assert run("sample", "plain.model", "-n", "4", "-o", "out.csv", "--seed", "9")[0] == 0
    assert run("sample", "plain.model", "-n", "40", "-o", "out.csv", "--where", "flow > 20")[0] == 0
    assert len(pd.read_csv("out.csv").query("flow > 20")) == 40


def test_derive_writes_what_audit_reads(folder: Path) -> None:
    Path("sites.csv").write_text("feature,x,y\ninlet,0,0\noutlet,1,0\nambient,40,9\npump,0,1\n")
    result = CliRunner().invoke(main, ["derive", "sites.csv", "--unit", "m"])
    assert result.exit_code == 0
    assert "outlet: inlet > ambient  # 1 m against 40 m" in result.stdout
    assert "pump" in result.stdout
    # Stdout is a knowledge file, and nothing else.
    assert len(Knowledge.parse(result.stdout)) == len(result.stdout.splitlines())
    assert "4 features, from a map (m). Audit them: moreso audit data.csv knowledge.txt" in result.stderr
    code, output = run("derive", "sites.csv", "--features", "data.csv", "-o", "derived.txt", "--per-feature", "1")
    assert code == 0
    assert output == (
        f"{READ}\n"
        "wrote derived.txt: 2 statements about 3 features, from a map (straight lines); 1 of 4 left out: not in "
        "data.csv. Audit them: moreso audit data.csv derived.txt\n"
    )
    assert "pump" not in Path("derived.txt").read_text()
    assert run("audit", "data.csv", "derived.txt")[0] == 0


def test_derive_takes_the_drawing_for_what_it_is_told(folder: Path) -> None:
    Path("spectra.csv").write_text("w900,w910,w990,fat\n1,2,3,4\n")
    code, output = run("derive", "spectra.csv", "--as", "ordering", "-o", "derived.txt", "--ratio", "5")
    assert code == 0
    assert "from an ordering (differences)" in output
    Path("pipes.edges").write_text("a b 1\nb c 2\nc d 9\n")
    code, output = run("derive", "pipes.edges", "--length", "length", "--unit", "m", "-o", "derived.txt")
    assert "from a graph ('length' along edges)" in output
    assert "a: b > c  # 1 m against 3 m" in Path("derived.txt").read_text()


def test_demo_runs_to_its_end(folder: Path) -> None:
    code, output = run("demo", "-o", "demo", "--splits", "2", "--max-epochs", "3")
    assert code == 0
    assert "Audit of 12 statements" in output
    assert "without knowledge" in output
    assert "Ledoit-Wolf" in output
    assert sorted(path.name for path in Path("demo").iterdir()) == [
        "knowledge.txt",
        "patients.csv",
        "patients.model",
        "report.html",
    ]
    page = Path("demo/report.html").read_text()
    assert all(heading in page for heading in ("Did it hold?", "Did it help?", "Statement by statement"))
    assert "moreso demo -o demo --splits 2 --max-epochs 3" in page
    assert run("audit", "demo/patients.csv", "demo/knowledge.txt")[0] == 0


def test_the_module_answers_as_the_command_does() -> None:
    found = subprocess.run([sys.executable, "-m", "moreso", "--version"], capture_output=True, text=True, check=True)
    assert "version 0.1.0" in found.stdout


def test_audit_prints_json_and_csv_alone(folder: Path) -> None:
    Path("data.sql").write_text("SELECT * FROM 'data.csv'")
    for data in ("data.csv", "data.sql"):
        result = CliRunner().invoke(main, ["audit", data, "true.txt", "--json"])
        assert json.loads(result.stdout)["findings"][0]["reason"] == "same pipe"
        result = CliRunner().invoke(main, ["audit", data, "true.txt", "--csv"])
        assert pd.read_csv(io.StringIO(result.stdout)).loc[0, "relation"] == "outlet: inlet > ambient"


def test_fit_tells_what_it_leaves_out(folder: Path) -> None:
    code, output = run("fit", "data.csv", "false.txt", "-o", "model", "--model", "factor", "--max-epochs", "3")
    assert code == 0
    assert "'outlet: ambient > inlet' was left out of training" in output
    arguments = ("-o", "model", "--model", "factor", "--max-epochs", "3", "--trust", "all")
    code, output = run("fit", "data.csv", "false.txt", *arguments)
    assert code == 0
    assert "left out" not in output


def test_names_in_brackets_are_printed(folder: Path, plant: pd.DataFrame) -> None:
    """As units often are, which look like markup of a terminal."""
    plant.rename(columns={"outlet": "outlet [m]"}).to_csv("data.csv", index=False)
    Path("false.txt").write_text('"outlet [m]": ambient > inlet')
    assert '"outlet [m]": ambient > inlet' in run("audit", "data.csv", "false.txt")[1]
    fit = ("fit", "data.csv", "false.txt", "-o", "[red]", "--model", "factor", "--max-epochs", "3")
    for arguments in (fit, ("report", "[red]", "data.csv", "-o", "[red].html")):
        code, output = run(*arguments)
        assert code == 0
        assert "'\"outlet [m]\": ambient > inlet' was left out" in output
        assert "wrote [red]" in output


def test_ask_writes_questions_that_an_expert_can_answer(folder: Path) -> None:
    code, output = run("ask", "data.csv", "-n", "2", "-o", "questions.txt")
    assert code == 0
    assert "wrote questions.txt: 2 questions that 60 rows leave open." in output
    text = Path("questions.txt").read_text()
    result = CliRunner().invoke(main, ["check", "questions.txt"])
    assert result.exit_code == 2
    assert result.stderr.count("is still a question") == 2
    Path("questions.txt").write_text(text.replace(" ? ", " > "))
    assert run("check", "questions.txt", "--features", "data.csv")[0] == 0
    assert CliRunner().invoke(main, ["ask", "data.csv", "-n", "2"]).stdout == text
    result = CliRunner().invoke(main, ["ask", "data.csv", "--features", "inlet, outlte"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"{READ}\n"
        "'outlte' is no column of the table. Did you mean 'outlet'? Features: ambient, flow, inlet, outlet.\n"
        "3 to 100 features can be compared, got 2. Name those that matter.\n"
    )


def test_a_killed_fit_is_taken_up_again(folder: Path, plant: pd.DataFrame) -> None:
    # Long enough for two members, and for a checkpoint (after 100 steps) early in the first of four trainings.
    pd.concat([plant] * 5).to_csv("data.csv", index=False)
    arguments = ("fit", "data.csv", "true.txt", "--model", "factor", "--max-epochs", "80", "-o")
    process = subprocess.Popen([sys.executable, "-m", "moreso", *arguments, "model"], stderr=subprocess.DEVNULL)
    while not Path("model.checkpoint").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert Path("model.checkpoint").exists()
    assert not Path("model").exists()
    assert run(*arguments, "model")[0] == 0
    assert run(*arguments, "whole", "--log", "log")[0] == 0
    assert Path("log/knowledge/version_0/metrics.csv").exists()
    assert Path("model").read_bytes() == Path("whole").read_bytes()
    assert not list(folder.glob("*checkpoint*"))


# Command -> the arguments that it needs, and the functions that it calls.
CALLS: dict[str, tuple[str, list[Callable[..., Any]]]] = {
    "check": ("known", [Knowledge.read]),
    "audit": ("data known", [moreso.audit]),
    "derive": ("drawing", [moreso.derive.read]),
    "ask": ("data", [moreso.ask]),
    "fit": ("data -o model", [Synthesizer, moreso.Settings, Synthesizer.fit]),
    "sample": ("model -n 9 -o out", [Synthesizer.sample]),
    "impute": ("model data -o out", [Synthesizer.impute]),
    "report": ("model data -o out", [worth]),
    "worth": ("data known", [worth, Synthesizer]),
    "demo": ("", [demo]),
    "show": ("k.txt", [Knowledge.order]),
}

# Option of any command -> argument of its functions; None: of the command alone.
OWN = (
    "output",
    "folder",
    "show",
    "page",
    "engine",
    "scheduler",
    "form",
    "as_json",
    "training",
    "separator",
    "decimal",
    "encoding",
    "column",
    "complete",
)
NAMES: dict[str, str | None] = {"seed": "random_state", "data": "features", **dict.fromkeys(OWN)}

OTHER_DEFAULTS = {("fit", "seed"): (0, None)}
"""A command gives the same model each time, the library a new one."""


def test_every_command_calls_the_library() -> None:
    assert set(CALLS) == set(main.commands)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "show"])  # which has no options
def test_defaults_of_a_command_are_those_of_the_library(name: str) -> None:
    arguments, functions = CALLS[name]
    command = main.commands[name]
    taken: dict[str, Any] = {}
    for function in reversed(functions):
        taken |= inspect.signature(function).parameters
    # With the group's settings, since a command keeps the names of its help option.
    parent = click.Context(main, info_name="moreso", **main.context_settings)
    context = command.make_context(name, arguments.split(), parent=parent)
    compared = 0
    for option in command.params:
        assert option.name is not None
        argument = NAMES.get(option.name, option.name)
        if isinstance(option, click.Argument) or argument is None or option.required:
            continue
        theirs = taken[argument].default
        assert OTHER_DEFAULTS.get((name, option.name), (theirs, theirs)) == (context.params[option.name], theirs)
        compared += 1
    assert compared


def option_of(command: str, name: str) -> click.Option:
    (found,) = (each for each in main.commands[command].params if each.name == name)
    assert isinstance(found, click.Option)
    return found


@pytest.mark.parametrize("command", ["fit", "worth"])
def test_help_names_the_models_that_there_are(command: str) -> None:
    assert option_of(command, "model").help == f"One of {', '.join(MODELS)}."


def test_drawings_are_of_the_kinds_of_the_library() -> None:
    choices = option_of("derive", "kind").type
    assert isinstance(choices, click.Choice)
    with pytest.raises(ValueError, match=rf"one of {', '.join(choices.choices)}; got 'maze'"):
        moreso.derive.read("drawing.csv", "maze")


def test_statements_are_trusted_as_the_library_can() -> None:
    choices = option_of("fit", "trust").type
    assert isinstance(choices, click.Choice)
    for each in choices.choices:
        Synthesizer(trust=each).check()

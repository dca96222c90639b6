"""The examples run, with fits that end early, and print what a person understands."""

import ast
import json
import re
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import moreso

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    short = partial(moreso.Synthesizer, max_epochs=5, trust="all", settings=moreso.Settings(members=1))
    monkeypatch.setattr(moreso, "Synthesizer", short)
    monkeypatch.setattr(moreso, "report", partial(moreso.report, draws=200))


def load(name: str) -> Callable[..., None]:
    """Return an example's `main`."""
    main: Callable[..., None] = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    return main


@pytest.mark.usefixtures("_short")
def test_sensors(capsys: pytest.CaptureFixture[str]) -> None:
    load("sensors")()
    printed = capsys.readouterr().out
    assert re.search(r"^The flow diagram makes (\d+) statements\.", printed).group(1) == "37"  # type: ignore[union-attr]
    counts = re.findall(r"^ +(\d+) [a-z ]+$", printed, re.MULTILINE)
    assert sum(map(int, counts)) == 37 and counts[-1] == "0"
    assert "a1: a2 > a4  # 1 step against 3 steps" in printed
    assert re.search(r"gain [+-]\d\.\d{3} ± \d\.\d{3}", printed)


@pytest.mark.usefixtures("_short")
def test_pathways(capsys: pytest.CaptureFixture[str]) -> None:
    load("pathways")()
    printed = capsys.readouterr().out
    verdicts = {line.strip().split("  ")[0]: line for line in printed.split("\n\n")[0].splitlines()[1:]}
    assert len(verdicts) == 10
    assert "95% sure   already certain" in verdicts["ISG15: interferon > cycle"]
    assert [name for name, line in verdicts.items() if "contradicted" in line] == ["IRF7: CDK1 > STAT1"]
    assert "Of 10 statements" in printed and "grade" in printed.split("Mean expression")[1]


def test_researcher(capsys: pytest.CaptureFixture[str]) -> None:
    load("researcher")(steps=60)
    printed = capsys.readouterr().out
    assert "attach() pushed 60 times" in printed
    rows = [line.split()[-3:] for line in printed.splitlines() if line.startswith(("response:", "marker:"))]
    assert len(rows) == 6
    plain, added, attached = (sum(map(float, column)) for column in zip(*rows, strict=True))
    assert min(added, attached) > plain


def notebook() -> list[dict[str, Any]]:
    content = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    cells: list[dict[str, Any]] = content["cells"]
    return cells


def show(value: object) -> str:
    """Return what a notebook shows of a value."""
    html = getattr(value, "_repr_html_", None)
    return "" if value is None else html() if html else repr(value)


@pytest.mark.usefixtures("_short")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_notebook_runs() -> None:
    names: dict[str, Any] = {}
    shown: dict[str, str] = {}
    for cell in notebook():
        if cell["cell_type"] != "code":
            continue
        block = ast.parse("".join(cell["source"]))
        value = None
        last = block.body.pop() if isinstance(block.body[-1], ast.Expr) else None
        exec(compile(block, cell["id"], "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), cell["id"], "eval"), names)
        shown[cell["id"]] = show(value)
    assert "cholesterol" in shown["table"] and "progression" in shown["fit"] and "bmi" in shown["where"]
    assert "undecided" in shown["audit"].lower() and "triglycerides" in shown["report"]


def test_the_notebook_is_clean() -> None:
    """Valid by the rules of format 4.5 that matter here, without outputs."""
    cells = notebook()
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", each) for each in ids)
    for cell in cells:
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})
        else:
            assert set(cell) == {"cell_type", "id", "metadata", "source"}


def test_every_example_is_tested() -> None:
    """The two hospitals are tested beside other fusions."""
    found = {path.stem for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert found == {"sensors", "pathways", "researcher", "two_hospitals", "tour"}

"""README, docs and docstrings run, and say what the code says."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

import moreso
from moreso import adapters
from moreso.guidance import AUTO_RATIO, forked
from moreso.relations import Knowledge, grammar

ROOT = Path(__file__).parents[1]
MODULES = ["moreso", *(module.name for module in pkgutil.walk_packages(moreso.__path__, "moreso."))]
MODULES.remove("moreso.__main__")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported(name: str) -> ModuleType | None:
    """Return a module; None where the library of an adapter is missing, which other tests tell."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not name.startswith("moreso.adapters.") or str(error.name).startswith("moreso"):
            raise
        return None


@pytest.fixture
def _forked() -> Iterator[None]:
    with forked(7):
        yield


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str) -> None:
    module = imported(name)
    if module is None:
        pytest.skip(name.removeprefix("moreso.adapters."))
    assert doctest.testmod(module).failed == 0


def test_every_module_is_found() -> None:
    """Also behind a door that loads it on first use."""
    source = Path(moreso.__path__[0]).parent
    parts = [path.relative_to(source).with_suffix("").parts for path in source.glob("moreso/**/*.py")]
    found = {".".join(each[:-1] if each[-1] == "__init__" else each) for each in parts}
    assert found == {*MODULES, "moreso.__main__"}


def test_doctests_are_found() -> None:
    finder = doctest.DocTestFinder()
    modules = [module for module in map(imported, MODULES) if module is not None]
    found = [test for module in modules for test in finder.find(module) if test.examples]
    assert len(found) >= 10


@pytest.mark.usefixtures("_forked")
def test_readme_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With fits that end early, so that only what the audit says is as the page has it."""
    monkeypatch.setattr(moreso, "Synthesizer", partial(moreso.Synthesizer, max_epochs=60))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert len(names["synthetic"]) == 1000  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert "s1: s2 > s3" in printed
    for line in printed.splitlines()[:2]:
        assert line in (ROOT / "README.md").read_text(), "run: make docs"


ADAPTERS = (ROOT / "docs" / "adapters.md").read_text().split("\n## ")


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("section", ADAPTERS[1:], ids=lambda section: section.splitlines()[0])
def test_adapters_run(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_section(section, capsys)


def run_section(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a section of docs/adapters.md, or skip the test with the name of a library that is missing."""
    names: dict[str, object] = {}
    blocks = [found for text in (ADAPTERS[0], section) for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) == 2
    for block in blocks:
        for library in re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE):
            pytest.importorskip(library, reason=library)
        exec(compile(block, "docs/adapters.md", "exec"), names)
    assert re.search(r"Pushed\(step=\d+, penalty=|Checked\(pvalue=", capsys.readouterr().out)


def test_every_adapter_has_a_section() -> None:
    for name in adapters.LIBRARIES:
        assert f"moreso.adapters.{name}." in ADAPTERS[0]
    assert '`weight="auto"` makes the penalty\'s gradient .3 times' in ADAPTERS[0]
    assert AUTO_RATIO == 0.3


@pytest.mark.usefixtures("_forked")
def test_the_page_on_worth_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "worth.md").read_text(), re.DOTALL)
    exec(compile(block, "worth.md", "exec"), {})
    assert "outlet: inlet > ambient" in capsys.readouterr().out


def test_generated_pages_are_up_to_date() -> None:
    generate = load(ROOT / "docs" / "generate.py")
    assert (ROOT / "docs" / "cli.md").read_text() == generate.cli_reference(), "run: make docs"
    assert (ROOT / "docs" / "api.md").read_text() == generate.api_reference(), "run: make docs"
    assert (ROOT / "docs" / "results.md").read_text() == generate.results(), "run: make docs"
    blocks = {
        ("README.md", "gain"): generate.tables.summary(["default", "flipped"]),
        ("README.md", "fusion"): generate.fusion.headline(),
        ("docs/adapters.md", "effect"): generate.adapters.table(),
    }
    for (page, name), block in blocks.items():
        assert f"<!-- {name} -->\n{block}\n<!-- /{name} -->" in (ROOT / page).read_text(), "run: make docs"


def test_the_demo_is_shown() -> None:
    text = (ROOT / "docs" / "demo.md").read_text()
    assert "Audit of 12 statements" in text
    assert "Gap of each statement in data and in samples" in text
    assert "Ledoit-Wolf" in text


def test_the_knowledge_page_states_the_grammar_and_its_example_parses() -> None:
    page = (ROOT / "docs" / "knowledge-file.md").read_text()
    _, rules = inspect.getdoc(grammar).split("\n\n", 1)  # type: ignore[union-attr]
    assert textwrap.indent(rules, "    ") in page
    example = "\n".join(line for line in page.split("## Grammar")[0].splitlines() if line.startswith("    "))
    assert len(Knowledge.parse(example)) == 10
    lines = page.split("finished or not:")[1].split("## What follows")[0]
    (relation,) = Knowledge.parse(lines).relations
    assert relation.plus == ("t_in", "t_mid")


def test_every_argument_that_is_documented_exists() -> None:
    things = {name: getattr(moreso, name) for name in moreso.__all__}
    for module in filter(inspect.ismodule, list(things.values())):
        things |= {f"{module.__name__}.{name}": getattr(module, name) for name in module.__all__}
    assert {"Settings", "moreso.adapters.attach", "moreso.elicit.derive.from_map"} <= set(things)
    for name, thing in things.items():
        section = re.search(r"Args:\n((?:    .*\n?)+)", inspect.getdoc(thing) or "")
        if section:
            documented = set(re.findall(r"^    (\w+):", section[1], re.MULTILINE))
            existing = set(inspect.signature(thing).parameters)
            assert documented <= existing, name
            assert existing - documented <= {"self"}, name

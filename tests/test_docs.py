"""README, docs and docstrings run, and say what the code says."""

import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
from docs import blocks

import moreso
from moreso import adapters
from moreso.guidance import AUTO_RATIO, forked
from moreso.relations import Knowledge, grammar

ROOT = Path(__file__).parents[1]
MODULES = ["moreso", *(module.name for module in pkgutil.walk_packages(moreso.__path__, "moreso."))]
MODULES.remove("moreso.__main__")


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


ADAPTERS = (ROOT / "docs" / "adapters.md").read_text().split("\n## ")


def code() -> Iterator[tuple[str, list[blocks.Block]]]:
    """Yield the blocks of every page that has code; those of a library's section follow those of the page's start."""
    for page in blocks.pages():
        name, text = page.relative_to(ROOT).as_posix(), page.read_text()
        if name == "docs/adapters.md":
            yield from ((f"{name}: {each.splitlines()[0]}", section(each)) for each in ADAPTERS[1:])
        elif any(block.runs for block in blocks.blocks(text)):
            yield name, blocks.blocks(text)


def section(text: str) -> list[blocks.Block]:
    return blocks.blocks(f"{ADAPTERS[0]}\n## {text}")


CODE = dict(code())
QUICK = {"fit": ["--max-epochs", "20"], "worth": ["--splits", "1", "--budget", "2"]}
"""Options that end a command early; what a page shows of a training is then not compared."""


def run_page(found: list[blocks.Block], folder: Path) -> str:
    """Run blocks in a folder and return what they print, or skip the test with the name of a library that is missing.

    Outputs must be as the page shows them.
    """
    for library in chain.from_iterable(block.libraries for block in found):
        pytest.importorskip(library, reason=library)
    printed = ""
    with blocks.folder(folder):
        for block, expected, output in blocks.run(found, options=lambda words: [*words, *QUICK.get(words[0], [])]):
            printed += output
            if expected is not None:
                shown, lines = expected.text.splitlines(), blocks.tidy(output).splitlines()
                assert lines[: expected.fixed] == shown[: expected.fixed], f"run: make docs\n{block.text}"
    return printed


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("name", CODE)
def test_pages_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fits that end early, so that only what does not depend on them is as the page has it."""
    defaults = moreso.Synthesizer.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "max_epochs", 20)
    printed = run_page(CODE[name], tmp_path)
    if name.startswith("docs/adapters.md"):
        assert re.search(r"Pushed\(step=\d+, penalty=|Checked\(pvalue=", printed)


def test_pages_with_code_are_found() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/worth.md", "docs/derive.md"} <= set(CODE)
    assert {block.kind for block in CODE["docs/tutorial.md"] if block.runs} == {"python", "shell"}
    for page in blocks.pages():
        text = page.read_text()
        assert text.count("```python\n") == sum(block.kind == "python" for block in blocks.blocks(text)), page


PAGE = """
```text title="knowledge.txt"
b: a > c
```

```python
import warnings
print(1)
warnings.warn("two")
```

<!-- varies after 1 -->
```text
1
```

```shell
pip install something
moreso check \\
    knowledge.txt  # a comment
```

    moreso fit nothing

```text
not an output, since it does not follow directly
```
"""


def test_blocks_of_a_page_run_in_order(tmp_path: Path) -> None:
    found = blocks.blocks(PAGE)
    assert [(block.kind, block.output, block.fixed) for block in found] == [
        ("text", False, None),
        ("python", False, None),
        ("text", True, 1),
        ("shell", False, None),
        ("text", False, None),
    ]
    with blocks.folder(tmp_path):
        (_, shown, first), (_, nothing, second) = blocks.run(found)
        assert shown == found[2] and nothing is None
        assert first == "1\nUserWarning: two\n"
        assert second.startswith("knowledge.txt: 1 statement,")
        assert run_page(found, tmp_path) == first + second
        with pytest.raises(UserWarning, match="two"):
            list(blocks.run(blocks.blocks(PAGE.replace("<!-- varies after 1 -->", "So:"))))
        with pytest.raises(AssertionError, match="make docs"):
            run_page(blocks.blocks(PAGE.replace("```text\n1", "```text\n2")), tmp_path)
        with pytest.raises(RuntimeError, match="exit code 2"):
            list(blocks.run(blocks.blocks(PAGE.replace("b: a > c", "b: a >"))))


def test_outputs_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    blocks.write_outputs(page)
    assert page.read_text() == PAGE.replace("```text\n1\n", "```text\n1\nUserWarning: two\n")


def test_every_adapter_has_a_section() -> None:
    for name in adapters.LIBRARIES:
        assert f"moreso.adapters.{name}." in ADAPTERS[0]
    assert '`weight="auto"` makes the penalty\'s gradient .3 times' in ADAPTERS[0]
    assert AUTO_RATIO == 0.3


def test_generated_pages_are_up_to_date() -> None:
    generate = importlib.import_module("docs.generate")
    assert (ROOT / "docs" / "cli.md").read_text() == generate.cli_reference(), "run: make docs"
    assert (ROOT / "docs" / "results.md").read_text() == generate.results(), "run: make docs"
    blocks = {
        ("README.md", "gain"): generate.tables.summary(["default", "flipped"]),
        ("README.md", "fusion"): generate.fusion.headline(),
        ("docs/adapters.md", "effect"): generate.adapters.table(),
        ("docs/decisions/README.md", "list"): generate.decisions(),
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


# Shown by a call, or for moreso's own rooms.
UNSHOWN = {
    "moreso.Regularizer.forward",
    "moreso.Regularizer.extra_repr",
    "moreso.Synthesizer.take",
    "moreso.Synthesizer.shared_settings",
    "moreso.Synthesizer.set_fit_request",
    "moreso.adapters.lightning.Callback.on_train_start",
    "moreso.adapters.lightning.Callback.on_before_optimizer_step",
    "moreso.adapters.lightning.Callback.on_train_end",
}
OWN_ADAPTERS = ("distributions", "gpytorch", "lightning", "pyro")


def public_names() -> dict[str, object]:
    """Every public name, those of public modules, and those of the adapters whose libraries `make test` installs."""
    things: dict[str, object] = {f"moreso.{name}": getattr(moreso, name) for name in moreso.__all__}
    for module, thing in list(things.items()):
        if inspect.ismodule(thing):
            things |= {f"{module}.{name}": getattr(thing, name) for name in thing.__all__}
    for library in OWN_ADAPTERS:
        found = vars(getattr(adapters, library)).items()
        own = {name: thing for name, thing in found if getattr(thing, "__module__", "").endswith(f"adapters.{library}")}
        things |= {f"moreso.adapters.{library}.{name}": own[name] for name in own if not name.startswith("_")}
    return things


def shown(thing: object) -> str:
    """Return the examples in a docstring."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")
    return "".join(example.source for example in examples)


def methods(thing: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties that a class itself defines."""
    for name, member in vars(thing).items():
        if not name.startswith("_") and (isinstance(member, property) or callable(getattr(thing, name))):
            yield name, member


def test_every_public_name_has_an_example() -> None:
    things = public_names()
    assert {"moreso.Audit", "moreso.derive.read", "moreso.adapters.pyro.attach"} <= set(things)
    assert [name for name, thing in things.items() if not shown(thing)] == []


def test_every_public_method_is_explained_and_shown() -> None:
    """In an example of its own, or in that of its class."""
    unexplained, unshown = [], []
    for name, thing in public_names().items():
        for method, member in methods(thing) if inspect.isclass(thing) else ():
            if not inspect.getdoc(member):
                unexplained.append(f"{name}.{method}")
            if not (shown(member) or re.search(rf"\.{method}\b|def {method}\(", shown(thing))):
                unshown.append(f"{name}.{method}")
    assert unexplained == []
    assert set(unshown) == UNSHOWN

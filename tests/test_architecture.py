"""The house of docs/architecture.md, compared with the code."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

import moreso

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "moreso"
FILES = [path for path in (*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyi")) if path.name != "__main__.py"]
SCRIPTS = [path for folder in ("examples", "experiments", "benchmarks") for path in (ROOT / folder).glob("*.py")]

FOREIGN = {"ctx", "parser", "svi", "sys"}
"""Autograd's context, an XML parser, Pyro's SVI and Python's streams are made to be given attributes."""


def house() -> dict[str, list[str]]:
    """Return room -> the rooms that it imports, in the order of the page."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    match = re.search(r"<!-- house -->\n(.*?)<!-- /house -->", page, re.DOTALL)
    assert match
    lines = [line.split() for line in match[1].splitlines()]
    return {room: others for room, *others in lines}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def modules() -> set[str]:
    return {module_of(path) for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Yield every module of this package, or name in a module, that a file imports: at any depth, also for typing."""
    own = module_of(path) if path.is_relative_to(SOURCE) else ""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "moreso")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.suffix == ".pyi", f"{path}: relative import"
            base = ".".join(part for part in (own if node.level else "", node.module) if part)
            if base.split(".")[0] == "moreso":
                yield from (f"{base}.{alias.name}" for alias in node.names)


def target(name: str) -> str:
    """Return the module in which an imported name is looked up."""
    return name if name in modules() else name.rsplit(".", 1)[0]


def test_the_page_draws_the_house_as_it_is() -> None:
    found: dict[str, set[str]] = {}
    for path in FILES:
        own = room_of(module_of(path))
        if own:
            public = {name: moreso_room(name) for name in imports(path)}
            found.setdefault(own, set()).update(room for room in public.values() if room and room != own)
    assert {room: sorted(others) for room, others in found.items()} == house()


def moreso_room(name: str) -> str:
    """Return the room of an imported name; public names of `moreso` count as their room."""
    parts = name.split(".")
    if len(parts) < 2:
        return ""
    if parts[1] in house():
        return parts[1]
    return room_of(getattr(getattr(moreso, parts[1]), "__module__", "")) or ""


def test_a_room_imports_only_rooms_above_it() -> None:
    above: set[str] = set()
    for room, others in house().items():
        assert set(others) <= above, room
        above.add(room)


def test_no_module_is_in_an_import_cycle() -> None:
    graph = nx.DiGraph()
    for path in SOURCE.rglob("*.py"):
        graph.add_edges_from((module_of(path), target(name)) for name in imports(path))
    # `from moreso import x` within the package looks in the package's own door, which loads nothing.
    graph.remove_nodes_from(["moreso"])
    # A door imports what is behind it, which may name its own room.
    assert [cycle for cycle in nx.strongly_connected_components(graph) if len(cycle) > 1] == []


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_are_entered_by_their_doors(path: Path) -> None:
    own = room_of(module_of(path)) if path.is_relative_to(SOURCE) else None
    for name in imports(path):
        module, parts = target(name), name.split(".")
        if own is None or (own and room_of(module) not in ("", own)):
            assert module.count(".") <= 1 or parts[1] == "adapters", f"{name}: a deep import"
        if own is None:
            assert not any(part.startswith("_") for part in parts), f"{name}: a private name"


def test_relations_need_the_standard_library_alone() -> None:
    for path in (SOURCE / "relations").glob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        names = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
        tree = ast.walk(ast.parse(path.read_text()))
        names += [str(node.module) for node in tree if isinstance(node, ast.ImportFrom)]
        assert {name.split(".")[0] for name in names} <= {"moreso", *sys.stdlib_module_names}, path


HEAVY = ["torch", "pandas", "scipy", "sklearn", "lightning_fabric", "lightning", "networkx", "rich"]


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import moreso; dir(moreso); from moreso.cli import main; moreso.Knowledge.parse('a: b > c')", []),
        ("from moreso.tabular import read_table, table_problems", ["pandas"]),
        ("from moreso import derive", ["pandas", "scipy", "networkx"]),
        ("from moreso import Regularizer, hsic, guidance; import moreso.adapters", ["torch"]),
        ("from moreso import audit", ["torch", "pandas"]),
    ],
)
def test_what_an_import_loads(code: str, loaded: list[str]) -> None:
    tail = f"; import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    assert sorted(run.stdout.split()) == sorted(loaded)


def test_exports() -> None:
    assert list(moreso.__all__) == sorted(moreso.__all__)
    assert set(moreso.__all__) <= set(dir(moreso))
    for name in moreso.__all__:
        assert getattr(moreso, name).__doc__, name
    with pytest.raises(AttributeError):
        moreso.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_function_never_hides_a_module() -> None:
    for path in SOURCE.rglob("__init__.py"):
        door = importlib.import_module(module_of(path))
        below = {each.stem for each in path.parent.glob("*.py")} | {each.name for each in path.parent.glob("*/")}
        for name in getattr(door, "__all__", []):
            assert name not in below or inspect.ismodule(getattr(door, name)), f"{door.__name__}.{name}"


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_no_function_takes_more_than_a_dozen_arguments() -> None:
    for path, node in functions():
        names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        assert count <= 12, f"{path.name}: {node.name} takes {count}"
    assert len(inspect.signature(moreso.Synthesizer).parameters) <= 10


def test_no_own_type_is_annotated_any() -> None:
    own = {"audit", "encoder", "estimator", "fitted", "knowledge", "model", "relation", "synthesizer", "trainer"}
    for path, node in functions():
        # A foreign library's model is of no type that we know.
        for each in (*node.args.args, *node.args.kwonlyargs) if path.parent.name != "adapters" else ():
            if each.arg in own and each.annotation is not None:
                assert "Any" not in ast.unparse(each.annotation), f"{path.name}: {node.name}({each.arg})"


def test_nobody_sets_attributes_on_somebody_elses_object() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else targets
            for each in targets:
                if not isinstance(each, ast.Attribute):
                    continue
                owner = ast.unparse(each.value).split(".")[0]
                assert owner in {"self", *FOREIGN} or each.attr == "grad", f"{path.name}: {ast.unparse(each)}"

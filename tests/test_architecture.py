"""The arrows of docs/architecture.md, held by the import graph."""

import ast
from pathlib import Path

import moreso

SOURCE = Path(moreso.__file__).parent

# room -> rooms that it may import.
ARROWS: dict[str, set[str]] = {
    "files": set(),
    "relations": {"files"},
    "kernels": set(),
    "dependence": {"kernels"},
    "relative": {"relations", "kernels", "dependence"},
    "regularizer": {"relations", "relative"},
    "sql": set(),
    "tables": {"files", "dependence"},
    "derive": {"relations", "tables"},
    "audit": {"relations", "dependence", "relative", "tables"},
    "ask": {"audit", "dependence", "kernels", "relations", "tables"},
    "models": set(),
    "training": {"archive", "models"},
    "adapters": {"regularizer", "relations", "relative", "training"},
    "archive": {"files"},
    "synthesizer": {"archive", "audit", "models", "regularizer", "relations", "tables", "training"},
    "report": {"audit", "files", "synthesizer", "worth"},
    "worth": {"relations", "synthesizer"},
    "demo": {"audit", "relations", "report", "synthesizer", "tables"},
    "cli": {
        "ask",
        "audit",
        "demo",
        "derive",
        "files",
        "models",
        "relations",
        "report",
        "synthesizer",
        "tables",
        "worth",
    },
}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path, *, top_only: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "moreso"
                else {node.module or ""}
            )
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_rooms_import_only_along_the_arrows() -> None:
    seen = set()
    for path in SOURCE.rglob("*.py"):
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):
            continue
        seen.add(own)
        others = {room(name) for name in imports(path, top_only=False) if name.split(".")[0] == "moreso"} - {own}
        assert others <= ARROWS[own], f"{path.name} imports {others - ARROWS[own]}"
    assert seen == set(ARROWS)


def test_the_arrows_have_no_cycle() -> None:
    order: list[str] = []
    while len(order) < len(ARROWS):
        free = [name for name in ARROWS if name not in order and ARROWS[name] <= set(order)]
        assert free, f"a cycle among {set(ARROWS) - set(order)}"
        order += free


def test_no_import_hides_in_a_function() -> None:
    for path in SOURCE.rglob("*.py"):
        hidden = imports(path, top_only=False) - imports(path, top_only=True)
        # The one exception is for annotations alone: an error that carries what it could read.
        assert hidden <= ({"moreso.relations.knowledge"} if path.name == "errors.py" else set()), path


def test_relations_need_the_standard_library_alone() -> None:
    for path in (SOURCE / "relations").glob("*.py"):
        foreign = {name.split(".")[0] for name in imports(path, top_only=False)} & {
            "torch",
            "numpy",
            "pandas",
            "scipy",
            "sklearn",
        }
        assert not foreign, path


def test_the_drawing_shows_every_room() -> None:
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    for name in ARROWS:
        assert f"`{name}`" in text, name


def test_exports() -> None:
    assert moreso.__all__ == sorted(moreso.__all__)
    for name in moreso.__all__:
        assert getattr(moreso, name).__doc__, name


def test_modules_stay_short() -> None:
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 320, f"{path} wants to become a folder"

"""Puts files of the repository that pages link to on the site, so that one link serves readers of both; checks links.

A page links to `../CHANGELOG.md` or `../examples/`, as it must in the repository. MkDocs knows files of `docs/` alone,
so every file or folder outside it that a page links to, or that the navigation names, becomes a page of its own.
"""

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

log = get_plugin_logger("links")

LINK = re.compile(r"(\]\()([^()\s:#]+)((?:#[^()\s]*)?\))")
ATTRIBUTE = re.compile(r'<(\w+)[^<>]*?\s(?:href|src)="([^"]*)"')
ANCHOR = re.compile(r'\s(?:id|name)="([^"]*)"')
CODE = re.compile(r"(?ms)^ *(```+).*?^ *\1|`[^`\n]+`")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what pages and the navigation name outside docs/, and list folders in the navigation."""
    pending = [DOCS / file.src_uri for file in files.documentation_pages()]
    pending += [ROOT / name.removesuffix("/*") for name in _names(config.nav) if not (DOCS / name).exists()]
    seen: set[Path] = set()
    while pending:
        path = pending.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        text = _text(path)
        if text is None:
            continue
        uri = _uri(path)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=text))
        if path.is_dir() or path.suffix in (".md", ".ipynb"):
            pending += [target for target, _ in _targets(text, _folder(path))]
    config.nav = _listed(config.nav, files)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the pages that files became."""
    uri = page.file.src_uri
    folder = _folder(DOCS / uri if (DOCS / uri).exists() else ROOT / uri)

    def replace(match: re.Match[str]) -> str:
        target = _resolve(match[2], folder)
        if target is None or (_text(target) is None and target.suffix != ".svg"):
            return match[0]
        return f"{match[1]}{os.path.relpath(_uri(target), Path(uri).parent)}{match[3]}"

    return _outside_code(markdown, lambda text: LINK.sub(replace, text))


def on_post_build(*, config: MkDocsConfig) -> None:
    """Warn of links in built pages that lead nowhere, and of what a page would load from a network."""
    site = Path(config.site_dir)
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    anchors = {path: set(map(unquote, ANCHOR.findall(text))) for path, text in pages.items()}
    for path, text in pages.items():
        if path.name == "404.html":
            continue
        for tag, link in sorted(set(ATTRIBUTE.findall(text))):
            problem = _problem(tag, link, path, anchors)
            if problem:
                log.warning(f"{path.relative_to(site.resolve())}: '{link}' {problem}.")


def _problem(tag: str, link: str, page: Path, anchors: dict[Path, set[str]]) -> str:
    """Return what is wrong with a link of a built page, or nothing."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "" if tag == "a" or parts.scheme == "data" else "is loaded from a network"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        return "does not exist"
    if parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
        return "has no such heading"
    return ""


def _names(nav: Any) -> Iterator[str]:
    """Yield the files and folders that the navigation names."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _names(each)


def _listed(nav: Any, files: Files) -> Any:
    """Return the navigation with the pages of a folder in place of `folder/*`."""
    if isinstance(nav, dict):
        return {name: _listed(each, files) for name, each in nav.items()}
    if not isinstance(nav, list):
        return nav
    found: list[Any] = []
    for each in nav:
        if isinstance(each, str) and each.endswith("/*"):
            inside = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri.startswith(each[:-1]))
            found += [uri for uri in inside if not uri.endswith("README.md")]
        else:
            found.append(_listed(each, files))
    return found


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change a text but for its fenced blocks and code spans."""
    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(text[end:])])


def _targets(text: str, folder: Path) -> Iterator[tuple[Path, str]]:
    for _, link, _ in LINK.findall(CODE.sub("", text)):
        target = _resolve(link, folder)
        if target is not None:
            yield target, link


def _resolve(link: str, folder: Path) -> Path | None:
    """Return the file or folder that a link names, if it is one of the repository."""
    path = Path(os.path.normpath(folder / link))
    return path if path.exists() and path.is_relative_to(ROOT) else None


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _uri(path: Path) -> str:
    """Return where on the site a file is: as under docs/, or as in the repository, and scripts as pages."""
    if path.is_dir():
        path = path / "README.md"
    uri = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT)
    return (uri.with_suffix(".md") if uri.suffix in (".py", ".ipynb") else uri).as_posix()


def _text(path: Path) -> str | None:
    """Return a file or folder as Markdown; None if it is of another kind."""
    if path.is_dir():
        return _text(path / "README.md") if (path / "README.md").exists() else _contents(path)
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return _script(path)
    if path.suffix == ".ipynb":
        return _notebook(path)
    if path.suffix in (".txt", ".cff") or path.name == "LICENSE":
        return f"# {path.name}\n\n```text\n{path.read_text(encoding='utf-8').strip()}\n```\n"
    return None


def _script(path: Path) -> str:
    return f"# {path.relative_to(ROOT)}\n\n```python\n{path.read_text(encoding='utf-8').strip()}\n```\n"


def _notebook(path: Path) -> str:
    """Return the cells of a notebook, and the text that they print."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source:
            parts.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            if "".join(text).strip():
                parts.append(f"```text\n{''.join(text).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _contents(folder: Path) -> str:
    """Return a list of the scripts and notebooks of a folder, with what each says of itself."""
    lines = [f"# {folder.name.capitalize()}", ""]
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py":
            about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
            lines.append(f"- [{path.name}]({path.name}): {' '.join(about.split())}")
        elif path.suffix == ".ipynb":
            heading = re.search(r"(?m)^#+ (.*)$", _notebook(path))
            lines.append(f"- [{path.name}]({path.name}){f': {heading[1]}' if heading else ''}")
    return "\n".join(lines) + "\n"

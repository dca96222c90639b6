"""Write the generated parts of the documentation: `make docs`."""

import inspect
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

import moreso
from moreso.cli import main

ROOT = Path(__file__).parents[1]


def cli_reference() -> str:
    """Return docs/cli.md: the help of every command."""
    parts = ["# The commands\n\nGenerated from `--help` by `make docs`.\n"]
    top = click.Context(main, info_name="moreso", **main.context_settings)
    for name in main.list_commands(top):
        command = main.commands[name]
        context = click.Context(command, info_name=name, parent=top, max_content_width=100, terminal_width=100)
        parts.append(f"## moreso {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def api_reference() -> str:
    """Return docs/api.md: the docstring of every public name."""
    parts = ["# The public names\n\nGenerated from docstrings by `make docs`.\n"]
    for name in moreso.__all__:
        thing = getattr(moreso, name)
        parts.append(f"## moreso.{name}\n\n```text\n{inspect.getdoc(thing)}\n```\n")
        if inspect.ismodule(thing):
            for function in thing.__all__:
                text = inspect.getdoc(getattr(thing, function))
                parts.append(f"### moreso.{name}.{function}\n\n```text\n{text}\n```\n")
        if inspect.isclass(thing):
            for method, member in vars(thing).items():
                text = (
                    inspect.getdoc(member) if not method.startswith("_") and callable(getattr(thing, method)) else None
                )
                if text and method not in ("forward",):
                    parts.append(f"### moreso.{name}.{method}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def demo_output() -> str:
    """Return what `moreso demo` prints."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "moreso", "demo"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in run.stdout.strip().splitlines())


def generate() -> None:
    """Write all generated parts."""
    (ROOT / "docs" / "cli.md").write_text(cli_reference(), encoding="utf-8")
    (ROOT / "docs" / "api.md").write_text(api_reference(), encoding="utf-8")
    readme = ROOT / "README.md"
    block = f"<!-- demo -->\n```text\n$ make demo\n{demo_output()}\n```\n<!-- /demo -->"
    text = re.sub(
        r"<!-- demo -->.*<!-- /demo -->", lambda _: block, readme.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    generate()

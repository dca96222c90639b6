"""The shell: parse, call, print. Each command is the function of the same name."""

from moreso.cli import models, statements
from moreso.cli.shell import main

__all__ = ["main", "models", "statements"]

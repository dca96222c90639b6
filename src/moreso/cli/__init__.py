"""The command line: parse, call, print. Each command calls the function of the same name."""

import lazy_loader

from moreso.cli import models, statements
from moreso.cli.shell import main

_attach = lazy_loader.attach(__name__, submod_attrs={"_demo": ["knowledge_text", "patients", "run"]})
__getattr__ = _attach[0]

__all__ = ["knowledge_text", "main", "models", "patients", "run", "statements"]

"""Shows the doctests of docstrings as code, where mkdocstrings would read `>>>` as three quotations."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(?m)^>>> .*(?:\n.*\S.*)*")


class Doctests(griffe.Extension):
    """Puts fences around every doctest that stands in a docstring's text; a section of examples needs none."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of each object as it is read."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)

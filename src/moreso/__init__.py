"""Tell a generative model which features depend on each other, and which more so.

`__init__.pyi` lists the names. They are loaded on first use, so that `import moreso` is fast.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("moreso")

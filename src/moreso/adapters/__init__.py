"""Knowledge in libraries that people already use: one module per library, imported on demand.

>>> import torch
>>> from moreso import adapters
>>> features, weights = ["a", "b", "c"], torch.randn(2, 3, requires_grad=True)
>>> optimizer = torch.optim.SGD([weights], lr=0.1)
>>> with adapters.attach(optimizer, lambda n: torch.randn(n, 2) @ weights, "a: b > c", features=features) as push:
...     for _ in range(5):
...         optimizer.zero_grad()
...         weights.square().sum().backward()
...         optimizer.step()
>>> len(push.history), sorted(adapters.LIBRARIES)[:3]
(5, ['ctgan', 'distributions', 'gpytorch'])
"""

from importlib import import_module
from types import ModuleType

from moreso.adapters.attaching import Adapter, attach
from moreso.adapters.checking import Checked, check_adapter
from moreso.guidance import Push, Pushed

__all__ = ["Adapter", "Checked", "Push", "Pushed", "attach", "check_adapter"]

# library -> what pip installs, or "" if moreso itself depends on it.
LIBRARIES = {
    # Under the Business Source License, so in no extra: users install it themselves.
    "ctgan": "ctgan",
    "distributions": "",
    "gpytorch": "moreso[gpytorch]",
    "lightning": "moreso[lightning]",
    "pyro": "moreso[pyro]",
    "pythae": "pythae",
    "sdv": "sdv",
}


def __getattr__(name: str) -> ModuleType:
    """Import the module of a library on first use."""
    if name not in LIBRARIES:
        raise AttributeError(f"module 'moreso.adapters' has no attribute '{name}'. It has {', '.join(LIBRARIES)}.")
    try:
        return import_module(f"moreso.adapters.{name}")
    except ModuleNotFoundError as error:
        if not LIBRARIES[name] or str(error.name).startswith("moreso"):
            raise
        package = LIBRARIES[name] if LIBRARIES[name].isidentifier() else f"'{LIBRARIES[name]}'"
        raise ModuleNotFoundError(
            f"moreso.adapters.{name} needs the package '{str(error.name).split('.')[0]}'. Install it with: "
            f"pip install {package}.",
            name=error.name,
        ) from error

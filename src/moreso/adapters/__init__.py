"""Knowledge inside libraries that people already use: one file each, imported on demand."""

from importlib import import_module
from types import ModuleType

from moreso.adapters.attaching import Adapter, attach
from moreso.adapters.checking import Checked, check_adapter
from moreso.adapters.push import Push, Pushed

__all__ = ["Adapter", "Checked", "Push", "Pushed", "attach", "check_adapter"]

# library -> what pip installs, where moreso itself does not need it.
LIBRARIES = {
    # Under the Business Source License: in no extra, for whoever wants it to install.
    "ctgan": "ctgan",
    "distributions": "",
    "gpytorch": "moreso[gpytorch]",
    "lightning": "moreso[lightning]",
    "pyro": "moreso[pyro]",
    "pythae": "pythae",
    "sdv": "sdv",
}


def __getattr__(name: str) -> ModuleType:
    """Import the file of a library when it is first asked for."""
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

"""zoodip: teach a frozen, quantised Stable Diffusion a new word from a handful of pictures.

Importing this package is cheap and never fails for want of the native module. That is loaded at
the first use of anything it provides; where it does not fit this Python or torch, that use raises
`NativeModuleError`, whose message says what to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._api import Subject, TrainResult, inspect, sample, settings, train, train_together
from ._folder import FolderPicture, LeftOut, PictureFolder, read_folder
from ._loader import NativeModuleError, load_native
from ._token import token_convert, token_info

if TYPE_CHECKING:
    from types import ModuleType

    _native: ModuleType
    Error: type[RuntimeError]
    Cancelled: type[Exception]
    CancelToken: type

__version__ = "0.1.0"

__all__ = [
    "CancelToken",
    "Cancelled",
    "Error",
    "FolderPicture",
    "LeftOut",
    "NativeModuleError",
    "PictureFolder",
    "Subject",
    "TrainResult",
    "__version__",
    "inspect",
    "load_native",
    "read_folder",
    "sample",
    "settings",
    "token_convert",
    "token_info",
    "train",
    "train_together",
]

# Names that come straight from the native module.
_NATIVE_NAMES = frozenset({"CancelToken", "Cancelled", "Error"})


def __getattr__(name: str) -> Any:
    """Loads the native module at the first use of it or of a name that it provides."""
    if name == "_native":
        value: Any = load_native()
    elif name in _NATIVE_NAMES:
        value = getattr(load_native(), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

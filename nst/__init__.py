"""Neural style transfer: a photo, a painting, and the photo painted that way.

import nst

nst.stylize("photo.jpg", "painting.jpg", backend="torch").save("out.png")
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Judgement", "NstError", "Progress", "Result", "__version__", "evaluate", "stylize"]

if TYPE_CHECKING:
    from nst.api import Judgement, NstError, Progress, Result, evaluate, stylize


def __getattr__(name: str) -> Any:
    # On first use, so that `nst --help` does not wait for NumPy.
    if name == "api" or name in __all__:
        api = importlib.import_module("nst.api")
        return api if name == "api" else getattr(api, name)
    raise AttributeError(f"module 'nst' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "api"})

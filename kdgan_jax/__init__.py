"""Image super-resolution by knowledge distillation and adversarial training, in JAX/Flax.

`load("runs/kd").upscale(image)` runs a trained model. Importing this package does not import
TensorFlow.
"""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdgan_jax.inference.load import list_models, load
    from kdgan_jax.inference.model import Model

# Imported on first use, since some commands run without JAX.
_HOMES = {
    "Model": "kdgan_jax.inference.model",
    "list_models": "kdgan_jax.inference.load",
    "load": "kdgan_jax.inference.load",
}
__all__ = ["Model", "__version__", "list_models", "load"]


def __getattr__(name: str) -> Any:
    """Returns a public name or the version, on first use."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        return metadata.version("kdgan_jax")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the public names."""
    return __all__

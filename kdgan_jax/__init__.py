"""Image super-resolution by knowledge distillation and adversarial training, in JAX/Flax.

`load("runs/kd").upscale(image)` runs a trained model. Importing this package does not import
TensorFlow.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdgan_jax.inference.load import load
    from kdgan_jax.inference.model import Model

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    """Imports `load` and `Model` on first use, since some commands run without JAX."""
    if name == "load":
        from kdgan_jax.inference.load import load

        return load
    if name == "Model":
        from kdgan_jax.inference.model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

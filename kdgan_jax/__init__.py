"""Image super-resolution by knowledge distillation and adversarial training, in JAX/Flax.

`load("runs/kd").upscale(image)` runs a trained model; importing this package imports no TensorFlow.
"""

from kdgan_jax.zoo.load import load
from kdgan_jax.zoo.model import Model

__all__ = ["Model", "load"]

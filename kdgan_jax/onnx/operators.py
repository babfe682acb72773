"""The translations of all operators of JAX that networks have."""

from kdgan_jax.onnx.elementwise import ELEMENTWISE
from kdgan_jax.onnx.named import NAMED
from kdgan_jax.onnx.patterns import PATTERNS
from kdgan_jax.onnx.products import PRODUCTS
from kdgan_jax.onnx.shaping import SHAPING
from kdgan_jax.onnx.translation import Table

TABLE = Table({**ELEMENTWISE, **SHAPING, **PRODUCTS}, NAMED, PATTERNS)

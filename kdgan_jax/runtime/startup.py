"""How a command starts: nothing that is imported is garbage."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing(applies: bool = True) -> Iterator[None]:
    """Leaves the garbage collector out inside the block, and what is made there out of it later.

    JAX and Flax make a hundred thousand objects as they are imported; to look through them again
    and again takes a tenth of a second.

    Args:
      applies: False changes nothing, for modules that are imported by other programs.
    """
    if not applies or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

"""The one place where TensorFlow is imported: without its start-up noise, and blind to GPUs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_native_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr; TensorFlow reports a missing GPU as errors there.

    Its log level variable does not reach these lines. Python's exceptions are not affected.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# oneDNN has nothing for uint8 and says so as an error; there is no arithmetic here to speed up.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
with _no_native_stderr():
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # JAX needs their memory
    tf.zeros((), tf.uint8)  # the first operation reports devices, too

__all__ = ["tf"]

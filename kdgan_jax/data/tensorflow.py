"""The only module that imports TensorFlow: without start-up messages, and with GPUs hidden."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_native_stderr() -> Iterator[None]:
    """Discards what native code writes to stderr, where TensorFlow reports a missing GPU as errors.

    TensorFlow's log level does not silence these lines. Python's exceptions are not affected.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


# oneDNN logs an error that it does not support uint8; there is no arithmetic here to speed up.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
with _no_native_stderr():
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # JAX needs their memory
    tf.zeros((), tf.uint8)  # the first operation also logs about devices

__all__ = ["tf"]

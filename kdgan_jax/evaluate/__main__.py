"""Measures models on folders of photos; see `python -m kdgan_jax.evaluate --help`."""

import sys

from kdgan_jax.evaluate.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""What a file tells of itself, its metadata: texts by name."""

import json

from kdgan_jax.formats.weights import Weights

COLOUR = "RGB from 0 to 1, in and out; the output is not clipped"


def facts(weights: Weights, name: str, smallest: int, producer: tuple[str, str]) -> dict[str, str]:
    """Returns the metadata of a network's file.

    Args:
      weights: the network.
      name: what the user calls it.
      smallest: the shortest side of an image that the graph takes.
      producer: the program and its version.
    """
    module = weights.module
    whole = bool(getattr(module, "whole_image", False))
    return {
        **weights.about,
        "name": name,
        "architecture": weights.name,
        "kwargs": json.dumps(weights.kwargs),
        "parameters": str(weights.parameters),
        "scale": str(weights.scale),
        # LR pixels on each side of a tile that its result depends on.
        "receptive_radius": "whole image" if whole else str(module.receptive_radius),
        "grid": str(getattr(module, "grid", 1)),
        "smallest": str(smallest),
        "colour": COLOUR,
        "digest": weights.digest,
        "program": " ".join(producer),
    }

"""Weighted means of the weights of several models of one architecture.

Between a network trained for PSNR and the same network after an adversarial phase, a mean trades
sharpness for fidelity without training (network interpolation; Wang et al., "ESRGAN", 2018,
section 3.4).
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError

OF_ONE = "figures", "made_by", "sha256"  # facts that a mean does not share with its first model


def share(text: str) -> float | None:
    """Returns the number from 0 to 1 that `text` is, None if it is something else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def average(models: Sequence[Model], weights: Sequence[float] | None = None) -> Model:
    """Returns the model whose parameters are the weighted means of those of `models`.

    Args:
      models: at least one; all with the same architecture, arguments and scale.
      weights: one per model, with sum 1; None weights all equally.

    Raises:
      UserError: the models differ in more than their parameters.
    """
    first = models[0]
    for other in models[1:]:
        if other.spec != first.spec:
            raise UserError(
                f"models differ: {first.spec} and {other.spec}; give models of one architecture"
                " with the same arguments and scale"
            )
    weights = weights or [1 / len(models)] * len(models)
    params = jax.tree.map(
        lambda *leaves: np.asarray(
            sum(w * np.asarray(leaf, np.float64) for w, leaf in zip(weights, leaves, strict=True)),
            np.float32,
        ),
        *(model.params for model in models),
    )
    about = {fact: text for fact, text in first.about.items() if fact not in OF_ONE}
    about["made"] = "mean of weights: " + ", ".join(f"{w:g}" for w in weights)
    return dataclasses.replace(first.with_params(params), about=about)

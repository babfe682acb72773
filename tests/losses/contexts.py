"""Contexts of losses, for tests."""

import numpy as np

from kdgan_jax.losses.term import Context, Output

UNUSED = np.zeros((2, 3, 4, 3), np.float32)


def context(
    *,
    lr=UNUSED,
    sr=UNUSED,
    images=None,
    features=None,
    teacher_features=None,
    apply=None,
    teach=None,
    keys=None,
    extractors=None,
):
    """Returns a context with these parts; `apply` and `teach` map images to images."""

    def output(image, features, function):
        return Output(lr, image, features or {}, lambda given, _=None: (function(given), {}))

    teacher = output(UNUSED, teacher_features, teach)
    return Context(
        step=0,
        keys=keys,
        lr=lr,
        images=images or {},
        generator=output(sr, features, apply),
        teachers={"teacher": teacher},
        ema=None,
        discriminator=None,
        extractors=extractors or {},
        mean=None,
    )

"""Losses of a student that has both the truth and a teacher; images (B, H, W, C) to (B,)."""

from jax import Array

from kdgan_jax.losses.pixel import rmse


def blend(sr: Array, hr: Array, teacher_sr: Array, *, alpha: float) -> Array:
    """The origin's (1 - alpha) * RMSE(truth) + alpha * RMSE(teacher) per image, (B,).

    Ghaayathri Devi K., Distilled_GAN.ipynb, cell 12, which gives no alpha. Each term's gradient is
    divided by its own RMSE, so the nearer target (mostly the teacher) weighs more than alpha says.
    """
    return (1 - alpha) * rmse(sr, hr) + alpha * rmse(sr, teacher_sr)

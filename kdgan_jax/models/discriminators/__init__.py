"""Discriminators: RGB images (B, H, W, 3) in [0, 1] to logits; high means real.

Logits are (B,), or (B, h, w) of a discriminator that judges places; callers take the mean of each
image. A discriminator's options are its fields but `mean` and `dtype`, which the caller decides.
With `spectral_norm` it has the collection "batch_stats" beside its parameters, and
`apply(..., update=True, mutable=["batch_stats"])` gives the new one, too.
"""

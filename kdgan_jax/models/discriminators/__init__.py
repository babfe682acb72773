"""Discriminators: RGB images (B, H, W, 3) in [0, 1] to logits; high means real.

Logits are (B,), or (B, h, w) if a discriminator rates patches; callers average them per image. A
discriminator's options are its fields, except `mean` and `dtype`, which the caller sets. With
`spectral_norm`, it has a collection "batch_stats" besides its parameters;
`apply(..., update=True, mutable=["batch_stats"])` also returns its new value.
"""

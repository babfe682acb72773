"""Trained models: loading them from any supported file, and running them on pictures."""

"""Trained models: loading them from wherever they lie, and running them on pictures."""

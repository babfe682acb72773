"""Weights in files: our own format, those of others, and what is known of published files."""

"""Weights in files: the package's own format, foreign formats, and the published files."""

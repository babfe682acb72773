"""Evaluation: metrics, measuring models on sets of photos, tables and pictures."""

"""Evaluation: metrics, baselines, measuring models on sets of photos, tables and pictures."""

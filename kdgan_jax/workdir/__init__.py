"""The files of a run: checkpoints, metrics, the record of its starts, the lock."""

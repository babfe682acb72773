"""The files of a run: checkpoints, metrics, the record of its starts, and the lock."""

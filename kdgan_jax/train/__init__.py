"""Training: the pure step, the loop around it, and the run of all phases."""

"""Files: pictures, checkpoints, logs, ImageNet weights."""

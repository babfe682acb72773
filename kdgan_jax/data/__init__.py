"""Training data: photos from files and packages, and batches of aligned patches.

TensorFlow is imported by `tensorflow` alone, for `pipeline` (tf.data); `tfds` brings it, too.
"""

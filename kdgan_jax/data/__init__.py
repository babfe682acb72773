"""Training data: photos from files and packages, and batches of aligned patches.

Only `pipeline` (tf.data) and `tfds` (TensorFlow Datasets) import TensorFlow; `photos` does not.
"""

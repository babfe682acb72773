"""Training data: photos from files and packages, and batches of aligned patches.

Only the module `tensorflow` imports TensorFlow; `pipeline` (tf.data) and `tfds` need it.
"""

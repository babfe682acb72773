"""Photos inside the scikit-image and scikit-learn wheels: package, then path within.

A fixed, written split. The two motorcycle pictures show one scene and stay on one side. Left out
are charts, logos, text, synthetic pictures, scans, microscopy and medicine.
"""

TRAIN = (
    "skimage/data/astronaut.png",
    "skimage/data/brick.png",
    "skimage/data/chelsea.png",
    "skimage/data/grass.png",
    "skimage/data/gravel.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/motorcycle_right.png",
    "skimage/data/rocket.jpg",
    "sklearn/datasets/images/flower.jpg",
)
HOLDOUT = (
    "skimage/data/camera.png",
    "skimage/data/coffee.png",
    "sklearn/datasets/images/china.jpg",
)

"""Photos inside the scikit-image and scikit-learn wheels, as package/path, in a fixed split.

The two motorcycle pictures show the same scene and stay on one side. Charts, logos, text, scans,
and synthetic, microscopic or medical images are left out.
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

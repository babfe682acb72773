"""A super-resolution forest: what it stores, how it enlarges, its file.

After Schulter et al. 2015, "Fast and Accurate Image Upscaling with Super-Resolution Forests". Y of
the LR image is enlarged by bicubic. Around every LR pixel, a window of 3x3 LR pixels is described
by gradients; each tree sorts it into a leaf, which holds a linear map from the description to the
high frequencies that bicubic misses. Predictions are averaged over trees and overlapping windows.
Chroma is MATLAB's bicubic. NumPy alone, no scikit-learn.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kdgan_jax.formats.native import UNUSABLE
from kdgan_jax.inference.ensemble import checked, quantise
from kdgan_jax.models import SCALES
from kdgan_jax.pictures import bicubic, colour
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FILE = "forest.safetensors"  # in a workdir
FORMAT = "kdgan_jax.forest 1"
COMMAND = "python -m kdgan_jax.forest --config=configs/forest.py --workdir="
CONTRAST = 5.0  # grey levels, below which a window has no shape to speak of
BLOCK = 65536  # windows that are in memory at a time


def enlarge(luma: np.ndarray, scale: int) -> np.ndarray:
    """Returns `luma` (h, w) enlarged by bicubic, unrounded: (h * scale, w * scale) float32."""
    rows, columns = (bicubic.matrix(side, scale) for side in luma.shape)
    return rows @ luma.astype(np.float32) @ columns.T


def pad(image: np.ndarray, border: int) -> np.ndarray:
    """Returns `image` (H, W) with `border` pixels mirrored on each side."""
    return np.pad(image, border, mode="symmetric")


def windows(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns a view (..., h, w, 3 * scale, 3 * scale): the window around every LR pixel.

    `image` (..., (h + 2) * scale, (w + 2) * scale) has one more LR pixel on each side.
    """
    found = sliding_window_view(image, (3 * scale, 3 * scale), axis=(-2, -1))
    return found[..., ::scale, ::scale, :, :]


def features(padded: np.ndarray, scale: int) -> np.ndarray:
    """Returns the windows' gradients (h * w, 4 * (3 * scale)^2) float32, as Zeyde et al. 2010.

    First and second differences over one LR pixel, horizontal and vertical, of enlarged Y from 0
    to 255 with two LR pixels around, ((h + 4) * scale, (w + 4) * scale) float32.
    """
    inner, before, after = slice(scale, -scale), slice(None, -2 * scale), slice(2 * scale, None)
    left, right = padded[inner, before], padded[inner, after]
    above, below, centre = padded[before, inner], padded[after, inner], padded[inner, inner]
    gradients = np.stack(
        [right - left, below - above, (left + right) / 2 - centre, (above + below) / 2 - centre]
    )
    found = np.moveaxis(windows(gradients, scale), 0, 2)
    return found.reshape(found.shape[0] * found.shape[1], -1)


def _strips(height: int, width: int, size: int) -> list[slice]:
    """Returns slices of rows that cover `height` rows of `width`, of about `size` pixels each."""
    step = max(1, size // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def project(luma: np.ndarray, scale: int, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Returns the principal components (h * w, d) float32 of all windows of enlarged `luma`."""
    padded, exact, parts = pad(luma, 2 * scale), axes.astype(np.float64), []
    for rows in _strips(luma.shape[0] // scale, luma.shape[1] // scale, BLOCK // 16):
        found = features(padded[rows.start * scale : (rows.stop + 4) * scale], scale)
        # In double precision a window's path down the trees does not hang on the strip it is in.
        parts.append(((found.astype(np.float64) - mean) @ exact).astype(np.float32))
    return np.concatenate(parts)


def questions(x: np.ndarray) -> np.ndarray:
    """Returns what nodes ask about (n, 2 * d): components `x` (n, d), and these over their length.

    The second half tells shapes apart whatever their contrast.
    """
    length = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    return np.hstack([x, x / (length + CONTRAST)])


def groups(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields every label that occurs in `labels` (n,), ascending, with the indices that bear it."""
    order = np.argsort(labels, kind="stable")
    found, starts = np.unique(labels[order], return_index=True)
    for label, indices in zip(found, np.split(order, starts[1:]), strict=True):
        yield int(label), indices


def with_one(x: np.ndarray) -> np.ndarray:
    """Returns `x` (n, d) with a column of ones, whose row in a leaf's map is the bias."""
    return np.hstack([x, np.ones((len(x), 1), x.dtype)])


@dataclasses.dataclass(frozen=True, eq=False)
class Forest:
    """A trained forest. Nodes of all trees lie one after another, parents before children.

    Attributes:
      scale: its enlargement.
      mean: (f,) float32, of the features.
      components: (f, d) float32, their principal components.
      roots: (trees,) int32, the first node of every tree.
      feature: (nodes,) int32, the question of `questions` that a node asks.
      threshold: (nodes,) float32; a window goes left if its answer is not above it.
      left: (nodes,) int32, child counted from the tree's root; -1 in leaves.
      right: (nodes,) int32, the same.
      matrices: (leaves, d + 1, k) float16, in the order of the leaves among the nodes: from
        components and 1 to coefficients of `basis`.
      basis: (k, (3 * scale)^2) float32, windows of Y, of which predictions are sums.
      recipe: how it was trained, JSON values.
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
        """Number of trained numbers stored.

        Mean and components, basis, matrices of leaves, and of every inner node the question and
        the threshold; not the links between nodes.
        """
        arrays = self.mean, self.components, self.basis, self.matrices
        return sum(a.size for a in arrays) + 2 * int((self.left >= 0).sum())

    @property
    def digest(self) -> str:
        """A hash of all that is stored."""
        return hashlib.sha256(b"".join(getattr(self, n).tobytes() for n in ARRAYS)).hexdigest()

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Returns the leaves (n, trees) int32 that `x` (n, d) float32 falls into.

        Numbered within each tree as scikit-learn's `apply` does.
        """
        asked = questions(x)
        result = np.zeros((len(x), len(self.roots)), np.int32)
        for tree, root in enumerate(self.roots):
            node, active = result[:, tree], np.arange(len(x))
            while len(active):
                here = node[active] + root
                inner = self.left[here] >= 0
                active, here = active[inner], here[inner]
                goes_left = asked[active, self.feature[here]] <= self.threshold[here]
                node[active] = np.where(goes_left, self.left[here], self.right[here])
        return result

    def leaf_numbers(self, x: np.ndarray) -> np.ndarray:
        """Returns the indices (n, trees) into `matrices` of the leaves of `x` (n, d)."""
        return (np.cumsum(self.left < 0) - 1)[self.apply(x) + self.roots]

    def coefficients(self, x: np.ndarray) -> np.ndarray:
        """Returns the trees' mean prediction (n, k) float32 of `x` (n, d), in terms of `basis`."""
        total, extended = np.zeros((len(x), len(self.basis)), np.float32), with_one(x)
        for numbers in self.leaf_numbers(x).T:
            for leaf, members in groups(numbers):
                total[members] += extended[members] @ self.matrices[leaf].astype(np.float32)
        return total / len(self.roots)

    def residual(self, luma: np.ndarray) -> np.ndarray:
        """Returns what to add to enlarged `luma` (H, W), 0 to 255: (H, W) float32."""
        scale = self.scale
        height, width = (side // scale for side in luma.shape)
        x = project(luma, scale, self.mean, self.components).reshape(height, width, -1)
        canvas = np.zeros(((height + 2) * scale, (width + 2) * scale), np.float32)
        for rows in _strips(height, width, BLOCK):
            made = self.coefficients(x[rows].reshape(-1, x.shape[2])) @ self.basis
            made = made.reshape(-1, width, 3, scale, 3, scale)
            for i, j in np.ndindex(3, 3):
                block = made[:, :, i, :, j].swapaxes(1, 2).reshape(-1, width * scale)
                top, left = (rows.start + i) * scale, j * scale
                canvas[top : top + len(block), left : left + width * scale] += block
        canvas = canvas[scale:-scale, scale:-scale]
        # How many windows cover each pixel, along either axis.
        down, across = (
            np.repeat(np.convolve(np.ones(side), np.ones(3))[1:-1], scale)
            for side in (height, width)
        )
        return canvas / np.outer(down, across).astype(np.float32)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns `image` (h, w, 3) uint8 enlarged: RGB (h * scale, w * scale, 3) float32.

        On the scale 0 to 1, unclipped. Chroma is that of MATLAB's bicubic; grey stays grey.

        Raises:
          ValueError: the image is not uint8 RGB.
        """
        image = checked(image)
        luma = enlarge(colour.luma(image), self.scale)
        luma += self.residual(luma)
        rgb = bicubic.upscale(image, self.scale)
        # Another Y with the same chroma: the difference goes to R, G and B alike.
        difference = (luma - colour.luma(rgb)).astype(np.float32)[..., None]
        return (rgb + difference * colour.RGB_FROM_YCBCR[:, 0].astype(np.float32)) / 255

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Returns `image` (h, w, 3) uint8 enlarged: what `predict` gives, in uint8."""
        return quantise(self.predict(image))

    def save(self, path: str | Path) -> None:
        """Writes the forest to `path`, a safetensors file."""
        recipe = json.dumps(self.recipe)
        metadata = {"format": FORMAT, "scale": json.dumps(self.scale), "recipe": recipe}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}
        with replacing(path) as temporary:
            temporary.write_bytes(save(arrays, metadata))


# Of every stored array: type and number of axes.
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
      UserError: there is none, or the file is damaged, foreign or contradicts itself.
    """
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
        raise UserError(f"{file}: is no forest that can be used ({error}); train it anew") from None
    return Forest(scale=scale, recipe=recipe, **arrays)


def _check(arrays: dict[str, np.ndarray], scale: Any) -> None:
    """Raises a ValueError unless the arrays make a forest whose every walk ends in a leaf."""

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise ValueError(what)

    need(type(scale) is int and scale in SCALES, f"scale {scale!r} is none of {SCALES}")
    need(arrays.keys() == ARRAYS.keys(), f"it holds {sorted(arrays)}, not {sorted(ARRAYS)}")
    for name, (dtype, axes) in ARRAYS.items():
        array = arrays[name]
        need(array.dtype == dtype and array.ndim == axes, f"{name} is {array.dtype}{array.shape}")
        need(array.size and np.isfinite(array).all(), f"{name} is empty or not finite")
    mean, components, roots, feature, threshold, left, right, matrices, basis = (
        arrays[name] for name in ARRAYS
    )
    nodes, (size, kept), window = np.arange(len(left)), components.shape, (3 * scale) ** 2
    need(len(mean) == size == 4 * window, f"components are {components.shape}")
    need(basis.shape[1] == window, f"basis is {basis.shape}")
    need(len(left) == len(right) == len(feature) == len(threshold), "arrays of nodes differ")
    need(roots[0] == 0 and (np.diff(roots) > 0).all() and roots[-1] < len(left), "roots disorder")
    first = roots[np.searchsorted(roots, nodes, side="right") - 1]
    last = np.append(roots, len(left))[np.searchsorted(roots, nodes, side="right")]
    inner = left >= 0
    need(((left < 0) == (right < 0)).all(), "a node has one child")
    for child in (left[inner], right[inner]):  # parents come first, so no walk goes in circles
        place = child + first[inner]
        need(((place > nodes[inner]) & (place < last[inner])).all(), "a child is out of order")
    need(((feature[inner] >= 0) & (feature[inner] < 2 * kept)).all(), "a question is out of range")
    need(matrices.shape == ((~inner).sum(), kept + 1, len(basis)), f"leaves: {matrices.shape}")

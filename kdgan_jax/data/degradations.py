"""Degradations of photos: blur, resizing, noise and JPEG, drawn at random.

The level "strong" is the second-order model of Real-ESRGAN (Wang et al. 2021, "Real-ESRGAN:
Training Real-World Blind Super-Resolution with Pure Synthetic Data"), with the ranges of its
published configuration. Images are float32 RGB (H, W, 3) in [0, 1]. Everything runs on the host, in
NumPy, SciPy (blur) and Pillow (JPEG), and depends on nothing but the image and the generator of
random numbers.
"""

import importlib
import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from kdgan_jax.runtime.errors import UserError, missing

Range = tuple[float, float]
_IMPORT = threading.Lock()  # photos are decoded by threads, and SciPy imports its parts lazily
SIZES = range(7, 22, 2)  # sides of blur kernels
MODES = "area", "bilinear", "bicubic"
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # weights of RGB in the noise of grey pictures


@dataclass(frozen=True)
class Pass:
    """One round of blur, resizing, noise and JPEG.

    Attributes:
      blur: probability that the image is blurred.
      kernels: probabilities of the kernels: Gaussian, generalized Gaussian and plateau, each
        isotropic and anisotropic.
      sinc: probability of a sinc kernel instead.
      sigma: of the kernels, in pixels.
      generalized: exponents of generalized Gaussians.
      plateau: exponents of plateaus.
      resize: probabilities of enlarging, reducing, and keeping the size.
      factor: range of the factors; from the lowest to 1 reduces, from 1 to the highest enlarges.
      noise: probability of any noise.
      gaussian: probability of Gaussian noise; else it is Poisson noise.
      noise_sigma: of Gaussian noise, in 1/255.
      poisson: factors of Poisson noise.
      grey: probability that the noise is the same in all channels.
      jpeg: qualities of JPEG; above 100 nothing is compressed.
    """

    blur: float
    kernels: tuple[float, float, float, float, float, float]
    sinc: float
    sigma: Range
    generalized: Range
    plateau: Range
    resize: tuple[float, float, float]
    factor: Range
    noise: float
    gaussian: float
    noise_sigma: Range
    poisson: Range
    grey: float
    jpeg: tuple[int, int]


@dataclass(frozen=True)
class Level:
    """Passes one after another, and the probability of a last sinc filter (ringing)."""

    passes: tuple[Pass, ...]
    last_sinc: float


_FIRST = Pass(
    blur=1.0,
    kernels=(0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
    sinc=0.1,
    sigma=(0.2, 3.0),
    generalized=(0.5, 4.0),
    plateau=(1.0, 2.0),
    resize=(0.2, 0.7, 0.1),
    factor=(0.15, 1.5),
    noise=1.0,
    gaussian=0.5,
    noise_sigma=(1.0, 30.0),
    poisson=(0.05, 3.0),
    grey=0.4,
    jpeg=(30, 95),
)
_SECOND = replace(
    _FIRST,
    blur=0.8,
    sigma=(0.2, 1.5),
    resize=(0.3, 0.4, 0.3),
    factor=(0.3, 1.2),
    noise_sigma=(1.0, 25.0),
    poisson=(0.05, 2.5),
)
# For pictures that are degraded already: what a camera phone or a website adds once more.
_LIGHT = replace(
    _FIRST,
    blur=0.5,
    sinc=0.0,
    sigma=(0.2, 1.0),
    resize=(0.0, 0.5, 0.5),
    factor=(0.7, 1.0),
    noise=0.5,
    noise_sigma=(1.0, 8.0),
    poisson=(0.05, 0.5),
    jpeg=(60, 95),
)
# The noise of a sensor or of film, as fine as the pixels; other levels blur or reduce theirs.
_GRAIN = replace(
    _LIGHT,
    blur=0.0,
    resize=(0.0, 0.0, 1.0),
    noise=1.0,
    noise_sigma=(1.0, 40.0),
    poisson=(0.05, 3.0),
    jpeg=(40, 140),
)
LEVELS: Mapping[str, Level] = {
    "none": Level((), 0.0),
    "light": Level((_LIGHT,), 0.0),
    "noisy": Level((replace(_LIGHT, noise=0.0), _GRAIN), 0.0),
    "strong": Level((_FIRST, _SECOND), 0.8),
}


def generator(seed: int, number: int) -> np.random.Generator:
    """Returns the random numbers of one copy of a photo, or of one sample of a run.

    They are the same wherever it is made. `seed` stands for the photo, or for the phase.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))


# Kernels.


def _squares(size: int, sigma: Range, angle: float) -> np.ndarray:
    """Returns x' S⁻¹ x at every position of a kernel, S the covariance of axes `sigma`."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return (along / sigma[0]) ** 2 + (across / sigma[1]) ** 2


def gaussian(size: int, sigma: Range, angle: float = 0.0, beta: float = 1.0) -> np.ndarray:
    """Returns a generalized Gaussian kernel (size, size) with sum 1; beta = 1 is the Gaussian.

    exp(-½ (x' S⁻¹ x)^beta), as in "Parameter Estimation For Multivariate Generalized Gaussian
    Distributions" (Pascal et al. 2013).
    """
    kernel = np.exp(-0.5 * _squares(size, sigma, angle) ** beta)
    return kernel / kernel.sum()


def plateau(size: int, sigma: Range, angle: float = 0.0, beta: float = 1.0) -> np.ndarray:
    """Returns a plateau-shaped kernel (size, size) with sum 1: 1 / (1 + (x' S⁻¹ x)^beta)."""
    kernel = 1 / (1 + _squares(size, sigma, angle) ** beta)
    return kernel / kernel.sum()


def sinc(size: int, cutoff: float) -> np.ndarray:
    """Returns a circular low-pass kernel (size, size) with sum 1, for ringing.

    cutoff J₁(cutoff r) / (2 pi r), J₁ the Bessel function, `cutoff` in radians per pixel.
    """
    special = _scipy("special")
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        kernel = cutoff * special.j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[radius == 0] = cutoff**2 / (4 * np.pi)
    return kernel / kernel.sum()


def _exponent(random: np.random.Generator, limits: Range) -> float:
    """Draws below 1 and above 1 with equal probability."""
    low, high = limits
    return random.uniform(low, 1) if random.random() < 0.5 else random.uniform(1, high)


def draw_kernel(settings: Pass, random: np.random.Generator) -> np.ndarray:
    """Returns a kernel as the settings say."""
    size = int(random.choice(SIZES))
    if random.random() < settings.sinc:
        return sinc(size, random.uniform(np.pi / (3 if size < 13 else 5), np.pi))
    kind = int(random.choice(6, p=settings.kernels))
    first = random.uniform(*settings.sigma)
    isotropic = kind % 2 == 0
    sigma = (first, first if isotropic else random.uniform(*settings.sigma))
    angle = 0.0 if isotropic else random.uniform(-np.pi, np.pi)
    if kind < 2:
        return gaussian(size, sigma, angle)
    if kind < 4:
        return gaussian(size, sigma, angle, _exponent(random, settings.generalized))
    return plateau(size, sigma, angle, _exponent(random, settings.plateau))


# What is done to an image.


def _scipy(name: str):  # type: ignore[no-untyped-def]
    try:
        with _IMPORT:
            return importlib.import_module(f"scipy.{name}")
    except ImportError:
        raise missing("scipy", "a degradation") from None


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the image filtered by the kernel, mirrored at its borders."""
    border = kernel.shape[0] // 2
    padded = np.pad(image, [(border, border), (border, border), (0, 0)], mode="reflect")
    kernel = kernel[::-1, ::-1, None].astype(np.float32)  # a correlation, as convolutions are
    return _scipy("signal").oaconvolve(padded, kernel, mode="valid", axes=(0, 1))


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.75, PyTorch's and OpenCV's."""
    t, a = np.abs(t), -0.75
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _resizing(old: int, new: int, mode: str) -> np.ndarray:
    """Returns the matrix (new, old) that resizes one axis without antialiasing, as PyTorch does."""
    matrix = np.zeros((new, old), np.float32)
    if mode == "area":
        begins = np.arange(new) * old // new
        ends = -(-np.arange(1, new + 1) * old // new)
        for row, begin, end in zip(matrix, begins, ends, strict=True):
            row[begin:end] = 1 / (end - begin)
        return matrix
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    if mode == "bilinear":
        centre, reach = np.maximum(centre, 0), 1
    else:
        reach = 2
    for offset in range(1 - reach, reach + 1):
        index = np.floor(centre).astype(int) + offset
        distance = np.abs(centre - index)
        weight = 1 - distance if mode == "bilinear" else _cubic(distance)
        np.add.at(matrix, (np.arange(new), np.clip(index, 0, old - 1)), weight)
    return matrix


def resize(image: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Returns the image at `size` (height, width), by a mode of `MODES`, without antialiasing."""
    if image.shape[:2] == size:
        return image
    rows, columns = (_resizing(o, n, mode) for o, n in zip(image.shape[:2], size, strict=True))
    return np.einsum("yh,hwc->ywc", rows, columns @ image, optimize=True)


def add_gaussian_noise(
    image: np.ndarray, sigma: float, grey: bool, random: np.random.Generator
) -> np.ndarray:
    """Returns the image with noise of `sigma` / 255, the same in all channels if `grey`."""
    shape = (*image.shape[:2], 1) if grey else image.shape
    noise = random.standard_normal(shape, np.float32) * (sigma / 255)
    return np.clip(image + noise, 0, 1)


def add_poisson_noise(
    image: np.ndarray, scale: float, grey: bool, random: np.random.Generator
) -> np.ndarray:
    """Returns the image with `scale` times the noise of counting photons.

    A value v has variance v / n, where n is the number of different 8-bit values in the image,
    rounded up to a power of 2. With `grey` it is the noise of luma, the same in all channels.
    """
    levels = np.round(np.clip(image, 0, 1) * 255)
    levels = (levels @ GREY).round()[..., None] if grey else levels
    number = 2.0 ** np.ceil(np.log2(len(np.unique(levels))))
    exact = levels / 255
    noise = random.poisson(exact * number) / number - exact
    return np.clip(image + scale * noise.astype(np.float32), 0, 1)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns the image after JPEG compression, with chroma at half size as usual.

    A quality above 100 leaves the image as it is.
    """
    if quality > 100:
        return image
    file = io.BytesIO()
    Image.fromarray(to_8_bits(image)).save(file, "JPEG", quality=quality)
    with Image.open(file) as decoded:
        return np.asarray(decoded, np.float32) / 255


def to_8_bits(image: np.ndarray) -> np.ndarray:
    """Returns the image as uint8."""
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _apply(
    image: np.ndarray, base: tuple[int, int], settings: Pass, random: np.random.Generator
) -> np.ndarray:
    """Returns the image after one pass, without its JPEG compression.

    Factors of resizing are relative to the size `base`.
    """
    if random.random() < settings.blur:
        image = blur(image, draw_kernel(settings, random))
    low, high = settings.factor
    kind = random.choice(3, p=settings.resize)
    factor = (random.uniform(1, high), random.uniform(low, 1), 1.0)[kind]
    size = tuple(max(8, round(side * factor)) for side in base)
    image = resize(image, (size[0], size[1]), str(random.choice(MODES)))
    if random.random() < settings.noise:
        grey = random.random() < settings.grey
        if random.random() < settings.gaussian:
            image = add_gaussian_noise(image, random.uniform(*settings.noise_sigma), grey, random)
        else:
            image = add_poisson_noise(image, random.uniform(*settings.poisson), grey, random)
    return np.clip(image, 0, 1)


def degrade(
    image: np.ndarray, size: tuple[int, int], level: str, random: np.random.Generator
) -> np.ndarray:
    """Returns a degraded image at another size.

    Args:
      image: (H, W, 3) uint8.
      size: (height, width) of the result.
      level: one of `LEVELS`, other than "none".
      random: draws everything.

    Returns:
      (height, width, 3) uint8.

    Raises:
      UserError: there is no such level, or SciPy is not installed.
    """
    settings = LEVELS[level]
    if not settings.passes:
        raise UserError(f"level {level!r} degrades nothing")
    result = image.astype(np.float32) / 255
    for i, one in enumerate(settings.passes):
        last = i == len(settings.passes) - 1
        base = size if i else image.shape[:2]  # as in Real-ESRGAN's second pass
        result = _apply(result, (base[0], base[1]), one, random)
        quality = int(random.integers(one.jpeg[0], one.jpeg[1], endpoint=True))
        if not last:
            result = jpeg(result, quality)
            continue
        ringing = random.random() < settings.last_sinc
        kernel = sinc(int(random.choice(SIZES)), random.uniform(np.pi / 3, np.pi))
        mode, jpeg_first = str(random.choice(MODES)), random.random() < 0.5
        if jpeg_first:
            result = jpeg(result, quality)
        result = resize(result, size, mode)
        result = blur(result, kernel) if ringing else result
        if not jpeg_first:
            result = jpeg(result, quality)
    return to_8_bits(result)

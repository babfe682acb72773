"""Upscales odd pictures and draws a sheet of them, in and out, to be looked at one by one.

    python launch/reproduce/odd_pictures.py docs/odd.png

16 bits, transparency on three backdrops, CMYK, Adobe RGB and Display P3 (each converted by its own
profile, as a viewer does), grey as RGB, and a drawing. The photo is `chelsea` of scikit-image
(Stéfan van der Walt, CC0).
"""

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageCms, ImageDraw
from skimage import data

from kdgan_jax import upscale
from kdgan_jax.pictures import icc

SIDE = 72  # of a picture
P3 = (0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)
ADOBE = (0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)
BACKDROPS = (255, 255, 255), (0, 0, 0), (90, 160, 90)


def odd(folder: Path) -> Iterator[tuple[str, Path]]:
    """Writes pictures into `folder` and yields (title, file)."""
    photo = data.chelsea()[70 : 70 + SIDE, 110 : 110 + SIDE]

    def saved(name: str, image: Image.Image, **options: object) -> Path:
        image.save(folder / name, **options)
        return folder / name

    ramp = np.linspace(9000, 12000, SIDE).round().astype(np.uint16)
    deep = photo.astype(np.uint16) * 64 + ramp[:, None, None]
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    yield "16 bits", folder / "deep.png"
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    alpha = np.uint8(255 * np.clip(SIDE * 0.42 - np.hypot(x, y) + 0.5, 0, 1))
    sprite = np.where(alpha[..., None] > 0, photo, np.uint8(0))  # black hides around it
    yield "transparent", saved("alpha.png", Image.fromarray(np.dstack([sprite, alpha])))
    yield "CMYK", saved("cmyk.jpg", Image.fromarray(photo).convert("CMYK"), quality=95)
    for name, primaries, curve in ("Adobe RGB", ADOBE, (2.2,)), ("Display P3", P3, icc.SRGB_CURVE):
        profile = icc.build(name, icc.matrix_of(primaries), curve)
        yield name, saved(f"{name[:5]}.png", Image.fromarray(photo), icc_profile=profile)
    yield "grey as RGB", saved("grey.png", Image.fromarray(photo).convert("L").convert("RGB"))
    drawing = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(drawing)
    pen.ellipse((8, 8, 60, 52), outline="black")
    pen.line((4, 66, 68, 58), fill=(200, 0, 0))
    pen.text((22, 24), "Abc", fill="black")
    yield "line art", saved("drawing.png", drawing)


def seen(path: Path, backdrop: tuple[int, ...]) -> np.ndarray:
    """Returns a file as a viewer shows it: (H, W, 3) uint8 sRGB on a backdrop."""
    if path.suffix == ".png" and (pixels := imagecodecs.png_decode(path.read_bytes())).itemsize > 1:
        return np.uint8(pixels // 257)
    with Image.open(path) as image:
        if profile := image.info.get("icc_profile"):
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(
                image.convert("RGB"), opened, ImageCms.createProfile("sRGB")
            )
        if not image.has_transparency_data:
            return np.asarray(image.convert("RGB"))
        plain = Image.new("RGBA", image.size, backdrop)
        return np.asarray(Image.alpha_composite(plain, image.convert("RGBA")).convert("RGB"))


def main(path: str) -> None:
    """Writes the sheet to `path`."""
    with tempfile.TemporaryDirectory() as name:
        folder, shown = Path(name), []
        for title, source in odd(folder):
            upscale.main([str(source), f"--out={folder / 'out'}"])
            result = folder / "out" / f"{source.stem}.png"
            backdrops = BACKDROPS if title == "transparent" else BACKDROPS[:1]
            shown += [(title, seen(source, b), seen(result, b)) for b in backdrops]
    figure = Figure(figsize=(1.7 * len(shown), 3.9), layout="constrained")
    for axes, pair in zip(figure.subplots(2, len(shown)).T, shown, strict=True):
        axes[0].set_title(pair[0], fontsize=9)
        for axis, image in zip(axes, pair[1:], strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set_axis_off()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main(sys.argv[1])

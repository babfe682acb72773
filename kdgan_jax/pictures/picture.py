"""A decoded picture: what networks see of it, and what writes it back in kind."""

from typing import NamedTuple

import numpy as np


class Details(NamedTuple):
    """What a file says beside its pixels.

    Attributes:
      exif: as TIFF bytes, without an orientation; b"" for none.
      xmp: XMP, b"" for none.
      text: (keyword, value) of PNG's text chunks, or of comments.
      dpi: (horizontal, vertical) resolution in pixels per inch, None if the file has none.
      iptc: the records of IPTC (IIM), b"" for none.
    """

    exif: bytes = b""
    xmp: bytes = b""
    text: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None
    iptc: bytes = b""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
      pixels: (H, W, 3), uint8, or uint16 if the file has more than 8 bits; white is the largest.
      alpha: (H, W, 1) in the dtype of `pixels`, None if the file has no transparency. It is not
        multiplied into the pixels.
      grey: whether the file has one colour channel; the three are equal then.
      icc: the ICC profile of `pixels`; None for sRGB.
      details: what else the file says.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    icc: bytes | None = None
    details: Details = Details()

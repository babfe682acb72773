import json
from pathlib import Path

import numpy as np
import pytest
from golden.pairs import PAIRS

from kdgan_jax.evaluation import dists, lpips

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/dists.json").read_text())
LARGE = {"cat, bicubic", "coffee, noisy"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.long] * (n in LARGE)) for n in PAIRS]
)
def test_distances_equal_those_of_pytorch(name):
    # Recorded by tests/golden/record_dists.py; the same float32 operations in another order.
    assert dists.distance(*PAIRS[name]()) == pytest.approx(GOLDEN[name], abs=1e-5)


def test_equal_images_have_no_distance_and_order_does_not_matter():
    a, b = PAIRS["noise 64x96"]()
    assert dists.distance(a, a.copy()) == pytest.approx(0, abs=1e-9)
    assert dists.distance(a, b) == pytest.approx(dists.distance(b, a), rel=1e-6)
    flat = np.full_like(a, 90)
    assert dists.distance(flat, flat.copy()) == pytest.approx(0, abs=1e-9)


def test_strips_give_what_the_whole_image_gives(photo, monkeypatch):
    height, width = 450, 33
    hr = np.tile(photo, (2, 1, 1))[:height, :width]
    sr = np.roll(hr, 3, axis=0)
    sr[:, ::2] //= 2
    whole = dists.distance(sr, hr)
    monkeypatch.setattr(lpips, "STRIP_PIXELS", 160 * width)
    assert len(list(lpips.strips(height, width))) == 3
    assert dists.distance(sr, hr) == pytest.approx(whole, rel=1e-5)

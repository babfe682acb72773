import json

import numpy as np
import pytest
from conftest import ROOT
from golden.pairs import PAIRS

from kdgan_jax.data import photos, sources
from kdgan_jax.evaluation import lpips
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

GOLDEN = json.loads((ROOT / "tests/golden/lpips.json").read_text())
LARGE = {"cat, bicubic", "coffee, noisy"}


@pytest.mark.parametrize("net", lpips.NETWORKS)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.long] * (n in LARGE)) for n in PAIRS]
)
def test_distances_equal_those_of_the_pytorch_package(name, net):
    # Recorded by tests/golden/record_lpips.py; the same float32 operations in another order.
    assert lpips.distance(*PAIRS[name](), net) == pytest.approx(GOLDEN[name][net], abs=1e-4)


@pytest.mark.parametrize("net", lpips.NETWORKS)
def test_equal_images_have_no_distance_and_order_does_not_matter(net):
    a, b = PAIRS["noise 64x96"]()
    assert lpips.distance(a, a.copy(), net) == pytest.approx(0, abs=1e-12)
    assert lpips.distance(a, b, net) == pytest.approx(lpips.distance(b, a, net), rel=1e-6)


@pytest.mark.parametrize("net", lpips.NETWORKS)
def test_strips_give_what_the_whole_image_gives(photo, monkeypatch, net):
    height, width = 450, 33
    hr = np.tile(photo, (2, 1, 1))[:height, :width]
    sr = np.roll(hr, 1, axis=0)
    whole = lpips.distance(sr, hr, net)
    monkeypatch.setattr(lpips, "STRIP_PIXELS", 160 * width)
    assert len(list(lpips.strips(height, width))) == 3
    assert lpips.distance(sr, hr, net) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("height", "width"), [(2160, 3840), (5000, 333), (16, 16)])
def test_strips_keep_every_row_once_and_overlap_enough(height, width):
    strips = list(lpips.strips(height, width))
    assert [s.keep_from for s in strips] == [0, *(s.keep_to for s in strips[:-1])]
    assert strips[-1].keep_to == height
    for strip in strips:
        assert strip.start % lpips.ALIGNMENT == strip.keep_from % lpips.ALIGNMENT == 0
        assert strip.start in (0, strip.keep_from - lpips.OVERLAP)
        assert strip.stop in (height, strip.keep_to + lpips.OVERLAP)
        assert (strip.stop - strip.start) * width <= 2 * lpips.STRIP_PIXELS


@pytest.mark.parametrize("net", lpips.NETWORKS)
def test_a_side_below_the_smallest_is_refused(net):
    smallest = lpips.NETWORKS[net].smallest
    image = np.zeros((40, smallest, 3), np.uint8)
    assert np.isfinite(lpips.distance(image, image + np.uint8(9), net))
    with pytest.raises(UserError, match=f"{smallest - 1}x40.* {smallest} pixels"):
        lpips.distance(image[:, 1:], image[:, 1:], net)


def test_bicubic_has_the_known_distance_on_set5(shared):
    set5, _ = sources.folder(shared / "benchmark" / "Set5", 4)
    pairs = [photos.load_pair(photo, 4) for photo in set5]
    distances = [lpips.distance(bicubic.upscale(lr, 4), hr, "alex") for hr, lr in pairs]
    assert np.mean(distances) == pytest.approx(0.3398, abs=1e-4)

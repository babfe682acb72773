import json
from pathlib import Path

import numpy as np
import pytest
from golden.pairs import PAIRS

from kdgan_jax.data import photos
from kdgan_jax.evaluation import lpips
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lpips.json").read_text())


@pytest.mark.parametrize("net", lpips.NETWORKS)
@pytest.mark.parametrize("name", PAIRS)
def test_distances_equal_those_of_the_pytorch_package(name, net):
    # Recorded by tests/golden/record_lpips.py; the same float32 operations in another order.
    assert lpips.distance(*PAIRS[name](), net) == pytest.approx(GOLDEN[name][net], abs=1e-4)


@pytest.mark.parametrize("net", lpips.NETWORKS)
def test_equal_images_have_no_distance_and_order_does_not_matter(photo, net):
    a, b = photo[:64, :80], photo[100:164, 200:280]
    assert lpips.distance(a, a.copy(), net) == pytest.approx(0, abs=1e-12)
    assert lpips.distance(a, b, net) == pytest.approx(lpips.distance(b, a, net), rel=1e-6)
    assert lpips.distance(a, b, net) > 0.2


@pytest.mark.parametrize("net", lpips.NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(700, 48), (701, 65)])
def test_strips_give_what_the_whole_image_gives(photo, monkeypatch, net, height, width):
    hr = np.tile(photo, (3, 1, 1))[:height, :width]
    sr = bicubic.upscale(bicubic.downscale(np.pad(hr, ((0, 3), (0, 3), (0, 0)), "edge"), 4), 4)
    sr = sr[:height, :width]
    whole = lpips.distance(sr, hr, net)
    monkeypatch.setattr(lpips, "STRIP_PIXELS", 160 * width)
    assert len(list(lpips.strips(height, width))) == 5
    assert lpips.distance(sr, hr, net) == pytest.approx(whole, rel=1e-5)


def test_strips_keep_every_row_once_and_overlap_enough():
    for height, width in ((2160, 3840), (5000, 333), (16, 16)):
        found = list(lpips.strips(height, width))
        assert [s.keep_from for s in found] == [0, *(s.keep_to for s in found[:-1])]
        assert found[-1].keep_to == height
        for strip in found:
            assert strip.start % lpips.ALIGNMENT == strip.keep_from % lpips.ALIGNMENT == 0
            assert strip.start in (0, strip.keep_from - lpips.OVERLAP)
            assert strip.stop in (height, strip.keep_to + lpips.OVERLAP)
            assert (strip.stop - strip.start) * width <= 2 * lpips.STRIP_PIXELS


@pytest.mark.parametrize("net", lpips.NETWORKS)
def test_a_side_below_the_smallest_is_refused(net):
    least = lpips.NETWORKS[net].smallest
    image = np.zeros((40, least, 3), np.uint8)
    assert np.isfinite(lpips.distance(image, image + np.uint8(9), net))
    with pytest.raises(UserError, match=f"{least - 1}x40 is too small for LPIPS.* {least} pixels"):
        lpips.distance(image[:, 1:], image[:, 1:], net)


def test_bicubic_has_the_known_distance_on_set5(shared):
    found, _ = photos.folder(shared / "benchmark" / "Set5", 4)
    values = []
    for photo in found:
        hr, lr = photos.load(photo, 4)
        values.append(lpips.distance(bicubic.upscale(lr, 4), hr, "alex"))
    assert np.mean(values) == pytest.approx(0.3398, abs=1e-4)

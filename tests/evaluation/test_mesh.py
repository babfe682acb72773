import runpy

import numpy as np
import pytest

from kdgan_jax.evaluation import mesh

GREY = np.array([0.299, 0.587, 0.114])


def plain(image):
    """The mesh by the spectrum of the whole image."""
    height, width = (side - side % 8 for side in image.shape[:2])
    grey = image[:height, :width] @ GREY
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    found = []
    for place in np.ndindex(3, 3):
        if place == (0, 0):
            continue
        down, across = place[0] * height // 4, place[1] * width // 4
        power_at = np.roll(power, (8 - down, 8 - across), axis=(0, 1))[:17, :17]
        around = power_at.copy()
        around[4:13, 4:13] = np.nan
        found.append(power_at[7:10, 7:10].mean() / np.nanmean(around))
    return np.log10(max(found))


def meshed(photo, period, strength):
    """The photo with a pattern of this period in both directions."""
    pattern = strength * (np.indices(photo.shape[:2]).sum(0) % period == 0)
    return np.clip(photo + pattern[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(300, 451), (48, 200), (129, 63)])
@pytest.mark.parametrize("strength", [0, 20])
def test_the_excess_is_that_of_the_whole_spectrum(photo, size, strength):
    image = meshed(photo, 4, strength)[: size[0], : size[1]]
    assert mesh.excess(image) == pytest.approx(plain(image), abs=1e-6)


@pytest.mark.parametrize("period", [2, 4])
def test_a_pattern_stands_out_and_one_of_another_period_does_not(photo, period):
    assert mesh.excess(photo) < 0.7
    assert mesh.excess(meshed(photo, period, 6)) > 1.5
    assert mesh.excess(meshed(photo, period, 12)) > mesh.excess(meshed(photo, period, 6))
    assert mesh.excess(meshed(photo, 5, 6)) < 0.7


def test_a_flat_image_has_no_mesh():
    assert mesh.excess(np.full((64, 72, 3), 90, np.uint8)) == -9


def test_figures_are_those_of_the_shared_tool(shared, photo):
    tool = shared.parent / "tools" / "mesh.py"
    if not tool.is_file():
        pytest.skip("there is no ../shared/tools/mesh.py")
    measure = runpy.run_path(str(tool))["mesh"]
    for image in (photo, meshed(photo, 4, 9), photo[:70, :50]):
        assert mesh.excess(image) == pytest.approx(measure(image), abs=1e-6)

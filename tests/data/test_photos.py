"""Reading photos; where they come from is in test_sources.py."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.data import photos, sources
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def small(photo):
    """A photo of 63x50, whose sides are not multiples of the scale."""
    return photo[:50, :63]


def test_lr_of_a_folder_of_hr_is_matlab_bicubic(tmp_path, small):
    save(tmp_path / "a.png", small)
    ((found,), _) = sources.folder(tmp_path, 4)
    assert found.size == (48, 60)
    hr, lr = photos.load_pair(found, 4)
    np.testing.assert_array_equal(hr, small[:48, :60])
    np.testing.assert_array_equal(lr, bicubic.downscale(small, 4))


def test_truncated_file_is_found_when_decoded(tmp_path, small, caplog):
    for name in "abcde":
        save(tmp_path / f"{name}.png", small)
    content = (tmp_path / "c.png").read_bytes()
    (tmp_path / "c.png").write_bytes(content[: len(content) // 2])  # the header is whole
    found, unusable = sources.folder(tmp_path, 4)
    assert (len(found), unusable) == (5, [])
    decoded = list(photos.decode(found, lambda p: photos.load_pair(p, 4), 0.2, "these"))
    assert [p.name for p, _ in decoded] == list("abde")
    assert all(hr.shape[0] == 4 * lr.shape[0] for _, (hr, lr) in decoded)
    assert f"{tmp_path}/c.png" in caplog.text


def test_load_checks_sizes_again(tmp_path, small):
    save(tmp_path / "HR/a.png", small)
    save(tmp_path / "LRx4/ax4.png", bicubic.downscale(small, 4))
    ((found,), _) = sources.folder(tmp_path, 4)
    shutil.copy(tmp_path / "HR/a.png", tmp_path / "LRx4/ax4.png")
    with pytest.raises(UserError, match=r"ax4\.png: .*63x50 .* scale 4"):
        photos.load_pair(found, 4)
    save(tmp_path / "HR/a.png", small[:20])
    with pytest.raises(UserError, match=r"a\.png: .*60x20.*60x48"):
        photos.load_pair(found, 4)

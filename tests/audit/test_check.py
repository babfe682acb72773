from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.audit import check
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path, **options)
    return path


def found(*names, lr=None, scale=4, patch=32):
    """Returns {group: [lines]} of what a check finds in folders."""
    folders = check.plan([str(name) for name in names], lr and str(lr), scale)
    result = check.check(folders, check.jobs(folders, scale), scale, patch)
    groups = {}
    for group, text in result.findings:
        groups.setdefault(group, []).append(text)
    return groups


@pytest.fixture
def parts(photo):
    """Four different pictures of 96x112 out of the photo."""
    return [photo[y : y + 96, x : x + 112] for y in (40, 170) for x in (80, 240)]


@pytest.fixture
def pairs(tmp_path, parts):
    """A folder of four matching pairs a to d, of HR/ and LRx4/."""
    for name, part in zip("abcd", parts, strict=True):
        save(tmp_path / f"set/HR/{name}.png", part)
        save(tmp_path / f"set/LRx4/{name}x4.png", bicubic.downscale(part, 4))
    return tmp_path / "set"


# Folders.


def test_a_sound_folder_has_no_findings(tmp_path, parts):
    for i, part in enumerate(parts):
        save(tmp_path / f"{i}.png", part)
    assert found(tmp_path) == {}


def test_sound_pairs_have_no_findings(pairs):
    assert found(pairs) == {}


def test_plan_names_the_files(pairs):
    (folder,) = check.plan([str(pairs)], None, 4)
    assert [p.name for p in folder.hr] == ["a.png", "b.png", "c.png", "d.png"]
    assert [p.name for p in folder.lr] == ["ax4.png", "bx4.png", "cx4.png", "dx4.png"]
    assert check.plan([str(pairs)], None, 2)[0].lr_root is None


def test_a_folder_below_that_has_the_lr_is_not_hr(pairs):
    (folder,) = check.plan([str(pairs.parent)], str(pairs / "LRx4"), 4)
    assert {p.parent.name for p in folder.hr} == {"HR"}


@pytest.mark.parametrize("names", [["none"], ["set", "none"], ["set/HR", "empty"]])
def test_a_folder_without_images_is_an_error(tmp_path, pairs, names):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no such folder|holds no image"):
        check.plan([str(tmp_path / name) for name in names], None, 4)


def test_lr_belongs_to_one_folder(pairs):
    with pytest.raises(UserError, match="--lr=x belongs to one folder, 2 are given"):
        check.plan([str(pairs), str(pairs / "HR")], "x", 4)


def test_facts(tmp_path, parts):
    path = save(tmp_path / "a.jpg", parts[0][..., 0])
    facts = check.facts(path, parts[0])
    assert (facts.path, facts.size, facts.mode, facts.jpeg) == (path, (96, 112), "L", True)
    assert (facts.blocks, facts.enlarged) == (False, False)
    assert facts.digest == check.facts(path, parts[0].copy()).digest
    assert facts.digest != check.facts(path, parts[0].reshape(112, 96, 3)).digest


# Files by themselves.


def test_unreadable_and_truncated_files_are_named(tmp_path, parts):
    for i, part in enumerate(parts):
        save(tmp_path / f"{i}.png", part)
    (tmp_path / "text.png").write_text("no image")
    content = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(content[: len(content) // 2])
    ((cut, text),) = found(tmp_path).values()
    assert cut.startswith(f"{tmp_path}/2.png: truncated")
    assert text.startswith(f"{tmp_path}/text.png: is no image")


def test_a_truncated_lr_is_named(pairs):
    path = pairs / "LRx4/bx4.png"
    path.write_bytes(path.read_bytes()[:-200])
    groups = found(pairs)
    assert list(groups) == ["unreadable"]
    assert str(path) in groups["unreadable"][0]


def test_photos_smaller_than_a_patch_after_cropping_to_the_scale(tmp_path, parts):
    save(tmp_path / "a.png", parts[0][:66])
    assert found(tmp_path, patch=64) == {}
    (line,) = found(tmp_path, patch=65, scale=4)["small"]
    assert line.startswith(f"{tmp_path}/a.png: 112x64 is smaller than a patch of 65")


def test_a_photo_smaller_than_the_scale_is_small_and_no_more(pairs):
    save(pairs / "HR/a.png", np.zeros((3, 3, 3), np.uint8))
    assert list(found(pairs)) == ["small"]


def test_jpeg_files_and_files_that_were_jpeg_are_noted(tmp_path, photo):
    save(tmp_path / "file.jpg", photo[:200], quality=95, subsampling="4:4:4")
    save(tmp_path / "was.jpg", photo[100:], quality=40)
    save(tmp_path / "was.png", np.asarray(Image.open(tmp_path / "was.jpg")))
    (tmp_path / "was.jpg").unlink()
    groups = found(tmp_path)
    file, was = groups["jpeg"]
    assert file.startswith(f"{tmp_path}/file.jpg: is a JPEG file")
    assert was.startswith(f"{tmp_path}/was.png: is no JPEG file, but was one, its 8x8 blocks")


def test_enlarged_photos_are_found(tmp_path, photo):
    save(tmp_path / "a.png", bicubic.upscale(photo[:150, :200], 2))
    ((line,),) = found(tmp_path).values()
    assert line.startswith(f"{tmp_path}/a.png: seems to be enlarged")


# Copies.


def test_the_same_picture_in_two_folders_is_named_with_both(tmp_path, parts):
    for i, part in enumerate(parts):
        save(tmp_path / f"train/{i}.png", part)
    save(tmp_path / "test/a.png", parts[1])
    save(tmp_path / "test/b.png", parts[2][:, ::-1])
    exact, mirrored = found(tmp_path / "train", tmp_path / "test")["duplicate"]
    train, test = tmp_path / "train", tmp_path / "test"
    assert exact.startswith(f"{test}/a.png: has the same pixels as {train}/1.png; if {test} or")
    assert f"{test}/b.png: is nearly the same picture (mirrored) as {train}/2.png" in mirrored


def test_the_same_picture_in_one_folder(tmp_path, parts):
    save(tmp_path / "a.png", parts[0])
    save(tmp_path / "b.png", parts[0])
    assert found(tmp_path) == {
        "duplicate": [
            f"{tmp_path}/b.png: has the same pixels as {tmp_path}/a.png; remove one of them"
        ]
    }


def test_a_file_in_two_given_folders_is_one_file(tmp_path, parts):
    save(tmp_path / "sub/a.png", parts[0])
    assert found(tmp_path, tmp_path / "sub") == {}


def test_lr_is_no_copy_of_its_hr(pairs):
    assert "duplicate" not in found(pairs)


# Pairs.


def only(groups, group="pair"):
    assert list(groups) == [group]
    (line,) = groups[group]
    return line


def test_lr_missing(pairs):
    (pairs / "LRx4/bx4.png").unlink()
    assert only(found(pairs)).startswith(f"{pairs}/HR/b.png: has no LR image bx4.png")


def test_hr_missing(pairs):
    (pairs / "HR/b.png").unlink()
    line = only(found(pairs))
    assert line == (
        f"{pairs}/LRx4/bx4.png: has no HR image of its name, and shows no HR image here; add its HR"
        " or remove it"
    )


def test_an_lr_under_another_name_is_named_with_its_hr(pairs):
    (pairs / "LRx4/bx4.png").rename(pairs / "LRx4/ex4.png")
    missing, orphan = found(pairs)["pair"]
    assert missing.startswith(f"{pairs}/HR/b.png: has no LR")
    assert f"ex4.png: has no HR image of its name, and shows {pairs}/HR/b.png; rename" in orphan


def test_of_two_similar_hr_the_more_similar_is_named(pairs, parts):
    grain = np.random.default_rng(0).normal(0, 25, parts[0].shape)
    save(pairs / "HR/b.png", np.clip(parts[0] + grain, 0, 255).astype(np.uint8))
    save(pairs / "LRx4/dx4.png", bicubic.downscale(parts[0], 4))
    assert f"dx4.png: shows {pairs}/HR/a.png, not" in found(pairs)["pair"][-1]


def test_lr_of_another_hr_is_named_with_both(pairs):
    (pairs / "LRx4/ax4.png").rename(pairs / "LRx4/saved")
    (pairs / "LRx4/cx4.png").rename(pairs / "LRx4/ax4.png")
    (pairs / "LRx4/saved").rename(pairs / "LRx4/cx4.png")
    first, second = found(pairs)["pair"]
    assert f"LRx4/ax4.png: shows {pairs}/HR/c.png, not {pairs}/HR/a.png" in first
    assert f"LRx4/cx4.png: shows {pairs}/HR/a.png, not {pairs}/HR/c.png" in second


def test_lr_that_shows_nothing_known(pairs, photo):
    save(pairs / "LRx4/ax4.png", bicubic.downscale(photo[:96, -112:], 4))
    line = only(found(pairs))
    assert f"LRx4/ax4.png: shows no HR image here, not even {pairs}/HR/a.png" in line


def test_lr_that_was_turned(pairs, parts):
    save(pairs / "LRx4/ax4.png", bicubic.downscale(parts[0], 4)[::-1])
    assert f"ax4.png: shows {pairs}/HR/a.png upside down" in only(found(pairs))


def test_another_reduction_is_a_note(pairs, parts):
    brighter = np.minimum(bicubic.downscale(parts[0], 4), 250) + 3
    save(pairs / "LRx4/ax4.png", brighter.astype(np.uint8))
    line = only(found(pairs), "degradation")
    assert line.startswith(f"{pairs}/LRx4/ax4.png: 3")
    assert f"dB from MATLAB's bicubic of {pairs}/HR/a.png" in line


def test_lr_that_moved_is_a_note(pairs, photo):
    save(pairs / "HR/a.png", photo)
    lr = np.roll(bicubic.downscale(photo, 4), 1, axis=(0, 1))
    noise = np.random.default_rng(0).normal(0, 8, lr.shape)
    save(pairs / "LRx4/ax4.png", np.clip(lr + noise, 0, 255).astype(np.uint8))
    assert "moved or strongly degraded" in only(found(pairs), "degradation")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda hr: hr, "ax4.png: is not reduced at all"),
        (lambda hr: bicubic.downscale(hr, 2), "ax4.png: is reduced x2, not x4"),
        (lambda hr: bicubic.downscale(hr, 4)[:20, :25], "ax4.png: LR is cropped"),
    ],
    ids=["not reduced", "x2", "cropped"],
)
def test_lr_of_a_wrong_size(pairs, parts, change, text):
    save(pairs / "LRx4/ax4.png", change(parts[0]))
    assert text in only(found(pairs))


def test_cropped_hr(pairs, parts):
    save(pairs / "HR/a.png", parts[0][:80, :100])
    assert only(found(pairs)).startswith(f"{pairs}/HR/a.png: HR is cropped")


def test_lr_in_a_folder_of_its_own(pairs, tmp_path):
    (pairs / "LRx4").rename(tmp_path / "small")
    assert found(pairs / "HR", lr=tmp_path / "small") == {}
    (tmp_path / "small/bx4.png").unlink()
    assert "b.png: has no LR" in only(found(pairs / "HR", lr=tmp_path / "small"))


# Our own data.


def test_the_known_overlap_of_two_benchmark_sets_is_found(shared):
    sets = [shared / "benchmark" / name for name in ("Set5", "Set14")]
    groups = found(*sets, patch=128)
    (line,) = groups["duplicate"]
    assert Path(line.split(":")[0]).stem == "face"
    assert "Set5/HR/head.png" in line
    assert "pair" not in groups
    assert "degradation" not in groups

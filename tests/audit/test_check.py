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


def findings(*names, lr=None, scale=4, patch=32):
    """Returns {group: [lines]} of what a check finds in folders."""
    folders = check.plan([str(name) for name in names], lr and str(lr), scale)
    result = check.check(folders, check.jobs(folders, scale), scale, patch)
    groups = {}
    for group, text in result.findings:
        groups.setdefault(group, []).append(text)
    return groups


def only(groups, group, path, *facts):
    """Checks that one thing is found, about `path`, with these facts."""
    assert {name: len(lines) for name, lines in groups.items()} == {group: 1}
    (line,) = groups[group]
    assert line.startswith(f"{path}: ")
    for fact in facts:
        assert str(fact) in line


@pytest.fixture
def parts(photo):
    """Four different pictures of 96x112 out of the photo."""
    return [photo[y : y + 96, x : x + 112] for y in (40, 170) for x in (80, 240)]


@pytest.fixture
def single(tmp_path, parts):
    """A folder of four pictures 0 to 3."""
    for i, part in enumerate(parts):
        save(tmp_path / f"single/{i}.png", part)
    return tmp_path / "single"


@pytest.fixture
def pairs(tmp_path, parts):
    """A folder of four matching pairs a to d, of HR/ and LRx4/."""
    for name, part in zip("abcd", parts, strict=True):
        save(tmp_path / f"set/HR/{name}.png", part)
        save(tmp_path / f"set/LRx4/{name}x4.png", bicubic.downscale(part, 4))
    return tmp_path / "set"


# Folders.


def test_sound_folders_have_no_findings(single, pairs):
    assert findings(single) == findings(pairs) == {}


def test_plan_names_the_files(pairs):
    (folder,) = check.plan([str(pairs)], None, 4)
    assert [p.name for p in folder.layout.hr] == ["a.png", "b.png", "c.png", "d.png"]
    assert [p.name for p in folder.layout.lr] == ["ax4.png", "bx4.png", "cx4.png", "dx4.png"]
    with pytest.raises(UserError, match=f"{pairs}/LRx4.*x2"):
        check.plan([str(pairs)], None, 2)
    (folder,) = check.plan([str(pairs.parent)], str(pairs / "LRx4"), 4)
    assert {p.parent.name for p in folder.layout.hr} == {"HR"}  # LR below it is not HR


def test_a_source_is_what_it_says_or_what_is_in_it(pairs, tmp_path):
    (tmp_path / "lr").mkdir()
    (pairs / "LRx4").rename(tmp_path / "lr/LRx4")
    (pairs / "LRx4").symlink_to(tmp_path / "lr/LRx4")
    source = f"{pairs},hr:{pairs},lr:{pairs},pairs:{pairs},{tmp_path}/lr,lr:{tmp_path}/lr/LRx4"
    found = check.plan([source, "embedded"], None, 4)
    assert [(len(f.layout.hr), len(f.layout.lr), f.photos) for f in found] == [
        (4, 4, 4),
        (4, 0, 4),
        (0, 4, 4),
        (4, 4, 4),
        (0, 4, 4),
        (0, 4, 4),
        (12, 0, 12),
    ]


def test_folders_without_images_and_lr_of_several_are_refused(tmp_path, pairs):
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        with pytest.raises(UserError, match=f"{tmp_path}/{name}"):
            check.plan([str(pairs), str(tmp_path / name)], None, 4)
    with pytest.raises(UserError, match=r"--lr=x .*2"):
        check.plan([str(pairs), str(pairs / "HR")], "x", 4)


def test_facts(tmp_path, parts):
    path = save(tmp_path / "a.jpg", parts[0][..., 0])
    facts = check.facts(path, parts[0])
    assert (facts.path, facts.size, facts.mode, facts.jpeg) == (path, (96, 112), "L", True)
    assert (facts.blocks, facts.enlarged) == (False, False)
    assert facts.digest == check.facts(path, parts[0].copy()).digest
    assert facts.digest != check.facts(path, parts[0].reshape(112, 96, 3)).digest


# Files by themselves.


def test_unreadable_and_truncated_files_are_named(single, pairs):
    (single / "text.png").write_text("not a picture")
    (single / "2.png").write_bytes((single / "2.png").read_bytes()[:-200])
    (lines,) = findings(single).values()
    assert [line.split(": ")[0] for line in lines] == [f"{single}/2.png", f"{single}/text.png"]
    lr = pairs / "LRx4/bx4.png"
    lr.write_bytes(lr.read_bytes()[:-200])
    only(findings(pairs), "unreadable", lr)


def test_small_photos(tmp_path, pairs, parts):
    save(tmp_path / "one/a.png", parts[0][:66])  # cropped to 64, a multiple of the scale
    assert findings(tmp_path / "one", patch=64) == {}
    only(
        findings(tmp_path / "one", patch=65),
        "small",
        tmp_path / "one/a.png",
        "112x66 (112x64 when",
        65,
    )
    tiny = save(pairs / "HR/a.png", np.zeros((3, 3, 3), np.uint8))  # no LR can be made of it
    only(findings(pairs), "small", tiny)


def test_jpeg_files_and_files_that_were_jpeg_are_noted(tmp_path, photo):
    save(tmp_path / "file.jpg", photo[:200], quality=95, subsampling="4:4:4")
    blocks = save(tmp_path / "was.jpg", photo[100:], quality=40)
    save(tmp_path / "was.png", np.asarray(Image.open(blocks)))
    blocks.unlink()
    file, was = findings(tmp_path)["jpeg"]
    assert file.startswith(f"{tmp_path}/file.jpg: is a JPEG file")
    assert was.startswith(f"{tmp_path}/was.png: is not a JPEG file")
    assert "8x8 blocks" in was


def test_enlarged_photos_are_found(tmp_path, photo):
    path = save(tmp_path / "a.png", bicubic.upscale(photo[:150, :200], 2))
    only(findings(tmp_path), "upscaled", path)


# LR without HR.


def test_lr_without_hr_is_checked_by_itself(tmp_path, single, photo):
    lr = f"lr:{single}"
    assert findings(lr, patch=4 * 96) == {}
    groups = findings(lr, patch=4 * 97)
    assert [line.split(" is ")[0] for line in groups.pop("small")] == [
        f"{single}/{i}.png: 112x96 (448x384 when enlarged)" for i in range(4)
    ]
    assert groups == {}
    save(single / "4.jpg", photo[:64, :64], quality=95)
    (line,) = findings(lr).pop("jpeg")
    assert "lossless" not in line
    (single / "4.jpg").write_text("not a picture")
    only(findings(lr), "unreadable", single / "4.jpg")
    (single / "4.jpg").unlink()
    path = save(single / "4.png", bicubic.upscale(photo[:75, :100], 2))
    only(findings(lr), "upscaled", path)


def test_lr_that_shows_a_photo_of_another_source_is_a_duplicate(tmp_path, single, parts):
    path = save(tmp_path / "lr/a.png", bicubic.downscale(parts[1], 2))
    groups = findings(single, f"lr:{tmp_path}/lr")
    only(groups, "duplicate", path, single / "1.png", f"lr:{tmp_path}/lr")


def test_a_file_that_is_hr_and_lr_is_checked_as_hr(single):
    for names in ([f"lr:{single}", single], [single, f"lr:{single}"], [f"hr:{single},lr:{single}"]):
        groups = findings(*names, patch=100)
        assert {name: len(lines) for name, lines in groups.items()} == {"small": 4}
        assert "enlarged" not in "".join(groups["small"])


# Copies.


def test_the_same_picture_in_two_folders_is_named_with_both(tmp_path, single, parts):
    test = tmp_path / "test"
    save(test / "a.png", parts[1])
    save(test / "b.png", parts[2][:, ::-1])
    exact, mirrored = findings(single, test)["duplicate"]
    assert exact.startswith(f"{test}/a.png: has the same pixels as {single}/1.png")
    assert f"{single} or {test}" in exact or f"{test} or {single}" in exact
    assert mirrored.startswith(f"{test}/b.png: ")
    assert f"(mirrored) as {single}/2.png" in mirrored


def test_the_same_picture_in_one_folder(single, parts):
    path = save(single / "b.png", parts[0])
    only(findings(single), "duplicate", path, "same pixels", single / "0.png", "remove")


def test_a_file_in_two_given_folders_is_one_file(single):
    assert findings(single.parent, single) == {}


# Pairs.


def test_lr_or_hr_missing(pairs):
    (pairs / "LRx4/bx4.png").rename(pairs / "saved")
    only(findings(pairs), "pair", pairs / "HR/b.png", "bx4.png")
    (pairs / "saved").rename(pairs / "LRx4/bx4.png")
    (pairs / "HR/b.png").unlink()
    only(findings(pairs), "pair", pairs / "LRx4/bx4.png", "has no HR", "shows no HR")


def test_an_lr_under_another_name_is_named_with_its_hr(pairs):
    (pairs / "LRx4/bx4.png").rename(pairs / "LRx4/ex4.png")
    missing, orphan = findings(pairs)["pair"]
    assert missing.startswith(f"{pairs}/HR/b.png: has no LR")
    assert orphan.startswith(f"{pairs}/LRx4/ex4.png: has no HR")
    assert f"shows {pairs}/HR/b.png" in orphan


def test_of_two_similar_hr_the_more_similar_is_named(pairs, parts):
    grain = np.random.default_rng(0).normal(0, 25, parts[1].shape)
    save(pairs / "HR/a.png", np.clip(parts[1] + grain, 0, 255).astype(np.uint8))
    save(pairs / "LRx4/dx4.png", bicubic.downscale(parts[1], 4))
    assert f"dx4.png: shows {pairs}/HR/b.png, not" in findings(pairs)["pair"][-1]


def test_lr_of_another_hr_is_named_with_both(pairs):
    for old, new in (("ax4.png", "saved"), ("cx4.png", "ax4.png"), ("saved", "cx4.png")):
        (pairs / "LRx4" / old).rename(pairs / "LRx4" / new)
    first, second = findings(pairs)["pair"]
    assert f"LRx4/ax4.png: shows {pairs}/HR/c.png, not {pairs}/HR/a.png" in first
    assert f"LRx4/cx4.png: shows {pairs}/HR/a.png, not {pairs}/HR/c.png" in second


def shifted(lr):
    noise = np.random.default_rng(0).normal(0, 8, lr.shape)
    return np.clip(np.roll(lr, 1, axis=(0, 1)) + noise, 0, 255)


@pytest.mark.parametrize(
    ("change", "group", "facts"),
    [
        (lambda hr, lr: lr[::-1], "pair", ["shows HR/a.png upside down", "HR/a.png"]),
        (lambda hr, lr: 255 - lr, "pair", ["shows no HR", "HR/a.png"]),
        (lambda hr, lr: hr, "pair", ["411x200", "102x50", "HR/a.png"]),
        (lambda hr, lr: bicubic.downscale(hr, 2), "pair", ["x2, not x4", "--scale=2"]),
        (lambda hr, lr: lr[:20, :25], "pair", ["LR is cropped", "25x20"]),
        (lambda hr, lr: np.minimum(lr, 250) + 3, "degradation", [" dB", "HR/a.png"]),
        (lambda hr, lr: shifted(lr), "degradation", ["shows HR/a.png", "degraded"]),
    ],
    ids=["turned", "other", "not reduced", "x2", "cropped", "brighter", "shifted"],
)
def test_lr_that_is_not_the_bicubic_of_its_hr(pairs, photo, change, group, facts):
    hr = photo[40:240, 40:]
    save(pairs / "HR/a.png", hr)
    lr = save(pairs / "LRx4/ax4.png", change(hr, bicubic.downscale(hr, 4)).astype(np.uint8))
    facts = [fact.replace("HR/", f"{pairs}/HR/") for fact in facts]
    only(findings(pairs), group, lr, *facts)


def test_cropped_hr(pairs, parts):
    hr = save(pairs / "HR/a.png", parts[0][:80, :100])
    only(findings(pairs), "pair", hr, "HR is cropped")


def test_lr_in_a_folder_of_its_own(pairs, tmp_path):
    (pairs / "LRx4").rename(tmp_path / "small")
    assert findings(pairs / "HR", lr=tmp_path / "small") == {}
    (tmp_path / "small/bx4.png").unlink()
    only(findings(pairs / "HR", lr=tmp_path / "small"), "pair", pairs / "HR/b.png", "has no LR")


def test_the_known_overlap_of_two_benchmark_sets_is_found(shared):
    sets = [shared / "benchmark" / name for name in ("Set5", "Set14")]
    groups = findings(*sets, patch=128)
    (line,) = groups["duplicate"]
    assert Path(line.split(":")[0]).stem == "face"
    assert "Set5/HR/head.png" in line
    assert not {"pair", "degradation"} & set(groups)

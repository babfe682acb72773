import json
import re
import shutil
import tempfile

import chex
import jax
import numpy as np
import older
import pytest

import kdgan_jax
from kdgan_jax import convert, models
from kdgan_jax.data import photos, sources
from kdgan_jax.evaluation import metrics
from kdgan_jax.formats import foreign, native
from kdgan_jax.inference.load import DEFAULT, FORMER, SHIPPED, load
from kdgan_jax.pictures import codec
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import checkpoint

equal = chex.assert_trees_all_equal


def psnr_on_set5(shared, model):
    """Returns the model's PSNR on Y in dB."""
    set5, _ = sources.of_source(f"hr:{shared}/benchmark/Set5", model.scale)
    pairs = [photos.load_pair(photo, model.scale) for photo in set5]
    return np.mean([metrics.psnr_y(model.upscale(lr), hr, model.scale) for hr, lr in pairs])


# Runs and their checkpoints.


def test_a_run_gives_its_student_and_its_teacher(smoke_run):
    assert kdgan_jax.load is load
    roles = "teacher", "distill", "adversarial"
    teacher, distilled, refined = (load(smoke_run, role) for role in roles)
    assert teacher.parameters > distilled.parameters
    assert distilled.spec == refined.spec
    equal(load(smoke_run).params, refined.params)
    for other in distilled, load(smoke_run, ema=False):
        with pytest.raises(AssertionError):
            equal(other.params, refined.params)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three phases, and what its checkpoints hold by phase and step; not to be changed.

    The phase "b" trains the network "big"; "c" and then "a" train the network "a".
    """
    workdir, random, params = tmp_path_factory.mktemp("run"), np.random.default_rng(0), {}
    for number, (phase, network) in enumerate([("b", "big"), ("c", "a"), ("a", "a")]):
        kwargs = {"channels": 4, "depth": 1 + (network == "big")}
        shapes = foreign.shapes(models.generator("compact", kwargs, 4))
        meta = {"model": {"name": "compact", "kwargs": kwargs, "scale": 4}}
        meta |= {"phase": phase, "network": network, "number": number}
        for step in 1, 2:
            draw = lambda leaf: random.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
            items = {item: jax.tree.map(draw, shapes) for item in ("ema", "generator.params")}
            checkpoint.save(workdir / "checkpoints" / phase, step, items, meta)
            params[phase, step] = items
    return workdir, params


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run, which may be changed."""
    return shutil.copytree(run[0], tmp_path / "run")


@pytest.mark.parametrize(
    ("role", "phase"),
    [("b", "b"), ("c", "c"), ("big", "b"), ("a", "a")],
)
def test_role_and_weights_are_arguments_or_in_the_path(run, role, phase):
    workdir, params = run
    newest = params[phase, 2]
    for path, arguments, item in [
        (workdir, {"role": role}, "ema"),
        (f"{workdir}:{role}", {}, "ema"),
        (f"{workdir}:{role}:ema", {"ema": False}, "ema"),
        (f"{workdir}:raw:{role}", {}, "generator.params"),
        (f"{workdir}:raw", {"role": role}, "generator.params"),
        (workdir, {"role": role, "ema": False}, "generator.params"),
    ]:
        equal(load(path, **arguments).params, newest[item])
    first = workdir / "checkpoints" / phase / "1"
    equal(load(first).params, params[phase, 1]["ema"])
    equal(load(f"{first}:raw").params, params[phase, 1]["generator.params"])


def test_a_run_is_its_newest_model_even_where_an_earlier_phase_has_the_networks_name(run, copy):
    items, meta = run[1]["c", 1], checkpoint.meta(run[0] / "checkpoints/a/2")
    meta |= {"phase": "later", "number": 3}
    checkpoint.save(copy / "checkpoints/later", 1, items, meta)
    equal(load(copy, role="a").params, items["ema"])
    equal(load(f"{copy}:a").params, run[1]["a", 2]["ema"])  # as tables name the phase


def test_a_zip_of_a_run_loads_like_its_folder(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = shutil.make_archive(tmp_path / "kd", "zip", run[0].parent, run[0].name)
    for words in "", ":big", ":a:raw", ":b:best":
        word = words or ":a"
        assert load(path + words, role="a") == load(f"{run[0]}{word}")
    phase = shutil.make_archive(tmp_path / "phase", "zip", run[0] / "checkpoints/b")
    assert load(phase) == load(f"{run[0]}:b")
    with pytest.raises(UserError) as error:
        load(f"{path}:none")
    assert "kd.zip:b" in str(error.value)
    assert tempfile.gettempdir() in str(error.value)  # the archive's folder, and no other below
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kd.zip", "phase.zip"]


def test_a_zip_with_an_altered_checkpoint_is_refused_by_its_name(copy, tmp_path):
    for phase in "a", "b", "c":
        for meta in (copy / "checkpoints" / phase).glob("*/meta.json"):
            meta.write_text("{}")
    path = shutil.make_archive(tmp_path / "kd", "zip", copy)
    with pytest.raises(UserError, match=rf"^{path}/checkpoints/a"):
        load(path, role="a")


def test_a_network_is_that_of_the_last_phase_with_a_checkpoint(run, copy):
    params = run[1]
    shutil.rmtree(copy / "checkpoints/a")
    equal(load(copy, "a").params, params["c", 2]["ema"])
    (copy / "checkpoints/c/2/meta.json").write_text("{")
    equal(load(copy, "a").params, params["c", 1]["ema"])


def test_a_phase_with_damaged_checkpoints_can_still_be_named(run, copy):
    for step, text in (1, "[1]"), (2, '{"number": Infinity}'):
        (copy / f"checkpoints/c/{step}/meta.json").write_text(text)
    equal(load(copy, "a").params, run[1]["a", 2]["ema"])
    with pytest.raises(UserError, match=r"checkpoints/c: .*damaged"):
        load(copy, "c")


def test_altered_checkpoint_is_refused(copy):
    path = copy / "checkpoints/b/2/meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 5}))
    with pytest.raises(UserError, match=f"{path}: altered"):
        load(path.parent)


def test_a_checkpoint_with_numbers_that_are_not_finite_is_refused(run, tmp_path):
    items = jax.tree.map(np.copy, run[1]["b", 2])
    items["ema"]["Conv_1"]["conv"]["bias"][1] = np.nan
    meta = checkpoint.meta(run[0] / "checkpoints/b/2")
    folder = checkpoint.save(tmp_path / "checkpoints/b", 2, items, meta)
    with pytest.raises(UserError, match=f"{folder}: entry 'Conv_1/conv/bias' has 1 of 4 .*nan"):
        load(folder)
    equal(load(f"{folder}:raw").params, items["generator.params"])


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("RUN", ["RUN: ", "'student'", "'RUN:b'", "all: b, big, c, a"]),
        ("RUN:bik", ["RUN: ", "'bik'", "did you mean 'big'"]),
        ("RUN/checkpoints/b/2:a", ["RUN/checkpoints/b/2 ", "single", "':a'"]),
        ("RUN/no", ["RUN/no: no such file or folder"]),
        ("clean_x3", ["did you mean 'clean_x4'"]),
        (r"C:\models\x4.pth", [r"C:\models\x4.pth: no such file or folder"]),
        (r"C:/models/x4.pth:raw", [r"C:/models/x4.pth: no such file or folder"]),
    ],
)
def test_a_path_that_leads_nowhere_is_answered_with_what_there_is(run, path, facts):
    with pytest.raises(UserError) as caught:
        load(path.replace("RUN", str(run[0])))
    for fact in facts:
        assert fact.replace("RUN", str(run[0])) in str(caught.value)


def test_runs_before_version_0_2_are_read(tmp_path, key):
    params = older.run(tmp_path, key)
    for phase in older.PHASES:
        equal(load(tmp_path, phase).params, params[phase]["ema"])
        equal(load(f"{tmp_path}:{phase}:raw").params, params[phase]["params"])
    for phase in "adversarial", "distill":
        equal(load(tmp_path).params, params[phase]["ema"])
        shutil.rmtree(tmp_path / "checkpoints" / phase)
    with pytest.raises(UserError, match="'student'"):
        load(tmp_path)


# Networks that come with the package.

STUDENTS = {
    "clean_x4": 98_320,
    "clean_gan_x4": 98_320,
    "clean_tiny_x4": 23_776,
    "clean_tiny_x3": 20_731,
    "clean_tiny_x2": 18_556,
    "origin_x4": 36_483,
}
SOFTER, TEACHER = "photo_soft_x4", "realesr-general-x4v3"


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("clean_x4", 31.40),
        ("clean_gan_x4", 30.07),
        ("clean_tiny_x4", 30.98),
        ("clean_tiny_x3", 33.24),
        ("clean_tiny_x2", 37.19),
        ("origin_x4", 30.08),
    ],
)
def test_shipped_students_have_the_psnr_of_the_docs_on_set5(shared, name, stated):
    assert psnr_on_set5(shared, load(name)) == pytest.approx(stated, abs=0.01)


SOME = ["chip", "comic1", "oldphoto2"]


@pytest.mark.parametrize(
    ("student", "names", "psnr", "lpips"),
    [
        (SOFTER, SOME, 29.71, 0.149),
        (DEFAULT, SOME, 29.39, 0.138),
        pytest.param(SOFTER, ["*"], 30.10, 0.142, marks=pytest.mark.long),
        pytest.param(DEFAULT, ["*"], 29.67, 0.135, marks=pytest.mark.long),
    ],
)
def test_students_for_real_photos_imitate_their_teacher(shared, student, names, psnr, lpips):
    figures, folder = [], shared / "real_world/photos"
    for path in [path for name in names for path in folder.glob(f"{name}.png")]:
        lr = codec.read_rgb(path)
        sr, goal = (load(model).upscale(lr) for model in (student, TEACHER))
        assert np.abs(sr.mean((0, 1)) - goal.mean((0, 1))).max() < 1.9, path.name
        figures.append([metric(sr, goal, 4) for metric in (metrics.psnr_y, metrics.lpips_alex)])
    assert np.mean(figures, axis=0) == pytest.approx([psnr, lpips], abs=0.01)


@pytest.mark.parametrize(("old", "new"), sorted(FORMER.items()))
def test_former_names_are_taken_with_a_warning(old, new, caplog, tmp_path, monkeypatch):
    assert load(old).digest == load(new).digest
    assert caplog.messages == [f"{old} is now called {new}; use that name"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / old).symlink_to(SHIPPED[TEACHER])
    assert load(old).digest == load(TEACHER).digest  # a path goes first


def test_shipped_students_go_by_name():
    assert set(SHIPPED) == {*STUDENTS, TEACHER, SOFTER, DEFAULT}
    sizes = STUDENTS | dict.fromkeys((SOFTER, DEFAULT), 89_040)
    for name, parameters in sizes.items():
        model = load(name)
        assert SHIPPED[name].stat().st_size < 5 * parameters
        assert (model.scale, model.parameters) == (int(name[-1]), parameters)
        optional = {"soft", "made_by", "figures"}
        assert model.about.keys() - optional == {"source", "sha256", "licence", "data"}
    assert load(DEFAULT).about["soft"] == SOFTER
    assert load("clean_gan_x4").about["soft"] == "clean_x4"
    assert "220000 steps, seed 0" in load("clean_x4").about["made_by"]
    assert "28.03 dB" in load("clean_x4").about["figures"]


def test_the_shipped_teacher_goes_by_name_and_has_its_licence_beside_it():
    model, path = load(TEACHER), SHIPPED[TEACHER]
    assert path.stat().st_size < 2_440_000
    assert (model.scale, model.parameters) == (4, 1_213_296)
    assert model.digest == "5752daa3b7fffa9b4de2bb940c13222a35bad3ae30a61f04d784fb7c88b25219"
    assert (model.about["author"], model.about["licence"]) == ("Xintao Wang", "BSD-3-Clause")
    terms = path.with_suffix(".LICENSE.txt").read_text()
    for fact in "BSD 3-Clause License", "(c) 2021, Xintao Wang":
        assert fact in terms


def test_the_shipped_teacher_has_the_published_weights_and_outputs(shared, tmp_path):
    source, again = shared / "real_world" / f"{TEACHER}.param", tmp_path / "again.safetensors"
    model, published = load(TEACHER), load(source)
    equal(model.params, published.params)  # every number there is a float16 one
    convert.main([str(source), str(again), "--dtype=float16"])
    shipped, made = (native.header(path) for path in (SHIPPED[TEACHER], again))
    more = {"title", "source"}  # the shipped file tells its source more exactly
    assert {fact: made[fact] for fact in made.keys() - more}.items() <= shipped.items()
    assert load(again).digest == model.digest
    golden = np.load(source.with_suffix(".golden.npz"))  # by ncnn, in float32
    sr = model.predict(golden["lr"])
    np.testing.assert_allclose(sr, golden["sr"], rtol=0, atol=1e-5)  # 3e-6 where it was measured


# Between two models.


@pytest.fixture
def refined(tmp_path):
    """A file whose card names the soft model that it starts from."""
    model = load("clean_gan_x4").with_about(soft="clean_x4")
    native.save(tmp_path / "sharp+soft.safetensors", model)
    return tmp_path / "sharp+soft.safetensors"


@pytest.mark.parametrize("strength", [0, 0.25, 1])
def test_strength_and_mixtures_lie_between_two_models(refined, strength):
    soft, sharp = load("clean_x4").params, load("clean_gan_x4").params
    between = jax.tree.map(lambda a, b: (1 - strength) * a + strength * b, soft, sharp)
    for model in (
        load(refined, strength=strength),
        load(f"clean_x4+clean_gan_x4@{strength}"),
        load(f"clean_x4+{refined}@{strength}"),
    ):
        chex.assert_trees_all_close(model.params, between, atol=1e-6)
    assert load(refined, strength=strength).about["strength"] == f"{strength:g}"


@pytest.mark.parametrize(
    ("path", "strength", "facts"),
    [
        ("clean_x4", 0.5, "clean_x4: strength=0.5 .* card"),
        ("REFINED", 1.5, "REFINED: strength=1.5 .* 0 to 1"),
        ("REFINED", float("nan"), "strength=nan"),
        ("clean_x4+clean_gan_x4@1.5", None, "clean_gan_x4@1.5: .*=1.5 .* 0 to 1"),
        ("clean_x4+clean_gan_x4@x", None, "=x "),
        ("clean_x4+photo_soft_x4@0.5", None, "models differ"),
        ("clean_x4+elsewhere@0.5", None, "elsewhere: no such file"),
    ],
)
def test_shares_outside_and_models_that_do_not_fit_are_refused(refined, path, strength, facts):
    with pytest.raises(UserError, match=facts.replace("REFINED", re.escape(str(refined)))):
        load(path.replace("REFINED", str(refined)), strength=strength)


def test_best_is_the_recorded_checkpoint_and_else_the_newest(run, copy):
    equal(load(f"{copy}:b:best").params, run[1]["b", 2]["ema"])
    checkpoint.record_best(copy / "checkpoints/b", 1, 30.0)
    equal(load(f"{copy}:b:best").params, run[1]["b", 1]["ema"])
    equal(load(f"{copy}:b:raw:best").params, run[1]["b", 1]["generator.params"])
    equal(load(f"{copy}:b").params, run[1]["b", 2]["ema"])


def test_a_path_with_the_name_of_a_student_goes_first(run, tmp_path, monkeypatch):
    checkpoint_folder = run[0] / "checkpoints/b/2"
    (tmp_path / "clean_x4").symlink_to(checkpoint_folder)
    monkeypatch.chdir(tmp_path)
    equal(load("clean_x4").params, run[1]["b", 2]["ema"])


# The origin's generator.


def test_origins_generator_gives_its_published_output(shared):
    model = load(shared / "seed_generator")
    golden = np.load(shared / "golden/seed_generator.npz")
    for case in "a", "b":
        sr, _ = model.module.apply({"params": model.params}, golden[f"x_{case}"])
        np.testing.assert_allclose(sr, golden[f"y_{case}"], rtol=0, atol=1e-5)
    assert psnr_on_set5(shared, model) == pytest.approx(28.94, abs=0.01)


def test_another_saved_model_is_refused(shared, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"another")
    with pytest.raises(UserError, match=f"{tmp_path}: .*SavedModel"):
        load(tmp_path)
    model = tmp_path / "model"
    shutil.copytree(shared / "seed_generator", model, copy_function=shutil.copyfile)
    with (model / "variables/variables.data-00000-of-00001").open("r+b") as file:
        file.write(b"\0\0\0\0")
    with pytest.raises(UserError, match=f"{model}: .*SavedModel"):
        load(model)

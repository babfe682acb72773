import json
import shutil

import chex
import jax
import numpy as np
import older
import pytest

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.data import photos
from kdgan_jax.evaluation import metrics
from kdgan_jax.inference.load import SHIPPED, load
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import checkpoint


def set5(shared, model):
    """Returns the model's PSNR on Set5 in dB."""
    found, _ = photos.folder(shared / "benchmark/Set5", 4)
    pairs = [photos.load(photo, 4) for photo in found]
    return np.mean([metrics.psnr_y(model.upscale(lr), hr, 4) for hr, lr in pairs])


# Models of a run.


def test_student_is_the_newest_one(smoke_run):
    chex.assert_trees_all_equal(
        load(smoke_run).params, load(smoke_run, "adversarial").params, strict=True
    )


def test_student_without_adversarial_phase_is_the_distilled_one(smoke_run, tmp_path):
    shutil.copytree(smoke_run / "checkpoints/distill", tmp_path / "checkpoints/distill")
    chex.assert_trees_all_equal(load(tmp_path).params, load(smoke_run, "distill").params)


def test_roles_are_different_models(smoke_run):
    teacher, before, after = (load(smoke_run, r) for r in ("teacher", "distill", "adversarial"))
    assert teacher.parameters > before.parameters
    assert before.spec == after.spec
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(before.params, after.params)


@pytest.mark.parametrize("role", ["teacher", "distill", "adversarial", "student"])
def test_path_may_name_the_role(smoke_run, role):
    chex.assert_trees_all_equal(load(f"{smoke_run}:{role}").params, load(smoke_run, role).params)


def test_checkpoint_may_be_named_itself(smoke_run):
    last = load(smoke_run / "checkpoints/teacher/4")
    first = load(smoke_run / "checkpoints/teacher/2")
    chex.assert_trees_all_equal(last.params, load(smoke_run, "teacher").params)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(first.params, last.params)


def test_averaged_weights_are_the_default(smoke_run):
    folder = smoke_run / "checkpoints/teacher/4"
    averaged, raw = load(folder), load(folder, ema=False)
    items = checkpoint.load(folder, {"generator.params": raw.params, "ema": averaged.params})
    chex.assert_trees_all_equal(averaged.params, items["ema"])
    chex.assert_trees_all_equal(raw.params, items["generator.params"])
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(averaged.params, raw.params)


def test_path_may_name_the_raw_weights(smoke_run):
    for role in ("student", "teacher"):
        raw = load(smoke_run, role, ema=False).params
        chex.assert_trees_all_equal(load(f"{smoke_run}:{role}:raw").params, raw)
    chex.assert_trees_all_equal(load(f"{smoke_run}:raw").params, load(smoke_run, ema=False).params)
    chex.assert_trees_all_equal(load(f"{smoke_run}:ema", ema=False).params, load(smoke_run).params)


def test_a_word_that_does_not_apply_is_refused(smoke_run):
    single = smoke_run / "checkpoints/teacher/4"
    with pytest.raises(UserError, match=r"is a single model; leave out ':distill'"):
        load(f"{single}:distill")
    with pytest.raises(UserError, match=r"no checkpoint of 'techer'; .*did you mean 'teacher'"):
        load(f"{smoke_run}:techer")
    chex.assert_trees_all_equal(load(f"{single}:raw").params, load(single, ema=False).params)


def test_package_offers_load():
    assert kdgan_jax.load is load


def test_unknown_role_is_refused_with_a_suggestion(smoke_run):
    with pytest.raises(UserError, match=f"{smoke_run}: .*'techer'.* did you mean 'teacher'"):
        load(smoke_run, "techer")


def test_an_unknown_role_is_answered_with_those_that_there_are(smoke_run):
    with pytest.raises(UserError) as caught:
        load(smoke_run, "best")
    roles = "teacher, distill, student, adversarial"
    for fact in (f"{smoke_run}:teacher", "'best'", f"all: {roles}"):
        assert fact in str(caught.value)


def test_missing_path_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere: no such file or folder"):
        load(tmp_path / "nowhere")


def test_folder_without_the_role_is_named(smoke_run, tmp_path):
    shutil.copytree(smoke_run / "checkpoints/teacher", tmp_path / "checkpoints/teacher")
    with pytest.raises(UserError, match=f"{tmp_path}: holds no checkpoint of 'distill'"):
        load(tmp_path, "distill")


def test_altered_checkpoint_is_refused(smoke_run, tmp_path):
    shutil.copytree(smoke_run / "checkpoints/teacher/4", tmp_path / "4")
    meta = json.loads((tmp_path / "4/meta.json").read_text())
    meta["step"] = 5
    (tmp_path / "4/meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"4/meta\.json: altered"):
        load(tmp_path / "4")


# Phases and networks under names of the user's choice.


def damage(folder):
    """Makes the newest of a phase's checkpoints one that cannot be used."""
    newest = folder / str(checkpoint.steps(folder)[-1])
    (newest / "meta.json").write_text("{")


@pytest.fixture
def own(tmp_path, key):
    """A run of three phases: "b" trains the network "big", "c" and then "a" the network "a"."""
    kept = {}
    for number, (phase, network) in enumerate([("b", "big"), ("c", "a"), ("a", "a")]):
        kwargs = {"channels": 4, "depth": 1 + (network == "big")}
        module = models.generator("compact", kwargs, 4)
        for step in 1, 2:
            params = models.init(module, jax.random.fold_in(key, 9 * number + step), 8)["params"]
            kept[phase, step] = params = jax.tree.map(np.asarray, params)
            meta = {"model": {"name": "compact", "kwargs": kwargs, "scale": 4}}
            meta |= {"phase": phase, "network": network, "number": number}
            items = {"ema": params, "generator.params": jax.tree.map(lambda x: x + 1, params)}
            checkpoint.save(tmp_path / "checkpoints" / phase, step, items, meta)
    return tmp_path, kept


@pytest.mark.parametrize(
    ("role", "phase"),
    [("b", "b"), ("c", "c"), ("big", "b"), ("a", "a")],  # a phase goes before a network
)
def test_phases_and_networks_of_any_name_are_found(own, role, phase):
    workdir, kept = own
    chex.assert_trees_all_equal(load(workdir, role).params, kept[phase, 2])
    chex.assert_trees_all_equal(load(f"{workdir}:{role}").params, kept[phase, 2])
    raw = load(f"{workdir}:{role}:raw").params
    chex.assert_trees_all_equal(raw, jax.tree.map(lambda x: x + 1, kept[phase, 2]))


def test_a_network_is_that_of_the_last_phase_that_trains_it_and_has_a_checkpoint(own):
    workdir, kept = own
    shutil.rmtree(workdir / "checkpoints/a")
    chex.assert_trees_all_equal(load(workdir, "a").params, kept["c", 2])
    damage(workdir / "checkpoints/c")
    chex.assert_trees_all_equal(load(workdir, "a").params, kept["c", 1])


def test_a_run_without_a_student_says_what_it_has(own):
    with pytest.raises(UserError) as caught:
        load(own[0])
    for fact in ("'student'", f"'{own[0]}:b'", "all: b, big, c, a"):
        assert fact in str(caught.value)


def test_a_checkpoint_that_says_nothing_can_be_named_by_its_phase(own):
    workdir, kept = own
    for step, text in (1, "[1]"), (2, '{"number": Infinity}'):
        (workdir / f"checkpoints/c/{step}/meta.json").write_text(text)
    chex.assert_trees_all_equal(load(workdir, "a").params, kept["a", 2])
    with pytest.raises(UserError, match="checkpoints/c: all its checkpoints are damaged"):
        load(workdir, "c")


# Runs before version 0.2; `tests/test_main.py` has their training being refused.


@pytest.fixture
def before(tmp_path, key):
    """A run in the old form, with what its checkpoints hold."""
    return tmp_path, older.run(tmp_path, key)


@pytest.mark.parametrize(
    ("role", "phase"),
    [
        ("student", "adversarial"),
        ("teacher", "teacher"),
        ("distill", "distill"),
        ("adversarial", "adversarial"),
    ],
)
def test_runs_of_older_versions_are_read(before, role, phase):
    workdir, kept = before
    chex.assert_trees_all_equal(load(workdir, role).params, kept[phase]["ema"])
    chex.assert_trees_all_equal(load(f"{workdir}:{role}:raw").params, kept[phase]["params"])


def test_the_student_of_an_older_run_is_its_last_one(before):
    workdir, kept = before
    shutil.rmtree(workdir / "checkpoints/adversarial")
    chex.assert_trees_all_equal(load(workdir).params, kept["distill"]["ema"])
    shutil.rmtree(workdir / "checkpoints/distill")
    with pytest.raises(UserError, match="no checkpoint of 'student'"):
        load(workdir)


# Students that come with the package.


def test_students_that_come_with_the_package_go_by_name():
    assert set(SHIPPED) == {"student_x4", "student_gan_x4"}
    for name, path in SHIPPED.items():
        model = load(name)
        assert path.stat().st_size < 2**18
        assert (model.scale, model.parameters) == (4, 51_920)
        assert model.about.keys() == {"source", "sha256", "licence", "data"}


def test_a_path_of_that_name_goes_first(smoke_run, tmp_path, monkeypatch):
    (tmp_path / "student_x4").symlink_to(smoke_run)
    monkeypatch.chdir(tmp_path)
    assert load("student_x4").parameters == load(smoke_run).parameters != 51_920


def test_a_name_that_is_almost_right_is_suggested():
    with pytest.raises(UserError, match="did you mean 'student_x4'"):
        load("student_x3")


@pytest.mark.parametrize(("name", "stated"), [("student_x4", 30.86), ("student_gan_x4", 30.14)])
def test_students_have_the_figure_of_the_readme_on_set5(shared, name, stated):
    assert set5(shared, load(name)) == pytest.approx(stated, abs=0.01)


# The origin's generator.


@pytest.mark.parametrize("case", ["a", "b"])
def test_origins_generator_gives_its_published_output(shared, case):
    model = load(shared / "seed_generator")
    golden = np.load(shared / "golden/seed_generator.npz")
    sr, _ = model.module.apply({"params": model.params}, golden[f"x_{case}"])
    np.testing.assert_allclose(sr, golden[f"y_{case}"], rtol=0, atol=1e-5)


def test_origins_generator_enlarges_by_four(shared, photo):
    sr = load(shared / "seed_generator").upscale(photo[:20, :30])
    assert (sr.shape, sr.dtype) == ((80, 120, 3), np.uint8)


def test_origins_generator_has_its_known_figure_on_set5(shared):
    assert set5(shared, load(shared / "seed_generator")) == pytest.approx(28.94, abs=0.01)


def test_origins_generator_with_other_weights_is_refused(shared, tmp_path):
    shutil.copytree(shared / "seed_generator", tmp_path / "model", copy_function=shutil.copyfile)
    with (tmp_path / "model/variables/variables.data-00000-of-00001").open("r+b") as file:
        file.write(b"\0\0\0\0")
    with pytest.raises(UserError, match=f"{tmp_path}/model: is no SavedModel that can be read"):
        load(tmp_path / "model")


def test_another_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"another")
    with pytest.raises(UserError, match="is no SavedModel that can be read"):
        load(tmp_path)

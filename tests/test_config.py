import importlib.util
import json
from pathlib import Path

import pytest

from kdgan_jax import checks
from kdgan_jax import config as configuration
from kdgan_jax.errors import UserError
from kdgan_jax.io import files

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
VARIANTS = {
    "kd": ("", "smoke", "full"),
    "teacher": ("", "srcnn", "smoke", "full"),
    "seed": ("", "smoke"),
}


def get_config(name, variant=""):
    spec = importlib.util.spec_from_file_location(f"configs_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.fixture
def config():
    return configuration.default()


# The files of configs/.


def test_every_config_file_is_covered_here():
    elsewhere = {"forest"}  # no network's; tests/test_forest_training.py has it
    assert {p.stem for p in CONFIGS.glob("*.py")} == set(VARIANTS) | elsewhere


@pytest.mark.parametrize(("name", "variant"), [(n, v) for n in VARIANTS for v in VARIANTS[n]])
def test_every_variant_passes_the_check(name, variant):
    config = get_config(name, variant)
    if variant == "full":
        with pytest.raises(UserError, match=r"config\.data\.source is empty"):
            checks.check(config)
        config.data.source = "DIV2K"
    checks.check(config)


@pytest.mark.parametrize("name", VARIANTS)
def test_unknown_variant_is_refused_with_a_suggestion(name):
    with pytest.raises(UserError, match="'smok' is unknown; did you mean 'smoke'"):
        get_config(name, "smok")


@pytest.mark.parametrize(("name", "variant"), [(n, v) for n in VARIANTS for v in VARIANTS[n]])
def test_variants_only_change_fields_that_there_are(name, variant):
    ours, default = get_config(name, variant), configuration.default()
    assert ours.keys() == default.keys()
    for phase in configuration.PHASES:
        assert ours.train[phase].keys() == default.train[phase].keys()


# Unknown fields.


@pytest.mark.parametrize(
    ("field", "meant"),
    [("sede", "seed"), ("data.sorce", "source"), ("train.distill.stesp", "steps")],
)
def test_unknown_field_is_refused_with_a_suggestion(config, field, meant):
    part, _, last = field.rpartition(".")
    with pytest.raises(AttributeError, match=f'Did you mean "{meant}"'):
        setattr(config[part] if part else config, last, 1)


def test_phase_refuses_unknown_fields():
    with pytest.raises(KeyError, match="learning_rate"):
        configuration.phase(learning_rat=1e-3)


# What `check` refuses: field, value, words of the message.


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scale", 5, r"config\.scale=5 is not supported; choose one of \(2, 3, 4\)"),
        ("phases", (), r"config\.phases is empty"),
        ("phases", ("techer",), r"config\.phases='techer' is unknown; did you mean 'teacher'"),
        ("phases", ("distill", "teacher"), r"out of order.*'teacher', 'distill', 'adversarial'"),
        ("phases", ("distill",), r"train\.distill\.distill_weight needs a teacher; add 'teacher'"),
        ("data.source", "", r"config\.data\.source is empty"),
        (
            "optim.lr_scaling",
            "liner",
            r"config\.optim\.lr_scaling='liner' is unknown; did you mean 'linear'",
        ),
        ("train.distill.reference_batch", 0, r"distill\.reference_batch=0 must be at least 1"),
        ("log_every", 0, r"config\.log_every=0 must be at least 1"),
        ("evaluate_every", 0, r"config\.evaluate_every=0 must be at least 1"),
        ("checkpoint_every", 0, r"config\.checkpoint_every=0 must be at least 1"),
        ("teacher.name", "edrs", r"config\.teacher\.name='edrs' is unknown; did you mean 'edsr'"),
        ("student.name", "cmpact", r"config\.student\.name='cmpact' is.*did you mean 'compact'"),
        ("discriminator.name", "vg", r"discriminator\.name='vg' is unknown; did you mean 'vgg'"),
        ("train.teacher.hr_patch", 30, r"teacher\.hr_patch=30 is not divisible by.*scale=4"),
        ("train.distill.steps", 0, r"config\.train\.distill\.steps=0 must be at least 1"),
        ("train.teacher.learning_rate", 0.0, r"teacher\.learning_rate=0\.0 must be above 0"),
        ("train.teacher.final_fraction", 1.5, r"final_fraction=1\.5 must be from 0 to 1"),
        ("train.teacher.clip_norm", -1.0, r"clip_norm=-1\.0 must be from 0"),
        ("train.teacher.warmup_steps", 10**6, r"warmup_steps=1000000 must be from 0 to"),
        ("train.adversarial.discriminator_warmup_steps", 10**6, r"warmup_steps=1000000 must be"),
        ("train.teacher.betas", (0.9,), r"betas=\(0\.9,\) must be 2 numbers"),
        ("train.teacher.milestones", (3.0,), r"milestones=\(3\.0,\) must be 1 numbers"),
        ("train.adversarial.perceptual_layers", (), r"perceptual_layers=\(\) must name layers"),
        ("train.adversarial.batch", -4, r"config\.train\.adversarial\.batch=-4 must be at least"),
        ("train.distill.pixel", "l3", r"config\.train\.distill\.pixel='l3' is unknown"),
        ("train.distill.distill", "rms", r"distill\.distill='rms' is.*did you mean 'rmse'"),
        ("train.adversarial.adversarial", "hing", r"adversarial='hing' is.*mean 'hinge'"),
        ("train.teacher.schedule", "cosin", r"schedule='cosin' is unknown; did you mean 'cosine'"),
        (
            "train.adversarial.perceptual_layers",
            ("conv3_3", "conv9_9"),
            r"adversarial\.perceptual_layers='conv9_9' is unknown",
        ),
        ("train.teacher.pixel_weight", 0.0, r"config\.train\.teacher: every loss weight is 0"),
        ("train.distill.pixel_weight", -0.5, r"config\.train\.distill: a loss weight is negative"),
        ("train.teacher.distill_weight", 0.5, r"config\.train\.teacher: a teacher has no teacher"),
        ("train.teacher.blend_weight", 0.5, r"config\.train\.teacher: a teacher has no teacher"),
    ],
)
def test_check_names_the_field_and_the_way_out(config, field, value, message):
    part, _, last = field.rpartition(".")
    setattr(config[part] if part else config, last, value)
    with pytest.raises(UserError, match=message):
        checks.check(config)


@pytest.mark.parametrize("part", ["teacher", "student", "discriminator"])
def test_unknown_argument_of_a_network_is_refused(config, part):
    config[part].kwargs = {"fetures": 8}
    with pytest.raises(UserError, match=rf"config\.{part}\.kwargs\.fetures.*mean 'features'"):
        checks.check(config)


def test_teacher_checkpoint_without_teacher_phase_is_refused(config):
    config.phases = ("distill",)
    config.teacher.checkpoint = "runs/teacher"
    with pytest.raises(UserError, match="checkpoint needs 'teacher' among"):
        checks.check(config)


def test_phases_that_do_not_run_are_not_checked(config):
    config.phases = ("teacher",)
    config.train.distill.hr_patch = 30
    checks.check(config)


def test_students_may_learn_without_a_teacher(config):
    config.phases = ("distill",)
    config.train.distill.distill_weight = 0.0
    checks.check(config)


def test_largest_patch_is_of_the_phases_that_run(config):
    config.train.teacher.hr_patch = 192
    assert configuration.largest_patch(config) == 192
    config.phases = ("distill",)
    assert configuration.largest_patch(config) == 96


# The copy that a run keeps.


def test_json_of_a_config_is_its_values(config):
    saved = json.loads(json.dumps(configuration.to_json(config)))
    assert saved["train"]["teacher"]["betas"] == [0.9, 0.99]
    restored = configuration.default()
    restored.update(saved)
    assert configuration.to_json(restored) == configuration.to_json(config)


def test_workdir_of_the_same_config_is_accepted(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_json(config)))
    checks.check_workdir(config, tmp_path / "config.json")


def saved_without(config, path, *fields):
    """Writes the config as an older version would have, which did not know these fields."""
    saved = configuration.to_json(config)
    for field in fields:
        *parts, last = field.split(".")
        tree = saved
        for part in parts:
            tree = tree[part]
        del tree[last]
    path.write_text(json.dumps(saved))
    return path


NEW = "optim", "data.sampling", "train.distill.clip_norm", "train.adversarial.reference_batch"


def test_fields_that_an_older_run_did_not_know_had_their_default(config, tmp_path):
    config.train.adversarial.update({"batch": 8, "reference_batch": 8})
    checks.check_workdir(config, saved_without(config, tmp_path / "config.json", *NEW))


def test_fields_that_an_older_run_did_not_know_may_not_change_now(config, tmp_path):
    path = saved_without(config, tmp_path / "config.json", *NEW)
    config.optim.lr_scaling = "linear"
    config.train.distill.clip_norm = 2.0
    with pytest.raises(UserError) as caught:
        checks.check_workdir(config, path)
    message = str(caught.value)
    assert "config.optim.lr_scaling: 'none' there, 'linear' now" in message
    assert "config.train.distill.clip_norm: 0.0 there, 2.0 now" in message
    assert message.count(" there, ") == 2


def test_a_field_that_is_there_no_more_is_a_change(config, tmp_path):
    saved = configuration.to_json(config)
    saved["data"]["sharpen"] = 0.5
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"config\.data\.sharpen: 0\.5 there, None now"):
        checks.check_workdir(config, tmp_path / "config.json")


def test_arguments_of_networks_have_no_default_here(config, tmp_path):
    # The default's are of its own network; of another they need not be what it does without.
    path = saved_without(config, tmp_path / "config.json", "student.kwargs.depth")
    with pytest.raises(UserError, match=r"student\.kwargs\.depth: None there, 4 now"):
        checks.check_workdir(config, path)


@pytest.mark.parametrize(
    ("started", "raised", "accepted"),
    [
        ((), "teacher", True),
        (("teacher",), "teacher", True),
        (("teacher",), "distill", True),
        (("teacher", "distill"), "distill", True),
        (("teacher", "distill"), "teacher", False),  # the student has learnt from that one
        (("teacher", "distill", "adversarial"), "adversarial", True),
        (("teacher", "distill", "adversarial"), "distill", False),
    ],
)
def test_steps_may_rise_where_nothing_has_been_made_of_them(
    config, tmp_path, started, raised, accepted
):
    files.write_json(tmp_path / "config.json", configuration.to_json(config))
    for name in started:
        (tmp_path / "checkpoints" / name / "500").mkdir(parents=True)
    config.train[raised].steps += 1
    if accepted:
        checks.check_workdir(config, tmp_path / "config.json")
    else:
        with pytest.raises(UserError, match=rf"{raised}\.steps: 1000 there, 1001 now"):
            checks.check_workdir(config, tmp_path / "config.json")
    config.train[raised].steps -= 2
    with pytest.raises(UserError, match=rf"{raised}\.steps: 1000 there, 999 now"):
        checks.check_workdir(config, tmp_path / "config.json")


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"a": nul}'])
def test_a_damaged_config_of_a_run_is_refused(config, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json: is no config of a run"):
        checks.check_workdir(config, tmp_path / "config.json")


def test_a_phase_says_which_batch_its_rates_are_for():
    assert configuration.phase().reference_batch == 16
    assert configuration.phase(batch=64).reference_batch == 64
    assert configuration.phase(batch=64, reference_batch=16).reference_batch == 16


def test_new_workdir_is_accepted(config, tmp_path):
    checks.check_workdir(config, tmp_path / "config.json")


def test_what_changes_no_figure_may_change_on_a_workdir(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_json(config)))
    config.log_every, config.devices, config.data.source = 7, 1, "moved/photos"
    checks.check_workdir(config, tmp_path / "config.json")


def test_layers_must_survive_the_pooling_of_a_small_patch(config):
    config.train.adversarial.update({"hr_patch": 8, "perceptual_layers": ("conv5_3",)})
    with pytest.raises(UserError, match="a patch of 8 leaves something"):
        checks.check(config)


def test_workdir_of_another_config_is_refused_with_both_values(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_json(config)))
    config.train.distill.steps = 7
    config.train.teacher.pixel = "l2"
    with pytest.raises(UserError) as caught:
        checks.check_workdir(config, tmp_path / "config.json")
    message = str(caught.value)
    assert "config.train.distill.steps: 1000 there, 7 now" in message
    assert "config.train.teacher.pixel: 'l1' there, 'l2' now" in message
    assert message.count(" there, ") == 2

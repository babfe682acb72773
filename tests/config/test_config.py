import importlib.util
import json
import re
from pathlib import Path

import pytest
from absl import flags
from conftest import run_module
from ml_collections import ConfigDict, config_flags

from kdgan_jax import config as configuration
from kdgan_jax import losses, models
from kdgan_jax.config import command, discriminator, loss, network, phase, teacher
from kdgan_jax.config.settings import (
    BatchConfig,
    DataConfig,
    DiscriminatorConfig,
    LoopConfig,
    LossConfig,
    RunConfig,
    Spec,
    TeacherConfig,
)
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PHASES = "control", "assistant", "two_teachers", "published", "hints", "finetune", "refine"
VARIANTS = {
    "kd": ("", "smoke", "full"),
    "teacher": ("", "srcnn", "smoke", "full"),
    "seed": ("", "smoke"),
    "phases": ("", *PHASES, *(f"{name},smoke" for name in PHASES)),
}
ALL = [(name, variant) for name in VARIANTS for variant in VARIANTS[name]]


def get_config(name, variant=""):
    spec = importlib.util.spec_from_file_location(f"configs_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def get_usable(name, variant=""):
    """Returns the config of a file, with photos where it leaves them to the command line."""
    config = get_config(name, variant)
    config.data.source = config.data.source or "DIV2K"
    return config


@pytest.fixture
def config():
    return configuration.default()


def put(config, field, value):
    """Sets a field, a new label among them."""
    part, _, last = field.rpartition(".")
    inner = config[part] if part else config
    with inner.unlocked():
        inner[last] = value


def refused(config, *facts):
    """Checks that a config is refused with one sentence that has these facts."""
    with pytest.raises(UserError) as caught:
        checks.checked(config)
    for fact in facts:
        assert fact in str(caught.value)


# The files of configs/.


def test_every_config_file_is_covered_here():
    elsewhere = {"forest"}  # no network's; tests/test_forest.py has it
    assert {p.stem for p in CONFIGS.glob("*.py")} == set(VARIANTS) | elsewhere


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_variant_passes_the_check(name, variant):
    config = get_config(name, variant)
    if variant == "full":
        refused(config, "config.data.source is empty")
        config.data.source = "DIV2K"
    run = checks.checked(config)
    assert tuple(phase.name for phase in run.phases) == config.phases
    assert set(config.phases) == set(config.train)


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_a_config_read_back_from_json_is_the_same(name, variant):
    config = get_usable(name, variant)
    saved = json.loads(json.dumps(configuration.to_json(config)))
    assert checks.checked(ConfigDict(saved)) == checks.checked(config)


@pytest.mark.parametrize(
    ("name", "variant", "meant"),
    [
        ("kd", "smok", "smoke"),
        ("teacher", "srcn", "srcnn"),
        ("seed", "smok", "smoke"),
        ("phases", "asistant", "assistant"),
        ("phases", "control,smok", "smoke"),
    ],
)
def test_unknown_variant_is_refused_with_a_suggestion(name, variant, meant):
    wrong = variant.rpartition(",")[2]
    with pytest.raises(UserError, match=f"{wrong!r} is unknown; did you mean {meant!r}"):
        get_config(name, variant)


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_variants_only_change_fields_that_there_are(name, variant):
    ours, default = get_config(name, variant), configuration.default()
    networks = {field for field, part in ours.items() if "network" in getattr(part, "keys", list)()}
    assert set(ours) - networks == set(default) - {"teacher", "student"}
    for field in networks:
        assert ours[field].keys() == network("compact").keys()
    for one in ours.train.values():
        assert one.keys() == default.train.teacher.keys()
        entries = [*one.losses.values(), *one.discriminator.regularizers.values()]
        assert all(entry.keys() == loss("l1", 1.0).keys() for entry in entries)
        assert all(entry.keys() == teacher("a").keys() for entry in one.teachers.values())
        assert one.discriminator.keys() == discriminator().keys()


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("sede", "seed"),
        ("data.sorce", "source"),
        ("train.distill.stesp", "steps"),
        ("train.distill.losses.pixel.wieght", "weight"),
        ("train.distill.losses.pixl", "pixel"),
        ("train.distil", "distill"),
    ],
)
def test_unknown_field_is_refused_with_a_suggestion(config, field, meant):
    part, _, last = field.rpartition(".")
    with pytest.raises(AttributeError, match=f'Did you mean "{meant}"'):
        setattr(config[part] if part else config, last, 1)


def test_phase_refuses_unknown_fields():
    with pytest.raises(KeyError, match="learning_rate"):
        phase(losses={}, learning_rat=1e-3)


@pytest.mark.parametrize("field", [field for field in configuration.NOW if "." not in field])
def test_phase_says_what_old_fields_are_called_now(field):
    with pytest.raises(UserError) as caught:
        phase(losses={}, **{field: 1})
    assert f"{field} of a phase is now called {configuration.NOW[field]}" in str(caught.value)


def test_a_phase_says_which_batch_its_rates_are_for():
    assert phase(losses={}).reference_batch == 16
    assert phase(losses={}, batch=64).reference_batch == 64
    assert phase(losses={}, batch=64, reference_batch=16).reference_batch == 16


# The parts that `checked` makes.


def test_a_checked_config_has_typed_parts():
    config = get_config("kd")
    run = checks.checked(config)
    assert isinstance(run, RunConfig)
    assert run.data == DataConfig()
    assert run.loop == LoopConfig(evaluate_every=100, checkpoint_every=300)
    assert (run.seed, run.scale, run.devices) == (0, 4, 0)
    assert run.saved == configuration.to_json(config)
    assert run.batches == (16, 16, 8)
    assert run.largest_patch == 96

    first, second, last = run.phases
    assert [one.number for one in run.phases] == [0, 1, 2]
    assert [one.network for one in run.phases] == ["teacher", "student", "student"]
    assert first.spec == Spec("compact", {"channels": 64, "depth": 6})
    assert second.spec == last.spec == Spec("compact", {"channels": 32, "depth": 4})
    assert [one.steps for one in run.phases] == [1500, 3000, 300]
    assert last.batches == BatchConfig(steps=300, batch=8, hr_patch=64)
    assert [one.start for one in run.phases] == ["", "", "distill"]

    assert [one.optimizer.learning_rate for one in run.phases] == [1e-3, 2e-3, 2e-4]
    assert [one.optimizer.schedule for one in run.phases] == ["cosine", "cosine", "constant"]
    assert {one.optimizer.factor for one in run.phases} == {1.0}
    assert all(isinstance(one.optimizer.betas, tuple) for one in run.phases)

    constant = Spec("constant", {})
    assert first.losses == {"pixel": LossConfig(Spec("l1", {}), 1.0, constant, "hr")}
    assert second.losses == {
        "pixel": LossConfig(Spec("l1", {}), 0.5, constant, "hr"),
        "distill": LossConfig(Spec("l1", {}), 0.5, constant, "teacher"),
    }
    assert last.losses["perceptual"].kind == ("perceptual", {"layers": ("conv2_2", "conv3_3")})
    assert (first.teachers, second.teachers) == ({}, {"teacher": TeacherConfig("teacher", "lr")})

    assert first.discriminator is second.discriminator is None
    assert isinstance(last.discriminator, DiscriminatorConfig)
    assert last.discriminator.network == ("origin", {})
    assert last.discriminator.game == "adversarial"
    assert last.discriminator.warmup_steps == 20
    assert last.discriminator.optimizer == last.optimizer
    assert last.discriminator.regularizers == {}


def test_the_discriminator_has_a_rate_of_its_own(config):
    config.train.adversarial.discriminator.learning_rate = 3e-5
    config.train.adversarial.betas = (0.0, 0.9)
    last = checks.checked(config).phases[-1]
    assert last.discriminator.optimizer.learning_rate == 3e-5
    assert last.optimizer.learning_rate == 1e-3
    assert last.discriminator.optimizer.betas == last.optimizer.betas == (0.0, 0.9)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_rates_are_scaled_by_batch_over_reference(config, rule, factor):
    config.optim.lr_scaling = rule
    config.train.adversarial.batch = 64
    *others, last = checks.checked(config).phases
    assert {one.optimizer.factor for one in others} == {1}
    assert last.optimizer.factor == last.discriminator.optimizer.factor == factor
    assert {rule, "64", "16"} <= set(last.optimizer.scaling.split())


def test_regularizers_are_checked_as_losses_are():
    (last,) = checks.checked(get_config("phases", "refine")).phases
    assert last.start == "student_x4"
    assert last.discriminator.network == ("origin", {"spectral_norm": True})
    assert {label: one.kind for label, one in last.discriminator.regularizers.items()} == {
        "r1": ("r1", {})
    }


def test_losses_of_weight_0_are_left_out(config):
    config.train.adversarial.losses.perceptual.weight = 0.0
    config.train.adversarial.losses.adversarial.weight = 0.0
    last = checks.checked(config).phases[-1]
    assert last.losses.keys() == {"pixel", "distill"}
    assert last.discriminator is None


def test_a_regularizer_of_weight_0_is_left_out():
    config = get_config("phases", "refine")
    config.train.adversarial.discriminator.regularizers.r1.weight = 0.0
    assert checks.checked(config).phases[0].discriminator.regularizers == {}


def test_teachers_that_no_loss_looks_at_are_left_out(config):
    config.phases = ("distill",)
    refused(config, "config.train.distill.teachers.teacher.model='teacher'", "does not run before")
    config.train.distill.losses.distill.weight = 0.0
    (control,) = checks.checked(config).phases
    assert control.teachers == {}
    assert control.losses.keys() == {"pixel"}


def test_a_start_takes_the_place_of_a_checkpoint(config):
    config.student.checkpoint = "runs/old"
    _, distilled, refined = checks.checked(config).phases
    assert (distilled.checkpoint, refined.checkpoint) == ("runs/old", "")
    assert (distilled.start, refined.start) == ("", "distill")


def test_phases_that_do_not_run_are_not_checked(config):
    config.phases = ("teacher",)
    config.train.distill.hr_patch = 30
    config.train.adversarial.losses.perceptual.kind = "no such"
    assert len(checks.checked(config).phases) == 1


def test_a_file_may_take_the_place_of_a_phase(config):
    config.phases = ("adversarial",)
    config.train.adversarial.start = "student_x4"
    config.train.adversarial.teachers.teacher.model = "runs/kd:teacher"
    (last,) = checks.checked(config).phases
    assert (last.start, last.number) == ("student_x4", 0)
    assert last.teachers["teacher"].model == "runs/kd:teacher"


def test_largest_patch_is_of_the_phases_that_run(config):
    config.train.teacher.hr_patch = 192
    assert checks.checked(config).largest_patch == 192
    config.phases = ("distill",)
    config.train.distill.teachers.teacher.model = "runs/kd:teacher"
    assert checks.checked(config).largest_patch == 96


@pytest.mark.parametrize(
    ("table", "field"),
    [
        (losses.TERMS, "losses.distill.kind"),
        (losses.SCHEDULES, "losses.distill.schedule"),
    ],
)
def test_every_entry_of_the_tables_can_be_named(config, table, field):
    options = {"fitnet": ":pairs=((conv1,conv1),)"}
    for name in table:
        put(config, f"train.distill.{field}", name + options.get(name, ""))
        one = checks.checked(config).phases[1].losses["distill"]
        assert name in (one.kind.name, one.schedule.name)


@pytest.mark.parametrize("name", models.GENERATORS)
def test_every_network_can_be_named(config, name):
    config.student.network = name
    assert checks.checked(config).phases[1].spec == (name, {})


# What is refused: field, value, facts of the message.


@pytest.mark.parametrize(
    ("field", "value", "facts"),
    [
        ("scale", 5, ["config.scale=5", "(2, 3, 4)"]),
        ("phases", (), ["config.phases", "empty"]),
        ("phases", ("techer",), ["config.phases='techer'", "mean 'teacher'"]),
        ("phases", (1, 2), ["config.phases='1'", "known: adversarial, distill, teacher"]),
        ("phases", ("teacher", "teacher"), ["config.phases=('teacher', 'teacher')", "once"]),
        (
            "phases",
            ("distill", "teacher"),
            ["distill.teachers.teacher.model='teacher'", "before it run: none"],
        ),
        (
            "phases",
            ("teacher", "adversarial"),
            ["config.train.adversarial.start='distill'", "before it run: teacher"],
        ),
        ("data.source", "", ["config.data.source", "empty"]),
        ("data.backend", "host", ["config.data.backend='host'", "tfdata"]),
        ("data.sampling", "pixel", ["config.data.sampling='pixel'", "mean 'pixels'"]),
        ("optim.lr_scaling", "liner", ["config.optim.lr_scaling='liner'", "mean 'linear'"]),
        ("dtype", "bfloat", ["config.dtype='bfloat'", "mean 'bfloat16'"]),
        ("steps_per_call", -1, ["config.steps_per_call=-1"]),
        ("max_bad_steps", 0, ["config.max_bad_steps=0"]),
        ("log_every", 0, ["config.log_every=0"]),
        ("evaluate_every", 0, ["config.evaluate_every=0"]),
        ("checkpoint_every", 0, ["config.checkpoint_every=0"]),
        # Networks.
        ("teacher.network", "edrs", ["config.teacher.network='edrs'", "mean 'edsr'"]),
        (
            "student.network",
            "compact:chanels=8",
            ["config.student.network", "'compact'", "'chanels'", "mean 'channels'"],
        ),
        ("student.network", "compact:8", ["config.student.network='compact:8'", "KEY=VALUE"]),
        ("student.network", "compact:depth=", ["config.student.network='compact:depth='"]),
        ("student.network", "", ["config.student.network=''"]),
        ("train.distill.network", "studnt", ["distill.network='studnt'", "mean 'student'"]),
        (
            "train.adversarial.discriminator.network",
            "vg",
            ["config.train.adversarial.discriminator.network='vg'", "mean 'vgg'"],
        ),
        (
            "train.adversarial.discriminator.network",
            "origin:chanels=(8,)",
            ["adversarial.discriminator.network", "'chanels'", "mean 'channels'"],
        ),
        (
            "train.adversarial.discriminator.network",
            "origin:mean=3",
            ["adversarial.discriminator.network", "'mean'"],
        ),
        # Numbers.
        ("train.teacher.hr_patch", 30, ["config.train.teacher.hr_patch=30", "config.scale=4"]),
        ("train.distill.steps", 0, ["config.train.distill.steps=0"]),
        ("train.distill.steps", 2**31, ["config.train.distill.steps=2147483648", "batch=16"]),
        ("train.adversarial.batch", -4, ["config.train.adversarial.batch=-4"]),
        ("train.distill.reference_batch", 0, ["config.train.distill.reference_batch=0"]),
        ("train.teacher.learning_rate", 0.0, ["config.train.teacher.learning_rate=0.0"]),
        ("train.teacher.learning_rate", float("nan"), ["train.teacher.learning_rate=nan"]),
        (
            "train.adversarial.discriminator.learning_rate",
            -1.0,
            ["config.train.adversarial.discriminator.learning_rate=-1.0"],
        ),
        ("train.teacher.final_fraction", 1.5, ["final_fraction=1.5", "from 0 to 1"]),
        ("train.teacher.ema_decay", 1.5, ["ema_decay=1.5", "from 0 to 1"]),
        ("train.teacher.clip_norm", -1.0, ["config.train.teacher.clip_norm=-1.0"]),
        ("train.teacher.warmup_steps", 10**6, ["train.teacher.warmup_steps=1000000", "999"]),
        (
            "train.adversarial.discriminator.warmup_steps",
            1000,
            ["config.train.adversarial.discriminator.warmup_steps=1000", "999"],
        ),
        ("train.teacher.betas", (0.9,), ["config.train.teacher.betas=(0.9,)", "2 numbers"]),
        ("train.teacher.betas", (0.9, 1.0), ["config.train.teacher.betas=(0.9, 1.0)"]),
        ("train.teacher.betas", ("a", "b"), ["config.train.teacher.betas=('a', 'b')"]),
        ("train.teacher.milestones", (3.0,), ["config.train.teacher.milestones=(3.0,)"]),
        ("train.teacher.milestones", ("a",), ["config.train.teacher.milestones=('a',)"]),
        ("train.teacher.schedule", "cosin", ["teacher.schedule='cosin'", "mean 'cosine'"]),
        # Losses.
        (
            "train.distill.losses.pixel.kind",
            "rms",
            ["config.train.distill.losses.pixel.kind='rms'", "mean 'rmse'"],
        ),
        (
            "train.distill.losses.distill.kind",
            "l3",
            ["config.train.distill.losses.distill.kind='l3'", "charbonnier"],
        ),
        (
            "train.distill.losses.pixel.kind",
            "l1:alpha=3",
            ["config.train.distill.losses.pixel.kind", "'l1'", "'alpha'"],
        ),
        (
            "train.distill.losses.pixel.kind",
            "l1:target=teacher",  # a field of its own
            ["config.train.distill.losses.pixel.kind", "'target'"],
        ),
        (
            "train.distill.losses.distill.kind",
            "blend:alpha=2",
            ["config.train.distill.losses.distill.kind", "alpha=2"],
        ),
        (
            "train.adversarial.losses.adversarial.kind",
            "hing",
            ["config.train.adversarial.losses.adversarial.kind='hing'", "mean 'hinge'"],
        ),
        (
            "train.adversarial.losses.perceptual.kind",
            "perceptual:layers=(conv3_3,conv9_9)",
            ["config.train.adversarial.losses.perceptual.kind", "'conv9_9'"],
        ),
        (
            "train.adversarial.losses.perceptual.kind",
            "perceptual:layers=()",
            ["config.train.adversarial.losses.perceptual.kind", "layers=()"],
        ),
        (
            "train.distill.losses.distill.target",
            "techer",
            ["config.train.distill.losses.distill.target='techer'", "mean 'teacher'", "hr"],
        ),
        (
            "train.teacher.losses.pixel.target",
            "teacher",  # a phase, and no teacher of this one
            ["config.train.teacher.losses.pixel.target='teacher'", "known: hr"],
        ),
        (
            "train.teacher.losses.pixel.kind",
            "blend",
            ["config.train.teacher.losses.pixel.target='hr'", "must be a teacher", "none"],
        ),
        (
            "train.distill.losses.pixel.kind",
            "fitnet:pairs=((conv1,conv1),)",
            ["config.train.distill.losses.pixel.target='hr'", "must be a teacher", "(teacher)"],
        ),
        (
            "train.distill.losses.distill.kind",
            "fitnet",
            ["config.train.distill.losses.distill.kind", "pairs=()"],
        ),
        (
            "train.distill.losses.pixel.schedule",
            "linaer",
            ["config.train.distill.losses.pixel.schedule='linaer'", "mean 'linear'"],
        ),
        (
            "train.distill.losses.pixel.schedule",
            "linear:stop=3",
            ["config.train.distill.losses.pixel.schedule", "'linear'", "'stop'"],
        ),
        (
            "train.distill.losses.pixel.weight",
            -0.5,
            ["config.train.distill.losses.pixel.weight=-0.5"],
        ),
        (
            "train.distill.losses.pixel.weight",
            float("nan"),
            ["config.train.distill.losses.pixel.weight=nan"],
        ),
        ("train.teacher.losses.pixel.weight", 0.0, ["config.train.teacher", "weight", "pixel"]),
        ("train.teacher.losses", ConfigDict(), ["config.train.teacher", "loss", "none"]),
        (
            "train.adversarial.losses.second",
            loss("bce", 1.0),
            ["config.train.adversarial.losses", "adversarial and second", "one"],
        ),
        (
            "train.distill.losses.total",
            loss("l2", 1.0),
            ["config.train.distill.losses.total", "'total'"],
        ),
        *(
            (
                f"train.distill.losses.{column}",
                loss("l2", 1.0),
                [f"config.train.distill.losses.{column}", f"{column!r}"],
            )
            for column in ("phase", "seconds_per_step", "holdout_psnr_y", "discriminator")
        ),
        (
            "train.adversarial.discriminator.regularizers.r1",
            loss("r2", 1.0),
            ["config.train.adversarial.discriminator.regularizers.r1.kind='r2'", "r1"],
        ),
        (
            "train.adversarial.discriminator.regularizers.pixel",
            loss("r1", 1.0),
            ["config.train.adversarial.discriminator.regularizers.pixel", "taken"],
        ),
        (
            "train.adversarial.discriminator.regularizers.r1",
            loss("r1", -1.0),
            ["config.train.adversarial.discriminator.regularizers.r1.weight=-1.0"],
        ),
        # Starts and teachers.
        ("train.distill.start", "adversarial", ["config.train.distill.start='adversarial'"]),
        ("train.distill.start", "distill", ["distill.start='distill'", "before it run: teacher"]),
        (
            "train.distill.teachers.teacher.model",
            "adversarial",
            ["config.train.distill.teachers.teacher.model='adversarial'", "config.phases"],
        ),
        (
            "train.distill.teachers.teacher.model",
            "",
            ["config.train.distill.teachers.teacher.model"],
        ),
        (
            "train.distill.teachers.teacher.reads",
            "hd",
            ["config.train.distill.teachers.teacher.reads='hd'", "known: hr, lr"],
        ),
        (
            "train.distill.teachers.teacher.reads",
            "hr",  # it makes no image of the generator's size
            ["config.train.distill.losses.distill.target='teacher'", "reads HR"],
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_value(config, field, value, facts):
    put(config, field, value)
    refused(config, *facts)


@pytest.mark.parametrize("label", checks.TAKEN)
def test_labels_that_the_log_needs_are_refused(config, label):
    put(config, f"train.distill.losses.{label}", loss("l1", 1.0))
    refused(config, f"config.train.distill.losses.{label}", "another label")


def test_layers_must_survive_the_pooling_of_a_small_patch(config):
    config.train.adversarial.hr_patch = 8
    config.train.adversarial.losses.perceptual.kind = "perceptual:layers=(conv5_3,)"
    refused(config, "config.train.adversarial.losses.perceptual.kind", "conv5_3", "patch of 8")


def test_several_steps_in_a_call_need_patches_on_the_device(config):
    config.steps_per_call = 4
    checks.checked(config)
    config.data.backend = "tfdata"
    refused(config, "config.steps_per_call=4", "config.data.backend='device'")


def test_networks_that_compute_in_float32_only_are_said(config):
    config.dtype = "bfloat16"
    assert {one.dtype for one in checks.checked(config).phases} == {"bfloat16"}
    plain = [n for n, module in models.GENERATORS.items() if not hasattr(module, "dtype")]
    assert plain
    config.student.network = plain[0]
    refused(config, "config.student.network", repr(plain[0]), "bfloat16", "compact")


# The command line.


@pytest.fixture
def typed(monkeypatch):
    """Returns what gives the config of a command line, as `commands` reads it."""

    def parse(*arguments, file="kd.py"):
        values, argv = flags.FlagValues(), ["main", f"--config={CONFIGS / file}", *arguments]
        monkeypatch.setattr(flags, "FLAGS", values)
        config_flags.register_flag_parser_for_type(tuple, command._Words())
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        command._parse(argv)
        return values.config

    return parse


def test_a_network_with_arguments_of_its_own_may_be_typed(typed):
    config = typed("--config.student.network=edsr:channels=8,blocks=1")
    assert checks.checked(config).phases[1].spec == ("edsr", {"channels": 8, "blocks": 1})


@pytest.mark.parametrize(
    "text",
    ["teacher,distill", "(teacher,distill)", "('teacher', 'distill')", "teacher, distill,"],
)
def test_phases_may_be_typed_as_words(typed, text):
    assert typed(f"--config.phases={text}").phases == ("teacher", "distill")


def test_one_phase_may_be_typed_alone_or_with_dashes(typed):
    assert typed("--config.phases=teacher").phases == ("teacher",)
    assert typed("--config.phases=my-own,other").phases == ("my-own", "other")
    assert typed("--config.phases=").phases == ()


def test_tuples_of_numbers_may_be_typed_as_before(typed):
    config = typed(
        "--config.train.teacher.betas=(0.9,0.99)",
        "--config.train.distill.betas=0.5,0.9",
        "--config.train.teacher.schedule=halving",
        "--config.train.teacher.milestones=(0.5,)",
    )
    first, second, _ = checks.checked(config).phases
    assert (first.optimizer.betas, second.optimizer.betas) == ((0.9, 0.99), (0.5, 0.9))
    assert first.optimizer.milestones == (0.5,)


def test_losses_may_be_typed(typed):
    config = typed(
        "--config.train.distill.losses.distill.schedule=linear:first=1,last=0,end=500",
        "--config.train.distill.losses.distill.kind=charbonnier",
        "--config.train.distill.losses.distill.weight=2",
        "--config.train.adversarial.losses.perceptual.kind=perceptual:layers=(conv1_2,conv2_2)",
    )
    _, second, last = checks.checked(config).phases
    assert second.losses["distill"] == LossConfig(
        Spec("charbonnier", {}), 2.0, Spec("linear", {"first": 1, "last": 0, "end": 500}), "teacher"
    )
    assert last.losses["perceptual"].kind.options == {"layers": ("conv1_2", "conv2_2")}


def test_a_control_may_be_typed(typed):
    config = typed("--config.train.distill.losses.distill.weight=0", "--config.phases=distill")
    (control,) = checks.checked(config).phases
    assert (control.teachers, control.losses.keys()) == ({}, {"pixel"})


def old(field):
    """Returns an old field as it was typed: those without a dot were of a phase."""
    if "." in field:
        return f"config.{field.replace('kwargs', 'kwargs.channels')}"
    return f"config.train.adversarial.{field}"


@pytest.mark.parametrize("field", configuration.NOW)
def test_old_fields_are_answered_with_what_they_are_called_now(field, typed, capsys):
    now = configuration.renamed(old(field))
    assert now.endswith(configuration.NOW[field])
    with pytest.raises(SystemExit) as left:
        typed(f"--{old(field)}=1")
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --{old(field)} is now called --config.{now}"


@pytest.mark.parametrize("field", configuration.NOW)
def test_old_fields_are_no_fields_now_and_new_ones_are(config, field):
    def there(name):
        tree = config
        for word in name.removeprefix("config.").split("."):
            if word not in getattr(tree, "keys", list)():
                return False
            tree = tree[word]
        return True

    assert not there(old(field))
    (now,) = re.findall(r"^[a-z_.A-Z]+", configuration.renamed(old(field)))
    assert there(now) or "LABEL" in now


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("config.teacher.kwargs = {'channels': 8}", ["'kwargs'", "network"]),
        ("config.train.distill.distill_weight = 0.5", ["'distill_weight'", "losses.distill"]),
        ("config.train.teacher = phase(pixel_weight=1.0, losses={})", ["pixel_weight", "losses."]),
    ],
)
def test_old_config_files_are_answered_in_one_line(tmp_path, typed, capsys, line, facts):
    (tmp_path / "mine.py").write_text(
        "from kdgan_jax.config import default, phase\n"
        f"def get_config():\n    config = default()\n    {line}\n    return config\n"
    )
    with pytest.raises(SystemExit):
        typed(file=tmp_path / "mine.py")
    (said,) = capsys.readouterr().err.splitlines()
    for fact in ("error: ", *facts):
        assert fact in said


@pytest.mark.parametrize(
    "field",
    [
        "seed",
        "teacher.network",
        "teacher.checkpoint",
        "train.distill.steps",
        "train.distill.losses.pixel.weight",
        "train.pixel.steps",  # a phase of that name
        "train.adversarial.losses.adversarial.kind",
        "data.source",
    ],
)
def test_fields_of_today_are_not_renamed(field):
    assert configuration.renamed(f"config.{field}") == ""


def test_an_old_field_is_one_line_and_exit_code_2(tmp_path):
    result = run_module(
        "kdgan_jax.main",
        "--config=configs/kd.py:smoke",
        "--config.train.distill.distill_weight=0.25",
        f"--workdir={tmp_path / 'run'}",
        check=False,
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --config.train.distill.distill_weight is now called ")
    assert line.endswith("--config.train.distill.losses.distill.weight")
    assert not (tmp_path / "run").exists()


# The copy that a run keeps.


@pytest.fixture
def path(config, tmp_path):
    """The config.json of a run of `config`."""
    files.write_json(tmp_path / "config.json", configuration.to_json(config))
    return tmp_path / "config.json"


def check_workdir(config, path):
    checks.check_workdir(checks.checked(config), path)


def test_json_of_a_config_is_its_values(config):
    saved = json.loads(json.dumps(configuration.to_json(config)))
    assert saved["train"]["teacher"]["betas"] == [0.9, 0.99]
    assert saved["phases"] == ["teacher", "distill", "adversarial"]
    restored = configuration.default()
    restored.update(saved)
    assert configuration.to_json(restored) == configuration.to_json(config)


def test_workdir_of_the_same_config_is_accepted(config, path):
    check_workdir(config, path)


@pytest.mark.parametrize("variant", VARIANTS["phases"])
def test_workdir_of_phases_of_any_name_is_accepted(tmp_path, variant):
    config = get_config("phases", variant)
    files.write_json(tmp_path / "config.json", configuration.to_json(config))
    check_workdir(config, tmp_path / "config.json")


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
    check_workdir(config, saved_without(config, tmp_path / "config.json", *NEW))


def test_fields_that_an_older_run_did_not_know_may_not_change_now(config, tmp_path):
    path = saved_without(config, tmp_path / "config.json", *NEW)
    config.optim.lr_scaling = "linear"
    config.train.distill.clip_norm = 2.0
    with pytest.raises(UserError) as caught:
        check_workdir(config, path)
    message = str(caught.value)
    assert "config.optim.lr_scaling: 'none' there, 'linear' now" in message
    assert "config.train.distill.clip_norm: 0.0 there, 2.0 now" in message
    assert message.count(" there, ") == 2


def test_a_field_that_is_there_no_more_is_a_change(config, path):
    saved = configuration.to_json(config)
    saved["data"]["sharpen"] = 0.5
    path.write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"config\.data\.sharpen: 0\.5 there, None now"):
        check_workdir(config, path)


def test_what_a_label_stands_for_has_no_default(config, tmp_path):
    # The default's is of its own loss; a run that did not have it was another.
    path = saved_without(config, tmp_path / "config.json", "train.distill.losses.distill")
    with pytest.raises(UserError, match=r"losses\.distill\.weight: None there, 0\.5 now"):
        check_workdir(config, path)


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
    config, path, started, raised, accepted
):
    for name in started:
        (path.parent / "checkpoints" / name / "500").mkdir(parents=True)
    config.train[raised].steps += 1
    if accepted:
        check_workdir(config, path)
    else:
        with pytest.raises(UserError, match=rf"{raised}\.steps: 1000 there, 1001 now"):
            check_workdir(config, path)
    config.train[raised].steps -= 2
    with pytest.raises(UserError, match=rf"{raised}\.steps: 1000 there, 999 now"):
        check_workdir(config, path)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"a": nul}'])
def test_a_damaged_config_of_a_run_is_refused(config, path, text):
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.json: is no config of a run"):
        check_workdir(config, path)


def test_new_workdir_is_accepted(config, tmp_path):
    check_workdir(config, tmp_path / "config.json")


def test_what_changes_no_figure_may_change_on_a_workdir(config, path):
    config.log_every, config.devices, config.data.source = 7, 1, "moved/photos"
    check_workdir(config, path)


def test_workdir_of_another_config_is_refused_with_both_values(config, path):
    config.train.distill.steps = 7
    config.train.teacher.losses.pixel.kind = "l2"
    with pytest.raises(UserError) as caught:
        check_workdir(config, path)
    message = str(caught.value)
    assert "config.train.distill.steps: 1000 there, 7 now" in message
    assert "config.train.teacher.losses.pixel.kind: 'l1' there, 'l2' now" in message
    assert message.count(" there, ") == 2


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ([{"versions": {"kdgan_jax": "0.1.7"}}], "kdgan_jax 0.1.7"),
        ([], "before 0.2"),
        (None, "before 0.2"),
    ],
)
def test_runs_of_older_versions_are_not_resumed(config, path, starts, said):
    saved = configuration.to_json(config)
    saved["student"] = {"name": "compact", "kwargs": {"channels": 8}}
    path.write_text(json.dumps(saved))
    if starts is not None:
        files.write_json(path.with_name("run.json"), {"starts": starts})
    with pytest.raises(UserError) as caught:
        check_workdir(config, path)
    for fact in (str(path.parent), said, "load", "convert"):
        assert fact in str(caught.value)

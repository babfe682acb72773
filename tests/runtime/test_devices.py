import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError


@pytest.mark.parametrize(
    ("requested", "batches", "expected"),
    [
        (0, (8, 16), 4),  # all
        (0, (8, 6), 2),  # on a CPU, as many as divide
        (2, (8, 6), 2),
        (1, (7,), 1),
    ],
)
def test_count(requested, batches, expected):
    assert devices.count(requested, batches) == expected


def test_an_explicit_count_that_does_not_divide_is_refused():
    with pytest.raises(UserError, match="batch=6 is not divisible by the 4 devices"):
        devices.count(4, (8, 6))


def test_all_accelerators_that_do_not_divide_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match="batch=6 is not divisible"):
        devices.count(0, (6,))


@pytest.mark.parametrize("requested", [5, -1])
def test_a_count_of_devices_that_are_not_there_is_refused(requested):
    with pytest.raises(UserError, match=f"config.devices={requested}, but there are 4"):
        devices.count(requested, (20,))


def test_configure_asks_for_a_device_per_core_and_a_cache(monkeypatch):
    asked = {}
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setenv("XLA_FLAGS", "")  # and as it was afterwards
    monkeypatch.setattr(type(jax.config), "values", {"jax_compilation_cache_dir": None})
    monkeypatch.setattr(jax.config, "update", asked.__setitem__)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2})
    devices.configure()
    assert asked == {
        "jax_num_cpu_devices": 3,
        "jax_compilation_cache_dir": "/somewhere/kdgan_jax",
    }


def test_configure_leaves_what_the_environment_names(monkeypatch):
    asked = {}
    named = " ".join(f"--{flag}=7" for flag in [*devices.TIMEOUTS, devices.YNN])
    monkeypatch.setenv("XLA_FLAGS", named)
    monkeypatch.setattr(jax.config, "update", asked.__setitem__)
    for training in False, True:
        devices.configure(training)  # conftest.py names the others
        assert os.environ["XLA_FLAGS"] == named
    assert asked == {}


@pytest.mark.parametrize(
    ("version", "upscaling"),
    [
        ("0.10.0", True),
        ("0.10.2", True),
        ("0.11.2", False),
        ("0.12.0.1", False),
        ("0.13.0.dev20261128", False),
        ("1.0", False),
    ],
)
@pytest.mark.parametrize("wide", [True, False])
def test_ynnpack_is_left_out_by_version_use_and_cpu(version, upscaling, wide):
    assert devices.without_ynn(version, True, wide) == (not wide)
    assert devices.without_ynn(version, False, wide) == upscaling


@pytest.fixture
def costly(monkeypatch):
    """Makes YNNPACK cost time in training alone, whatever version is here."""
    monkeypatch.setattr(devices, "without_ynn", lambda _, training, wide: training)
    return [f"--{flag}={value}" for flag, value in devices.TIMEOUTS.items()]


def test_flags_are_of_the_use(costly):
    assert devices.flags(False, "").split() == costly
    assert devices.flags(True, "").split() == [*costly, f"--{devices.YNN}="]


def test_flags_come_behind_what_the_user_names_and_leave_it_alone(costly):
    given = f"--xla_cpu_enable_fast_math=false --{devices.YNN}=LIBRARY_FUSION_TYPE_DOT"
    assert devices.flags(True, given).split() == [*given.split(), *costly]
    assert devices.flags(True, "a/file of flags") == "a/file of flags"


def test_flags_that_this_jaxlib_lacks_are_not_set(costly, monkeypatch):
    monkeypatch.setattr(devices, "_knows", lambda flag: flag in devices.TIMEOUTS)
    assert devices.flags(True, "").split() == costly
    monkeypatch.setattr(devices, "_knows", lambda flag: False)
    assert devices.flags(True, "") == ""


def test_what_a_jaxlib_knows_is_found():
    assert all(devices._knows(flag) for flag in devices.TIMEOUTS)
    assert not devices._knows("xla_cpu_that_there_is_no_such_flag")


# Says what HLO is compiled to, and what became of the environment.
COMPILES = """
import os
import jax, jax.numpy as jnp
from kdgan_jax import devices

before = dict(os.environ)
{prepare}
kernel, image = jnp.ones((3, 3, 32, 32)), jnp.ones((1, 64, 64, 32))
numbers = "NHWC", "HWIO", "NHWC"
convolve = lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, numbers)
options = devices.compiler_options() if {options} else None
print("ynn" in jax.jit(convolve, compiler_options=options).lower(image).compile().as_text())
print(dict(os.environ) == before)
"""


def compiles(prepare="pass", options=False):
    """Returns whether a convolution goes to YNNPACK, and whether the environment was left alone."""
    program = COMPILES.format(prepare=prepare, options=options)
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return tuple(line == "True" for line in result.stdout.splitlines())


@pytest.mark.skipif(not devices._knows(devices.YNN), reason="a jaxlib without YNNPACK")
def test_what_is_set_takes_convolutions_from_ynnpack():
    assert compiles() == (True, True)
    costly = "devices.without_ynn = lambda _, training, wide: {}; devices.configure(training=True)"
    assert compiles(costly.format("training")) == (False, False)
    assert compiles(costly.format("not training")) == (True, False)
    assert compiles("devices.without_ynn = lambda *_: True", options=True) == (False, True)


def test_options_are_for_cpus_whose_version_needs_them(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(devices, "without_ynn", lambda _, training, wide: not training)
    assert devices.compiler_options() == {devices.YNN: ""}
    with monkeypatch.context() as other:
        other.setenv("XLA_FLAGS", f"--{devices.YNN}=LIBRARY_FUSION_TYPE_DOT")
        assert devices.compiler_options() == {}
    with monkeypatch.context() as other:
        other.setattr(devices, "_knows", lambda flag: False)
        assert devices.compiler_options() == {}
    with monkeypatch.context() as other:
        other.setattr(jax, "default_backend", lambda: "gpu")
        assert devices.compiler_options() == {}
    monkeypatch.setattr(devices, "without_ynn", lambda _, training, wide: training)
    assert devices.compiler_options() == {}


def test_a_program_that_loads_a_model_keeps_its_environment():
    program = """
import os
import jax, flax, numpy, safetensors
before = dict(os.environ)
import kdgan_jax
kdgan_jax.load("student_x4").upscale(numpy.zeros((8, 8, 3), numpy.uint8))
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture
def two_processes(monkeypatch):
    """Makes this process, with its four devices, one of two."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 8)


@pytest.mark.parametrize(
    ("requested", "batches", "expected"),
    [(0, (16, 8), 8), (0, (12,), 6), (4, (12,), 4), (0, (2,), 2)],
)
def test_every_process_uses_as_many_of_its_devices(two_processes, requested, batches, expected):
    assert devices.count(requested, batches) == expected


@pytest.mark.parametrize(
    ("requested", "batches", "said"),
    [
        (3, (12,), "config.devices=3 is not divisible by the 2 processes"),
        (0, (3,), "batch=3 is not divisible by the 2 devices"),
    ],
)
def test_what_processes_cannot_share_is_refused(two_processes, requested, batches, said):
    with pytest.raises(UserError, match=said):
        devices.count(requested, batches)


def test_processes_of_other_sizes_are_refused(two_processes, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 6)
    with pytest.raises(UserError, match="process 0 has 4 of the 6 devices of 2 processes"):
        devices.count(0, (16,))


def test_a_process_shards_its_own_share(two_processes):
    parts = devices.shard({"lr": np.zeros((8, 2, 3))}, 4)
    assert parts["lr"].shape == (2, 4, 2, 3)
    assert devices.describe(8) == f"8 x cpu ({devices.cores()} cores, 2 processes)"


def test_whole_brings_what_was_split_back():
    split = devices.split(np.arange(6).reshape(3, 2), 3)
    np.testing.assert_array_equal(devices.whole({"a": split})["a"], np.arange(6).reshape(3, 2))


def test_describe_gives_number_and_kind():
    assert devices.describe(3) == f"3 x cpu ({devices.cores()} cores)"


def test_shard_splits_the_leading_axis_in_order():
    batch = {"lr": np.arange(8 * 6).reshape(8, 2, 3), "hr": np.zeros((8, 4, 6, 3))}
    parts = devices.shard(batch, 4)
    assert {k: v.shape for k, v in parts.items()} == {"lr": (4, 2, 2, 3), "hr": (4, 2, 4, 6, 3)}
    np.testing.assert_array_equal(parts["lr"][1], batch["lr"][2:4])
    nested = devices.shard({"a": [np.arange(8)], "b": (jnp.zeros((4, 3)),)}, 2)
    assert [leaf.shape for leaf in jax.tree.leaves(nested)] == [(2, 4), (2, 2, 3)]


def test_replicate_places_the_whole_on_each_of_the_first_devices():
    (leaf,) = jax.tree.leaves(devices.replicate({"a": np.arange(5)}, 3))
    assert [shard.device for shard in leaf.addressable_shards] == jax.local_devices()[:3]
    for shard in leaf.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.arange(5))


def test_split_places_one_entry_on_each_of_the_first_devices():
    array = devices.split(np.arange(6).reshape(3, 2), 3)
    assert [shard.device for shard in array.addressable_shards] == jax.local_devices()[:3]
    for i, shard in enumerate(array.addressable_shards):
        np.testing.assert_array_equal(shard.data, [[2 * i, 2 * i + 1]])


def test_memory_is_that_of_the_machine_on_a_cpu():
    lines = Path("/proc/meminfo").read_text().splitlines() if sys.platform == "linux" else []
    for line in lines:
        if line.startswith("MemTotal:"):
            assert devices.memory() == pytest.approx(int(line.split()[1]) * 1024, rel=1e-3)
    assert devices.on_cpu()


def test_to_host_gives_numpy_back():
    host = devices.to_host(devices.replicate({"a": jnp.arange(5)}, 4))
    assert type(host["a"]) is np.ndarray
    np.testing.assert_array_equal(host["a"], np.arange(5))


@pytest.mark.parametrize("number", [1, 2, 4])
def test_parallel_gives_each_device_its_share_and_means_over_them(number):
    def step(state, frozen, batch):
        size = jnp.asarray(len(batch["x"]))
        return state + frozen * devices.mean(batch["x"].mean()), devices.mean(size)

    batch = devices.shard({"x": np.arange(8, dtype=np.float32)}, number)
    state, frozen = (devices.replicate(np.float32(x), number) for x in (1, 10))
    for expected in 36, 71:  # the state that comes out goes in again
        state, size = devices.parallel(step, number)(state, frozen, batch)
        assert (float(state), float(size)) == (expected, 8 / number)

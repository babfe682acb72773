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


@pytest.fixture
def two_processes(monkeypatch):
    """Makes this process, with its four devices, one of two."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 8)


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


@pytest.mark.parametrize(
    ("requested", "batches", "expected"),
    [(0, (16, 8), 8), (0, (12,), 6), (4, (12,), 4), (0, (2,), 2)],
)
def test_every_process_uses_the_same_number_of_devices(two_processes, requested, batches, expected):
    assert devices.count(requested, batches) == expected


def refused(requested, batches, *facts):
    with pytest.raises(UserError) as caught:
        devices.count(requested, batches)
    for fact in facts:
        assert fact in str(caught.value)


def test_a_number_of_devices_that_is_not_possible_is_refused(monkeypatch):
    refused(4, (8, 6), "batch=6", "4")
    refused(5, (20,), "config.devices=5", "4")
    refused(-1, (20,), "config.devices=-1", "4")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    refused(0, (6,), "batch=6", "4")  # no accelerator is left idle silently


def test_a_number_of_devices_that_processes_cannot_share_is_refused(two_processes, monkeypatch):
    refused(3, (12,), "config.devices=3", "2 processes")
    refused(0, (3,), "batch=3", "2 devices")
    monkeypatch.setattr(jax, "device_count", lambda: 6)
    refused(0, (16,), "process 0 has 4 of the 6 devices", "2 processes")


def test_describe_has_number_kind_and_processes(monkeypatch):
    assert devices.describe(3) == f"3 x cpu ({devices.cores()} cores)"
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert devices.describe(8) == f"8 x cpu ({devices.cores()} cores, 2 processes)"


# Settings of JAX and XLA.


def test_configure_asks_for_a_device_per_core_and_a_cache(monkeypatch, tmp_path):
    updates = {}
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "")  # restored afterwards
    monkeypatch.setattr(type(jax.config), "values", {"jax_compilation_cache_dir": None})
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2})
    devices.configure(kept_from=0.5)
    assert updates == {
        "jax_num_cpu_devices": 3,
        "jax_compilation_cache_dir": str(tmp_path / "kdgan_jax"),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
    }


def test_configure_does_without_a_cache_if_there_is_no_home_to_write_in(monkeypatch, tmp_path):
    updates = {}
    monkeypatch.setattr(type(jax.config), "values", {"jax_compilation_cache_dir": None})
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    devices.configure()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    devices.configure()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    devices.configure()
    assert "jax_compilation_cache_dir" not in updates


@pytest.mark.parametrize(("kind", "updates"), [("cpu", {"jax_platforms": "cpu"}), ("auto", {})])
def test_a_kind_of_device_is_chosen_or_refused(monkeypatch, kind, updates):
    made = {}
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    devices.choose(kind)
    assert made == updates
    with pytest.raises(UserError, match=r"--device=gpu.*cpu"):
        devices.choose("gpu")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    devices.choose("gpu")


def test_configure_leaves_what_the_environment_sets(monkeypatch):
    updates = {}
    flags = " ".join(f"--{flag}=7" for flag in [*devices.TIMEOUTS, devices.YNN])
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    for training in False, True:
        devices.configure(training)  # conftest.py sets the other variables
        assert os.environ["XLA_FLAGS"] == flags
    assert updates == {}


@pytest.mark.parametrize(
    ("version", "upscaling"),
    [("0.10.2", True), ("0.11.2", False), ("0.13.0.dev20261128", False), ("1.0", False)],
)
@pytest.mark.parametrize("avx512", [True, False])
def test_ynnpack_is_disabled_by_version_use_and_cpu(version, upscaling, avx512):
    assert devices.without_ynn(version, True, avx512) == (not avx512)
    assert devices.without_ynn(version, False, avx512) == upscaling


@pytest.fixture
def timeouts(monkeypatch):
    """The flags of the timeouts; YNNPACK is slow in training alone, whatever the version."""
    monkeypatch.setattr(devices, "without_ynn", lambda _, training, avx512: training)
    return [f"--{flag}={value}" for flag, value in devices.TIMEOUTS.items()]


def test_flags_depend_on_the_use_and_follow_the_users(timeouts):
    assert devices.flags(False, "").split() == timeouts
    assert devices.flags(True, "").split() == [*timeouts, f"--{devices.YNN}="]
    users = f"--xla_cpu_enable_fast_math=false --{devices.YNN}=LIBRARY_FUSION_TYPE_DOT"
    assert devices.flags(True, users).split() == [*users.split(), *timeouts]
    assert devices.flags(True, "a/file of flags") == "a/file of flags"


def test_flags_that_this_jaxlib_lacks_are_not_set(timeouts, monkeypatch):
    assert all(devices._xla_has(flag) for flag in devices.TIMEOUTS)
    assert not devices._xla_has("xla_cpu_a_flag_that_does_not_exist")
    monkeypatch.setattr(devices, "_xla_has", lambda flag: flag in devices.TIMEOUTS)
    assert devices.flags(True, "").split() == timeouts


def test_compiler_options_are_for_cpus_whose_version_needs_them(monkeypatch):
    def options(target, name, value):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            return devices.compiler_options()

    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(devices, "without_ynn", lambda _, training, avx512: not training)
    assert devices.compiler_options() == {devices.YNN: ""}
    assert options(devices, "_xla_has", lambda flag: False) == {}
    assert options(devices, "without_ynn", lambda _, training, avx512: training) == {}
    assert options(jax, "default_backend", lambda: "gpu") == {}
    monkeypatch.setenv("XLA_FLAGS", f"--{devices.YNN}=LIBRARY_FUSION_TYPE_DOT")
    assert devices.compiler_options() == {}


# Prints whether YNNPACK gets a convolution: as configured, and with `compiler_options`.
COMPILES = """
import jax, jax.numpy as jnp
from kdgan_jax.runtime import devices

devices.without_ynn = lambda *_: True
if {configure}:
    devices.configure(training=True)
kernel, image = jnp.ones((3, 3, 32, 32)), jnp.ones((1, 64, 64, 32))
numbers = "NHWC", "HWIO", "NHWC"
convolve = lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, numbers)
for options in None, devices.compiler_options():
    print("ynn" in jax.jit(convolve, compiler_options=options).lower(image).compile().as_text())
"""


@pytest.mark.skipif(not devices._xla_has(devices.YNN), reason="a jaxlib without YNNPACK")
@pytest.mark.parametrize(("configure", "ynn"), [(False, [True, False]), (True, [False, False])])
def test_the_settings_keep_convolutions_from_ynnpack(configure, ynn):
    result = subprocess.run(
        [sys.executable, "-c", COMPILES.format(configure=configure)],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    found = [line == "True" for line in result.stdout.splitlines()]
    if not configure and found == [False, False]:
        pytest.skip("this jaxlib (0.10.0) gives no convolutions to YNNPACK by itself")
    assert found == ynn


# Arrays on devices.


def test_shard_splits_the_leading_axis_in_order(monkeypatch):
    batch = {"lr": np.arange(8 * 6).reshape(8, 2, 3), "hr": (np.zeros((8, 4, 6, 3)),)}
    parts = devices.shard(batch, 4)
    assert [leaf.shape for leaf in jax.tree.leaves(parts)] == [(4, 2, 4, 6, 3), (4, 2, 2, 3)]
    np.testing.assert_array_equal(parts["lr"][1], batch["lr"][2:4])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert devices.shard(batch, 4)["lr"].shape == (2, 4, 2, 3)  # its own devices alone


def test_replicate_split_gather_and_to_host():
    array = np.arange(6).reshape(3, 2)
    first = jax.local_devices()[:3]
    (copies,) = jax.tree.leaves(devices.replicate({"a": array}, 3))
    assert [shard.device for shard in copies.addressable_shards] == first
    for shard in copies.addressable_shards:
        np.testing.assert_array_equal(shard.data, array)
    entries = devices.split(array, 3)
    assert [shard.device for shard in entries.addressable_shards] == first
    for i, shard in enumerate(entries.addressable_shards):
        np.testing.assert_array_equal(shard.data, array[i : i + 1])
    np.testing.assert_array_equal(devices.gather({"a": entries})["a"], array)
    host = devices.to_host({"a": copies})["a"]
    assert type(host) is np.ndarray
    np.testing.assert_array_equal(host, array)


def test_memory_is_that_of_the_machine_on_a_cpu():
    lines = Path("/proc/meminfo").read_text().splitlines() if sys.platform == "linux" else []
    for line in lines:
        if line.startswith("MemTotal:"):
            assert 0 < devices.memory() <= int(line.split()[1]) * 1024 * 1.001  # or a container's
    assert devices.on_cpu()


@pytest.mark.parametrize("number", [1, 4])
def test_parallel_gives_each_device_its_share_and_averages_over_them(number):
    def step(state, frozen, batch):
        size = jnp.asarray(len(batch["x"]))
        return state + frozen * devices.mean(batch["x"].mean()), devices.mean(size)

    batch = devices.shard({"x": np.arange(8, dtype=np.float32)}, number)
    state, frozen = (devices.replicate(np.float32(x), number) for x in (1, 10))
    parallel = devices.parallel(step, number)
    for expected in 36, 71:  # the state that comes out goes in again
        state, size = parallel(state, frozen, batch)
        assert (float(state), float(size)) == (expected, 8 / number)


@pytest.mark.parametrize("named", ["tpu", "cuda", "nonsense"])
def test_a_device_that_is_not_there_is_no_fault_of_a_file(named):
    program = """
from kdgan_jax import load
for again in range(2):  # a program that goes on does not use another device unasked
    try:
        load("clean_x4")
    except ValueError as error:
        print(error)
"""
    environment = os.environ | {"JAX_PLATFORMS": named}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, second = result.stdout.splitlines()
    assert first == second
    for fact in (f"JAX_PLATFORMS={named!r}", "cpu"):
        assert fact in first
    assert "clean_x4" not in first

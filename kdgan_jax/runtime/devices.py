"""The only module that knows about devices: how many to use, and how a step runs on all of them.

A train step is written for one device's share of the batch. It averages over devices with `mean`.
Its state is the same on every device; only batches are split.
"""

import contextlib
import functools
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.experimental import multihost_utils
from jax.extend import backend
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdgan_jax.runtime.errors import UserError

AXIS = "devices"
Tree = Any  # a PyTree of arrays
State = Tree
Batch = Tree  # the first axis of every array is that of samples
Step = Callable[[State, Tree, Batch], tuple[State, Tree]]

# On a busy machine CPU devices may reach a collective minutes apart; by default XLA aborts after
# 40 s.
TIMEOUTS = {
    "xla_cpu_collective_call_terminate_timeout_seconds": "600",
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": "120",
}
# Which operations XLA passes to YNNPACK on a CPU: convolutions by default, none if empty.
YNN = "xla_cpu_experimental_ynn_fusion_type"


def cores() -> int:
    """Returns how many CPU cores this process may use."""
    return (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()) or 1


@functools.cache
def _xla_has(flag: str) -> bool:
    """Returns whether this jaxlib's XLA has a flag; XLA ends the process on an unknown one.

    Searches the library's bytes for the name, since asking XLA would start a backend.
    """
    files = [file for file in Path(jaxlib.__file__).parent.iterdir() if file.is_file()]
    library = max(files, key=lambda file: file.stat().st_size)
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(flag.encode()) >= 0


def has_avx512() -> bool:
    """Returns whether the CPU has AVX-512; False if that is unknown."""
    file = Path("/proc/cpuinfo")
    return file.is_file() and "avx512f" in file.read_text()


def without_ynn(version: str, training: bool, avx512: bool) -> bool:
    """Returns whether convolutions are faster without YNNPACK.

    Upscaling is 1.8 times as fast without it on jaxlib 0.10, whose YNNPACK uses one core, and 2 to
    6 % slower on 0.11 and 0.12. Training on one device per core is 7 to 12 % slower without it on a
    CPU with AVX-512 (Zen 4), and up to 19 % faster on a slower CPU, assumed to lack AVX-512.

    Args:
      version: of jaxlib.
      training: True for train steps, False for upscaling.
      avx512: whether the CPU has AVX-512.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return not avx512 if training else (major, minor) < (0, 11)


def flags(training: bool, xla_flags: str) -> str:
    """Returns `xla_flags`, the value of XLA_FLAGS, with the flags added that it does not set."""
    if xla_flags and not xla_flags.lstrip().startswith("-"):
        return xla_flags  # the name of a file with flags
    without = without_ynn(jaxlib.__version__, training, has_avx512())
    wanted = TIMEOUTS | ({YNN: ""} if without else {})
    added = [f"--{k}={v}" for k, v in wanted.items() if k not in xla_flags and _xla_has(k)]
    return " ".join([xla_flags, *added]).strip()


def cache_folder() -> Path:
    """Returns the user's folder for what can be made again.

    It may be one that cannot be written to, and without a home it is one that cannot be made.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # neither the environment nor the system names one
        home = os.devnull
    return Path(home) / "kdgan_jax"


def choose(kind: str) -> None:
    """Lets JAX use devices of a kind: "cpu", "gpu", or "auto" for the best that there are.

    Raises:
      UserError: there are none; names those that there are.
    """
    if kind == "cpu":
        jax.config.update("jax_platforms", "cpu")
    check_platforms()
    if kind == "gpu" and jax.default_backend() != "gpu":
        raise UserError(
            f"--device=gpu: JAX finds no GPU, but {jax.default_backend()}; leave the option out, or"
            " install JAX for this machine's GPU, as by pip install 'kdgan_jax[cuda12]'"
        )


def configure(training: bool = False, kept_from: float = 1.0) -> None:
    """Prepares JAX for a command before its first use: devices, XLA flags, a compilation cache.

    Each core becomes a CPU device: on two cores, two devices take about half the time of one.
    Settings from the environment take precedence. The flags concern CPUs and have no effect on an
    accelerator.

    Args:
      training: True for a command that trains, False for one that upscales.
      kept_from: programs that take this long to compile, in seconds, stay in the cache.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", cores())
    current = os.environ.get("XLA_FLAGS", "")
    if (wanted := flags(training, current)) != current:
        os.environ["XLA_FLAGS"] = wanted
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = cache_folder()
        with contextlib.suppress(OSError):  # JAX would warn of every program that it cannot keep
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", kept_from)


_started_in: list[int] = []  # the process in which JAX has been used


def check_not_forked() -> None:
    """Checks that JAX can be used: its threads do not survive a fork, and it would wait for ever.

    Raises:
      UserError: this process was forked from one that has used JAX.
    """
    if _started_in and _started_in[0] != os.getpid():
        raise UserError(
            "JAX does not work in a forked process; start processes by"
            " multiprocessing.get_context('spawn'), or load models in each process"
        )


@functools.cache
def check_platforms() -> None:
    """Checks that there is a device that JAX_PLATFORMS names. It is JAX's first use.

    Raises:
      UserError: there is none; names those that there are.
    """
    _started_in[:] = [os.getpid()]
    try:
        jax.devices()
        return
    except (AssertionError, RuntimeError) as error:  # without a message for "cuda"
        named = jax.config.values["jax_platforms"]
        if not named:
            raise UserError(
                f"JAX finds no device ({error}); install jax for this machine"
            ) from None
    jax.config.update("jax_platforms", "")
    found = sorted({device.platform for device in jax.devices()} | {"cpu"})
    backend.clear_backends()
    jax.config.update("jax_platforms", named)  # a program that goes on must not use another device
    raise UserError(
        f"JAX_PLATFORMS={named!r} names a device that is not there; leave the variable out, or set"
        f" it to what there is ({', '.join(found)})"
    )


def compiler_options() -> dict[str, str]:
    """Returns the `compiler_options` of `jax.jit` for a function that upscales.

    They do for one function what `configure` does for a command, so a program that only loads a
    model keeps its environment. The result is empty if XLA_FLAGS sets the same option.
    """
    if YNN in os.environ.get("XLA_FLAGS", "") or not on_cpu():
        return {}
    if not without_ynn(jaxlib.__version__, False, has_avx512()) or not _xla_has(YNN):
        return {}
    return {YNN: ""}


def count(requested: int, batches: tuple[int, ...]) -> int:
    """Returns how many devices to train on, over all processes.

    Every process uses the same number of its own devices.

    Args:
      requested: `config.devices`; 0 means all, or on a CPU the most that divide every batch.
      batches: global batch sizes, which the result divides.

    Raises:
      UserError: the number is negative or above what exists, the processes cannot share it
        equally, or it does not divide a batch.
    """
    available, processes = jax.device_count(), jax.process_count()
    if jax.local_device_count() * processes != available:
        raise UserError(
            f"process {jax.process_index()} has {jax.local_device_count()} of the {available}"
            f" devices of {processes} processes; give each process the same number"
        )
    if not 0 <= requested <= available:
        raise UserError(
            f"config.devices={requested}, but there are {available} devices; use 0 for all of them"
            " (on a CPU, JAX_NUM_CPU_DEVICES sets their number)"
        )
    if requested % processes:
        raise UserError(
            f"config.devices={requested} is not divisible by the {processes} processes; choose a"
            f" multiple of {processes}, or 0 for all"
        )
    number = requested or available
    if not requested and on_cpu():
        candidates = range(processes, available + 1, processes)
        dividing = [n for n in candidates if all(batch % n == 0 for batch in batches)]
        number = max(dividing, default=processes)
    for batch in batches:
        if batch % number:
            raise UserError(
                f"batch={batch} is not divisible by the {number} devices; choose a multiple of"
                f" {number}, or set config.devices"
            )
    return number


def describe(number: int) -> str:
    """Returns "2 x cpu (2 cores)" or "8 x NVIDIA ... (2 processes)" for the log and the tables."""
    kind, processes = jax.local_devices()[0].device_kind, jax.process_count()
    notes = [f"{cores()} cores"] * (kind == "cpu") + [f"{processes} processes"] * (processes > 1)
    return f"{number} x {kind}" + (f" ({', '.join(notes)})" if notes else "")


def memory() -> int:
    """Returns the memory of one device in bytes; on a CPU, that of the machine or container."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    machine = 8 * 2**30
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    file = Path("/sys/fs/cgroup/memory.max")
    container = file.read_text().strip() if file.is_file() else ""
    return min(machine, int(container)) if container.isdecimal() else machine


def memory_used() -> int:
    """Returns the bytes in use on one device; on a CPU, the most that this process has used."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_in_use" in stats:
        return int(stats["bytes_in_use"])
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def mean(tree: Tree) -> Tree:
    """Returns the mean of every leaf over devices; for use in a step of `parallel`."""
    return jax.lax.pmean(tree, AXIS)


def _first_devices(number: int) -> list[jax.Device]:
    """Returns `number` devices: the first ones of every process, in the order of processes."""
    processes = jax.process_count()
    return [
        device
        for process in range(processes)
        for device in jax.local_devices(process_index=process)[: number // processes]
    ]


def _place(tree: Tree, number: int, spec: PartitionSpec) -> Tree:
    sharding = NamedSharding(Mesh(np.array(_first_devices(number)), AXIS), spec)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def local(leaf: Any) -> jax.Array:  # device_put would compare all data between processes
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(local, tree)


def replicate(tree: Tree, number: int) -> Tree:
    """Returns `tree`, which all processes pass alike, with a copy on each of `number` devices."""
    return _place(tree, number, PartitionSpec())


def split(array: Any, number: int) -> jax.Array:
    """Returns `array` (number, ...), which all processes pass alike, with one entry per device."""
    return _place(array, number, PartitionSpec(AXIS))


def shard(batch: Batch, number: int) -> Batch:
    """Returns this process's share (N, ...) of a batch as (local devices, N / local devices, ...).

    Args:
      batch: this process's samples.
      number: of devices in all processes.
    """
    local = number // jax.process_count()
    return jax.tree.map(lambda v: v.reshape(local, -1, *v.shape[1:]), batch)


def gather(tree: Tree) -> Tree:
    """Returns what `split` or `shard` made as NumPy arrays (devices, ...), in all processes."""
    if jax.process_count() == 1:
        return to_host(tree)
    return to_host(multihost_utils.process_allgather(tree, tiled=True))


def kind() -> str:
    """Returns what JAX runs on: "cpu", "gpu" or "tpu"."""
    return jax.default_backend()


def on_cpu() -> bool:
    """Returns whether JAX runs on the CPU."""
    return kind() == "cpu"


def to_host(tree: Tree) -> Tree:
    """Returns `tree` as NumPy arrays in host memory."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


def parallel(step: Step, number: int) -> Step:
    """Returns `step(state, frozen, batch)` compiled for `number` devices of all processes.

    `state` is donated. `shard` or `split` makes the entries of `batch`. Every process can read the
    results. On a CPU the call blocks until it is done, since two collective steps in flight would
    deadlock.
    """
    compiled = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        devices=_first_devices(number),
        donate_argnums=(0,),
    )
    blocking = on_cpu()

    def call(state: State, frozen: Tree, batch: Batch) -> tuple[State, Tree]:
        result = compiled(state, frozen, batch)
        return jax.block_until_ready(result) if blocking else result

    return call

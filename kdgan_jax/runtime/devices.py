"""The one module that knows of devices: how many there are, and how a step is spread over them.

A step is written for one device's share of the batch. It gets `mean` from here, and state that is
the same on every device; only batches are split.
"""

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
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdgan_jax.runtime.errors import UserError

AXIS = "devices"
State = Any
Batch = Any  # a tree of arrays, whose first axis is that of samples
Step = Callable[[State, Any, Any], tuple[State, Any]]


# A busy machine brings CPU devices to a collective minutes apart; XLA's default kills after 40 s.
TIMEOUTS = {
    "xla_cpu_collective_call_terminate_timeout_seconds": "600",
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": "120",
}
# What XLA hands to YNNPACK on a CPU: convolutions, unless this is empty.
YNN = "xla_cpu_experimental_ynn_fusion_type"


def cores() -> int:
    """Returns how many CPU cores this process may use."""
    return (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()) or 1


@functools.cache
def _knows(flag: str) -> bool:
    """Returns whether this jaxlib's XLA has a flag; one that it lacks ends the process.

    Looks for the name in the library's bytes: asking XLA would start a backend.
    """
    files = [file for file in Path(jaxlib.__file__).parent.iterdir() if file.is_file()]
    library = max(files, key=lambda file: file.stat().st_size)
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(flag.encode()) >= 0


def wide_vectors() -> bool:
    """Returns whether the CPU has AVX-512; False where that cannot be told."""
    file = Path("/proc/cpuinfo")
    return file.is_file() and "avx512f" in file.read_text()


def without_ynn(version: str, training: bool, wide: bool) -> bool:
    """Returns whether convolutions are faster without YNNPACK.

    Upscaling is with jaxlib 0.10, whose YNNPACK uses one core (1.8 times as fast without); with
    0.11 and 0.12 it is 2 to 6 % slower without. Train steps on one device per core are 7 to 12 %
    slower without it on a CPU with AVX-512 (Zen 4), and up to 19 % faster on another, slower one,
    which is taken to lack AVX-512.

    Args:
      version: of jaxlib.
      training: whether train steps are made; else pictures are upscaled.
      wide: whether the CPU has AVX-512.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return not wide if training else (major, minor) < (0, 11)


def flags(training: bool, named: str) -> str:
    """Returns what XLA_FLAGS is to be where it is `named`: what that names is left alone."""
    if named and not named.lstrip().startswith("-"):
        return named  # a file of flags
    without = without_ynn(jaxlib.__version__, training, wide_vectors())
    wanted = TIMEOUTS | ({YNN: ""} if without else {})
    added = [f"--{k}={v}" for k, v in wanted.items() if k not in named and _knows(k)]
    return " ".join([named, *added]).strip()


def configure(training: bool = False) -> None:
    """Prepares JAX for a command, before its first use: devices, XLA's flags, a compilation cache.

    There is one CPU device per core: two per-core devices take about half the time of one device
    on two cores. What the environment already names is left alone. The flags are those of CPUs
    and change nothing on an accelerator.

    Args:
      training: whether the command makes train steps; else it upscales.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", cores())
    named = os.environ.get("XLA_FLAGS", "")
    if (wanted := flags(training, named)) != named:
        os.environ["XLA_FLAGS"] = wanted
    if jax.config.values["jax_compilation_cache_dir"] is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kdgan_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))


def compiler_options() -> dict[str, str]:
    """Returns the options for `jax.jit(..., compiler_options=...)` of what upscales.

    They do for one function what `configure` does for a command, so that a program that only
    loads a model keeps its environment. There are none where XLA_FLAGS names the same.
    """
    if YNN in os.environ.get("XLA_FLAGS", "") or not on_cpu():
        return {}
    if not without_ynn(jaxlib.__version__, False, wide_vectors()) or not _knows(YNN):
        return {}
    return {YNN: ""}


def count(requested: int, batches: tuple[int, ...]) -> int:
    """Returns how many devices to train on.

    Args:
      requested: `config.devices`; 0 means all, or on a CPU as many as divide the batches. Each
        process uses the same number of its own.
      batches: the global batch sizes that must divide.

    Raises:
      UserError: more devices than there are, fewer than 0, not as many in each process, or a
        batch that does not divide.
    """
    there, processes = jax.device_count(), jax.process_count()
    if jax.local_device_count() * processes != there:
        raise UserError(
            f"process {jax.process_index()} has {jax.local_device_count()} of the {there} devices"
            f" of {processes} processes; give each the same number"
        )
    if not 0 <= requested <= there:
        raise UserError(
            f"config.devices={requested}, but there are {there}; use 0 for all of them"
            " (on a CPU JAX_NUM_CPU_DEVICES sets their number)"
        )
    if requested % processes:
        raise UserError(
            f"config.devices={requested} is not divisible by the {processes} processes; choose a"
            f" multiple of {processes}, or 0 for all"
        )
    wanted = requested or there
    if not requested and on_cpu():
        fitting = range(processes, there + 1, processes)
        dividing = [n for n in fitting if all(batch % n == 0 for batch in batches)]
        wanted = max(dividing, default=processes)
    for batch in batches:
        if batch % wanted:
            raise UserError(
                f"batch={batch} is not divisible by the {wanted} devices; choose a multiple of"
                f" {wanted}, or set config.devices"
            )
    return wanted


def describe(number: int) -> str:
    """Returns "2 x cpu (2 cores)" or "8 x NVIDIA ... (2 processes)" for the log and the tables."""
    kind, processes = jax.local_devices()[0].device_kind, jax.process_count()
    notes = [f"{cores()} cores"] * (kind == "cpu") + [f"{processes} processes"] * (processes > 1)
    return f"{number} x {kind}" + (f" ({', '.join(notes)})" if notes else "")


def memory() -> int:
    """Returns the bytes of memory of one device; on a CPU those of the machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    found = 8 * 2**30
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    words = limit.read_text().strip() if limit.is_file() else ""
    return min(found, int(words)) if words.isdecimal() else found


def mean(tree: Any) -> Any:
    """Returns the mean over devices of every leaf; for use inside a step made by `parallel`."""
    return jax.lax.pmean(tree, AXIS)


def _used(number: int) -> list[jax.Device]:
    """Returns the `number` devices of a run: the first few of every process, in their order."""
    processes = jax.process_count()
    return [
        device
        for process in range(processes)
        for device in jax.local_devices(process_index=process)[: number // processes]
    ]


def _place(tree: Any, number: int, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(Mesh(np.array(_used(number)), AXIS), spec)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def ours(leaf: Any) -> jax.Array:  # device_put would compare all of it between the processes
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(ours, tree)


def replicate(tree: Any, number: int) -> Any:
    """Returns `tree`, the same in all processes, placed whole on each of the `number` devices."""
    return _place(tree, number, PartitionSpec())


def split(array: Any, number: int) -> jax.Array:
    """Returns `array` (number, ...), the same in all processes, placed with an entry on each."""
    return _place(array, number, PartitionSpec(AXIS))


def shard(batch: Batch, number: int) -> Batch:
    """Returns this process's share (N, ...) of a batch as (its devices, N / its devices, ...)."""
    here = number // jax.process_count()
    return jax.tree.map(lambda v: v.reshape(here, -1, *v.shape[1:]), batch)


def whole(given: Any) -> Any:
    """Returns what `split` or `shard` made as NumPy arrays (number, ...), in all processes."""
    if jax.process_count() == 1:
        return to_host(given)
    return to_host(multihost_utils.process_allgather(given, tiled=True))


def on_cpu() -> bool:
    """Returns whether the devices are cores of this machine."""
    return jax.default_backend() == "cpu"


def to_host(tree: Any) -> Any:
    """Returns `tree` as NumPy arrays; needs no device to be read again."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


def parallel(step: Step, number: int) -> Step:
    """Returns `step(state, frozen, batch)` compiled for `number` devices of all processes.

    `state` is donated. Entries of `batch` are made by `shard` or `split`. What comes out can be
    read in every process. On a CPU the call blocks until it is done: two collective steps in
    flight deadlock there.
    """
    compiled = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        devices=_used(number),
        donate_argnums=(0,),
    )
    blocking = on_cpu()

    def call(state: State, frozen: Any, batch: Batch) -> tuple[State, Any]:
        result = compiled(state, frozen, batch)
        return jax.block_until_ready(result) if blocking else result

    return call

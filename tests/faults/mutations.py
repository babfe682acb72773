"""Ways to damage a file, drawn by Hypothesis, and a watch over the program that reads it."""

import contextlib
import functools
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter

import altering
import hypothesis
from altering import json_values
from conftest import ROOT
from hypothesis import strategies as st

from kdgan_jax.runtime.errors import UserError

SECONDS = 5  # of the processor, that one input may take
BLOCKED = 60  # by the clock: one that waits for something else

# Numbers that sizes, counts and offsets are overwritten with.
NUMBERS = [0, 1, 2, 127, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
NUMBERS += [2**40, 2**63 - 1, 2**64 - 1]
HOWS = ["flip"] * 3 + ["number"] * 3 + ["bytes", "cut", "double", "join", "remove"]
WIDTHS = [(width, order) for width in (1, 2, 4, 8) for order in ("little", "big")]


def settings(count):
    """Settings of Hypothesis: `count` inputs, the same ones every time."""
    return hypothesis.settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def _places(size):
    return st.integers(0, max(size - 1, 0)) | st.integers(0, max(min(size, 100) - 1, 0))


@st.composite
def _edited(draw, data, others):
    """Draws `data` with one thing about it changed."""
    how = draw(st.sampled_from(HOWS))
    place = draw(_places(len(data)))
    span = draw(st.integers(1, 8) | st.integers(1, max(len(data) // 2, 1)))
    if how == "cut":
        return data[:place]
    if how == "flip" and data:
        flipped = data[place] ^ 1 << draw(st.integers(0, 7))
        return data[:place] + bytes([flipped]) + data[place + 1 :]
    if how == "number":
        width, order = draw(st.sampled_from(WIDTHS))
        number = draw(st.sampled_from(NUMBERS)) % 256**width
        return data[:place] + number.to_bytes(width, order) + data[place + width :]
    if how == "bytes":
        return data[:place] + draw(st.binary(max_size=16)) + data[place + min(span, 16) :]
    if how == "remove":
        return data[:place] + data[place + span :]
    if how == "double":
        return data[:place] + data[place : place + span] + data[place:]
    other = draw(st.sampled_from(others))  # its end, or all of it, behind what is before
    return data[:place] + other[draw(st.integers(0, len(other))) :]


@st.composite
def mutants(draw, valid):
    """Draws (name, bytes): one of the `valid` files by name, with one to four things changed."""
    name = draw(st.sampled_from(sorted(valid)))
    data = valid[name]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        data = draw(_edited(data, list(valid.values())))
    return name, data


def chunk(kind, data):
    """Returns a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_checksums(png):
    """Returns a PNG file whose chunks have the checksums that belong to them."""
    made, place = png[:8], 8
    while place + 12 <= len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        if place + 12 + size > len(png):
            break
        made += chunk(png[place + 4 : place + 8], png[place + 8 : place + 8 + size])
        place += 12 + size
    return made + png[place:]


class Hang(BaseException):
    """An input that the program waits for; nothing on its way may take it for an error."""


@contextlib.contextmanager
def limited(what):
    """Fails if the block takes more than `SECONDS` of the processor, or waits `BLOCKED`."""

    def stop(number, frame):
        raise Hang(f"{what}: more than {SECONDS} s of the processor, or {BLOCKED} s in all")

    before = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, BLOCKED)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


class Watch:
    """Counts what becomes of inputs, and fails where the program does not keep its word."""

    def __init__(self):
        self.counts, self.slowest, self.began = Counter(), 0.0, time.monotonic()

    def __call__(self, function, path, *arguments, kind="", name=None):
        """Calls `function(path)`; it returns, or raises a UserError with the path in it."""
        began, said, outcome = time.process_time(), None, "read"
        with limited(path), warnings.catch_warnings():
            warnings.simplefilter("error")  # it would be two lines on stderr, of no file's name
            try:
                function(path, *arguments)
            except UserError as error:
                said, outcome = str(error), "refused"
        spent = time.process_time() - began
        assert said is None or (str(name or path) in said and "\n" not in said)
        assert spent < SECONDS, f"{path}: {spent:.1f} s"
        self.slowest = max(self.slowest, spent)
        self.counts[kind, outcome] += 1
        return outcome

    def __str__(self):
        rows = [f"{kind} {outcome}: {n}" for (kind, outcome), n in sorted(self.counts.items())]
        return (
            f"{sum(self.counts.values())} inputs ({', '.join(rows)}), the slowest"
            f" {self.slowest:.2f} s of the processor, {time.monotonic() - self.began:.0f} s in all,"
            f" at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
        )


WORDS = "compact", "rrdb", "srcnn", "hit_srf", "../x", "/etc/passwd", "F32", "a\nb"
JSON = json_values(
    st.sampled_from([*NUMBERS, -1, 3, 4, 10**6, 10**9, 1e400, 0.5, float("nan")]),
    st.sampled_from(WORDS),
)
altered = functools.partial(altering.altered, others=JSON)


PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from kdgan_jax.runtime.errors import UserError
{imports}
for path in sys.argv[1:]:
    try:
        {call}
        print("read", path, file=sys.stderr)
    except UserError as error:
        print(error, file=sys.stderr)
# Not ru_maxrss, which starts with that of the process that started this one.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def peak(imports, call, *paths, limit=2**35):
    """Calls in a process that may have `limit` bytes of addresses; every path is read or refused.

    Returns:
      The most bytes that it held, its seconds of the processor, and what it said.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = PROGRAM.format(imports=imports, call=call, limit=limit)
    command = [sys.executable, "-c", program, *map(str, paths)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(result.stdout), spent, result.stderr


def tree(root):
    """Returns what lies below a folder: bytes of files, targets of links."""
    return {
        str(p.relative_to(root)): os.readlink(p)
        if p.is_symlink()
        else p.is_file() and p.read_bytes()
        for p in sorted(root.rglob("*"))
    }


def changed(before, after):
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))

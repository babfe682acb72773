"""Damage to files, drawn by Hypothesis, and checks of the program that reads them."""

import contextlib
import functools
import os
import signal
import struct
import time
import warnings
import zlib
from collections import Counter

import altering
import hypothesis
from altering import json_values
from hypothesis import strategies as st

from kdgan_jax.runtime.errors import UserError

SECONDS = 5  # processor time that reading one file may take
BLOCKED = 60  # wall-clock time after which it counts as waiting for something

# Values that replace sizes, counts and offsets.
NUMBERS = [0, 1, 2, 127, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
NUMBERS += [2**40, 2**63 - 1, 2**64 - 1]
HOWS = ["flip"] * 3 + ["number"] * 3 + ["bytes", "cut", "double", "join", "remove"]
WIDTHS = [(width, order) for width in (1, 2, 4, 8) for order in ("little", "big")]


def fuzz(count, attempt, *inputs):
    """Calls `attempt` with `count` draws of the `inputs`, always the same ones."""
    settings = hypothesis.settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    settings(hypothesis.given(*inputs)(attempt))()


def _places(size):
    return st.integers(0, max(size - 1, 0)) | st.integers(0, max(min(size, 100) - 1, 0))


@st.composite
def _edited(draw, data, others):
    """Draws `data` with one change."""
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
    other = draw(st.sampled_from(others))  # continue with another file, or the end of one
    return data[:place] + other[draw(st.integers(0, len(other))) :]


@st.composite
def mutants(draw, valid):
    """Draws (name, bytes): one of the `valid` files, by name, with one to four changes."""
    name = draw(st.sampled_from(sorted(valid)))
    data = valid[name]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        data = draw(_edited(data, list(valid.values())))
    return name, data


def chunk(kind, data):
    """Returns a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_checksums(png):
    """Returns a PNG file with the checksums of its chunks corrected."""
    corrected, place = png[:8], 8
    while place + 12 <= len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        if place + 12 + size > len(png):
            break
        corrected += chunk(png[place + 4 : place + 8], png[place + 8 : place + 8 + size])
        place += 12 + size
    return corrected + png[place:]


class Hang(BaseException):
    """Reading took too long; not an `Exception`, so that no reader can handle it."""


@contextlib.contextmanager
def limited(what):
    """Fails if the block takes more than `SECONDS` of processor time, or `BLOCKED` in all."""

    def stop(number, frame):
        raise Hang(f"{what}: not read after {BLOCKED} s")

    handler, began = signal.signal(signal.SIGALRM, stop), time.process_time()
    signal.alarm(BLOCKED)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    assert time.process_time() - began < SECONDS, what


class Watch:
    """Counts how files fare, and fails where the program breaks its promises."""

    def __init__(self):
        self.counts, self.slowest = Counter(), 0.0

    def __call__(self, function, path, *arguments, kind="", name=None):
        """Checks that `function(path)` returns or raises a UserError that names the file.

        Returns:
          "read" or "refused".
        """
        began, message, outcome = time.process_time(), None, "read"
        with limited(path), warnings.catch_warnings():
            warnings.simplefilter("error")  # on stderr it would not name the file
            try:
                function(path, *arguments)
            except UserError as error:
                message, outcome = str(error), "refused"
        self.slowest = max(self.slowest, time.process_time() - began)
        assert message is None or (str(name or path) in message and "\n" not in message)
        self.counts[kind, outcome] += 1
        return outcome

    def __str__(self):
        rows = [f"{kind} {outcome}: {n}" for (kind, outcome), n in sorted(self.counts.items())]
        return f"{', '.join(rows)}; the slowest took {self.slowest:.2f} s of processor time"


WORDS = "compact", "rrdb", "srcnn", "hit_srf", "../x", "/etc/passwd", "F32", "a\nb"
JSON = json_values(
    st.sampled_from([*NUMBERS, -1, 3, 4, 10**6, 10**9, 1e400, 0.5, float("nan")]),
    st.sampled_from(WORDS),
)
altered = functools.partial(altering.altered, others=JSON)


def tree(root):
    """Returns the contents of a folder by path: bytes of files, targets of links."""
    return {
        str(p.relative_to(root)): os.readlink(p)
        if p.is_symlink()
        else p.is_file() and p.read_bytes()
        for p in sorted(root.rglob("*"))
    }


def changed(before, after):
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))

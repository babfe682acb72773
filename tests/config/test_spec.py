import dataclasses
from keyword import iskeyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdgan_jax.config import spec
from kdgan_jax.models import GENERATORS
from kdgan_jax.runtime.errors import UserError


def written(name, **options):
    """Returns the text of a name and options."""
    values = ",".join(f"{key}={value!r}" for key, value in options.items())
    return f"{name}:{values}" if values else name


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("edsr", "edsr", {}),
        ("edsr:", "edsr", {}),
        ("compact:channels=32,depth=4", "compact", {"channels": 32, "depth": 4}),
        ("compact: channels = 32, depth=-4", "compact", {"channels": 32, "depth": -4}),
        ("a:share=1e-3,on=True,none=None", "a", {"share": 1e-3, "on": True, "none": None}),
        ("srcnn:channels=(8,4),kernels=[9,5]", "srcnn", {"channels": (8, 4), "kernels": (9, 5)}),
        ("a:one=(conv1,)", "a", {"one": ("conv1",)}),
        ("fitnet:pairs=((a,b),(c,d))", "fitnet", {"pairs": (("a", "b"), ("c", "d"))}),
    ],
)
def test_a_text_is_a_name_and_options(text, name, options):
    assert spec.parse(text, "field") == (name, options)


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda w: not iskeyword(w))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@pytest.mark.long
@given(WORDS, st.dictionaries(WORDS, VALUES, max_size=3))
def test_any_written_text_is_read_back(name, options):
    assert spec.parse(written(name, **options), "field") == (name, options)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":channels=8", "compact:8", "compact:channels", "compact:channels="),
        *("compact:channels=8)", "compact:channels=8) + f(", "compact:**more", "compact:*more"),
        *("compact:channels=8 depth=4", "compact:channels=open('a')", "compact:channels=2**9999"),
        *("compact:channels=a.b", "compact:channels=\0", "compact:channels=" + "(" * 5000),
        *("compact:b=1,b=2", "compact:b=" + "-" * 5000 + "1"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_field_and_value(text):
    with pytest.raises(UserError, match=r"^config\.student\.network=") as caught:
        spec.parse(text, "config.student.network")
    assert "\n" not in str(caught.value)
    assert text[:20].replace("\0", "") in str(caught.value)


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry of a table."""

    channels: tuple = (1,)
    depth: int = 2
    scale: int = 1
    inner: int = dataclasses.field(init=False, default=0)


def test_an_entry_is_built_of_its_options():
    entry = spec.build({"a": Entry}, "a", {"channels": [8, 4]}, "field", scale=4)
    assert entry == Entry(channels=(8, 4), depth=2, scale=4)
    assert hash(entry) == hash(Entry((8, 4), 2, 4))


@pytest.mark.parametrize(
    ("name", "options", "facts"),
    [
        ("b", {}, ["'b'", "known: a"]),
        ("a", {"chanels": 3}, ["'a'", "'chanels'", "'channels'"]),
        ("a", {"inner": 3}, ["'inner'"]),  # not an argument
        ("a", {"scale": 3}, ["'scale'", "known: channels)"]),  # not the user's
    ],
)
def test_unknown_entries_and_options_are_refused(name, options, facts):
    with pytest.raises(UserError) as caught:
        spec.build({"a": Entry}, name, options, "field", depth=1, scale=4)
    for fact in "field", *facts:
        assert fact in str(caught.value)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("compact", "channels", "big"),
        ("compact", "channels", 8.5),
        ("compact", "depth", True),
        ("compact", "branches", 1),
        ("srcnn", "channels", 3),
        ("srcnn", "channels", ("a", 4)),
    ],
)
def test_a_value_of_another_type_than_the_default_is_refused(name, key, value):
    with pytest.raises(UserError) as caught:
        spec.build(GENERATORS, name, {key: value}, "field")
    for fact in "field", repr(name), f"{key}={value!r}", f"{key}={getattr(GENERATORS[name], key)}":
        assert fact in str(caught.value)

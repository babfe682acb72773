"""JSON values, and what is left of one that somebody has altered, drawn by Hypothesis."""

import copy

from hypothesis import strategies as st


def json_values(*leaves):
    """Draws JSON of these `leaves`, numbers and words of any kind among them."""
    usual = (st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats())
    return st.recursive(
        st.one_of(*usual, st.text(max_size=5), *leaves),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    )


@st.composite
def altered(draw, value, others):
    """Draws a copy of JSON with one thing removed, doubled or replaced by one of `others`."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 9)) == 0:
        return draw(others)
    made = copy.deepcopy(value)
    key = draw(st.sampled_from(list(made) if isinstance(made, dict) else range(len(made))))
    how = draw(st.sampled_from(["within"] * 4 + ["remove", "double"]))
    if how == "within":
        made[key] = draw(altered(made[key], others))
    elif how == "remove":
        del made[key]
    elif isinstance(made, list):
        made.insert(key, copy.deepcopy(made[key]))
    else:
        made[draw(st.text(max_size=3))] = copy.deepcopy(made[key])
    return made

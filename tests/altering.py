"""Hypothesis strategies for JSON values and altered copies of them."""

import copy

from hypothesis import strategies as st


def json_values(*leaves):
    """Draws JSON whose leaves are numbers, texts, constants and these `leaves`."""
    common = (st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats())
    return st.recursive(
        st.one_of(*common, st.text(max_size=5), *leaves),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    )


@st.composite
def altered(draw, value, others):
    """Draws a copy of JSON with one entry removed, doubled or replaced by one of `others`."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 9)) == 0:
        return draw(others)
    changed = copy.deepcopy(value)
    key = draw(st.sampled_from(list(changed) if isinstance(changed, dict) else range(len(changed))))
    how = draw(st.sampled_from(["within"] * 4 + ["remove", "double"]))
    if how == "within":
        changed[key] = draw(altered(changed[key], others))
    elif how == "remove":
        del changed[key]
    elif isinstance(changed, list):
        changed.insert(key, copy.deepcopy(changed[key]))
    else:
        changed[draw(st.text(max_size=3))] = copy.deepcopy(changed[key])
    return changed

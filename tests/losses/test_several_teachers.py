import jax
import numpy as np
import pytest
from contexts import context

from kdgan_jax.losses.several import Several
from kdgan_jax.runtime.errors import UserError

# One image of two pixels for each. "second" is nearer to HR in the left one, "first" in the right.
HR, FIRST, SECOND = (
    np.array(numbers, np.float32).reshape(1, 1, 2, 3)
    for numbers in (
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [0.4, 0.9, 0.1, 0.5, 0.5, 0.6],
        [0.7, 0.6, 0.2, 0.2, 0.5, 0.5],
    )
)
IMAGES = {"hr": HR, "first": FIRST, "second": SECOND}


def loss(choose, sr):
    term = Several(target="first", others=("second",), choose=choose)
    return term({}, context(sr=sr, images=IMAGES))


@pytest.mark.parametrize(
    ("choose", "goal"),
    [
        ("mean", [0.55, 0.75, 0.15, 0.35, 0.5, 0.55]),
        ("best", [0.7, 0.6, 0.2, 0.5, 0.5, 0.6]),
    ],
)
def test_the_goal_is_the_mean_or_what_is_nearest_to_hr(choose, goal):
    goal = np.array(goal, np.float32).reshape(1, 1, 2, 3)
    np.testing.assert_allclose(loss(choose, goal), [0], atol=1e-6)
    np.testing.assert_allclose(loss(choose, goal + 0.25), [0.25], rtol=1e-5)
    gradient = jax.grad(lambda sr: loss(choose, sr).sum())(goal + 0.25)
    np.testing.assert_allclose(gradient, 1 / 6, rtol=1e-5)


def test_hr_is_a_target_only_if_it_tells_which_is_best():
    by_choice = {c: Several("first", ("second",), c).targets for c in ("mean", "best")}
    assert by_choice == {"mean": ("first", "second"), "best": ("first", "second", "hr")}


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({}, r"others=\(\)"),
        ({"others": ("first",)}, "'first'"),
        ({"others": ("second",), "choose": "bst"}, "choose.*'best'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, fact):
    with pytest.raises(UserError, match=f"field: .*{fact}"):
        Several(target="first", **options).check(96, "field")

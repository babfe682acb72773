import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.inference import costs
from kdgan_jax.models.blocks.grouped import convolve, grouped_convolution

# Groups, inputs of a group, outputs of a group, kernel, stride, padding, dilation.
CASES = {
    "depthwise": (6, 1, 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "depthwise, two outputs each": (6, 1, 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "depthwise, dilated": (4, 1, 1, (5, 5), (1, 1), ((6, 6), (6, 6)), (3, 3)),
    "depthwise, stride 2, unpadded": (4, 1, 1, (3, 3), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    "depthwise, all different": (3, 1, 2, (3, 5), (2, 3), ((0, 1), (2, 3)), (2, 1)),
    "four groups": (4, 3, 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "two groups, stride 2": (2, 4, 5, (3, 3), (2, 2), ((1, 0), (0, 2)), (1, 2)),
}


def inputs_of(case):
    """Returns (image, kernel, (stride, padding, dilation, groups))."""
    groups, inputs, outputs, kernel, *rest = CASES[case]
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 9, 12, groups * inputs)).astype(np.float32)
    k = random.normal(size=(*kernel, inputs, groups * outputs)).astype(np.float32)
    return x, k, (*rest, groups)


def expected(x, kernel, stride, padding, dilation, groups):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@pytest.mark.parametrize("case", CASES)
def test_results_and_gradients_are_those_of_lax(case):
    x, kernel, how = inputs_of(case)
    stride, padding, dilation, groups = how
    wanted = expected(x, kernel, *how)
    result = convolve(
        lhs=x,
        rhs=kernel,
        window_strides=list(stride),
        padding=list(padding),
        rhs_dilation=dilation,
        feature_group_count=groups,
        lhs_dilation=(1, 1),
        precision=None,
    )
    np.testing.assert_allclose(result, wanted, atol=1e-5)  # sums of 36 terms of order 1
    mix = np.random.default_rng(1).normal(size=wanted.shape).astype(np.float32)

    def gradients(function):
        return jax.grad(lambda x, k: jnp.sum(mix * function(x, k, *how)), (0, 1))(x, kernel)

    for own, laxs in zip(gradients(grouped_convolution), gradients(expected), strict=True):
        np.testing.assert_allclose(own, laxs, atol=1e-4)  # of the kernel: sums of 200 terms


@pytest.mark.parametrize("case", CASES)
def test_the_cost_is_that_of_lax(case):
    x, kernel, how = inputs_of(case)
    cost = costs.multi_adds(lambda x, k: grouped_convolution(x, k, *how), x, kernel)
    assert cost == costs.multi_adds(lambda x, k: expected(x, k, *how), x, kernel) > 0

"""Simulated float16 rounds as ONNX's own evaluator does, which computes in float16."""

import exported
import numpy as np
import pytest

reference = pytest.importorskip("onnx.reference", reason="evaluates float16; pip install onnx")


@pytest.mark.parametrize("name", ["compact", "imdn", "bsrn"])
def test_simulated_files_round_as_float16_does(name):
    import onnx

    weights, pixels = exported.network(name), exported.image(16, 17)
    expected = exported.by_jax(weights, pixels)
    lr = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    half = onnx.load_from_string(exported.file(weights, half=True))
    (sr,) = reference.ReferenceEvaluator(half).run(None, {"input": lr})
    simulated = exported.by_file(exported.file(weights, half=True, simulated=True), pixels)
    true, found = (
        np.abs(sr.transpose(0, 2, 3, 1) - expected).max(),
        np.abs(simulated - expected).max(),
    )
    assert 0.4 * true < found < 2.5 * true
    # In the file itself, ONNX Runtime only rounds weights.
    weights = weights.with_params(_rounded(weights.params))
    expected = exported.by_jax(weights, pixels)
    assert (
        np.abs(exported.by_file(exported.file(weights, half=True), pixels) - expected).max() < found
    )


def _rounded(tree):
    import jax

    return jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), tree)

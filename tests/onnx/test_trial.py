import exported
import numpy as np
import pytest

from kdgan_jax.onnx import trial


@pytest.mark.parametrize("runtime", trial.RUNTIMES)
def test_runtimes_do_what_the_network_does(runtime, tmp_path):
    pytest.importorskip(runtime)
    weights, path = exported.network("compact"), tmp_path / "a.onnx"
    path.write_bytes(exported.file(weights))
    pixels = exported.image(8, 13)
    result = trial.results(path, pixels[0])[runtime]
    np.testing.assert_allclose(result, exported.by_jax(weights, pixels)[0], rtol=0, atol=1e-5)

from PIL import Image

from launch.benchmarks.speed_plot import draw


def test_it_draws_what_was_measured(tmp_path):
    case = {"ours": [1.0, 1.1], "ours, jax": [2.0, 2.1], "onnxruntime": [1.0, 1.2]}
    folder = {"ours": [1.0], "torch_channels_last": [3.0]}  # of the whole command
    draw(tmp_path / "speed.png", {"compact 64x64": case, "100 photos": folder})
    assert Image.open(tmp_path / "speed.png").size == (1080, 480)

"""EDSR in its authors' names, held to their program written anew; PyTorch's agrees to 3e-6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import image
from safetensors.numpy import save_file

import kdgan_jax
from kdgan_jax.formats import foreign, imported
from kdgan_jax.models.blocks.layers import pixel_shuffle, upscaling_steps
from kdgan_jax.models.generators.edsr import NO_MEAN

CHANNELS, BLOCKS = 6, 2
DIV2K, IMAGENET = (0.4488, 0.4371, 0.4040), (0.485, 0.456, 0.406)
LR = image(7, 9)[0]


def authors_state(scale, mean=None, deviation=(1, 1, 1), image_range=255):
    """Returns random weights under the authors' names, with layers for the mean if it is given."""
    random = np.random.default_rng(scale)
    sizes = {"head.0": (CHANNELS, 3), "tail.1": (3, CHANNELS)}
    sizes |= {f"body.{i}.body.{k}": (CHANNELS,) * 2 for i in range(BLOCKS) for k in (0, 2)}
    sizes |= {f"body.{BLOCKS}": (CHANNELS,) * 2}
    for i, factor in enumerate(upscaling_steps(scale)):
        sizes[f"tail.0.{2 * i}"] = (CHANNELS * factor**2, CHANNELS)
    state = {f"{k}.weight": random.normal(0, 0.15, (*v, 3, 3)) for k, v in sizes.items()}
    state |= {f"{k}.bias": random.normal(0, 0.1, v[0]) for k, v in sizes.items()}
    for layer, sign in (("sub_mean", -1), ("add_mean", 1)) if mean else ():
        state[f"{layer}.weight"] = (np.eye(3) / deviation)[..., None, None]
        state[f"{layer}.bias"] = sign * image_range * np.asarray(mean) / deviation
    return {key: array.astype(np.float32) for key, array in state.items()}


def authors_output(state, lr, scale, image_range):
    """Returns the authors' network's picture of `lr` (h, w, 3)."""

    def conv(name, x):
        pad = [(state[f"{name}.weight"].shape[-1] // 2,) * 2] * 2
        axes = "NHWC", "OIHW", "NHWC"
        kernel = jnp.asarray(state[f"{name}.weight"])
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), pad, dimension_numbers=axes)
        return y + state[f"{name}.bias"]

    x = jnp.asarray(lr)[None] * image_range
    x = conv("sub_mean", x) if "sub_mean.weight" in state else x
    head = x = conv("head.0", x)
    for i in range(BLOCKS):
        x = x + conv(f"body.{i}.body.2", jax.nn.relu(conv(f"body.{i}.body.0", x)))
    x = head + conv(f"body.{BLOCKS}", x)
    for i, factor in enumerate(upscaling_steps(scale)):
        x = pixel_shuffle(conv(f"tail.0.{2 * i}", x), factor)
    x = conv("tail.1", x)
    x = conv("add_mean", x) if "add_mean.weight" in state else x
    return x[0] / image_range


MEANS = {
    "the authors'": ({"mean": DIV2K}, 255.0, DIV2K),
    "RGB in [0, 1]": ({"mean": DIV2K, "image_range": 1}, 1.0, DIV2K),
    "another": ({"mean": IMAGENET, "deviation": (0.229, 0.224, 0.225)}, 255.0, IMAGENET),
    "none": ({}, 1.0, NO_MEAN),
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", MEANS)
def test_authors_names_give_the_authors_output(tmp_path, scale, name):
    options, image_range, mean = MEANS[name]
    state = authors_state(scale, **options)
    save_file(state, tmp_path / "a.pt")
    model = imported.load(tmp_path / "a.pt")
    assert (model.name, model.scale, model.kwargs["image_range"]) == ("edsr", scale, image_range)
    assert model.kwargs.get("mean", DIV2K) == mean
    expected = authors_output(state, LR, scale, image_range)
    assert expected.std() > 0.01
    sr = model.module.apply({"params": model.params}, LR[None])[0][0]
    error = 1e-5 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(sr, expected, rtol=0, atol=error)
    foreign.save(tmp_path / "b", model)  # and back: under BasicSR's names, if they have the mean
    again = kdgan_jax.load(tmp_path / "b")
    sr = again.module.apply({"params": again.params}, LR[None])[0][0]
    np.testing.assert_allclose(sr, expected, rtol=0, atol=error)


@pytest.mark.parametrize(("ours", "guess"), [(True, "EDSR-PyTorch"), (False, "super-image")])
def test_a_mean_that_super_image_does_not_use_is_told_by_colours(tmp_path, ours, guess):
    # The network passes pictures on, but makes much of numbers beyond its own range.
    state = {key: np.zeros_like(array) for key, array in authors_state(2, DIV2K).items()}
    state |= {k: v for k, v in authors_state(2, DIV2K).items() if "_mean" in k}
    for i in range(3):
        state["head.0.weight"][i, i, 1, 1] = state["tail.1.weight"][i, i, 1, 1] = 1
        state["tail.0.0.weight"][4 * i : 4 * i + 4, i, 1, 1] = 1
        state[f"body.{BLOCKS}.weight"][i, i, 1, 1] = 1
        state["body.0.body.2.weight"][i, i, 1, 1] = 1
        state["body.0.body.0.weight"][i, i, 1, 1] = -1
    state["head.0.weight"] /= 2  # it is added to what the blocks make of it
    state["body.0.body.0.bias"] -= 200 if ours else 1
    if ours:
        state["tail.1.bias"] += 5  # of 255
    save_file(state, tmp_path / "a")
    model = imported.load(tmp_path / "a")
    assert model.about["guess"].startswith(guess)
    assert model.kwargs["image_range"] == (255.0 if ours else 1.0)


def test_layers_of_a_mean_that_are_not_whole_are_named(tmp_path):
    state = authors_state(2, DIV2K)
    del state["add_mean.bias"]
    save_file(state, tmp_path / "a")
    with pytest.raises(ValueError, match=r"edsr, but 3 of its .* \(add_mean\.weight, sub_mean"):
        imported.load(tmp_path / "a")

import pytest

from kdgan_jax.evaluation import naming


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["bicubic", "runs/kd", "w/imdn_x4.pth"], ["bicubic", "kd", "imdn_x4"]),
        (["runs/kd:control", "runs/kd:distill:raw"], ["kd:control", "kd:distill:raw"]),
        (["a/net.pth", "b/net.pth", "b/other.pt"], ["a/net", "b/net", "other"]),
        (["a/net.pth", "a/net.safetensors"], ["net.pth", "net.safetensors"]),
        (["x/big.v2.pth.tar:net_g", "kd", "runs/kd/"], ["big.v2:net_g", "kd", "runs/kd"]),
        (["runs/kd/checkpoints/distill/1500"], ["distill/1500"]),
        (["../..", ".pth", "same", "same"], ["../..", ".pth", "same", "same"]),
        (["a/b/c.pth", "x/b/c.pth", "b/c.pth"], ["a/b/c", "x/b/c", "b/c.pth"]),
    ],
)
def test_names_are_the_shortest_that_tell_models_apart(words, names):
    assert naming.short(words) == names


def test_names_that_are_taken_are_not_given_again():
    assert naming.short(["a/net.pth"], ["net"]) == ["net.pth"]


@pytest.mark.parametrize(
    "name", ["runs/kd:control", "..", ".hidden", 'a<b>"c|d?*\\', "x ", "a\x00b"]
)
def test_names_of_folders_have_no_sign_that_a_system_refuses(name):
    safe = naming.file_name(name)
    assert not set(safe) & set('<>:"/\\|?*\x00')
    assert safe[0] not in ". "
    assert safe[-1] not in ". "


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("clean_x4", ["clean_x4"]),
        ("student, after the adversarial phase", ["student, after the", "adversarial phase"]),
        ("runs/experiments_2026/student", ["runs/experiments_", "2026/student"]),
        ("x" * 45, ["x" * 20, "x" * 20, "x" * 5]),
    ],
)
def test_long_names_are_set_in_lines(name, lines):
    assert naming.wrapped(name, 20).splitlines() == lines

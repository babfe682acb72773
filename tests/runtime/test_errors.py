from kdgan_jax.runtime.errors import UserError


def test_an_error_is_one_line_whatever_names_a_file_brings_into_it():
    message = str(UserError("a.pth: holds 'x\ny\x1b[2J', not ä"))
    assert message == r"a.pth: holds 'x\ny\x1b[2J', not ä"

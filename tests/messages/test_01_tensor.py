"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

import pytest

MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "subtract swapped": ("b - a, the inputs the wrong way round", "elementwise", None, "return -(a - b)"),
    "divide rounds": ("a // b, which rounds", "elementwise", None, None, None, "return np.floor_divide(a, b)"),
    "in place": (
        "writes into a",
        "elementwise",
        None,
        None,
        """
        np.multiply(a, b, out=a)
        return a
        """,
    ),
    "fixed power": ("the power 2, whatever the exponent is", "functions", None, "return np.square(a)"),
    "base 2": ("2 ** a, not e ** a", "functions", None, None, "return np.exp2(a)"),
    "log of base 10": ("a logarithm of base 10", "functions", None, None, None, "return np.log10(a)"),
    "swapped product": ("b @ a, the inputs the wrong way round", "matmul", "return np.dot(b, a)"),
    "np.dot": (
        "np.dot, which pairs all with all",
        "matmul",
        """
        if a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
            raise ValueError(f'{a.shape} {b.shape}')
        return np.dot(a, b)
        """,
    ),
    "axis ignored": ("axis ignored", "reductions", "return np.sum(a)"),
    "not divided": ("expected 6, 1 and 8", "reductions", None, "return np.sum(a, axis=axis, keepdims=keepdims)"),
    "divided by all": (
        "a division by all 6",
        "reductions",
        None,
        "return np.sum(a, axis=axis, keepdims=keepdims) / a.size",
    ),
    "no keepdims": ("keepdims ignored", "reductions", None, None, "return np.amax(a, axis)"),
    "reshaped": (
        "a reshape: the numbers keep their order",
        "shapes",
        None,
        """
        axes = axes or range(a.ndim)[::-1]
        return np.reshape(a, [a.shape[i] for i in axes])
        """,
    ),
    "axes backwards": (
        "the order of axes read backwards",
        "shapes",
        None,
        "return np.transpose(a, axes if axes is None else np.argsort(axes))",
    ),
}


@pytest.fixture(scope="module")
def said(messages):
    return messages("01_tensor/tensor_dev.ipynb", {name: mistake[1:] for name, mistake in MISTAKES.items()})


@pytest.mark.parametrize("name", MISTAKES)
def test_message_names_the_mistake(said, name):
    assert MISTAKES[name][0] in said[name], said[name] or "no visible test noticed it"

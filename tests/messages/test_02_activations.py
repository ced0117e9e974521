"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

NOTEBOOK = "02_activations/activations_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "abs": ("the negative side is turned up", "relu", "return np.abs(x)"),
    "minimum": ("np.minimum", "relu", "return np.where(x < 0, x, 0)"),
    "one maximum": ("one maximum of the whole array", "relu", "return np.full(x.shape, max(x.max(), 0), x.dtype)"),
    "relu in place": (
        "relu changed its input",
        "relu",
        """
        x[x < 0] = 0
        return x
        """,
    ),
    "slope above 1": ("right for slopes up to 1 only", "leaky_relu", "return np.maximum(x, x * slope)"),
    "slope's side": ("the slope on the wrong side", "leaky_relu", "return np.where(x > 0, slope * x, x)"),
    "slope fixed": ("a slope that stays 0.01", "leaky_relu", "return np.where(x > 0, x, 0.01 * x)"),
    "overflow": ("no exp of a large positive number", "sigmoid", "return 1 / (1 + np.exp(-x))"),
    "sigmoid falls": ("the curve falls", "sigmoid", "return 1 / (1 + np.exp(x))"),
    "sigmoid of |x|": ("with |x|", "sigmoid", "return 1 / (1 + np.exp(-np.abs(x)))"),
    "x squared": (
        "x squared where x cubed belongs",
        "gelu",
        "return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x)))",
    ),
    "no root": ("2 / pi without its root", "gelu", "return x / 2 * (1 + np.tanh(2 / math.pi * (x + 0.044715 * x**3)))"),
    "no half": (
        "the factor 1/2 left out",
        "gelu",
        "return x + x * np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))",
    ),
    "softmax axis": (
        "the sum over the wrong axis",
        "softmax",
        """
        powers = np.exp(x - x.max())
        return powers / powers.sum(axis=0)
        """,
    ),
    "softmax of all": (
        "one sum over the whole array",
        "softmax",
        """
        powers = np.exp(x - x.max())
        return powers / powers.sum()
        """,
    ),
    "softmax overflows": (
        "no exp of a large positive number",
        "softmax",
        """
        powers = np.exp(x)
        return powers / powers.sum(axis=axis, keepdims=True)
        """,
    ),
    "no logarithm": (
        "softmax without the logarithm",
        "log_softmax",
        """
        powers = np.exp(x - x.max(axis, keepdims=True))
        return powers / powers.sum(axis, keepdims=True)
        """,
    ),
    "log of softmax": (
        "no logarithm of 0",
        "log_softmax",
        """
        powers = np.exp(x - x.max(axis, keepdims=True))
        return np.log(powers / powers.sum(axis, keepdims=True))
        """,
    ),
    "log_softmax sign": (
        "the sign turned",
        "log_softmax",
        """
        z = x - x.max(axis, keepdims=True)
        return np.log(np.exp(z).sum(axis, keepdims=True)) - z
        """,
    ),
    "both sides": (
        "np.where computes both of its sides",
        "sigmoid",
        """
        grown = np.exp(x)
        return np.where(x < 0, grown / (grown + 1), 1 / (1 + np.exp(-x)))
        """,
    ),
    "softmax without keepdims": (
        "by keepdims=True",
        "softmax",
        """
        powers = np.exp(x - np.amax(x, axis))
        return powers / np.sum(powers, axis)
        """,
    ),
    "log_softmax without keepdims": (
        "a sum without keepdims",
        "log_softmax",
        """
        z = x - np.amax(x, axis, keepdims=True)
        return z - np.log(np.sum(np.exp(z), axis))
        """,
    ),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"

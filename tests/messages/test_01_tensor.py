"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

NOTEBOOK = "01_tensor/tensor_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "all to floats": ("they stay integers, got float32", "as_array", "return np.array(data, dtype or np.float32)"),
    "float64 only": (
        "become float32 by default, got float16",
        "as_array",
        """
        made = np.array(data, dtype)
        if made.dtype == object or made.dtype.kind in "USc":
            raise TypeError("give me a number")
        return np.float32(made) if dtype is None and made.dtype == np.float64 else made
        """,
    ),
    "words let in": (
        "words are not numbers",
        "as_array",
        """
        made = np.array(data, dtype)
        return made if dtype or made.dtype.kind != "f" else made.astype("f4")
        """,
    ),
    "ragged, NumPy's words": (
        "rows of the same length were expected",
        "as_array",
        """
        made = np.array(data, dtype)
        if made.dtype.kind in "USOc":
            raise TypeError("not a number")
        return made if dtype or made.dtype.kind != "f" else made.astype("f4")
        """,
    ),
    "sub swapped": ("b - a, the inputs the wrong way round", "elementwise", None, "return -(a - b)"),
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
    "first axis of b": (
        "the last but one of b",
        "matmul",
        """
        if np.shape(a)[-1] != np.shape(b)[0]:
            raise ValueError(f"{a.shape} times {b.shape}")
        return np.einsum("...ik,...kj->...ij", a, b)
        """,
    ),
    "one shape named": (
        "name both shapes",
        "matmul",
        """
        if a.shape[-1:] != b.shape[-2:][:1]:
            raise ValueError(f"{b.shape} does not fit")
        return np.matmul(a, b)
        """,
    ),
    "axis ignored": ("axis ignored", "reductions", "return np.sum(a)"),
    "int lost": (
        "integers added up stay integers, got float32",
        "reductions",
        "return np.sum(a, axis=axis, keepdims=keepdims, dtype=np.float32)",
    ),
    "sum without keepdims": ("sum: keepdims keeps an axis", "reductions", "return np.sum(a, axis)"),
    "wrong axis": (
        "axis 1, along the rows",
        "reductions",
        "return np.sum(a, axis=-1 if axis == 0 else axis, keepdims=keepdims)",
    ),
    "not divided": ("a sum that is not divided", "reductions", None, "return np.sum(a, axis=axis, keepdims=keepdims)"),
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
    "dtype always": (
        "expected Tensor([1. 2.]), got Tensor([1. 2.], dtype=float32)",
        "inspect",
        """
        numbers = np.array2string(tensor.data, precision=4, threshold=20)
        return f"Tensor({numbers}, dtype={tensor.dtype})"
        """,
    ),
    "NumPy's item": ("name the shape that was given", "inspect", None, "return tensor.data.item()"),
    "detach is the tensor": ("detach forgets", "inspect", None, None, "return tensor"),
    "detach to float32": ("so pass the dtype on", "inspect", None, None, "return Tensor(tensor.data)"),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"

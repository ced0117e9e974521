"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

NOTEBOOK = "05_autograd/autograd_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "upstream ignored": (
        "upstream left out",
        "numeric_gradient",
        """
        x = np.array(arrays[which], dtype=float)
        result = np.zeros(x.shape)
        for at in np.ndindex(*x.shape):
            sides = [x.copy(), x.copy()]
            sides[0][at] += step
            sides[1][at] -= step
            low_high = [function(*arrays[:which], side, *arrays[which + 1 :]) for side in sides]
            result[at] = (low_high[0] - low_high[1]).sum() / step / 2
        return result
        """,
    ),
    "not divided by two": (
        "2 times what it should be",
        "numeric_gradient",
        """
        result = np.zeros(np.shape(arrays[which]))
        for at in np.ndindex(*result.shape):
            shift = np.zeros(result.shape)
            shift[at] = step
            up, down = (function(*arrays[:which], arrays[which] + s, *arrays[which + 1 :]) for s in (shift, -shift))
            result[at] = ((up - down) * upstream).sum() / step
        return result
        """,
    ),
    "only the added axes": (
        "stretched axes (length 1) left",
        "unbroadcast",
        """
        while gradient.ndim > len(shape):
            gradient = gradient.sum(0)
        return gradient
        """,
    ),
    "mean instead of sum": (
        "a mean instead of a sum",
        "unbroadcast",
        """
        while gradient.ndim > len(shape):
            gradient = gradient.mean(0)
        for axis in range(len(shape)):
            if shape[axis] == 1:
                gradient = gradient.mean(axis, keepdims=True)
        return gradient
        """,
    ),
    "wrong factor of a product": (
        "a in the place of b",
        "elementwise_rules",
        None,
        None,
        "return np.multiply(a, upstream)",
    ),
    "sign of the divisor's gradient": (
        "-1 times what it should be",
        "elementwise_rules",
        None,
        None,
        None,
        None,
        "return upstream * a / (b * b)",
    ),
    "half forgotten": ("2 times what it should be", "function_rules", None, None, "return upstream / np.sqrt(a)"),
    "exponent not lowered": (
        "not lowered by one",
        "function_rules",
        None,
        None,
        None,
        "return exponent * out * upstream",
    ),
    "no transpose": (
        "a factor that is not transposed",
        "matmul_rules",
        "result = unbroadcast(np.matmul(upstream, b), a.shape)",
    ),
    "wrong order": (
        "the factors in the wrong order",
        "matmul_rules",
        None,
        "result = unbroadcast(np.matmul(upstream, np.moveaxis(a, -1, -2)), b.shape)",
    ),
    "mean not divided": (
        "times what it should be",
        "reduction_rules",
        None,
        None,
        "return np.ones(a.shape) * expand(upstream, a.shape, axis, keepdims)",
    ),
    "transposed again": ("the same axes applied again", "shape_rules", None, "return np.transpose(upstream, axes)"),
    "assigned, not added": (
        "only the last gradient is kept",
        "shape_rules",
        None,
        None,
        """
        back = np.zeros(a.shape, upstream.dtype)
        back[where] = upstream
        return back
        """,
    ),
    "overwritten, not accumulated": (
        "overwritten: add to what already waits",
        "backward",
        """
        while waiting:
            number = min(waiting)
            tensor, arriving = waiting.pop(number)
            if tensor.grad_fn is None:
                leaves += [(tensor, arriving)]
            else:
                if tensor.grad_fn is RELEASED:
                    raise RuntimeError("already walked: retain_graph=True keeps it")
                operation, inputs, arrays, saved = tensor.grad_fn
                tensor.grad_fn = tensor.grad_fn if retain_graph else RELEASED
                for i in range(len(inputs)):
                    if isinstance(inputs[i], Tensor) and inputs[i].requires_grad:
                        share = apply_vjp(operation, i, arriving, saved, arrays)
                        waiting[inputs[i].sequence_nr] = inputs[i], share
        """,
    ),
    "softmax entry by entry": (
        "the entries of a row share their sum",
        "activation_rules",
        None,
        None,
        None,
        "return upstream * (out - out**2)",
    ),
    "weight's gradient transposed": (
        "the transpose: the weight is (out, in)",
        "linear_rules",
        None,
        "return x.reshape(-1, x.shape[-1]).T @ upstream.reshape(-1, upstream.shape[-1])",
    ),
    "not divided by the batch": (
        "4 times what it should be",
        "loss_rules",
        """
        targets = np.eye(logits.shape[1])[labels] * (1 - label_smoothing) + label_smoothing / logits.shape[1]
        return upstream * (probabilities - targets)
        """,
    ),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"

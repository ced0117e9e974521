"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

import pytest

MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "children first": (
        "children before own tensors",
        "named_tensors",
        """
        found = []
        for name, child in self.named_children():
            found += child.named_tensors(prefix + name + '.')
        return found + [(prefix + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]
        """,
    ),
    "no walk": (
        "no walk into the children",
        "named_tensors",
        "return [(prefix + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]",
    ),
    "path lost": (
        "names without their path",
        "named_tensors",
        """
        found = [(prefix + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]
        for _, child in self.named_children():
            found.extend(child.named_tensors(prefix))
        return found
        """,
    ),
    "prefix lost": (
        "a prefix that stops at the children",
        "named_tensors",
        """
        found = [(prefix + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]
        for name, child in self.named_children():
            found.extend(child.named_tensors(name + '.'))
        return found
        """,
    ),
    "no transpose": (
        "x @ weight, without .T",
        "linear",
        """
        out = np.matmul(x, weight)
        return out if bias is None else out + bias
        """,
    ),
    "no bias": ("the bias forgotten", "linear", "return np.matmul(x, weight.T)"),
    "bias subtracted": (
        "the bias subtracted",
        "linear",
        """
        out = np.matmul(x, weight.T)
        return out if bias is None else out - bias
        """,
    ),
    "variance": (
        "the variance where its root belongs",
        "linear_layer",
        """
        w = generator().standard_normal((out_features, in_features), dtype=np.float32) * (2 / in_features)
        self.weight = Tensor(w, requires_grad=True)
        self.bias = Tensor([0.0] * out_features, requires_grad=True) if bias else None
        """,
        None,
    ),
    "fan out": (
        "out_features where in_features belongs",
        "linear_layer",
        """
        w = generator().standard_normal((out_features, in_features), dtype=np.float32) * math.sqrt(2 / out_features)
        self.weight = Tensor(w, requires_grad=True)
        self.bias = Tensor([0.0] * out_features, requires_grad=True) if bias else None
        """,
        None,
    ),
    "reverse": (
        "the layers in reverse",
        "sequential",
        """
        for run in list(self.plan())[::-1]:
            x = run(x)
        return x
        """,
    ),
    "return in the loop": (
        "the last layer left out",
        "sequential",
        """
        for run in self.plan():
            return run(x)
        """,
    ),
    "first input": (
        "every layer called on the first input",
        "sequential",
        """
        out = x
        for run in self.plan():
            out = run(x)
        return out
        """,
    ),
    "batch joined": ("the batch joined too", "flatten", "return x.reshape(x.size)"),
    "p kept": (
        "p as the share that is kept",
        "dropout",
        """
        if not self.training:
            return x
        keep = generator().random(x.shape, dtype=np.float32) < self.p
        return x * Tensor(keep / self.p, dtype=x.dtype)
        """,
    ),
    "not enlarged": (
        "no enlarging",
        "dropout",
        """
        if not self.training:
            return x
        return x * Tensor(generator().random(x.shape, dtype=np.float32) >= self.p, dtype=x.dtype)
        """,
    ),
    "divided by p": (
        "a division by p",
        "dropout",
        """
        if not self.training:
            return x
        keep = generator().random(x.shape, dtype=np.float32) >= self.p
        return x * Tensor(keep / self.p, dtype=x.dtype)
        """,
    ),
}


@pytest.fixture(scope="module")
def said(messages):
    return messages("03_layers/layers_dev.ipynb", {name: mistake[1:] for name, mistake in MISTAKES.items()})


@pytest.mark.parametrize("name", MISTAKES)
def test_message_names_the_mistake(said, name):
    assert MISTAKES[name][0] in said[name], said[name] or "no visible test noticed it"

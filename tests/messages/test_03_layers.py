"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

NOTEBOOK = "03_layers/layers_dev.ipynb"
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
    "generator": (
        "got a generator",
        "named_tensors",
        """
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
        for name, child in self.named_children():
            yield from child.named_tensors(prefix + name + '.')
        """,
    ),
    "appended": (
        "by append where += belongs",
        "named_tensors",
        """
        found = [(prefix + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]
        for name, child in self.named_children():
            found.append(child.named_tensors(prefix + name + '.'))
        return found
        """,
    ),
    "dot in front": (
        "the dot before the own names",
        "named_tensors",
        """
        found = [(prefix + '.' + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]
        for name, child in self.named_children():
            found.extend(child.named_tensors(prefix + name))
        return found
        """,
    ),
    "prefix twice": (
        "the prefix twice",
        "named_tensors",
        """
        found = [(prefix + n, v) for n, v in vars(self).items() if isinstance(v, Tensor)]
        for name, child in self.named_children():
            found += [(prefix + n, v) for n, v in child.named_tensors(prefix + name + '.')]
        return found
        """,
    ),
    "tensors for arrays": (
        "an entry is an array, the copy of tensor.data, and no Tensor",
        "module_state",
        "return dict(self.named_tensors())",
    ),
    "own state only": (
        "this module's own tensors only",
        "module_state",
        "return {n: v.data.copy() for n, v in vars(self).items() if isinstance(v, Tensor)}",
    ),
    "looked up first": (
        "compare the names first",
        "module_state",
        None,
        """
        for name, tensor in self.named_tensors():
            if np.shape(state[name]) != tensor.shape:
                raise ValueError(f"{name}: {np.shape(state[name])} instead of {tensor.shape}")
            tensor.data = np.array(state[name], tensor.dtype)
        """,
    ),
    "by position": (
        "by name",
        "module_state",
        None,
        """
        for (_, tensor), array in zip(self.named_tensors(), state.values()):
            tensor.data = np.array(array, tensor.dtype)
        """,
    ),
    "changed too early": (
        "changed before the bias was checked",
        "module_state",
        None,
        """
        own = dict(self.named_tensors())
        if own.keys() ^ state.keys():
            raise ValueError(f"missing {own.keys() - state.keys()}, unexpected {state.keys() - own.keys()}")
        for name, tensor in own.items():
            if np.shape(state[name]) != tensor.shape:
                raise ValueError(f"{name}: {np.shape(state[name])} instead of {tensor.shape}")
            tensor.data = np.array(state[name], tensor.dtype)
        """,
    ),
    "not converted": (
        "values take the tensor's dtype",
        "module_state",
        None,
        """
        for name, tensor in self.named_tensors():
            tensor.data = np.array(state[name])
        """,
    ),
    "samples in columns": ("a column for each sample", "linear", "return np.matmul(weight, x.T)"),
    "entry by entry": ("where @ belongs", "linear", "return x * weight"),
    "printed": (
        "print shows it and returns None",
        "wrong_features",
        """
        print(f"expects {features} features in the last axis, got {shape[-1]} in an input of shape {shape}; Flatten()")
        """,
    ),
    "raised": (
        "it is linear that raises it",
        "wrong_features",
        "raise ValueError(f'expects {features} features in the last axis, got {shape[-1]} in {shape}: Flatten()')",
    ),
    "not trained": (
        "so requires_grad=True",
        "linear_layer",
        """
        w = generator().standard_normal((out_features, in_features), dtype=np.float32) * math.sqrt(2 / in_features)
        self.weight, self.bias = Tensor(w), Tensor([0.0] * out_features) if bias else None
        """,
        None,
    ),
    "no seed": (
        "draw from generator()",
        "linear_layer",
        """
        w = np.random.normal(0, math.sqrt(2 / in_features), (out_features, in_features))
        self.weight = Tensor(w, np.float32, requires_grad=True)
        self.bias = Tensor([0.0] * out_features, requires_grad=True) if bias else None
        """,
        None,
    ),
    "always a bias": (
        "bias=False: the attribute is None",
        "linear_layer",
        """
        w = generator().standard_normal((out_features, in_features), dtype=np.float32) * math.sqrt(2 / in_features)
        self.weight, self.bias = (Tensor(a, requires_grad=True) for a in (w, [0.0] * out_features))
        """,
        None,
    ),
    "layer without its bias": (
        "the bias not handed on to linear",
        "linear_layer",
        None,
        "return linear(x, self.weight)",
    ),
    "thrown away": (
        "the results not put back into x",
        "sequential",
        """
        for run in self.plan():
            run(x)
        return x
        """,
    ),
    "start_dim ignored": ("start_dim ignored", "flatten", "return x.reshape(len(x.data), math.prod(x.shape[1:]))"),
    "minus one": ("an empty batch must work", "flatten", "return x.reshape(*x.shape[:self.start_dim], -1)"),
    "whole columns": (
        "one draw for a whole column",
        "dropout",
        """
        if not self.training:
            return x
        return x * Tensor((generator().random(x.shape[1]) >= self.p) / (1 - self.p), dtype=x.dtype)
        """,
    ),
    "one draw": (
        "one draw for all entries",
        "dropout",
        """
        if not self.training:
            return x
        return x * ((generator().random() >= self.p) / (1 - self.p))
        """,
    ),
    "dropout without the seed": (
        "draw from generator()",
        "dropout",
        """
        if not self.training:
            return x
        return x * Tensor((np.random.random(x.shape) >= self.p) / (1 - self.p), dtype=x.dtype)
        """,
    ),
    "always dropping": (
        "when training is False",
        "dropout",
        "return x * Tensor((generator().random(x.shape) >= self.p) / (1 - self.p), dtype=x.dtype)",
    ),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"

"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

NOTEBOOK = "04_losses/losses_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "sum": (
        "a sum where the mean belongs",
        "mse_loss",
        """
        target = np.asarray(target, prediction.dtype)
        return np.square(prediction - target).sum()
        """,
    ),
    "root": (
        "a root over it (RMSE)",
        "mse_loss",
        """
        target = np.asarray(target, prediction.dtype)
        return np.sqrt(np.square(prediction - target).mean())
        """,
    ),
    "absolute": (
        "absolute differences, not squared",
        "mse_loss",
        """
        target = np.asarray(target, prediction.dtype)
        return np.abs(prediction - target).mean()
        """,
    ),
    "cross sum": (
        "a sum over the batch where the mean belongs",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        return -picked.sum(), np.exp(z)
        """,
    ),
    "mean over classes": (
        "a mean over batch and classes",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        return -picked.sum() / z.size, np.exp(z)
        """,
    ),
    "cross sign": (
        "the sign turned",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        return picked.mean(), np.exp(z)
        """,
    ),
    "cross axis": (
        "softmax over the wrong axis",
        "cross_entropy",
        """
        z = logits - logits.max(0)
        z = z - np.log(np.exp(z).sum(0))
        return -z[range(len(z)), labels].mean(), np.exp(z)
        """,
    ),
    "all labels": (
        "picks every label from every row",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        return -z[:, labels].mean(), np.exp(z)
        """,
    ),
    "not smoothed": (
        "the smoothing ignored",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        return -picked.mean(), np.exp(z)
        """,
    ),
    "others only": (
        "s spread over the wrong classes only",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        s, C = label_smoothing, z.shape[1]
        rest = (z.sum(1) - picked) / (C - 1)
        return -((1 - s) * picked + s * rest).mean(), np.exp(z)
        """,
    ),
    "exchanged": (
        "s and 1 - s exchanged",
        "cross_entropy",
        """
        z = logits - logits.max(1, keepdims=True)
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        picked = z[range(len(z)), labels]
        s = label_smoothing and 1 - label_smoothing
        return -((1 - s) * picked + s * z.mean(1)).mean(), np.exp(z)
        """,
    ),
    "bce sum": (
        "a sum where the mean belongs",
        "bce",
        """
        assert logits.shape == target.shape
        return (np.logaddexp(0, logits) - logits * target).sum()
        """,
    ),
    "bce sign": (
        "yes and no exchanged",
        "bce",
        """
        assert logits.shape == target.shape
        return (np.logaddexp(0, -logits) + logits * target).mean()
        """,
    ),
    "no term for no": (
        "the term for no left out",
        "bce",
        """
        assert logits.shape == target.shape
        return (np.logaddexp(0, -logits) * target).mean()
        """,
    ),
    "mistakes": ("the share of mistakes", "accuracy", "return float(np.mean(np.argmax(logits, 1) != labels))"),
    "count": ("a count, not a share", "accuracy", "return float(np.sum(np.argmax(logits, 1) == labels))"),
    "rows": (
        "is there an axis in the mean",
        "mse_loss",
        """
        assert prediction.shape == target.shape
        return np.mean((prediction - target) ** 2, axis=-1)
        """,
    ),
    "divided by the batch": (
        "a mean over the rows only",
        "mse_loss",
        "return np.sum((prediction - np.asarray(target, prediction.dtype)) ** 2) / len(prediction)",
    ),
    "broadcast": ("were broadcast to (3, 3)", "mse_loss", "return np.mean(np.square(prediction - target))"),
    "no mending": (
        "say how to mend it, by reshape",
        "mse_loss",
        """
        if np.shape(prediction) != np.shape(target):
            raise ValueError(f"{np.shape(prediction)} is not {np.shape(target)}")
        return np.mean(np.square(prediction - target))
        """,
    ),
    "one class too many": (
        "expected a ValueError for labels [0, 4, 1]",
        "check_labels",
        """
        if labels.shape != (samples,):
            raise ValueError(f"labels must be ({samples},), got {labels.shape}")
        if labels.min() < 0 or labels.max() > classes:
            raise ValueError(f"labels must be 0 to {classes - 1}")
        return labels
        """,
    ),
    "below zero": (
        "expected a ValueError for labels [0, -1, 1]",
        "check_labels",
        """
        if labels.shape != (samples,):
            raise ValueError(f"labels must be ({samples},), got {labels.shape}")
        if labels.max() >= classes:
            raise ValueError(f"labels must be 0 to {classes - 1}, got {labels.max()}")
        return labels
        """,
    ),
    "dtype first": (
        "in the order shape, dtype, range: a ValueError is due, got TypeError",
        "check_labels",
        """
        if labels.dtype.kind not in "iu":
            raise TypeError(f'got {labels.dtype}: use labels.astype("int64")')
        if labels.shape == logits.shape:
            raise ValueError(f"got {labels.shape}: for one-hot rows use labels.argmax(axis=1)")
        for label in labels:
            if not 0 <= label < classes:
                raise ValueError(f"labels must be 0 to {classes - 1}, got {label}")
        return labels
        """,
    ),
    "one error for all": (
        "a TypeError is due, got ValueError",
        "check_labels",
        """
        if labels.shape != (samples,) or labels.dtype.kind not in "iu" or not set(labels) <= set(range(classes)):
            raise ValueError(f"labels must be 0 to {classes - 1}, got {labels}")
        return labels
        """,
    ),
    "column": (
        "expected a ValueError for labels [[0], [1], [2]] (3, 1)",
        "check_labels",
        """
        if labels.shape == logits.shape:
            raise ValueError(f"got {labels.shape}: for one-hot rows use labels.argmax(axis=1)")
        if len(labels) != samples:
            raise ValueError(f"labels must be ({samples},), got {labels.shape}")
        if labels.dtype.kind not in "iu":
            raise TypeError(f'got {labels.dtype}: use labels.astype("int64")')
        wrong = [label for label in labels.ravel() if not 0 <= label < classes]
        if wrong:
            raise ValueError(f"labels must be 0 to {classes - 1}, got {wrong[0]}")
        return labels
        """,
    ),
    "not shifted": (
        "subtract each row's own maximum",
        "cross_entropy",
        """
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return -np.log(shares[np.arange(len(labels)), labels]).mean(), shares
        """,
    ),
    "one maximum for all": (
        "subtract each row's own maximum",
        "cross_entropy",
        """
        powers = np.exp(logits - logits.max())
        shares = powers / powers.sum(axis=1, keepdims=True)
        return -np.log(shares[np.arange(len(labels)), labels]).mean(), shares
        """,
    ),
    "share without logarithm": (
        "no logarithm",
        "cross_entropy",
        """
        powers = np.exp(logits - logits.max(1)[:, None])
        shares = powers / powers.sum(axis=1, keepdims=True)
        return -np.take_along_axis(shares, labels[:, None], 1).mean(), shares
        """,
    ),
    "loss alone": (
        "return two things, the loss and the shares",
        "cross_entropy",
        """
        z = logits - logits.max(1)[:, None]
        return (np.log(np.exp(z).sum(1)) - np.take_along_axis(z, labels[:, None], 1)[:, 0]).mean()
        """,
    ),
    "exponentials kept": (
        "the exponentials, not divided by their sum",
        "cross_entropy",
        """
        top = logits.max(1)[:, None]
        z = logits - top
        return (np.log(np.exp(z).sum(1)) - z[range(len(z)), labels]).mean(), np.exp(z) * np.exp(np.minimum(top, 9))
        """,
    ),
    "logarithms kept": (
        "the logarithms of the shares",
        "cross_entropy",
        """
        z = logits - logits.max(1)[:, None]
        z = z - np.log(np.exp(z).sum(1))[:, None]
        return -z[range(len(z)), labels].mean(), z
        """,
    ),
    "sum over the classes": (
        "a sum over the classes where their mean belongs",
        "cross_entropy",
        """
        z = logits - logits.max(1)[:, None]
        z = z - np.log(np.exp(z).sum(1))[:, None]
        s = label_smoothing
        return -((1 - s) * z[range(len(z)), labels] + s * z.sum(1)).mean(), np.exp(z)
        """,
    ),
    "bce as it is defined": (
        "take the formula in the text",
        "bce",
        """
        assert logits.shape == target.shape
        yes = 1 / (1 + np.exp(-logits))
        return -np.mean(target * np.log(yes) + (1 - target) * np.log(1 - yes))
        """,
    ),
    "minus forgotten": (
        "exp(+|z|)",
        "bce",
        "return np.mean(np.maximum(logits, 0) - logits * target + np.log1p(np.exp(np.abs(logits))))",
    ),
    "z t added": (
        "+ z t",
        "bce",
        "return np.mean(np.maximum(logits, 0) + logits * target + np.log1p(np.exp(-np.abs(logits))))",
    ),
    "bce broadcast": (
        "were broadcast to (3, 3)",
        "bce",
        "return np.mean(np.logaddexp(0, logits) - logits * target)",
    ),
    "over the samples": (
        "argmax over the samples",
        "accuracy",
        "return float(np.mean(np.argmax(logits, axis=0) == labels))",
    ),
    "one answer": ("argmax without an axis", "accuracy", "return float(np.mean(np.argmax(logits) == labels))"),
    "NumPy's number": ("a Python float, got float64", "accuracy", "return np.mean(logits.argmax(1) == labels)"),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"

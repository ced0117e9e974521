"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

import pytest

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
}


@pytest.fixture(scope="module")
def said(messages):
    return messages("04_losses/losses_dev.ipynb", {name: mistake[1:] for name, mistake in MISTAKES.items()})


@pytest.mark.parametrize("name", MISTAKES)
def test_message_names_the_mistake(said, name):
    assert MISTAKES[name][0] in said[name], said[name] or "no visible test noticed it"

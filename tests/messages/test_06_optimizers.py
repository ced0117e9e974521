"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

ADAM = """
b1, b2, t = self.beta1, self.beta2, state["step"]
state["exp_avg"][...] = b1 * state["exp_avg"] + (1 - b1) * grad
state["exp_avg_sq"][...] = b2 * state["exp_avg_sq"] + (1 - b2) * np.square(grad)
w[...] = w - self.lr * MEAN / (ROOT + self.eps)
"""
MEAN, ROOT = 'state["exp_avg"] / (1 - b1**t)', 'np.sqrt(state["exp_avg_sq"] / (1 - b2**t))'


def adam(mean=MEAN, root=ROOT):
    return ADAM.replace("MEAN", f"({mean})").replace("ROOT", root)


def clip(length="np.sqrt(sum((g**2).sum() for g in grads))", scale="g[...] = g * factor", answer="length"):
    loop = f"factor = min(1, max_norm / (length + 1e-6))\nfor g in grads:\n    {scale}\nreturn float({answer})"
    return f"length = {length}\n{loop}"


NOTEBOOK = "06_optimizers/optimizers_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its regions in order; None: the reference's)
    "not in place": ("the weights did not move", "sgd", "w = w - self.lr * grad"),
    "uphill": ("a step uphill", "sgd", "np.add(w, self.lr * (grad + self.weight_decay * w), out=w)"),
    "decay sign": ("wrong sign: it lets weights grow", "sgd", "w[...] = w - self.lr * (grad - self.weight_decay * w)"),
    "decay not scaled": (
        "a decay that lr does not scale",
        "sgd",
        "w[...] = w - self.lr * grad - self.weight_decay * w",
    ),
    "no velocity": ("forgotten between steps", "momentum", "velocity = momentum * velocity + grad\nreturn velocity"),
    "velocity sign": (
        "a velocity with the wrong sign",
        "momentum",
        "velocity[...] = momentum * velocity - grad\nreturn velocity",
    ),
    "mean of gradients": (
        "a mean and not a sum",
        "momentum",
        "np.copyto(velocity, momentum * velocity + (1 - momentum) * grad)\nreturn velocity",
    ),
    "Nesterov's old velocity": (
        "the old velocity",
        "momentum",
        """
        before = np.array(velocity)
        velocity[...] = momentum * before + grad
        if nesterov:
            return grad + momentum * before
        return velocity
        """,
    ),
    "no correction": ("the bias not corrected", "adam", adam('state["exp_avg"]', 'np.sqrt(state["exp_avg_sq"])')),
    "one correction": ("the mean's bias not corrected", "adam", adam(mean='state["exp_avg"]')),
    "step off by one": ("the step counted from 2", "adam", adam().replace("**t", "**(t + 1)")),
    "no root": ("the root left out", "adam", adam(root='state["exp_avg_sq"] / (1 - b2**t)')),
    "decay in the gradient": (
        "decay added to the gradient",
        "adamw",
        "self.adam_step(w, grad + w * self.weight_decay, state)",
    ),
    "decay without lr": (
        "decay that lr does not scale",
        "adamw",
        "w -= self.weight_decay * w\nself.adam_step(w, grad, state)",
    ),
    "clipped by value": (
        "every entry cut off by itself",
        "clip_grad_norm",
        clip(scale="np.clip(g, -max_norm, max_norm, out=g)"),
    ),
    "each by its own length": (
        "each gradient scaled by its own length",
        "clip_grad_norm",
        clip(scale="g /= max(1, np.linalg.norm(g) / max_norm)"),
    ),
    "lengths added up": ("the sum of the lengths", "clip_grad_norm", clip("sum(np.linalg.norm(g) for g in grads)")),
    "length after": ("the length after clipping", "clip_grad_norm", clip(answer="min(length, max_norm)")),
    "a straight line": ("a straight line", "anneal", "return start * (1 - share) + end * share"),
    "ends exchanged": (
        "start and end exchanged",
        "anneal",
        "return start + (end - start) * (np.cos(np.pi * share) + 1) / 2",
    ),
    "step size ignored": ("step_size forgotten", "anneal", None, "return self.base_lr * self.gamma ** float(n)"),
    "falls from step 0": (
        "counts from step 0",
        "one_cycle",
        """
        rising = n <= self.up
        ends = (self.first, self.max_lr) if rising else (self.max_lr, self.last)
        return anneal(*ends, n / (self.up if rising else self.end))
        """,
    ),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"

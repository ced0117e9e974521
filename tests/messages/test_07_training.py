"""What the graded cells say to the usual mistakes, in solutions written differently from the reference."""

STEP = """
predicted = model(x)
cost = loss(predicted, y)
number = float(cost.data)
checked_loss(number, optimizer.lr)
optimizer.zero_grad()
cost.backward()
if clip_norm:
    clip_grad_norm(model.parameters(), clip_norm)
optimizer.step()
return number
"""


def swap(code, *changes):
    """The code with each (old, new) put in."""
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    return code


EVALUATE = """
was = model.training
model.train(False)
rows, totals = 0, {name: 0.0 for name in functions}
with no_grad():
    for inputs, targets in loader:
        outputs = model(inputs)
        n = outputs.shape[0]
        rows += n
        for name in functions:
            totals[name] = totals[name] + n * float(functions[name](outputs, targets))
model.train(was)
return {name: totals[name] / rows for name in totals}
"""

EPOCH = """
model.train(True)
losses, sizes = [], []
for inputs, targets in loader:
    losses.append(training_step(model, optimizer, loss, inputs, targets, clip_norm=clip_norm))
    sizes.append(inputs.shape[0])
    scheduler and scheduler.step()
    watch and watch(losses[-1], sizes[-1])
return sum(a * n for a, n in zip(losses, sizes)) / sum(sizes)
"""
SNAPSHOT = """
found = {}
for name in parts:
    if parts[name] is not None:
        for key in parts[name].state_dict():
            found[name + "." + key] = parts[name].state_dict()[key]
found["random"] = generator().bit_generator.state
return found
"""
RESTORE = """
for name, part in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler)):
    if part is not None:
        part.load_state_dict(part_of(state, name))
generator().bit_generator.state = state["random"]
"""

CLIP = "if clip_norm:\n    clip_grad_norm(model.parameters(), clip_norm)\n"
TELL = "    scheduler and scheduler.step()\n"
NOTEBOOK = "07_training/training_dev.ipynb"
MISTAKES = {  # name: (what the message must say, solution cell, code for its region)
    "zero_grad forgotten": ("zero_grad comes first", "training_step", swap(STEP, ("optimizer.zero_grad()\n", ""))),
    "zeroed too late": (
        "the gradients are forgotten before it",
        "training_step",
        swap(STEP, ("cost.backward()\n", "cost.backward()\noptimizer.zero_grad()\n")),
    ),
    "loss after the step": (
        "the loss after the step",
        "training_step",
        swap(STEP, ("return number", "return float(loss(model(x), y).data)")),
    ),
    "clipped too early": (
        "clipping left out, or too early",
        "training_step",
        swap(STEP, (CLIP, ""), ("cost.backward()\n", CLIP + "cost.backward()\n")),
    ),
    "mean of means": ("a mean of the batches' means", "evaluate", swap(EVALUATE, ("n = outputs.shape[0]", "n = 1"))),
    "not divided": ("not divided by the number of samples", "evaluate", swap(EVALUATE, (" / rows", ""))),
    "divided by batches": ("a mean over batches", "evaluate", swap(EVALUATE, ("rows += n", "rows += 1"))),
    "eval forgotten": ("dropout is on", "evaluate", swap(EVALUATE, ("model.train(False)\n", ""))),
    "no_grad forgotten": ("inside no_grad()", "evaluate", swap(EVALUATE, ("with no_grad():", "if True:"))),
    "mode not given back": ("and must be again", "evaluate", swap(EVALUATE, ("model.train(was)\n", ""))),
    "train mode forgotten": ("must switch to training mode", "train_epoch", swap(EPOCH, ("model.train(True)\n", ""))),
    "schedule first": (
        "steps before the training step",
        "train_epoch",
        swap(EPOCH, (TELL, ""), ("    losses.append", TELL + "    losses.append")),
    ),
    "schedule forgotten": ("a schedule that never steps", "train_epoch", swap(EPOCH, (TELL, ""))),
    "epoch's mean of means": (
        "a mean of the batches' means",
        "train_epoch",
        swap(EPOCH, ("sum(a * n for a, n in zip(losses, sizes)) / sum(sizes)", "sum(losses) / len(losses)")),
    ),
    "best counted": (
        "the best itself counted",
        "epochs_without_improvement",
        "at = int(np.argmin(losses))\nreturn 0 if at == len(losses) - 1 else len(losses) - at",
    ),
    "place of the best": (
        "the place of the best",
        "epochs_without_improvement",
        "at = int(np.argmin(losses))\nreturn 0 if at == len(losses) - 1 else at",
    ),
    "one before": (
        "compared with the one before",
        "epochs_without_improvement",
        """
        count = 0
        for before, now in zip(losses, losses[1:]):
            count = 0 if now < before else count + 1
        return count
        """,
    ),
    "no prefix": ("without its part's name", "snapshot", swap(SNAPSHOT, ('name + "." + key', "key"))),
    "generator forgotten": (
        "dropout draws from is missing",
        "snapshot",
        swap(SNAPSHOT, ('found["random"] = generator().bit_generator.state\n', "")),
    ),
    "not copies": (
        "it must hold copies",
        "snapshot",
        swap(
            SNAPSHOT,
            ("return found", "k = 'momentum_buffer'\nfound[f'optimizer.0.{k}'] = optimizer.state[0][k]\nreturn found"),
        ),
    ),
    "generator not set": (
        "did not bring back 'random'",
        "restore",
        swap(RESTORE, ('generator().bit_generator.state = state["random"]\n', "")),
    ),
    "optimizer not set": (
        "did not bring back 'optimizer.",
        "restore",
        swap(RESTORE, ('("optimizer", optimizer), ', "")),
    ),
    "schedule not set": (
        "did not bring back 'scheduler.",
        "restore",
        swap(RESTORE, (', ("scheduler", scheduler)', "")),
    ),
}


def test_message_names_the_mistake(said, mistake):
    assert MISTAKES[mistake][0] in said[mistake], said[mistake] or "no visible test noticed it"


def test_the_solutions_without_a_mistake_pass(messages):
    cells = ("training_step", "evaluate", "train_epoch", "snapshot", "restore")
    right = dict(zip(cells, (STEP, EVALUATE, EPOCH, SNAPSHOT, RESTORE), strict=True))
    said = messages(NOTEBOOK, {cell: (cell, code) for cell, code in right.items()})
    assert said == dict.fromkeys(right, "")

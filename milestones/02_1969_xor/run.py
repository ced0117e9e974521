"""1969: XOR. One line cannot part four points; a hidden layer bends the plane so that one can."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from stage import Clock, Stage, median, percent
from train import HIDDEN, LABELS, NETWORKS, POINTS, train

from tinytorch import Tensor, manual_seed, no_grad

CEILING = 0.75


def score(model, points):
    with no_grad():
        return model(Tensor(points)).numpy()[:, 0]


def best_of_many_lines(count=20_000):
    """The share of the four points that the best of many random lines gets right."""
    generator = np.random.default_rng(0)
    lines, offsets = generator.normal(size=(count, 2)), generator.normal(size=(count, 1))
    right = ((lines @ POINTS.T + offsets) > 0) == LABELS
    return float(right.mean(axis=1).max())


def one_run(stage, seed):
    settings = {"seed": seed, "epochs": stage.epochs}
    if kept := stage.finished(f"seed-{seed}", **settings):
        return kept
    clock, record = Clock(), dict(settings)
    for name, make in NETWORKS.items():
        manual_seed(seed)
        model = make()
        before = {key: array.copy() for key, array in model.state_dict().items()}
        history = train(model, stage.epochs)
        after = model.state_dict()
        moved = {key: float(np.abs(after[key] - before[key]).max()) for key in before}
        logits = score(model, POINTS)
        record[name] = {
            "parameters": model.parameter_count(),
            "history": history,
            "moved": moved,
            "weights": after,
            "accuracy": float(np.mean((logits > 0) == LABELS)),
            "best": max(row["train_accuracy"] for row in history),
            "probabilities": 1 / (1 + np.exp(-logits)),
        }
    stage.save(f"seed-{seed}", {**record, **clock.read()})
    return stage.load(f"seed-{seed}")


def experiment(stage):
    for seed in stage.seeds:
        stage.screen.live(f"seed {seed}: {stage.epochs} epochs, one layer and two")
        run = one_run(stage, seed)
        one, two = run["one layer"], run["two layers"]
        stage.say(
            f"seed {seed}: one layer {percent(one['accuracy'])} (loss {one['history'][-1]['train_loss']:.3f}), "
            f"two layers {percent(two['accuracy'])} (loss {two['history'][-1]['train_loss']:.3f})"
        )


def diagnosis(stage, runs):
    stage.say(
        f"One line: the best of 20,000 random ones gets {percent(best_of_many_lines())} of XOR right. Three of "
        "four is the most that any line can do, so the fault is not in the training."
    )
    stage.screen.write()
    run = runs[0]
    rows = [
        [f"{int(a)} xor {int(b)}", int(label), *(f"{run[name]['probabilities'][at]:.3f}" for name in NETWORKS)]
        for at, ((a, b), label) in enumerate(zip(POINTS, LABELS, strict=True))
    ]
    stage.table(["input", "right", "one layer says", "two layers say"], rows)
    stage.screen.write()
    stage.table(
        ["network", "parameters", "median accuracy", "best epoch of all runs"],
        [
            [
                name,
                run[name]["parameters"],
                percent(median([r[name]["accuracy"] for r in runs])),
                percent(max(r[name]["best"] for r in runs)),
            ]
            for name in NETWORKS
        ],
    )


def revived(run, name):
    model = NETWORKS[name]()
    model.load_state_dict({key: np.array(value, np.float32) for key, value in run[name]["weights"].items()})
    return model


def draw(runs):
    from tinytorch import viz

    run = runs[0]
    models = {name: revived(run, name) for name in NETWORKS}

    def plane(name):
        title = f"{name.capitalize()}: {percent(run[name]['accuracy'])}"
        return lambda part: viz.regions(lambda p: score(models[name], p), POINTS, LABELS, title, figure=part)

    def losses(part):
        axes = part.subplots()
        for name, color in zip(NETWORKS, (viz.BLUE, viz.RED), strict=True):
            for at, one in enumerate(runs):
                rows = one[name]["history"]
                axes.plot(
                    [row["epoch"] for row in rows],
                    [row["train_loss"] for row in rows],
                    color=color,
                    alpha=0.6,
                    lw=1.2,
                    ls="--" if name == "one layer" else "-",
                    label=None if at else name,
                )
        axes.set(title=f"Loss, {len(runs)} runs", xlabel="epoch", yscale="log")
        axes.legend()

    return viz.page(
        "1969: XOR",
        [[plane("one layer"), plane("two layers"), (losses, 1.2)]],
        heights=[3.4],
        width=11,
        note=f"seed {run['seed']}; circles are 0, squares are 1; tinted ground: what the network says there",
    )


def play(stage):
    stage.act("Challenge")
    stage.say(
        "In 1969 Marvin Minsky and Seymour Papert publish 'Perceptrons', a careful book on what one layer of "
        "units cannot compute. The smallest case: exclusive or. True when the inputs differ, false when they "
        "agree. Money and interest leave neural networks for years."
    )
    stage.act("Setup")
    stage.say(
        f"Four points, all of them in every step, {stage.epochs} steps of SGD (rate 0.3, momentum 0.9) on binary "
        f"cross-entropy. Two networks: Linear(2, 1), and Linear(2, {HIDDEN}) with tanh before Linear({HIDDEN}, 1). "
        "The gradients of the hidden layer are the work of backpropagation."
    )
    stage.act("Experiment")
    experiment(stage)
    runs = stage.kept()
    stage.act("Diagnosis")
    diagnosis(stage, runs)
    page = stage.draw("page.png", lambda: draw(runs))
    stage.act("Reflection")
    stage.say(
        "The hidden units draw lines of their own and hand over which side a point fell on. In that new space one "
        "line is enough. The book had said as much of deeper networks; what was missing was a way to train the "
        "layer in the middle. Milestone 03 has it."
    )
    one = max(run["one layer"]["best"] for run in runs)
    two = median([run["two layers"]["accuracy"] for run in runs])
    stage.require(f"one layer never does better than {percent(CEILING)}: its best was {percent(one)}", one <= CEILING)
    stage.require(f"two layers, median of {len(runs)} runs: {percent(two)} (needed 100.0 %)", two == 1.0)
    moved = all(value > 0 for run in runs for value in run["two layers"]["moved"].values())
    stage.require("every parameter tensor of the two layers has moved", moved)
    return stage.verdict(stage.why_not(), page)


if __name__ == "__main__":
    Stage(__file__, "Milestone 02, 1969: XOR", epochs=300).run(play)

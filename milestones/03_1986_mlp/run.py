"""1986: backpropagation. A hidden layer that learns, against the same layer left as it was drawn."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from fitting import (
    Task,
    accuracies,
    all_learned,
    comparison,
    digits_data,
    experiment,
    parameter_table,
    show_samples,
    slopes_agree,
)
from stage import Stage, count, percent
from train import CLASSES, HIDDEN, mlp, recipe

NEEDED = 0.94


def frozen():
    """The same network, its hidden layer left at random: only the last layer has parameters to learn."""
    model = mlp()
    model[1].weight, model[1].bias = model[1].weight.detach(), model[1].bias.detach()
    return model


TASK = Task(
    "digits",
    digits_data,
    {"learned": mlp, "frozen": frozen},
    lambda label, model, epochs, steps: (recipe(model), None),
    epochs=30,
    needed=NEEDED,
)


def draw(kept):
    from tinytorch import viz

    learned, first = kept["learned"], kept["learned"][0]
    data = TASK.data(first["seed"])
    units = [np.array(first["filters"][when])[:16] for when in ("before", "after")]
    mistakes = first["mistakes"]
    rows = [
        [lambda part: viz.curves({label: [r["history"] for r in runs] for label, runs in kept.items()}, NEEDED, part)],
        [
            (lambda part: viz.filters(*units, what="Hidden units", figure=part), 1.25),
            (
                lambda part: viz.confusion(
                    sum(np.array(r["confusion"]) for r in learned),
                    data.names,
                    f"Confusion matrix, {len(learned)} runs together",
                    part,
                ),
                1,
            ),
        ],
    ]
    if mistakes:
        titles = [f"{m['label']} as {m['prediction']}\n{100 * m['confidence']:.0f} %" for m in mistakes]
        pictures = [data.images[m["index"]] for m in mistakes]
        rows.append(
            [
                lambda part: viz.images(
                    pictures, titles, heading=f"The surest mistakes, seed {first['seed']}", figure=part
                )
            ]
        )
    return viz.page(
        "1986: backpropagation reads digits",
        rows,
        heights=[3.1, 4.0, 1.6][: len(rows)],
        note=f"64 to {HIDDEN} to {CLASSES} units; 'frozen': hidden layer left at random; "
        f"1,437 digits to learn from, 360 to be tested on, split by the seed",
    )


def play(stage):
    stage.act("Challenge")
    stage.say(
        "In 1986 David Rumelhart, Geoffrey Hinton and Ronald Williams show in Nature what the missing piece does: "
        "send the error backwards through the network, and every unit in the middle learns what to stand for. "
        "Can a hidden layer learn to read handwriting?"
    )
    stage.act("Setup")
    stage.say(
        f"1,797 digits of 8x8 pixels, written by hand: 1,437 to learn from, 360 to be tested on, a new stratified "
        f"split for each seed. Linear(64, {HIDDEN}), ReLU, Linear({HIDDEN}, {CLASSES}); cross-entropy; SGD with rate "
        f"0.1 and momentum 0.9; batches of 32; {count(stage.epochs, 'epoch')}. Beside it the same network with its "
        "hidden layer 'frozen' at random: only the last layer learns, as before 1986. Guessing would give 10 %."
    )
    stage.act("Experiment")
    kept = experiment(stage, TASK)
    stage.act("Diagnosis")
    comparison(stage, kept)
    stage.screen.write()
    stage.say(
        "Every parameter tensor of the learned network, the worst of all runs: its largest gradient, how far its "
        "entries moved at most, and how well its gradient agrees with finite differences."
    )
    parameter_table(stage, kept["learned"])
    stage.screen.write()
    show_samples(stage, TASK.data(stage.seeds[0]), kept["learned"][0]["samples"])
    page = stage.draw("page.png", lambda: draw(kept))
    stage.act("Reflection")
    gain = np.median(accuracies(kept["learned"])) - np.median(accuracies(kept["frozen"]))
    stage.say(
        f"The two networks have the same shape. Letting the error reach the hidden layer is worth "
        f"{100 * gain:.1f} points. But the network does not know that pixels have neighbours: shuffle all pixels of "
        "all images in one fixed way, and it would learn just as well. Milestone 04 builds the neighbourhood in."
    )
    score = float(np.median(accuracies(kept["learned"])))
    stage.require(
        f"test accuracy, median of {len(stage.seeds)}: {percent(score)} (needed {percent(NEEDED)})", score >= NEEDED
    )
    stage.require("every parameter tensor had a gradient and moved", all_learned(kept["learned"]))
    stage.require("gradients agree with finite differences to 1 in 1,000", slopes_agree(kept["learned"]))
    return stage.verdict(stage.why_not(), page)


if __name__ == "__main__":
    Stage(__file__, "Milestone 03, 1986: backpropagation reads digits", epochs=TASK.epochs).run(play)

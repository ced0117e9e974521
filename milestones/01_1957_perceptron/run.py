"""1957: the perceptron. One unit, one rule: when it is wrong, move the line towards the point."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from stage import Clock, Stage, median, percent
from train import learn, perceptron

from tinytorch import Tensor

POINTS, MARGIN, NEEDED = 100, 0.04, 0.95


def two_clouds(seed, flipped=0):
    """Points (200, 2) on both sides of a random line, labels -1 and 1, and the line; `flipped` labels are wrong."""
    generator = np.random.default_rng(seed)
    angle, offset = generator.uniform(0, 2 * np.pi), generator.uniform(-0.3, 0.3)
    line = np.array([np.cos(angle), np.sin(angle), offset])
    points = generator.uniform(-1, 1, (20 * POINTS, 2))
    distance = points @ line[:2] + offset
    keep = np.flatnonzero(np.abs(distance) > MARGIN)[: 2 * POINTS]
    labels = np.sign(distance[keep])
    labels[generator.choice(POINTS, flipped, replace=False)] *= -1
    return points[keep].astype(np.float32), labels, line


def mistake_bound(points, line):
    """Novikoff (1962): from zero, the rule makes at most (R / margin)^2 mistakes, in homogeneous coordinates."""
    whole = np.hstack([points, np.ones((len(points), 1))])
    margin = np.abs(whole @ line).min() / np.linalg.norm(line)
    return int((np.linalg.norm(whole, axis=1).max() / margin) ** 2)


def answer(unit, points):
    return np.where(unit(Tensor(points)).numpy()[:, 0] > 0, 1.0, -1.0)


def one_run(stage, seed):
    settings = {"seed": seed, "epochs": stage.epochs}
    if kept := stage.finished(f"seed-{seed}", **settings):
        return kept
    clock, unit = Clock(), perceptron()
    points, labels, line = two_clouds(seed)
    train, test = slice(None, POINTS), slice(POINTS, None)
    mistakes, lines = learn(unit, points[train], labels[train], stage.epochs)
    muddle = two_clouds(seed, flipped=5)
    record = {
        **settings,
        "passes": len(mistakes),
        "mistakes": mistakes,
        "lines": lines,
        "settled": mistakes[-1] == 0,
        "bound": mistake_bound(points[train], line),
        "train_accuracy": float(np.mean(answer(unit, points[train]) == labels[train])),
        "test_accuracy": float(np.mean(answer(unit, points[test]) == labels[test])),
        "mistakes_with_five_wrong_labels": learn(perceptron(), muddle[0][train], muddle[1][train], stage.epochs)[0],
        **clock.read(),
    }
    stage.save(f"seed-{seed}", record)
    return record


def experiment(stage):
    for seed in stage.seeds:
        stage.screen.live(f"seed {seed}: learning")
        run = one_run(stage, seed)
        how = "settled" if run["settled"] else "did not settle"
        stage.say(
            f"seed {seed}: {how} after {run['passes']} passes and {sum(run['mistakes'])} mistakes, "
            f"test {percent(run['test_accuracy'])}"
        )


def diagnosis(stage, runs):
    stage.table(
        ["seed", "passes", "mistakes", "at most", "train", "test", "5 labels wrong"],
        [
            [
                run["seed"],
                run["passes"],
                sum(run["mistakes"]),
                run["bound"],
                percent(run["train_accuracy"]),
                percent(run["test_accuracy"]),
                f"{run['mistakes_with_five_wrong_labels'][-1]} left",
            ]
            for run in runs
        ],
    )
    stage.screen.write()
    stage.say(
        "'At most' is the theorem: however the points are ordered, the number of mistakes cannot exceed "
        "(R / margin) squared. In the last column five of the hundred labels have been turned round, so that no line "
        f"fits, and after {stage.epochs} passes the rule is still at it: it has no notion of a best line, only "
        "of a faultless one."
    )


def draw(runs):
    from tinytorch import viz

    run = runs[0]
    points, labels, _ = two_clouds(run["seed"])
    points, labels, last = points[:POINTS], labels[:POINTS] > 0, np.array(run["lines"][-1])
    early = [("after the first pass", *run["lines"][0])] if len(run["lines"]) > 1 else []

    def plane(part):
        viz.regions(lambda p: p @ last[:2] + last[2], points, labels, f"Seed {run['seed']}: the line", early, part)

    def mistakes(part):
        axes = part.subplots()
        for one, color in zip(runs, viz.PALETTE * len(runs), strict=False):
            axes.plot(
                range(1, len(one["mistakes"]) + 1),
                one["mistakes"],
                "o-",
                ms=3,
                color=color,
                label=f"seed {one['seed']}",
            )
        axes.set(title="Mistakes in each pass, until there are none", xlabel="pass", ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()

    return viz.page(
        "1957: the perceptron",
        [[(plane, 1), (mistakes, 1.3)]],
        heights=[3.8],
        note=f"{POINTS} points on the two sides of a line, margin {MARGIN}; the perceptron rule from zero",
    )


def play(stage):
    stage.act("Challenge")
    stage.say(
        "Cornell, 1957. Frank Rosenblatt proposes a machine that is not told how to tell things apart: it is "
        "shown examples and corrected. One unit adds up its inputs, each with a weight, and says yes or no. "
        "Can it find, by itself, a line between two clouds of points?"
    )
    stage.act("Setup")
    stage.say(
        f"{POINTS} points to learn from and {POINTS} to be tested on, on the two sides of a random line, none "
        f"closer to it than {MARGIN}. One Linear(2, 1), all zeros: 3 parameters. The rule: for each point on the "
        "wrong side, add the point to the weights (or subtract it). No gradient, no learning rate."
    )
    stage.act("Experiment")
    experiment(stage)
    runs = stage.kept()
    stage.act("Diagnosis")
    diagnosis(stage, runs)
    page = stage.draw("page.png", lambda: draw(runs))
    stage.act("Reflection")
    stage.say(
        "A rule of one line finds a separating line whenever there is one, and a theorem says how soon. Where "
        "there is none it wanders for ever. How much of the world can one line part? Milestone 02 shows four "
        "points that it cannot."
    )
    stage.require(f"all {len(runs)} runs end with a pass without mistakes", all(run["settled"] for run in runs))
    stage.require("never more mistakes than the theorem allows", all(sum(r["mistakes"]) <= r["bound"] for r in runs))
    score = median([run["test_accuracy"] for run in runs])
    stage.require(f"test accuracy, median of {len(runs)}: {percent(score)} (needed {percent(NEEDED)})", score >= NEEDED)
    return stage.verdict(stage.why_not("pass", "passes", " at most"), page)


if __name__ == "__main__":
    Stage(__file__, "Milestone 01, 1957: the perceptron", epochs=100).run(play)

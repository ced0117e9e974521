"""1957, the whole of it: one unit learns a line between two clouds of points. From the course folder:

python -m milestones.01_1957_perceptron.train
"""

import numpy as np

from tinytorch import Tensor, nn


def perceptron():
    unit = nn.Linear(2, 1)
    unit.weight, unit.bias = Tensor(np.zeros((1, 2), np.float32)), Tensor(np.zeros(1, np.float32))
    return unit


def learn(unit, points, labels, passes):
    """The perceptron rule, point by point, until a pass has no mistake. Returns mistakes per pass, and each line."""
    mistakes, lines = [], []
    for _ in range(passes):
        wrong = 0
        for point, label in zip(points, labels, strict=True):
            if label * unit(Tensor(point[None])).item() <= 0:
                unit.weight = Tensor(unit.weight.numpy() + np.float32(label) * point)
                unit.bias = Tensor(unit.bias.numpy() + np.float32(label))
                wrong += 1
        mistakes.append(wrong)
        lines.append([*unit.weight.numpy()[0].tolist(), unit.bias.item()])
        if wrong == 0:
            break
    return mistakes, lines


if __name__ == "__main__":
    points = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    labels = np.where(points @ [0.6, 0.8] > 0.1, 1, -1)
    mistakes, lines = learn(perceptron(), points, labels, passes=1000)
    print("mistakes in each pass:", *mistakes)
    print("the line: {:.2f} x + {:.2f} y + {:.2f} = 0".format(*lines[-1]))

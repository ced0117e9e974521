"""1969, the whole of it: four points that one line cannot part, and a hidden layer that can. From the course folder:

python -m milestones.02_1969_xor.train
"""

import numpy as np

from tinytorch import Tensor, manual_seed, nn, optim

POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
LABELS = np.array([0, 1, 1, 0])
HIDDEN = 8
NETWORKS = {
    "one layer": lambda: nn.Sequential(nn.Linear(2, 1)),
    "two layers": lambda: nn.Sequential(nn.Linear(2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)),
}


def train(model, epochs):
    """All four points at every step. Returns rows of epoch, train_loss, train_accuracy."""
    points, target = Tensor(POINTS), Tensor(LABELS.astype(np.float32)[:, None])
    optimizer, loss_of, rows = optim.SGD(model.parameters(), lr=0.3, momentum=0.9), nn.BCEWithLogitsLoss(), []
    for epoch in range(1, epochs + 1):
        logits = model(points)
        loss = loss_of(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = (logits.numpy()[:, 0] > 0) == LABELS
        rows.append({"epoch": epoch, "train_loss": loss.item(), "train_accuracy": float(right.mean())})
    return rows


if __name__ == "__main__":
    for name, make in NETWORKS.items():
        manual_seed(0)
        last = train(make(), epochs=300)[-1]
        print(f"{name}: loss {last['train_loss']:.3f}, {last['train_accuracy']:.0%} right")

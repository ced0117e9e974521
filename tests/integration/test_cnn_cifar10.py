"""A CNN learns colour pictures in CIFAR-10's published layout.

Under pytest: a small slice, made here, whose classes differ in shape and colour. As a script,
`python tests/integration/test_cnn_cifar10.py [--data-dir DIR] [--epochs N]`: the real files if they are found, else
the slice; it prints the accuracy of every epoch.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tinytorch import Trainer, manual_seed, nn, optim
from tinytorch.data.loader import (
    CIFAR10,
    Compose,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    channel_statistics,
)

PER_FILE = 160


class Slice(CIFAR10):
    """The published layout with fewer records in each file."""

    records = PER_FILE


def picture(label, generator):
    """A picture (3, 32, 32) of its class: five shapes, each on two grounds, shifted and noisy."""
    row, column = np.mgrid[:32, :32] - 16 + generator.integers(-4, 5, (2, 1, 1))
    inside = (
        np.hypot(row, column) < 8,  # disc
        (abs(row) < 7) & (abs(column) < 7),  # square
        abs(row) < 3,  # bar across
        abs(column) < 3,  # bar upright
        (row + column) % 8 < 4,  # stripes
    )[label % 5]
    warm = np.array([200, 120, 60] if label < 5 else [60, 120, 200])[:, None, None]
    image = np.where(inside, warm, 255 - warm) * generator.uniform(0.6, 1.0) + generator.normal(0, 25, (3, 32, 32))
    return image.clip(0, 255).astype(np.uint8)


def write_slice(root, per_file=PER_FILE):
    """Write five training files and one for testing to root/cifar-10-batches-bin, in records of 3,073 bytes."""
    folder, generator = Path(root) / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
        labels = generator.permutation(per_file) % 10
        records = [bytes([label]) + picture(label, generator).tobytes() for label in labels]
        (folder / name).write_bytes(b"".join(records))
    return Path(root)


def train(data, root, epochs, seed=0, batch=32, progress=False):
    """Train SimpleCNN with crops, flips and momentum; returns the history."""
    training, testing = data(root), data(root, train=False)
    normalize = Normalize(*channel_statistics(training.images))
    augment = Compose([RandomCrop(32, padding=2, mode="reflect"), RandomHorizontalFlip(), normalize])
    manual_seed(seed)
    model = nn.SimpleCNN()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
    return trainer.fit(
        DataLoader(training, batch, shuffle=True, seed=seed, transform=augment),
        DataLoader(testing, 200, transform=normalize),
        epochs=epochs,
        progress=progress,
    )


def test_a_small_slice_is_learned(tmp_path):
    history = train(Slice, write_slice(tmp_path), epochs=2)
    losses, scores = history.column("train_loss"), history.column("test_accuracy")
    assert losses[-1] < 0.8 * losses[0]
    assert scores[-1] > 0.4, f"chance is 0.1, the network reached {scores[-1]:.2f}"


def test_without_a_connection_between_picture_and_label_it_stays_at_chance(tmp_path):
    root = write_slice(tmp_path)
    for file in sorted((root / "cifar-10-batches-bin").glob("*.bin")):
        records = np.fromfile(file, np.uint8).reshape(PER_FILE, 3073)
        records[:, 0] = np.random.default_rng(5).permutation(records[:, 0])
        records.tofile(file)
    assert train(Slice, root, epochs=1)[-1]["test_accuracy"] < 0.3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "data")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    try:
        CIFAR10(options.data_dir, train=False)
        print(f"CIFAR-10 from {options.data_dir}", flush=True)
        history = train(CIFAR10, options.data_dir, options.epochs, batch=64, progress=None)
    except FileNotFoundError:
        import tempfile

        print(f"no CIFAR-10 in {options.data_dir}: a small slice, made for this test, in its place", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            history = train(Slice, write_slice(folder), options.epochs)
    for row in history:
        print(f"epoch {row['epoch']}: test accuracy {100 * row['test_accuracy']:.1f} %, {row['seconds']:.1f} s")


if __name__ == "__main__":
    main()

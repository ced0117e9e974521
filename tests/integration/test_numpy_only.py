"""The package alone, where nothing but NumPy and the standard library can be imported, trains the digits network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinytorch

CHILD = '''
import json, sys

at_start = set(sys.modules)  # what site-packages' .pth files have loaded

class Blocker:
    """Refuses every module that is not NumPy, the standard library or the package itself."""
    allowed = {*sys.stdlib_module_names, "numpy", "tinytorch"}
    refused = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            self.refused.append(name)
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import numpy as np
from tinytorch import Trainer, manual_seed, nn, optim
from tinytorch.data.loader import DataLoader, TensorDataset

manual_seed(1)
given = np.load(sys.argv[2])
model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10))
train = DataLoader(TensorDataset(given["train_x"], given["train_y"]), 32, shuffle=True, seed=1)
test = DataLoader(TensorDataset(given["test_x"], given["test_y"]), 360)
history = Trainer(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)).fit(train, test, epochs=4, progress=False)
new = [name for name in sys.modules if name not in at_start and getattr(sys.modules[name], "__file__", None)]
loaded = {name.partition(".")[0] for name in new}
print(json.dumps({"accuracy": history[-1]["test_accuracy"], "parameters": model.parameter_count(),
                  "home": sys.modules["tinytorch"].__file__, "foreign": sorted(loaded - Blocker.allowed)}))
'''


def test_training_needs_numpy_only(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from tinytorch.data.loader import digits

    np.savez(tmp_path / "digits.npz", **dict(zip(("train_x", "train_y", "test_x", "test_y"), digits(1), strict=True)))
    home = Path(tinytorch.__file__).resolve().parents[1]
    child = subprocess.run(
        [sys.executable, "-I", "-c", CHILD, str(home), str(tmp_path / "digits.npz")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout)
    assert told["accuracy"] > 0.9 and told["parameters"] == 810
    assert Path(told["home"]).resolve() == Path(tinytorch.__file__).resolve()
    assert told["foreign"] == []

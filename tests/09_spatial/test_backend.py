"""The choice of backend: for a block or from now on, by name, by the environment; and what imports what."""

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinytorch
from tinytorch import backend, nn
from tinytorch.backend import BACKENDS, backends_of, use_backend
from tinytorch.core import layers, spatial
from tinytorch.core.losses import cross_entropy
from tinytorch.core.spatial import AvgPool2d, Conv2d, Flatten, MaxPool2d, SimpleCNN, digits_cnn
from tinytorch.core.tensor import Tensor, manual_seed


def test_a_backend_for_a_block_and_from_now_on():
    with use_backend("windows"):
        with use_backend("loops"):
            assert backend.backend() == "loops"
            use_backend("windows")
            assert backend.backend() == "windows"
        assert backend.backend() == "windows"
        with pytest.raises(ZeroDivisionError), use_backend("loops"):
            raise ZeroDivisionError
        assert backend.backend() == "windows"
    assert tinytorch.use_backend is use_backend and tinytorch.backend is backend


def test_layers_call_the_backend_in_force(monkeypatch):
    x = Tensor(np.random.default_rng(9).random((2, 3, 4, 5)).astype(np.float32), requires_grad=True)
    layer = Conv2d(3, 4, 3, padding=1)
    with use_backend("loops"):
        slow = layer(x)
    with use_backend("windows"):
        fast = layer(x)
    assert slow.grad_fn[0] is BACKENDS["loops"]["conv2d"]
    assert fast.grad_fn[0] is spatial.conv2d
    np.testing.assert_allclose(slow.numpy(), fast.numpy(), rtol=1e-4, atol=1e-5)
    monkeypatch.setitem(BACKENDS, "mine", {"conv2d": lambda *inputs: "called"})
    with use_backend("mine"):
        assert layer(x) == "called"


def test_a_whole_step_on_loops_equals_windows():
    gradients = {}
    for name in ("loops", "windows"):
        manual_seed(1)
        net, rng = digits_cnn(), np.random.default_rng(2)
        x, labels = rng.random((2, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 2)
        with use_backend(name):
            cross_entropy(net(Tensor(x)), labels).backward()
        gradients[name] = [tensor.grad for tensor in net.parameters()]
    for slow, fast in zip(*gradients.values(), strict=True):
        np.testing.assert_allclose(slow, fast, rtol=1e-3, atol=1e-6)


def test_unknown_backends_are_refused_and_nothing_changes():
    before = backend.backend()
    with pytest.raises(ValueError, match="there is no backend 'quick': use 'loops' or 'windows'"):
        use_backend("quick")
    for name in (None, 3, ["fast"], {}):
        with pytest.raises(ValueError, match="there is no backend"):
            use_backend(name)
    assert backend.backend() == before


@pytest.mark.parametrize(
    ("value", "printed"),
    [("loops", "loops"), ("windows", "windows"), ("", None), ("quick", "there is no backend 'quick'")],
)
def test_environment_variable(value, printed):
    code = "from tinytorch.backend import backend\ntry: print(backend())\nexcept ValueError as error: print(error)"
    root = os.path.dirname(os.path.dirname(tinytorch.__file__))
    env = {**os.environ, "TINYTORCH_BACKEND": value, "PYTHONPATH": root}
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(printed or "")
    assert ended.stdout.strip() and not ended.stderr


def test_the_layers_are_found_in_both_places():
    assert [nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.SimpleCNN, nn.Flatten] == [
        *(Conv2d, MaxPool2d, AvgPool2d, SimpleCNN, Flatten)
    ]
    assert Flatten is layers.Flatten
    offered = {"Conv2d", "Conv2D", "MaxPool2d", "AvgPool2d", "SimpleCNN", "Flatten"}
    offered |= {"conv2d", "conv2d_loops", "max_pool2d", "avg_pool2d", "windows", "fold", "output_size", "digits_cnn"}
    assert offered <= {*spatial.__all__} and len(spatial.__all__) < 32
    assert all(hasattr(spatial, name) and not name.startswith("_") for name in spatial.__all__)


def told(code, **variables):
    """What a fresh Python with this package prints."""
    root = str(Path(tinytorch.__file__).resolve().parents[1])
    env = {**os.environ, "PYTHONPATH": root, **variables}
    env.pop("TINYTORCH_BACKEND", None)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_spatial_knows_of_no_faster_backend_and_choosing_imports_what_it_needs():
    assert "core.fast" not in Path(spatial.__file__).read_text(encoding="utf-8")
    loaded = "print([name in sys.modules for name in ('tinytorch.core.spatial', 'tinytorch.core.fast')])"
    assert told(f"import sys, tinytorch.backend; {loaded}") == "[False, False]\n"
    assert told(f"import sys, tinytorch; tinytorch.use_backend('windows'); {loaded}") == "[True, False]\n"
    assert told(f"import sys; from tinytorch.nn import Conv2d; Conv2d(1, 1, 1); {loaded}") == "[True, False]\n"


def test_two_threads_have_backends_of_their_own():
    turn, seen = threading.Barrier(2, timeout=60), {}

    def work(name):
        with use_backend(name):
            turn.wait()
            seen[name] = backend.backend()
            turn.wait()
        use_backend(name)

    with use_backend("windows"):
        threads = [threading.Thread(target=work, args=(name,)) for name in ("loops", "windows")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert backend.backend() == "windows"
    assert seen == {"loops": "loops", "windows": "windows"}


def test_two_tasks_have_backends_of_their_own():
    async def work(name, mine, other):
        with use_backend(name):
            mine.set()
            await other.wait()
            return backend.backend()

    async def both():
        a, b = asyncio.Event(), asyncio.Event()
        return [*await asyncio.gather(work("loops", a, b), work("windows", b, a)), backend.backend()]

    before = backend.backend()
    assert asyncio.run(both()) == ["loops", "windows", before]


def test_a_generator_that_is_closed_elsewhere_puts_the_backend_back():
    def steps():
        with use_backend("loops"):
            yield backend.backend()

    before, running = backend.backend(), steps()
    assert next(running) == "loops"
    contextvars.copy_context().run(running.close)
    use_backend(before)
    assert backend.backend() == before


def test_kernels_are_lent_for_a_block(monkeypatch):
    layer, x = Conv2d(1, 1, 1), Tensor(np.ones((1, 1, 2, 2)))
    with use_backend("windows"):
        with use_backend("borrowed", {"conv2d": lambda *inputs: "called"}):
            assert layer(x) == "called" and backend.backend() == "borrowed"
        assert layer(x).shape == (1, 1, 2, 2) and "borrowed" not in BACKENDS


def test_only_the_package_s_modules_share_its_table():
    mine = backends_of("__main__")
    assert backends_of("tinytorch.core.fast").table is BACKENDS and mine.table == {}
    mine.register("windows", conv2d=len)
    with use_backend("loops"):
        assert mine.backend() == "windows" and mine.kernel("conv2d") is len
    with mine.use_backend("windows"), use_backend("windows"):
        assert backend.kernel("conv2d") is spatial.conv2d
    with pytest.raises(ValueError, match="there is no backend 'loops': use 'windows'"):
        mine.use_backend("loops")

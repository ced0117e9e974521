"""Times TinyTorch's convolutional networks against PyTorch, or another backend; prints a line of JSON for each figure.

python measure.py [--against torch|windows|...] [--quick] [--only GROUP ...] [--batch 64] [--warm-heap]

Both sides take turns in one process on one thread; what is compared is process CPU time, the median over the rounds of
the ratio within a round, with quartiles. `tito bench 09` runs this file and draws the table and the plot.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM", "NUMEXPR"):  # before NumPy is loaded, or it is too late
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import gc  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402
import shapes  # noqa: E402
import workloads  # noqa: E402
from memory import peak_of  # noqa: E402
from tiny_side import TinySide, numpy_chain  # noqa: E402
from workloads import MARKS  # noqa: E402

ROUNDS, QUICK_ROUNDS = 21, 3
SHORTEST = 2e-3  # seconds of one side in one round; quicker work is repeated


def spread(values, scale: float = 1.0) -> dict:
    """Median and quartiles."""
    low, median, high = (float(value) * scale for value in np.percentile(values, (25, 50, 75)))
    return {"median": median, "low": low, "high": high}


def cpu_seconds(work, repeat: int) -> float:
    """Process CPU time of one call."""
    start = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - start) / repeat


def race(works: list, rounds: int) -> list[list[float]]:
    """Seconds of each work in each round; they take turns, and who begins changes from round to round."""
    repeats = []
    for work in works:
        work()
        once = min(cpu_seconds(work, 1) for _ in range(2))
        repeats.append(max(1, int(SHORTEST / max(once, 1e-7))))
    seconds, turns = [[] for _ in works], list(range(len(works)))
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for turn in turns if number % 2 else turns[::-1]:
                seconds[turn].append(cpu_seconds(works[turn], repeats[turn]))
            gc.collect(0)
    finally:
        gc.enable()
    return seconds


def verdict(value: float, mark: tuple) -> str:
    """How a figure stands to (required, aim)."""
    required, aim = mark
    if aim is not None and value <= aim:
        return "aim"
    if required is None:
        return "" if aim is None else "above aim"
    return "reached" if value <= required else "short"


class Bench:
    """One run: both sides, and how long to measure. Its groups are the methods in GROUPS; each yields rows."""

    def __init__(self, backend: str, against: str, quick: bool, batch: int):
        self.tiny, self.batch, self.quick = TinySide(backend), batch, quick
        self.rounds = QUICK_ROUNDS if quick else ROUNDS
        self.judged = against == "torch" and batch == workloads.BATCH
        self.other = self.rival(against)

    @staticmethod
    def rival(name: str):
        """The other side, by name."""
        if name not in ("torch", "channels last"):
            return TinySide(name)
        from torch_side import TorchSide

        return TorchSide(name)

    def row(self, group: str, name: str, value: float, mark: str, kind: str = "ratio", **more) -> dict:
        """A figure, its marks, and whether it reaches them."""
        required, aim = MARKS[mark]
        judged = self.judged or kind != "ratio" or group == "shapes"
        said = verdict(value, MARKS[mark]) if judged else ""
        return {
            "group": group, "name": name, "kind": kind, "value": value, "required": required, "aim": aim,
            "verdict": said, **{"rival": self.other.name, **more},
        }  # fmt: skip

    def duel(self, group: str, name: str, works: tuple, mark: str, **more) -> dict:
        """The row of two works that take turns: ours and the other side's."""
        ours, theirs = race(list(works), self.rounds)
        ratio = spread(np.divide(ours, theirs))
        times = {"unit": "ms", "ours": spread(ours, 1e3), "theirs": spread(theirs, 1e3), "ratio": ratio}
        best = min(ours) / min(theirs)  # what a quieter machine would show
        return self.row(group, name, ratio["median"], mark, best=best, **times, **more)

    def convolution(self):
        """Forward and both gradients, one operation at a time."""
        for shape in workloads.CONVOLUTIONS:
            ours, theirs = (side.convolution(shape, self.batch) for side in (self.tiny, self.other))
            for part in ours:
                mark = "forward, 3 channels" if part.startswith("forward") and shape.first else part.split(" from")[0]
                yield self.duel("convolution", f"{shape.name} {part}", (ours[part], theirs[part]), mark)

    def pooling(self):
        """2x2 max pooling."""
        for name, channels, side in workloads.POOLS:
            ours, theirs = (which.pooling(channels, side, self.batch) for which in (self.tiny, self.other))
            for part in ours:
                title = f"max pool {name} {channels}x{side}x{side} {part}"
                yield self.duel("pooling", title, (ours[part], theirs[part]), f"pool {part}")

    def tape(self):
        """Recording: a small operation, forward and backward, and what NumPy alone takes for the same numbers."""
        ours, theirs, bare = race([self.tiny.chain(), self.other.chain(), numpy_chain()], self.rounds)
        each = 1e6 / workloads.CHAIN
        times = {"unit": "us", "ours": spread(ours, each), "theirs": spread(theirs, each), "numpy": spread(bare, each)}
        ratio = spread(np.divide(ours, theirs))
        yield self.row("tape", "small operation", ratio["median"], "recording", ratio=ratio, **times)
        mark = "recording, microseconds"
        yield self.row("tape", "small operation, us", times["ours"]["median"], mark, "microseconds", **times)

    def steps(self):
        """Whole training steps: A, B and C in every form."""
        for name, form in workloads.STEPS:
            images = workloads.usual_batch(name, self.batch)
            works = [side.step(name, form, images) for side in (self.tiny, self.other)]
            same_losses(works, f"step {name}")
            mark = f"step {name} by hand" if form == "by hand" else f"step {name}"
            yield self.duel("steps", f"step {name} {form}", tuple(works), mark)
            if self.other.name == "torch" and name != "C" and form == "Sequential":
                works[1] = self.rival("channels last").step(name, form, images)
                title = f"step {name}, channels last"
                yield self.duel("steps", title, tuple(works), title, against="NHWC")

    def networks(self):
        """Whole training steps of the deep and the modern network, few and many images."""
        for name, images in workloads.NETWORKS[::3] if self.quick else workloads.NETWORKS:
            images = images * self.batch // workloads.BATCH or 1
            works = [side.step(name, "Sequential", images) for side in (self.tiny, self.other)]
            same_losses(works, f"step {name}")
            mark = f"step {name}, batch 32" if name == "deep" and images <= 32 else f"step {name}"
            yield self.duel("networks", f"step {name}, batch {images}", tuple(works), mark)
            if self.other.name == "torch":
                works[1] = self.rival("channels last").step(name, "Sequential", images)
                title = f"step {name}, batch {images}, channels last"
                yield self.duel("networks", title, tuple(works), f"{mark}, channels last", against="NHWC")

    def layers(self):
        """Layers one at a time, forward and backward: few images, other windows, what goes entry by entry."""
        from tinytorch import nn

        table = {shape.name: shape for shape in shapes.TABLE}
        for name, mark in workloads.LAYERS:
            shape = table[name]
            images = shape.batch, shape.channels, shape.side, shape.side
            works = tuple(side.layer(shape.layers(), images) for side in (self.tiny, self.other))
            yield self.duel("layers", name, works, mark)
        images = self.batch, 64, 16, 16
        norm = [nn.BatchNorm2d(64)]
        for name, layer, given in (
            ("GELU, tanh", [nn.GELU()], images),
            ("GELU, exact", [nn.GELU("none")], images),
            ("batch norm", norm, images),
            ("batch norm and GELU in a Sequential", [nn.Sequential(nn.BatchNorm2d(64), nn.GELU())], images),
            ("softmax of 1,000", [nn.Softmax()], (4 * self.batch, 1000)),
            ("log-softmax of 1,000", [nn.LogSoftmax()], (4 * self.batch, 1000)),
            ("softmax of 10", [nn.Softmax()], (64 * self.batch, 10)),
        ):
            works = tuple(side.layer(layer, given) for side in (self.tiny, self.other))
            yield self.duel("layers", name, works, "elementwise")

    def products(self):
        """The matrix products inside convolutions, beside the best rate that BLAS shows for the same M and K."""
        for shape in workloads.PRODUCTS:
            for part, (work, m, k, count) in self.tiny.products(shape, self.batch).items():
                alone = [blas(m, k, n) for n in workloads.WIDTHS[:: 4 if self.quick else 1]]
                mine, *others = race([work, *(run for run, _ in alone)], min(self.rounds, 7))
                rates = [counted / np.array(each) * 2e-9 for each, (_, counted) in zip(others, alone, strict=True)]
                best = max(rates, key=np.median)
                reached = 2e-9 * count / np.array(mine)
                times = {"unit": "GF/s", "ours": spread(reached), "theirs": spread(best)}
                ratio = spread(np.divide(best, reached))
                more = {"ratio": ratio, "rival": "BLAS", **times}
                yield self.row("products", f"{shape.name} {part} {m}x{k}", ratio["median"], "product", **more)

    def single(self):
        """Batches of one image: use, and training."""
        for name in ("A", "B", "deep", "modern"):
            for what, arguments in (("inference", (name, 1)), ("step", (name, "Sequential", 1))):
                works = tuple(getattr(side, what)(*arguments) for side in (self.tiny, self.other))
                yield self.duel("single", f"{what} {name}, batch 1", works, "batch 1")

    def epoch(self):
        """The digits once, in shuffled batches of 32 that both sides cut from whole arrays."""
        from tinytorch.data.loader import digits

        x, labels = digits()[:2]
        if self.batch != workloads.BATCH:
            x, labels = x[: 8 * self.batch], labels[: 8 * self.batch]
        order, size = np.random.default_rng(0).permutation(len(x)), workloads.usual_batch("C", self.batch)
        orders = [order[start : start + size] for start in range(0, len(x), size)]
        works = tuple(side.epoch(x, labels, orders) for side in (self.tiny, self.other))
        yield self.duel("epoch", f"epoch of {len(x)} digits", works, "epoch")

    def memory(self):
        """Peak memory of a step above what the process had before, each side in a process of its own."""
        sides = self.tiny.name, self.other.name
        for network in "B" if self.quick else ("A", "B", "deep", "modern"):
            peaks = [[peak_of(name, self.batch, network) for name in sides] for _ in range(1 if self.quick else 3)]
            ours, theirs = zip(*peaks, strict=True)
            ratio = spread(np.divide(ours, theirs))
            times = {"unit": "MB", "ours": spread(ours), "theirs": spread(theirs), "ratio": ratio}
            yield self.row("memory", f"peak memory of step {network}", ratio["median"], "memory", **times)

    def growth(self):
        """Convolution, ReLU, pooling, all gradients: time an image over batches, time a pixel over sides."""
        few = 2 if self.quick else None
        batches = {size: (16, 32, 16, size * self.batch // workloads.BATCH or 1) for size in workloads.BATCHES[:few]}
        sides = {side: (16, 32, side, self.batch) for side in workloads.SIDES[:few]}
        yield self.series("batch 16-256, an image", batches, lambda block: block[3])
        yield self.series("side 16-128, a pixel", sides, lambda block: block[2] ** 2 * block[3])

    def shapes(self):
        """`fast` against `windows` on the shapes of shapes.py, and what share of the random ones it hands over."""
        if "fast" not in (self.tiny.name, self.other.name):
            return
        for shape in shapes.TABLE:
            yield self.shape(shape)[0]
        found = [self.shape(shape) for shape in shapes.random_shapes(20 if self.quick else shapes.RANDOM)]
        ratios, handed = np.array([row["value"] for row, _ in found]), np.mean([over for _, over in found])
        mean = float(np.exp(np.log(ratios).mean()))
        title = f"{len(found)} random shapes, geometric mean; {handed:.0%} handed to windows"
        yield self.row("shapes", title, mean, "shapes, mean", ratio=spread(ratios), rival="windows")
        by_ratio = sorted((row for row, _ in found), key=lambda row: -row["value"])
        for row in [each for each in by_ratio if each["verdict"] == "short"] or by_ratio[:1]:
            yield {**row, "name": f"random {row['name']}"}

    def shape(self, shape) -> tuple[dict, bool]:
        """The row of a shape, and whether `fast` hands it over."""
        ours, theirs = race([shape.work("fast"), shape.work("windows")], shapes.ROUNDS)
        ratio = spread(np.divide(ours, theirs))
        times = {"unit": "ms", "ours": spread(ours, 1e3), "theirs": spread(theirs, 1e3), "ratio": ratio}
        row = self.row("shapes", shape.name, ratio["median"], "shapes", rival="windows", **times)
        return row, shape.handed_over()

    def series(self, name: str, blocks: dict, count) -> dict:
        """The dearest over the cheapest of a series, for our side."""
        rows = {"ours": {}, "theirs": {}}
        works = [which.block(*block) for block in blocks.values() for which in (self.tiny, self.other)]
        seconds = race(works, min(self.rounds, 7))
        for number, (size, block) in enumerate(blocks.items()):
            for who, found in zip(rows, seconds[2 * number : 2 * number + 2], strict=True):
                rows[who][size] = spread(found, 1e6 / count(block))
        ours, theirs = ([point["median"] for point in rows[who].values()] for who in rows)
        value, other = max(ours) / min(ours), max(theirs) / min(theirs)
        return self.row("growth", name, value, "growth", "growth", unit="us", series=rows, theirs_value=other)


GROUPS = ("steps", "convolution", "pooling", "tape", "single", "epoch", "memory", "growth")
ON_DEMAND = ("shapes", "networks", "layers", "products")  # only where they are asked for: they take minutes


def blas(m: int, k: int, n: int) -> tuple:
    """A product (m, k) times (k, n), and its multiplications."""
    a, b, out = workloads.noise((m, k)), workloads.noise((k, n)), np.empty((m, n), np.float32)
    return lambda: np.matmul(a, b, out=out), m * k * n


def warm_heap() -> None:
    """Let the C library keep freed memory.

    In a fresh process it hands large arrays back, and PyTorch pays for new pages at every call: 1,500 to 7,000 a step.
    """
    np.ones(30 << 20, np.uint8)


def same_losses(works: list, name: str) -> None:
    """Both sides must compute the same, or the times mean nothing."""
    for _ in range(3):
        ours, theirs = (work() for work in works)
        if not abs(ours - theirs) < 1e-3 * max(1, abs(theirs)):
            raise SystemExit(f"{name}: the losses differ, {ours} and {theirs}: nothing was measured")


def machine(backend: str, against: str) -> dict:
    """Where and against what the figures were measured."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "cores": os.cpu_count()}
    found |= {"system": f"{platform.system()} {platform.machine()}", "threads": 1}
    found |= {"backend": backend, "against": against}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found["blas"] = f"{blas.get('name')} {blas.get('version')}"
    if against == "torch":
        found["torch"] = importlib.import_module("torch").__version__
    return found


def load() -> float | None:
    """Processes that wanted to run in the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def backend_in_force(wanted: str | None) -> str:
    """The backend that the package chooses, or the one asked for."""
    from tinytorch.backend import backend, resolve

    return resolve(wanted) if wanted else backend()


def options(arguments=None):
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="torch (where it is installed), windows, ...")
    parser.add_argument("--backend", help="instead of the one in force")
    parser.add_argument("--quick", action="store_true", help="three rounds, short series")
    parser.add_argument("--only", nargs="+", choices=GROUPS + ON_DEMAND, default=GROUPS)
    parser.add_argument("--warm-heap", action="store_true", help="freed memory stays with the process: kinder to torch")
    parser.add_argument("--batch", type=int, default=workloads.BATCH, help="64; with another, nothing is judged")
    return parser.parse_args(arguments)


def say(**line) -> None:
    """One line of JSON."""
    print(json.dumps(line), flush=True)


def in_a_process_of_its_own(group: str, asked, backend: str, against: str) -> None:
    """Measure one group with a heap that no other group has grown: the marks stem from such processes."""
    command = [sys.executable, __file__, "--only", group, "--backend", backend, "--against", against]
    command += ["--batch", str(asked.batch), *["--quick"] * asked.quick, *["--warm-heap"] * asked.warm_heap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in map(json.loads, child.stdout):
            if "row" in line:
                say(**line)
    if child.returncode:
        raise SystemExit(f"{group} could not be measured")


def main() -> None:
    """Measure group after group."""
    asked = options()
    against = asked.against or ("torch" if importlib.util.find_spec("torch") else "windows")
    backend = backend_in_force(asked.backend)
    say(machine=machine(backend, against), quick=asked.quick, batch=asked.batch, warm_heap=asked.warm_heap)
    say(load_before=load())
    if asked.warm_heap:
        warm_heap()
    for group in asked.only:
        say(now=group)
        if len(asked.only) > 1:
            in_a_process_of_its_own(group, asked, backend, against)
        else:
            for row in getattr(Bench(backend, against, asked.quick, asked.batch), group)():
                say(row=row)
    say(load_after=load())


if __name__ == "__main__":
    main()

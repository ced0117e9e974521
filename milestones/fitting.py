"""What milestones 03 and 04 share: train a network the same way for every seed, and look at what training did to it."""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stage import Clock, UnusableError, blocks, median, peak_memory, percent, span

from tinytorch import Tensor, manual_seed, no_grad

VIEWS = "with flips and shifts"
SMALL = 2_000  # parameters of a network whose weights after every epoch are kept, to watch it learn


@dataclass
class Data:
    """Loaders to train and test on, and the test part as it is shown: images and labels."""

    train: Any
    test: Any
    images: np.ndarray
    labels: np.ndarray
    names: tuple = tuple("0123456789")
    note: str = ""
    scale: dict | None = None  # mean and standard deviation of each channel, if pictures are normalised by them


@dataclass
class Task:
    """What to learn and how. networks: label -> function that makes one; the first is the one that is judged.

    data(seed) -> Data. recipe(label, model, epochs, steps) -> (optimizer, scheduler or None).
    """

    name: str
    data: Callable
    networks: dict
    recipe: Callable
    epochs: int
    needed: float
    seeds: tuple = (0, 1, 2, 3, 4)
    part: float = 1.0  # share of the training data
    long: bool = False  # an epoch takes long enough to be told of by itself
    worst: bool = False  # of several runs the worst is judged, not the median
    loss: Callable | None = None  # None: cross-entropy
    start: Callable | None = None  # start(model, data) sets the weights that a network begins with
    views: Callable | None = None  # views(model, data) -> accuracy from several looks at a picture, which is judged
    extra: dict = field(default_factory=dict)


def share_of(arrays, part):
    """The first `part` of shuffled training arrays."""
    count = max(1, int(len(arrays[0]) * part))
    return tuple(array[:count] for array in arrays)


def digits_data(seed, batch=32, part=1.0):
    """The 8x8 digits as loaders: 1,437 to learn from, 360 to be tested on; split, order and all from the seed."""
    from tinytorch.data.loader import DataLoader, TensorDataset, digits

    try:
        train_x, train_y, test_x, test_y = digits(seed)
    except ImportError as error:
        raise UnusableError(str(error)) from error
    train_x, train_y = share_of((train_x, train_y), part)
    return Data(
        DataLoader(TensorDataset(train_x, train_y), batch, shuffle=True, seed=seed),
        DataLoader(TensorDataset(test_x, test_y), 360),
        test_x,
        test_y,
    )


# Before and after training ----------------------------------------------------------------------------------------


def loss_on(model, images, labels):
    from tinytorch.core.losses import cross_entropy

    return cross_entropy(model(Tensor(images)), Tensor(labels))


def first_batch(loader, count=64):
    """The first images and labels of the loader's next pass; which pass comes next stays as it was."""
    for images, labels in loader:
        loader.set_epoch(0)
        return images.numpy()[:count], labels.numpy()[:count]


@contextmanager
def left_as_it_is(model):
    """Look at a model in training mode; afterwards parameters and running statistics are what they were."""
    state, mode = model.state_dict(), model.training
    model.train()
    try:
        yield
    finally:
        model.astype(np.float32)
        model.load_state_dict(state)
        model.train(mode)


def gradient_sizes(model, images, labels):
    """{parameter: largest gradient on this batch}, 0 where none arrived."""
    model.zero_grad()
    with left_as_it_is(model):
        loss_on(model, images, labels).backward()
        sizes = {name: 0.0 if p.grad is None else float(np.abs(p.grad).max()) for name, p in model.named_parameters()}
    model.zero_grad()
    return sizes


def gradient_errors(model, images, labels, count=16):
    """{parameter: relative error of the gradient against finite differences in float64, median of three directions}.

    An activation that crosses a kink of ReLU or pooling on the way spoils one direction: hence few images, a short
    step and the median.
    """
    images, labels = images[:count].astype(np.float64), labels[:count]
    generator, errors = np.random.default_rng(0), {}
    model.zero_grad()
    with left_as_it_is(model):
        model.astype(np.float64)
        loss_on(model, images, labels).backward()
        for name, parameter in model.named_parameters():
            grad = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad
            directions = generator.normal(size=(3, *parameter.shape))
            errors[name] = median([_slope_error(model, images, labels, parameter, grad, one) for one in directions])
    model.zero_grad()
    return errors


def _slope_error(model, images, labels, parameter, grad, direction, step=3e-8):
    here, losses = parameter.data, []
    with no_grad():
        for sign in (1, -1):
            parameter.data = here + sign * step * direction
            losses.append(float(loss_on(model, images, labels).numpy()))
    parameter.data = here
    slope, claimed = (losses[0] - losses[1]) / (2 * step), float((grad * direction).sum())
    return abs(slope - claimed) / max(abs(slope), abs(claimed), 1e-4)  # below that the loss is flat, and rounding rules


def predictions(model, loader):
    """(N, classes) probabilities over the loader, in order."""
    model.eval()
    with no_grad():
        logits = np.concatenate([model(batch[0]).numpy() for batch in loader])
    model.train()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def multiply_accumulates(model, image):
    """How many products one image costs, layer by layer: every weight, once for each place it is used."""
    total, x = 0, Tensor(image[None])
    model.eval()
    with no_grad():
        for layer in model:
            x = layer(x)
            if getattr(layer, "weight", None) is not None:
                total += layer.weight.size * int(np.prod(x.shape[2:]))
    model.train()
    return total


# One run ----------------------------------------------------------------------------------------------------------


def settings_of(task, label, seed, epochs):
    return {"data": task.name, "network": label, "seed": seed, "epochs": epochs, "part": task.part}


def run_name(task, label, seed):
    return f"{task.name}-{label.replace(' ', '-')}-seed-{seed}"


def run(stage, task, data, label, seed):
    """Train one network with one seed; keep history, checks and predictions as JSON, the weights as safetensors."""
    name, settings = run_name(task, label, seed), settings_of(task, label, seed, stage.epochs)
    if kept := stage.crew.told(stage.finished(name, **settings, finished=True)):
        return kept
    manual_seed(seed)
    model = task.networks[label]()
    if task.start:
        task.start(model, data)
    before, parameters = model.state_dict(), model.parameter_count()
    images, labels = first_batch(data.train)
    gradients = gradient_sizes(model, images, labels)
    history, timing = train(stage, task, data, model, name, settings)
    if stage.crew.rank:
        return stage.crew.told()
    after = model.state_dict()
    record = {
        **settings,
        **task.extra,
        **timing,
        "finished": True,
        "parameters": parameters,
        "multiply_accumulates": multiply_accumulates(model, first_batch(data.test)[0][0]),
        "history": history,
        "parameter_checks": [
            {
                "name": key,
                "shape": list(after[key].shape),
                "gradient": gradients[key],
                "moved": float(np.abs(after[key] - before[key]).max()),
                "gradient_error": error,
            }
            for key, error in gradient_errors(model, images, labels).items()
        ],
        **judged(predictions(model, data.test), data),
        **({"accuracy_of_views": task.views(model, data)} if task.views else {}),
        "filters": _filters(before, after, images.shape),
        "peak_memory": peak_memory(),
        "scale": data.scale,
        "note": data.note,
    }
    stage.save(name, record)
    return stage.crew.told(stage.load(name))


def train(stage, task, data, model, name, settings):
    """Fit the model, keeping a checkpoint after each epoch; --resume goes on from it. Returns history and times."""
    kept = stage.load(name) or {}
    checkpoint = stage.last_checkpoint = stage.path(f"{name}.safetensors")
    resume = stage.options.resume and checkpoint.exists() and kept == {**kept, **settings, "finished": False}
    resume = stage.crew.told(resume)
    stage.save(name, {**settings, "finished": False})
    if not resume and not stage.crew.rank:
        checkpoint.unlink(missing_ok=True)
    optimizer, scheduler = task.recipe(settings["network"], model, stage.epochs, stage.epochs * len(data.train))
    wanted = {}
    if task.loss:
        from tinytorch.core.losses import accuracy

        wanted = {"loss": task.loss, "metrics": {"accuracy": accuracy}}
    trainer = trainer_class(stage.crew)(model, optimizer, scheduler=scheduler, **wanted)
    trainer.stage, trainer.epochs, trainer.about = (
        stage,
        stage.epochs,
        f"seed {settings['seed']}  {settings['network']}",
    )
    trainer.briefly = not task.long
    small = model.parameter_count() <= SMALL and settings["network"] == next(iter(task.networks))
    album = stage.path(f"{name}-epochs.safetensors") if small and not stage.crew.rank else None
    trainer.album = None if album is None else kept_album(album) if resume else {}
    if task.long:
        stage.say(f"{trainer.about}, {model.parameter_count():,} parameters", "bold")
    try:
        history = trainer.fit(
            data.train,
            data.test,
            epochs=stage.epochs,
            checkpoint=checkpoint,
            resume=resume,
            progress=None if task.long else False,
        )
    except ValueError as error:
        raise UnusableError(str(error)) from error
    finally:
        if trainer.album:
            keep_album(album, trainer.album)
    rows = [{key: round(value, 6) for key, value in row.items()} for row in history]
    return rows, {name: round(sum(row.get(name, 0) for row in rows), 3) for name in ("seconds", "cpu_seconds")}


def trainer_class(crew):
    from tinytorch import Trainer

    class Shown(crew.trainer(Trainer)):
        """A Trainer that writes its last epoch over the one before, on the stage's live line, if epochs are short."""

        def run_epoch(self, *inputs):
            if self.album is not None and not self.history:
                self.album[0] = self.model.state_dict()
            clock = Clock()
            row = {**super().run_epoch(*inputs), "cpu_seconds": clock.read()["cpu_seconds"]}
            if self.album is not None:
                self.album[row["epoch"]] = self.model.state_dict()
            if not self.briefly:  # then the Trainer shows its own bar: images per second, time left
                return row
            done = round(16 * row["epoch"] / self.epochs)
            self.stage.screen.live(
                f"{self.about}  {'█' * done}{'·' * (16 - done)} {row['epoch']}/{self.epochs}  "
                f"loss {row['train_loss']:.3f}  test {percent(row['test_accuracy'])}"
            )
            return row

    return Shown


def keep_album(path, album):
    """Save {epoch: state_dict} in one file, as "3.0.weight": the page on which a network is watched reads it."""
    from tinytorch.core.training import save_weights

    save_weights(path, {f"{epoch}.{key}": array for epoch, state in album.items() for key, array in state.items()})


def kept_album(path):
    """{epoch: state_dict} as far as it was kept; empty if there is none, or none that can be read."""
    from tinytorch.core.training import load_weights

    album = {}
    try:
        for key, array in load_weights(path).items() if path.is_file() else ():
            epoch, name = key.split(".", 1)
            album.setdefault(int(epoch), {})[name] = array
    except ValueError:
        return {}
    return album


def judged(probabilities, data):
    """Accuracy, confusion matrix, ten samples and the surest mistakes of these predictions."""
    guess = probabilities.argmax(axis=1)
    matrix = np.zeros((len(data.names), len(data.names)), int)
    np.add.at(matrix, (data.labels, guess), 1)
    wrong = np.flatnonzero(guess != data.labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:10]

    def told(at):
        return {
            "index": int(at),
            "label": int(data.labels[at]),
            "prediction": int(guess[at]),
            "confidence": float(probabilities[at].max()),
        }

    return {
        "test_accuracy": float((guess == data.labels).mean()),
        "confusion": matrix,
        "samples": [told(at) for at in range(min(10, len(guess)))],
        "mistakes": [told(at) for at in surest],
    }


def _filters(before, after, shape):
    """The first layer's weights as pictures (out, channels, height, width), before and after, unless there are many."""
    first = next(key for key, array in before.items() if array.ndim > 1)
    if before[first].size > 10_000:
        return None
    pictures = [
        state[first].reshape(len(state[first]), -1, *(shape if state[first].ndim == 2 else state[first].shape)[-2:])
        for state in (before, after)
    ]
    return dict(zip(("before", "after"), pictures, strict=True))


# The acts ---------------------------------------------------------------------------------------------------------


def experiment(stage, task):
    """Every seed, every network; returns {label: finished runs}, read back from the files."""
    for seed in stage.seeds:
        data = task.data(seed)
        runs = [run(stage, task, data, label, seed) for label in task.networks]
        told = ", ".join(f"{r['network']} {_told(r)} in {span(r['seconds'])}" for r in runs)
        stage.say(f"seed {seed}: {told}")
    if stage.crew.rank:
        sys.exit(0)  # the first worker goes on alone
    return kept_runs(stage, task)


def _told(record):
    seen = f" ({percent(record['accuracy_of_views'])} {VIEWS})" if "accuracy_of_views" in record else ""
    return percent(record["test_accuracy"]) + seen


def kept_runs(stage, task):
    """{label: the finished runs of this experiment}, as the files hold them."""
    kept = {}
    for label in task.networks:
        settings = {**{"finished": True}, **settings_of(task, label, None, stage.epochs)}
        records = [stage.load(run_name(task, label, seed)) or {} for seed in stage.seeds]
        same = [all(record.get(key) == value for key, value in settings.items() if key != "seed") for record in records]
        kept[label] = [record for record, good in zip(records, same, strict=True) if good]
        if len(kept[label]) < len(stage.seeds):
            raise UnusableError(f"{len(stage.seeds) - len(kept[label])} runs of {label} are missing in {stage.runs}")
    return kept


def accuracies(runs, name="test_accuracy"):
    return [run[name] for run in runs]


def judged_score(task, runs):
    """(test accuracy that counts, in words whose it is)."""
    if task.views:
        return _of_all(task, accuracies(runs, "accuracy_of_views"), runs, f"{VIEWS}, ")
    return _of_all(task, accuracies(runs), runs)


def plain_score(task, runs):
    """In words, the accuracy from one look at each picture, where it is not the one that counts."""
    return f"; {percent(_of_all(task, accuracies(runs), runs)[0])} without" if task.views else ""


def _of_all(task, scores, runs, how=""):
    if len(runs) == 1:
        return scores[0], f"{how}seed {runs[0]['seed']}"
    if task.worst:
        return min(scores), f"{how}worst of {len(runs)} runs"
    return float(np.median(scores)), f"{how}median of {len(runs)} runs"


def comparison(stage, kept):
    rows = []
    for label, runs in kept.items():
        scores = accuracies(runs)
        rows.append(
            [
                label,
                f"{runs[0]['parameters']:,}",
                f"{runs[0]['multiply_accumulates']:,}",
                percent(float(np.median(scores))),
                f"{percent(min(scores))[:-2]}–{percent(max(scores))}",
                span(float(np.median([r["seconds"] for r in runs]))),
            ]
        )
    stage.table(["network", "parameters", "products", "median test", "lowest–highest", "a run"], rows)


def parameter_table(stage, runs):
    """For every parameter tensor, the worst of all runs: gradient, movement, agreement with finite differences."""
    rows = []
    for checks in zip(*(run["parameter_checks"] for run in runs), strict=True):
        rows.append(
            [
                checks[0]["name"],
                "×".join(map(str, checks[0]["shape"])),
                f"{min(c['gradient'] for c in checks):.1e}",
                f"{min(c['moved'] for c in checks):.3f}",
                f"{max(c['gradient_error'] for c in checks):.0e}",
            ]
        )
    stage.table(["parameter", "shape", "gradient", "moved by", "slope error"], rows, "llrrr")


def all_learned(runs):
    checks = [check for run in runs for check in run["parameter_checks"]]
    return all(check["gradient"] > 0 and check["moved"] > 0 for check in checks)


def slopes_agree(runs, within=1e-3):
    return all(check["gradient_error"] < within for run in runs for check in run["parameter_checks"])


def sample_words(sample, names):
    said = f"{names[sample['prediction']]} {100 * sample['confidence']:.0f} %"
    return said if sample["prediction"] == sample["label"] else f"{said}, is {names[sample['label']]}"


def show_samples(stage, data, samples):
    """Ten predictions: small pictures where they are small enough, otherwise a table."""
    if data.images.shape[-1] > 8:
        rows = [
            [
                s["index"],
                data.names[s["label"]],
                data.names[s["prediction"]],
                percent(s["confidence"]),
                "" if s["label"] == s["prediction"] else "wrong",
            ]
            for s in samples
        ]
        return stage.table(["image", "is", "predicted", "confidence", ""], rows, "rllrl")
    each = max(1, min(5, stage.screen.width // 15))
    for start in range(0, len(samples), each):
        row = samples[start : start + each]
        pictures = [blocks(data.images[s["index"], 0]) for s in row]
        for line in zip(*pictures, strict=True):
            stage.screen.write(("  " + "       ".join(line)).rstrip())
        stage.screen.write("  " + "".join(sample_words(s, data.names).ljust(15) for s in row).rstrip())
        stage.screen.write()

"""1998: a convolutional network. The same small window slides over the whole picture.

By default it reads 8x8 digits with 810 parameters; with --data cifar10 a wider one learns colour photographs.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))  # for the networks, however this was started
# Before NumPy: products as small as these lose by being shared out.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS", "1")

import numpy as np
import workers
from fitting import (
    Data,
    Task,
    accuracies,
    all_learned,
    comparison,
    digits_data,
    experiment,
    judged_score,
    parameter_table,
    plain_score,
    share_of,
    show_samples,
    slopes_agree,
)
from networks import INGREDIENTS, NETWORKS, mlp_of, spatial
from stage import ROOT, Stage, UnusableError, count, given, percent, positive, setting, span
from train import recipe

from tinytorch import Tensor, nn, optim
from tinytorch.backend import backend

# The tasks --------------------------------------------------------------------------------------------------------


def digits_task(options):
    part = QUICK if options.quick else 1.0
    networks = {"cnn": NETWORKS["digits"]}
    if options.mlp:
        networks["mlp"] = mlp_of(64, 11)
    return Task(
        "digits",
        lambda seed: digits_data(seed, part=part),
        networks,
        lambda label, model, epochs, steps: recipe(model, epochs),
        epochs=30,
        needed=0.96,
        part=part,
    )


QUICK = 0.2  # share of the pictures, of those to be tested on the least
MODELS = {  # task, width of the MLP beside it (0: none), epochs, epochs of --quick, accuracy needed
    "wide": ("cifar10", 177, 10, 6, 0.76),
    "deep": ("cifar10-deep", 313, 15, 2, 0.85),
    "speedrun": ("cifar10-speedrun", 0, 10, 5, 0.9),
}


def cifar_task(options):
    """The wide network, or that of --model; --quick: a fifth of the pictures, fewer epochs."""
    name, hidden, epochs, quick, needed = MODELS[options.model]
    networks = {"cnn": NETWORKS[name]}
    if options.mlp and hidden:
        networks["mlp"] = mlp_of(3072, hidden)
    folder = options.data_dir or ROOT / setting("data_path", "data")
    part = options.part or (QUICK if options.quick else 1.0)
    task = Task(
        name,
        lambda seed: cifar_data(folder, seed, part),
        networks,
        cifar_recipe,
        epochs=quick if options.quick else epochs,
        needed=needed,
        seeds=(0,),
        part=part,
        long=True,
        worst=True,
    )
    return speedrun_task(options, task) if options.model == "speedrun" else task


def speedrun_task(options, task):
    """The same with the recipe, the batches and the looks at test time of `speedrun`, but for what is left out."""
    import speedrun

    without = options.without

    def data(seed, plain=task.data):
        found = plain(seed)
        found.train = speedrun.Alternating(
            found.train.dataset, found.test.transform, seed, options.epochs or task.epochs, without
        )
        return found

    def start(model, found):
        speedrun.start(model, found.train.normalize(found.train.dataset.arrays[0][:5000]), without)

    task.data, task.start, task.recipe = data, start, partial(speedrun.recipe, without=without)
    task.loss = nn.CrossEntropyLoss(label_smoothing=speedrun.SMOOTHING)
    task.views = lambda model, found: speedrun.accuracy_of_views(model, found.test)
    return task


def cifar_recipe(label, model, epochs, steps):
    peak = 0.05 if label == "cnn" else 0.01  # the MLP diverges at more
    optimizer = optim.SGD(model.parameters(), lr=peak, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return optimizer, optim.OneCycleLR(optimizer, max_lr=peak, total_steps=steps)


def cifar_data(folder, seed, part=1.0, batch=64):
    from tinytorch.data import loader

    try:
        train, test = loader.CIFAR10(folder), loader.CIFAR10(folder, train=False)
    except (OSError, ValueError) as error:
        raise UnusableError(f"{error}\nOr type: tito data fetch cifar10") from error
    images, labels = share_of((train.images, train.labels), part)
    test_images, test_labels = share_of((test.images, test.labels), max(part, QUICK))
    mean, std = loader.channel_statistics(images)
    normalize = loader.Normalize(mean, std)
    augment = loader.Compose(
        [loader.RandomCrop(32, padding=4, mode="reflect"), loader.RandomHorizontalFlip(), normalize]
    )
    return Data(
        loader.DataLoader(
            loader.TensorDataset(images, labels), batch, shuffle=True, seed=seed, transform=augment, prefetch=2
        ),
        loader.DataLoader(loader.TensorDataset(test_images, test_labels), 250, transform=normalize, prefetch=2),
        test_images,
        test_labels,
        loader.CIFAR10.classes,
        f"{len(images):,} and {len(test_images):,} images from {Path(train.folder).name}: layout checked, not the "
        "archive's checksum, so the accuracy is on these very files.",
        {"mean": mean, "std": std},
    )


TASKS = {"digits": digits_task, "cifar10": cifar_task}


# Is it a convolution at all? --------------------------------------------------------------------------------------


def whose_convolution():
    """Which convolution runs, and whose: your own, or the reference: given in this course, or installed elsewhere."""
    file = Path(spatial().__file__).resolve()
    own = file.is_relative_to(ROOT) and not given("09", file)
    return f"{'yours' if own else 'reference'} ({backend()})"


def made_up(images, size, kernel):
    """Random images (images, 3, *size), and a weight (4, 3, *kernel) and a bias (4,) for them, in float32."""
    generator = np.random.default_rng(0)
    shapes = (images, 3, *size), (4, 3, *kernel), (4,)
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def defined(image, weight, bias, stride, padding):
    """Convolution by its definition: at every place, the sum of pixels times weights, plus the bias."""
    (down, across), (height, width) = stride, weight.shape[2:]
    padded = np.pad(image.astype(np.float64), ((0, 0), (0, 0), *((side, side) for side in padding)))
    rows, columns = (padded.shape[2] - height) // down + 1, (padded.shape[3] - width) // across + 1
    out = np.empty((len(image), len(weight), rows, columns))
    for b, o, row, column in np.ndindex(out.shape):
        window = padded[b, :, down * row : down * row + height, across * column : across * column + width]
        out[b, o, row, column] = (window * weight[o]).sum() + bias[o]
    return out


def convolution_error(images):
    """The largest difference between Conv2d (stride, padding and bias on) and its definition, on random numbers."""
    image, weight, bias = made_up(images, (6, 5), (3, 2))
    layer = nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0))
    layer.weight, layer.bias = Tensor(weight), Tensor(bias)
    return _largest_difference(layer(Tensor(image)).numpy(), defined(image, weight, bias, (2, 1), (1, 0)))


def block_error():
    """The same for convolution, ReLU and pooling in a row, which a fast engine may do in one go."""
    image, weight, bias = made_up(8, (6, 8), (3, 3))
    block = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    block[0].weight, block[0].bias = Tensor(weight), Tensor(bias)
    expected = np.maximum(defined(image, weight, bias, (1, 1), (1, 1)), 0)
    expected = expected.reshape(8, 4, 3, 2, 4, 2).max(axis=(3, 5))
    return _largest_difference(block(Tensor(image)).numpy(), expected)


def pooling_error():
    image = np.random.default_rng(1).normal(size=(2, 3, 4, 6)).astype(np.float32)
    expected = image.reshape(2, 3, 2, 2, 3, 2).max(axis=(3, 5))
    return _largest_difference(nn.MaxPool2d(2)(Tensor(image)).numpy(), expected)


def _largest_difference(found, expected):
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")


# The five acts ----------------------------------------------------------------------------------------------------


CHALLENGE = {
    "digits": """
        In 1998 Yann LeCun and colleagues describe LeNet, the network that reads bank cheques. Its idea: the same few
        weights look at every place of the picture, because a stroke is a stroke wherever it is. Can 810 parameters
        read handwriting?""",
    "cifar10": """
        The idea that read cheques in 1998, on colour photographs of 32x32 pixels: aeroplanes, cats, trucks. 60,000
        pictures, ten classes, and a network made of nothing but what you wrote.""",
}
CIFAR_SETUP = """
        {network}. SGD with Nesterov momentum 0.9, weight decay 5e-4, one-cycle rate with its peak at 0.05, batches of
        64; pictures cropped at random places and mirrored, the next batches made ready while the network works on this
        one. Beside it an MLP of about as many parameters, with the same recipe but a peak of 0.01: it diverges at
        more."""
SETUP = {
    "digits": """
        1,797 digits of 8x8 pixels: 1,437 to learn from, 360 to be tested on, a shuffled stratified split for each
        seed. Conv 1 to 8 (3x3), ReLU, max pool 2, Linear 72 to 10. SGD with momentum 0.9, a rate of 0.1 that falls
        to 0 along a cosine, batches of 32. Beside it, with the same recipe and the same seeds, an MLP of about as
        many parameters: 64 to 11 to 10.""",
    "cifar10": CIFAR_SETUP.format(network="Conv 3 to 32, pool, conv 32 to 64, pool, Linear 4096 to 128 to 10"),
    "cifar10-deep": CIFAR_SETUP.format(
        network="""Three blocks of conv 3x3, ReLU, pool and batch normalisation, 3 to 64 to 128 to 256 channels, a
        fourth, 256 to 256, without pooling, then the mean of each channel and Linear 256 to 10"""
    ),
    "cifar10-speedrun": """
        24 fixed filters of 2x2 pixels that whiten the pictures, then three blocks of conv 3x3, pool, batch
        normalisation, GELU, conv 3x3, batch normalisation, GELU, 64, 160 and 256 channels wide, the largest pixel of
        each channel and Linear 256 to 10. Muon for the filters, SGD with Nesterov momentum 0.85 for the rest, labels
        smoothed by 0.2, batches of 400, rates that fall in a straight line. Pictures of 26, then 32 pixels,
        shifted by up to 2, mirrored by a coin and from then on in turns.""",
}


REFLECTION = {
    "digits": """
        These are shuffled splits; on the digits of writers it has never seen it would do worse. And these pictures are
        tiny and centred, which suits the MLP. What is due to the window, and what to the rest? Permute the pixels or
        shift the pictures by one, and see which network minds. And on a digit of your own: tito predict PICTURE""",
    "cifar10": """
        What else would help: more windows, more layers, batch normalisation, more epochs. Look at the surest mistakes
        on the page: which of them would you have made? Try it on a photograph of your own: tito predict PICTURE""",
}


def setup(stage, task):
    """Say what will run, and check the instrument; returns whether it is what it says it is."""
    stage.say(SETUP[task.name])
    stage.say(f"{count(stage.epochs, 'epoch')}, {count(len(stage.seeds), 'seed')}.")
    task.extra["convolution"] = whose_convolution()
    stage.screen.write()
    stage.say(task.extra["convolution"], "bold", "Convolution: ")
    errors = {
        "Conv2d": max(convolution_error(images) for images in (1, 2, 9)),
        "MaxPool2d": pooling_error(),
        "Conv2d, ReLU, MaxPool2d in a row": block_error(),
    }
    for name, error in errors.items():
        stage.say(f"off from its definition by {error:.0e} at most", "" if error < 1e-4 else "bold red", f"{name}: ")
    stage.require("Conv2d and MaxPool2d give what their definitions give", max(errors.values()) < 1e-4)
    return max(errors.values()) < 1e-4


def diagnosis(stage, task, kept):
    comparison(stage, kept)
    stage.screen.write()
    stage.say(
        "Every parameter tensor of the CNN, the worst of all runs: its largest gradient, how far its entries moved at "
        "most, and how well its gradient agrees with finite differences."
    )
    parameter_table(stage, kept["cnn"])
    first = kept["cnn"][0]
    stage.screen.write()
    stage.say(f"Ten samples, seed {first['seed']}: what it says, and how sure it is.")
    show_samples(stage, task.data(first["seed"]), first["samples"])


def reflection(stage, task, kept):
    if "mlp" in kept:
        cnn, mlp = kept["cnn"], kept["mlp"]
        ahead = sum(a > b for a, b in zip(accuracies(cnn), accuracies(mlp), strict=True))
        ratio = cnn[0]["multiply_accumulates"] / mlp[0]["multiply_accumulates"]
        reached = [
            f"{runs[0]['parameters']:,} parameters reaches {percent(np.median(accuracies(runs)))}"
            for runs in (cnn, mlp)
        ]
        stage.say(
            f"The CNN of {reached[0]}, the MLP of {reached[1]}; on the same split and seed the CNN is ahead in "
            f"{ahead} of {len(cnn)}. The weights are as many, the work is not: the window is used at every place, "
            f"{ratio:.1f} times as many products for each picture. Parameters are not compute."
        )
    stage.say(REFLECTION[stage.options.data])


def page_rows(task, kept, data):
    from tinytorch import viz

    cnn, first = kept["cnn"], kept["cnn"][0]
    histories = {label.upper(): [run["history"] for run in runs] for label, runs in kept.items()}
    together = f"Confusion matrix, {len(cnn)} runs together" if len(cnn) > 1 else "Confusion matrix"
    matrix = sum(np.array(run["confusion"]) for run in cnn)
    filters = [np.array(first["filters"][when]) for when in ("before", "after")]
    rows = [
        [lambda part: viz.curves(histories, task.needed, part)],
        [
            (lambda part: viz.filters(*filters, figure=part), 1.0),
            (lambda part: viz.confusion(matrix, data.names, together, part), 1.0),
        ],
    ]
    for heading, samples in (("Ten samples", first["samples"]), ("The surest mistakes", first["mistakes"])):
        if samples:
            rows.append([_pictures(data, samples, f"{heading}, seed {first['seed']}")])
    return rows


def _pictures(data, samples, heading):
    from tinytorch import viz

    wrong = [s["label"] != s["prediction"] for s in samples]
    between = "\n" if max(map(len, data.names)) > 2 else " "
    said = [
        f"{data.names[s['label']]}{between}as {data.names[s['prediction']]}" if bad else data.names[s["label"]]
        for s, bad in zip(samples, wrong, strict=True)
    ]
    titles = [f"{text}\n{100 * s['confidence']:.0f} %" for text, s in zip(said, samples, strict=True)]
    pictures = [data.images[s["index"]] for s in samples]
    return lambda part: viz.images(pictures, titles, wrong, columns=10, heading=heading, figure=part)


TITLES = {
    "digits": "1998: a CNN reads digits",
    "cifar10": "A CNN learns CIFAR-10",
    "cifar10-deep": "A deeper CNN learns CIFAR-10",
    "cifar10-speedrun": "A CNN learns CIFAR-10 in a speedrun",
}


def draw(stage, task, kept):
    from tinytorch import viz

    data, first = task.data(stage.seeds[0]), kept["cnn"][0]
    rows = page_rows(task, kept, data)
    title = TITLES[task.name]
    below = 1.6 if task.name == "digits" else 1.9
    note = f"{first['parameters']:,} parameters, {count(stage.epochs, 'epoch')}; convolution: {first['convolution']}"
    return viz.page(
        title,
        rows,
        note="\n".join(filter(None, [note, data.note])),
        heights=[3.1, 4.0, below, below][: len(rows)],
        width=10.5,
    )


def play(stage):
    if stage.options.model != "wide" and stage.options.data != "cifar10":
        raise UnusableError(f"--model {stage.options.model} is for photographs: add --data cifar10")
    if stage.options.model != "speedrun" and stage.options.without:
        raise UnusableError(f"--without {stage.options.without[0]} is for the speedrun: add --model speedrun")
    if stage.options.data != "cifar10" and stage.options.part:
        raise UnusableError(f"--part {stage.options.part:g} is for photographs: add --data cifar10")
    task = TASKS[stage.options.data](stage.options)
    without = [f"without {name}" for name in sorted(set(stage.options.without))]
    stage.expect(task.epochs, task.seeds, task.part, " ".join(without).replace(" ", "-"))
    if workers.started():
        stage.crew = workers.join()
    elif stage.options.workers > 1:
        return workers.start(stage, stage.options.workers)
    task.extra["workers"] = stage.crew.size
    stage.act("Challenge")
    stage.say(CHALLENGE[stage.options.data])
    stage.act("Setup")
    if not setup(stage, task):
        stage.say("What comes out is no convolution, or no pooling: there is nothing to train yet. Type: tito test 09")
        return stage.verdict()
    stage.act("Experiment")
    note = stage.crew.told(stage.crew.rank or task.data(stage.seeds[0]).note)  # rank 0 says first if data is missing
    kept = experiment(stage, task)
    stage.act("Diagnosis")
    diagnosis(stage, task, kept)
    page = stage.draw(f"{task.name}.png", lambda: draw(stage, task, kept))
    stage.act("Reflection")
    reflection(stage, task, kept)
    return verdict(stage, task, kept, page, note, without)


def verdict(stage, task, kept, page, note, without=()):
    score, whose = judged_score(task, kept["cnn"])
    needed = f"{plain_score(task, kept['cnn'])} (needed {percent(task.needed)})"
    stage.require(f"test accuracy, {whose}: {percent(score)}{needed}", score >= task.needed)
    stage.require("every parameter tensor had a gradient and moved", all_learned(kept["cnn"]))
    stage.require("gradients agree with finite differences to 1 in 1,000", slopes_agree(kept["cnn"]))
    part = "" if task.part == 1 else f"trained on {100 * task.part:g} % of the data"
    if task.long:
        note = f"{cost(kept)} {note}"
    return stage.verdict(" and ".join(filter(None, [stage.why_not(), part, *without])), page, note)


def cost(kept):
    """What the runs took: images per second, and the most memory that a process held."""
    runs = [run for runs in kept.values() for run in runs]
    speeds = [row["images_per_second"] for run in kept["cnn"] for row in run["history"]]
    peaks = [run["peak_memory"] for run in runs if run["peak_memory"]]
    processor = span(float(np.median([run["cpu_seconds"] for run in kept["cnn"]])))
    memory = f", peak memory {max(peaks) / 1e6:,.0f} MB" if peaks else ""
    crew = kept["cnn"][0].get("workers", 1)
    by, each = (f" with {crew} workers", " each") if crew > 1 else ("", "")
    return (
        f"The CNN learned from {np.median(speeds):,.0f} images per second{by}{memory}{each if memory else ''}; "
        f"a run took {processor} of processor time{each}."
    )


def share(text):
    """A number above 0 and at most 1, for an option."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"give a number above 0 and at most 1, not {text!r}")
    return number


def more(parser):
    parser.add_argument("--data", choices=TASKS, default="digits", help="what to learn (default: digits)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where cifar-10-batches-bin lies (default: data/)")
    parser.add_argument("--model", choices=MODELS, default="wide", help="which network learns cifar10")
    parser.add_argument("--quick", action="store_true", help="a fifth of the data (not judged)")
    parser.add_argument("--part", type=share, metavar="S", help="so much of cifar10: 0.1 is a tenth (not judged)")
    left_out = "leave this part of the speedrun out; may be repeated (not judged)"
    parser.add_argument("--without", choices=INGREDIENTS, action="append", default=[], help=left_out)
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes that train together (MPI)")
    parser.add_argument("--no-mlp", action="store_false", dest="mlp", help="leave out the MLP beside it")


if __name__ == "__main__":
    Stage(__file__, "Milestone 04, 1998: a CNN of your own", more=more).run(play)

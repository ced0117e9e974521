"""Say what is on pictures, with a network that this milestone has trained: `tito predict` calls this and shows it.

python predict.py RUN.json IMAGE... prints one line of JSON: for each image, the classes with their probabilities,
the likeliest first, or what is wrong with it. python predict.py RUN.json --describe prints the network itself, layer by
layer with its weights, for the page on which it runs by itself (tito/web).
"""

import base64
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from networks import NETWORKS

from tinytorch import Tensor, no_grad


def network(record, weights):
    """The network of a kept run, ready to be asked."""
    from tinytorch.files import part_of, read_arrays

    arrays, _ = read_arrays(weights)
    model = NETWORKS[record["data"]]()
    model.load_state_dict(part_of(arrays, "model"))
    return model.eval()


def opened(path):
    """A picture as it is meant to be seen: upright, on white where it is transparent."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        picture = _eight_bits(ImageOps.exif_transpose(file), file.format).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _eight_bits(picture, kind):
    """A picture of 0 to 255. One of 16 bits is scaled, since Pillow would cut off what is above 255."""
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind == "PNG"):
        return Image.fromarray((np.asarray(picture).astype(np.uint32) / 257).round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers of 32 bits ({picture.mode}), of a range it does not say: save 8 bits")
    return picture


def photograph(picture, scale):
    """(1, 3, 32, 32): the middle square of a picture, made small, normalised as in training."""
    from PIL import Image, ImageOps

    small = ImageOps.fit(picture, (32, 32), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255
    mean, std = (np.array(scale[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    return (pixels - mean) / std


def digit(picture, scale=None):
    """(1, 1, 8, 8): a written digit as the 8x8 digits were made: cut out, centred, 4x4 points counted as one pixel."""
    from PIL import Image

    grey = np.asarray(picture.convert("L"), np.float32)
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = np.abs(grey - np.median(edge))  # dark on light, or light on dark
    if ink.max() < 32:
        raise ValueError("there is nothing on it that stands out from the ground")
    ink = ink > 0.5 * ink.max()
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(cut.shape)
    top, left = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square = np.zeros((side, side), np.uint8)
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = 255 * cut
    points = np.asarray(Image.fromarray(square).resize((32, 32), Image.Resampling.BOX)) > 127
    return points.reshape(8, 4, 8, 4).mean(axis=(1, 3), dtype=np.float32)[None, None]


def told(model, prepare, scale, names, path):
    """{"classes": [[name, probability], ...]} for one picture, or {"error": text}; a digit as it was "seen", too."""
    try:
        pixels = prepare(opened(path), scale)
    except (OSError, ValueError, SyntaxError) as error:
        return {"error": "no such file" if isinstance(error, FileNotFoundError) else str(error)}
    with no_grad():
        logits = model(Tensor(pixels)).numpy()[0].astype(float)
    powers = np.exp(logits - logits.max())
    shares = powers / powers.sum()
    seen = {"seen": pixels[0, 0].tolist()} if prepare is digit else {}
    return {"classes": [[names[at], float(shares[at])] for at in np.argsort(-shares, kind="stable")], **seen}


def text_of(array):
    """An array as {"shape", "base64"}: float32, little-endian."""
    array = np.asarray(array, "<f4")
    return {"shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode()}


SETTINGS = {
    "Conv2d": {
        "kernel": "kernel_size",
        "stride": "stride",
        "padding": "padding",
        "dilation": "dilation",
        "groups": "groups",
    },
    "MaxPool2d": {"kernel": "kernel_size", "stride": "stride", "padding": "padding"},
    "BatchNorm2d": {"eps": "eps"},
}


def described(record, file, names):
    """The network as plain data: layers with their settings and arrays, weights after each kept epoch, ten pictures."""
    from tinytorch.files import part_of

    model = network(record, file.with_suffix(".safetensors"))
    state, layers = model.state_dict(), []
    for at, layer in enumerate(model):
        kind = type(layer).__name__
        settings = {name: getattr(layer, attribute) for name, attribute in SETTINGS.get(kind, {}).items()}
        arrays = {name: text_of(array) for name, array in part_of(state, at).items() if array.ndim}
        layers.append({"kind": kind, **settings, **arrays})
    return {
        "data": record["data"],
        "run": file.stem,
        "names": list(names),
        "accuracy": record["test_accuracy"],
        "parameters": record["parameters"],
        "convolution": record["convolution"],
        "scale": record.get("scale"),
        "layers": layers,
        "epochs": kept_epochs(file.with_name(f"{file.stem}-epochs.safetensors")),
        "samples": samples(record) if record["data"] == "digits" else [],
    }


def kept_epochs(path):
    """[{"0.weight": array as text, ...}, ...]: before training, and after each epoch; empty if some are missing."""
    from fitting import kept_album

    album = kept_album(path)
    whole = sorted(album) == list(range(len(album)))
    return [{name: text_of(array) for name, array in album[at].items()} for at in range(len(album))] if whole else []


def samples(record):
    """Ten pictures of the run's own test part to begin with: up to five of its surest mistakes, then others."""
    from tinytorch.data.loader import digits

    _, _, images, labels = digits(record["seed"])
    wrong = [one["index"] for one in record["mistakes"]][:5]
    chosen = wrong + [one["index"] for one in record["samples"] if one["index"] not in wrong][: 10 - len(wrong)]
    return [{"image": text_of(images[at]), "label": int(labels[at]), "mistake": at in wrong} for at in chosen]


def main(file, *paths):
    from tinytorch.data.loader import CIFAR10

    file = Path(file)
    record = json.loads(file.read_text(encoding="utf-8"))
    names, prepare = ("0123456789", digit) if record["data"] == "digits" else (CIFAR10.classes, photograph)
    if paths == ("--describe",):
        return print(json.dumps(described(record, file, names)))
    model = network(record, file.with_suffix(".safetensors"))
    print(json.dumps([told(model, prepare, record.get("scale"), names, path) for path in paths]))


if __name__ == "__main__":
    main(*sys.argv[1:])

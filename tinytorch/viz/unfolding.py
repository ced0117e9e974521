"""What happens to windows: strides in memory, im2col, folding back, who wins a pooling, and a network's shapes."""

import numpy as np

from tinytorch.viz.house import BLUE, FAINT, GROUND, INK, ORANGE, PALETTE, SKY, canvas, styled
from tinytorch.viz.sliding import cells, number


def _outline(axes, top, left, height, width, color=BLUE, line="-"):
    from matplotlib.patches import Rectangle

    place = (left - 0.5, top - 0.5)
    frame = Rectangle(place, width, height, fill=False, edgecolor=color, linewidth=2.2, linestyle=line, zorder=3)
    frame.set_clip_on(False)
    axes.add_patch(frame)


@styled
def strided_view(size, kernel, stride=1, figure=None):
    """Numbers in memory, and all windows of length `kernel` over them as rows of a view: which cell reads which."""
    count = (size - kernel) // stride + 1
    figure = canvas(figure, 7.2, 3.4)
    memory, view = figure.subplots(2, 1, height_ratios=[1.4, count])
    cells(memory, np.arange(size)[None], f"in memory: {size} numbers", (0, 0, 1, kernel))
    rows = np.arange(kernel) + stride * np.arange(count)[:, None]
    cells(view, rows, f"the view: {count}×{kernel} numbers, none of them copied", (0, 0, 1, kernel))
    for axes in (memory, view):
        axes.set(xlim=(-0.5, size - 0.5))
    for row in range(count):
        jump = "" if row == 0 else f"row {row} begins {stride} further on"
        view.text(
            kernel + 0.1, row, f"places {rows[row, 0]} to {rows[row, -1]} in memory   {jump}", va="center", fontsize=8
        )
    return figure


@styled
def im2col(image, kernels, window=(0, 0), figure=None):
    """A convolution of one image (H, W) with kernels (O, kh, kw) as one matrix product.

    Kernels are rows, windows are columns, and row times column is an output pixel. window: the outlined one.
    """
    (height, width), (count, kh, kw) = image.shape, kernels.shape
    down, across = height - kh + 1, width - kw + 1
    windows = [image[i : i + kh, j : j + kw] for i in range(down) for j in range(across)]
    columns, rows = np.stack([one.ravel() for one in windows], axis=1), kernels.reshape(count, -1)
    out, at = rows @ columns, window[0] * across + window[1]
    figure = canvas(figure, 10.4, 2.5)
    widths = [width, rows.shape[1], columns.shape[1], columns.shape[1]]
    places = figure.subplots(1, 4, width_ratios=widths, gridspec_kw={"wspace": 0.12})
    cells(places[0], image, "image", (*window, kh, kw))
    cells(places[1], rows, f"{count} kernels, as rows")
    cells(places[2], columns, f"{down * across} windows, as columns", (0, at, kh * kw, 1))
    cells(places[3], out, "product: outputs", (0, at, count, 1))
    for axes, sign in ((places[1], "@"), (places[2], "=")):
        axes.annotate(sign, (1.02, 0.5), xycoords="axes fraction", fontsize=14, va="center")
    return figure


@styled
def folding(pieces, kernel, figure=None):
    """Windows that hand their numbers back: pieces (H_out, W_out), one number for each window, and what pixels collect."""
    rows, columns = pieces.shape
    out, images = np.zeros((rows + kernel - 1, columns + kernel - 1), int), []
    for i, j in np.ndindex(rows, columns):
        one = np.zeros_like(out)
        one[i : i + kernel, j : j + kernel] = pieces[i, j]
        out += one
        images.append(((i, j), one))
    figure = canvas(figure, 1.9 * (len(images) + 1), 2.1)
    places = figure.subplots(1, len(images) + 1)
    for axes, ((i, j), one) in zip(places, images, strict=False):
        cells(axes, one, f"window {i, j} brings {number(pieces[i, j])}", (i, j, kernel, kernel), known=one != 0)
        axes.title.set_fontsize(8)
    for axes in places[:-1]:
        axes.annotate(
            "+" if axes is not places[-2] else "=", (1.06, 0.5), xycoords="axes fraction", fontsize=13, va="center"
        )
    cells(places[-1], out, "each pixel collects", (rows // 2, columns // 2, 1, 1))
    places[-1].title.set_fontsize(8)
    return figure


@styled
def winners(image, kernel, figure=None):
    """Max pooling by windows that touch: each window's pixels in its colour, the first maximum framed, and the result."""
    rows, columns = image.shape[0] // kernel, image.shape[1] // kernel
    out = np.zeros((rows, columns), image.dtype)
    figure = canvas(figure, 6.0, 2.6)
    before, after = figure.subplots(1, 2, width_ratios=[image.shape[1], columns], gridspec_kw={"wspace": 0.3})
    cells(before, image, "image: the winner of each window is framed")
    styles = ("-", "--", "-.", ":")
    for number_, (i, j) in enumerate(np.ndindex(rows, columns)):
        part = image[i * kernel : (i + 1) * kernel, j * kernel : (j + 1) * kernel]
        out[i, j] = part.max()
        r, s = divmod(int(part.argmax()), kernel)
        color, line = PALETTE[number_ % len(PALETTE)], styles[number_ % 4]
        _outline(before, i * kernel + r, j * kernel + s, 1, 1, color, line)
    for at in range(1, rows):
        before.axhline(at * kernel - 0.5, color=INK, linewidth=1.6)
    for at in range(1, columns):
        before.axvline(at * kernel - 0.5, color=INK, linewidth=1.6)
    cells(after, out, "max pooling")
    for number_, (i, j) in enumerate(np.ndindex(rows, columns)):
        _outline(after, i, j, 1, 1, PALETTE[number_ % len(PALETTE)], styles[number_ % 4])
    return figure


@styled
def pipeline(shapes, notes=None, figure=None):
    """What flows through a network: {what made it: (C, H, W) or (N,)}, as boxes to scale from left to right.

    notes: {the same name: a line below}, such as parameters and multiply-accumulates.
    """
    from matplotlib.patches import Polygon, Rectangle

    figure = canvas(figure, 10.4, 3.4)
    axes, left = figure.subplots(), 0.0
    for place, (name, shape) in enumerate(shapes.items()):
        side = shape[-1] / 32 if len(shape) == 3 else 0.12
        height = side if len(shape) == 3 else 0.35 + 0.65 * min(1, np.log10(shape[0]) / 3.4)
        depth = 0.012 * shape[0] if len(shape) == 3 else 0.0
        low = 0.5 - height / 2
        color = ORANGE if "Conv" in name else BLUE if "Pool" in name else SKY
        shift = 0.6 * depth
        top = [(left, low + height), (left + depth, low + height + shift), (left + depth + side, low + height + shift)]
        axes.add_patch(
            Polygon([*top, (left + side, low + height)], facecolor=color, alpha=0.35, edgecolor=INK, linewidth=0.8)
        )
        right = [(left + side, low), (left + side + depth, low + shift), (left + side + depth, low + height + shift)]
        axes.add_patch(
            Polygon([*right, (left + side, low + height)], facecolor=color, alpha=0.6, edgecolor=INK, linewidth=0.8)
        )
        axes.add_patch(Rectangle((left, low), side, height, facecolor=GROUND, edgecolor=INK, linewidth=1.0))
        middle = left + (side + depth) / 2
        axes.text(middle, 1.62, name.strip().replace(", ", ",\n"), ha="center", va="top", fontsize=8, fontweight="bold")
        axes.text(middle, -0.1, "×".join(map(str, shape)), ha="center", va="top", fontsize=9)
        for line, words in enumerate((notes or {}).get(name, ())):
            axes.text(middle, -0.3 - 0.17 * line, words, ha="center", va="top", fontsize=7.5, color="#57606a")
        left += side + depth + 0.62
        if place < len(shapes) - 1:
            arrow = {"arrowstyle": "->", "color": FAINT}
            axes.annotate("", (left - 0.1, 0.5), (left - 0.5, 0.5), arrowprops=arrow)
    axes.set(xlim=(-0.35, left - 0.3), ylim=(-0.75, 1.65), aspect="equal")
    axes.set_axis_off()
    return figure

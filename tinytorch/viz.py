"""Figures for the lessons and milestones, and `predict` cells: guess first, then run.

Every function returns a matplotlib Figure (or fills the `figure` it is given, so that `page` can compose them).
matplotlib is imported when the first figure is drawn. A figure carries its own light ground, so it reads the same on
a light and on a dark page; the colours are those of Okabe and Ito, told apart by every kind of eye, and no figure
says anything by colour alone.
"""

from functools import cache, wraps

import numpy as np

BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, RED, GREEN, ORANGE, PINK, SKY)
MARKS = ("o", "s", "D", "^", "v", "X")
INK, FAINT, GROUND = "#24292f", "#8b949e", "#fcfcfa"
EDGE = {"color": FAINT, "linewidth": 0.8, "clip_on": False}
USUAL_SETTINGS = {"stride": 1, "padding": 0, "dilation": 1}
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.facecolor": GROUND,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e2",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.prop_cycle": f"cycler('color', {list(PALETTE)})",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@cache
def _figure_class():
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("tinytorch.viz draws with matplotlib: pip install matplotlib") from None

    class Drawing(Figure):
        """A Figure that shows itself as the value of a notebook cell, whatever backend is on.

        alt: what it shows, in words, for those who do not see it; it travels with the picture.
        """

        alt = ""

        def _repr_png_(self):
            from io import BytesIO

            png, width = BytesIO(), round(110 * self.get_size_inches()[0])
            self.savefig(png, format="png", dpi=220)  # twice as fine as it is shown: sharp on every screen
            return png.getvalue(), {"alt": self.alt or _titles(self), "width": width}

    return Drawing


def _titles(figure):
    """What a figure's titles and axes say, as one line."""
    parts = [figure.get_suptitle() or ""]
    for axes in figure.get_axes():
        across, up = axes.get_xlabel(), axes.get_ylabel()
        parts += [axes.get_title() or axes.get_title(loc="left"), f"{up} against {across}" if across and up else ""]
    return "Figure: " + "; ".join(dict.fromkeys(part for part in parts if part))


def _canvas(figure, width, height):
    """The figure (or part of a page) to draw on; a new one has its own ground and lays itself out."""
    if figure is None:
        figure = _figure_class()(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    figure.set_facecolor(GROUND)
    return figure


def _styled(draw):
    """Run a drawing function under the house's style; the reader's own settings stay as they are.

    Every one takes `alt`, the picture in words; without it the titles speak.
    """

    @wraps(draw)
    def run(*inputs, alt="", **named):
        _figure_class()
        import matplotlib

        with matplotlib.rc_context(STYLE):
            figure = draw(*inputs, **named)
        if alt:
            figure.alt = alt
        return figure

    return run


# Training ---------------------------------------------------------------------------------------------------------


def _rows(history):
    return [dict(row) for row in getattr(history, "rows", history)]


def _groups(histories):
    """{label: list of runs} from one history, several histories, or a dictionary of either."""
    if not isinstance(histories, dict):
        histories = {"": histories}
    groups = {}
    for label, runs in histories.items():
        runs = list(getattr(runs, "rows", runs))
        groups[label] = [_rows(run) for run in ([runs] if runs and hasattr(runs[0], "keys") else runs)]
    return groups


def _column(runs, key):
    """(epochs, values (runs, epochs)) of one figure of the history, cut to the shortest run."""
    length = min(len(run) for run in runs)
    epochs = [row.get("epoch", at + 1) for at, row in enumerate(runs[0][:length])]
    return epochs, np.array([[row.get(key, np.nan) for row in run[:length]] for run in runs], dtype=float)


def _draw_runs(axes, runs, key, color, dashes, label):
    epochs, values = _column(runs, key)
    if np.isnan(values).all():
        return
    marker = "o" if len(epochs) < 3 else None
    for run in values if len(values) > 1 else ():
        axes.plot(epochs, run, color=color, alpha=0.25, linewidth=0.8, linestyle=dashes)
    axes.plot(
        epochs, np.median(values, axis=0), color=color, linestyle=dashes, label=label, marker=marker, markersize=3
    )


@_styled
def curves(histories, threshold=None, figure=None):
    """Loss and accuracy over the epochs.

    histories: one history (rows with "epoch" and any of train_loss, test_loss, train_accuracy, test_accuracy), a list
    of them (runs with different seeds: thin lines, their median thick), or a dictionary of label -> either. Training
    is dashed, testing solid. threshold: an accuracy to mark.
    """
    figure = _canvas(figure, 8.4, 3.1)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for (label, runs), color in zip(_groups(histories).items(), PALETTE * 2, strict=False):
            for part, dashes in (("train", (0, (3, 2))), ("test", "-")):
                _draw_runs(axes, runs, f"{part}_{what}", color, dashes, f"{label} {part}".strip())
        axes.set(title=what.capitalize(), xlabel="epoch")
        _count_axis(axes)
        if what == "accuracy":
            _accuracy_axis(axes, threshold)
        elif _spread(axes) > 30:
            axes.set_yscale("log")
        if axes.get_lines():
            axes.legend()
    return figure


def _count_axis(axes):
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    low, high = axes.get_xlim()
    if high - low < 2:  # one epoch
        axes.set(xlim=(round(low) - 0.5, round(high) + 0.5), xticks=range(round(low), round(high) + 1))


def _spread(axes):
    values = np.concatenate([np.ravel(line.get_ydata()) for line in axes.get_lines()] or [np.ones(1)])
    values = values[np.isfinite(values)]
    return values.max() / values.min() if len(values) and values.min() > 0 else 1.0


def _accuracy_axis(axes, threshold):
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    low = min([np.nanmin(line.get_ydata()) for line in axes.get_lines()] + [threshold or 1.0])
    axes.set_ylim(max(0.0, low - 0.05 * (1.02 - low)), 1.02)
    axes.set_yticks([tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= 1.0])
    if threshold is not None:
        axes.axhline(threshold, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"needed: {100 * threshold:.0f} %",
            (0.99, threshold),
            (0, -3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="top",
            ha="right",
            fontsize=8,
        )


# Pictures and filters ---------------------------------------------------------------------------------------------


def _mosaic(tiles, columns):
    """(N, h, w[, 3]) tiles as one array, `columns` to a row, with a one-pixel gap of NaN between them."""
    tiles = np.asarray(tiles, dtype=float)
    count, height, width = tiles.shape[:3]
    rows = -(-count // columns)
    wall = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *tiles.shape[3:]), np.nan)
    for at, tile in enumerate(tiles):
        top, left = at // columns * (height + 1), at % columns * (width + 1)
        wall[top : top + height, left : left + width] = tile
    return wall


def _as_tiles(weight):
    """(O, I, kh, kw) -> (O, kh, kw) averaged over the channels, or (O, kh, kw, 3) for three of them."""
    weight = np.asarray(weight, dtype=float)
    if weight.ndim != 4:
        raise ValueError(f"filters wants weights of shape (out, in, height, width), got {weight.shape}")
    return weight.transpose(0, 2, 3, 1) if weight.shape[1] == 3 else weight.mean(axis=1)


def _columns(count):
    """Tiles to a row, so that the block stands a little taller than wide and its last row is full if it can."""
    most = max(1, int(count**0.5))
    return next((columns for columns in range(most, most // 2, -1) if count % columns == 0), most)


def _wall(axes, tiles, columns, limit):
    from matplotlib.colors import to_rgb

    wall = _mosaic(tiles, columns)
    if wall.ndim == 3:  # colour filters: zero is mid-grey
        wall = np.where(np.isnan(wall), to_rgb(GROUND), 0.5 + wall / (2 * limit))
        shown = axes.imshow(np.clip(wall, 0, 1), interpolation="nearest")
    else:
        shown = axes.imshow(wall, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_axis_off()
    return shown


@_styled
def filters(before, after, what="Filters", figure=None):
    """A convolution's filters before and after training, on one scale.

    before, after: weights (O, I, kh, kw). With three input channels they are drawn as colours (grey is zero),
    otherwise as the mean over the channels, from orange (negative) over white to purple (positive).
    """
    tiles = {f"{what} before training": _as_tiles(before), "and after": _as_tiles(after)}
    limit = max(np.abs(t[np.isfinite(t)]).max(initial=1e-12) for t in tiles.values())
    columns = _columns(len(before))
    figure = _canvas(figure, 1.3 + 1.3 * columns, 0.5 + 0.62 * -(-len(before) // columns))
    places = figure.subplots(1, 2, gridspec_kw={"wspace": 0.15})
    for axes, (title, block) in zip(places, tiles.items(), strict=True):
        shown = _wall(axes, block, columns, limit)
        axes.set_title(title)
    if tiles["and after"].ndim == 3:
        bar = figure.colorbar(shown, ax=list(places), shrink=0.8, aspect=24, ticks=[-limit, 0, limit])
        bar.ax.set_yticklabels([f"−{limit:.1f}", "0", f"+{limit:.1f}"])
        bar.outline.set_visible(False)
    return figure


def _picture(image):
    """(H, W), (1, H, W) or (3, H, W) -> what imshow takes."""
    image = np.asarray(image)
    if image.ndim == 3:
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return image


@_styled
def images(grid, titles=None, wrong=None, columns=None, heading=None, figure=None):
    """Pictures in rows, each with a title.

    grid: (N, H, W), (N, 1, H, W) or (N, 3, H, W), bytes or 0..1. wrong: booleans; those titles are red and bold.
    columns: pictures in a row, by default as many as there are, at most ten.
    """
    count = len(grid)
    columns = columns or max(1, min(10, count))
    rows = max(1, -(-count // columns))
    figure = _canvas(figure, 0.95 * columns, 1.25 * rows + 0.3 * bool(heading))
    if heading:
        figure.suptitle(heading, x=0.01, ha="left", fontsize=10, fontweight="bold")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for at, axes in enumerate(places):
        axes.set_axis_off()
        if at < count:
            axes.imshow(_picture(grid[at]), cmap="gray_r", interpolation="nearest")
        if at < count and titles is not None:
            mistake = wrong is not None and bool(wrong[at])
            axes.set_title(
                titles[at],
                loc="center",
                fontsize=8,
                color=RED if mistake else INK,
                fontweight="bold" if mistake else "normal",
                pad=3,
            )
    return figure


@_styled
def confusion(matrix, names=None, title="Confusion matrix", figure=None):
    """Who is taken for whom: rows are the true classes, columns the predicted ones, counts in the cells.

    The diagonal (right) is blue by the share of its row, every other cell (wrong) is orange by its count.
    """
    from matplotlib.colors import to_rgb

    matrix = np.asarray(matrix)
    count = len(matrix)
    names = [str(name) for name in (range(count) if names is None else names)]
    right = np.eye(count, dtype=bool)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    most = max(1, matrix[~right].max(initial=0))
    strength = np.where(right, 0.85 * share, np.where(matrix > 0, 0.25 + 0.75 * matrix / most, 0.0))[..., None]
    colors = np.where(right[..., None], to_rgb(BLUE), to_rgb(ORANGE))
    figure = _canvas(figure, 4.2, 4.2)
    axes = figure.subplots()
    axes.imshow(strength * colors + (1 - strength) * np.array(to_rgb(GROUND)), interpolation="nearest")
    for (row, column), number in np.ndenumerate(matrix):
        if number:
            light = row == column and share[row, column] > 0.5
            axes.text(column, row, f"{number:g}", ha="center", va="center", fontsize=7, color="white" if light else INK)
    long = max(map(len, names)) > 2
    axes.set_xticks(range(count), names, rotation=45 if long else 0, ha="right" if long else "center", fontsize=8)
    axes.set_yticks(range(count), names, fontsize=8)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


# Lines, planes and repeated runs ----------------------------------------------------------------------------------


@_styled
def lines(series, title="", xlabel="", ylabel="", log="", figure=None):
    """Lines with marks: {label: y} with x counted from 0, or {label: (x, y)}. log: "x", "y" or "xy".

    Every line has a mark of its own besides its colour.
    """
    figure = _canvas(figure, 6.0, 3.2)
    axes = figure.subplots()
    for (label, values), color, mark in zip(series.items(), PALETTE, MARKS, strict=False):
        x, y = values if isinstance(values, tuple) else (range(len(values)), values)
        axes.plot(x, y, color=color, marker=mark, markersize=4.5, label=label)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if len(series) > 1:
        axes.legend()
    return figure


@_styled
def panels(rows, numbers=False, limit=None, size=1.6, title="", figure=None):
    """Planes of numbers side by side: {title: (H, W)}, or a list of such rows; (N, H, W) is shown as N tiles.

    A plane with negative numbers goes from orange (negative) over white to purple, any other from white (0) to black.
    limit: the number with the full colour, by default the largest of the plane. numbers: write them into the cells.
    """
    rows = [
        {name: _wall_of(plane) for name, plane in row.items()} for row in ([rows] if isinstance(rows, dict) else rows)
    ]
    columns = max(map(len, rows))
    widths = [max(wall.shape[1] / wall.shape[0] for wall in column) for column in _by_column(rows)]
    figure = _canvas(figure, size * sum(widths), (size + 0.3) * len(rows) + 0.3 * bool(title))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    places = figure.subplots(len(rows), columns, squeeze=False, width_ratios=widths)
    for axes in places.flat:
        axes.set_axis_off()
    for line, row in zip(places, rows, strict=True):
        for axes, (name, wall) in zip(line, row.items(), strict=False):
            _plane(axes, wall, limit, numbers)
            axes.set_title(name, fontsize=9, loc="center", fontweight="normal")
    return figure


def _wall_of(plane):
    """A plane as it is; (N, H, W) as a block of tiles in at most two rows."""
    plane = np.asarray(plane, dtype=float)
    return plane if plane.ndim == 2 else _mosaic(plane, -(-len(plane) // 2))


def _by_column(rows):
    return [[list(row.values())[at] for row in rows if at < len(row)] for at in range(max(map(len, rows)))]


def _plane(axes, wall, limit, numbers):
    """One plane, or a block of tiles, as grey or as orange to purple."""
    signed, limit = np.nanmin(wall) < 0, limit or np.nanmax(np.abs(wall)) or 1.0
    axes.imshow(wall, cmap="PuOr" if signed else "gray_r", vmin=-limit * signed, vmax=limit, interpolation="nearest")
    height, width = wall.shape
    axes.plot([-0.5, width - 0.5, width - 0.5, -0.5, -0.5], [-0.5, -0.5, height - 0.5, height - 0.5, -0.5], **EDGE)
    for (row, column), value in np.ndenumerate(wall if numbers else np.empty((0, 0))):
        dark = abs(value) > 0.6 * limit
        text = f"{round(value, 2) + 0.0:g}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)


@_styled
def repeated(results, title="", ylabel="accuracy", figure=None):
    """Runs with several seeds: {name: {condition: values}}; the median, the middle half, and every run as a dot.

    One part with its own scale for each condition; every name has a mark of its own, told by the legend below. A single
    run that went wrong moves a mean and a standard deviation far, the median hardly.
    """
    conditions = list(next(iter(results.values())))
    figure = _canvas(figure, 2.9 * len(conditions), 3.6)
    for axes, condition in zip(figure.subplots(1, len(conditions), squeeze=False)[0], conditions, strict=True):
        for place, (runs, color, mark) in enumerate(zip(results.values(), PALETTE, MARKS, strict=False)):
            values = np.asarray(runs[condition], dtype=float)
            low, middle, high = np.percentile(values, [25, 50, 75])
            axes.plot(np.full(len(values), place - 0.15), values, ".", color=color, alpha=0.4, markersize=4)
            axes.errorbar(
                place, middle, [[middle - low], [high - middle]], fmt=mark, color=color, capsize=4, markersize=6
            )
            label = (place, middle), (8, 0), f"{100 * middle:.1f}"
            axes.annotate(label[2], label[0], label[1], textcoords="offset points", va="center", fontsize=8)
        axes.set(title=condition, xlim=(-0.5, len(results) - 0.3), xticks=[])
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    figure.axes[0].set_ylabel(ylabel)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.legend(figure.axes[0].containers, list(results), loc="outside lower center", ncols=len(results))
    return figure


@_styled
def windows_on_a_line(size, kernel, settings, figure=None):
    """The windows that fit on a line of pixels, one under the other: one part for each of the settings.

    settings: dictionaries with any of stride, padding, dilation. Pixels of the padding are hollow.
    """
    figure = _canvas(figure, 9.0, 2.0 * -(-len(settings) // 3))
    for axes, setting in zip(figure.subplots(-(-len(settings) // 3), 3).flat, settings, strict=False):
        stride, padding, dilation = (setting.get(name, usual) for name, usual in USUAL_SETTINGS.items())
        total, reach = size + 2 * padding, dilation * (kernel - 1) + 1
        line = np.arange(total)
        inside = (line >= padding) & (line < size + padding)
        axes.scatter(line[inside], 0 * line[inside], marker="s", s=95, color=SKY)
        axes.scatter(line[~inside], 0 * line[~inside], marker="s", s=85, facecolor="none", edgecolor=FAINT)
        for row, start in enumerate(range(0, total - reach + 1, stride), 1):
            axes.scatter(start + dilation * np.arange(kernel), np.full(kernel, -row), marker="s", s=70, color=BLUE)
        named = ", ".join(f"{name} {value}" for name, value in setting.items()) or "nothing else"
        axes.set_title(f"size {size}, kernel {kernel}: {named}", fontsize=8)
        axes.set(xlim=(-1, size + 3), ylim=(-size - 0.6, 1))
        axes.set_axis_off()
    return figure


# Points in the plane -----------------------------------------------------------------------------------------------


@_styled
def regions(score, points, labels, title="", lines=(), figure=None):
    """Points of two classes, and where a model says which.

    score: function of (N, 2) points -> N numbers, positive for class 1. points (N, 2), labels (N,) of 0 and 1.
    lines: (label, w0, w1, b) of further borders w0 x + w1 y + b = 0, dashed. Class 0: circles, class 1: squares.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    figure = _canvas(figure, 3.6, 3.6)
    axes = figure.subplots()
    low, high = points.min(axis=0), points.max(axis=0)
    low, high = low - 0.25 * (high - low), high + 0.25 * (high - low)
    across, up = (np.linspace(low[axis], high[axis], 161) for axis in (0, 1))
    plane = np.stack(np.meshgrid(across, up), axis=-1)
    height = np.asarray(score(plane.reshape(-1, 2).astype(np.float32)), dtype=float).reshape(plane.shape[:2])
    axes.contourf(across, up, height > 0, levels=[-0.5, 0.5, 1.5], colors=["#dcebf5", "#fbe6d3"])
    if height.min() < 0 < height.max():
        axes.contour(across, up, height, levels=[0.0], colors=[INK], linewidths=1.4)
    for at, (label, w0, w1, b) in enumerate(lines):
        if abs(w1) > 1e-9:
            axes.plot(
                across, -(w0 * across + b) / w1, color=PALETTE[2 + at], linestyle="--", linewidth=1.2, label=label
            )
    for value, marker, color in ((0, "o", BLUE), (1, "s", RED)):
        chosen = points[labels == value]
        axes.scatter(*chosen.T, marker=marker, color=color, edgecolor="white", linewidth=0.6, s=34, zorder=3)
    axes.set(title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.grid(False)
    if lines:
        axes.legend(loc="upper right", frameon=True, framealpha=0.9)
    return figure


# How a window slides ----------------------------------------------------------------------------------------------


def _pair(value):
    return (int(value), int(value)) if np.ndim(value) == 0 else tuple(int(v) for v in value)


def _slide(padded, kernel, stride):
    """Cross-correlation of one plane, straight from the definition."""
    (kh, kw), (sh, sw) = kernel.shape, stride
    height, width = (padded.shape[0] - kh) // sh + 1, (padded.shape[1] - kw) // sw + 1
    if height < 1 or width < 1:
        raise ValueError(f"a {kh}x{kw} kernel does not fit into an input of {padded.shape[0]}x{padded.shape[1]}")
    out = np.empty((height, width), np.result_type(padded, kernel))
    for row, column in np.ndindex(out.shape):
        out[row, column] = (padded[row * sh : row * sh + kh, column * sw : column * sw + kw] * kernel).sum()
    return out


def _number(value):
    return (f"{value:g}" if float(value).is_integer() else f"{value:.2g}").replace("-", "−")


def _cells(axes, values, title, frame=None, faint=None, known=None):
    """A plane of numbers in cells; `frame` (top, left, height, width) is outlined, `faint` cells are padding."""
    from matplotlib.patches import Rectangle

    height, width = values.shape
    tint = np.full((height, width, 3), 0.985)
    if frame is not None:
        top, left, rows, columns = frame
        tint[top : top + rows, left : left + columns] = (0.80, 0.89, 0.95)
        frame = Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, edgecolor=BLUE, linewidth=2.2)
        frame.set(zorder=3, clip_on=False)
        axes.add_patch(frame)
    axes.imshow(tint, interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        pad = faint is not None and faint[row, column]
        text = _number(value) if known is None or known[row, column] else "·"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=FAINT if pad else INK)
    edges = {"colors": "#c9ccd1", "linewidth": 0.8, "clip_on": False}
    axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, **edges)
    axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, **edges)
    axes.grid(False)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)


def _sum_in_words(window, kernel, result, terms=9):
    pairs = zip(window.ravel(), kernel.ravel(), strict=True)
    parts = [f"{_number(a)}·{_number(b)}" if b >= 0 else f"{_number(a)}·({_number(b)})" for a, b in pairs]
    shown = parts if len(parts) <= terms else [*parts[: terms - 1], "…"]
    return f"{' + '.join(shown)} = {_number(result)}"


@_styled
def sliding_window(image, kernel, position=(0, 0), stride=1, padding=0, so_far=False, ask=False, figure=None):
    """One step of a convolution: the window on the input, the kernel, and the output cell they make.

    image (H, W) and kernel (kh, kw) hold numbers; position is the output cell (row, column). Zeros of the padding are
    faint. so_far hides the output cells that come after this one, ask hides this one, too: the reader is to say what it
    is. Computed here from the definition, so the figure also checks the reader's own convolution.
    """
    image, kernel = np.asarray(image), np.asarray(kernel)
    (ph, pw), (sh, sw), (kh, kw) = _pair(padding), _pair(stride), kernel.shape
    padded = np.pad(image, ((ph, ph), (pw, pw)))
    out = _slide(padded, kernel, (sh, sw))
    row, column = position
    if not (0 <= row < out.shape[0] and 0 <= column < out.shape[1]):
        raise ValueError(f"the output is {out.shape[0]}x{out.shape[1]}; it has no cell {tuple(position)}")
    window = padded[row * sh : row * sh + kh, column * sw : column * sw + kw]
    here = row * out.shape[1] + column
    known = np.arange(out.size).reshape(out.shape) <= here if so_far or ask else None
    if ask:
        known[row, column] = False
    widths = [padded.shape[1], kw, out.shape[1]]
    figure = _canvas(figure, 0.4 * sum(widths) + 1.8, 0.4 * padded.shape[0] + 0.9)
    places = figure.subplots(1, 3, width_ratios=widths, gridspec_kw={"wspace": 0.12})
    border = np.pad(np.zeros(image.shape, bool), ((ph, ph), (pw, pw)), constant_values=True)
    _cells(places[0], padded, "input, padded" if ph or pw else "input", (row * sh, column * sw, kh, kw), border)
    _cells(places[1], kernel, "kernel", (0, 0, kh, kw))
    _cells(places[2], out, "output", (row, column, 1, 1), known=known)
    words = _sum_in_words(window, kernel, out[row, column])
    figure.supxlabel(words.rpartition(" = ")[0] + " = ?" if ask else words, fontsize=9)
    return figure


def slide(image, kernel, stride=1, padding=0):
    """sliding_window with two sliders, for the row and the column of the output; needs ipywidgets, and a notebook.

    Without them it says so in a sentence, and returns the figure of the step in the middle.
    """

    def step(row, column):
        return sliding_window(image, kernel, (row, column), stride, padding)

    edges = [(p, p) for p in _pair(padding)]
    height, width = _slide(np.pad(np.asarray(image), edges), np.asarray(kernel), _pair(stride)).shape
    still = step(height // 2, width // 2)
    try:
        from ipywidgets import HBox, IntSlider
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print("One step out of many. With ipywidgets installed, this cell has sliders that move the window.")
        return still
    if getattr(get_ipython(), "kernel", None) is None:
        print("One step out of many. In JupyterLab, this cell has sliders that move the window.")
        return still
    picture = display(still, display_id=True)  # an output of its own: a printed page shows it, without the sliders
    row, column = (
        IntSlider(size // 2, 0, size - 1, description=name) for name, size in (("row", height), ("column", width))
    )
    for slider in (row, column):
        slider.observe(lambda _: picture.update(step(row.value, column.value)), "value")
    return HBox([row, column])


# A page of figures ------------------------------------------------------------------------------------------------


@_styled
def page(title, rows, note="", width=10.0, heights=None):
    """Several figures on one page.

    rows: a list of rows, each a list of functions that draw on the figure they are given, such as
    `lambda part: curves(history, figure=part)`; a function may stand in a pair with its relative width.
    heights: inches per row. note: small print at the foot.
    """
    rows = [[item if isinstance(item, tuple) else (item, 1.0) for item in row] for row in rows]
    heights = list(heights) if heights is not None else [3.2] * len(rows)
    figure = _canvas(None, width, sum(heights) + 0.5 + 0.2 * bool(note))
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
    if note:
        figure.supxlabel(note, x=0.012, ha="left", fontsize=8, color="#57606a")
    bands = np.ravel(figure.subfigures(len(rows), 1, height_ratios=heights, hspace=0.03))
    for band, row in zip(bands, rows, strict=True):
        band.set_facecolor(GROUND)
        parts = np.ravel(band.subfigures(1, len(row), width_ratios=[weight for _, weight in row], wspace=0.03))
        for part, (draw, _) in zip(parts, row, strict=True):
            draw(part)
    return figure


# Predict first ----------------------------------------------------------------------------------------------------


class Predict:
    """Guess before you run: `predict("shape", (2, 8, 15, 15))`, then, after running, `predict.reveal(out.shape)`.

    Guesses are kept by kind, so that several can stand open; `reveal` answers the newest open one, or the one whose
    kind it is given. `...` or None stands for "no guess yet": then `reveal` asks for one, once, before it tells.
    """

    def __init__(self):
        self.open, self.right, self.asked, self.reminded = {}, 0, 0, set()

    def __call__(self, kind, *guess):
        guess = guess[0] if len(guess) == 1 else guess or None
        self.open.pop(kind, None)
        self.open[kind] = None if guess is ... else guess
        if self.open[kind] is None:
            print(f"{kind}: write your guess in place of the dots, and run this cell; the next one answers")
        else:
            print(f"{kind}: you say {_show(guess)}. Now run the next cell.")

    def reveal(self, actual, kind=None, within=1e-6):
        """Say whether the guess was right. within: relative tolerance for numbers (0.1 accepts 10 % off)."""
        if kind is None and not self.open or kind is not None and kind not in self.open:
            print(f"no guess is open{'' if kind is None else f' for {kind!r}'}: it is {_show(actual)}")
            return
        kind = kind or next(reversed(self.open))
        guess = self.open.pop(kind)
        if guess is None and kind not in self.reminded:
            self.reminded.add(kind)
            self.open[kind] = None
            print(f"{kind}: guess first, in the cell above, and run it; or run this cell again, and it tells")
            return
        if guess is None:
            print(f"{kind}: it is {_show(actual)} (no guess this time)")
            return
        self.asked += 1
        self.right += (good := _same(guess, actual, within))
        verdict = "right" if good else "not this time"
        why = "" if good else _difference(guess, actual)
        print(f"{kind}: {verdict}. You said {_show(guess)}, it is {_show(actual)}{why}.", end=" ")
        print(f"({self.right} of {self.asked} so far)")


def _show(value):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else str(value)


def _same(guess, actual, within):
    if isinstance(actual, str) or isinstance(guess, str):
        return str(guess).strip().lower() == str(actual).strip().lower()
    guess, actual = np.asarray(guess), np.asarray(actual)
    return guess.shape == actual.shape and bool(np.allclose(guess, actual, rtol=within, atol=1e-9))


def _difference(guess, actual):
    """Which axis is off, when two shapes of one length differ."""
    if not (isinstance(guess, (tuple, list)) and isinstance(actual, (tuple, list))):
        return ""
    if len(guess) != len(actual):
        return f": {len(actual)} axes, not {len(guess)}"
    axes = [str(at) for at, (g, a) in enumerate(zip(guess, actual, strict=True)) if g != a]
    return f": look at axis {' and '.join(axes)}"


predict = Predict()

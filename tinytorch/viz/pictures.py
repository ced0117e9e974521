"""Pictures, filters, planes of numbers, and who is taken for whom."""

import numpy as np

from tinytorch.viz.house import BLUE, EDGE, GROUND, INK, ORANGE, RED, canvas, styled


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


@styled
def filters(before, after, what="Filters", figure=None):
    """A convolution's filters before and after training, on one scale.

    before, after: weights (O, I, kh, kw). With three input channels they are drawn as colours (grey is zero),
    otherwise as the mean over the channels, from orange (negative) over white to purple (positive).
    """
    tiles = {f"{what} before training": _as_tiles(before), "and after": _as_tiles(after)}
    limit = max(np.abs(t[np.isfinite(t)]).max(initial=1e-12) for t in tiles.values())
    columns = _columns(len(before))
    figure = canvas(figure, 1.3 + 1.3 * columns, 0.5 + 0.62 * -(-len(before) // columns))
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


@styled
def images(grid, titles=None, wrong=None, columns=None, heading=None, figure=None):
    """Pictures in rows, each with a title.

    grid: (N, H, W), (N, 1, H, W) or (N, 3, H, W), bytes or 0..1. wrong: booleans; those titles are red and bold.
    columns: pictures in a row, by default as many as there are, at most ten.
    """
    count = len(grid)
    columns = columns or max(1, min(10, count))
    rows = max(1, -(-count // columns))
    figure = canvas(figure, 0.95 * columns, 1.25 * rows + 0.3 * bool(heading))
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


@styled
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
    figure = canvas(figure, 4.2, 4.2)
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


@styled
def panels(rows, numbers=False, limit=None, size=1.6, title="", white=0, figure=None):
    """Planes of numbers side by side: {title: (H, W)}, or a list of such rows; (N, H, W) is shown as N tiles.

    A plane with negative numbers goes from orange (negative) over white to purple, any other from white (0) to black.
    limit: the number with the full colour, by default the largest of the plane. numbers: write them into the cells.
    white=1: as in photographs, the largest number is white.
    """
    rows = [
        {name: _wall_of(plane) for name, plane in row.items()} for row in ([rows] if isinstance(rows, dict) else rows)
    ]
    columns = max(map(len, rows))
    widths = [max(wall.shape[1] / wall.shape[0] for wall in column) for column in _by_column(rows)]
    figure = canvas(figure, size * sum(widths), (size + 0.3) * len(rows) + 0.3 * bool(title))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    places = figure.subplots(len(rows), columns, squeeze=False, width_ratios=widths)
    for axes in places.flat:
        axes.set_axis_off()
    for line, row in zip(places, rows, strict=True):
        for axes, (name, wall) in zip(line, row.items(), strict=False):
            _plane(axes, wall, limit, numbers, "gray" if white else "gray_r")
            axes.set_title(name, fontsize=9, loc="center", fontweight="normal")
    return figure


def _wall_of(plane):
    """A plane as it is; (N, H, W) as a block of tiles in at most two rows."""
    plane = np.asarray(plane, dtype=float)
    return plane if plane.ndim == 2 else _mosaic(plane, -(-len(plane) // 2))


def _by_column(rows):
    return [[list(row.values())[at] for row in rows if at < len(row)] for at in range(max(map(len, rows)))]


def _plane(axes, wall, limit, numbers, grey):
    """One plane, or a block of tiles, as grey or as orange to purple."""
    signed, limit = np.nanmin(wall) < 0, limit or np.nanmax(np.abs(wall)) or 1.0
    axes.imshow(wall, cmap="PuOr" if signed else grey, vmin=-limit * signed, vmax=limit, interpolation="nearest")
    height, width = wall.shape
    axes.plot([-0.5, width - 0.5, width - 0.5, -0.5, -0.5], [-0.5, -0.5, height - 0.5, height - 0.5, -0.5], **EDGE)
    for (row, column), value in np.ndenumerate(wall if numbers else np.empty((0, 0))):
        dark = abs(value) > 0.6 * limit
        text = f"{round(value, 2) + 0.0:g}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)


def photograph():
    """A grey photograph, (213, 320) numbers from 0 to 1: a Chinese temple, one of scikit-learn's sample images."""
    try:
        from sklearn.datasets import load_sample_image
    except ImportError:
        raise ImportError("the photograph comes with scikit-learn: pip install scikit-learn") from None
    return load_sample_image("china.jpg").mean(axis=2)[1::2, 1::2].astype(np.float32) / 255

"""Lines, points in the plane, and several figures on one page."""

import numpy as np

from tinytorch.viz.house import BLUE, GROUND, INK, MARKS, PALETTE, RED, canvas, styled


@styled
def lines(series, title="", xlabel="", ylabel="", log="", figure=None):
    """Lines with marks: {label: y} with x counted from 0, or {label: (x, y)}. log: "x", "y" or "xy".

    Every line has a mark of its own besides its colour.
    """
    figure = canvas(figure, 6.0, 3.2)
    axes = figure.subplots()
    for (label, values), color, mark in zip(series.items(), PALETTE, MARKS, strict=False):
        x, y = values if isinstance(values, tuple) else (range(len(values)), values)
        axes.plot(x, y, color=color, marker=mark, markersize=4.5, label=label)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if len(series) > 1:
        axes.legend()
    return figure


@styled
def regions(score, points, labels, title="", lines=(), figure=None):
    """Points of two classes, and where a model says which.

    score: function of (N, 2) points -> N numbers, positive for class 1. points (N, 2), labels (N,) of 0 and 1.
    lines: (label, w0, w1, b) of further borders w0 x + w1 y + b = 0, dashed. Class 0: circles, class 1: squares.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    figure = canvas(figure, 3.6, 3.6)
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


@styled
def page(title, rows, note="", width=10.0, heights=None):
    """Several figures on one page.

    rows: a list of rows, each a list of functions that draw on the figure they are given, such as
    `lambda part: curves(history, figure=part)`; a function may stand in a pair with its relative width.
    heights: inches per row. note: small print at the foot.
    """
    rows = [[item if isinstance(item, tuple) else (item, 1.0) for item in row] for row in rows]
    heights = list(heights) if heights is not None else [3.2] * len(rows)
    figure = canvas(None, width, sum(heights) + 0.5 + 0.2 * bool(note))
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

"""What training looks like: learning curves, and runs with several seeds."""

import numpy as np

from tinytorch.viz.house import INK, MARKS, PALETTE, canvas, styled


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


@styled
def curves(histories, threshold=None, figure=None):
    """Loss and accuracy over the epochs.

    histories: one history (rows with "epoch" and any of train_loss, test_loss, train_accuracy, test_accuracy), a list
    of them (runs with different seeds: thin lines, their median thick), or a dictionary of label -> either. Training
    is dashed, testing solid. threshold: an accuracy to mark.
    """
    figure = canvas(figure, 8.4, 3.1)
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


@styled
def repeated(results, title="", ylabel="accuracy", figure=None):
    """Runs with several seeds: {name: {condition: values}}; the median, the middle half, and every run as a dot.

    One part with its own scale for each condition; every name has a mark of its own, told by the legend below. A single
    run that went wrong moves a mean and a standard deviation far, the median hardly.
    """
    conditions = list(next(iter(results.values())))
    figure = canvas(figure, 2.9 * len(conditions), 3.6)
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

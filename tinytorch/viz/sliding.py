"""How a window slides: on a line, over a plane, and by hand."""

import numpy as np

from tinytorch.viz.house import BLUE, FAINT, INK, SKY, USUAL_SETTINGS, canvas, styled


@styled
def windows_on_a_line(size, kernel, settings, figure=None):
    """The windows that fit on a line of pixels, one under the other: one part for each of the settings.

    settings: dictionaries with any of stride, padding, dilation. Pixels of the padding are hollow.
    """
    figure = canvas(figure, 9.0, 2.0 * -(-len(settings) // 3))
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


def number(value):
    return (f"{value:g}" if float(value).is_integer() else f"{value:.2g}").replace("-", "−")


def cells(axes, values, title, frame=None, faint=None, known=None):
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
        text = number(value) if known is None or known[row, column] else "·"
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
    parts = [f"{number(a)}·{number(b)}" if b >= 0 else f"{number(a)}·({number(b)})" for a, b in pairs]
    shown = parts if len(parts) <= terms else [*parts[: terms - 1], "…"]
    return f"{' + '.join(shown)} = {number(result)}"


@styled
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
    figure = canvas(figure, 0.4 * sum(widths) + 1.8, 0.4 * padded.shape[0] + 0.9)
    places = figure.subplots(1, 3, width_ratios=widths, gridspec_kw={"wspace": 0.12})
    border = np.pad(np.zeros(image.shape, bool), ((ph, ph), (pw, pw)), constant_values=True)
    cells(places[0], padded, "input, padded" if ph or pw else "input", (row * sh, column * sw, kh, kw), border)
    cells(places[1], kernel, "kernel", (0, 0, kh, kw))
    cells(places[2], out, "output", (row, column, 1, 1), known=known)
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

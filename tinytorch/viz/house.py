"""The house style: colours, marks, the ground, and figures that show themselves and say what they show."""

from functools import cache, wraps


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
def figure_class():
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


def canvas(figure, width, height):
    """The figure (or part of a page) to draw on; a new one has its own ground and lays itself out."""
    if figure is None:
        figure = figure_class()(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    figure.set_facecolor(GROUND)
    return figure


def styled(draw):
    """Run a drawing function under the house's style; the reader's own settings stay as they are.

    Every one takes `alt`, the picture in words; without it the titles speak.
    """

    @wraps(draw)
    def run(*inputs, alt="", **named):
        figure_class()
        import matplotlib

        with matplotlib.rc_context(STYLE):
            figure = draw(*inputs, **named)
        if alt:
            figure.alt = alt
        return figure

    return run

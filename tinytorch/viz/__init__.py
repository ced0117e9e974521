"""Figures for the lessons and milestones; `predict` is offered here, too.

Every function returns a matplotlib Figure (or fills the `figure` it is given, so that `page` can compose them).
matplotlib is imported when the first figure is drawn. A figure carries its own light ground, so it reads the same on
a light and on a dark page; the colours are those of Okabe and Ito, told apart by every kind of eye, and no figure
says anything by colour alone. Every function takes `alt`, the picture in words.
"""

from tinytorch.predict import Predict, predict
from tinytorch.viz.house import BLUE, FAINT, GREEN, GROUND, INK, MARKS, ORANGE, PALETTE, PINK, RED, SKY, STYLE
from tinytorch.viz.pictures import confusion, filters, images, panels, photograph
from tinytorch.viz.plots import lines, page, regions
from tinytorch.viz.sliding import slide, sliding_window, windows_on_a_line
from tinytorch.viz.training import curves, repeated
from tinytorch.viz.unfolding import folding, im2col, pipeline, strided_view, winners

__all__ = [
    "BLUE",
    "FAINT",
    "GREEN",
    "GROUND",
    "INK",
    "MARKS",
    "ORANGE",
    "PALETTE",
    "PINK",
    "Predict",
    "RED",
    "SKY",
    "STYLE",
    "confusion",
    "curves",
    "filters",
    "folding",
    "im2col",
    "images",
    "lines",
    "page",
    "panels",
    "photograph",
    "pipeline",
    "predict",
    "regions",
    "repeated",
    "slide",
    "sliding_window",
    "strided_view",
    "windows_on_a_line",
    "winners",
]

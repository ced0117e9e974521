"""Figures hold the numbers that they were given; prediction cells judge guesses."""

import sys

import numpy as np
import pytest

from tinytorch import viz

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

ROWS = [
    {"epoch": 1, "train_loss": 2.0, "test_loss": 2.2, "train_accuracy": 0.3, "test_accuracy": 0.25},
    {"epoch": 2, "train_loss": 1.0, "test_loss": 1.4, "train_accuracy": 0.7, "test_accuracy": 0.5},
    {"epoch": 3, "train_loss": 0.5, "test_loss": 0.9, "train_accuracy": 0.9, "test_accuracy": 0.75},
]


def lines(axes):
    return {line.get_label(): line.get_ydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_curves_draw_the_history_that_was_given():
    loss, accuracy = viz.curves(ROWS).axes
    np.testing.assert_allclose(lines(loss)["train"], [2.0, 1.0, 0.5])
    np.testing.assert_allclose(lines(loss)["test"], [2.2, 1.4, 0.9])
    np.testing.assert_allclose(lines(accuracy)["test"], [0.25, 0.5, 0.75])
    assert list(accuracy.get_lines()[0].get_xdata()) == [1, 2, 3]


def test_curves_draw_the_median_of_several_runs_and_the_threshold():
    runs = [[{**row, "test_accuracy": row["test_accuracy"] + shift} for row in ROWS] for shift in (0.0, 0.05, 0.2)]
    axes = viz.curves({"CNN": runs, "MLP": ROWS}, threshold=0.9).axes[1]
    np.testing.assert_allclose(lines(axes)["CNN test"], [0.3, 0.55, 0.8])
    np.testing.assert_allclose(lines(axes)["MLP test"], [0.25, 0.5, 0.75])
    assert "needed: 90 %" in texts(axes)
    assert max(axes.get_yticks()) <= 1


def test_curves_leave_out_what_the_history_does_not_hold():
    loss, accuracy = viz.curves([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]).axes
    assert set(lines(loss)) == {"train"}
    assert not lines(accuracy)


def test_filters_show_every_weight_on_one_scale():
    before = np.arange(72, dtype=float).reshape(8, 1, 3, 3) / 100
    after = -3 * before
    first, second, *_ = viz.filters(before, after).axes
    shown = [np.asarray(axes.images[0].get_array().filled(np.nan), float) for axes in (first, second)]
    np.testing.assert_allclose(np.sort(shown[0][~np.isnan(shown[0])]), np.sort(before.ravel()))
    np.testing.assert_allclose(shown[0][:3, :3], before[0, 0])
    np.testing.assert_allclose(shown[1][:3, 4:7], after[1, 0])
    assert first.images[0].get_clim() == second.images[0].get_clim() == pytest.approx((-2.13, 2.13))


def test_colour_filters_put_zero_at_mid_grey():
    before = np.zeros((4, 3, 3, 3))
    after = before.copy()
    after[0, 0, 0, 0] = 2.0
    shown = np.asarray(viz.filters(before, after).axes[1].images[0].get_array(), float)
    np.testing.assert_allclose(shown[0, 0], [1.0, 0.5, 0.5])
    np.testing.assert_allclose(shown[2, 2], [0.5, 0.5, 0.5])


def test_filters_refuse_what_is_not_a_convolution():
    with pytest.raises(ValueError, match=r"\(out, in, height, width\), got \(4, 9\)"):
        viz.filters(np.zeros((4, 9)), np.zeros((4, 9)))


def test_confusion_writes_every_count_once_and_in_its_place():
    matrix = np.array([[5, 0, 1], [0, 7, 0], [2, 3, 4]])
    axes = viz.confusion(matrix, ["cat", "dog", "owl"]).axes[0]
    written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "5", (0, 2): "1", (1, 1): "7", (2, 0): "2", (2, 1): "3", (2, 2): "4"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "owl"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_right_and_wrong_cells_differ_in_colour():
    image = np.asarray(viz.confusion(np.array([[9, 1], [0, 9]])).axes[0].images[0].get_array(), float)
    blue, orange = image[0, 0], image[0, 1]
    assert blue[2] > blue[0] and orange[0] > orange[2]
    assert image[1, 0].min() > 0.95


def test_images_keep_their_pixels_and_titles():
    grid = np.random.default_rng(0).random((3, 1, 8, 8))
    axes = viz.images(grid, ["a", "b", "c"], wrong=[False, True, False]).axes
    np.testing.assert_array_equal(axes[1].images[0].get_array(), grid[1, 0])
    assert [one.get_title() for one in axes] == ["a", "b", "c"]
    assert axes[1].title.get_fontweight() == "bold" and axes[0].title.get_fontweight() != "bold"


def test_colour_images_are_turned_to_channels_last():
    grid = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(viz.images(grid).axes[0].images[0].get_array(), grid[0].transpose(1, 2, 0))


def test_sliding_window_computes_the_output_and_says_the_sum():
    image = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]])
    figure = viz.sliding_window(image, np.array([[1, 0], [0, 1]]), position=(1, 2))
    output = figure.axes[2]
    assert output.get_title("left") == "output"
    assert texts(output) == ["7", "9", "11", "5", "7", "9"]
    assert figure.get_supxlabel() == "7·1 + 8·0 + 1·0 + 2·1 = 9"


def test_sliding_window_with_stride_padding_and_cells_to_come():
    figure = viz.sliding_window(np.ones((3, 3)), np.ones((3, 3)), position=(0, 1), stride=2, padding=1, so_far=True)
    source, _, output = figure.axes
    assert source.get_title("left") == "input, padded" and len(source.texts) == 25
    assert texts(output) == ["4", "4", "·", "·"]
    frame = source.patches[0]
    assert frame.get_xy() == (1.5, -0.5) and (frame.get_width(), frame.get_height()) == (3, 3)


@pytest.mark.parametrize(
    ("position", "kernel", "message"), [((2, 0), 2, "has no cell"), ((0, 0), 4, "does not fit into an input of 3x3")]
)
def test_sliding_window_says_what_does_not_fit(position, kernel, message):
    with pytest.raises(ValueError, match=message):
        viz.sliding_window(np.ones((3, 3)), np.ones((kernel, kernel)), position)


def test_regions_ask_the_model_about_the_plane():
    points, labels = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 1])
    asked = []

    def score(plane):
        asked.append(plane.shape)
        return plane[:, 1] - 0.5

    axes = viz.regions(score, points, labels, "half").axes[0]
    assert asked == [(161 * 161, 2)] and axes.get_title("left") == "half"
    circles, squares = axes.collections[-2:]
    np.testing.assert_array_equal(circles.get_offsets(), points[:1])
    np.testing.assert_array_equal(squares.get_offsets(), points[1:])


def test_a_page_holds_every_panel_and_saves(tmp_path):
    figure = viz.page(
        "Title",
        [[lambda part: viz.curves(ROWS, figure=part)], [(lambda part: viz.confusion(np.eye(2), figure=part), 2.0)]],
        note="small print",
    )
    assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Accuracy", "Confusion matrix"]
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("Title", "small print")
    figure.savefig(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_shows_itself_and_leaves_the_readers_settings_alone():
    import matplotlib

    size = matplotlib.rcParams["axes.titlesize"]
    picture, about = viz.curves(ROWS)._repr_png_()
    assert picture.startswith(b"\x89PNG") and "Loss" in about["alt"] and "Accuracy" in about["alt"]
    assert viz.curves(ROWS, alt="It learns.")._repr_png_()[1]["alt"] == "It learns."
    assert 1.9 < int.from_bytes(picture[16:20], "big") / about["width"] < 2.1  # as shown, and as fine as it is
    assert matplotlib.rcParams["axes.titlesize"] == size


def shown(axes):
    """The numbers of the picture; gaps between tiles are NaN."""
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def test_lines_hold_their_numbers_and_differ_in_mark_and_colour():
    axes = viz.lines({"a": [3, 2, 1], "b": ([10, 100], [1, 5])}, "Title", "x", "y", log="y").axes[0]
    np.testing.assert_allclose(lines(axes)["a"], [3, 2, 1])
    first, second = axes.get_lines()
    assert list(first.get_xdata()) == [0, 1, 2] and list(second.get_xdata()) == [10, 100]
    assert first.get_marker() != second.get_marker() and first.get_color() != second.get_color()
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")


def test_panels_show_planes_signed_ones_round_zero():
    signed, plain = np.array([[-1.0, 0.5], [0.0, 0.25]]), np.arange(6.0).reshape(2, 3)
    figure = viz.panels([{"signed": signed, "plain": plain}, {"below": plain}])
    first, second, below, empty = figure.axes
    np.testing.assert_array_equal(shown(first), signed)
    np.testing.assert_array_equal(shown(second), plain)
    assert first.images[0].get_clim() == (-1, 1) and second.images[0].get_clim() == (0, 5)
    assert first.images[0].get_cmap().name != second.images[0].get_cmap().name
    assert [axes.get_title() for axes in figure.axes] == ["signed", "plain", "below", ""] and not empty.images


def test_panels_write_numbers_and_lay_tiles_side_by_side():
    axes = viz.panels({"one": np.array([[1.0, -2e-9], [0.333, 2.0]])}, numbers=True, limit=4).axes[0]
    assert texts(axes) == ["1", "0", "0.33", "2"] and axes.images[0].get_clim() == (-4, 4)
    tiles = np.arange(24.0).reshape(6, 2, 2)
    wall = shown(viz.panels({"tiles": tiles}).axes[0])
    assert wall.shape == (5, 8) and np.isnan(wall[2]).all()
    np.testing.assert_array_equal(wall[3:, 3:5], tiles[4])


def test_repeated_runs_show_the_median_the_middle_half_and_every_run():
    figure = viz.repeated({"CNN": {"plain": [0.9, 1.0], "moved": [0.5, 0.7]}, "MLP": {"plain": [0.8], "moved": [0.4]}})
    plain, moved = figure.axes
    assert plain.get_title("left") == "plain" and texts(plain) == ["95.0", "80.0"] and texts(moved) == ["60.0", "40.0"]
    bars = [container.lines[2][0].get_segments()[0] for container in moved.containers]
    np.testing.assert_allclose(bars[0][:, 1], [0.55, 0.65])
    np.testing.assert_allclose(bars[1][:, 1], [0.4, 0.4])
    np.testing.assert_allclose(moved.get_lines()[0].get_ydata(), [0.5, 0.7])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CNN", "MLP"]


def test_windows_on_a_line_start_where_the_stride_says():
    axes = viz.windows_on_a_line(7, 3, [{"stride": 3}, {"padding": 1, "stride": 2, "dilation": 2}]).axes
    line, frame, *windows = ([int(x) for x in row.get_offsets()[:, 0]] for row in axes[0].collections)
    assert (line, frame, windows) == (list(range(7)), [], [[0, 1, 2], [3, 4, 5]])
    line, frame, *windows = ([int(x) for x in row.get_offsets()[:, 0]] for row in axes[1].collections)
    assert (frame, windows) == ([0, 8], [[0, 2, 4], [2, 4, 6], [4, 6, 8]])


def test_slide_without_a_notebook_is_the_figure_in_the_middle(capsys):
    figure = viz.slide(np.arange(16).reshape(4, 4), np.ones((2, 2)), stride=2)
    assert "In JupyterLab" in capsys.readouterr().out
    assert figure.get_supxlabel() == "10·1 + 11·1 + 14·1 + 15·1 = 50"


def test_slide_without_ipywidgets_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert len(viz.slide(np.ones((3, 3)), np.ones((2, 2))).axes) == 3
    assert "With ipywidgets installed" in capsys.readouterr().out


def test_sliders_move_the_window_of_the_picture(monkeypatch):
    pytest.importorskip("ipywidgets")
    from types import SimpleNamespace

    import IPython

    drawn = []

    def display(figure, display_id):
        drawn.append(figure)
        return SimpleNamespace(update=drawn.append)

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr(IPython.display, "display", display)
    row, column = viz.slide(np.arange(20).reshape(4, 5), np.ones((2, 2))).children
    assert (row.value, row.max, column.value, column.max) == (1, 2, 2, 3)
    row.value, column.value = 2, 0
    sums = [figure.get_supxlabel().split(" = ")[1] for figure in drawn]
    assert sums == ["40", "60", "52"]


# predict


@pytest.fixture
def predict():
    return viz.Predict()


def test_a_wrong_shape_names_the_axis(predict, capsys):
    predict("shape", (2, 8, 15, 15))
    predict.reveal((2, 8, 13, 15))
    said = capsys.readouterr().out
    assert "you say (2, 8, 15, 15)" in said
    assert "not this time" in said and "it is (2, 8, 13, 15): look at axis 2" in said and "0 of 1" in said


@pytest.mark.parametrize(
    ("guess", "actual", "within", "good"),
    [
        ((2, 3), (2, 3), 1e-6, True),
        ((2, 3), (2, 3, 1), 1e-6, False),
        (1000, 1040, 0.05, True),
        (1000, 1100, 0.05, False),
        ("Yes", "yes", 1e-6, True),
        ("no", "yes", 1e-6, False),
        ([1.0, 2.0], np.array([1.0, 2.0]), 1e-6, True),
    ],
)
def test_guesses_are_judged(predict, capsys, guess, actual, within, good):
    predict("it", guess)
    predict.reveal(actual, within=within)
    assert predict.right == good and predict.asked == 1
    assert ("it: right." if good else "it: not this time.") in capsys.readouterr().out


def test_several_guesses_stand_open_and_kinds_tell_them_apart(predict, capsys):
    predict("height", 7)
    predict("width", 9)
    predict.reveal(7, "height")
    predict.reveal(9)
    predict.reveal(1)
    said = capsys.readouterr().out
    assert "height: right" in said and "width: right" in said and "2 of 2" in said and "no guess is open" in said


def test_no_guess_is_not_counted(predict, capsys):
    predict("size", ...)
    predict.reveal(12345)
    said = capsys.readouterr().out
    assert "write your guess" in said and "guess first" in said and "12,345" not in said
    predict.reveal(12345)
    assert "it is 12,345 (no guess this time)" in capsys.readouterr().out
    assert predict.asked == 0


def test_a_guess_after_the_reminder_counts(predict, capsys):
    predict("size", ...)
    predict.reveal(7)
    predict("size", 7)
    predict.reveal(7)
    assert "size: right" in capsys.readouterr().out and (predict.right, predict.asked) == (1, 1)

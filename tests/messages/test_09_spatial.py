"""A typical mistake is called by its name: what the notebook's graded cells say to solutions written in another way."""

import contextlib
import importlib.util
import io
import textwrap
from pathlib import Path

import pytest

from tito.course import notebook

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "modules/09_spatial"
NOTEBOOKS = {name: notebook.read(FOLDER / f"{name}.ipynb")["cells"] for name in ("spatial_dev", "blocks_dev")}
OTHER = f"import sys; sys.path.insert(0, {str(HERE)!r}); import mistaken_09 as mistaken; mistake = "

# What takes the place of a solution cell's regions, in order; None leaves one as it is.
WRITTEN = {
    "output_size": ["""
        count = mistaken.output_size(size, kernel, stride, padding, dilation, mistake)
        if count < 1:
            asked = f"({size} + 2*{padding} - {dilation}*({kernel} - 1) - 1) // {stride} + 1"
            raise ValueError(f"{asked} = {(size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1}")
        return count"""],
    "conv2d_loops": ["return mistaken.conv_loops(x, weight, bias, (sh, sw), (1, 1), 1, out, mistake)"],
    "conv2d_loops_backward": [
        "settings = (sh, sw), (1, 1), 1, mistake\n"
        "d_padded, d_wide, d_bias = mistaken.conv_loops_backward(upstream, framed, wide, *settings)"
    ],
    "windows": ["return mistaken.windows(x, kernel, stride, dilation, mistake)"],
    "conv2d": ["""
        columns = view.transpose(1, 4, 5, 0, 2, 3).reshape(groups, weight[0].size, len(x) * height * width)
        settings = window.stride, window.padding, window.dilation, groups
        out = mistaken.conv(x, weight, bias, *settings, mistake)"""],
    "fold": ["out = mistaken.fold(pieces, out, stride, dilation, mistake)"],
    "conv2d_parameters": [
        """
        settings = window.stride, window.padding, window.dilation, groups
        return mistaken.weight_gradient(upstream, x, weight, *settings, mistake)""",
        "return mistaken.bias_gradient(upstream, mistake)",
        """
        settings = window.stride, window.padding, window.dilation, groups
        return mistaken.input_gradient(upstream, x, weight, *settings, mistake)""",
    ],
    "Conv2d": [
        """
        self.weight = Tensor(mistaken.he_weights(generator(), shape, mistake), requires_grad=True)
        self.bias = Tensor(np.zeros(out_channels, np.float32), requires_grad=True) if bias else None""",
        """
        stride = (1, 1) if mistake == "stride not passed on" else self.stride
        bias = None if mistake == "no bias" else self.bias
        many = x if x.ndim == 4 else x.reshape(1, *x.shape)
        settings = stride, self.padding_pair, self.dilation, self.groups
        out = backends.kernel("conv2d")(many, self.weight, bias, *settings)
        out = out[..., self.crop[0] :, self.crop[1] :] if any(self.crop) else out
        return out if x.ndim == 4 or mistake == "batch of one" else out.reshape(*out.shape[1:])""",
    ],
    "max_pool2d_loops": [
        "values = [x[b, c, row, column] for row, column in pixels]\n"
        "out[b, c, i, j], winners[b, c, i, j] = mistaken.best_pixel(values, pixels, mistake)",
        None,
    ],
    "max_pool2d": [
        "out = mistaken.max_pool(x, window.kernel, window.stride, window.padding, mistake)",
        "pieces[r, s] = mistaken.winner(pixels, out, free, upstream, mistake)",
    ],
    "avg_pool2d": [
        """
        include = {"frame left out": False, "frame counted": True}.get(mistake, count_include_pad)
        out = mistaken.avg_pool(view, counts(x, window, include), mistake)""",
        """
        share = upstream if mistake == "not divided" else upstream / number
        pieces = share.reshape(*share.shape, 1, 1) * np.ones(window.kernel, share.dtype)
        return window.fold(pieces, x.shape)""",
    ],
    "batch_norm2d": ["""
        scale = (_per_channel(var) + eps) ** (-1 if mistake == "not the root" else -0.5)
        normalised = (x - _per_channel(mean)) * scale
        return normalised * _per_channel(weight) + _per_channel(bias), (normalised, scale)"""],
    "batch_norm2d_rules": [None, None, """
        normalised, scale = saved
        flow = upstream * _per_channel(weight)
        if use_batch_stats and mistake != "constants":
            count = flow[:, 0].size
            along = _per_channel(np.einsum("bchw,bchw->c", flow, normalised)) / count
            flow = flow - _per_channel(np.einsum("bchw->c", flow)) / count - normalised * along
        return flow * scale"""],
    "BatchNorm2d": ["""
        mean, var = mistaken.batch_statistics(x.data, mistake)
        old, new = self.momentum, 1 - self.momentum
        old, new = (old, new) if mistake == "momentum exchanged" else (new, old)
        spread = var if mistake == "over n" else var * values / (values - 1)
        self.running_mean = Tensor(old * self.running_mean.data + new * mean, x.dtype)
        self.running_var = Tensor(old * self.running_var.data + new * spread, x.dtype)
        self.num_batches_tracked = self.num_batches_tracked + 1
        mean, var = Tensor(mean, x.dtype), Tensor(var, x.dtype)
        return batch_norm2d(x, self.weight, self.bias, mean, var, self.eps, True)"""],
    "global_avg_pool2d": ["""
        flat = x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
        if mistake == "channels":
            return x.mean(axis=-3)
        return flat.sum(axis=-1) if mistake == "sum" else flat.mean(axis=-1)"""],
}  # fmt: skip

# cell -> {mistake: words of the cause that the message names}
CAUSES = {
    "output_size": {
        "fence post": "the + 1 is missing",
        "rounded up": "it is rounded up",
        "no stride": "the stride is ignored",
        "no padding": "the padding is forgotten",
        "padding on one side": "one side only",
        "no dilation": "the dilation is ignored",
    },
    "conv2d_loops": {
        "flipped": "the kernel is flipped",
        "kh and kw": "kh and kw are swapped",
        "overwritten": "= where += belongs",
        "total goes on": "goes on from output to output",
        "NHWC": "the channels stand last",
        "outputs counted": "outputs are counted",
        "wrong axis": "the sum runs over the wrong axis",
        "first channel": "leaves out all input channels but the first",
        "first image": "only the first image is computed",
        "no bias": "the bias is missing",
        "bias per product": "the bias is added to every product",
        "no stride in the index": "the stride is in the size, but not in the index",
        "stride swapped": "the stride's two directions are swapped",
    },
    "conv2d_loops_backward": {
        "overwritten": "= where += belongs",
        "bias per product": "the bias collects once per product",
        "upstream left out": "upstream is left out",
        "flipped": "the kernel is flipped",
    },
    "windows": {
        "no stride": "the stride is ignored",
        "stride swapped": "the stride's two directions are swapped",
        "no dilation": "the dilation is ignored",
        "dilation swapped": "the dilation's two directions are swapped",
        "kh and kw": "kh and kw are swapped",
        "kernel axes first": "(image, channel, kernel row, kernel column, row, column)",
        "window transposed": "(image, channel, row, column, kernel column, kernel row)",
    },
    "conv2d": {
        "NHWC": "the channels stand last",
        "batch and channels": "the axes stand in the order (channel, image, row, column)",
        "rows and columns": "the axes stand in the order (image, channel, column, row)",
        "reshape": "exchanged by reshape",
        "columns in another order": "in another order (kh, kw, C)",
        "kh and kw": "kh and kw are swapped",
        "flipped": "the kernel is flipped",
        "averaged": "averaged, not summed",
        "no bias": "the bias is missing",
        "minus bias": "the bias is subtracted",
        "no padding": "the padding is forgotten",
        "padding swapped": "the padding's two directions are swapped",
        "no stride": "the stride is ignored",
        "no dilation": "the dilation is ignored",
    },
    "fold": {
        "overwritten": "a window wipes out those before it",
        "averaged": "averaged, not summed",
        "no stride": "the stride is ignored",
        "stride swapped": "the stride's two directions are swapped",
    },
    "conv2d_parameters": {
        "flipped": "it is flipped",
        "kh and kw": "the axes stand in the order (kernel, channel, kernel column, kernel row)",
        "first image": "only the first image counts",
        "averaged": "the gradients of a batch are averaged",
        "wrong axes": "the sum runs over the channels",
        "batch left out": "the sum leaves out the batch",
        "mean": "a mean is taken",
        "x flipped": "the kernel is flipped",
        "first kernel": "only output channel 0 counts",
    },
    "Conv2d": {
        "area": "the kernel's area is left out",
        "outputs": "the outputs are counted",
        "gain": "it is 1 / inputs",
        "no root": "the square root is missing",
        "stride not passed on": "the stride is ignored",
        "no bias": "the bias is missing",
        "batch of one": "in the right order: only the shape is not",
    },
    "max_pool2d_loops": {
        "mean": "the mean is taken",
        "last wins": "the last of equal pixels wins",
        "counted from the corner": "counted from the window's corner",
    },
    "max_pool2d": {
        "mean": "the mean is taken",
        "zeros in the frame": "the frame holds 0",
        "stride 1": "the stride is 1",
        "stride swapped": "the stride's two directions are swapped",
        "kh and kw": "kh and kw are swapped",
        "NHWC": "the channels stand last",
        "all of them": "all equal pixels win",
        "all pixels": "every pixel of the window gets the gradient",
        "shared": "shared out equally",
        "upstream left out": "upstream is left out",
    },
    "avg_pool2d": {
        "sum": "the sum is taken",
        "maximum": "the largest pixel is taken",
        "frame left out": "the frame's pixels are not counted",
        "frame counted": "the frame's pixels are counted",
        "not divided": "every pixel gets the whole upstream",
    },
    "batch_norm2d": {"not the root": "not by its root"},
    "batch_norm2d_rules": {"constants": "mean and variance count as constants"},
    "BatchNorm2d": {
        "unbiased": "the variance is over n - 1; that is for the running one",
        "momentum exchanged": "momentum and 1 - momentum are exchanged",
        "over n": "the running one is over n - 1",
    },
    "global_avg_pool2d": {"sum": "the sum is taken", "channels": "the mean runs over the channels"},
}


def planted(cell, mistake):
    """The pieces of code for a cell."""
    pieces = (part and f"{OTHER}{mistake!r}\n{textwrap.dedent(part)}" for part in WRITTEN[cell])
    return [cell, *pieces]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_other_solutions_pass_every_graded_cell(name):
    spec = importlib.util.spec_from_file_location("planted", HERE / "planted.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    namespace = {"__name__": "__main__"}
    for cell in NOTEBOOKS[name]:
        if notebook.kind(cell) in notebook.CORE:
            source = cell["source"]
            if cell["id"] in WRITTEN:
                source = module.plant(source, planted(cell["id"], "")[1:])
                assert source != cell["source"]
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, f"<{cell['id']}>", "exec"), namespace)


@pytest.fixture(scope="module")
def told(messages):
    """(cell, mistake) -> what the first graded cell that fails says to a student."""
    cases = [(cell, mistake) for cell, causes in CAUSES.items() for mistake in causes]
    said = {}
    for name, cells in NOTEBOOKS.items():
        here = {cell["id"] for cell in cells}
        mistakes = {": ".join(case): planted(*case) for case in cases if case[0] in here}
        said |= messages(f"09_spatial/{name}.ipynb", mistakes)
    return {case: said[": ".join(case)] for case in cases}


@pytest.mark.parametrize(("cell", "mistake"), [(cell, mistake) for cell in CAUSES for mistake in CAUSES[cell]])
def test_the_message_names_the_cause_and_no_other(told, cell, mistake):
    said, words = told[cell, mistake], CAUSES[cell][mistake]
    assert words in said, said or "no graded cell noticed"
    assert ", or when " not in said, said

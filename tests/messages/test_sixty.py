# ruff: noqa: E501
"""Sixty mistakes on solutions that were written from the release alone, before these messages were read.

The first score was 30 named rightly, 15 neither named nor misnamed, 5 misnamed, 10 not noticed (FIRST). Of 18, only the
shapes and the student's own line are told.
"""

import functools
import textwrap

import pytest

# notebook -> cell -> what stands in its regions, in order
RIGHT = {
    "09_spatial/spatial_dev.ipynb": {
        "filter_image": [
            """
                for i, j in np.ndindex(out.shape):
                    out[i, j] = (image[i : i + kh, j : j + kw] * kernel).sum()""",
        ],
        "output_size": [
            """
                count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
                if count < 1:
                    raise ValueError(
                        f"no window fits: ({size} + 2*{padding} - {dilation}*({kernel} - 1) - 1) // {stride} + 1 = {count}"
                    )
                return count""",
        ],
        "conv2d_loops": [
            """
                channels, kh, kw = weight.shape[1:]
                for b, o, i, j in np.ndindex(out.shape):
                    total = 0
                    for c in range(channels):
                        for r in range(kh):
                            for s in range(kw):
                                total += x[b, c, i * sh + r, j * sw + s] * weight[o, c, r, s]
                                macs += 1
                    out[b, o, i, j] = total
                    if bias is not None:
                        out[b, o, i, j] += bias[o]
                return out, macs""",
        ],
        "conv2d_loops_backward": [
            """
                channels, kh, kw = wide.shape[1:]
                for b, o, i, j in np.ndindex(upstream.shape):
                    g = upstream[b, o, i, j]
                    d_bias[o] += g
                    for c in range(channels):
                        for r in range(kh):
                            for s in range(kw):
                                d_padded[b, c, i * sh + r, j * sw + s] += g * wide[o, c, r, s]
                                d_wide[o, c, r, s] += g * framed[b, c, i * sh + r, j * sw + s]""",
        ],
        "windows": [
            'return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]',
        ],
        "conv2d": [
            """
                images, outputs = len(x), len(weight)
                depth = weight.shape[1] * weight.shape[2] * weight.shape[3]
                columns = view.transpose(1, 4, 5, 0, 2, 3).reshape(groups, depth, images * height * width)
                product = weight_matrix(weight, groups) @ columns
                out = product.reshape(outputs, images, height, width)
                if bias is not None:
                    out = out + bias.reshape(-1, 1, 1, 1)
                out = out.transpose(1, 0, 2, 3)""",
        ],
        "fold": [
            """
                rows, columns, kh, kw = pieces.shape[2:]
                for r in range(kh):
                    for s in range(kw):
                        top, left = r * dh, s * dw
                        out[:, :, top : top + (rows - 1) * sh + 1 : sh, left : left + (columns - 1) * sw + 1 : sw] += pieces[..., r, s]""",
        ],
        "conv2d_parameters": [
            """
                product = grad_matrix(upstream, groups) @ columns.swapaxes(-1, -2)
                return product.reshape(weight.shape)""",
            'return upstream.sum(axis=(0, 2, 3))',
            """
                d_columns = weight_matrix(weight, groups).swapaxes(-1, -2) @ grad_matrix(upstream, groups)
                kh, kw = weight.shape[2:]
                d_columns = d_columns.reshape(x.shape[1], kh, kw, len(x), upstream.shape[2], upstream.shape[3])
                return window.fold(d_columns.transpose(3, 0, 4, 5, 1, 2), x.shape)""",
        ],
        "Conv2d": [
            """
                spread = math.sqrt(2 / math.prod(shape[1:]))
                self.weight = Tensor(generator().standard_normal(shape, np.float32) * np.float32(spread), requires_grad=True)
                self.bias = Tensor(np.zeros(out_channels, np.float32), requires_grad=True) if bias else None""",
            """
                out = one_or_many(
                    backends.kernel("conv2d"), x, self.weight, self.bias, self.stride, self.padding_pair, self.dilation, self.groups
                )
                return self.cropped(out)""",
        ],
        "max_pool2d_loops": [
            """
                best = pixels[0]
                for row, column in pixels[1:]:
                    value, largest = x[b, c, row, column], x[b, c, best[0], best[1]]
                    if value > largest or (value != value and largest == largest):
                        best = row, column
                out[b, c, i, j] = x[b, c, best[0], best[1]]
                winners[b, c, i, j] = best""",
            """
                total = 0
                for row, column in pixels:
                    total += x[b, c, row, column]
                out[b, c, i, j] = total / (math.prod(window.kernel) if count_include_pad else len(pixels))""",
        ],
        "max_pool2d": [
            """
                kernel = window.kernel
                out = view[..., 0, 0].copy()
                for r in range(kernel[0]):
                    for s in range(kernel[1]):
                        np.maximum(out, view[..., r, s], out=out)""",
            """
                wins = free & ((pixels == out) | (pixels != pixels))
                pieces[r, s] = np.where(wins, upstream, 0)
                free &= ~wins""",
        ],
        "avg_pool2d": [
            """
                kernel = window.kernel
                total = np.zeros(view.shape[:4], x.dtype)
                for r in range(kernel[0]):
                    for s in range(kernel[1]):
                        total += view[..., r, s]
                out = (total / number).astype(x.dtype)""",
            """
                share = (upstream / number)[..., None, None]
                return window.fold(np.broadcast_to(share, (*upstream.shape, *window.kernel)), x.shape)""",
        ],
        "MaxPool2d": [
            """
                return one_or_many(backends.kernel("max_pool2d"), x, self.kernel_size, self.stride, self.padding)""",
            """
                return one_or_many(
                    backends.kernel("avg_pool2d"), x, self.kernel_size, self.stride, self.padding, self.count_include_pad
                )""",
        ],
        "SimpleCNN": [
            """
                self.convolutions = Sequential(
                    Conv2d(3, 16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU(), MaxPool2d(2), Flatten(-3)
                )
                self.classifier = scale_init(Linear(2048, num_classes))""",
            """
                if x.shape[-2:] != (32, 32):
                    raise ValueError(f"SimpleCNN takes images of 32×32 pixels, got {x.shape[-2]}×{x.shape[-1]}")
                return self.classifier(self.features(x))""",
        ],
        "train_epoch": [
            """
                loss.backward()
                optimizer.step()""",
        ],
    },
    "09_spatial/blocks_dev.ipynb": {
        "DepthwiseSeparable2d": [
            """
                self.depthwise = Conv2d(in_channels, in_channels, kernel_size, stride, padding, groups=in_channels)
                self.pointwise = Conv2d(in_channels, out_channels, 1)""",
            'return self.pointwise(self.depthwise(x))',
        ],
        "batch_norm2d": [
            """
                scale = 1 / np.sqrt(_per_channel(var) + eps)
                normalised = (x - _per_channel(mean)) * scale
                return normalised * _per_channel(weight) + _per_channel(bias), (normalised, scale)""",
        ],
        "batch_norm2d_rules": [
            'return (upstream * saved[0]).sum(axis=(0, 2, 3))',
            'return upstream.sum(axis=(0, 2, 3))',
            """
                normalised, scale = saved
                g = upstream * _per_channel(weight) * scale
                if not use_batch_stats:
                    return g
                axes = (0, 2, 3)
                return g - g.mean(axis=axes, keepdims=True) - normalised * (g * normalised).mean(axis=axes, keepdims=True)""",
        ],
        "BatchNorm2d": [
            """
                images = x.numpy().astype(np.float64)
                mean, var = images.mean(axis=(0, 2, 3)), images.var(axis=(0, 2, 3))
                old_mean, old_var = self.running_mean.numpy(), self.running_var.numpy()
                self.running_mean = Tensor((1 - rate) * old_mean + rate * mean, old_mean.dtype)
                self.running_var = Tensor((1 - rate) * old_var + rate * var * (values / (values - 1)), old_var.dtype)
                self.num_batches_tracked = self.num_batches_tracked + 1
                return batch_norm2d(x, self.weight, self.bias, Tensor(mean, x.dtype), Tensor(var, x.dtype), self.eps, True)""",
        ],
        "ResidualBlock": [
            """
                self.branch = Sequential(
                    Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm2d(channels), ReLU(),
                    Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm2d(channels),
                )""",
            'return ReLU()(x + self.branch(x))',
        ],
        "strongest_patches": [
            """
                flat = maps.reshape(len(maps), -1)
                places = flat.argmax(axis=1)
                order = flat.max(axis=1).argsort()[::-1][:count]
                patches = []
                for image in order:
                    i, j = np.unravel_index(places[image], maps.shape[1:])
                    patches.append(images[image, i * step : i * step + reach, j * step : j * step + reach])
                return np.array(patches)""",
        ],
    },
    "09_spatial/fast_dev.ipynb": {
        "to_hcwn": [
            """
                rows = as_rows(x)
                if rows.flags.c_contiguous:
                    return rows
                target = empty_cached(rows.shape, rows.dtype)
                copy_rows(rows, target)
                return target""",
        ],
        "split": [
            """
                if length == 0:
                    return []
                count = -(-length // most)
                each = -(-length // count)
                return [(first, min(first + each, length)) for first in range(0, length, each)]""",
        ],
        "unfold": [
            """
                u[:, :, :above] = 0
                u[:, :, below:] = 0
                for phase, j, low, high, columns in s.pieces:
                    target = u[phase, :, above:below, j]
                    np.copyto(target[:, :, :, low:high], source[:, :, :, columns])
                    target[:, :, :, :low] = 0
                    target[:, :, :, high:] = 0""",
        ],
        "row_windows": [
            """
                step = s.columns * u.itemsize
                strides = phase, group, s.sh * down, step, u.itemsize
                return np.ndarray(shape, u.dtype, u, (row * s.sh + start * s.dh) * down, strides)""",
        ],
    },
    "02_activations/activations_dev.ipynb": {
        "relu": [
            'return np.maximum(x, 0)',
        ],
        "leaky_relu": [
            'return np.maximum(x, 0) + slope * np.minimum(x, 0)',
        ],
        "softmax": [
            """
                powers = np.exp(x - x.max(axis=axis, keepdims=True))
                return powers / powers.sum(axis=axis, keepdims=True)""",
        ],
        "log_softmax": [
            """
                shifted = x - x.max(axis=axis, keepdims=True)
                return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))""",
        ],
    },
    "03_layers/layers_dev.ipynb": {
        "linear_layer": [
            """
                numbers = generator().standard_normal((out_features, in_features), dtype=np.float32)
                self.weight = Tensor(numbers * np.float32(math.sqrt(2 / in_features)), requires_grad=True)
                self.bias = Tensor(np.zeros(out_features, np.float32), requires_grad=True) if bias else None""",
            'return linear(x, self.weight, self.bias)',
        ],
        "flatten": [
            """
                kept = x.shape[: self.start_dim]
                return x.reshape(*kept, math.prod(x.shape[self.start_dim :]))""",
        ],
        "dropout": [
            """
                if not self.training:
                    return x
                mask = np.empty_like(x.data)
                mask[...] = (generator().random(x.shape, dtype=np.float32) >= self.p) / (1 - self.p)
                return x * Tensor(mask, dtype=x.dtype)""",
        ],
    },
    "04_losses/losses_dev.ipynb": {
        "mse_loss": [
            """
                if prediction.shape != target.shape:
                    raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ: reshape one of them")
                return ((prediction - target) ** 2).mean()""",
        ],
        "bce": [
            """
                if logits.shape != target.shape:
                    raise ValueError(f"logits {logits.shape} and target {target.shape} differ: reshape one of them")
                return (np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))).mean()""",
        ],
    },
    "05_autograd/autograd_dev.ipynb": {
        "numeric_gradient": [
            """
                found = np.zeros(arrays[which].shape)
                for entry in np.ndindex(found.shape):
                    up, down = arrays[which].copy(), arrays[which].copy()
                    up[entry] += step
                    down[entry] -= step
                    high = function(*arrays[:which], up, *arrays[which + 1 :])
                    low = function(*arrays[:which], down, *arrays[which + 1 :])
                    found[entry] = (upstream * (high - low)).sum() / (2 * step)
                return found""",
        ],
        "reduction_rules": [
            """
                if axis is not None and not keepdims:
                    value = np.expand_dims(value, axis)
                return np.broadcast_to(value, shape)""",
            'return expand(upstream, a.shape, axis, keepdims)',
            'return expand(upstream, a.shape, axis, keepdims) * (out.size / a.size)',
            """
                mask = (a == expand(out, a.shape, axis, keepdims)).astype(a.dtype)
                mask = mask / mask.sum(axis=axis, keepdims=True)
                return mask * expand(upstream, a.shape, axis, keepdims)""",
        ],
    },
}  # fmt: skip

# number -> (notebook, cell, region, what stood there, what stands there now, words that name the true cause)
MISTAKES = {
    # the kernel is flipped, as mathematicians do; deep learning does not
    1: ("09_spatial/spatial_dev.ipynb", "filter_image", 0,
        "* kernel)",
        "* kernel[::-1, ::-1])",
        "the kernel is flipped"),
    # the mean of the products where their sum belongs
    2: ("09_spatial/spatial_dev.ipynb", "filter_image", 0,
        ".sum()",
        ".mean()",
        "the mean of the products"),
    # i and j are exchanged: rows and columns of the image
    3: ("09_spatial/spatial_dev.ipynb", "filter_image", 0,
        "image[i : i + kh, j : j + kw]",
        "image[j : j + kh, i : i + kw]",
        "the axes stand in the order (column, row)"),
    # the padding is added at both ends, so it counts twice
    4: ("09_spatial/spatial_dev.ipynb", "output_size", 0,
        "2 * padding",
        "padding",
        "on one side only"),
    # rounded up; windows that are not whole do not count
    5: ("09_spatial/spatial_dev.ipynb", "output_size", 0,
        "(size + 2 * padding - dilation * (kernel - 1) - 1) // stride",
        "-(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride)",
        "it is rounded up"),
    # the reach is taken as dilation * kernel; it is dilation * (kernel - 1) + 1
    6: ("09_spatial/spatial_dev.ipynb", "output_size", 0,
        "dilation * (kernel - 1) - 1",
        "dilation * kernel",
        "dilation * kernel"),
    # a count of 0 passes: no window fits then, and it must be refused as well
    7: ("09_spatial/spatial_dev.ipynb", "output_size", 0,
        "if count < 1",
        "if count < 0",
        "output_size(2, 3) must raise ValueError, it returned 0"),
    # the bias is forgotten
    8: ("09_spatial/spatial_dev.ipynb", "conv2d_loops", 0,
        "    out[b, o, i, j] = total\n    if bias is not None:\n        out[b, o, i, j] += bias[o]",
        "    out[b, o, i, j] = total",
        "the bias is missing"),
    # the bias is added once per product, not once per output
    9: ("09_spatial/spatial_dev.ipynb", "conv2d_loops", 0,
        "s] * weight[o, c, r, s]\n",
        "s] * weight[o, c, r, s] + (0 if bias is None else bias[o] * 1)\n",
        "once for each product"),
    # macs counts outputs: it belongs into the innermost loop
    10: ("09_spatial/spatial_dev.ipynb", "conv2d_loops", 0,
        "                macs += 1\n",
        "    macs += 1\n",
        "outputs are counted"),
    # the stride multiplies the kernel's index too: only i and j are multiplied
    11: ("09_spatial/spatial_dev.ipynb", "conv2d_loops", 0,
        "i * sh + r, j * sw + s",
        "(i + r) * sh, (j + s) * sw",
        "the stride multiplies the kernel's index"),
    # the sum is not set back to 0 for each output
    12: ("09_spatial/spatial_dev.ipynb", "conv2d_loops", 0,
        "for b, o, i, j in np.ndindex(out.shape):\n    total = 0",
        "total = 0\nfor b, o, i, j in np.ndindex(out.shape):",
        "goes on from output to output"),
    # the stride is forgotten in the gradient of the weight
    13: ("09_spatial/spatial_dev.ipynb", "conv2d_loops_backward", 0,
        "framed[b, c, i * sh + r, j * sw + s]",
        "framed[b, c, i + r, j + s]",
        "the stride is ignored"),
    # the bias collects once per input channel, not once per output
    14: ("09_spatial/spatial_dev.ipynb", "conv2d_loops_backward", 0,
        "    d_bias[o] += g\n    for c in range(channels):",
        "    for c in range(channels):\n        d_bias[o] += g",
        "once for each input channel"),
    # the vertical stride is used for both directions
    15: ("09_spatial/spatial_dev.ipynb", "windows", 0,
        ":: stride[1]",
        ":: stride[0]",
        "the vertical stride is used for both directions"),
    # the batch stands first in the columns: the order is (C, kh, kw, B, H_out, W_out)
    16: ("09_spatial/spatial_dev.ipynb", "conv2d", 0,
        "view.transpose(1, 4, 5, 0, 2, 3)",
        "view.transpose(0, 1, 4, 5, 2, 3)",
        "in the order (B, C, kh, kw, H_out, W_out)"),
    # the result is left as (O, B, H_out, W_out): batch and channels are to be exchanged
    17: ("09_spatial/spatial_dev.ipynb", "conv2d", 0,
        "\nout = out.transpose(1, 0, 2, 3)",
        "",
        "the axes stand in the order (channel, image, row, column)"),
    # the bias meets the batch axis: the product is (O, B, H, W) there, so it must be (O, 1, 1, 1)
    18: ("09_spatial/spatial_dev.ipynb", "conv2d", 0,
        "bias.reshape(-1, 1, 1, 1)",
        "bias.reshape(-1, 1, 1)",
        "(4,2,4,6) (4,1,1)"),
    # the dilation is forgotten where a position's slice begins
    19: ("09_spatial/spatial_dev.ipynb", "fold", 0,
        "top, left = r * dh, s * dw",
        "top, left = r, s",
        "the dilation is ignored"),
    # the vertical stride is used for both directions
    20: ("09_spatial/spatial_dev.ipynb", "fold", 0,
        "left + (columns - 1) * sw + 1 : sw",
        "left + (columns - 1) * sh + 1 : sh",
        "the vertical stride is used for both directions"),
    # divided by the batch: the gradient is a sum over the images, the loss has the mean
    21: ("09_spatial/spatial_dev.ipynb", "conv2d_parameters", 0,
        "return product.reshape(weight.shape)",
        "return product.reshape(weight.shape) / len(x)",
        "are averaged"),
    # kh and kw are exchanged when the columns are reshaped
    22: ("09_spatial/spatial_dev.ipynb", "conv2d_parameters", 2,
        "x.shape[1], kh, kw, len(x)",
        "x.shape[1], kw, kh, len(x)",
        "kh and kw are exchanged where the columns are reshaped"),
    # the kernel is flipped, although fold already puts every piece where it came from
    23: ("09_spatial/spatial_dev.ipynb", "conv2d_parameters", 2,
        "weight_matrix(weight, groups).swapaxes(-1, -2)",
        "weight_matrix(weight[:, :, ::-1, ::-1], groups).swapaxes(-1, -2)",
        "the kernel is flipped"),
    # the groups are forgotten in the spread: one output reads in_channels // groups channels
    24: ("09_spatial/spatial_dev.ipynb", "Conv2d", 0,
        "math.sqrt(2 / math.prod(shape[1:]))",
        "math.sqrt(2 / (in_channels * math.prod(self.kernel_size)))",
        "the groups are left out"),
    # self.cropped(out) is forgotten
    25: ("09_spatial/spatial_dev.ipynb", "Conv2d", 1,
        "return self.cropped(out)",
        "return out",
        "the result is not cropped"),
    # the largest begins with 0, which beats every negative number: begin with the first pixel
    26: ("09_spatial/spatial_dev.ipynb", "max_pool2d_loops", 0,
        "best = pixels[0]\nfor row, column in pixels[1:]:\n    value, largest = x[b, c, row, column], x[b, c, best[0], best[1]]\n    if value > largest or (value != value and largest == largest):\n        best = row, column\n",
        "best, largest = pixels[0], 0\nfor row, column in pixels:\n    value = x[b, c, row, column]\n    if value > largest or (value != value and largest == largest):\n        best, largest = (row, column), value\n",
        "the search begins with 0"),
    # the last column of each window is left out
    27: ("09_spatial/spatial_dev.ipynb", "max_pool2d", 0,
        "for s in range(kernel[1])",
        "for s in range(kernel[1] - 1)",
        "the last column of each window is left out"),
    # NaN wins nowhere in the gradient: it equals nothing, itself included
    28: ("09_spatial/spatial_dev.ipynb", "max_pool2d", 1,
        "((pixels == out) | (pixels != pixels))",
        "(pixels == out)",
        "a NaN gets nothing"),
    # the gradient is not divided by the number of pixels
    29: ("09_spatial/spatial_dev.ipynb", "avg_pool2d", 1,
        "(upstream / number)[",
        "upstream[",
        "every pixel gets the whole upstream"),
    # the layer's stride is not passed on: the kernel is used for it
    30: ("09_spatial/spatial_dev.ipynb", "MaxPool2d", 0,
        ", self.stride, self.padding",
        ", self.kernel_size, self.padding",
        "the stride is the kernel"),
    # both ReLUs are left out
    31: ("09_spatial/spatial_dev.ipynb", "SimpleCNN", 0,
        "Conv2d(3, 16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU()",
        "Conv2d(3, 16, 3, padding=1), MaxPool2d(2), Conv2d(16, 32, 3, padding=1)",
        "is there a ReLU"),
    # the step is made before the gradients are there
    32: ("09_spatial/spatial_dev.ipynb", "train_epoch", 0,
        "loss.backward()\noptimizer.step()",
        "optimizer.step()\nloss.backward()",
        "or before backward() has filled"),
    # the stride stands at the pointwise convolution: it belongs to the depthwise one
    33: ("09_spatial/blocks_dev.ipynb", "DepthwiseSeparable2d", 0,
        ", stride, padding, groups=in_channels)\nself.pointwise = Conv2d(in_channels, out_channels, 1)",
        ", 1, padding, groups=in_channels)\nself.pointwise = Conv2d(in_channels, out_channels, 1, stride)",
        "the stride stands at the pointwise convolution"),
    # eps is added outside of the root
    34: ("09_spatial/blocks_dev.ipynb", "batch_norm2d", 0,
        "1 / np.sqrt(_per_channel(var) + eps)",
        "1 / (np.sqrt(_per_channel(var)) + eps)",
        "eps is added outside of the root"),
    # the weight's gradient multiplies the images as they came, not the normalised ones
    35: ("09_spatial/blocks_dev.ipynb", "batch_norm2d_rules", 0,
        "(upstream * saved[0])",
        "(upstream * inputs[0])",
        "x is taken, not the normalised images"),
    # the weight is left out of the gradient of the images
    36: ("09_spatial/blocks_dev.ipynb", "batch_norm2d_rules", 2,
        "upstream * _per_channel(weight) * scale",
        "upstream * scale",
        "the weight is left out"),
    # the means are taken for each image by itself, not over the batch
    37: ("09_spatial/blocks_dev.ipynb", "batch_norm2d_rules", 2,
        "axes = (0, 2, 3)",
        "axes = (2, 3)",
        "in each image by itself"),
    # momentum is turned round: it is the share of the new batch
    38: ("09_spatial/blocks_dev.ipynb", "BatchNorm2d", 0,
        "(1 - rate) * old_mean + rate * mean",
        "rate * old_mean + (1 - rate) * mean",
        "momentum and 1 - momentum are exchanged"),
    # the variance that normalises divides by n - 1: only the remembered one does
    39: ("09_spatial/blocks_dev.ipynb", "BatchNorm2d", 0,
        "Tensor(var, x.dtype), self.eps",
        "Tensor(var * values / (values - 1), x.dtype), self.eps",
        "the variance is over n - 1"),
    # use_batch_stats=True is not passed: the gradient misses the way through mean and variance
    40: ("09_spatial/blocks_dev.ipynb", "BatchNorm2d", 0,
        "self.eps, True)",
        "self.eps)",
        "is use_batch_stats=True handed on"),
    # ReLU is applied before the sum, not last
    41: ("09_spatial/blocks_dev.ipynb", "ResidualBlock", 1,
        "ReLU()(x + self.branch(x))",
        "x + ReLU()(self.branch(x))",
        "ReLU is not applied at the end"),
    # step is forgotten: place (i, j) begins at pixel (i * step, j * step)
    42: ("09_spatial/blocks_dev.ipynb", "strongest_patches", 0,
        "i * step : i * step + reach, j * step : j * step + reach",
        "i : i + reach, j : j + reach",
        "the step is ignored"),
    # the rows are a view that does not lie in order: it was to be copied
    43: ("09_spatial/fast_dev.ipynb", "to_hcwn", 0,
        "target = empty_cached(rows.shape, rows.dtype)\ncopy_rows(rows, target)\nreturn target",
        "return rows",
        "copy those that do not"),
    # the pieces are as long as allowed, not as equal as possible
    44: ("09_spatial/fast_dev.ipynb", "split", 0,
        "each = -(-length // count)",
        "each = most",
        "each is as long as allowed"),
    # the places beside the image are not set to zero: what lay in memory stays
    45: ("09_spatial/fast_dev.ipynb", "unfold", 0,
        "    target[:, :, :, :low] = 0\n    target[:, :, :, high:] = 0",
        "    pass",
        "beside the image, before its first column, hold zeros. NaN"),
    # the padded rows below the image are not set to zero
    46: ("09_spatial/fast_dev.ipynb", "unfold", 0,
        "u[:, :, :above] = 0\nu[:, :, below:] = 0",
        "u[:, :, :above] = 0",
        "the padded row below the image holds zeros. NaN"),
    # the vertical stride is forgotten from one output row to the next
    47: ("09_spatial/fast_dev.ipynb", "row_windows", 0,
        "s.sh * down, step",
        "down, step",
        "go sh rows down"),
    # minus infinity times 0 is NaN: relu of -inf is 0
    48: ("02_activations/activations_dev.ipynb", "relu", 0,
        "return np.maximum(x, 0)",
        "return x * (x > 0)",
        "infinity times 0"),
    # the maximum of the whole array is subtracted, not each row's
    49: ("02_activations/activations_dev.ipynb", "softmax", 0,
        "x.max(axis=axis, keepdims=True)",
        "x.max()",
        "each row's own maximum"),
    # log(softmax(x)): small shares become 0, and their logarithm -inf
    50: ("02_activations/activations_dev.ipynb", "log_softmax", 0,
        "return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))",
        "return np.log(np.exp(shifted) / np.exp(shifted).sum(axis=axis, keepdims=True))",
        "log(softmax)"),
    # the negative part is subtracted: its sign is turned
    51: ("02_activations/activations_dev.ipynb", "leaky_relu", 0,
        "+ slope * np.minimum",
        "- slope * np.minimum",
        "its sign is turned"),
    # the weight is (in, out); it is to be (out, in)
    52: ("03_layers/layers_dev.ipynb", "linear_layer", 0,
        "(out_features, in_features), dtype",
        "(in_features, out_features), dtype",
        "weight is (out, in)"),
    # the axes before start_dim are dropped but for the first
    53: ("03_layers/layers_dev.ipynb", "flatten", 0,
        "x.shape[: self.start_dim]",
        "x.shape[:1]",
        "the first axis and no other kept"),
    # kept and dropped are exchanged: an entry stays with chance 1 - p
    54: ("03_layers/layers_dev.ipynb", "dropout", 0,
        ">= self.p",
        "< self.p",
        "p as the share that is kept"),
    # what stays is not divided by 1 - p
    55: ("03_layers/layers_dev.ipynb", "dropout", 0,
        " / (1 - self.p)",
        "",
        "no enlarging"),
    # dropout also in use: self.training is not asked
    56: ("03_layers/layers_dev.ipynb", "dropout", 0,
        "if not self.training:\n    return x\n",
        "",
        "in use, when training is False"),
    # divided by the number of rows, not of entries
    57: ("04_losses/losses_dev.ipynb", "mse_loss", 0,
        "((prediction - target) ** 2).mean()",
        "((prediction - target) ** 2).sum() / len(prediction)",
        "a mean over the rows only"),
    # the absolute value is forgotten in exp(-|z|)
    58: ("04_losses/losses_dev.ipynb", "bce", 0,
        "np.exp(-np.abs(logits))",
        "np.exp(-logits)",
        "without the absolute value"),
    # winners that tie each get the whole gradient: it is to be shared among them
    59: ("05_autograd/autograd_dev.ipynb", "reduction_rules", 3,
        "mask = mask / mask.sum(axis=axis, keepdims=True)\n",
        "",
        "the whole gradient for every winner"),
    # up is the array itself and no copy: the input is changed, and grows with every entry
    60: ("05_autograd/autograd_dev.ipynb", "numeric_gradient", 0,
        "up, down = arrays[which].copy(), arrays[which].copy()",
        "up, down = arrays[which], arrays[which].copy()",
        "work on a copy"),
}  # fmt: skip

# the verdicts on the first messages; the other mistakes were named rightly
FIRST = {
    "misnamed": (32, 34, 49, 51, 58),
    "not noticed": (7, 24, 25, 31, 33, 40, 47, 48, 59, 60),
    "neither": (3, 11, 13, 14, 15, 16, 18, 20, 22, 26, 27, 37, 44, 45, 53),
}


@pytest.fixture(scope="module")
def said(messages):
    """A function: what the first graded cell that fails says to a mistake, by its number, or to a cell done right."""

    @functools.cache
    def of_book(book):
        planted, cells = {}, RIGHT[book]
        for number, (where, cell, region, old, new, _) in MISTAKES.items():
            if where == book:
                pieces = [textwrap.dedent(piece).strip("\n") for piece in cells[cell]]
                assert pieces[region].count(old) == 1, f"{number}: {old!r} does not stand there once"
                pieces[region] = pieces[region].replace(old, new)
                planted[number] = (cell, *pieces)
        right = {cell: (cell, *pieces) for cell, pieces in cells.items()}
        return messages(book, {str(name): mistake for name, mistake in (planted | right).items()})

    return lambda book, name: of_book(book)[str(name)]


@pytest.mark.parametrize("number", MISTAKES)
def test_the_message_names_the_true_cause_and_no_other(said, number):
    message = said(MISTAKES[number][0], number)
    assert MISTAKES[number][-1] in message, message or "no graded cell noticed"
    assert ", or when " not in message


@pytest.mark.parametrize(("book", "cell"), [(book, cell) for book, cells in RIGHT.items() for cell in cells])
def test_the_solutions_without_a_mistake_pass(said, book, cell):
    assert said(book, cell) == ""

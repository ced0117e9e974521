"""Sixty mistakes on solutions written from the release alone.

Right solutions written from the release alone: {module: {cell: [what stands in place of each stub]}}."""
RIGHT = {
"09": {
"filter_image": ["""for i, j in np.ndindex(out.shape):
    out[i, j] = (image[i : i + kh, j : j + kw] * kernel).sum()"""],
"output_size": ["""count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
if count < 1:
    raise ValueError(
        f"no window fits: ({size} + 2*{padding} - {dilation}*({kernel} - 1) - 1) // {stride} + 1 = {count}"
    )
return count"""],
"conv2d_loops": ["""channels, kh, kw = weight.shape[1:]
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
return out, macs"""],
"conv2d_loops_backward": ["""channels, kh, kw = wide.shape[1:]
for b, o, i, j in np.ndindex(upstream.shape):
    g = upstream[b, o, i, j]
    d_bias[o] += g
    for c in range(channels):
        for r in range(kh):
            for s in range(kw):
                d_padded[b, c, i * sh + r, j * sw + s] += g * wide[o, c, r, s]
                d_wide[o, c, r, s] += g * framed[b, c, i * sh + r, j * sw + s]"""],
"windows": ["""return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]"""],
"conv2d": ["""images, outputs = len(x), len(weight)
depth = weight.shape[1] * weight.shape[2] * weight.shape[3]
columns = view.transpose(1, 4, 5, 0, 2, 3).reshape(groups, depth, images * height * width)
product = weight_matrix(weight, groups) @ columns
out = product.reshape(outputs, images, height, width)
if bias is not None:
    out = out + bias.reshape(-1, 1, 1, 1)
out = out.transpose(1, 0, 2, 3)"""],
"fold": ["""rows, columns, kh, kw = pieces.shape[2:]
for r in range(kh):
    for s in range(kw):
        top, left = r * dh, s * dw
        out[:, :, top : top + (rows - 1) * sh + 1 : sh, left : left + (columns - 1) * sw + 1 : sw] += pieces[..., r, s]"""],
"conv2d_parameters": ["""product = grad_matrix(upstream, groups) @ columns.swapaxes(-1, -2)
return product.reshape(weight.shape)""",
"""return upstream.sum(axis=(0, 2, 3))""",
"""d_columns = weight_matrix(weight, groups).swapaxes(-1, -2) @ grad_matrix(upstream, groups)
kh, kw = weight.shape[2:]
d_columns = d_columns.reshape(x.shape[1], kh, kw, len(x), upstream.shape[2], upstream.shape[3])
return fold(d_columns.transpose(3, 0, 4, 5, 1, 2), x.shape, stride, padding, dilation)"""],
"Conv2d": ["""spread = math.sqrt(2 / math.prod(shape[1:]))
self.weight = Tensor(generator().standard_normal(shape, np.float32) * np.float32(spread), requires_grad=True)
self.bias = Tensor(np.zeros(out_channels, np.float32), requires_grad=True) if bias else None""",
"""out = one_or_many(
    backends.kernel("conv2d"), x, self.weight, self.bias, self.stride, self.padding_pair, self.dilation, self.groups
)
return self.cropped(out)"""],
"max_pool2d_loops": ["""best = pixels[0]
for row, column in pixels[1:]:
    value, largest = x[b, c, row, column], x[b, c, best[0], best[1]]
    if value > largest or (value != value and largest == largest):
        best = row, column
out[b, c, i, j] = x[b, c, best[0], best[1]]
winners[b, c, i, j] = best""",
"""total = 0
for row, column in pixels:
    total += x[b, c, row, column]
out[b, c, i, j] = total / (kernel[0] * kernel[1] if count_include_pad else len(pixels))"""],
"max_pool2d": ["""out = view[..., 0, 0].copy()
for r in range(kernel[0]):
    for s in range(kernel[1]):
        np.maximum(out, view[..., r, s], out=out)""",
"""wins = free & ((pixels == out) | (pixels != pixels))
pieces[r, s] = np.where(wins, upstream, 0)
free &= ~wins"""],
"avg_pool2d": ["""total = np.zeros(view.shape[:4], x.dtype)
for r in range(kernel[0]):
    for s in range(kernel[1]):
        total += view[..., r, s]
return (total / number).astype(x.dtype)""",
"""share = (upstream / number)[..., None, None]
return fold(np.broadcast_to(share, (*upstream.shape, *kernel)), x.shape, stride, padding)"""],
"MaxPool2d": ["""return one_or_many(backends.kernel("max_pool2d"), x, self.kernel_size, self.stride, self.padding)""",
"""return one_or_many(
    backends.kernel("avg_pool2d"), x, self.kernel_size, self.stride, self.padding, self.count_include_pad
)"""],
"SimpleCNN": ["""self.convolutions = Sequential(
    Conv2d(3, 16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU(), MaxPool2d(2), Flatten(-3)
)
self.classifier = scale_init(Linear(2048, num_classes))""",
"""if x.shape[-2:] != (32, 32):
    raise ValueError(f"SimpleCNN takes images of 32×32 pixels, got {x.shape[-2]}×{x.shape[-1]}")
return self.classifier(self.features(x))"""],
"train_epoch": ["""loss.backward()
optimizer.step()"""],
"DepthwiseSeparable2d": ["""self.depthwise = Conv2d(in_channels, in_channels, kernel_size, stride, padding, groups=in_channels)
self.pointwise = Conv2d(in_channels, out_channels, 1)""",
"""return self.pointwise(self.depthwise(x))"""],
"batch_norm2d": ["""scale = 1 / np.sqrt(_per_channel(var) + eps)
normalised = (x - _per_channel(mean)) * scale
return normalised * _per_channel(weight) + _per_channel(bias), (normalised, scale)"""],
"batch_norm2d_rules": ["""return (upstream * saved[0]).sum(axis=(0, 2, 3))""",
"""return upstream.sum(axis=(0, 2, 3))""",
"""normalised, scale = saved
g = upstream * _per_channel(weight) * scale
if not use_batch_stats:
    return g
axes = (0, 2, 3)
return g - g.mean(axis=axes, keepdims=True) - normalised * (g * normalised).mean(axis=axes, keepdims=True)"""],
"BatchNorm2d": ["""images = x.numpy().astype(np.float64)
mean, var = images.mean(axis=(0, 2, 3)), images.var(axis=(0, 2, 3))
old_mean, old_var = self.running_mean.numpy(), self.running_var.numpy()
self.running_mean = Tensor((1 - rate) * old_mean + rate * mean, old_mean.dtype)
self.running_var = Tensor((1 - rate) * old_var + rate * var * (values / (values - 1)), old_var.dtype)
self.num_batches_tracked = self.num_batches_tracked + 1
return batch_norm2d(x, self.weight, self.bias, Tensor(mean, x.dtype), Tensor(var, x.dtype), self.eps, True)"""],
"global_avg_pool2d": ["""return x.mean(axis=(-2, -1))"""],
"ResidualBlock": ["""self.branch = Sequential(
    Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm2d(channels), ReLU(),
    Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm2d(channels),
)""",
"""return ReLU()(x + self.branch(x))"""],
"strongest_patches": ["""flat = maps.reshape(len(maps), -1)
places = flat.argmax(axis=1)
order = flat.max(axis=1).argsort()[::-1][:count]
patches = []
for image in order:
    i, j = np.unravel_index(places[image], maps.shape[1:])
    patches.append(images[image, i * step : i * step + reach, j * step : j * step + reach])
return np.array(patches)"""],
"to_hcwn": ["""rows = as_rows(x)
if rows.flags.c_contiguous:
    return rows
target = empty_cached(rows.shape, rows.dtype)
copy_rows(rows, target)
return target"""],
"split": ["""if length == 0:
    return []
count = -(-length // most)
each = -(-length // count)
return [(first, min(first + each, length)) for first in range(0, length, each)]"""],
"unfold": ["""u[:, :, :above] = 0
u[:, :, below:] = 0
for phase, j, low, high, columns in s.pieces:
    target = u[phase, :, above:below, j]
    np.copyto(target[:, :, :, low:high], source[:, :, :, columns])
    target[:, :, :, :low] = 0
    target[:, :, :, high:] = 0"""],
"row_windows": ["""step = s.columns * u.itemsize
strides = phase, group, s.sh * down, step, u.itemsize
return np.ndarray(shape, u.dtype, u, (row * s.sh + start * s.dh) * down, strides)"""],
},
"02": {
"relu": ["""return np.maximum(x, 0)"""],
"leaky_relu": ["""return np.maximum(x, 0) + slope * np.minimum(x, 0)"""],
"sigmoid": ["""return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))"""],
"gelu": ["""return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x)))"""],
"softmax": ["""powers = np.exp(x - x.max(axis=axis, keepdims=True))
return powers / powers.sum(axis=axis, keepdims=True)"""],
"log_softmax": ["""shifted = x - x.max(axis=axis, keepdims=True)
return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))"""],
},
"03": {
"linear": ["""out = x @ weight.T
return out if bias is None else out + bias"""],
"linear_layer": ["""numbers = generator().standard_normal((out_features, in_features), dtype=np.float32)
self.weight = Tensor(numbers * np.float32(math.sqrt(2 / in_features)), requires_grad=True)
self.bias = Tensor(np.zeros(out_features, np.float32), requires_grad=True) if bias else None""",
"""return linear(x, self.weight, self.bias)"""],
"flatten": ["""kept = x.shape[: self.start_dim]
return x.reshape(*kept, math.prod(x.shape[self.start_dim :]))"""],
"dropout": ["""if not self.training:
    return x
mask = np.empty_like(x.data)
mask[...] = (generator().random(x.shape, dtype=np.float32) >= self.p) / (1 - self.p)
return x * Tensor(mask, dtype=x.dtype)"""],
},
"04": {
"mse_loss": ["""if prediction.shape != target.shape:
    raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ: reshape one of them")
return ((prediction - target) ** 2).mean()"""],
"cross_entropy": ["""shifted = logits - logits.max(axis=1, keepdims=True)
powers = np.exp(shifted)
total = powers.sum(axis=1, keepdims=True)
logs = shifted - np.log(total)
right = logs[np.arange(len(labels)), labels]
loss = -((1 - label_smoothing) * right + label_smoothing * logs.mean(axis=1)).mean()
return loss, powers / total"""],
"bce": ["""if logits.shape != target.shape:
    raise ValueError(f"logits {logits.shape} and target {target.shape} differ: reshape one of them")
return (np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))).mean()"""],
"accuracy": ["""return float((logits.argmax(axis=1) == labels).mean())"""],
},
"05": {
"numeric_gradient": ["""found = np.zeros(arrays[which].shape)
for entry in np.ndindex(found.shape):
    up, down = arrays[which].copy(), arrays[which].copy()
    up[entry] += step
    down[entry] -= step
    high = function(*arrays[:which], up, *arrays[which + 1 :])
    low = function(*arrays[:which], down, *arrays[which + 1 :])
    found[entry] = (upstream * (high - low)).sum() / (2 * step)
return found"""],
"unbroadcast": ["""extra = gradient.ndim - len(shape)
axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and gradient.shape[extra + i] > 1)
return gradient.sum(axis=axes).reshape(shape)"""],
"reduction_rules": ["""if axis is not None and not keepdims:
    value = np.expand_dims(value, axis)
return np.broadcast_to(value, shape)""",
"""return expand(upstream, a.shape, axis, keepdims)""",
"""return expand(upstream, a.shape, axis, keepdims) * (out.size / a.size)""",
"""mask = (a == expand(out, a.shape, axis, keepdims)).astype(a.dtype)
mask = mask / mask.sum(axis=axis, keepdims=True)
return mask * expand(upstream, a.shape, axis, keepdims)"""],
"shape_rules": ["""return upstream.reshape(a.shape)""", """return upstream.transpose(np.argsort(axes) if axes is not None else None)""",
"""found = np.zeros(a.shape, upstream.dtype)
np.add.at(found, where, upstream)
return found"""],
},
}
# spot and the rest of fast_dev stay unwritten
RIGHT["04"]["check_labels"] = ["""if labels.shape != (samples,):
    raise ValueError(f"labels {labels.shape} do not fit: expected ({samples},); labels.reshape(-1) or, for one-hot rows, argmax(axis=1)")
if labels.dtype.kind not in "iu":
    raise TypeError(f"labels must be integers, got {labels.dtype}: use labels.astype(int)")
wrong = labels[(labels < 0) | (labels >= classes)]
if wrong.size:
    raise ValueError(f"label {wrong[0]} is outside 0 to {classes - 1}")
return labels"""]


"""Sixty mistakes on those solutions: (module, exercise, cell, number of the stub, what stood there, what stands there now,
the true cause, which a good message would have to say)."""
MISTAKES = [
# 09, spatial_dev
("09", "filter_image", "filter_image", 0, "* kernel)", "* kernel[::-1, ::-1])", "the kernel is flipped, as mathematicians do; deep learning does not"),
("09", "filter_image", "filter_image", 0, ".sum()", ".mean()", "the mean of the products where their sum belongs"),
("09", "filter_image", "filter_image", 0, "image[i : i + kh, j : j + kw]", "image[j : j + kh, i : i + kw]", "i and j are exchanged: rows and columns of the image"),
("09", "output_size", "output_size", 0, "2 * padding", "padding", "the padding is added at both ends, so it counts twice"),
("09", "output_size", "output_size", 0, "(size + 2 * padding - dilation * (kernel - 1) - 1) // stride", "-(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride)", "rounded up; windows that are not whole do not count"),
("09", "output_size", "output_size", 0, "dilation * (kernel - 1) - 1", "dilation * kernel", "the reach is taken as dilation * kernel; it is dilation * (kernel - 1) + 1"),
("09", "output_size", "output_size", 0, "if count < 1", "if count < 0", "a count of 0 passes: no window fits then, and it must be refused as well"),
("09", "conv2d_loops", "conv2d_loops", 0, "    out[b, o, i, j] = total\n    if bias is not None:\n        out[b, o, i, j] += bias[o]", "    out[b, o, i, j] = total", "the bias is forgotten"),
("09", "conv2d_loops", "conv2d_loops", 0, "s] * weight[o, c, r, s]\n", "s] * weight[o, c, r, s] + (0 if bias is None else bias[o] * 1)\n", "the bias is added once per product, not once per output"),
("09", "conv2d_loops", "conv2d_loops", 0, "                macs += 1\n", "    macs += 1\n", "macs counts outputs: it belongs into the innermost loop"),
("09", "conv2d_loops", "conv2d_loops", 0, "i * sh + r, j * sw + s", "(i + r) * sh, (j + s) * sw", "the stride multiplies the kernel's index too: only i and j are multiplied"),
("09", "conv2d_loops", "conv2d_loops", 0, "for b, o, i, j in np.ndindex(out.shape):\n    total = 0", "total = 0\nfor b, o, i, j in np.ndindex(out.shape):", "the sum is not set back to 0 for each output"),
("09", "conv2d_loops_backward", "conv2d_loops_backward", 0, "framed[b, c, i * sh + r, j * sw + s]", "framed[b, c, i + r, j + s]", "the stride is forgotten in the gradient of the weight"),
("09", "conv2d_loops_backward", "conv2d_loops_backward", 0, "    d_bias[o] += g\n    for c in range(channels):", "    for c in range(channels):\n        d_bias[o] += g", "the bias collects once per input channel, not once per output"),
("09", "windows", "windows", 0, ":: stride[1]", ":: stride[0]", "the vertical stride is used for both directions"),
("09", "conv2d", "conv2d", 0, "view.transpose(1, 4, 5, 0, 2, 3)", "view.transpose(0, 1, 4, 5, 2, 3)", "the batch stands first in the columns: the order is (C, kh, kw, B, H_out, W_out)"),
("09", "conv2d", "conv2d", 0, "\nout = out.transpose(1, 0, 2, 3)", "", "the result is left as (O, B, H_out, W_out): batch and channels are to be exchanged"),
("09", "conv2d", "conv2d", 0, "bias.reshape(-1, 1, 1, 1)", "bias.reshape(-1, 1, 1)", "the bias meets the batch axis: the product is (O, B, H, W) there, so it must be (O, 1, 1, 1)"),
("09", "fold", "fold", 0, "top, left = r * dh, s * dw", "top, left = r, s", "the dilation is forgotten where a position's slice begins"),
("09", "fold", "fold", 0, "left + (columns - 1) * sw + 1 : sw", "left + (columns - 1) * sh + 1 : sh", "the vertical stride is used for both directions"),
("09", "conv2d_rules", "conv2d_parameters", 0, "return product.reshape(weight.shape)", "return product.reshape(weight.shape) / len(x)", "divided by the batch: the gradient is a sum over the images, the loss has the mean"),
("09", "conv2d_rules", "conv2d_parameters", 2, "x.shape[1], kh, kw, len(x)", "x.shape[1], kw, kh, len(x)", "kh and kw are exchanged when the columns are reshaped"),
("09", "conv2d_rules", "conv2d_parameters", 2, "weight_matrix(weight, groups).swapaxes(-1, -2)", "weight_matrix(weight[:, :, ::-1, ::-1], groups).swapaxes(-1, -2)", "the kernel is flipped, although fold already puts every piece where it came from"),
("09", "Conv2d", "Conv2d", 0, "math.sqrt(2 / math.prod(shape[1:]))", "math.sqrt(2 / (in_channels * math.prod(self.kernel_size)))", "the groups are forgotten in the spread: one output reads in_channels // groups channels"),
("09", "Conv2d", "Conv2d", 1, "return self.cropped(out)", "return out", "self.cropped(out) is forgotten"),
("09", "pool_loops", "max_pool2d_loops", 0, "best = pixels[0]\nfor row, column in pixels[1:]:\n    value, largest = x[b, c, row, column], x[b, c, best[0], best[1]]\n    if value > largest or (value != value and largest == largest):\n        best = row, column\n", "best, largest = pixels[0], 0\nfor row, column in pixels:\n    value = x[b, c, row, column]\n    if value > largest or (value != value and largest == largest):\n        best, largest = (row, column), value\n", "the largest begins with 0, which beats every negative number: begin with the first pixel"),
("09", "max_pool2d", "max_pool2d", 0, "for s in range(kernel[1])", "for s in range(kernel[1] - 1)", "the last column of each window is left out"),
("09", "max_pool2d", "max_pool2d", 1, "((pixels == out) | (pixels != pixels))", "(pixels == out)", "NaN wins nowhere in the gradient: it equals nothing, itself included"),
("09", "avg_pool2d", "avg_pool2d", 1, "(upstream / number)[", "upstream[", "the gradient is not divided by the number of pixels"),
("09", "pool_layers", "MaxPool2d", 0, ", self.stride, self.padding", ", self.kernel_size, self.padding", "the layer's stride is not passed on: the kernel is used for it"),
("09", "SimpleCNN", "SimpleCNN", 0, "Conv2d(3, 16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU()", "Conv2d(3, 16, 3, padding=1), MaxPool2d(2), Conv2d(16, 32, 3, padding=1)", "both ReLUs are left out"),
("09", "train_epoch", "train_epoch", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()", "the step is made before the gradients are there"),
# 09, blocks_dev
("09", "DepthwiseSeparable2d", "DepthwiseSeparable2d", 0, ", stride, padding, groups=in_channels)\nself.pointwise = Conv2d(in_channels, out_channels, 1)", ", 1, padding, groups=in_channels)\nself.pointwise = Conv2d(in_channels, out_channels, 1, stride)", "the stride stands at the pointwise convolution: it belongs to the depthwise one"),
("09", "batch_norm2d", "batch_norm2d", 0, "1 / np.sqrt(_per_channel(var) + eps)", "1 / (np.sqrt(_per_channel(var)) + eps)", "eps is added outside of the root"),
("09", "batch_norm2d", "batch_norm2d_rules", 0, "(upstream * saved[0])", "(upstream * inputs[0])", "the weight's gradient multiplies the images as they came, not the normalised ones"),
("09", "batch_norm2d", "batch_norm2d_rules", 2, "upstream * _per_channel(weight) * scale", "upstream * scale", "the weight is left out of the gradient of the images"),
("09", "batch_norm2d", "batch_norm2d_rules", 2, "axes = (0, 2, 3)", "axes = (2, 3)", "the means are taken for each image by itself, not over the batch"),
("09", "BatchNorm2d", "BatchNorm2d", 0, "(1 - rate) * old_mean + rate * mean", "rate * old_mean + (1 - rate) * mean", "momentum is turned round: it is the share of the new batch"),
("09", "BatchNorm2d", "BatchNorm2d", 0, "Tensor(var, x.dtype), self.eps", "Tensor(var * values / (values - 1), x.dtype), self.eps", "the variance that normalises divides by n - 1: only the remembered one does"),
("09", "BatchNorm2d", "BatchNorm2d", 0, "self.eps, True)", "self.eps)", "use_batch_stats=True is not passed: the gradient misses the way through mean and variance"),
("09", "ResidualBlock", "ResidualBlock", 1, "ReLU()(x + self.branch(x))", "x + ReLU()(self.branch(x))", "ReLU is applied before the sum, not last"),
("09", "strongest_patches", "strongest_patches", 0, "i * step : i * step + reach, j * step : j * step + reach", "i : i + reach, j : j + reach", "step is forgotten: place (i, j) begins at pixel (i * step, j * step)"),
# 09, fast_dev
("09", "to_hcwn", "to_hcwn", 0, "target = empty_cached(rows.shape, rows.dtype)\ncopy_rows(rows, target)\nreturn target", "return rows", "the rows are a view that does not lie in order: it was to be copied"),
("09", "split", "split", 0, "each = -(-length // count)", "each = most", "the pieces are as long as allowed, not as equal as possible"),
("09", "unfold", "unfold", 0, "    target[:, :, :, :low] = 0\n    target[:, :, :, high:] = 0", "    pass", "the places beside the image are not set to zero: what lay in memory stays"),
("09", "unfold", "unfold", 0, "u[:, :, :above] = 0\nu[:, :, below:] = 0", "u[:, :, :above] = 0", "the padded rows below the image are not set to zero"),
("09", "row_windows", "row_windows", 0, "s.sh * down, step", "down, step", "the vertical stride is forgotten from one output row to the next"),
# others
("02", "relu", "relu", 0, "return np.maximum(x, 0)", "return x * (x > 0)", "minus infinity times 0 is NaN: relu of -inf is 0"),
("02", "softmax", "softmax", 0, "x.max(axis=axis, keepdims=True)", "x.max()", "the maximum of the whole array is subtracted, not each row's"),
("02", "softmax", "log_softmax", 0, "return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))", "return np.log(np.exp(shifted) / np.exp(shifted).sum(axis=axis, keepdims=True))", "log(softmax(x)): small shares become 0, and their logarithm -inf"),
("02", "relu", "leaky_relu", 0, "+ slope * np.minimum", "- slope * np.minimum", "the negative part is subtracted: its sign is turned"),
("03", "linear_layer", "linear_layer", 0, "(out_features, in_features), dtype", "(in_features, out_features), dtype", "the weight is (in, out); it is to be (out, in)"),
("03", "flatten", "flatten", 0, "x.shape[: self.start_dim]", "x.shape[:1]", "the axes before start_dim are dropped but for the first"),
("03", "dropout", "dropout", 0, ">= self.p", "< self.p", "kept and dropped are exchanged: an entry stays with chance 1 - p"),
("03", "dropout", "dropout", 0, " / (1 - self.p)", "", "what stays is not divided by 1 - p"),
("03", "dropout", "dropout", 0, "if not self.training:\n    return x\n", "", "dropout also in use: self.training is not asked"),
("04", "mse_loss", "mse_loss", 0, "((prediction - target) ** 2).mean()", "((prediction - target) ** 2).sum() / len(prediction)", "divided by the number of rows, not of entries"),
("04", "bce", "bce", 0, "np.exp(-np.abs(logits))", "np.exp(-logits)", "the absolute value is forgotten in exp(-|z|)"),
("05", "reduction_rules", "reduction_rules", 3, "mask = mask / mask.sum(axis=axis, keepdims=True)\n", "", "winners that tie each get the whole gradient: it is to be shared among them"),
("05", "numeric_gradient", "numeric_gradient", 0, "up, down = arrays[which].copy(), arrays[which].copy()", "up, down = arrays[which], arrays[which].copy()", "up is the array itself and no copy: the input is changed, and grows with every entry"),
]

# The first score, before any message was changed: mistake -> verdict (the others were named rightly)
FIRST = {32: 'wrong', 34: 'wrong', 49: 'wrong', 51: 'wrong', 58: 'wrong', 7: 'unnoticed', 24: 'unnoticed', 25: 'unnoticed', 31: 'unnoticed', 33: 'unnoticed', 40: 'unnoticed', 47: 'unnoticed', 48: 'unnoticed', 59: 'unnoticed', 60: 'unnoticed', 3: 'neutral', 11: 'neutral', 13: 'neutral', 14: 'neutral', 15: 'neutral', 16: 'neutral', 18: 'neutral', 20: 'neutral', 22: 'neutral', 26: 'neutral', 27: 'neutral', 37: 'neutral', 44: 'neutral', 45: 'neutral', 53: 'neutral'}

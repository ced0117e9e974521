"""What blocks_dev.ipynb builds: batch normalisation, global pooling, depthwise separable and residual blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import nn
from tinytorch.core.autograd import gradcheck
from tinytorch.core.tensor import Tensor, manual_seed

blocks = pytest.importorskip(
    "tinytorch.core.blocks", reason="blocks_dev.ipynb has not been exported", exc_type=ImportError
)
BatchNorm2d, GlobalAvgPool2d = blocks.BatchNorm2d, blocks.GlobalAvgPool2d
global_avg_pool2d, batch_norm2d = blocks.global_avg_pool2d, blocks.batch_norm2d


def distinct(seed, shape):
    """Numbers of which no two are equal."""
    size = int(np.prod(shape))
    return np.random.default_rng(seed).permutation(size).reshape(shape) / size


def refused(function):
    """The refusal, which is a sentence."""
    with pytest.raises((ValueError, TypeError)) as caught:
        function()
    assert len(said := str(caught.value)) > 30
    return said


def test_batch_norm_in_training_and_in_use():
    rng = np.random.default_rng(7)
    x = 5 + 3 * rng.standard_normal((6, 4, 3, 5)).astype(np.float32)
    layer = BatchNorm2d(4)
    out = layer(Tensor(x)).numpy()
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)
    layer.eval()
    kept = layer.state_dict()
    both = layer(Tensor(x)).numpy()
    np.testing.assert_allclose(layer(Tensor(x[:1])).numpy(), both[:1], rtol=1e-5, atol=1e-5)
    assert all(np.array_equal(kept[name], value) for name, value in layer.state_dict().items())


def test_batch_norm_gradients():
    x = np.random.default_rng(8).standard_normal((3, 2, 2, 3))
    for mode in (True, False):
        layer = BatchNorm2d(2).astype(np.float64).train(mode)
        layer.weight, layer.bias = (Tensor(v, np.float64, requires_grad=True) for v in ([1.5, -0.7], [0.2, 2.0]))
        assert gradcheck(layer, x)
        assert layer.running_var.dtype == np.float64
        for name in ("weight", "bias"):

            def forward(value, name=name, layer=layer):
                setattr(layer, name, value)
                return layer(Tensor(x, np.float64))

            assert gradcheck(forward, np.array([0.4, -1.2]))


@pytest.mark.parametrize("images", [(3, 2, 7, 7), (16, 2, 16, 16), (2, 4, 70, 71)])
@pytest.mark.parametrize("value", [1e6, 123456.7, 0.1])
def test_a_constant_channel_becomes_zeros(value, images):
    """A mean that is off by one digit of float32 would be as large as the deviation that eps allows."""
    x = np.random.default_rng(5).standard_normal(images).astype(np.float32)
    x[:, 1] = value
    layer = BatchNorm2d(images[1])
    out = layer(Tensor(x)).numpy()
    assert not out[:, 1].any() and out.dtype == layer.running_mean.dtype == np.float32
    assert layer.running_mean.numpy()[1] == pytest.approx(0.1 * value)
    assert layer.running_var.numpy()[1] == np.float32(0.9)


def test_batch_norm_messages_and_repr():
    assert repr(BatchNorm2d(3)) == "BatchNorm2d(3, eps=1e-05, momentum=0.1)"
    with pytest.raises(ValueError, match="expected 3 channels, got 2"):
        BatchNorm2d(3)(Tensor(np.zeros((4, 2, 3, 3))))
    with pytest.raises(ValueError, match=r"one value per channel has no variance, got \(1, 3, 1, 1\)"):
        BatchNorm2d(3)(Tensor(np.zeros((1, 3, 1, 1))))
    with pytest.raises(ValueError, match="num_features.*0"):
        BatchNorm2d(0)
    assert BatchNorm2d(3)(Tensor(np.zeros((0, 3, 2, 2)))).shape == (0, 3, 2, 2)
    assert [name for name, _ in BatchNorm2d(3).named_buffers()] == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


def test_batch_norm_settings():
    rng = np.random.default_rng(9)
    batches = [3 + rng.standard_normal((4, 2, 3, 3)).astype(np.float32) for _ in range(3)]
    layer = BatchNorm2d(2, momentum=None, affine=False)
    for batch in batches:
        layer(Tensor(batch))
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean([b.mean((0, 2, 3)) for b in batches], 0), rtol=1e-5)
    np.testing.assert_allclose(
        layer.running_var.numpy(), np.mean([b.var((0, 2, 3), ddof=1) for b in batches], 0), rtol=1e-4
    )
    assert layer.parameters() == [] and repr(layer) == "BatchNorm2d(2, eps=1e-05, momentum=None, affine=False)"
    assert layer.eval()(Tensor(batches[0])).shape == (4, 2, 3, 3)
    assert gradcheck(BatchNorm2d(2, affine=False), batches[0].astype(np.float64)[:2])
    for wrong in ({"eps": 0}, {"eps": -1e-5}, {"eps": float("nan")}, {"eps": "small"}, {"eps": None}):
        with pytest.raises(ValueError, match="eps keeps the root away from 0"):
            BatchNorm2d(2, **wrong)
    for wrong in (-0.1, 1.1, float("nan"), "0.1"):
        with pytest.raises(ValueError, match="momentum is a share, from 0 to 1, or None"):
            BatchNorm2d(2, momentum=wrong)


def test_batch_norm_keeps_the_dtype_of_its_buffers():
    layer = BatchNorm2d(2)
    layer(Tensor(np.random.default_rng(1).standard_normal((4, 2, 3, 3)), dtype="float64"))
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    assert layer(Tensor(np.ones((4, 2, 3, 3)))).dtype == np.float32


def test_statistics_of_a_later_batch_do_not_change_an_earlier_gradient():
    layer, x = BatchNorm2d(1).eval(), Tensor(np.ones((2, 1, 2, 2)), requires_grad=True)
    out = layer(x)
    layer.train()(Tensor(np.random.default_rng(2).standard_normal((8, 1, 3, 3)) * 9))
    out.sum().backward()
    np.testing.assert_allclose(x.grad, 1, rtol=1e-4)


def test_an_empty_batch_counts_as_one_and_changes_no_statistics():
    layer = BatchNorm2d(2, momentum=None)
    out = layer(Tensor(np.zeros((0, 2, 3, 3))))
    out.sum().backward()
    assert out.shape == (0, 2, 3, 3) and layer.num_batches_tracked.item() == 1
    assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0, 0]
    layer(Tensor(np.full((2, 2, 1, 1), 4.0)))
    assert layer.running_mean.numpy().tolist() == [2, 2] and layer.num_batches_tracked.item() == 2
    layer.eval()(Tensor(np.zeros((0, 2, 3, 3))))
    assert layer.num_batches_tracked.item() == 2


@pytest.mark.parametrize("setting", ["eps", "momentum"])
def test_numbers_of_every_kind_are_settings_of_batch_norm_and_truth_values_are_not(setting):
    for value in (1, 0.5, np.float32(0.5), np.int64(1)):
        assert getattr(BatchNorm2d(2, **{setting: value}), setting) == value
    for value in (True, np.True_, "0.1", [0.1], np.nan):
        with pytest.raises(ValueError, match=setting):
            BatchNorm2d(2, **{setting: value})


def test_batch_norm_of_whole_pixels():
    for dtype in ("int64", "uint8", "bool", "float32"):
        layer, x = BatchNorm2d(1), np.array([[[[0, 1], [1, 1]]]]).astype(dtype)
        np.testing.assert_allclose(layer(Tensor(x)).numpy().ravel(), [-1.732] + 3 * [0.577], atol=1e-3)
        assert layer.running_mean.item() == pytest.approx(0.075) and layer.running_var.item() == pytest.approx(0.925)
        assert layer.eval()(Tensor(x)).dtype == np.float32


@pytest.mark.parametrize(("weights", "result"), [("float16", "float16"), ("float32", "float32")])
def test_batch_norm_of_half_precision(weights, result):
    layer, x = BatchNorm2d(1).astype(weights), np.arange(8).reshape(2, 1, 2, 2) * 200.0
    out = layer(Tensor(x, dtype="float16", requires_grad=True))
    out.backward(x.astype(result))
    np.testing.assert_allclose(out.numpy().ravel()[:4], [-1.5275, -1.0911, -0.6547, -0.2182], atol=1e-3)
    assert out.dtype == result and layer.running_var.item() == pytest.approx(24000, 1e-3)
    assert layer.weight.grad.item() == pytest.approx(18.33 * 200, 1e-3)
    assert layer.eval()(Tensor(x, dtype="float16")).dtype == result


def test_global_average_pooling():
    x = distinct(3, (2, 3, 4, 5))
    np.testing.assert_allclose(global_avg_pool2d(Tensor(x)).numpy(), x.mean(axis=(2, 3)), rtol=1e-6)
    assert GlobalAvgPool2d()(Tensor(x[0])).shape == (3,)
    assert gradcheck(GlobalAvgPool2d(), x)
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        global_avg_pool2d(Tensor(x[0, 0]))


def test_shapes_of_batch_normalisation():
    vectors = [np.ones(3, np.float32)] * 4
    for place in range(4):
        for wrong in (np.ones(2), np.ones((3, 1))):
            refused(lambda p=place, w=wrong: batch_norm2d(X, *vectors[:p], w, *vectors[p + 1 :]))
    assert "(3, 6, 6)" in refused(lambda: batch_norm2d(X[0], *vectors))
    assert batch_norm2d(X, None, None, *vectors[:2]).shape == X.shape


X = np.ones((2, 3, 6, 6), np.float32)


@given(st.sampled_from([None, "ab", X * 1j, X[0, 0], X[None], X.transpose(0, 2, 3, 1), {"x": 1}, object()]))
def test_images_that_are_none_are_refused(x):
    refused(lambda: BatchNorm2d(3)(x))
    refused(lambda: nn.DepthwiseSeparable2d(3, 4, 3)(x))
    refused(lambda: nn.ResidualBlock(3)(x))
    if np.ndim(x) != 4 or np.asarray(x).dtype.kind not in "biuf":
        refused(lambda: global_avg_pool2d(x))


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True, (1, 2), [3, 3]])
def test_numbers_of_features(value):
    assert "num_features" in refused(lambda: BatchNorm2d(value))


def test_depthwise_separable_is_an_ordinary_convolution_with_fewer_weights():
    """Its two steps multiplied out are one kernel of rank 1 for each channel."""
    manual_seed(1)
    layer, whole = nn.DepthwiseSeparable2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(3, 5, 3, stride=2, padding=1)
    assert layer.parameter_count() == 3 * 9 + 3 + 5 * 3 + 5
    first, second = layer.depthwise.weight.numpy()[:, 0], layer.pointwise.weight.numpy()[:, :, 0, 0]
    layer.depthwise.bias = Tensor([0.5, -1.0, 2.0])
    whole.weight = Tensor(second[:, :, None, None] * first)
    whole.bias = Tensor(second @ layer.depthwise.bias.numpy() + layer.pointwise.bias.numpy())
    x = np.random.default_rng(2).standard_normal((2, 3, 7, 8))
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), whole(Tensor(x)).numpy(), atol=1e-5)


def test_a_residual_block_hands_the_gradient_on():
    block, x = nn.ResidualBlock(2).eval(), 1 + np.random.default_rng(3).random((2, 2, 4, 4))
    for layer in (block.branch[0], block.branch[3]):
        layer.weight = Tensor(np.zeros((2, 2, 3, 3)), requires_grad=True)
    images = Tensor(x, requires_grad=True)
    block(images).backward(upstream := np.random.default_rng(4).standard_normal(x.shape))
    np.testing.assert_allclose(images.grad, upstream, rtol=1e-6)
    assert gradcheck(nn.ResidualBlock(2), np.random.default_rng(5).standard_normal((3, 2, 3, 4)))
    assert nn.ResidualBlock(2)(Tensor(x[0])).shape == (2, 4, 4)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(12))
def test_batch_norm_equals_pytorch(seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    settings = dict(eps=float(rng.choice([1e-5, 1e-2])), momentum=float(rng.choice([0.1, 0.5])))
    settings["affine"], settings["momentum"] = seed % 3 > 0, None if seed % 2 else settings["momentum"]
    own, theirs = BatchNorm2d(4, **settings), torch.nn.BatchNorm2d(4, **settings)
    assert (own.weight is None) == (own.bias is None) == (theirs.weight is None)
    if settings["affine"]:
        own.weight.data, own.bias.data = rng.standard_normal((2, 4)).astype(np.float32)
        theirs.weight.data, theirs.bias.data = (torch.tensor(part.numpy()) for part in (own.weight, own.bias))
    for step in range(4):
        if step == 3:
            own.eval(), theirs.eval()
        x = (2 + 3 * rng.standard_normal((5, 4, 3, 4))).astype(np.float32)
        upstream = rng.standard_normal(x.shape).astype(np.float32)
        own.zero_grad(), theirs.zero_grad()
        mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got, want = own(mine), theirs(other)
        got.backward(upstream), want.backward(torch.tensor(upstream))
        pairs = [(got.numpy(), want.detach().numpy()), (mine.grad, other.grad.numpy())]
        pairs += [(getattr(own, name).grad, value.grad.numpy()) for name, value in theirs.named_parameters()]
        for ours, other in pairs:
            np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-3)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(own.state_dict()[name], value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)
    own.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})

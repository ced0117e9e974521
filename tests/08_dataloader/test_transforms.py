"""Transforms on whole batches against the same thing done image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.data.loader import (
    Compose,
    Normalize,
    RandomBrightness,
    RandomCrop,
    RandomHorizontalFlip,
    channel_statistics,
    crop_batch,
    pad_images,
)


def photos(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(st.integers(0, 4), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_crop_equals_the_loop(count, channels, height, width, more_rows, more_columns):
    images = photos(count, channels, height + more_rows, width + more_columns)
    rng = np.random.default_rng(1)
    tops, lefts = rng.integers(0, more_rows + 1, count), rng.integers(0, more_columns + 1, count)
    got = crop_batch(images, tops, lefts, (height, width))
    assert got.shape == (count, channels, height, width) and got.dtype == np.uint8
    for b in range(count):
        assert np.array_equal(got[b], images[b, :, tops[b] : tops[b] + height, lefts[b] : lefts[b] + width])


def test_crop_is_a_copy():
    images = photos(2, 1, 4, 4)
    got = crop_batch(images, np.zeros(2, int), np.zeros(2, int), (4, 4))
    assert not np.shares_memory(got, images) and got.flags.writeable


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("shape, padding", [((3, 2, 6, 5), 0), ((3, 2, 6, 5), 1), ((2, 3, 5, 9), 4), ((1, 1, 2, 2), 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_padding_equals_numpy(mode, shape, padding, dtype):
    images = photos(*shape).astype(dtype)
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    got = pad_images(images, padding, mode)
    assert got.dtype == dtype and np.array_equal(got, np.pad(images, border, mode=mode))


@pytest.mark.parity
def test_reflection_equals_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    images = photos(4, 3, 8, 6).astype(np.float32)
    expected = torch.nn.functional.pad(torch.from_numpy(images), (3, 3, 3, 3), mode="reflect").numpy()
    assert np.array_equal(pad_images(images, 3), expected)


def test_random_crop_draws_for_each_image():
    images = np.broadcast_to(np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8), (500, 1, 8, 8))
    corners = RandomCrop(5)(images, 0)[:, 0, 0, 0]
    assert set(corners.tolist()) == {8 * top + left for top in range(4) for left in range(4)}
    assert np.bincount(corners)[corners].min() > 10  # none of the 16 corners is rare


def test_random_crop_messages():
    with pytest.raises(ValueError, match='"reflect" or "constant", got \'edge\''):
        RandomCrop(4, mode="edge")
    with pytest.raises(ValueError, match="padding must be a whole number, at least 0, got -1"):
        RandomCrop(4, padding=-1)
    with pytest.raises(ValueError, match=r"cannot cut \(9, 9\) out of images of \(8, 8\)"):
        RandomCrop(9, padding=1)(photos(2, 1, 6, 6), 0)
    with pytest.raises(ValueError, match="padding smaller than the image, got 6 for 6 x 7"):
        RandomCrop(6, padding=6)(photos(2, 1, 6, 7), 0)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got shape \(6, 6\)"):
        RandomCrop(4)(photos(6, 6), 0)


def test_flip_turns_whole_images():
    images = photos(64, 3, 5, 4)
    got = RandomHorizontalFlip()(images, 3)
    turned = np.array([not np.array_equal(a, b) for a, b in zip(got, images, strict=True)])
    assert 16 < turned.sum() < 48
    assert np.array_equal(got[turned], images[turned][..., ::-1]) and np.array_equal(got[~turned], images[~turned])
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        RandomHorizontalFlip(1.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_normalize_values(dtype):
    images = photos(3, 3, 4, 5)
    scaled = images if dtype == np.uint8 else (images / 255).astype(dtype)
    mean, std = [0.5, 0.4, 0.3], [0.1, 0.2, 0.3]
    expected = (images / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    before = scaled.copy()
    got = Normalize(mean, std)(scaled)
    assert got.dtype == np.float32 and np.allclose(got, expected, atol=1e-5)
    assert np.array_equal(scaled, before) and not np.shares_memory(got, scaled)


def test_normalize_messages():
    with pytest.raises(ValueError, match="above 0"):
        Normalize([0, 0], [1, 0])
    with pytest.raises(ValueError, match="values for 2 channels, the images .1, 3, 2, 2. have 3"):
        Normalize([0, 0], [1, 1])(photos(1, 3, 2, 2))


def test_statistics_normalize_to_zero_and_one():
    images = photos(70, 3, 6, 6) // np.array([1, 2, 3], np.uint8).reshape(3, 1, 1)
    mean, std = channel_statistics(images, chunk=32)
    assert np.allclose(mean, images.mean(axis=(0, 2, 3)) / 255, atol=1e-6)
    assert np.allclose(std, images.std(axis=(0, 2, 3)) / 255, atol=1e-6)
    normal = Normalize(mean, std)(images)
    assert np.allclose(normal.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(normal.std(axis=(0, 2, 3)), 1, atol=1e-4)


def test_brightness_is_one_factor_per_image():
    images = np.full((50, 3, 2, 2), 0.5, np.float32)
    got = RandomBrightness(0.4)(images, 0)
    assert got.dtype == np.float32 and np.all(got == got[:, :1, :1, :1])
    assert got.min() >= 0.3 and got.max() <= 0.7 and len(np.unique(got)) == 50
    clipped = RandomBrightness(0.9)(np.full((50, 1, 1, 1), 200, np.uint8), 0)
    assert clipped.dtype == np.uint8 and clipped.max() == 255


def test_compose_shares_one_generator():
    images = photos(20, 3, 6, 6)
    both = Compose([RandomCrop(6, 2), RandomHorizontalFlip()])
    rng = np.random.default_rng(4)
    expected = RandomHorizontalFlip()(RandomCrop(6, 2)(images, rng), rng)
    assert np.array_equal(both(images, 4), expected)
    assert repr(both) == "Compose([RandomCrop((6, 6), padding=2, mode='reflect'), RandomHorizontalFlip(0.5)])"


@pytest.mark.parametrize("offset", [0, 1e4, -1e6])
def test_statistics_far_from_zero(offset):
    """1e6, ..., 1e6 + 3 had a deviation of 102.75."""
    images = offset + np.arange(24.0).reshape(3, 2, 2, 2)
    for dtype in ("float32", "float64"):
        mean, std = channel_statistics(images.astype(dtype), chunk=2)
        np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(std, images.std(axis=(0, 2, 3)), rtol=1e-6)


def test_a_channel_of_one_value_has_no_deviation():
    for images in (np.full((3, 1, 4, 4), 200, np.uint8), np.full((3, 1, 4, 4), 1e30, np.float32)):
        assert channel_statistics(images)[1].tolist() == [0]

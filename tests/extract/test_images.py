"""Images as a network sees them, against the formula written out."""

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs va-search[extract]")

from pydantic import ValidationError

from va_search.extract.onnx_image import ImageInput

PICTURE = np.random.default_rng(0).integers(0, 256, size=(8, 6, 3), dtype=np.uint8)


def test_values_colours_and_layout_are_as_declared():
    declared = ImageInput(
        size=(8, 6), colour="bgr", layout="nchw", scale=2, mean=(1, 2, 3), std=(4, 5, 6)
    )
    batch = declared.batch([PICTURE, PICTURE[::-1]])
    assert (batch.dtype, batch.shape) == (np.float32, (2, 3, 8, 6))
    for place, channel in enumerate((2, 1, 0)):
        expected = (PICTURE[..., channel] * 2.0 - [1, 2, 3][place]) / [4, 5, 6][place]
        np.testing.assert_allclose(batch[0, place], expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(batch[1, place], expected[::-1], rtol=1e-5, atol=1e-4)
    rows = ImageInput(size=(8, 6), layout="nhwc").batch([PICTURE])
    np.testing.assert_allclose(rows[0], PICTURE / 255, atol=1e-6)


def test_grey_is_one_channel():
    declared = ImageInput(
        size=(8, 6), colour="grey", layout="nhwc", scale=1, mean=131.0754, std=47.858177
    )
    grey = PICTURE @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(
        declared.batch([PICTURE])[0, ..., 0], (grey - 131.0754) / 47.858177, atol=0.02
    )
    assert declared.shape(5) == (5, 8, 6, 1)


def test_one_number_stands_for_all_channels():
    declared = ImageInput(size=(8, 6), scale=1, mean=127.5, std=128)
    np.testing.assert_allclose(
        declared.batch([PICTURE])[0], (PICTURE.transpose(2, 0, 1) - 127.5) / 128, atol=1e-6
    )


def test_images_of_any_size_are_resampled_with_antialiasing():
    declared = ImageInput(size=4, scale=1)
    flat = np.full((64, 48, 3), 200, np.uint8)
    np.testing.assert_array_equal(declared.batch([flat, flat[:4, :4]]), 200)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # without antialiasing a network would see 0 or 200 here
    np.testing.assert_allclose(declared.batch([stripes]), 100, atol=8)


def test_a_declaration_that_can_not_be_is_refused():
    for wrong in (
        {"std": (1, 0, 1)},
        {"size": 0},
        {"colour": "gray"},
        {"colour": "grey", "std": (1, 1, 1)},
        {"std": 0},
        {"layuot": "nchw"},
        {"mean": (1, 2)},
    ):
        with pytest.raises(ValidationError):
            ImageInput(**({"size": 4} | wrong))

"""Images as a network sees them, against the formula written out; broken image files by name."""

import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError

from va_search.errors import InputError
from va_search.extract.images import ImageInput, read_image

PICTURE = np.random.default_rng(0).integers(0, 256, size=(8, 6, 3), dtype=np.uint8)


def test_values_colours_and_layout_are_as_declared():
    declared = ImageInput(size=(8, 6), colour="bgr", layout="nchw", scale=2, mean=(1, 2, 3), std=(4, 5, 6))
    batch = declared.batch([PICTURE, PICTURE[::-1]])
    assert (batch.dtype, batch.shape) == (np.float32, (2, 3, 8, 6))
    for place, channel in enumerate((2, 1, 0)):
        expected = (PICTURE[..., channel] * 2.0 - [1, 2, 3][place]) / [4, 5, 6][place]
        np.testing.assert_allclose(batch[0, place], expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(batch[1, place], expected[::-1], rtol=1e-5, atol=1e-4)
    rows = ImageInput(size=(8, 6), layout="nhwc").batch([PICTURE])
    np.testing.assert_allclose(rows[0], PICTURE / 255, atol=1e-6)


def test_images_of_any_size_are_resampled_with_antialiasing():
    declared = ImageInput(size=4, scale=1)
    flat = np.full((64, 48, 3), 200, np.uint8)
    np.testing.assert_array_equal(declared.batch([flat, flat[:4, :4]]), 200)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # without antialiasing a network would see 0 or 200 here
    np.testing.assert_allclose(declared.batch([stripes]), 100, atol=8)


def test_a_declaration_that_can_not_be_is_refused():
    for wrong in ({"std": (1, 0, 1)}, {"size": 0}, {"colour": "grey"}, {"layuot": "nchw"}, {"mean": (1, 2)}):
        with pytest.raises(ValidationError):
            ImageInput(**({"size": 4} | wrong))


def test_reads_what_a_jpg_holds(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Pillow.fromarray(flat).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").astype(int), flat, atol=3)
    Pillow.fromarray(flat[..., 0]).save(tmp_path / "grey.jpg")
    assert read_image(tmp_path / "grey.jpg").shape == (16, 16, 3)


def test_a_broken_image_is_named(tmp_path):
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    Pillow.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    for name, said in {
        "cut": "a broken image",
        "empty": "an empty file",
        "text": "not an image",
        "absent": "no such file",
    }.items():
        with pytest.raises(InputError, match=rf"{name}\.jpg: {said}"):
            read_image(tmp_path / f"{name}.jpg")

"""The similarity transform against planted ones, the warp against bilinear interpolation written
out in numpy."""

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs va-search[extract]")

from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.extract.detector import TEMPLATE, align, similarity, warp


def planted(degrees, scale, shift):
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([scale * rotation, shift])


@settings(max_examples=50, deadline=None)
@given(st.floats(-180, 180), st.floats(0.1, 8), st.floats(-500, 500), st.floats(-500, 500))
def test_finds_the_planted_transform(degrees, scale, x, y):
    matrix = planted(degrees, scale, [x, y])
    moved = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), matrix, atol=1e-8)


def test_is_the_least_squares_fit_on_noisy_points():
    """Against the normal equations of (a, b, x, y), which know neither a singular value nor a
    rotation."""
    random = np.random.default_rng(0)
    source = random.normal(size=(5, 2)) * 30
    target = source @ planted(25, 1.7, [0, 0])[:, :2].T + [3, -8] + random.normal(size=(5, 2)) * 4
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, shift_x, shift_y = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(
        similarity(source, target), [[a, -b, shift_x], [b, a, shift_y]], atol=1e-9
    )


def test_a_mirrored_face_is_turned_not_mirrored():
    mirrored = TEMPLATE * [-1, 1]
    assert np.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0


def bilinear(picture, matrix, size):
    """What `warp` must give, pixel by pixel, centres of pixels at whole numbers."""
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            x, y, _ = back @ [column, row, 1]
            left, top = int(np.floor(x)), int(np.floor(y))
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
                    out[row, column] += weight * picture[top + dy, left + dx]
    return out


def test_warps_as_bilinear_interpolation_does():
    picture = np.random.default_rng(1).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    matrix = planted(17, 1.3, [-20, -30])  # all of the 20 × 20 target lies well within the source
    np.testing.assert_allclose(warp(picture, matrix, 20), bilinear(picture, matrix, 20), atol=1.01)


def test_identity_keeps_every_pixel_and_outside_is_black():
    picture = np.random.default_rng(2).integers(1, 256, size=(16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(picture, planted(0, 1, [0, 0]), 16), picture)
    moved = warp(picture, planted(0, 1, [4, 0]), 16)
    np.testing.assert_array_equal(moved[:, 4:], picture[:, :-4])
    assert not moved[:, :3].any()


@pytest.mark.parametrize("size", [112, 224])
def test_landmarks_land_on_the_template(size):
    """White spots drawn at the landmarks of a turned and scaled face are found at the template's
    places."""
    place = planted(-20, 2.0, [60, 130])
    landmarks = TEMPLATE @ place[:, :2].T + place[:, 2]
    picture = np.zeros((480, 480, 3), np.uint8)
    rows, columns = np.mgrid[:480, :480]
    for x, y in landmarks:
        picture[(columns - x) ** 2 + (rows - y) ** 2 < 36] = 255
    face = align(picture, landmarks, size)
    assert face is not None
    rows, columns = np.mgrid[:size, :size]
    for x, y in TEMPLATE * (size / 112):
        near = ((columns - x) ** 2 + (rows - y) ** 2 < (9 * size / 112) ** 2) * face[..., 0].astype(
            float
        )
        centre = [(near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()]
        np.testing.assert_allclose(centre, [x, y], atol=0.4)


def test_landmarks_that_fall_together_are_no_face():
    assert align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 7.0)) is None

"""Faces found in pictures by tiny ONNX detectors: where they are cropped, which one is taken, what
does not fit."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")
pytest.importorskip("PIL", reason="needs va-search[extract]")

from onnx_world import bright_square_detector, planted
from pydantic import ValidationError

from va_search.errors import InputError
from va_search.extract.detections import Detections
from va_search.extract.detector import Detector, DetectorSettings, fit


def settings(path, **other):
    weights = {"path": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return DetectorSettings.model_validate(
        {"format": "yunet", "weights": weights, "input": (128, 160)} | other
    )


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return bright_square_detector(tmp_path_factory.mktemp("detector") / "squares.onnx")


def picture(*squares, size=(128, 160), side=32):
    """Grey-level squares, (left, top, level), on black."""
    made = np.zeros((*size, 3), np.uint8)
    for left, top, level in squares:
        made[top : top + side, left : left + side] = level
    return made


def built(path, **other):
    detector = Detector(settings(path, **other))
    detector.prepare()
    detector.begin()
    return detector


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_finds_the_square_in_the_pixels_of_the_picture(squares, factor):
    """The input is 128 × 160; larger pictures are scaled to fit, and the box comes back in their
    own pixels."""
    seen = picture(
        (64 * factor, 40 * factor, 255), size=(128 * factor, 160 * factor), side=32 * factor
    )
    faces = built(squares).faces(seen)
    np.testing.assert_allclose(
        faces.boxes[0], np.array([64, 40, 96, 72]) * factor, atol=4.1 * factor
    )
    assert faces.scores[0] > 0.5


def test_the_crop_shows_the_square_where_the_template_has_the_face(squares):
    """The detector's landmarks are the template's over the square, so the crop is the square,
    filled to its edges."""
    crop = built(squares).crop(picture((60, 44, 255)))
    assert crop is not None
    assert crop.shape == (112, 112, 3)
    assert crop[20:92, 20:92].mean() > 250
    assert built(squares, size=64).crop(picture((60, 44, 255))).shape == (64, 64, 3)


def test_a_picture_without_a_face_has_no_crop(squares):
    assert built(squares).crop(picture()) is None
    assert built(squares, choose="track").crop(picture()) is None


def test_colours_come_in_the_order_the_detector_was_trained_with(tmp_path):
    """A YuNet sees blue first: the last plane of the batch is red."""
    detector = built(bright_square_detector(tmp_path / "a.onnx"))
    seen = []
    detector._run = lambda batch: (
        seen.append(batch)
        or [np.zeros(shape, np.float32) for shape in detector._file.outputs.values()]
    )
    red = np.zeros((128, 160, 3), np.uint8)
    red[..., 0] = 200
    detector.faces(red)
    assert seen[0][0].mean(axis=(1, 2)).tolist() == [0, 0, 200]


def boxes(*corners):
    values = np.array([[x, y, x + side, y + side] for x, y, side in corners], np.float32).reshape(
        -1, 4
    )
    return Detections(
        values, np.zeros((len(values), 5, 2), np.float32), np.ones(len(values), np.float32)
    )


def followed(squares, frames, **other):
    detector = built(squares, choose="track", **other)
    return [detector._follow(boxes(*frame)) for frame in frames]


def test_the_largest_is_taken_in_each_frame(squares):
    detector = built(squares)
    assert [
        detector._largest(boxes(*frame)) for frame in ([(0, 0, 10), (50, 50, 30)], [(0, 0, 10)], [])
    ] == [
        1,
        0,
        None,
    ]


def test_a_track_stays_with_its_person_when_another_comes_nearer(squares):
    frames = [[(0, 0, 30), (80, 80, 20)], [(4, 0, 30), (78, 80, 60)], [(80, 80, 70), (8, 0, 30)]]
    assert followed(squares, frames) == [0, 0, 1]


def test_a_lost_track_waits_then_begins_with_the_largest(squares):
    other = [(80, 80, 60)]
    assert followed(squares, [[(0, 0, 30)], other, other, other, other], patience=2) == [
        0,
        None,
        None,
        0,
        0,
    ]
    assert followed(squares, [[(0, 0, 30)], other, [(3, 0, 30), *other], other], patience=2) == [
        0,
        None,
        0,
        None,
    ]
    detector = built(squares, choose="track")
    assert detector._follow(boxes((0, 0, 30))) == 0
    detector.begin()  # the next video
    assert detector._follow(boxes((80, 80, 60))) == 0


def test_a_moving_square_is_followed_through_a_video(squares):
    detector = built(squares, choose="track", same=0.2)
    for step in range(12):
        crop = detector.crop(picture((8 * step, 48, 255), (120, 88, 140)))
        assert crop is not None
        assert crop[30:80, 30:80].mean() > 240, step


def test_what_does_not_fit_is_told_when_it_is_built(squares, tmp_path):
    with pytest.raises(
        InputError,
        match=r"squares.onnx: input 'input' has shape \[1, 3, 128, 160\].*input 640 × 640",
    ):
        Detector(settings(squares, input=(640, 640)))
    with pytest.raises(
        InputError, match=r"squares.onnx: the outputs are not those of a scrfd detector"
    ):
        Detector(settings(squares, format="scrfd"))
    boxes_only = planted(tmp_path / "boxes.onnx", {"boxes": np.zeros((1, 320, 4))}, size=(128, 160))
    with pytest.raises(
        InputError,
        match=r"boxes.onnx: the outputs are not those of a yunet.*found boxes \[1, 320, 4\]",
    ):
        Detector(settings(boxes_only))
    for wrong in (
        {"input": (100, 160)},
        {"format": "retinaface"},
        {"score": 2},
        {"same": 0},
        {"chose": "track"},
    ):
        with pytest.raises(ValidationError):
            settings(squares, **wrong)


def test_fit_keeps_the_shape_and_fills_with_black():
    seen, factor = fit(np.full((100, 50, 3), 200, np.uint8), (64, 64))
    assert factor == pytest.approx(0.64)
    assert (seen[:, :32] == 200).all()
    assert not seen[:, 32:].any()

"""Decoding of YuNet's and SCRFD's outputs: faces planted into tensors cell by cell come out where
they were planted."""

import numpy as np
import pytest

from va_search.errors import InputError
from va_search.extract.detections import decode, intersection_over_union, suppress

SIZE = (64, 96)  # height, width: a grid that is not square shows rows and columns swapped
LANDMARKS = np.array([[30, 20], [50, 21], [40, 30], [33, 40], [47, 41]], float)


def blank(kind):
    outputs = {}
    for stride in (8, 16, 32):
        cells = (SIZE[0] // stride) * (SIZE[1] // stride)
        if kind == "yunet":
            outputs |= {
                f"cls_{stride}": np.zeros((1, cells, 1)),
                f"obj_{stride}": np.zeros((1, cells, 1)),
            }
        else:
            cells *= 2
            outputs[f"score_{stride}"] = np.zeros((cells, 1))
        lead = (1, cells) if kind == "yunet" else (cells,)
        outputs |= {f"bbox_{stride}": np.zeros((*lead, 4)), f"kps_{stride}": np.zeros((*lead, 10))}
    return {name: value.astype(np.float32) for name, value in outputs.items()}


def plant_yunet(outputs, stride, row, column, box, landmarks, cls, obj):
    """The inverse of the decoding, as the training of YuNet writes its targets."""
    cell = row * (SIZE[1] // stride) + column
    x1, y1, x2, y2 = box
    outputs[f"cls_{stride}"][0, cell], outputs[f"obj_{stride}"][0, cell] = cls, obj
    outputs[f"bbox_{stride}"][0, cell] = [
        (x1 + x2) / 2 / stride - column,
        (y1 + y2) / 2 / stride - row,
        np.log((x2 - x1) / stride),
        np.log((y2 - y1) / stride),
    ]
    outputs[f"kps_{stride}"][0, cell] = (np.asarray(landmarks) / stride - [column, row]).ravel()


def plant_scrfd(outputs, stride, row, column, box, landmarks, score, anchor=0):
    prior = (row * (SIZE[1] // stride) + column) * 2 + anchor
    x, y = column * stride, row * stride
    outputs[f"score_{stride}"][prior] = score
    outputs[f"bbox_{stride}"][prior] = (
        np.array([x - box[0], y - box[1], box[2] - x, box[3] - y]) / stride
    )
    outputs[f"kps_{stride}"][prior] = ((np.asarray(landmarks) - [x, y]) / stride).ravel()


def test_yunet_finds_the_planted_faces_best_first():
    outputs = blank("yunet")
    plant_yunet(outputs, 8, 3, 5, (20, 10, 60, 55), LANDMARKS, 0.81, 0.64)
    plant_yunet(outputs, 32, 1, 2, (60, 30, 95, 62), LANDMARKS + 30, 0.9, 0.9)
    faces = decode("yunet", outputs, SIZE, 0.5, 0.3)
    np.testing.assert_allclose(faces.scores, [0.9, 0.72], atol=1e-6)
    np.testing.assert_allclose(faces.boxes, [[60, 30, 95, 62], [20, 10, 60, 55]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, [LANDMARKS + 30, LANDMARKS], atol=1e-4)


@pytest.mark.parametrize("anchor", [0, 1])
def test_scrfd_finds_the_planted_faces(anchor):
    outputs = blank("scrfd")
    plant_scrfd(outputs, 16, 2, 3, (20, 10, 60, 55), LANDMARKS, 0.8, anchor)
    faces = decode("scrfd", outputs, SIZE, 0.5, 0.4)
    np.testing.assert_allclose(faces.boxes, [[20, 10, 60, 55]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, [LANDMARKS], atol=1e-4)


def test_outputs_are_told_apart_by_shape_whatever_their_names_and_order():
    outputs = blank("scrfd")
    plant_scrfd(outputs, 8, 2, 3, (20, 10, 60, 55), LANDMARKS, 0.8)
    shuffled = {str(number): value[None] for number, value in enumerate(reversed(outputs.values()))}
    np.testing.assert_allclose(
        decode("scrfd", shuffled, SIZE, 0.5, 0.4).boxes, [[20, 10, 60, 55]], atol=1e-4
    )


def test_the_better_of_two_that_overlap_is_kept_and_weak_ones_are_not():
    outputs = blank("yunet")
    plant_yunet(outputs, 8, 3, 5, (20, 10, 60, 50), LANDMARKS, 0.7, 0.7)
    plant_yunet(outputs, 16, 1, 2, (22, 11, 61, 52), LANDMARKS, 0.9, 0.9)
    plant_yunet(outputs, 8, 0, 0, (0, 0, 10, 10), LANDMARKS, 0.4, 0.4)
    faces = decode("yunet", outputs, SIZE, 0.5, 0.3)
    np.testing.assert_allclose(faces.boxes, [[22, 11, 61, 52]], atol=1e-4)
    assert len(decode("yunet", outputs, SIZE, 0.3, 1.0)) == 3
    assert len(decode("yunet", blank("yunet"), SIZE, 0.5, 0.3)) == 0


def test_overlap_counts_area():
    box = np.array([0, 0, 10, 10], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [4, 4, 4, 4]], np.float32)
    np.testing.assert_allclose(intersection_over_union(box, others), [1, 1 / 3, 0, 0], atol=1e-6)


def test_suppression_agrees_with_the_definition_on_random_boxes():
    """A box is kept exactly when no kept box with a better score overlaps it by more than the
    limit."""
    random = np.random.default_rng(3)
    corners = random.uniform(0, 60, size=(80, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, size=(80, 2))], axis=1).astype(
        np.float32
    )
    scores = random.permutation(80).astype(np.float32)
    kept = list(suppress(boxes, scores, 0.3))
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    for place in range(80):
        better = [other for other in kept if scores[other] > scores[place]]
        covered = (
            len(better) > 0 and (intersection_over_union(boxes[place], boxes[better]) > 0.3).any()
        )
        assert (place in kept) != covered


def test_a_network_that_is_no_such_detector_is_told_with_what_it_has():
    outputs = blank("scrfd")
    with pytest.raises(
        InputError, match=r"not those of a yunet detector.*score_8.*expected 12 outputs"
    ):
        decode("yunet", outputs, SIZE, 0.5, 0.3)
    for stride in (8, 16, 32):
        del outputs[f"kps_{stride}"]
    with pytest.raises(InputError, match=r"five landmarks.*found.*score_8 \[192, 1\].*9 outputs"):
        decode("scrfd", outputs, SIZE, 0.5, 0.4)
    with pytest.raises(InputError, match=r"where n is 192, 48, 12"):
        decode("scrfd", blank("yunet"), SIZE, 0.5, 0.4)

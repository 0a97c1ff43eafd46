"""Outputs of face detectors, decoded: boxes, five landmarks and scores from the tensors of YuNet
and of SCRFD.

Conventions: pixels of the detector's input, (x, y), origin at its top left; a box is x1, y1, x2,
y2. Both networks look at a grid of cells at several strides (8, 16, 32 pixels); cell k of a stride
is row k // columns, column k % columns. YuNet (Wu et al., 2023): one prior a cell; score √(class ·
object); centre (cell + offset) · stride, size exp(·) · stride, landmarks (cell + offset) · stride.
SCRFD (Guo et al., 2022): `anchors` priors a cell, at its top left; box sides and landmarks are
distances from there in strides. Outputs are told apart by their shape, not by their position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError

Array = NDArray[np.float32]
BOX, LANDMARKS = 4, 10


@dataclass(frozen=True)
class Detections:
    """Faces of one picture, best first: boxes (faces, 4), landmarks (faces, 5, 2), scores (faces,)
    in [0, 1]."""

    boxes: Array
    landmarks: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: NDArray[np.intp]) -> Detections:
        """The faces of these indices, in this order."""
        return Detections(self.boxes[chosen], self.landmarks[chosen], self.scores[chosen])

    def scaled(self, factor: float) -> Detections:
        """Faces in a picture `factor` times as large."""
        scale = np.float32(factor)
        return Detections(self.boxes * scale, self.landmarks * scale, self.scores)


@dataclass(frozen=True)
class DetectorLayout:
    """Outputs and input of a kind of detector: strides and priors per cell, by the number of its
    outputs; outputs of one column per stride; colour order, mean and scale of its pixels."""

    strides: dict[int, tuple[int, ...]]
    anchors: dict[int, int]
    scores: int
    colour: str
    mean: float
    scale: float


LAYOUTS = {
    "yunet": DetectorLayout(
        strides={12: (8, 16, 32)}, anchors={12: 1}, scores=2, colour="bgr", mean=0.0, scale=1.0
    ),
    "scrfd": DetectorLayout(
        strides={9: (8, 16, 32), 15: (8, 16, 32, 64, 128)},
        anchors={9: 2, 15: 1},
        scores=1,
        colour="rgb",
        mean=127.5,
        scale=1 / 128,
    ),
}


def decode(
    kind: str, outputs: dict[str, Array], size: tuple[int, int], least_score: float, overlap: float
) -> Detections:
    """Faces in a detector's `outputs` for an input of `size` (height, width) pixels, after
    non-maximum suppression.

    Faces under `least_score` are left out, as are those that overlap a better one by more than
    `overlap` (their intersection over their union). InputError where the outputs are not those of
    such a detector."""
    layout = LAYOUTS[kind]
    if len(outputs) not in layout.strides:
        raise InputError(_mismatch(kind, outputs, size))
    boxes, landmarks, scores = [], [], []
    for stride in layout.strides[len(outputs)]:
        cells = _cells(size, stride, layout.anchors[len(outputs)])
        tensors = _of_stride(outputs, len(cells), layout.scores)
        if tensors is None:
            raise InputError(_mismatch(kind, outputs, size))
        faces = DECODERS[kind](*tensors, cells, stride)
        boxes.append(faces.boxes)
        landmarks.append(faces.landmarks)
        scores.append(faces.scores)
    faces = Detections(np.concatenate(boxes), np.concatenate(landmarks), np.concatenate(scores))
    faces = faces.take(np.flatnonzero(faces.scores >= least_score))
    return faces.take(suppress(faces.boxes, faces.scores, overlap))


def _cells(size: tuple[int, int], stride: int, anchors: int) -> Array:
    """(rows · columns · anchors, 2) column and row of each prior's cell."""
    rows, columns = size[0] // stride, size[1] // stride
    row, column = np.mgrid[:rows, :columns].astype(np.float32)
    return np.repeat(np.stack([column.ravel(), row.ravel()], axis=1), anchors, axis=0)


def _of_stride(
    outputs: dict[str, Array], priors: int, scores: int
) -> tuple[Array, Array, Array] | None:
    """Scores (priors, n), boxes (priors, 4), landmarks (priors, 10) of the stride with so many
    priors; None without."""
    by_width: dict[int, list[Array]] = {1: [], BOX: [], LANDMARKS: []}
    for output in outputs.values():
        flat = output.reshape(-1, output.shape[-1]) if output.ndim >= 2 else output
        if flat.ndim == 2 and len(flat) == priors and flat.shape[1] in by_width:
            by_width[flat.shape[1]].append(flat.astype(np.float32))
    # A detector without landmarks, or with other ones, is not this one.
    single, boxes, landmarks = by_width.values()
    if (len(single), len(boxes), len(landmarks)) != (scores, 1, 1):
        return None
    return np.concatenate(single, axis=1), boxes[0], landmarks[0]


def _yunet(scores: Array, boxes: Array, landmarks: Array, cells: Array, stride: int) -> Detections:
    likely = np.sqrt(np.clip(scores, 0, 1).prod(axis=1))
    # A planted or broken size may overflow; such a box is infinite and overlaps everything.
    with np.errstate(over="ignore"):
        half = np.exp(boxes[:, 2:]) * stride / 2
    centre = (cells + boxes[:, :2]) * stride
    points = (landmarks.reshape(-1, 5, 2) + cells[:, None]) * stride
    return Detections(np.concatenate([centre - half, centre + half], axis=1), points, likely)


def _scrfd(scores: Array, boxes: Array, landmarks: Array, cells: Array, stride: int) -> Detections:
    corners = np.concatenate([cells - boxes[:, :2], cells + boxes[:, 2:]], axis=1)
    points = landmarks.reshape(-1, 5, 2) + cells[:, None]
    return Detections(corners * stride, points * stride, scores[:, 0])


DECODERS = {"yunet": _yunet, "scrfd": _scrfd}


def suppress(boxes: Array, scores: Array, overlap: float) -> NDArray[np.intp]:
    """Indices of the boxes, (boxes, 4), to keep, best first: none overlaps a better one by more
    than `overlap`."""
    # The best face left suppresses all that overlap it, again and again.
    waiting = np.argsort(-scores, kind="stable")
    chosen: list[int] = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        chosen.append(int(best))
        waiting = waiting[intersection_over_union(boxes[best], boxes[waiting]) <= overlap]
    return np.array(chosen, dtype=np.intp)


def intersection_over_union(box: Array, others: Array) -> Array:
    """(others,) area that a box shares with each of `others`, (others, 4), over that of both
    together, in [0, 1]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    both = areas(box[None]) + areas(others) - shared
    shares: Array = np.divide(shared, both, out=np.zeros_like(shared), where=both > 0)
    return shares


def areas(boxes: Array) -> Array:
    """(boxes,) square pixels; 0 for a box turned inside out."""
    sizes: Array = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return sizes


def _mismatch(kind: str, outputs: dict[str, Array], size: tuple[int, int]) -> str:
    """The problem: the outputs, and those that a detector of this kind has."""
    layout = LAYOUTS[kind]
    shapes = ", ".join(f"{name} {list(output.shape)}" for name, output in outputs.items())
    expected = []
    for count, strides in layout.strides.items():
        priors = [len(_cells(size, stride, layout.anchors[count])) for stride in strides]
        expected.append(
            f"{count} outputs: for each stride {layout.scores} × [n, 1], [n, 4] and [n, 10], "
            f"where n is {', '.join(map(str, priors))}"
        )
    return (
        f"the outputs are not those of a {kind} detector with five landmarks for an input of "
        f"{size[0]} × {size[1]} pixels: found {shapes}; expected {' or '.join(expected)}"
    )

"""detector: one person's aligned face out of each frame of a video, by an ONNX detector of the
user's.

Conventions: pictures are uint8 (height, width, 3), RGB; points are (x, y) in pixels, the centre of
the first pixel at (0, 0). A frame is scaled to fit into the detector's input and put at its top
left, black beside it. Of several faces, `choose` takes the largest one of each frame, or one
person's: the largest at first, then in each frame the face that overlaps the last one most. A track
that is lost waits `patience` frames for its face, then begins anew with the largest; meanwhile
there is no face, rather than another person's.

A face is aligned by a similarity transform of five landmarks to a template (paper 3.1), by which
the picture is warped. The landmarks, as they lie in the picture: the eye on the left, the eye on
the right, the tip of the nose, the corner of the mouth on the left, the one on the right (the order
of YuNet's and of SCRFD's outputs)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from pydantic import Field, field_validator

from va_search.errors import InputError
from va_search.extract.detections import (
    LAYOUTS,
    Detections,
    areas,
    decode,
    intersection_over_union,
)
from va_search.extract.extractor import Image, Settings
from va_search.extract.onnx_file import OnnxFile
from va_search.extract.weights import Weights

Side = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
Share = Annotated[float, Field(ge=0, le=1)]
Points = NDArray[np.float64]

TEMPLATE_SIZE = 112
TEMPLATE: Points = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""(5, 2) landmarks in ArcFace's 112 × 112 crops, and in those of models trained on them (Deng et
al., 2019)."""


class DetectorSettings(Settings):
    """The detector's file, the format of its outputs and its input's (height, width); which faces
    count: `score` at least, none that overlaps a better one by more than `overlap`; which one is
    taken; the side of a crop in pixels."""

    format: Literal["yunet", "scrfd"]
    weights: Weights
    input: tuple[Side, Side] = (640, 640)
    score: Share = 0.5
    overlap: Share = 0.3
    choose: Literal["largest", "track"] = "largest"
    same: Share = 0.3
    """The least overlap of a face with the last one of its track."""
    patience: int = Field(default=30, ge=0)
    size: int = Field(default=TEMPLATE_SIZE, ge=16, le=1024)

    @field_validator("same")
    @classmethod
    def _check_same(cls, same: float) -> float:
        if same == 0:
            raise ValueError("same: expected above 0, or a track would jump to any face")
        return same


class Detector:
    """A FaceFinder. Building reads the file's header and tries the detector on a black picture.

    InputError, when built, where the file is not a detector of the declared format and input."""

    Settings = DetectorSettings
    kind: Literal["faces"] = "faces"

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings
        self._file = OnnxFile.read(settings.weights.path)
        height, width = settings.input
        self._file.check_input((1, 3, height, width), f"input {height} × {width}")
        self._session: Any = None
        self.begin()
        # A wrong format or input shows on the first picture, before any video is read.
        self.prepare()
        self.faces(np.zeros((height, width, 3), np.uint8))

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._session = self._file.session(device)

    def begin(self) -> None:
        """Forget the track of the last video."""
        self._last_box: NDArray[np.float32] | None = None
        self._unseen = 0

    def crop(self, image: Image) -> Image | None:
        """(size, size, 3) aligned face of the next frame, (height, width, 3); None where there is
        none."""
        faces = self.faces(image)
        follows = self.settings.choose == "track"
        chosen = self._follow(faces) if follows else self._largest(faces)
        if chosen is None:
            return None
        return align(image, faces.landmarks[chosen].astype(np.float64), self.settings.size)

    def faces(self, image: Image) -> Detections:
        """All faces of an image, best first, in its own pixels."""
        settings = self.settings
        picture, factor = fit(image, settings.input)
        layout = LAYOUTS[settings.format]
        if layout.colour == "bgr":
            picture = picture[..., ::-1]
        values = (picture.astype(np.float32) - layout.mean) * layout.scale
        batch = values.transpose(2, 0, 1)[None].astype(np.float32)
        arrays = self._run(np.ascontiguousarray(batch))
        outputs = dict(zip(self._file.outputs, arrays, strict=True))
        try:
            faces = decode(
                settings.format, outputs, settings.input, settings.score, settings.overlap
            )
        except InputError as error:
            raise InputError(f"{self._file.path}: {error}") from None
        return faces.scaled(1 / factor)

    def _run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(
            list(self._file.outputs), {self._file.input: batch}
        )
        return outputs

    def _largest(self, faces: Detections) -> int | None:
        return int(np.argmax(areas(faces.boxes))) if len(faces) else None

    def _follow(self, faces: Detections) -> int | None:
        """The face of the track among `faces`, or the largest where a track begins; None where the
        track is lost."""
        chosen = None
        if self._last_box is not None:
            chosen = self._overlapping(faces, self._last_box)
            if chosen is None and self._unseen < self.settings.patience:
                self._unseen += 1
                return None
        if chosen is None:  # no track yet, or lost for too long: it begins with the largest
            chosen = self._largest(faces)
        self.begin()
        if chosen is not None:
            self._last_box = faces.boxes[chosen]
        return chosen

    def _overlapping(self, faces: Detections, box: NDArray[np.float32]) -> int | None:
        if not len(faces):
            return None
        shares = intersection_over_union(box, faces.boxes)
        return int(np.argmax(shares)) if shares.max() >= self.settings.same else None


def fit(image: Image, size: tuple[int, int]) -> tuple[Image, float]:
    """The image scaled by one factor to fit into `size` (height, width), at the top left of black;
    and the factor."""
    factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height = max(1, round(image.shape[0] * factor))
    width = max(1, round(image.shape[1] * factor))
    if (height, width) != image.shape[:2]:
        resized = Pictures.fromarray(image).resize((width, height), Pictures.Resampling.BILINEAR)
        image = np.asarray(resized)
    picture = np.zeros((*size, 3), np.uint8)
    picture[:height, :width] = image[: size[0], : size[1]]
    return picture, factor


def similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """(2, 3) rotation, uniform scale and shift that bring `source` nearest to `target`, both
    (points, 2).

    Least squares in closed form (Umeyama, 1991), never a reflection. NaN where all of `source` is
    one point."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    variance = (source_centred**2).sum() / len(source)
    if variance == 0:
        return np.full((2, 3), np.nan)
    covariance = target_centred.T @ source_centred / len(source)  # (2, 2)
    left, sizes, right = np.linalg.svd(covariance)
    # A mirrored face is turned as well as can be, not mirrored back.
    signs = np.array([1.0, 1.0 if np.linalg.det(left @ right) > 0 else -1.0])
    turn = (left * signs) @ right
    scale = (sizes * signs).sum() / variance
    return np.column_stack([scale * turn, target_mean - scale * turn @ source_mean])


def warp(picture: Image, matrix: NDArray[np.float64], size: int) -> Image:
    """(size, size, 3): the picture moved by an invertible `matrix`, (2, 3), bilinear; black where
    it has nothing."""
    back = np.linalg.inv(matrix[:, :2])
    shift = -back @ matrix[:, 2]
    # Pillow has the centre of the first pixel at (0.5, 0.5).
    shift += 0.5 - back.sum(axis=1) * 0.5
    coefficients = np.column_stack([back, shift]).ravel().tolist()
    moved = Pictures.fromarray(picture).transform(
        (size, size), Pictures.Transform.AFFINE, coefficients, resample=Pictures.Resampling.BILINEAR
    )
    return np.asarray(moved)


def align(picture: Image, landmarks: Points, size: int = TEMPLATE_SIZE) -> Image | None:
    """(size, size, 3) face with its `landmarks`, (5, 2), moved to the template's; None when they
    fall together."""
    matrix = similarity(landmarks, TEMPLATE * (size / TEMPLATE_SIZE))
    if not (np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:, :2])) > 0):
        return None
    return warp(picture, matrix, size)

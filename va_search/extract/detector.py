"""detector: one person's aligned face out of each frame of a video, by an ONNX detector of the
user's.

Conventions: a frame is scaled to fit into the detector's input and put at its top left, black
beside it. Of several faces, `choose` takes the largest one of each frame, or one person's: the
largest at first, then in each frame the face that overlaps the last one most. A track that is lost
waits `patience` frames for its face, then begins anew with the largest; meanwhile there is no face,
rather than another person's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from va_search.errors import InputError
from va_search.extract.alignment import TEMPLATE_SIZE, align
from va_search.extract.detections import LAYOUTS, Faces, areas, decode, intersection_over_union
from va_search.extract.extractor import Image, Settings
from va_search.extract.onnx_file import OnnxFile
from va_search.extract.weights import Weights

Side = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
Share = Annotated[float, Field(ge=0, le=1)]


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
    def _some(cls, same: float) -> float:
        if same == 0:
            raise ValueError("same: expected above 0, or a track would jump to any face")
        return same


class Detector:
    """A FaceFinder. Building reads the file's header and tries the detector on a black picture.

    InputError, when built, where the file is not a detector of the declared format and input.
    """

    Settings = DetectorSettings
    kind: Literal["faces"] = "faces"

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings
        self._file = OnnxFile.read(settings.weights.path)
        height, width = settings.input
        self._file.check_input((1, 3, height, width), f"input {height} × {width}")
        self._session: Any = None
        self._last: NDArray[np.float32] | None = None
        self._unseen = 0
        self.prepare()
        self.faces(np.zeros((*settings.input, 3), np.uint8))

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._session = self._file.session(device)

    def begin(self) -> None:
        """A new video: forget the track of the last one."""
        self._last, self._unseen = None, 0

    def crop(self, image: Image) -> Image | None:
        """(size, size, 3) aligned face of the next frame, (height, width, 3); None where there is
        none."""
        faces = self.faces(image)
        chosen = self._largest(faces) if self.settings.choose == "largest" else self._follow(faces)
        return (
            None
            if chosen is None
            else align(image, faces.landmarks[chosen].astype(np.float64), self.settings.size)
        )

    def faces(self, image: Image) -> Faces:
        """All faces of an image, best first, in its own pixels."""
        picture, factor = fit(image, self.settings.input)
        layout = LAYOUTS[self.settings.format]
        values = (picture[..., ::-1] if layout.colour == "bgr" else picture).astype(np.float32)
        batch = ((values - layout.mean) * layout.scale).transpose(2, 0, 1)[None].astype(np.float32)
        outputs = dict(zip(self._file.outputs, self._run(np.ascontiguousarray(batch)), strict=True))
        try:
            faces = decode(
                self.settings.format,
                outputs,
                self.settings.input,
                self.settings.score,
                self.settings.overlap,
            )
        except InputError as error:
            raise InputError(
                *(f"{self._file.path}: {problem}" for problem in error.problems)
            ) from None
        return faces.scaled(1 / factor)

    def _run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(
            list(self._file.outputs), {self._file.input: batch}
        )
        return outputs

    def _largest(self, faces: Faces) -> int | None:
        return int(np.argmax(areas(faces.boxes))) if len(faces) else None

    def _follow(self, faces: Faces) -> int | None:
        if self._last is None:
            chosen = self._largest(faces)
        else:
            shares = intersection_over_union(self._last, faces.boxes)
            chosen = (
                int(np.argmax(shares))
                if len(faces) and shares.max() >= self.settings.same
                else None
            )
        if chosen is not None:
            self._last, self._unseen = faces.boxes[chosen], 0
            return chosen
        self._unseen += 1
        if self._last is not None and self._unseen > self.settings.patience:
            self.begin()
            return self._follow(faces)
        return None


def fit(image: Image, size: tuple[int, int]) -> tuple[Image, float]:
    """The image scaled by one factor to fit into `size` (height, width), at the top left of black;
    and the factor."""
    from PIL import Image as Pillow

    factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    scaled = image
    if (height, width) != image.shape[:2]:
        scaled = np.asarray(
            Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR)
        )
    picture = np.zeros((*size, 3), np.uint8)
    picture[:height, :width] = scaled[: size[0], : size[1]]
    return picture, factor

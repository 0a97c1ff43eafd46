"""The protocols of extractors, and the menu of their names.

A recipe names an extractor and gives its settings; the pipeline brings sound or images and lays the
rows that come back on the annotation frames' times. Extractors know no files but their weights, no
recordings and no annotations.

Conventions: times are seconds on the video's own clock; sound is mono float32 in [-1, 1]; images
are RGB uint8 (height, width, 3). An extractor is built in the driver and again in each worker:
building it is cheap and checks settings and files' headers; `prepare` loads the weights, once per
process, before the first call."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from va_search.errors import InputError, unknown_name

Kind = Literal["audio", "image", "faces"]
Image = NDArray[np.uint8]


class Settings(BaseModel):
    """The settings of an extractor: unknown names and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    def beside(self) -> dict[str, str]:
        """SHA-256 of small files that lie beside the weights and change the numbers too, by name;
        "" for one that is not there. They are part of a feature set's definition, without being
        named in a recipe."""
        return {}


class Windows(NamedTuple):
    """Analysis windows of a piece of sound: `values` (windows, dim) float32, and `centres`
    (windows,) float64, the middle of each window in seconds from the first sample."""

    values: NDArray[np.float32]
    centres: NDArray[np.float64]


class AudioExtractor(Protocol):
    """Sound to windows. Long sound comes in chunks, each with `context` seconds before and after it
    whose windows are thrown away; chunks begin at multiples of `step` samples, so that windows fall
    as in the whole."""

    kind: Literal["audio"]
    rate: int
    """Samples per second it wants; the pipeline resamples."""
    step: int
    """Samples between two windows."""
    context: float
    """Seconds of sound on either side that a window may depend on."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the dim columns, known without `prepare`."""

    def prepare(self, device: str = "cpu") -> None:
        """Load the weights, once per process."""

    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """Windows of (samples,) at `rate`; none when the sound is shorter than one window."""


class ImageExtractor(Protocol):
    """Images to rows; the pipeline leaves out frames without a face and hands on at most `batch`
    images at once."""

    kind: Literal["image"]
    batch: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the dim columns, known without `prepare`."""

    def prepare(self, device: str = "cpu") -> None:
        """Load the weights, once per process."""

    def images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(images, dim) of RGB images that may differ in size."""


class FaceFinder(Protocol):
    """Faces out of a video without crops: aligned crops in the order of frames, before any image
    extractor runs."""

    kind: Literal["faces"]

    def prepare(self, device: str = "cpu") -> None:
        """Load the weights, once per process."""

    def begin(self) -> None:
        """Forget the track of the last video."""

    def crop(self, image: Image) -> Image | None:
        """The aligned face of the next frame of the video, None where there is none."""


Extractor = AudioExtractor | ImageExtractor | FaceFinder

EXTRACTORS: dict[str, tuple[str, str]] = {
    "egemaps": ("va_search.extract.descriptors", "Egemaps"),
    "compare": ("va_search.extract.descriptors", "Compare"),
    "fbank": ("va_search.extract.descriptors", "Fbank"),
    "onnx_image": ("va_search.extract.onnx_image", "OnnxImage"),
    "onnx_audio": ("va_search.extract.onnx_audio", "OnnxAudio"),
    "transformers_audio": ("va_search.extract.transformers_audio", "TransformersAudio"),
}
"""Name in a recipe -> module and class. The class has `Settings` (a model) and is built from one:
`Class(settings)`."""

FACE_FINDERS: dict[str, tuple[str, str]] = {
    "detector": ("va_search.extract.detector", "Detector"),
}
"""Name in a recipe's `faces` -> module and class."""


def extractor_class(name: str, menu: dict[str, tuple[str, str]] = EXTRACTORS) -> Any:
    """The class of an extractor, its module imported now; InputError for an unknown name or a
    missing package."""
    if name not in menu:
        raise InputError(unknown_name("extractor", name, menu))
    module, attribute = menu[name]
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("va_search"):
            raise
        raise InputError(
            f"extractor {name!r} needs the package {error.name!r}, which is not installed; "
            "install va-search with its extra: pip install 'va-search[extract]'"
        ) from None

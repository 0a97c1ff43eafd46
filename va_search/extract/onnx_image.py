"""onnx_image: any visual network as an ONNX file with a declared input; its output is one row of
features an image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from va_search.errors import InputError
from va_search.extract.extractor import Image
from va_search.extract.images import ImageInput
from va_search.extract.onnx_file import OnnxFile
from va_search.extract.weights import Weights


class OnnxImageSettings(ImageInput):
    """The network's input, and: its file, the output to read (the only one by default), images at
    once."""

    weights: Weights
    output: str | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32


class OnnxImage:
    """An ImageExtractor. Building reads the file's header; `columns` runs the network once on black
    images.

    InputError, when built or asked for `columns`, where the file does not fit the declared input.
    """

    Settings = OnnxImageSettings
    kind: Literal["image"] = "image"

    def __init__(self, settings: OnnxImageSettings) -> None:
        self.settings = settings
        self.batch = settings.batch_size
        self._file = OnnxFile.read(settings.weights.path)
        self._output = self._file.output(settings.output)
        height, width = settings.height_and_width
        declared = f"size {height} × {width}, layout {settings.layout}, batch_size {self.batch}"
        self._file.check_input(settings.shape(self.batch), declared)
        self._session: Any = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """One name for each value that the network puts out for an image."""
        images = self._file.shape[0] if self._file.shape else None
        shape = self.settings.shape(images or min(self.batch, 2))
        values = self._file.try_out(tuple(size or 1 for size in shape), self._output)
        return tuple(
            f"{self._output}_{number}"
            for number in range(self._rows(values, shape[0] or 1).shape[1])
        )

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._session = self._file.session(device)

    def images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(images, dim) of RGB uint8 images that may differ in size, at most `batch` at once."""
        batch = self.settings.batch(images)
        if self._file.shape and self._file.shape[0] is not None and len(images) < self.batch:
            missing = self.batch - len(images)  # the file's batch is fixed: black images make it up
            batch = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.float32)])
        values = self._session.run([self._output], {self._file.input: batch})[0]
        return self._rows(values, len(batch))[: len(images)]

    def _rows(self, values: NDArray[Any], images: int) -> NDArray[np.float32]:
        """(images, dim) of (images, dim) or (images, dim, 1, 1)."""
        if (
            values.ndim < 2
            or values.shape[0] != images
            or values.size != images * max(values.shape[1:])
        ):
            raise InputError(
                f"{self._file.path}: output {self._output!r} has shape {list(values.shape)} for {images} images; "
                "expected one row an image, [images, dim]; export the network with its pooling (docs/features.md)"
            )
        return np.asarray(values, dtype=np.float32).reshape(images, -1)

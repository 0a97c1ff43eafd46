"""onnx_image: any visual network as an ONNX file, fed with images in the size, colours, values and
layout that its recipe declares; its output is one row of features an image.

Conventions: images come as RGB uint8 (height, width, 3). A network sees (pixel · scale − mean) /
std, float32, mean and std one number for all channels or one each, in the network's own colour
order. Grey is 0.299 R + 0.587 G + 0.114 B, one channel. Sizes are (height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from pydantic import Field, field_validator, model_validator

from va_search.extract.extractor import Image, Settings
from va_search.extract.onnx_file import RowNetwork
from va_search.extract.weights import Weights

Side = Annotated[int, Field(ge=1, le=4096)]
Levels = float | tuple[float, float, float]


class ImageInput(Settings):
    """The images that a network takes, see the module's conventions. `resample` is the filter where
    an image has another size."""

    size: Side | tuple[Side, Side]
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    scale: float = 1 / 255
    mean: Levels = 0.0
    std: Levels = 1.0
    resample: Literal["bilinear", "bicubic"] = "bilinear"

    @field_validator("std")
    @classmethod
    def _check_std(cls, std: Levels) -> Levels:
        if np.min(std) <= 0:
            raise ValueError(f"std {std}: expected above 0")
        return std

    @model_validator(mode="after")
    def _check_grey(self) -> Self:
        one_level = isinstance(self.mean, float) and isinstance(self.std, float)
        if self.colour == "grey" and not one_level:
            raise ValueError(
                "colour grey has one channel: expected one mean and one std, not "
                f"{self.mean}, {self.std}"
            )
        return self

    @property
    def height_and_width(self) -> tuple[int, int]:
        """The size of every image."""
        if isinstance(self.size, int):
            return (self.size, self.size)
        return self.size

    def shape(self, images: int) -> tuple[int, ...]:
        """Of a batch of so many images."""
        height, width = self.height_and_width
        channels = 1 if self.colour == "grey" else 3
        if self.layout == "nchw":
            return (images, channels, height, width)
        return (images, height, width, channels)

    def batch(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """`shape(len(images))` float32 of RGB images of any sizes."""
        pixels = np.stack([self._resized(image) for image in images])
        # (pixel · scale − mean) / std in one multiplication and one subtraction a pixel.
        factor = self.scale / np.array(self.std)
        offset = np.array(self.mean) / self.std
        values = pixels * factor.astype(np.float32) - offset.astype(np.float32)
        if self.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)

    def _resized(self, image: Image) -> Image:
        """(height, width, channels) in the network's size and colours, resampled with antialiasing,
        as torchvision does on Pillow's images."""
        height, width = self.height_and_width
        picture = Pictures.fromarray(image)
        if self.colour == "grey":
            picture = picture.convert("L")
        if picture.size != (width, height):
            picture = picture.resize((width, height), Pictures.Resampling[self.resample.upper()])
        pixels = np.asarray(picture).reshape(height, width, -1)
        return pixels[..., ::-1] if self.colour == "bgr" else pixels


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
        height, width = settings.height_and_width
        self._network = RowNetwork(
            settings.weights.path,
            settings.output,
            items="images",
            batch=self.batch,
            shape=settings.shape,
            declared=f"size {height} × {width}, layout {settings.layout}",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """One name for each value that the network puts out for an image."""
        return self._network.columns

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._network.prepare(device)

    def images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(images, dim) of RGB uint8 images that may differ in size, at most `batch` at once."""
        return self._network.run(self.settings.batch(images))

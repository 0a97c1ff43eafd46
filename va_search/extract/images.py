"""Images as a visual network wants them: size, colours, values and layout, as its recipe declares.

Conventions: images come as RGB uint8 (height, width, 3). A network sees (pixel · scale − mean) /
std, float32, mean and std one number for all channels or one each, in the network's own colour
order. Grey is 0.299 R + 0.587 G + 0.114 B, one channel. Sizes are (height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from va_search.extract.extractor import Image, Settings

Side = Annotated[int, Field(ge=1, le=4096)]
Levels = float | tuple[float, float, float]


class ImageInput(Settings):
    """What a network takes: see the module's conventions. `resample` is the filter where an image
    has another size."""

    size: Side | tuple[Side, Side]
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    scale: float = 1 / 255
    mean: Levels = 0.0
    std: Levels = 1.0
    resample: Literal["bilinear", "bicubic"] = "bilinear"

    @field_validator("std")
    @classmethod
    def _divisible(cls, std: Levels) -> Levels:
        if np.min(std) <= 0:
            raise ValueError(f"std {std}: expected above 0")
        return std

    @model_validator(mode="after")
    def _one_for_grey(self) -> Self:
        if self.colour == "grey" and not (
            isinstance(self.mean, float) and isinstance(self.std, float)
        ):
            raise ValueError(
                f"colour grey has one channel: expected one mean and one std, not {self.mean}, {self.std}"
            )
        return self

    @property
    def height_and_width(self) -> tuple[int, int]:
        """The size of every image."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def shape(self, images: int | None) -> tuple[int | None, ...]:
        """Of a batch of so many images."""
        height, width = self.height_and_width
        channels = 1 if self.colour == "grey" else 3
        return (
            (images, channels, height, width)
            if self.layout == "nchw"
            else (images, height, width, channels)
        )

    def batch(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """`shape(len(images))` float32 of RGB images of any sizes."""
        sized = np.stack(
            [self._sized(image) for image in images]
        )  # (images, height, width, channels)
        factor, offset = self.scale / np.array(self.std), np.array(self.mean) / self.std
        values = sized * factor.astype(np.float32) - offset.astype(np.float32)
        return np.ascontiguousarray(
            values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values
        )

    def _sized(self, image: Image) -> Image:
        """(height, width, channels) in the network's size and colours, resampled with antialiasing,
        as torchvision does on Pillow's images."""
        from PIL import Image as Pillow

        height, width = self.height_and_width
        picture = Pillow.fromarray(image)
        if self.colour == "grey":
            picture = picture.convert("L")
        if picture.size != (width, height):
            filters = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}
            picture = picture.resize((width, height), filters[self.resample])
        made = np.asarray(picture).reshape(height, width, -1)
        return made[..., ::-1] if self.colour == "bgr" else made

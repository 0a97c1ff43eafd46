"""Images as a visual network wants them: size, colours, values and layout, as its recipe declares.

Conventions: images come as RGB uint8 (height, width, 3). A network sees (pixel · scale − mean) / std, float32, mean and
std in the network's own colour order. Sizes are (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from va_search.extract.extractor import Image, Settings

Side = Annotated[int, Field(ge=1, le=4096)]
Three = tuple[float, float, float]


class ImageInput(Settings):
    """What a network takes: see the module's conventions. `resample` is the filter where an image has another size."""

    size: Side | tuple[Side, Side]
    colour: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    scale: float = 1 / 255
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    resample: Literal["bilinear", "bicubic"] = "bilinear"

    @field_validator("std")
    @classmethod
    def _divisible(cls, std: Three) -> Three:
        if min(std) <= 0:
            raise ValueError(f"std {list(std)}: expected numbers above 0")
        return std

    @property
    def height_and_width(self) -> tuple[int, int]:
        """The size of every image."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def shape(self, images: int | None) -> tuple[int | None, ...]:
        """Of a batch of so many images."""
        height, width = self.height_and_width
        return (images, 3, height, width) if self.layout == "nchw" else (images, height, width, 3)

    def batch(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """`shape(len(images))` float32 of RGB images of any sizes."""
        sized = np.stack([self._sized(image) for image in images])  # (images, height, width, 3)
        if self.colour == "bgr":
            sized = sized[..., ::-1]
        factor, offset = self.scale / np.array(self.std), np.array(self.mean) / self.std
        values = sized * factor.astype(np.float32) - offset.astype(np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values)

    def _sized(self, image: Image) -> Image:
        """The image in the network's size, resampled with antialiasing, as torchvision does on Pillow's images."""
        from PIL import Image as Pillow

        height, width = self.height_and_width
        if image.shape[:2] == (height, width):
            return image
        filters = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}
        return np.asarray(Pillow.fromarray(image).resize((width, height), filters[self.resample]))

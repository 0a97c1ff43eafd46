"""An image extractor of the tests' own: the mean of each colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from va_search.extract import extractor
from va_search.extract.extractor import Settings


class MeanColour:
    """The mean of each colour, in batches of at most seven images."""

    Settings = Settings
    kind = "image"
    batch = 7
    columns = ("red", "green", "blue")

    def __init__(self, settings: Settings) -> None:
        self.ready = False

    def prepare(self, device: str = "cpu") -> None:
        self.ready = True

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([image.reshape(-1, 3).mean(axis=0) for image in images], dtype=np.float32)


def use_mean_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put it on the menu as `colour`."""
    monkeypatch.setitem(extractor.EXTRACTORS, "colour", (__name__, "MeanColour"))

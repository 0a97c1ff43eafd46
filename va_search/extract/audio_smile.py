"""openSMILE's two classic sets, without weights: eGeMAPS v02 and ComParE 2016.

egemaps   level lld: 25 low-level descriptors every 10 ms; level functionals: 88 over a window of `window` seconds
          every `step` seconds
compare   65 low-level descriptors every 10 ms, or 130 with `deltas`

Conventions: sound is resampled to 16 kHz. openSMILE's frames begin together: the spectral columns
of row k look at 20 ms from k·10 ms on, those of the voice (pitch, jitter, shimmer, harmonics) and
ComParE's zero crossings at 60 ms. So that all columns of a row have one centre, k·10 ms + 10 ms,
these are taken from the row two earlier (measured with rising, falling and stepping tones). Deltas
are openSMILE's regression over two rows on either side; of the six voice columns too, where
openSMILE's own depend on all voiced stretches before. Source: Eyben et al. 2016 (eGeMAPS), Schuller
et al. 2016 (ComParE)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import numpy as np
import opensmile
from numpy.typing import NDArray
from pydantic import Field

from va_search.extract.extractor import Settings, Windows

RATE = 16_000
HOP = 160
"""Samples between two rows of low-level descriptors."""
CENTRE = 0.010
"""Seconds from a row's begin to the middle of its 20 ms."""
LATER = 2
"""Rows by which the middle of 60 ms lies behind that of 20 ms."""
LONG = ("F0", "jitter", "shimmer", "HNR", "logHNR", "voicing", "logRelF0", "pcm_zcr")
"""How names of columns that look at 60 ms begin."""
AMPLITUDE = "amplitudeLogRelF0"
SMOOTHING = 4.0
"""Seconds on either side after which the pitch tracker has forgotten: seams are bit for bit as in
the whole."""


class EgemapsSettings(Settings):
    """`window` and `step`, in seconds, are those of the functionals."""

    level: Literal["lld", "functionals"] = "lld"
    window: float = Field(default=1.0, ge=0.1, le=60)
    step: float = Field(default=0.2, ge=0.01, le=60)


class CompareSettings(Settings):
    """`deltas`: the 65 descriptors' slopes too."""

    deltas: bool = False


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C waits until openSMILE is done with its chunk, a second or two.

    openSMILE hands over each row by calling Python; an exception there would be swallowed, and the
    row lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda found, _: held.append(found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if held:
            signal.raise_signal(held[0])


class Egemaps:
    """eGeMAPS v02."""

    Settings = EgemapsSettings
    kind: Literal["audio"] = "audio"
    rate = RATE

    def __init__(self, settings: EgemapsSettings) -> None:
        self.settings = settings
        self.functionals = settings.level == "functionals"
        self.step = round(settings.step * RATE) if self.functionals else HOP
        self.context = settings.window if self.functionals else SMOOTHING

    @cached_property
    def _smile(self) -> Any:
        level = (
            opensmile.FeatureLevel.Functionals
            if self.functionals
            else opensmile.FeatureLevel.LowLevelDescriptors
        )
        return opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)

    @property
    @undisturbed()
    def columns(self) -> tuple[str, ...]:
        return tuple(self._smile.feature_names)

    def prepare(self, device: str = "cpu") -> None:
        """Nothing to load."""

    @undisturbed()
    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """Rows every 10 ms, or functionals of windows every `step` seconds; short sound is one
        shorter window."""
        if not self.functionals:
            return _descriptors(self._smile, samples)
        length = round(self.settings.window * RATE)
        starts = (
            range(0, max(len(samples) - length, 0) + 1, self.step)
            if len(samples) >= RATE // 10
            else range(0)
        )
        rows = [self._smile(samples[start : start + length], RATE)[0, :, 0] for start in starts]
        middle = min(length, len(samples)) / 2
        centres = np.array([(start + middle) / RATE for start in starts], dtype=np.float64)
        return Windows(
            np.array(rows, dtype=np.float32).reshape(len(rows), len(self.columns)), centres
        )


class Compare:
    """ComParE 2016."""

    Settings = CompareSettings
    kind: Literal["audio"] = "audio"
    rate = RATE
    step = HOP
    context = SMOOTHING

    def __init__(self, settings: CompareSettings) -> None:
        self.settings = settings

    @cached_property
    def _smile(self) -> Any:
        return opensmile.Smile(
            feature_set=opensmile.FeatureSet.ComParE_2016,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )

    @property
    @undisturbed()
    def columns(self) -> tuple[str, ...]:
        names = tuple(self._smile.feature_names)
        return names + tuple(f"{name}_de" for name in names) if self.settings.deltas else names

    def prepare(self, device: str = "cpu") -> None:
        """Nothing to load."""

    @undisturbed()
    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """Rows every 10 ms."""
        found = _descriptors(self._smile, samples)
        if not self.settings.deltas:
            return found
        return Windows(np.concatenate([found.values, deltas(found.values)], axis=1), found.centres)


def _descriptors(smile: Any, samples: NDArray[np.float32]) -> Windows:
    """(rows, columns) every 10 ms, those of 60 ms moved to the others' centre."""
    names = smile.feature_names
    if (
        len(samples) < RATE // 10
    ):  # openSMILE gives one row of NaN for sound below its longest frame
        return Windows(np.empty((0, len(names)), dtype=np.float32), np.empty(0))
    values = np.array(smile(samples, RATE)[0].T, dtype=np.float32, order="C")
    long = [at for at, name in enumerate(names) if name.startswith(LONG) or AMPLITUDE in name]
    values[LATER:, long] = values[:-LATER, long]
    return Windows(values, np.arange(len(values), dtype=np.float64) * (HOP / RATE) + CENTRE)


def deltas(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, columns) slopes per row, by regression over two rows on either side; edges repeat the
    first and last."""
    if not len(values):
        return values
    padded = np.pad(values.astype(np.float64), ((2, 2), (0, 0)), mode="edge")
    slopes = (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10
    return slopes.astype(np.float32)

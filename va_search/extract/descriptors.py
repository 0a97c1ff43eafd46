"""Descriptors of sound that need no weights: eGeMAPS v02, ComParE 2016 and Kaldi's filter banks.

egemaps   level lld: 25 low-level descriptors every 10 ms; level functionals: 88 over a window of
          `window` seconds every `step` seconds (openSMILE; Eyben et al. 2016)
compare   65 low-level descriptors every 10 ms, or 130 with `deltas` (openSMILE; Schuller et al. 2016)
fbank     log mel energies as Kaldi computes them, by kaldi-native-fbank; no dither, so that equal
          sound gives equal numbers

Conventions: sound at 16 kHz. openSMILE's frames begin together: the spectral columns of row k look
at 20 ms from k·10 ms on, those of the voice (pitch, jitter, shimmer, harmonics) and ComParE's zero
crossings at 60 ms. So that all columns of a row have one centre, k·10 ms + 10 ms, these are taken
from the row two earlier (measured with rising, falling and stepping tones). Deltas are openSMILE's
regression over two rows on either side; of the six voice columns too, where openSMILE's own depend
on all voiced stretches before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import kaldi_native_fbank
import numpy as np
import opensmile
from numpy.typing import NDArray
from pydantic import Field

from va_search.extract.extractor import Settings, Windows

RATE = 16_000
SHORTEST = RATE // 10
"""Samples; openSMILE gives a row of NaN for sound below its longest frame."""
HOP = 160
"""Samples between two rows of low-level descriptors."""
CENTRE = 0.010
"""Seconds from a row's begin to the middle of its 20 ms."""
LATER = 2
"""Rows by which the middle of 60 ms lies behind that of 20 ms."""
LONG = ("F0", "jitter", "shimmer", "HNR", "logHNR", "voicing", "logRelF0", "pcm_zcr")
"""Beginnings of the names of columns that look at 60 ms."""
AMPLITUDE = "amplitudeLogRelF0"
SMOOTHING = 4.0
"""Seconds on either side after which the pitch tracker has forgotten: seams are bit for bit as in
the whole."""
INT16 = 32768.0


class EgemapsSettings(Settings):
    """`window` and `step`, in seconds, are those of the functionals."""

    level: Literal["lld", "functionals"] = "lld"
    window: float = Field(default=1.0, ge=0.1, le=60)
    step: float = Field(default=0.2, ge=0.01, le=60)


class CompareSettings(Settings):
    """`deltas`: the 65 descriptors' slopes too."""

    deltas: bool = False


class FbankSettings(Settings):
    """`bins` filters; `window` and `step` in milliseconds; `taper`: the window's shape, Kaldi's own
    or Hamming's."""

    bins: int = Field(default=80, ge=4, le=256)
    window: float = Field(default=25.0, ge=5, le=500)
    step: float = Field(default=10.0, ge=1, le=500)
    taper: Literal["povey", "hamming"] = "povey"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back until openSMILE is done with its chunk, a second or two.

    openSMILE hands over each row by calling Python; an exception there would be swallowed, and the
    row lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        # The first signal is raised again when the handlers are back.
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if received:
            signal.raise_signal(received[0])


class Unweighted:
    """An audio extractor at 16 kHz that has no weights to load."""

    kind: Literal["audio"] = "audio"
    rate = RATE

    def prepare(self, device: str = "cpu") -> None:
        """Nothing to load."""


class Egemaps(Unweighted):
    """eGeMAPS v02."""

    Settings = EgemapsSettings

    def __init__(self, settings: EgemapsSettings) -> None:
        self.settings = settings
        self.functionals = settings.level == "functionals"
        self.step, self.context = HOP, SMOOTHING
        if self.functionals:
            self.step, self.context = round(settings.step * RATE), settings.window

    @cached_property
    def _smile(self) -> Any:
        level = opensmile.FeatureLevel.LowLevelDescriptors
        if self.functionals:
            level = opensmile.FeatureLevel.Functionals
        return opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)

    @property
    @undisturbed()
    def columns(self) -> tuple[str, ...]:
        return tuple(self._smile.feature_names)

    @undisturbed()
    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """Rows every 10 ms, or functionals of windows every `step` seconds; short sound is one
        shorter window."""
        if not self.functionals:
            return _descriptors(self._smile, samples)
        length = round(self.settings.window * RATE)
        starts = range(0)
        if len(samples) >= SHORTEST:
            starts = range(0, max(len(samples) - length, 0) + 1, self.step)
        values = np.empty((len(starts), len(self.columns)), dtype=np.float32)
        for row, start in enumerate(starts):
            values[row] = self._smile(samples[start : start + length], RATE)[0, :, 0]
        middle = min(length, len(samples)) / 2
        return Windows(values, (np.array(starts, dtype=np.float64) + middle) / RATE)


class Compare(Unweighted):
    """ComParE 2016."""

    Settings = CompareSettings
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
        if self.settings.deltas:
            names += tuple(f"{name}_de" for name in names)
        return names

    @undisturbed()
    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """Rows every 10 ms."""
        values, centres = _descriptors(self._smile, samples)
        if self.settings.deltas:
            values = np.concatenate([values, deltas(values)], axis=1)
        return Windows(values, centres)


def _descriptors(smile: Any, samples: NDArray[np.float32]) -> Windows:
    """(rows, columns) every 10 ms, those of 60 ms moved to the others' centre."""
    names = smile.feature_names
    if len(samples) < SHORTEST:
        return Windows(np.empty((0, len(names)), dtype=np.float32), np.empty(0))
    values = np.array(smile(samples, RATE)[0].T, dtype=np.float32, order="C")
    is_long = [name.startswith(LONG) or AMPLITUDE in name for name in names]
    long = np.flatnonzero(is_long)
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


class Fbank(Unweighted):
    """Log mel energies."""

    Settings = FbankSettings

    def __init__(self, settings: FbankSettings) -> None:
        self.settings = settings
        self.step = round(settings.step * RATE / 1000)
        self.context = settings.window / 1000

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"mel_{number}" for number in range(self.settings.bins))

    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """(windows, bins) natural logarithms of energies, of sound as 16-bit integers."""
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = RATE
        options.frame_opts.dither = 0.0
        options.frame_opts.frame_length_ms = self.settings.window
        options.frame_opts.frame_shift_ms = 1000 * self.step / RATE
        options.frame_opts.window_type = self.settings.taper
        options.mel_opts.num_bins = self.settings.bins
        computer = kaldi_native_fbank.OnlineFbank(options)
        computer.accept_waveform(RATE, (samples * INT16).tolist())
        computer.input_finished()
        count = computer.num_frames_ready
        values = np.empty((count, self.settings.bins), dtype=np.float32)
        for row in range(count):
            values[row] = computer.get_frame(row)
        centres = (np.arange(count) * self.step + self.settings.window * RATE / 2000) / RATE
        return Windows(values, centres)

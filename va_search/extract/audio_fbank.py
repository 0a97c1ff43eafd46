"""Log mel filter banks as Kaldi computes them, by kaldi-native-fbank.

Conventions: sound at 16 kHz, scaled to 16-bit integers as Kaldi does; windows of `window`
milliseconds every `step` milliseconds, no dither, so the same sound gives the same numbers."""

from __future__ import annotations

from typing import Literal

import kaldi_native_fbank
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from va_search.extract.extractor import Settings, Windows

RATE = 16_000
INT16 = 32768.0


class FbankSettings(Settings):
    """`bins` filters; `window` and `step` in milliseconds; `taper`: the window's shape, Kaldi's own
    or Hamming's."""

    bins: int = Field(default=80, ge=4, le=256)
    window: float = Field(default=25.0, ge=5, le=500)
    step: float = Field(default=10.0, ge=1, le=500)
    taper: Literal["povey", "hamming"] = "povey"


class Fbank:
    """Log mel energies."""

    Settings = FbankSettings
    kind: Literal["audio"] = "audio"
    rate = RATE

    def __init__(self, settings: FbankSettings) -> None:
        self.settings = settings
        self.step = round(settings.step * RATE / 1000)
        self.context = settings.window / 1000

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"mel_{number}" for number in range(self.settings.bins))

    def prepare(self, device: str = "cpu") -> None:
        """Nothing to load."""

    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """(windows, bins) natural logarithms of energies."""
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
        rows = [computer.get_frame(row) for row in range(count)]
        values = np.array(rows, dtype=np.float32).reshape(count, self.settings.bins)
        centres = (np.arange(count) * self.step + self.settings.window * RATE / 2000) / RATE
        return Windows(values, centres)

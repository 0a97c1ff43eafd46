"""Log mel spectrograms as networks trained on them declare them: VGGish's by default (Hershey et
al., 2017).

Conventions: mono sound in [-1, 1] at `rate` samples per second. A window of `window` samples every
`step` samples, none reaching over either end, times a periodic Hann window, its spectrum padded to
the next power of two. Mel is HTK's, 1127 · ln(1 + f / 700); filters are triangles on that scale
between `low` and `high`, with height 1, none on the constant part. Values are ln(filters ·
|spectrum|^power + offset)."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]


def mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """HTK's mel scale."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def filters(bins: int, points: int, rate: int, low: float, high: float) -> NDArray[np.float64]:
    """(points, bins) weights of the spectrum's points, 0 to rate / 2, in each of the mel bins."""
    edges = np.linspace(mel(low), mel(high), bins + 2)
    places = mel(np.linspace(0, rate / 2, points))[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None)
    weights[0] = 0
    return weights


def log_mel(
    samples: Array,
    *,
    rate: int,
    window: int,
    step: int,
    bins: int,
    low: float,
    high: float,
    offset: float,
    power: float,
) -> Array:
    """(windows, bins) float32 of (samples,), none where the sound is shorter than one; `window`,
    `step` in samples."""
    if len(samples) < window:
        return np.zeros((0, bins), np.float32)
    frames = sliding_window_view(samples.astype(np.float64), window)[::step]
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    length = 1 << (window - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(frames * shape, length)) ** power
    energies = spectrum @ filters(bins, spectrum.shape[1], rate, low, high)
    return np.log(energies + offset).astype(np.float32)

"""onnx_audio: any network of sound as an ONNX file, fed with patches of a declared front end
(VGGish, ECAPA-TDNN, ...).

Conventions: the front end makes one row of bins every `step`; a patch is `frames` rows, one every
`every` rows, and the network puts out one row of features for it, placed at the patch's middle.
Nothing is padded: before the first patch's middle and after the last one's, frames take the nearest
patch.

The front end `log_mel` is that of networks trained on log mel spectrograms, VGGish's by default
(Hershey et al., 2017): a window of sound every `step`, none reaching over either end, times a
periodic Hann window, its spectrum padded to the next power of two. Mel is HTK's, 1127 · ln(1 + f /
700); filters are triangles on that scale between `low` and `high`, with height 1. Values are
ln(filters · |spectrum|^power + offset)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field, model_validator

from va_search.extract.descriptors import RATE, Fbank, FbankSettings
from va_search.extract.extractor import Settings, Windows
from va_search.extract.onnx_file import RowNetwork
from va_search.extract.weights import Weights

Array = NDArray[np.float32]
Milliseconds = Annotated[float, Field(ge=1, le=500)]


def mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """HTK's mel scale."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def filters(bins: int, points: int, rate: int, low: float, high: float) -> NDArray[np.float64]:
    """(points, bins) weights of the spectrum's points, 0 to rate / 2, in each of the mel bins."""
    edges = np.linspace(mel(low), mel(high), bins + 2)
    spectrum = mel(np.linspace(0, rate / 2, points))[:, None]
    rising = (spectrum - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - spectrum) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)


class LogMel(Settings):
    """See the module's head; `window` and `step` in milliseconds, `low` and `high` in hertz."""

    kind: Literal["log_mel"]
    rate: int = Field(default=16_000, ge=4_000, le=96_000)
    window: Milliseconds = 25.0
    step: Milliseconds = 10.0
    bins: int = Field(default=64, ge=4, le=512)
    low: float = Field(default=125.0, ge=0)
    high: float = Field(default=7500.0, gt=0)
    offset: float = Field(default=0.01, gt=0)
    power: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        if not self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"low {self.low}, high {self.high}: expected low < high ≤ half of rate, "
                f"{self.rate / 2}"
            )
        return self

    def rows(self, samples: Array) -> Array:
        """(rows, bins) of (samples,); none where the sound is shorter than one window."""
        window, step = samples_in(self.window, self.rate), samples_in(self.step, self.rate)
        if len(samples) < window:
            return np.zeros((0, self.bins), np.float32)
        frames = sliding_window_view(samples.astype(np.float64), window)[::step]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        length = 1 << (window - 1).bit_length()
        # (windows, points)
        spectrum = np.abs(np.fft.rfft(frames * hann, length)) ** self.power
        weights = filters(self.bins, spectrum.shape[1], self.rate, self.low, self.high)
        return np.log(spectrum @ weights + self.offset).astype(np.float32)


class KaldiFbank(FbankSettings):
    """Kaldi's log mel filter banks, as the extractor `fbank` computes them."""

    kind: Literal["fbank"]

    @property
    def rate(self) -> int:
        """Samples per second."""
        return RATE

    def rows(self, samples: Array) -> Array:
        """(rows, bins) of (samples,)."""
        return Fbank(self).windows(samples).values


class Patch(Settings):
    """`frames` rows of the front end at once, one patch every `every` rows; `mean`: subtract each
    bin's mean over the patch, as speaker networks are trained."""

    frames: int = Field(ge=1, le=100_000)
    every: int = Field(ge=1, le=100_000)
    mean: bool = False


class OnnxAudioSettings(Settings):
    """The network's file, its front end, its patches and their place in the input's axes; patches
    at once."""

    weights: Weights
    front: LogMel | KaldiFbank = Field(discriminator="kind")
    patch: Patch
    layout: Literal["frames_bins", "bins_frames", "channel_frames_bins", "frames_bins_channel"] = (
        "frames_bins"
    )
    output: str | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32

    def shape(self, patches: int) -> tuple[int, ...]:
        """Of a batch of so many patches."""
        frames, bins = self.patch.frames, self.front.bins
        return {
            "frames_bins": (patches, frames, bins),
            "bins_frames": (patches, bins, frames),
            "channel_frames_bins": (patches, 1, frames, bins),
            "frames_bins_channel": (patches, frames, bins, 1),
        }[self.layout]


class OnnxAudio:
    """An AudioExtractor. Building reads the file's header; `columns` runs the network once on
    zeros.

    InputError, when built or asked for `columns`, where the file does not fit the declared patches.
    """

    Settings = OnnxAudioSettings
    kind: Literal["audio"] = "audio"

    def __init__(self, settings: OnnxAudioSettings) -> None:
        front, patch = settings.front, settings.patch
        self.settings = settings
        self.rate = front.rate
        row = samples_in(front.step, self.rate)
        self.step = patch.every * row
        self._length = (patch.frames - 1) * row + samples_in(front.window, self.rate)
        self.context = self._length / self.rate
        self._network = RowNetwork(
            settings.weights.path,
            settings.output,
            items="patches",
            batch=settings.batch_size,
            shape=settings.shape,
            declared=f"patches of {patch.frames} × {front.bins}, layout {settings.layout}",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """One name for each value that the network puts out for a patch."""
        return self._network.columns

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._network.prepare(device)

    def windows(self, samples: Array) -> Windows:
        """One row of features a patch of (samples,) at `rate`, and the patches' middles."""
        patches = self._patches(self.settings.front.rows(samples))
        # At least one array, so that sound without a patch gives (0, dim).
        values = [np.zeros((0, len(self.columns)), np.float32)]
        for start in range(0, len(patches), self._network.batch):
            batch = patches[start : start + self._network.batch]
            values.append(self._network.run(self._inputs(batch)))
        starts = np.arange(len(patches)) * self.step
        return Windows(np.concatenate(values), (starts + self._length / 2) / self.rate)

    def _patches(self, rows: Array) -> Array:
        """(patches, frames, bins), a view of the front end's (rows, bins)."""
        patch = self.settings.patch
        if len(rows) < patch.frames:
            return np.zeros((0, patch.frames, rows.shape[1]), np.float32)
        return sliding_window_view(rows, patch.frames, axis=0)[:: patch.every].swapaxes(1, 2)

    def _inputs(self, patches: Array) -> Array:
        """(patches, frames, bins) in the network's own layout, their means taken off where asked
        for."""
        if self.settings.patch.mean:
            means = patches.mean(axis=1, keepdims=True, dtype=np.float64)
            patches = patches - means.astype(np.float32)
        if self.settings.layout == "bins_frames":
            patches = patches.swapaxes(1, 2)
        return np.ascontiguousarray(patches).reshape(self.settings.shape(len(patches)))


def samples_in(milliseconds: float, rate: int) -> int:
    """The nearest number of samples."""
    return round(milliseconds * rate / 1000)

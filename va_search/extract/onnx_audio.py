"""onnx_audio: any network of sound as an ONNX file, fed with patches of a declared front end
(VGGish, ECAPA-TDNN, ...).

Conventions: the front end makes one row of bins every `step`; a patch is `frames` rows, one every
`every` rows, and the network puts out one row of features for it, placed at the patch's middle.
Nothing is padded: before the first patch's middle and after the last one's, frames take the nearest
patch."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field, model_validator

from va_search.errors import InputError
from va_search.extract.extractor import Settings, Windows
from va_search.extract.log_mel import log_mel
from va_search.extract.onnx_file import OnnxFile, Shape
from va_search.extract.weights import Weights

Array = NDArray[np.float32]
Milliseconds = Annotated[float, Field(ge=1, le=500)]


class LogMel(Settings):
    """See log_mel.py; `window` and `step` in milliseconds, `low` and `high` in hertz. By default
    VGGish's."""

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
    def _band(self) -> Self:
        if not self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"low {self.low}, high {self.high}: expected low < high ≤ half of rate, {self.rate / 2}"
            )
        return self

    def rows(self, samples: Array) -> Array:
        """(rows, bins) of the front end."""
        return log_mel(
            samples,
            rate=self.rate,
            window=samples_in(self.window, self.rate),
            step=samples_in(self.step, self.rate),
            bins=self.bins,
            low=self.low,
            high=self.high,
            offset=self.offset,
            power=self.power,
        )


class KaldiFbank(Settings):
    """Kaldi's log mel filter banks, as the extractor `fbank` computes them; `window` and `step` in
    milliseconds."""

    kind: Literal["fbank"]
    bins: int = Field(default=80, ge=4, le=256)
    window: Milliseconds = 25.0
    step: Milliseconds = 10.0
    taper: Literal["povey", "hamming"] = "povey"

    @property
    def rate(self) -> int:
        """Samples per second."""
        return 16_000

    def rows(self, samples: Array) -> Array:
        """(rows, bins) of the front end."""
        from va_search.extract.audio_fbank import Fbank, FbankSettings

        settings = FbankSettings(
            bins=self.bins, window=self.window, step=self.step, taper=self.taper
        )
        return Fbank(settings).windows(samples).values


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

    def shape(self, patches: int | None) -> Shape:
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
    noughts.

    InputError, when built or asked for `columns`, where the file does not fit the declared patches.
    """

    Settings = OnnxAudioSettings
    kind: Literal["audio"] = "audio"

    def __init__(self, settings: OnnxAudioSettings) -> None:
        self.settings = settings
        self.rate = settings.front.rate
        row = samples_in(settings.front.step, self.rate)
        self.step = settings.patch.every * row
        self._length = (settings.patch.frames - 1) * row + samples_in(
            settings.front.window, self.rate
        )
        self.context = self._length / self.rate
        self._file = OnnxFile.read(settings.weights.path)
        self._output = self._file.output(settings.output)
        declared = (
            f"patches of {settings.patch.frames} × {settings.front.bins}, layout {settings.layout}"
        )
        self._file.check_input(
            settings.shape(settings.batch_size), f"{declared}, batch_size {settings.batch_size}"
        )
        self._session: Any = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """One name for each value that the network puts out for a patch."""
        patches = (self._file.shape[0] if self._file.shape else None) or min(
            self.settings.batch_size, 2
        )
        shape = tuple(size or 1 for size in self.settings.shape(patches))
        values = self._rows(self._file.try_out(shape, self._output), patches)
        return tuple(f"{self._output}_{number}" for number in range(values.shape[1]))

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._session = self._file.session(device)

    def windows(self, samples: Array) -> Windows:
        """One row of features a patch of (samples,) at `rate`, and the patches' middles."""
        patches = self.patches(self.settings.front.rows(samples))
        size = self.settings.batch_size
        parts = [self._run(patches[first : first + size]) for first in range(0, len(patches), size)]
        values = np.concatenate(parts) if parts else np.zeros((0, len(self.columns)), np.float32)
        return Windows(values, (np.arange(len(patches)) * self.step + self._length / 2) / self.rate)

    def patches(self, rows: Array) -> Array:
        """(patches, frames, bins), a view of the front end's (rows, bins)."""
        wanted = self.settings.patch
        if len(rows) < wanted.frames:
            return np.zeros((0, wanted.frames, rows.shape[1]), np.float32)
        return sliding_window_view(rows, wanted.frames, axis=0)[:: wanted.every].swapaxes(1, 2)

    def _run(self, patches: Array) -> Array:
        count, fixed = len(patches), self._file.shape and self._file.shape[0]
        if self.settings.patch.mean:
            patches = patches - patches.mean(axis=1, keepdims=True, dtype=np.float64).astype(
                np.float32
            )
        if (
            fixed and count < self.settings.batch_size
        ):  # the file's batch is fixed: noughts make it up
            missing = np.zeros((self.settings.batch_size - count, *patches.shape[1:]), np.float32)
            patches = np.concatenate([patches, missing])
        if self.settings.layout == "bins_frames":
            patches = patches.swapaxes(1, 2)
        shape = tuple(size or 1 for size in self.settings.shape(len(patches)))
        batch = np.ascontiguousarray(patches).reshape(shape)
        return self._rows(
            self._session.run([self._output], {self._file.input: batch})[0], len(batch)
        )[:count]

    def _rows(self, values: NDArray[Any], patches: int) -> Array:
        """(patches, dim) of (patches, dim), singleton axes aside."""
        if (
            values.ndim < 2
            or values.shape[0] != patches
            or values.size != patches * max(values.shape[1:])
        ):
            raise InputError(
                f"{self._file.path}: output {self._output!r} has shape {list(values.shape)} for {patches} patches; "
                "expected one row a patch, [patches, dim]"
            )
        return np.asarray(values, dtype=np.float32).reshape(patches, -1)


def samples_in(milliseconds: float, rate: int) -> int:
    """The nearest number of samples."""
    return round(milliseconds * rate / 1000)

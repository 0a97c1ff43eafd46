"""The sound of a video or of a file of sound, decoded whole and heard by an extractor piece by
piece.

Conventions: sound is mono float32 in [-1, 1], its first sample at `begin` seconds on the video's
clock; holes between its time stamps are silence, so that sample i always stands at begin + i /
rate. Decoded sound lies in an unnamed scratch file, mapped: memory stays that of the piece being
looked at, and a killed process leaves nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError
from va_search.extract.extractor import AudioExtractor, Windows
from va_search.extract.timeline import BROKEN, Timeline, opened
from va_search.extract.tracks import check_channel, choose_track

HOLE = 0.02
"""Seconds that time stamps may be off before a hole is filled, or sound that overlaps is left
out."""
BEYOND = 600.0
"""Seconds of sound after the video's last frame that are read: no window of a recipe reaches
farther."""
CHUNK = 60.0
"""Seconds of sound an extractor is given at once, besides its context."""


@dataclass(frozen=True)
class Sound:
    """Decoded sound: `samples` (samples,) float32 mono at `rate`, mapped; the first stands at
    `begin` seconds. `loudest` (channels,) is the largest absolute sample of each channel that was
    decoded."""

    samples: NDArray[np.float32]
    rate: int
    begin: float
    loudest: tuple[float, ...] = ()

    @property
    def end(self) -> float:
        """The end of the last sample in seconds."""
        return self.begin + len(self.samples) / self.rate


def read_sound(
    video: Path,
    timeline: Timeline,
    rate: int,
    scratch: Path,
    *,
    number: int | None = None,
    channel: int | None = None,
) -> Sound:
    """The whole sound of a video at `rate`, in a scratch file in the folder `scratch`.

    Of audio track `number` (None: the default one), of one `channel` (None: the mean of all), both
    from 1. InputError without such a track or channel, or where too many packets are broken."""
    track = choose_track(timeline.tracks, number, video)
    check_channel(track, channel, video)
    with tempfile.TemporaryFile(dir=scratch) as file:
        decoder = SoundDecoder(file, rate, channel)
        begin = decoder.decode(video, track.number, timeline.end + BEYOND)
        file.flush()
        count = decoder.written
        if not count:
            raise InputError(f"{video}: its audio track holds no sound that can be decoded")
        samples = np.memmap(file, dtype=np.float32, mode="r", shape=(count,))
        return Sound(samples, rate, begin, tuple(decoder.loudest.tolist()))


@dataclass
class SoundDecoder:
    """Decodes mono float32 samples at `rate` into `file`; `channel` from 1, None for the mean of
    all channels. `written` counts samples, `loudest` is as in `Sound`."""

    file: BinaryIO
    rate: int
    channel: int | None
    written: int = 0
    loudest: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))

    def decode(self, video: Path, track: int, end: float) -> float:
        """Write the samples of a track, but for frames that stand after `end`; its begin in
        seconds."""
        begin: float | None = None
        packets = broken = 0
        with opened(video) as container:
            # Resampled with all its channels: `_write` makes one of them.
            resampler = av.AudioResampler(format="fltp", rate=self.rate)
            for packet in container.demux(container.streams.audio[track - 1]):
                packets += 1
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    continue
                for frame in frames:
                    time = frame.time
                    if begin is None:
                        begin = float(time or 0.0)
                    hole = 0.0
                    if time is not None:
                        hole = time - begin - self.written / self.rate
                    if hole < -HOLE or (time or 0.0) > end:
                        continue  # sound that is written already, or a time stamp gone wild
                    if hole > HOLE:
                        self._write_silence(round(hole * self.rate))
                    # Holes are filled above: the resampler sees sound without any.
                    frame.pts = None
                    self._write(resampler.resample(frame))
            if begin is not None:
                self._write(resampler.resample(None))
        if broken > BROKEN * packets:
            raise InputError(
                f"{video}: {broken} of {packets} packets of sound can't be decoded; copy or "
                "convert it again"
            )
        return begin or 0.0

    def _write_silence(self, samples: int) -> None:
        for start in range(0, samples, self.rate):
            self.file.write(bytes(4 * min(self.rate, samples - start)))
        self.written += samples

    def _write(self, frames: list[Any]) -> None:
        """Write one channel, or the mean of all: FFmpeg's own mono of float sound is louder (stereo
        by √2) and leaves [-1, 1]."""
        for frame in frames:
            channels = frame.to_ndarray()  # (channels, samples)
            if channels.shape[1]:
                loudest = np.abs(channels).max(axis=1)
                if len(self.loudest) == len(loudest):
                    loudest = np.maximum(loudest, self.loudest)
                self.loudest = loudest
            if self.channel is None:
                mono = channels.mean(axis=0, dtype=np.float32)
            else:
                mono = np.ascontiguousarray(channels[self.channel - 1], dtype=np.float32)
            self.file.write(mono.data)
            self.written += frame.samples


def windows(sound: Sound, extractor: AudioExtractor, chunk: float = CHUNK) -> Iterator[Windows]:
    """An extractor's windows of the whole sound, chunk after chunk of so many seconds, their
    centres on the video's clock.

    Each chunk is heard with the extractor's context before and after it; of the windows that come
    back, those whose centre lies in the chunk are kept."""
    rate, step = sound.rate, extractor.step
    total = len(sound.samples)
    # Whole steps, so that windows fall as in the whole.
    length = max(1, round(chunk * rate / step)) * step
    context = -(-round(extractor.context * rate) // step) * step
    for start in range(0, total, length):
        begin = max(0, start - context)
        end = min(total, start + length + context)
        piece = np.asarray(sound.samples[begin:end], dtype=np.float32)
        values, centres = extractor.windows(piece)
        centres = centres + begin / rate
        inside = np.ones(len(centres), dtype=bool)
        if start > 0:
            inside &= centres >= start / rate - 1e-9
        if start + length < total:
            inside &= centres < (start + length) / rate - 1e-9
        yield Windows(values[inside], centres[inside] + sound.begin)

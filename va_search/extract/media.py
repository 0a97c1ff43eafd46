"""Sound, frames and crops, read piece by piece.

Conventions: sound is mono float32 in [-1, 1], its first sample at `begin` seconds on the video's
clock; holes between its time stamps are silence, so that sample i always stands at begin + i /
rate. Frames and crops are RGB uint8 (height, width, 3); frame i (from 0) is crop `{i + 1:05d}.jpg`.
Sound that is decoded lies in an unnamed scratch file, mapped: memory stays that of the piece being
looked at, and a killed process leaves nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from va_search.data.frame_names import CROP
from va_search.errors import InputError
from va_search.extract.extractor import AudioExtractor, Image, Windows
from va_search.extract.timeline import Timeline, opened
from va_search.extract.tracks import check_channel, choose_track

HOLE = 0.02
"""Seconds that time stamps may be off before a hole is filled, or sound that overlaps is left
out."""
BROKEN = 0.01
"""Share of a video's packets that may fail to decode (a hole then takes their place); more and the
file is refused."""
PIXELS = 1 << 24
"""The largest crop that is opened: a small file can unfold to any size."""
BEYOND = 600.0
"""Seconds of sound after the video's last frame that are read: no window of a recipe reaches
farther."""
CHUNK = 60.0
"""Seconds of sound an extractor is given at once, besides its context."""


@dataclass(frozen=True)
class Sound:
    """Decoded sound: `samples` (samples,) float32 mono at `rate`, mapped; the first stands at
    `begin` seconds."""

    samples: NDArray[np.float32]
    rate: int
    begin: float


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
    from 1. InputError without such a track or channel."""
    track = choose_track(timeline.tracks, number, video)
    check_channel(track, channel, video)
    with tempfile.TemporaryFile(dir=scratch) as file:
        begin, count = SoundFile(file, rate, channel).write(
            video, track.number, timeline.end + BEYOND
        )
        file.flush()
        if not count:
            raise InputError(f"{video}: its audio track holds no sound that can be decoded")
        return Sound(np.memmap(file, dtype=np.float32, mode="r", shape=(count,)), rate, begin)


@dataclass
class SoundFile:
    """Mono float32 samples at `rate`, decoded into `file`; `channel` from 1, None for the mean of
    all channels."""

    file: BinaryIO
    rate: int
    channel: int | None = None
    written: int = 0

    def write(self, video: Path, track: int, end: float) -> tuple[float, int]:
        """Begin in seconds and number of the samples of a track; frames that stand after `end` are
        left out."""
        begin: float | None = None
        packets = broken = 0
        with opened(video) as container:
            # Resampled with all its channels: `_add` makes one of them.
            resampler = av.AudioResampler(format="fltp", rate=self.rate)
            for packet in container.demux(container.streams.audio[track - 1]):
                packets += 1
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    continue
                for frame in frames:
                    if begin is None:
                        begin = float(frame.time or 0.0)
                    ahead = (
                        0.0 if frame.time is None else frame.time - begin - self.written / self.rate
                    )
                    if ahead < -HOLE or (frame.time or 0.0) > end:
                        continue  # before what is there already, or a time stamp gone wild
                    if ahead > HOLE:
                        self._add_silence(round(ahead * self.rate))
                    frame.pts = None
                    self._add(resampler.resample(frame))
            if begin is not None:
                self._add(resampler.resample(None))
        if broken > BROKEN * packets:
            raise InputError(
                f"{video}: {broken} of {packets} packets of sound can't be decoded; copy or convert it again"
            )
        return begin or 0.0, self.written

    def _add_silence(self, samples: int) -> None:
        for start in range(0, samples, self.rate):
            self.file.write(bytes(4 * min(self.rate, samples - start)))
        self.written += samples

    def _add(self, frames: list[Any]) -> None:
        """Add one channel, or the mean of all: FFmpeg's own mono of float sound is louder (stereo
        by √2) and leaves [-1, 1]."""
        for frame in frames:
            channels = frame.to_ndarray()  # (channels, samples)
            if self.channel is None:
                mono = channels.mean(axis=0, dtype=np.float32)
            else:
                mono = np.ascontiguousarray(channels[self.channel - 1], dtype=np.float32)
            self.file.write(mono.data)
            self.written += frame.samples


def windows(sound: Sound, extractor: AudioExtractor, chunk: float = CHUNK) -> Iterator[Windows]:
    """An extractor's windows of the whole sound, chunk after chunk, their centres on the video's
    clock.

    Each chunk is seen with the extractor's context before and after it; of the windows found, those
    whose centre lies in the chunk are kept."""
    total = len(sound.samples)
    length = max(1, round(chunk * sound.rate / extractor.step)) * extractor.step
    context = -(-round(extractor.context * sound.rate) // extractor.step) * extractor.step
    for start in range(0, total, length):
        first, last = max(0, start - context), min(total, start + length + context)
        found = extractor.windows(np.asarray(sound.samples[first:last], dtype=np.float32))
        centres = found.centres + first / sound.rate
        low = -np.inf if start == 0 else start / sound.rate
        high = np.inf if start + length >= total else (start + length) / sound.rate
        kept = (centres >= low - 1e-9) & (centres < high - 1e-9)
        yield Windows(found.values[kept], centres[kept] + sound.begin)


def video_frames(video: Path, timeline: Timeline) -> Iterator[tuple[int, Image]]:
    """(frame from 0, image) of every frame that can be decoded, in the order of display.

    InputError at the end when more than one in a hundred could not; or, where nothing but a frame's
    number tells its place (`Timeline.stamped`), any."""
    seen = 0
    with opened(video) as container:
        stream = container.streams[timeline.stream]
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                # A decoder gives its frames in the order of display, whatever their times say.
                place = _nearest(timeline, frame.time) if timeline.stamped else seen
                seen += place is not None
                if place is not None and place < len(timeline.frames):
                    yield place, upright(frame.to_ndarray(format="rgb24"), frame.rotation)
    whole = len(timeline.frames)
    if not timeline.stamped and seen != whole:
        raise InputError(
            f"{video}: {seen} of {whole} frames can be decoded, and its container doesn't tell which; convert it: "
            "ffmpeg -i IN OUT.mp4"
        )
    if seen < (1 - BROKEN) * whole:
        raise InputError(
            f"{video}: {seen} of {whole} frames can be decoded; copy or convert it again"
        )


def _nearest(timeline: Timeline, time: float | None) -> int | None:
    """Place of the frame whose stamp is nearest, be it in a burst of many; None where none is
    near."""
    if time is None:
        return None
    after = min(int(np.searchsorted(timeline.frames, time)), len(timeline.frames) - 1)
    place = min(max(after - 1, 0), after, key=lambda at: abs(float(timeline.frames[at]) - time))
    return place if abs(timeline.frames[place] - time) < timeline.step / 4 else None


def upright(image: Image, degrees: float) -> Image:
    """The picture turned counterclockwise by quarters, as the video's header asks for (a phone held
    upright)."""
    return np.ascontiguousarray(np.rot90(image, round(degrees / 90)))


def crop_files(folder: Path, rows: int, frames: int, video: Path) -> list[tuple[int, Path]]:
    """(frame from 0, file) of the crops of annotation rows, by number; InputError for one beyond
    both the annotation's `rows` and the video's `frames` (one more is left out: both are often cut
    so), or for none at all."""
    found = sorted(
        (int(match[1]) - 1, path)
        for path in folder.iterdir()
        if (match := CROP.fullmatch(path.name)) is not None
    )
    if not found:
        raise InputError(
            f"{folder}: no crop in it, expected 00001.jpg and so on, one for each frame with a face"
        )
    if found[0][0] < 0:
        raise InputError(f"{found[0][1]}: crops count from 00001.jpg, which is the first frame")
    beyond = [path for frame, path in found if frame > max(rows, frames)]
    if beyond:
        raise InputError(
            f"{beyond[0]}: a crop beyond the video's end, {len(beyond)} such; {video} has {frames} frames, its "
            f"annotation {rows} rows. Are the crops of another recording, or cut at another frame rate?"
        )
    twice = [one[1] for one, other in pairwise(found) if one[0] == other[0]]
    if twice:
        number = CROP.sub(r"\1", twice[0].name)
        raise InputError(f"{twice[0]}: frame {number} has two crops; keep one")
    return [entry for entry in found if entry[0] < rows]


def read_crop(path: Path) -> Image:
    """(height, width, 3) RGB uint8; InputError, naming the file, for one that is empty, cut short,
    no JPEG or PNG whatever its name (other formats of Pillow's run programs), or of more than
    `PIXELS`."""
    try:
        with Pictures.open(path, formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > PIXELS:
                raise ValueError(
                    f"{picture.width} × {picture.height} pixels, at most {PIXELS:,} are taken"
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise InputError(
            f"{path}: {size:,} bytes that are no whole image ({error}); cut it again or remove it"
        ) from None

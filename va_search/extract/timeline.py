"""Times of a video's frames and sound, or of a file of sound alone, by the file's own time stamps.

Conventions: seconds on the file's clock, on which its sound runs too; a clock need not begin at 0.
The file's second 0, from which clocks outside of it count, is its first frame, or the beginning of
its sound where it has no frames.
Nothing is decoded: time stamps stand on the packets. Annotation row i belongs to the video's i-th
frame in the order of display, both from 1 (Aff-Wild2); rows may be a second more than frames, whose
times then go on at the video's pace, or a second fewer. A step of more than `GAP` usual steps is a
gap, as in `data import`; the frame rate is that of the regular steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from va_search.data.resampling import longer, usual_step
from va_search.errors import InputError
from va_search.extract.tracks import AudioTrack, choose_picture, is_cover, is_default
from va_search.files import check_regular

BEYOND = 1.0
"""Seconds by which annotation rows and frames may differ (label files often have one row more)."""
FEW = 2
"""Rows by which they may differ whatever rate that looks like."""
OTHER_RATE = 0.03
"""Share by which a rate must differ from the video's to be another one (24 and 25 do, 29.97 and 30
do not)."""
USUAL_RATES = (
    1.0, 2.0, 4.0, 5.0, 6.0, 7.5, 8.0, 10.0, 12.0, 12.5, 15.0, 16.0, 20.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0,
    40.0, 48.0, 50.0, 60000 / 1001, 60.0, 80.0, 90.0, 100.0, 120.0, 200.0, 240.0, 250.0, 500.0, 1000.0,
)  # fmt: skip
"""Rates, in rows a second, that cameras and annotations have."""
OPEN_WAVE = 0xFFFFFF00
"""A WAV file that declares so many bytes or more does not know its length."""
SHORT = 0.02
"""Share of its declared length that a file may lack."""
BROKEN = 0.01
"""Share of a video's packets or frames that may fail to decode; more and the file is refused."""
UNEVEN = 0.25
"""A step between frames that differs so much from the usual one, as a share of it, makes a frame
rate variable."""
BACK = 0.5
"""Seconds by which the clock of a file may go back from packet to packet before it counts as
started again."""

SOUNDS = (
    ".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".wma", ".aif", ".aiff", ".au", ".amr",
)  # fmt: skip
"""Endings of files of sound."""
ALONE = {
    "protocol_whitelist": "file",
    "format_whitelist": (
        "mov,mp4,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv,"
        "wav,w64,mp3,flac,ogg,aiff,caf,au,amr"
    ),
}
"""What FFmpeg may open: a video's or sound's own file. Play lists and the like, whatever their
name, would read other files."""
ESTIMATED = ("mp3",)
"""Formats whose declared length may be an estimate, from which nothing follows."""


@dataclass(frozen=True)
class Timeline:
    """Times of a video: `frames` (frames,), in the order of display, never decreasing, none in a
    file of sound alone; `tracks` those of its sound.

    `nominal` is the rate the container declares, NaN where it declares none. `stamped` is False
    where the times are right only all together, not which frame has which. `stream` is the video's
    place among the container's streams, `others` the number of further video tracks, cover art not
    counted."""

    frames: NDArray[np.float64]
    nominal: float
    tracks: tuple[AudioTrack, ...] = ()
    stamped: bool = True
    stream: int = 0
    others: int = 0

    @cached_property
    def step(self) -> float:
        """The usual seconds from a frame to the next: the mean of the regular steps; 1/30 for a
        single frame.

        Regular steps are those near the median, so that neither holes nor bursts count.
        """
        if len(self.frames) < 2:
            return 1 / 30
        return usual_step(np.diff(self.frames))

    @property
    def rate(self) -> float:
        """Frames per second where the frames follow each other regularly."""
        return 1 / self.step

    @property
    def mean_rate(self) -> float:
        """Frames per second over the whole video, holes included."""
        if len(self.frames) < 2:
            return self.rate
        return float((len(self.frames) - 1) / (self.frames[-1] - self.frames[0]))

    @property
    def variable(self) -> bool:
        """True where steps differ: dropped frames, or a camera that slows down in the dark."""
        steps = np.diff(self.frames) / self.step
        return len(steps) > 1 and bool((np.abs(steps - 1) > UNEVEN).any())

    @property
    def has_pictures(self) -> bool:
        """False for a file of sound alone."""
        return len(self.frames) > 0

    @property
    def begin(self) -> float:
        """The first frame's time, or that of the first sound, in seconds."""
        if self.has_pictures:
            return float(self.frames[0])
        return min(track.begin for track in self.tracks)

    @property
    def end(self) -> float:
        """The end of the last frame, or of the last sound, in seconds."""
        if self.has_pictures:
            return float(self.frames[-1]) + self.step
        return max(track.end for track in self.tracks)

    @property
    def seconds(self) -> float:
        """Length of the video or sound, holes included."""
        return self.end - self.begin

    def gaps(self, rows: int) -> tuple[int, ...]:
        """Rows, from 0 and of the first `rows`, before which time jumps by more than `GAP` usual
        steps."""
        jumps = longer(np.diff(self.frames[:rows]), self.step)
        return tuple((np.flatnonzero(jumps) + 1).tolist())

    def rows(self, count: int, video: Path, labels: Path) -> NDArray[np.float64]:
        """(count,) seconds of the annotation rows of `labels`; InputError when they are not one for
        each frame.

        Up to a second more or less is taken, unless so many rows are those of another rate over the
        whole video."""
        surplus = count - len(self.frames)
        rate = other_rate(count, self.seconds, self.rate)
        if abs(surplus) * self.step > BEYOND or (abs(surplus) > FEW and rate is not None):
            raise InputError(self._mismatch(count, video, labels, rate))
        if surplus <= 0:
            return self.frames[:count]
        # Rows after the last frame go on at the video's pace.
        beyond = self.frames[-1] + self.step * np.arange(1, surplus + 1)
        return np.concatenate([self.frames, beyond])

    def _mismatch(self, count: int, video: Path, labels: Path, other: float | None) -> str:
        """The problem of annotation rows that are not the video's frames, with the rate they
        fit."""
        frames = len(self.frames)
        seconds = abs(count - frames) * self.step
        difference = f"{seconds:.1f} s {'more' if count > frames else 'fewer'}"
        if seconds > BEYOND:
            difference += f", and at most {BEYOND:g} s is allowed"
        rate = f"{self.rate:.5g} a second"
        if self.variable:
            rate += " where they are regular"
        fitting = other or usual_rate(count, self.seconds)
        if fitting is None:
            fit = f"{count / self.seconds:.4g} rows a second would fit it, which is no usual rate"
        else:
            fit = (
                f"{fitting:.5g} rows a second would fit it (if that is their rate: "
                f"--frames-per-second {fitting:.6g})"
            )
        advice = f"bring the annotation to one row for each of the {frames} frames"
        if fitting is not None and self.gaps(frames) and abs(fitting / self.rate - 1) <= OTHER_RATE:
            advice = (
                "its rows count the time of the video's gaps too, leave out those of frames that "
                "are not there"
            )
        return (
            f"{video}: {frames} frames ({self.seconds:.1f} s, {rate}), but {count} annotation "
            f"rows: {difference}. {labels}: {fit}. Row i belongs to frame i: {advice}; if its rate "
            "is right, it or the video is cut short or of another recording"
        )


def usual_rate(count: int, seconds: float) -> float | None:
    """The usual rate that `count` rows have over so many seconds, to a second; None where there is
    none."""
    nearest = min(USUAL_RATES, key=lambda rate: abs(count / rate - seconds))
    if abs(count / nearest - seconds) > BEYOND:
        return None
    return nearest


def other_rate(count: int, seconds: float, rate: float) -> float | None:
    """The usual rate other than `rate` that gives `count` rows, to a row, over so many seconds;
    None without one."""
    rates = [usual for usual in USUAL_RATES if abs(usual / rate - 1) > OTHER_RATE]
    nearest = min(rates, key=lambda usual: abs(usual * seconds - count))
    if abs(nearest * seconds - count) > 1:
        return None
    return nearest


@contextmanager
def opened(video: Path) -> Iterator[Any]:
    """The container of a video; InputError, naming the file, for what can't be opened, read or
    decoded inside."""
    if video.exists():
        check_regular(video, f"a {kind_of(video)}")
    try:
        with av.open(str(video), options=ALONE) as container:
            if not container.streams.video and not container.streams.audio:
                raise InputError(
                    f"{video}: no video or audio track in it, expected a video or sound"
                )
            yield container
    except FileNotFoundError:
        raise InputError(f"{video}: no such {kind_of(video)}") from None
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        size = video.stat().st_size if video.is_file() else 0
        raise InputError(
            f"{video}: {size:,} bytes that are no whole {kind_of(video)} ({reason}); copy or "
            "convert it again"
        ) from None


def kind_of(file: Path) -> str:
    """`sound` for the name of a file of sound, else `video`."""
    return "sound" if file.suffix.lower() in SOUNDS else "video"


def read_timeline(video: Path) -> Timeline:
    """The times of a video's frames and sound, or of a file of sound; InputError when the file is
    broken or cut short. Reads all packets."""
    with opened(video) as container:
        packets = Packets(video)
        for packet in container.demux():
            packets.add(packet)
        tracks = packets.tracks(container.streams.audio)
        chosen = choose_picture(container.streams.video, packets.frames)
        if chosen is None and not tracks:
            raise InputError(f"{video}: no frame and no sound in it")
        declared = (container.duration or 0) / av.time_base
        if container.format.name in ESTIMATED:
            declared = 0.0
        # Matroska declares the end, which is later where the clock begins late.
        _check_length(video, declared, max(packets.seconds, packets.end))
        if chosen is None:
            _refuse_cut_wave(video)
            begins = [stream.start_time for stream in container.streams.audio]
            bases = [stream.time_base for stream in container.streams.audio]
            return Timeline(np.zeros(0), math.nan, _without_priming(tracks, begins, bases))
        picture, other_videos = chosen
        if picture.codec_context is None:
            raise InputError(
                f"{video}: its pictures are in a format that FFmpeg does not know; copy or convert "
                "it again"
            )
        stream = picture.index
        nominal = float(picture.guessed_rate or math.nan)
        # Without B-frames the order in the file is that of display.
        reordered = picture.codec_context.has_b_frames
        # AVI has no times of display: those that FFmpeg gives are a guess.
        unstamped = stream in packets.unstamped or container.format.name == "avi"
    frames = np.sort(np.array(packets.stamps[stream], dtype=np.float64))
    # Of two frames with one time stamp only their order tells which is which.
    repeated = bool((np.diff(frames) <= 0).any())
    stamped = not repeated and not (unstamped and reordered)
    return Timeline(frames, nominal, tracks, stamped, stream, other_videos)


def _check_length(video: Path, declared: float, seconds: float) -> None:
    """InputError for a file that was cut short: it still has the header of the whole."""
    if declared - seconds > max(SHORT * declared, BEYOND):
        raise InputError(
            f"{video}: {seconds:.1f} s in it, its header declares {declared:.1f} s; cut short: "
            "copy it again"
        )


def _without_priming(
    tracks: Sequence[AudioTrack], begins: Sequence[Any], bases: Sequence[Any]
) -> tuple[AudioTrack, ...]:
    """The tracks from their first sound on: encoders of MP3, Vorbis and Opus put some silence in
    front, which the file declares and a player skips."""
    heard = []
    for track in tracks:
        index = track.number - 1
        begin = track.begin
        if begins[index] is not None:
            begin = max(begin, float(begins[index] * bases[index]))
        heard.append(replace(track, begin=begin))
    return tuple(heard)


def _refuse_cut_wave(file: Path) -> None:
    """InputError for a WAV file that is shorter than its header says: FFmpeg reads what is left."""
    with open(file, "rb") as handle:
        header = handle.read(12)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return
    declared = 8 + int.from_bytes(header[4:8], "little")
    size = file.stat().st_size
    # Programs that write to a pipe leave the largest number there.
    if size + 1 < declared < OPEN_WAVE:
        raise InputError(
            f"{file}: {size:,} bytes, its header declares {declared:,}; cut short: copy it again"
        )


class Packets:
    """Times of a video's packets, in seconds, by the index of their stream.

    `stamps`: the frames' times of video streams; `unstamped`: video streams with frames that have
    no time of display; `spans`: begin and end."""

    def __init__(self, video: Path) -> None:
        self.video = video
        self.stamps: dict[int, list[float]] = {}
        self.unstamped: set[int] = set()
        self.spans: dict[int, tuple[float, float]] = {}
        self._decoded: dict[int, float] = {}  # time of decoding of the last packet

    @property
    def frames(self) -> dict[int, int]:
        """Number of frames of each video stream."""
        return {stream: len(stamps) for stream, stamps in self.stamps.items()}

    @property
    def seconds(self) -> float:
        """Length from the begin of the first stream to the end of the last one."""
        begins, ends = zip(*self.spans.values(), strict=True)
        return float(max(ends) - min(begins))

    @property
    def end(self) -> float:
        """The end of the last stream."""
        return max(end for _, end in self.spans.values())

    def add(self, packet: Any) -> None:
        """Count one packet; InputError where the clock of a video starts again."""
        stamp = packet.pts
        if stamp is None:
            stamp = packet.dts
        stream = packet.stream
        is_video = stream.type == "video"
        if stamp is None or packet.is_discard or not packet.size or (is_video and is_cover(stream)):
            return
        time = float(stamp * packet.time_base)
        # Only sound ends by its packets' durations.
        length = 0.0
        if not is_video:
            length = float((packet.duration or 0) * packet.time_base)
        begin, end = self.spans.get(stream.index, (math.inf, -math.inf))
        self.spans[stream.index] = (min(begin, time), max(end, time + length))
        if is_video:
            self.stamps.setdefault(stream.index, []).append(time)
            if packet.pts is None:
                self.unstamped.add(stream.index)
            if packet.dts is not None:
                self._check_clock(stream.index, float(packet.dts * packet.time_base))

    def _check_clock(self, stream: int, decoded: float) -> None:
        previous = self._decoded.get(stream, -math.inf)
        if decoded < previous - BACK:
            raise InputError(
                f"{self.video}: its clock goes back from {previous:.2f} s to {decoded:.2f} s: files "
                "joined end to end, or a camera that started again? Convert it: ffmpeg -i IN OUT.mp4"
            )
        self._decoded[stream] = decoded

    def tracks(self, streams: Sequence[Any]) -> tuple[AudioTrack, ...]:
        """Tracks of the audio streams that hold sound; a track's number counts all of them, from
        1."""
        tracks: list[AudioTrack] = []
        for number, stream in enumerate(streams, start=1):
            begin, end = self.spans.get(stream.index, (math.inf, -math.inf))
            if end <= begin:
                continue
            layout = stream.layout.name if stream.channels else ""
            language = stream.metadata.get("language", "")
            tracks.append(
                AudioTrack(
                    number, stream.channels, layout, language, is_default(stream), begin, end
                )
            )
        return tuple(tracks)

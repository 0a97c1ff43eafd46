"""When the frames of a video stand, by the video's own time stamps.

Conventions: seconds on the video's clock, on which its sound runs too; a clock need not begin at 0. Nothing is decoded:
time stamps stand on the packets. Annotation row i belongs to the video's i-th frame in the order of display, both from
1 (Aff-Wild2); rows may be a few more than frames, whose times then go on at the video's pace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError

BEYOND = 1.0
"""Seconds by which annotation rows may run past the video's last frame (label files often have one row more)."""
SHORT = 0.02
"""Share of its declared length that a file may lack."""
UNEVEN = 0.25
"""A step between frames that differs so much from the median, as a share of it, makes a frame rate variable."""

ALONE = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv"}
"""What FFmpeg may open: a video's own file. Play lists and the like, whatever their name, would read other files."""


@dataclass(frozen=True)
class Timeline:
    """Times of a video: `frames` (frames,), increasing; `sound` its begin and end, None without an audio track.

    `nominal` is the rate the container declares, NaN where it declares none. `stamped` is False where the times are
    right only all together, not which frame has which.
    """

    frames: NDArray[np.float64]
    nominal: float
    sound: tuple[float, float] | None
    stamped: bool = True

    @property
    def step(self) -> float:
        """The usual seconds from a frame to the next: the median; 1/30 for a single frame."""
        return float(np.median(np.diff(self.frames))) if len(self.frames) > 1 else 1 / 30

    @property
    def rate(self) -> float:
        """Frames per second as measured over the whole video."""
        if len(self.frames) < 2:
            return 1 / self.step
        return float((len(self.frames) - 1) / (self.frames[-1] - self.frames[0]))

    @property
    def variable(self) -> bool:
        """Whether steps differ: dropped frames, or a camera that slows down in the dark."""
        return bool(len(self.frames) > 2 and (np.abs(np.diff(self.frames) / self.step - 1) > UNEVEN).any())

    @property
    def end(self) -> float:
        """Where the last frame ends."""
        return float(self.frames[-1]) + self.step

    def rows(self, count: int, video: Path) -> NDArray[np.float64]:
        """(count,) seconds of annotation rows; InputError when they run more than a second past the video."""
        more = count - len(self.frames)
        if more * self.step > BEYOND:
            raise InputError(
                f"{video}: {len(self.frames)} frames ({self.end - self.frames[0]:.1f} s), but {count} annotation rows: "
                f"{more * self.step:.1f} s more; at most {BEYOND:g} s is taken. Cut short, or of another recording?"
            )
        if more <= 0:
            return self.frames[:count]
        return np.concatenate([self.frames, self.frames[-1] + self.step * np.arange(1, more + 1)])


@contextmanager
def opened(video: Path) -> Iterator[Any]:
    """The container of a video; InputError, naming the file, for what can't be opened, read or decoded inside."""
    try:
        with av.open(str(video), options=ALONE) as container:
            if not container.streams.video:
                raise InputError(f"{video}: no video track in it, expected a video")
            yield container
    except FileNotFoundError:
        raise InputError(f"{video}: no such video") from None
    except (av.error.FFmpegError, ValueError) as error:
        text = getattr(error, "strerror", None) or error
        size = video.stat().st_size if video.is_file() else 0
        raise InputError(
            f"{video}: {size:,} bytes that are no whole video ({text}); copy or convert it again"
        ) from None


def read_timeline(video: Path) -> Timeline:
    """The times of a video's frames and sound; InputError when the file is broken or cut short. Reads all packets."""
    with opened(video) as container:
        picture = container.streams.video[0]
        sound = container.streams.audio[0] if container.streams.audio else None
        stamps: list[float] = []
        begin, end = math.inf, -math.inf
        unstamped = container.format.name == "avi"  # has no times of display: what FFmpeg says of them is a guess
        for packet in container.demux([picture, sound] if sound else [picture]):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or packet.is_discard or not packet.size:
                continue
            if packet.stream.type == "video":
                unstamped |= packet.pts is None
                stamps.append(float(stamp * packet.time_base))
            else:
                begin = min(begin, float(stamp * packet.time_base))
                end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
        declared = (container.duration or 0) / av.time_base
        nominal = float(picture.guessed_rate or math.nan)
        reordered = picture.codec_context.has_b_frames  # else the order in the file is that of display
    frames = np.unique(np.array(stamps, dtype=np.float64))
    if not len(frames):
        raise InputError(f"{video}: no frame in it")
    seconds = max(float(frames[-1]), end) - min(float(frames[0]), begin)
    if declared - seconds > max(SHORT * declared, BEYOND):
        raise InputError(
            f"{video}: {seconds:.1f} s in it, its header declares {declared:.1f} s; cut short: copy it again"
        )
    return Timeline(frames, nominal, (begin, end) if end > begin else None, stamped=not (unstamped and reordered))

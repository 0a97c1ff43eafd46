"""Remarks on one recording's extraction: values that are none, silence, and the facts that `data
check` reads in the store's manifest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.extract.frames import AnnotatedFrames
from va_search.extract.sound import Sound
from va_search.extract.sources import Job
from va_search.extract.timeline import Timeline
from va_search.extract.tracks import find_track

SILENT = 1e-4
"""A channel without a louder sample (-80 dB) is silent."""


def not_finite(name: str, values: NDArray[np.float32]) -> list[str]:
    """The problem of (frames, dim) values that hold NaN or infinities; none when all are finite."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return []
    row, column = map(int, np.argwhere(bad)[0])
    return [
        f"feature set {name!r}: {int(bad.sum())} values are NaN or infinite, the first "
        f"{values[row, column]} in frame {row + 1}, column {column}"
    ]


def silence(sound: Sound, channel: int | None) -> list[str]:
    """A remark where a channel that counts is silent; `channel` is the one that is taken, from 1,
    None for the mean of all."""
    count = len(sound.loudest)
    silent = [number for number, peak in enumerate(sound.loudest, start=1) if peak < SILENT]
    if len(silent) == count or channel in silent:
        return [f"the sound that is taken is silent throughout (channel {channel or 'mean'})"]
    if channel is not None or not silent:
        return []
    audible = [number for number in range(1, count + 1) if number not in silent]
    return [
        f"of {count} channels of sound {', '.join(map(str, silent))} is silent, and the mean of all "
        f"is taken (`channel: {audible[0]}` in the recipe takes one)"
    ]


def notes(
    timeline: Timeline, heard: Timeline, frames: AnnotatedFrames, job: Job, number: int | None
) -> dict[str, Any]:
    """A recording's lengths in seconds and rates in frames per second, for `data check`; the audio
    track that was used, the recipe's `number` or the default; and the size of its video in bytes,
    by which a video that was replaced is known. A file of sound is its own video."""
    audio: dict[str, float | None] = dict.fromkeys(
        ("audio_seconds", "audio_offset", "audio_track", "audio_channels")
    )
    # The recipe may name a track for other recordings that this one lacks.
    track = find_track(heard.tracks, number) or find_track(heard.tracks, None)
    if track is not None:
        audio["audio_seconds"] = track.end - track.begin
        audio["audio_offset"] = track.begin - heard.begin
        if job.sound is None:
            audio["audio_offset"] = track.begin - timeline.begin
        audio["audio_track"] = track.number
        audio["audio_channels"] = track.channels
    step, rate, mean_rate = frames.step, 1 / frames.step, 1 / frames.step
    nominal = np.nan
    if timeline.has_pictures:
        step = frames.step if frames.by_clock else timeline.step
        rate, mean_rate, nominal = timeline.rate, timeline.mean_rate, timeline.nominal
    facts = {
        "annotation_seconds": float(frames.seconds[-1] - frames.seconds[0]) + step,
        "video_seconds": timeline.end - timeline.begin,
        **audio,
        "audio_tracks": len(heard.tracks),
        "rows": len(frames),
        "video_frames": len(timeline.frames),
        "rate": rate,
        "mean_rate": mean_rate,
        "nominal_rate": nominal if np.isfinite(nominal) else None,
        "variable_rate": timeline.variable,
        "video_bytes": job.video.stat().st_size,
    }
    if frames.by_clock or job.sound is not None:
        facts["missing_without_sound"] = True
    if job.sound is not None:
        facts["sound_bytes"] = job.sound.stat().st_size
    return facts

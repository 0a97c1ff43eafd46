"""Which of a video's tracks are used: the audio tracks of a container, the default one, and what is
said of the choice.

Conventions: audio tracks and channels count from 1, as players show them; seconds are on the
video's clock. Where a recipe names no track, it is the one that the container flags as the default,
the first of several such, and the first of all where none is flagged. Where a recipe names no
channel, the mean of all channels is taken. Both choices are reported for recordings that have more
than one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.data.problems import and_more
from va_search.errors import InputError
from va_search.extract.recipe import FeatureRecipe

NAMED = 4
"""Recordings that a remark names; the others are counted."""


@dataclass(frozen=True)
class AudioTrack:
    """One audio track: its `number` from 1, its layout and language as the container names them, ""
    where it does not, and where its first packet begins and its last one ends, in seconds."""

    number: int
    channels: int
    layout: str
    language: str
    default: bool
    begin: float
    end: float

    def __str__(self) -> str:
        unnamed = "mono" if self.channels == 1 else f"{self.channels} channels"
        about = [unnamed if not self.layout or self.layout.endswith("channels") else self.layout]
        if self.language:
            about.append(self.language)
        if self.default:
            about.append("default")
        return f"{self.number} ({', '.join(about)})"


def default_track(tracks: Sequence[AudioTrack]) -> AudioTrack | None:
    """The track that is used where a recipe names none; None where there is no track."""
    flagged = [track for track in tracks if track.default]
    candidates = flagged or list(tracks)
    return candidates[0] if candidates else None


def choose_track(tracks: Sequence[AudioTrack], number: int | None, video: Path) -> AudioTrack:
    """Audio track `number`, or the default one for None; InputError where the video has no such
    track."""
    if not tracks:
        raise InputError(
            f"{video}: no audio track, but audio feature sets are asked for. If it is silent, give it silence: ffmpeg "
            "-i IN -f lavfi -i anullsrc -c:v copy -shortest OUT"
        )
    track = default_track(tracks)
    if number is not None:
        track = next((one for one in tracks if one.number == number), None)
    if track is None:
        allowed = ", ".join(map(str, tracks))
        raise InputError(
            f"{video}: no audio track {number}, which the recipe names; it has {allowed}"
        )
    return track


def check_channel(track: AudioTrack, channel: int | None, video: Path) -> None:
    """InputError when the recipe names a channel that the track lacks; None is the mean of all."""
    if channel is not None and channel > track.channels:
        raise InputError(
            f"{video}: no channel {channel}, which the recipe names, in audio track {track}; "
            f"expected 1 to {track.channels}"
        )


def choose_picture(streams: Sequence[Any], frames: Mapping[int, int]) -> tuple[Any, int] | None:
    """The video stream that is the video, and how many others there are; None where there is none.

    Pictures that stand still (cover art, thumbnails) are no videos. Of several, the one flagged as
    the default is taken, else the first. `frames` are counted by stream index."""
    streams = [stream for stream in streams if not is_cover(stream) and frames.get(stream.index)]
    streams = [
        stream for stream in streams if frames[stream.index] > 1
    ] or streams  # a cover may not be flagged
    flagged = [stream for stream in streams if is_default(stream)]
    if not streams:
        return None
    return (flagged or streams)[0], len(streams) - 1


def is_cover(stream: Any) -> bool:
    """Whether the container flags a video stream as cover art, a thumbnail or another picture that
    stands still."""
    return bool(_flags(stream) & {"attached_pic", "timed_thumbnails", "still_image"})


def is_default(stream: Any) -> bool:
    """Whether the container flags a stream as the default of its kind."""
    return "default" in _flags(stream)


def _flags(stream: Any) -> set[str]:
    return {flag.name for flag in stream.disposition}


def sound_remarks(
    feature_sets: Sequence[FeatureRecipe], tracks: Mapping[str, Sequence[AudioTrack]]
) -> list[str]:
    """What to report of the choice of audio tracks and channels; `tracks` are those of each
    recording."""
    audio = [one for one in feature_sets if one.kind == "audio"]
    remarks: list[str] = []
    if any(one.track is None for one in audio):
        remarks += _track_remarks(tracks)
    chosen: dict[int, list[str]] = {}
    for name, of_recording in tracks.items():
        numbers = [one.track for one in audio if one.channel is None]
        used = {
            track.number: track
            for track in (_used(of_recording, number) for number in numbers)
            if track
        }
        most = max((track.channels for track in used.values()), default=0)
        if most > 1:
            chosen.setdefault(most, []).append(name)
    for channels, names in sorted(chosen.items()):
        remarks.append(
            f"sound has {channels} channels in {_named(names)}; the mean of the channels is used. To take one, say "
            "`channel: 1` in the recipe (1 is the first); `channel: mean` says that the mean is meant"
        )
    return remarks


def _track_remarks(tracks: Mapping[str, Sequence[AudioTrack]]) -> list[str]:
    """One remark for each set of tracks to choose from."""
    choices: dict[tuple[str, ...], list[str]] = {}
    for name, of_recording in tracks.items():
        if len(of_recording) > 1:
            choices.setdefault(tuple(map(str, of_recording)), []).append(name)
    remarks = []
    for described, names in choices.items():
        of_recording = tracks[names[0]]
        track = default_track(of_recording)
        assert track is not None
        reason = (
            "which its container flags as the default"
            if track.default
            else "the first, as none is the default"
        )
        remarks.append(
            f"{len(of_recording)} audio tracks in {_named(names)}: {', '.join(described)}; track {track.number} is "
            f"used, {reason}. To choose, say `track: {track.number}` or another in the recipe"
        )
    return remarks


def _used(tracks: Sequence[AudioTrack], number: int | None) -> AudioTrack | None:
    if number is None:
        return default_track(tracks)
    return next((track for track in tracks if track.number == number), None)


def _named(names: Sequence[str]) -> str:
    """ "recording v1", or "recordings v1, v2 (and 7 more)"."""
    kind = "recording" if len(names) == 1 else "recordings"
    return f"{kind} {', '.join(names[:NAMED])}{and_more(len(names) - NAMED)}"

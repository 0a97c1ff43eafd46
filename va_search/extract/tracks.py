"""Choice among a video's tracks: the audio track and channel that are heard, the video track that
is seen, and the remarks on choices that a recipe leaves open.

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
    where it does not; begin of its first packet and end of its last one, in seconds."""

    number: int
    channels: int
    layout: str
    language: str
    default: bool
    begin: float
    end: float

    def __str__(self) -> str:
        layout = self.layout
        if not layout or layout.endswith("channels"):  # FFmpeg knows no name for it
            layout = "mono" if self.channels == 1 else f"{self.channels} channels"
        words = [layout, self.language]
        if self.default:
            words.append("default")
        return f"{self.number} ({', '.join(filter(None, words))})"


def find_track(tracks: Sequence[AudioTrack], number: int | None) -> AudioTrack | None:
    """Audio track `number`, or for None the one that is used where a recipe names none; None where
    there is no such track."""
    if number is None:
        candidates = [track for track in tracks if track.default] or tracks
    else:
        candidates = [track for track in tracks if track.number == number]
    return next(iter(candidates), None)


def choose_track(tracks: Sequence[AudioTrack], number: int | None, video: Path) -> AudioTrack:
    """Audio track `number`, or the default one for None; InputError where the video has no such
    track."""
    if not tracks:
        raise InputError(
            f"{video}: no audio track, but audio feature sets are asked for. If it is silent, give "
            "it silence: ffmpeg -i IN -f lavfi -i anullsrc -c:v copy -shortest OUT; if its sound is "
            "in another file, give that file its name or say --sound; if recordings may lack sound, "
            "say `optional: true` in the recipe"
        )
    track = find_track(tracks, number)
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
    """The video stream that is the video, and the number of others; None where there is none.

    Pictures that stand still (cover art, thumbnails) are no videos. Of several, the one flagged as
    the default is taken, else the first. `frames` are counted by stream index."""
    videos = [stream for stream in streams if not is_cover(stream) and frames.get(stream.index)]
    # A cover may not be flagged: streams of a single frame count only where there are no others.
    videos = [stream for stream in videos if frames[stream.index] > 1] or videos
    if not videos:
        return None
    flagged = [stream for stream in videos if is_default(stream)]
    return (flagged or videos)[0], len(videos) - 1


def is_cover(stream: Any) -> bool:
    """True where the container flags a video stream as cover art, a thumbnail or another picture
    that stands still."""
    return bool(_flags(stream) & {"attached_pic", "timed_thumbnails", "still_image"})


def is_default(stream: Any) -> bool:
    """True where the container flags a stream as the default of its kind."""
    return "default" in _flags(stream)


def _flags(stream: Any) -> set[str]:
    return {flag.name for flag in stream.disposition}


def sound_remarks(
    feature_sets: Sequence[FeatureRecipe], tracks: Mapping[str, Sequence[AudioTrack]]
) -> list[str]:
    """Remarks on the choice of audio tracks and channels; `tracks` are those of each recording."""
    audio = [feature_set for feature_set in feature_sets if feature_set.kind == "audio"]
    remarks: list[str] = []
    if any(feature_set.track is None for feature_set in audio):
        remarks += _track_remarks(tracks)
    numbers = {feature_set.track for feature_set in audio if feature_set.channel is None}
    by_channels: dict[int, list[str]] = {}
    # One remark for each number of channels, with the recordings that have so many.
    for name, recording_tracks in tracks.items():
        channels = 0
        for number in numbers:
            track = find_track(recording_tracks, number)
            if track is not None:
                channels = max(channels, track.channels)
        if channels > 1:
            by_channels.setdefault(channels, []).append(name)
    for channels, names in sorted(by_channels.items()):
        remarks.append(
            f"sound has {channels} channels in {_named(names)}; the mean of the channels is used. "
            "To take one, say `channel: 1` in the recipe (1 is the first); `channel: mean` says "
            "that the mean is meant"
        )
    return remarks


def _track_remarks(tracks: Mapping[str, Sequence[AudioTrack]]) -> list[str]:
    """One remark for each set of tracks to choose from."""
    choices: dict[tuple[str, ...], list[str]] = {}
    for name, recording_tracks in tracks.items():
        if len(recording_tracks) > 1:
            choices.setdefault(tuple(map(str, recording_tracks)), []).append(name)
    remarks = []
    for described, names in choices.items():
        track = find_track(tracks[names[0]], None)
        assert track is not None
        reason = "the first, as none is the default"
        if track.default:
            reason = "which its container flags as the default"
        remarks.append(
            f"{len(described)} audio tracks in {_named(names)}: {', '.join(described)}; track "
            f"{track.number} is used, {reason}. To choose, say `track: {track.number}` or another "
            "in the recipe"
        )
    return remarks


def _named(names: Sequence[str]) -> str:
    """ "recording v1", or "recordings v1, v2 (and 7 more)"."""
    kind = "recording" if len(names) == 1 else "recordings"
    return f"{kind} {', '.join(names[:NAMED])}{and_more(len(names) - NAMED)}"

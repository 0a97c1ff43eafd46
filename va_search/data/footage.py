"""What `data check` tells of recordings extracted from videos: lengths that differ, rates, silence,
missing faces.

Conventions: from the notes that extraction keeps in the manifest, lengths in seconds and rates in
frames per second; nothing where a store was imported. The first are the worst, and no more than
`MOST` recordings of a kind are named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from va_search.data.store import Store

APART = 0.5
"""Seconds by which lengths may differ before it is told."""
NOMINAL = 0.001
"""Share by which a measured rate may lie away from the declared one."""
MOST = 10

Notes = dict[str, Any]
Told = tuple[float, str]


def footage_findings(store: Store, notes: dict[str, Notes]) -> Iterator[tuple[str, str, str]]:
    """(level, where, text) of what an audit should tell of the notes, by recording."""
    if not notes:
        return
    for kind in (_silent, _sound, _annotation, _rate, _variable):
        told = [
            (found, name) for name, entry in notes.items() if (found := kind(entry)) is not None
        ]
        told.sort(key=lambda one: (-one[0][0], one[1]))
        for (_, text), name in told[:MOST]:
            yield "warning", f"recording {name}", text
        if len(told) > MOST:
            yield (
                "note",
                "videos",
                f"{len(told) - MOST} more recordings of the kind of {told[MOST][1]}: {told[MOST][0][1]}",
            )
    yield "note", "videos", _faces(store)


def _faces(store: Store) -> str:
    without = int((~store.valid).sum())
    return f"{without:,} of {store.frames:,} frames have no face ({without / max(1, store.frames):.1%})"


def _silent(entry: Notes) -> Told | None:
    return (0.0, "its video has no audio track") if entry["audio_seconds"] is None else None


def _sound(entry: Notes) -> Told | None:
    """Sound that ends before the video, or after it."""
    if entry["audio_seconds"] is None:
        return None
    lacking = entry["video_seconds"] - (entry["audio_seconds"] + entry["audio_offset"])
    if abs(lacking) <= APART:
        return None
    side = "shorter than" if lacking > 0 else "longer than"
    held = "; frames after it take its last features" if lacking > 0 else ""
    text = f"its sound is {entry['audio_seconds']:.1f} s, {abs(lacking):.1f} s {side} its video of "
    return abs(lacking), f"{text}{entry['video_seconds']:.1f} s{held}"


def _annotation(entry: Notes) -> Told | None:
    """Annotations that end before the video (they can't end more than a second after it)."""
    lacking = entry["video_seconds"] - entry["annotation_seconds"]
    if abs(lacking) <= APART:
        return None
    text = (
        f"its annotation is {entry['annotation_seconds']:.1f} s ({entry['rows']} rows), its video"
    )
    return abs(lacking), f"{text} {entry['video_seconds']:.1f} s ({entry['video_frames']} frames)"


def _rate(entry: Notes) -> Told | None:
    """A measured rate that is not the declared one."""
    if entry["nominal_rate"] is None or abs(entry["rate"] / entry["nominal_rate"] - 1) <= NOMINAL:
        return None
    away = abs(entry["rate"] / entry["nominal_rate"] - 1)
    return (
        away,
        f"declares {entry['nominal_rate']:g} frames per second, has {entry['rate']:.3f} by its time stamps",
    )


def _variable(entry: Notes) -> Told | None:
    """Frames that are not evenly spaced: holes, dropped frames, a camera that slows down."""
    if not entry["variable_rate"]:
        return None
    if "mean_rate" not in entry:  # stores made before rates were those of the regular stretches
        return 0.0, f"its frame rate varies; {entry['rate']:.3f} on average"
    regular, mean = entry["rate"], entry["mean_rate"]
    text = f"its frames are not evenly spaced: {regular:.3f} per second where they are regular"
    return abs(mean / regular - 1), f"{text}, {mean:.3f} over the whole video"

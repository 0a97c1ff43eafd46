"""A store's side of a page: its recordings with their clocks, annotations, raters and missing values.

Conventions: as in `shown`. A clock counts in seconds whatever unit the store's time column has. Where
that column goes back within a recording, or has no time for some frame, frames are at i / rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from va_search.data.arrays import Flags, Floats, Values
from va_search.data.clock import PER_SECOND, RecordingTimes
from va_search.data.manifest import MANIFEST
from va_search.data.readers import TIME_OF_DAY
from va_search.data.store import Recording, Store
from va_search.data.time_texts import EXAMPLE, written_times
from va_search.errors import InputError
from va_search.files import file_name_of, read_json
from va_search.look.shown import ByTarget, Clock, Curves, RatersBand, ShownRecording, Span

REGULAR = 1e-3
"""Share of a frame interval by which frames of a regular clock may be off."""
FACELESS = "no face"
"""Name of the stretches whose features stand in for frames without a face."""


class StoreSide:
    """Everything that a page shows of a store but predictions."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.notes = _notes(store)

    @cached_property
    def feature_sets(self) -> tuple[str, ...]:
        """Names of the feature sets, and of the stretches without a face where there are any."""
        names = tuple(self.store.feature_sets)
        if self.store.valid.all():
            return names
        return (*names, FACELESS)

    def recording(self, recording: Recording, split: str) -> ShownRecording:
        """A recording as the list has it; `split`: what it is called there."""
        return ShownRecording(
            name=recording.name,
            split=split,
            clock=self.clock(recording),
            subject=recording.subject,
            stimulus=recording.stimulus,
            media_names=(*stems_of(recording.name), recording.video),
        )

    def clock(self, recording: Recording) -> Clock:
        """The times of a recording's frames."""
        rate = recording.frames_per_second
        column = self.store.time_column
        written = self.store.times[recording.span]
        is_complete = column is not None and len(written) > 0 and not np.isnan(written).any()
        # A clock that goes back says nothing of the order in which frames are drawn.
        if column is None or not is_complete or (np.diff(written) <= 0).any():
            return Clock(recording.frames, rate)
        units_per_second = PER_SECOND.get(self.unit, rate)
        seconds = written / units_per_second
        return clock_of(seconds, rate, self._media_offset(recording, seconds))

    @cached_property
    def unit(self) -> str:
        """Unit of the time column: the one in which the longest recording's times step nearest to
        its rate (a single frame says nothing of it)."""
        column = self.store.time_column or ""
        for recording in sorted(self.store.recordings, key=lambda recording: -recording.frames):
            written = self.store.times[recording.span]
            if len(written) and not np.isnan(written).any():
                rate = recording.frames_per_second
                return RecordingTimes.of_store(written, column, rate).unit
        return "seconds"

    def _media_offset(self, recording: Recording, seconds: Floats) -> float:
        """Seconds on the clock of the recording's video at 0 of its frames' clock, as far as the
        import noted something of it: `seconds` of the frames are taken for the video's otherwise."""
        note = self.notes.get(recording.name, {})
        to_beginning = -float(seconds[0])
        if TIME_OF_DAY.fullmatch(str(note.get(EXAMPLE, ""))):
            # The time of day is no clock of a video, which begins with its recording.
            return to_beginning
        if self.unit == "frames" and to_beginning < 0.0:
            # Frame numbers count from 1: frame 1 is the video's at 0 seconds.
            return -1.0 / recording.frames_per_second
        if "video_frames" not in note:
            return 0.0
        # Features were extracted from the video. A player's clock begins with the first of picture and
        # sound, and `audio_offset` is of the sound from the first picture on.
        sound_ahead = max(0.0, -float(note.get("audio_offset") or 0.0))
        if note.get("missing_without_sound"):
            return sound_ahead
        # The frames are the video's own, on the file's clock, which need not begin at 0.
        return sound_ahead + to_beginning

    def curves(self, recording: Recording, series: Mapping[int, ByTarget]) -> Curves:
        """A recording's arrays, with its predictions by series and target."""
        return Curves(
            annotation=self.annotation(recording),
            raters=self.raters(recording),
            series=series,
            missing=self.missing(recording),
            keys=self.keys(recording),
        )

    def keys(self, recording: Recording) -> list[str] | None:
        """(frames,) texts of the time column as a submission has them; None without such a column."""
        if self.store.time_column is None:
            return None
        example = self.notes.get(recording.name, {}).get(EXAMPLE)
        written = self.store.times[recording.span]
        return written_times(written, None if example is None else str(example))

    def annotation(self, recording: Recording) -> dict[str, Values]:
        """(frames,) labels by target, of the targets that have one in this recording."""
        labels = self.store.annotations[recording.span]
        by_target: dict[str, Values] = {}
        for column, target in enumerate(self.store.target_names):
            if not np.isnan(labels[:, column]).all():
                by_target[target] = labels[:, column]
        return by_target

    def raters(self, recording: Recording) -> dict[str, RatersBand]:
        """The raters' spread around the annotation, by target, where the store keeps it."""
        spreads, counts = self.store.spread, self.store.raters
        if spreads is None or counts is None:
            return {}
        bands = {}
        for column, target in enumerate(self.store.targets):
            spread = spreads[recording.span, column]
            known = ~np.isnan(spread)
            if not known.any():
                continue
            labels = self.store.annotations[recording.span, column]
            numbers = counts[recording.span, column][known]
            least, most = int(numbers.min()), int(numbers.max())
            # A frame may lack the label of some raters.
            raters = f"{least} to {most} raters"
            if least == most:
                raters = f"{most} raters"
            low = np.clip(labels - spread, np.float32(target.low), None)
            high = np.clip(labels + spread, None, np.float32(target.high))
            bands[target.name] = RatersBand(
                low, high, f"annotation ± standard deviation of {raters}"
            )
        return bands

    def missing(self, recording: Recording) -> dict[str, list[Span]]:
        """Stretches in which a feature set has a missing value, and those without a face."""
        stretches = {}
        for name, feature_set in self.store.feature_sets.items():
            if feature_set.missing:
                values = self.store.features(name)[recording.span]
                stretches[name] = spans_of(np.isnan(values).max(axis=1))
        stretches[FACELESS] = spans_of(~self.store.valid[recording.span])
        return {name: spans for name, spans in stretches.items() if spans}


def stems_of(recording: str) -> tuple[str, ...]:
    """Names without ending that a recording's file may have: its own, and as `file_name_of` writes
    it where that is another one and not too long."""
    try:
        written = file_name_of(recording)
    except InputError:
        return (recording,)
    return tuple(dict.fromkeys((recording, str(written))))


def _notes(store: Store) -> dict[str, dict[str, Any]]:
    """Notes of the import on each recording, by its name; none of a store in memory."""
    manifest = store.path / MANIFEST
    if not manifest.is_file():
        return {}
    notes: dict[str, dict[str, Any]] = {}
    for name, note in read_json(manifest).get("notes", {}).items():
        if isinstance(note, dict):
            notes[name] = note
    return notes


def clock_of(seconds: Floats, rate: float | None, media_offset: float = 0.0) -> Clock:
    """The clock of frames at these (frames,) seconds, which increase: regular where `rate`, or the
    mean of the steps, gives them."""
    frames = len(seconds)
    if not frames:
        return Clock(0, rate, media_offset=media_offset)
    start = float(seconds[0])
    rates = [] if rate is None else [rate]
    if frames > 1:
        # A declared rate may be rounded: 23.98 for 24000/1001.
        rates.append((frames - 1) / (float(seconds[-1]) - start))
    for candidate in rates:
        regular = Clock(frames, candidate, start, media_offset=media_offset)
        if np.abs(regular.seconds - seconds).max() <= REGULAR / candidate:
            return regular
    times: Floats = np.asarray(seconds, dtype=np.float64)
    return Clock(frames, rates[-1] if rates else None, start, times, media_offset)


def spans_of(flags: Flags) -> list[Span]:
    """The stretches of True in (frames,) flags."""
    # A False at either end, so that every stretch begins and ends.
    padded = np.zeros(len(flags) + 2, dtype=np.int8)
    padded[1:-1] = flags
    edges = np.diff(padded)
    starts = np.flatnonzero(edges == 1).tolist()
    ends = np.flatnonzero(edges == -1).tolist()
    return list(zip(starts, ends, strict=True))


def split_names(recordings: Iterable[Recording], fold: str | int) -> dict[str, str]:
    """The list's word for each recording's part in a fold ("official", a fold's number, "all"), by
    name: its own split on the official one, else `fold 2`; test recordings are `test` always."""
    words = {}
    for recording in recordings:
        word = recording.split
        if recording.split != "test" and fold != "official" and recording.fold is not None:
            word = f"fold {recording.fold}"
        words[recording.name] = word
    return words

"""What a page shows: recordings, series over their frames, and the words at its top.

Conventions: arrays are (frames,) of one recording, on the target's own scale; NaN in an annotation
is a frame without a label, in a series a frame without a prediction. Times are seconds on the
recording's own clock. The first series is the main one: scores and sparklines are its."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from va_search.data.arrays import Floats, Values
from va_search.targets import Target

SeriesKind = Literal["ensemble", "trial", "outside", "prediction"]
ShownKind = Literal["ensemble", "study", "predictions"]
ByTarget = Mapping[str, Values]
"""(frames,) values by target."""
Span = tuple[int, int]
"""The first frame of a stretch, and the one behind its last."""
NO_RATE = 1.0
"""Frames per second of a recording that says nothing of its times."""


@dataclass(frozen=True)
class Series:
    """One model's predictions: its name, what it is, and the targets that it predicts.

    `weights` by target, of a member of an ensemble. `detail`: its settings in a line."""

    title: str
    kind: SeriesKind
    targets: tuple[str, ...]
    weights: Mapping[str, float] | None = None
    detail: str = ""


@dataclass(frozen=True)
class RatersBand:
    """The raters around an annotation: (frames,) lower and upper ends, NaN where they are not known,
    and words on what they are."""

    low: Values
    high: Values
    text: str


@dataclass(frozen=True)
class Clock:
    """The times of a recording's frames, in seconds: frame i at `start` + i / `rate`, or at
    `times`[i] where frames are not regular.

    `media_offset`: seconds on the clock of the video or sound at this clock's 0."""

    frames: int
    rate: float | None
    start: float = 0.0
    times: Floats | None = None
    media_offset: float = 0.0

    @cached_property
    def seconds(self) -> Floats:
        """(frames,) seconds of each frame."""
        if self.times is not None:
            return self.times
        seconds: Floats = self.start + np.arange(self.frames) / (self.rate or NO_RATE)
        return seconds

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last one."""
        if not self.frames:
            return 0.0
        step = 1.0 / (self.rate or NO_RATE)
        return float(self.seconds[-1] - self.seconds[0]) + step


@dataclass(frozen=True)
class ShownRecording:
    """One recording of the list. `split`: of the store, or `fold 2`. `media_names`: stems under which
    its video or sound may be found, the likeliest first."""

    name: str
    split: str
    clock: Clock
    subject: str | None = None
    stimulus: str | None = None
    media_names: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return self.clock.frames


@dataclass(frozen=True)
class Curves:
    """The arrays of one recording, by target: its annotation and raters, and those of each series
    that predicts it, by the series' place in `Shown.series`; stretches in which a feature set is
    missing, by its name. `keys`: (frames,) texts of the store's time column, as a submission has
    them."""

    annotation: ByTarget = field(default_factory=dict)
    raters: Mapping[str, RatersBand] = field(default_factory=dict)
    series: Mapping[int, ByTarget] = field(default_factory=dict)
    missing: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    keys: Sequence[str] | None = None


@dataclass(frozen=True)
class Shown:
    """Everything that a page shows; `curves(i)` reads the arrays of recording i, so that one recording
    at a time is in memory.

    `verdict`: rows of a label and a sentence. `scores_are`: a sentence on what the shown scores were
    measured on. `remarks`: what a user should know of how it was made. `time_column`:
    the store's, None where it has none."""

    title: str
    kind: ShownKind
    scores_are: str
    targets: tuple[Target, ...]
    series: tuple[Series, ...]
    recordings: tuple[ShownRecording, ...]
    curves: Callable[[int], Curves]
    feature_sets: tuple[str, ...] = ()
    verdict: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    time_column: str | None = None

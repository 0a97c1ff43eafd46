"""One recording from its video to a part of the store: the work of one worker, recording after
recording.

Conventions: a worker loads weights once and keeps them. What is wrong with a recording is told as
problems and stops nothing else; a full disk stops the job. A part is written whole, last."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import read_labels
from va_search.data.draft import Draft, Part
from va_search.errors import InputError, JobError
from va_search.extract.crops import find_crops
from va_search.extract.extractor import Image
from va_search.extract.media import crop_files, read_crop, read_sound, video_frames, windows
from va_search.extract.pooling import Pooler
from va_search.extract.recipe import FeatureRecipe, Recipe
from va_search.extract.sources import Job
from va_search.extract.timeline import Timeline, read_timeline
from va_search.extract.tracks import default_track

Features = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """What came of one recording: `problems` of its input (none: its part is written), `stop` what
    ends the whole job.

    `seconds` were spent on it, of which `extracting` in the extractors; `footage` is its video's
    length in seconds. `died`: the process that had it, and more is not known."""

    index: int
    name: str
    problems: tuple[str, ...] = ()
    stop: str | None = None
    seconds: float = 0.0
    extracting: float = 0.0
    footage: float = 0.0
    died: bool = False


@dataclass
class Clock:
    """Seconds spent in the extractors themselves."""

    extracting: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is done inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.extracting += time.perf_counter() - began


@dataclass(frozen=True)
class FrameTimes:
    """When the annotated frames of a recording stand: (frames,) `seconds`, the frames before which
    time jumps, and the usual step in seconds."""

    seconds: NDArray[np.float64]
    gaps: tuple[int, ...]
    step: float

    def __len__(self) -> int:
        return len(self.seconds)

    def pooler(self, one: FeatureRecipe) -> Pooler:
        """What brings the windows or images of a feature set to these frames."""
        return Pooler(
            self.seconds,
            mean=one.mean,
            seconds=one.seconds,
            delay=one.delay,
            gaps=self.gaps,
            usual=self.step,
        )


@dataclass
class Worker:
    """Extracts recordings by their index, one after another; `device` is cpu or cuda.

    Weights are loaded when the first recording needs them.
    """

    recipe: Recipe
    jobs: Sequence[Job]
    draft: Draft
    device: str = "cpu"
    _loaded: dict[str, Any] = field(default_factory=dict)

    def __call__(self, index: int) -> Outcome:
        """Extract one recording and write its part."""
        job, clock, began = self.jobs[index], Clock(), time.perf_counter()
        footage, problems, stop = 0.0, [], None
        try:
            timeline = read_timeline(job.video)
            footage = timeline.seconds
            self.draft.add(index, self.part(job, timeline, clock))
        except InputError as error:
            problems = [f"recording {job.name!r}: {problem}" for problem in error.problems]
        except JobError as error:
            stop = str(error)
        except MemoryError as error:
            stop = f"recording {job.name!r}: out of memory ({error}); fewer --workers, or a smaller batch in the recipe"
        except OSError as error:
            stop = (
                f"recording {job.name!r}: {error.filename or self.draft.folder}: {error.strerror or error}; when that "
                "is put right, the same command goes on from what is finished"
            )
        except Exception as error:  # a defect, or a library's: the others go on
            problems = [
                f"recording {job.name!r}: {type(error).__name__}: {error}\n{traceback.format_exc()}"
            ]
        return Outcome(
            index, job.name, tuple(problems), stop, time.perf_counter() - began, clock.extracting, footage
        )  # fmt: skip

    def part(self, job: Job, timeline: Timeline, clock: Clock) -> Part:
        """All feature sets of one recording; InputError with everything wrong in it."""
        annotation = None if job.rows is not None else read_labels(job.labels)
        rows = job.rows if annotation is None else len(annotation)
        assert rows is not None
        times = timeline.rows(rows, job.video, job.labels)
        frames = FrameTimes(times, timeline.gaps(rows), timeline.step)
        features: Features = {}
        valid = np.ones(rows, dtype=bool)
        problems: list[str] = []
        for step in (self._sound, self._frames, self._crops):
            try:
                found, seen = step(job, timeline, frames, clock)
                features |= found
                valid &= seen
            except InputError as error:
                problems += error.problems
        problems += [text for name, values in features.items() for text in not_finite(name, values)]
        if problems:
            raise InputError(*problems)
        ordered = {one.name: features[one.name] for one in self.recipe.feature_sets}
        number = next((one.track for one in self.recipe.feature_sets if one.kind == "audio"), None)
        return Part(
            ordered,
            annotation,
            times,
            valid,
            frames.gaps,
            notes=notes(timeline, times, job.video, number),
        )

    def _extractor(self, one: FeatureRecipe) -> Any:
        if one.name not in self._loaded:
            made = one.build()
            made.prepare(self.device)
            self._loaded[one.name] = made
        return self._loaded[one.name]

    def _of(self, kind: str, images: str = "") -> list[FeatureRecipe]:
        return [
            one for one in self.recipe.feature_sets if one.kind == kind and one.images == images
        ]

    def _sound(
        self, job: Job, timeline: Timeline, times: FrameTimes, clock: Clock
    ) -> tuple[Features, NDArray[np.bool_]]:
        """Audio feature sets; the sound is decoded once for each sample rate, track and channel."""
        features: Features = {}
        asked: dict[tuple[int, int | None, int | None], list[FeatureRecipe]] = {}
        for one in self._of("audio"):
            key = (self._extractor(one).rate, one.track, one.one_channel)
            asked.setdefault(key, []).append(one)
        for (rate, number, channel), sets in asked.items():
            sound = read_sound(
                job.video, timeline, rate, self.draft.folder, number=number, channel=channel
            )
            for one in sets:
                pooler = times.pooler(one)
                pieces = windows(sound, self._extractor(one))
                while True:
                    with clock.running():
                        piece = next(pieces, None)
                    if piece is None:
                        break
                    pooler.add(piece.centres, piece.values)
                pooled = pooler.finish()
                if pooled is None:
                    seconds = len(sound.samples) / rate
                    raise InputError(
                        f"{job.video}: {seconds:.3f} s of sound are too short for {one.extractor!r}"
                    )
                features[one.name] = pooled
        return features, np.ones(len(times), dtype=bool)

    def _frames(
        self, job: Job, timeline: Timeline, times: FrameTimes, clock: Clock
    ) -> tuple[Features, NDArray[np.bool_]]:
        """Image feature sets of the video's whole pictures."""
        sets = self._of("image", "frames")
        if not sets:
            return {}, np.ones(len(times), dtype=bool)
        frames = (
            (place, image)
            for place, image in video_frames(job.video, timeline)
            if place < len(times)
        )
        return self._images(sets, frames, times, clock, job.video)

    def _crops(
        self, job: Job, timeline: Timeline, times: FrameTimes, clock: Clock
    ) -> tuple[Features, NDArray[np.bool_]]:
        """Image feature sets of face crops; frames without one are not valid."""
        sets = self._of("image", "crops")
        if not sets:
            return {}, np.ones(len(times), dtype=bool)
        assert job.crops is not None
        if job.finds_crops:
            find_crops(job.video, timeline, job.crops, self._finder())
        files = crop_files(job.crops, len(times), len(timeline.frames), job.video)
        crops = ((frame, read_crop(path)) for frame, path in files)
        return self._images(sets, crops, times, clock, job.crops)

    def _finder(self) -> Any:
        if "faces:" not in self._loaded:  # no name of a feature set has a colon
            finder = self.recipe.finder()
            finder.prepare(self.device)
            self._loaded["faces:"] = finder
        return self._loaded["faces:"]

    def _images(
        self,
        sets: list[FeatureRecipe],
        images: Iterator[tuple[int, Image]],
        times: FrameTimes,
        clock: Clock,
        where: Path,
    ) -> tuple[Features, NDArray[np.bool_]]:
        """Rows of images at their frames' times, pooled; and which frames had an image."""
        poolers = {one.name: times.pooler(one) for one in sets}
        seen = np.zeros(len(times), dtype=bool)
        for places, batch in _batches(images, max(self._extractor(one).batch for one in sets)):
            seen[places] = True
            for one in sets:
                extractor = self._extractor(one)
                for start in range(0, len(batch), extractor.batch):
                    with clock.running():
                        values = extractor.images(batch[start : start + extractor.batch])
                    poolers[one.name].add(
                        times.seconds[places[start : start + extractor.batch]], values
                    )
        if not seen.any():
            raise InputError(f"{where}: no image for any of the {len(times)} frames")
        return {name: pooler.finish() for name, pooler in poolers.items()}, seen  # type: ignore[misc]


def _batches(
    images: Iterator[tuple[int, Image]], size: int
) -> Iterator[tuple[list[int], list[Image]]]:
    places: list[int] = []
    batch: list[Image] = []
    for place, image in images:
        places.append(place)
        batch.append(image)
        if len(batch) == size:
            yield places, batch
            places, batch = [], []
    if batch:
        yield places, batch


def not_finite(name: str, values: NDArray[np.float32]) -> list[str]:
    """What is wrong with (frames, dim) values that hold NaN or infinities; nothing when all are
    finite."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return []
    row, column = map(int, np.argwhere(bad)[0])
    return [
        f"feature set {name!r}: {int(bad.sum())} values are NaN or infinite, the first {values[row, column]} in frame "
        f"{row + 1}, column {column}"
    ]


def notes(
    timeline: Timeline, times: NDArray[np.float64], video: Path, number: int | None = None
) -> dict[str, Any]:
    """What `data check` tells of a recording's lengths and rates, in seconds and frames per second;
    of the audio track that was used, the recipe's `number` or the default; and the size of its
    video in bytes, which tells whether it was replaced."""
    tracks = timeline.tracks
    named = [track for track in tracks if track.number == number]
    track = named[0] if named else default_track(tracks)
    begin = float(timeline.frames[0])
    return {
        "annotation_seconds": float(times[-1] - times[0]) + timeline.step,
        "video_seconds": timeline.end - begin,
        "audio_seconds": None if track is None else track.end - track.begin,
        "audio_offset": None if track is None else track.begin - begin,
        "audio_track": None if track is None else track.number,
        "audio_tracks": len(tracks),
        "audio_channels": None if track is None else track.channels,
        "rows": len(times),
        "video_frames": len(timeline.frames),
        "rate": timeline.rate,
        "mean_rate": timeline.mean_rate,
        "nominal_rate": timeline.nominal if np.isfinite(timeline.nominal) else None,
        "variable_rate": timeline.variable,
        "video_bytes": video.stat().st_size,
    }

"""One recording from its video to a part of the store: the work of one worker, recording after
recording.

Conventions: a worker loads weights once and keeps them. Problems of one recording stop no other; a
full disk stops the job. A part is written whole, last."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import read_labels
from va_search.data.draft import Draft, Part
from va_search.data.resampling import Pooler
from va_search.errors import InputError, JobError
from va_search.extract.extractor import Image
from va_search.extract.pictures import crop_files, find_crops, read_crop, video_frames
from va_search.extract.recipe import ExtractionRecipe, FeatureRecipe
from va_search.extract.sound import read_sound, windows
from va_search.extract.sources import Job
from va_search.extract.timeline import Timeline, read_timeline
from va_search.extract.tracks import find_track

FACES = "faces:"
"""Key of the face finder among a worker's extractors; no name of a feature set has a colon."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class RecordingOutcome:
    """Result of one recording: `problems` of its input (none: its part is written), `stop`, the
    reason to end the whole job.

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
class AnnotatedFrames:
    """The annotated frames of a recording: (frames,) `seconds`, the frames before which time jumps,
    the usual step in seconds; their features so far, and which of them are `valid`: they have a
    face, where faces are looked at."""

    seconds: NDArray[np.float64]
    gaps: tuple[int, ...]
    step: float
    valid: NDArray[np.bool_]
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seconds)

    def pooler(self, feature_set: FeatureRecipe) -> Pooler:
        """A pooler that brings the windows or images of a feature set to these frames."""
        # A single frame stands for the whole video: its interval has no end.
        usual = self.step if len(self) > 1 else np.inf
        return Pooler(
            self.seconds,
            mean=feature_set.mean,
            seconds=feature_set.seconds,
            delay=feature_set.delay,
            gaps=self.gaps,
            usual=usual,
        )


@dataclass
class Worker:
    """Extracts recordings by their index, one after another; `device` is cpu or cuda.

    Weights are loaded when the first recording needs them."""

    recipe: ExtractionRecipe
    jobs: Sequence[Job]
    draft: Draft
    device: str = "cpu"
    _extractors: dict[str, Any] = field(default_factory=dict)
    _extracting: float = 0.0

    def __call__(self, index: int) -> RecordingOutcome:
        """Extract one recording and write its part."""
        job, began = self.jobs[index], time.perf_counter()
        self._extracting, footage = 0.0, 0.0
        problems: list[str] = []
        stop = None
        try:
            timeline = read_timeline(job.video)
            footage = timeline.seconds
            self.draft.add(index, self._part(job, timeline))
        except InputError as error:
            problems = [f"recording {job.name!r}: {problem}" for problem in error.problems]
        except JobError as error:
            stop = str(error)
        except MemoryError as error:
            stop = (
                f"recording {job.name!r}: out of memory ({error}); fewer --workers, or a smaller "
                "batch in the recipe"
            )
        except OSError as error:
            stop = (
                f"recording {job.name!r}: {error.filename or self.draft.folder}: "
                f"{error.strerror or error}; when that is put right, the same command goes on from "
                "what is finished"
            )
        except Exception as error:  # a defect, or a library's: the others go on
            reason = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            problems = [f"recording {job.name!r}: {reason}"]
        seconds = time.perf_counter() - began
        return RecordingOutcome(
            index, job.name, tuple(problems), stop, seconds, self._extracting, footage
        )

    def _part(self, job: Job, timeline: Timeline) -> Part:
        """All feature sets of one recording; InputError with everything wrong in it."""
        annotation, rows = None, job.rows
        if rows is None:
            annotation = read_labels(job.labels)
            rows = len(annotation)
        times = timeline.rows(rows, job.video, job.labels)
        valid = np.ones(rows, dtype=bool)
        frames = AnnotatedFrames(times, timeline.gaps(rows), timeline.step, valid)
        problems: list[str] = []
        # Sound and pictures fail each on their own: a user sees all that is wrong at once.
        for extract in (self._sound, self._whole_pictures, self._crops):
            try:
                extract(job, timeline, frames)
            except InputError as error:
                problems += error.problems
        for name, values in frames.features.items():
            problems += not_finite(name, values)
        if problems:
            raise InputError(*problems)
        feature_sets = self.recipe.feature_sets
        number = next((chosen.track for chosen in feature_sets if chosen.kind == "audio"), None)
        return Part(
            {one.name: frames.features[one.name] for one in feature_sets},
            annotation,
            times,
            frames.valid,
            frames.gaps,
            notes=notes(timeline, times, job.video, number),
        )

    def _sound(self, job: Job, timeline: Timeline, frames: AnnotatedFrames) -> None:
        """Add audio feature sets; the sound is decoded once for each sample rate, track and
        channel."""
        heard: dict[tuple[int, int | None, int | None], list[FeatureRecipe]] = {}
        for feature_set in self._feature_sets("audio"):
            rate = self._extractor(feature_set).rate
            key = (rate, feature_set.track, feature_set.one_channel)
            heard.setdefault(key, []).append(feature_set)
        for (rate, number, channel), feature_sets in heard.items():
            sound = read_sound(
                job.video, timeline, rate, self.draft.folder, number=number, channel=channel
            )
            for feature_set in feature_sets:
                pooler = frames.pooler(feature_set)
                pieces = windows(sound, self._extractor(feature_set))
                # `next` runs the extractor: it is what is timed, the pooling is not.
                while (piece := self._timed(next, pieces, None)) is not None:
                    pooler.add(piece.centres, piece.values)
                pooled = pooler.finish()
                if pooled is None:
                    raise InputError(
                        f"{job.video}: {len(sound.samples) / rate:.3f} s of sound are too short "
                        f"for {feature_set.extractor!r}"
                    )
                frames.features[feature_set.name] = pooled

    def _whole_pictures(self, job: Job, timeline: Timeline, frames: AnnotatedFrames) -> None:
        """Add image feature sets of the video's whole pictures."""
        feature_sets = self._feature_sets("image", "frames")
        if feature_sets:
            pictures = video_frames(job.video, timeline)
            # A video may have a second more than its annotation.
            annotated = ((index, image) for index, image in pictures if index < len(frames))
            self._images(feature_sets, annotated, frames, job.video)

    def _crops(self, job: Job, timeline: Timeline, frames: AnnotatedFrames) -> None:
        """Add image feature sets of face crops; frames without one are not valid."""
        feature_sets = self._feature_sets("image", "crops")
        if not feature_sets:
            return
        assert job.crops is not None
        if job.finds_crops:
            finder = self._loaded(FACES, self.recipe.finder)
            find_crops(job.video, timeline, job.crops, finder)
        files = crop_files(job.crops, len(frames), len(timeline.frames), job.video)
        crops = ((frame, read_crop(path)) for frame, path in files)
        self._images(feature_sets, crops, frames, job.crops)

    def _images(
        self,
        feature_sets: list[FeatureRecipe],
        images: Iterator[tuple[int, Image]],
        frames: AnnotatedFrames,
        source: Path,
    ) -> None:
        """Add feature sets of (frame, image); frames without an image are not valid."""
        poolers = {feature_set.name: frames.pooler(feature_set) for feature_set in feature_sets}
        seen = np.zeros(len(frames), dtype=bool)
        # Images are read once, in batches of the extractor that takes most of them.
        most = max(self._extractor(feature_set).batch for feature_set in feature_sets)
        while batch := list(islice(images, most)):
            indices = np.array([index for index, _ in batch])
            pictures = [image for _, image in batch]
            seen[indices] = True
            for feature_set in feature_sets:
                extractor = self._extractor(feature_set)
                for start in range(0, len(batch), extractor.batch):
                    part = slice(start, start + extractor.batch)
                    values = self._timed(extractor.images, pictures[part])
                    poolers[feature_set.name].add(frames.seconds[indices[part]], values)
        for name, pooler in poolers.items():
            pooled = pooler.finish()
            if pooled is None:
                raise InputError(f"{source}: no image for any of the {len(frames)} frames")
            frames.features[name] = pooled
        frames.valid &= seen

    def _feature_sets(self, kind: str, images: str = "") -> list[FeatureRecipe]:
        return [
            feature_set
            for feature_set in self.recipe.feature_sets
            if feature_set.kind == kind and feature_set.images == images
        ]

    def _extractor(self, feature_set: FeatureRecipe) -> Any:
        return self._loaded(feature_set.name, feature_set.build)

    def _loaded(self, key: str, build: Callable[[], Any]) -> Any:
        """An extractor or face finder, built with its weights when it is first needed."""
        if key not in self._extractors:
            extractor = build()
            extractor.prepare(self.device)
            self._extractors[key] = extractor
        return self._extractors[key]

    def _timed(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """The call's result; its seconds count as extracting."""
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self._extracting += time.perf_counter() - began


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


def notes(
    timeline: Timeline, times: NDArray[np.float64], video: Path, number: int | None
) -> dict[str, Any]:
    """A recording's lengths in seconds and rates in frames per second, for `data check`; the audio
    track that was used, the recipe's `number` or the default; and the size of its video in bytes,
    by which a video that was replaced is known."""
    tracks = timeline.tracks
    begin = float(timeline.frames[0])
    audio: dict[str, float | None] = dict.fromkeys(
        ("audio_seconds", "audio_offset", "audio_track", "audio_channels")
    )
    # The recipe may name a track for other recordings that this one lacks.
    track = find_track(tracks, number) or find_track(tracks, None)
    if track is not None:
        audio["audio_seconds"] = track.end - track.begin
        audio["audio_offset"] = track.begin - begin
        audio["audio_track"] = track.number
        audio["audio_channels"] = track.channels
    return {
        "annotation_seconds": float(times[-1] - times[0]) + timeline.step,
        "video_seconds": timeline.end - begin,
        **audio,
        "audio_tracks": len(tracks),
        "rows": len(times),
        "video_frames": len(timeline.frames),
        "rate": timeline.rate,
        "mean_rate": timeline.mean_rate,
        "nominal_rate": timeline.nominal if np.isfinite(timeline.nominal) else None,
        "variable_rate": timeline.variable,
        "video_bytes": video.stat().st_size,
    }

"""One recording from its video to a part of the store: the work of one worker, recording after
recording.

Conventions: a worker loads weights once and keeps them. Problems of one recording stop no other; a
full disk stops the job. A part is written whole, last."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Flags
from va_search.data.draft import Part
from va_search.data.problems import refuse
from va_search.errors import InputError, JobError
from va_search.extract.annotations import Annotations
from va_search.extract.extractor import Image
from va_search.extract.frames import AnnotatedFrames, annotated_frames, lacking, picture_reach
from va_search.extract.pictures import (
    ahead,
    crop_files,
    find_crops,
    has_crops,
    read_crop,
    video_frames,
)
from va_search.extract.recipe import ExtractionRecipe, FeatureRecipe
from va_search.extract.recording_facts import not_finite, notes, silence
from va_search.extract.sound import Sound, read_sound, windows
from va_search.extract.sources import Job
from va_search.extract.timeline import Timeline, read_timeline

FACES = "faces:"
"""Key of the face finder among a worker's extractors; no name of a feature set has a colon."""
HELD = 0.25
"""Seconds before and after its sound for which a frame has the nearest features: tracks of one file
are seldom equally long."""
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


class Parts(Protocol):
    """Takes the parts of recordings; `folder` is for scratch files."""

    @property
    def folder(self) -> Path: ...

    def add(self, index: int, part: Part) -> None:
        """Take the part of one recording."""


@dataclass
class Sensed:
    """Results of hearing, or of seeing, a recording: its frames with features, remarks that many
    recordings share, and problems."""

    frames: AnnotatedFrames
    kinds: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Step = Callable[[Sensed], None]


def sense(frames: AnnotatedFrames, steps: Sequence[Step]) -> Sensed:
    """Run the steps on a copy of the frames. Each fails on its own: a user sees all that is wrong
    at once."""
    sensed = Sensed(replace(frames, valid=frames.valid.copy(), warnings=[], features={}))
    for step in steps:
        try:
            step(sensed)
        except InputError as error:
            sensed.problems += error.problems
    return sensed


def unwatched(step: str, seconds: float) -> None:
    """Show nothing of a recording's progress."""


@dataclass
class Worker:
    """Extracts recordings by their index, one after another; `device` is cpu or cuda. Weights are
    loaded when the first recording needs them.

    `overlaps`: sound, pictures and their decoding run in threads of their own. `watch` is told a
    feature set (or `FACES`) and the seconds of the recording that it has; in threads, if so.
    `timelines` are those that were read already."""

    recipe: ExtractionRecipe
    jobs: Sequence[Job]
    draft: Parts
    annotations: Annotations
    device: str = "cpu"
    overlaps: bool = False
    watch: Callable[[str, float], None] = unwatched
    timelines: dict[Path, Timeline] = field(default_factory=dict)
    _extractors: dict[str, Any] = field(default_factory=dict)
    _extracting: list[float] = field(default_factory=list)

    def prepare(self) -> None:
        """Load all weights now; InputError where one can't be loaded on the device."""
        for feature_set in self.recipe.feature_sets:
            self._extractor(feature_set)

    def __call__(self, index: int) -> RecordingOutcome:
        """Extract one recording and write its part."""
        job, began = self.jobs[index], time.perf_counter()
        footage = 0.0
        self._extracting.clear()
        problems: list[str] = []
        stop = None
        try:
            timeline = self._timeline(job.video)
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
            index, job.name, tuple(problems), stop, seconds, sum(self._extracting), footage
        )

    def _part(self, job: Job, timeline: Timeline) -> Part:
        """All feature sets of one recording; InputError with everything wrong in it."""
        frames = annotated_frames(self.annotations, job, timeline)
        # Sound of another file has a clock of its own, whose second 0 is the video's.
        heard = timeline if job.sound is None else self._timeline(job.sound)
        senses: tuple[tuple[Step, ...], ...] = (
            (lambda sensed: self._sound(job, timeline, heard, sensed.frames, sensed.kinds),),
            (
                lambda sensed: self._whole_pictures(job, timeline, sensed.frames, sensed.kinds),
                lambda sensed: self._crops(job, timeline, sensed.frames, sensed.kinds),
            ),
        )
        # Sound and pictures meet in no array, so they may run side by side; in this order they
        # are put together.
        if self.overlaps:
            with ThreadPoolExecutor(len(senses)) as pool:
                results = list(pool.map(partial(sense, frames), senses))
        else:
            results = [sense(frames, steps) for steps in senses]
        kinds: list[str] = []
        problems: list[str] = []
        for sensed in results:
            kinds += sensed.kinds
            problems += sensed.problems
            frames.features |= sensed.frames.features
            frames.warnings += sensed.frames.warnings
            frames.valid &= sensed.frames.valid
        if problems:
            raise InputError(*dict.fromkeys(problems))
        feature_sets = self.recipe.feature_sets
        number = next((chosen.track for chosen in feature_sets if chosen.kind == "audio"), None)
        return Part(
            {entry.name: frames.features[entry.name] for entry in feature_sets},
            frames.annotations,
            frames.written,
            frames.valid,
            frames.gaps,
            warnings=tuple(frames.warnings),
            notes=notes(timeline, heard, frames, job, number),
            kinds=tuple(dict.fromkeys(kinds)),
            ratings=frames.ratings,
        )

    def _sound(
        self,
        job: Job,
        timeline: Timeline,
        heard: Timeline,
        frames: AnnotatedFrames,
        kinds: list[str],
    ) -> None:
        """Add audio feature sets; the sound, whose file has the times `heard`, is decoded once for
        each sample rate, track and channel."""
        audio = self._feature_sets("audio")
        if not heard.tracks:
            optional = [entry for entry in audio if entry.optional]
            self._leave_missing(optional, frames, "sound", kinds)
            audio = [entry for entry in audio if not entry.optional]
        groups: dict[tuple[int, int | None, int | None], list[FeatureRecipe]] = {}
        for feature_set in audio:
            rate = self._extractor(feature_set).rate
            key = (rate, feature_set.track, feature_set.one_channel)
            groups.setdefault(key, []).append(feature_set)
        for (rate, number, channel), feature_sets in groups.items():
            sound = read_sound(
                job.sound_file, heard, rate, self.draft.folder, number=number, channel=channel
            )
            kinds += silence(sound, channel)
            if job.sound is not None:
                sound = replace(sound, begin=sound.begin - heard.begin + timeline.begin)
            for feature_set in feature_sets:
                frames.features[feature_set.name] = self._heard(feature_set, sound, job, frames)

    def _heard(
        self, feature_set: FeatureRecipe, sound: Sound, job: Job, frames: AnnotatedFrames
    ) -> NDArray[np.float32]:
        """(frames, dim) of an audio feature set; InputError where sound is too short, or says
        nothing of any frame."""
        extractor = self._extractor(feature_set)
        pooler = frames.pooler(feature_set)
        pieces = windows(sound, extractor)
        # `next` runs the extractor: it is what is timed, the pooling is not.
        while (piece := self._timed(next, pieces, None)) is not None:
            pooler.add(piece.centres, piece.values)
            if len(piece.centres):
                self.watch(feature_set.name, float(piece.centres[-1]) - sound.begin)
        pooled = pooler.finish()
        if pooled is None:
            raise InputError(
                f"{job.sound_file}: {len(sound.samples) / sound.rate:.3f} s of sound are too short "
                f"for {feature_set.extractor!r}"
            )
        refuse(not_finite(feature_set.name, pooled))
        # Of the video's own sound the audit tells where it ends early, and its last features stay.
        if not frames.by_clock and job.sound is None:
            return np.asarray(pooled, dtype=np.float32)
        covered = frames.within(sound.begin, sound.end, feature_set, HELD)
        if not covered.any():
            begin = sound.begin - float(frames.seconds[0])
            raise InputError(
                f"{job.sound_file}: feature set {feature_set.name!r} has nothing for any of the "
                f"{len(frames)} frames: its sound lasts {sound.end - sound.begin:.3f} s and begins "
                f"{begin:+.3f} s from the first frame"
            )
        if not covered.all():
            pooled[~covered] = np.nan
            frames.warnings.append(
                f"recording {job.name!r}: feature set {feature_set.name!r} is missing in "
                f"{int((~covered).sum())} of {len(frames)} frames: {job.sound_file.name} has "
                f"{sound.end - sound.begin:.2f} s of sound"
            )
        return np.asarray(pooled, dtype=np.float32)

    def _leave_missing(
        self,
        feature_sets: Sequence[FeatureRecipe],
        frames: AnnotatedFrames,
        kind: str,
        kinds: list[str],
    ) -> None:
        """Add feature sets as missing, for lack of sound or pictures."""
        for feature_set in feature_sets:
            dim = len(feature_set.build().columns)  # type: ignore[union-attr]
            frames.features[feature_set.name] = np.full((len(frames), dim), np.nan, np.float32)
            kinds.append(f"feature set {feature_set.name!r} is missing, for lack of {kind},")

    def _seen(
        self,
        images: str,
        job: Job,
        timeline: Timeline,
        frames: AnnotatedFrames,
        kinds: list[str],
    ) -> list[FeatureRecipe]:
        """Image feature sets of crops or of whole pictures, none where the file has no pictures:
        then the optional ones are missing, and InputError for others."""
        feature_sets = self._feature_sets("image", images)
        if timeline.has_pictures:
            return feature_sets
        refuse(
            [
                lacking(job.video, entry.name, "pictures")
                for entry in feature_sets
                if not entry.optional
            ]
        )
        self._leave_missing(feature_sets, frames, "pictures", kinds)
        return []

    def _whole_pictures(
        self, job: Job, timeline: Timeline, frames: AnnotatedFrames, kinds: list[str]
    ) -> None:
        """Add image feature sets of the video's whole pictures."""
        feature_sets = self._seen("frames", job, timeline, frames, kinds)
        if feature_sets:
            pictures = video_frames(job.video, timeline)
            # The video is decoded once, for the crops as well.
            if self._lacks_crops(job) and self._feature_sets("image", "crops"):
                finder = self._loaded(FACES, self.recipe.finder)
                assert job.crops is not None
                pictures = find_crops(pictures, job.video, job.crops, finder)
            # A video may have a second more than its annotation.
            count = len(frames.pictures)
            annotated = ((index, image) for index, image in pictures if index < count)
            present = self._images(feature_sets, annotated, frames, timeline, job.video)
            for feature_set in feature_sets:
                lacking_pictures = ~present[feature_set.name]
                if not lacking_pictures.any():
                    continue
                frames.features[feature_set.name][lacking_pictures] = np.nan
                frames.warnings.append(
                    f"recording {job.name!r}: feature set {feature_set.name!r} is missing in "
                    f"{int(lacking_pictures.sum())} of {len(frames)} frames, at whose times "
                    f"{job.video.name} has no picture"
                )

    def _crops(
        self, job: Job, timeline: Timeline, frames: AnnotatedFrames, kinds: list[str]
    ) -> None:
        """Add image feature sets of face crops; frames without one are not valid."""
        feature_sets = self._seen("crops", job, timeline, frames, kinds)
        if not feature_sets:
            return
        assert job.crops is not None
        if self._lacks_crops(job):
            finder = self._loaded(FACES, self.recipe.finder)
            pictures = video_frames(job.video, timeline)
            for index, _ in find_crops(pictures, job.video, job.crops, finder):
                self.watch(FACES, float(timeline.frames[index]) - timeline.begin)
        files = crop_files(job.crops, len(frames.pictures), len(timeline.frames), job.video)
        crops = ((frame, read_crop(path)) for frame, path in files)
        self._images(feature_sets, crops, frames, timeline, job.crops)

    def _images(
        self,
        feature_sets: list[FeatureRecipe],
        images: Iterator[tuple[int, Image]],
        frames: AnnotatedFrames,
        timeline: Timeline,
        source: Path,
    ) -> dict[str, Flags]:
        """Add feature sets of (picture, image); frames without an image are not valid. Return by
        feature set the (frames,) that have an image near enough: all of them where frames are
        pictures."""
        reach = picture_reach(timeline) if frames.by_clock else np.inf
        poolers = {entry.name: frames.pooler(entry, reach) for entry in feature_sets}
        seen = np.zeros(len(frames.pictures), dtype=bool)
        # Images are read once, in batches of the extractor that takes most of them.
        most = max(self._extractor(feature_set).batch for feature_set in feature_sets)
        if self.overlaps:
            images = ahead(images, most)
        while batch := list(islice(images, most)):
            indices = np.array([index for index, _ in batch])
            pictures = [image for _, image in batch]
            seen[indices] = True
            for feature_set in feature_sets:
                extractor = self._extractor(feature_set)
                for start in range(0, len(batch), extractor.batch):
                    part = slice(start, start + extractor.batch)
                    values = self._timed(extractor.images, pictures[part])
                    poolers[feature_set.name].add(frames.pictures[indices[part]], values)
                seconds = float(frames.pictures[indices[-1]]) - timeline.begin
                self.watch(feature_set.name, seconds)
        present: dict[str, Flags] = {}
        problems: list[str] = []
        for name, pooler in poolers.items():
            pooled = pooler.finish()
            if pooled is None:
                raise InputError(f"{source}: no image for any of the {len(frames)} frames")
            problems += not_finite(name, pooled)
            frames.features[name] = np.asarray(pooled, dtype=np.float32)
            present[name] = pooler.present
            if frames.by_clock:
                frames.valid &= pooler.present
        refuse(problems)
        if not frames.by_clock:
            frames.valid &= seen
        return present

    def _feature_sets(self, kind: str, images: str = "") -> list[FeatureRecipe]:
        return [
            feature_set
            for feature_set in self.recipe.feature_sets
            if feature_set.kind == kind and feature_set.images == images
        ]

    def _lacks_crops(self, job: Job) -> bool:
        """True where crops are still to be found in the video."""
        return job.finds_crops and job.crops is not None and not has_crops(job.video, job.crops)

    def _timeline(self, file: Path) -> Timeline:
        return self.timelines.get(file) or read_timeline(file)

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
            self._extracting.append(time.perf_counter() - began)

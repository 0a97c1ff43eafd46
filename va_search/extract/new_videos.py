"""Features of new videos, which nobody has labelled, one subject's recordings at a time.

Conventions: frames are the videos' own, or at a rate; a file of sound alone has frames at a rate
always. Times count from the file's second 0 (timeline.py). Every file is a recording, named like its
stem. Nothing is kept on the disk but scratch files, and crops that are found while a video is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import av

from va_search.data.affwild2_sources import people_of
from va_search.data.draft import Description, Draft, Part
from va_search.data.manifest import MANIFEST, FeatureSet
from va_search.data.problems import refuse
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract.annotations import AnnotatedRecording, Annotations
from va_search.extract.existing_store import READERS
from va_search.extract.media import find_listed_media
from va_search.extract.pipeline import take_sounds
from va_search.extract.recording import RecordingOutcome, Worker
from va_search.extract.sources import Job
from va_search.extract.stored_recipe import MatchedRecipe, keep_recipe
from va_search.extract.timeline import Timeline, opened, read_timeline
from va_search.files import digest, file_name_of, remove_folder
from va_search.targets import Target

ONLY_GIVEN = "the members' feature sets look at crops that were given in training"


@dataclass(frozen=True)
class NewVideo:
    """A file to predict, as a recording of a subject; `seconds` as its header declares them, 0 where
    it does not or can't be read."""

    name: str
    subject: str
    job: Job
    seconds: float

    @property
    def files(self) -> list[Path]:
        """The file, and the sound beside it."""
        return [file for file in (self.job.video, self.job.beside) if file is not None]

    def identity(self) -> list[list[int | str]]:
        """Sizes and times of change, by which a file that was replaced is known; a file that is
        gone since it was listed has none."""
        facts: list[list[int | str]] = []
        for file in self.files:
            with suppress(FileNotFoundError):
                stat = file.stat()
                facts.append([file.name, stat.st_size, stat.st_mtime_ns])
        return facts


@dataclass(frozen=True)
class ListedVideos:
    """The `videos` among listed files, in the order of their names; the names of `strangers`, which
    are none; and by name the problem of each that no file of predictions can be called like."""

    videos: list[NewVideo]
    strangers: tuple[str, ...]
    unnameable: dict[str, str]


@dataclass(frozen=True)
class ExtractedVideo:
    """A video's features in `part`, None where there were `problems`. `offset`: seconds on a
    player's clock, on which the file's earliest track begins at 0, at the recording's second 0."""

    video: NewVideo
    outcome: RecordingOutcome
    part: Part | None
    rate: float
    offset: float


@dataclass
class KeptFeatures:
    """The store at `to` of the features of all videos; until it is finished they are parts beside
    it, as of any store that is being made."""

    to: Path
    description: Description
    matched: MatchedRecipe

    @classmethod
    def of(
        cls,
        to: Path,
        matched: MatchedRecipe,
        feature_sets: Mapping[str, FeatureSet],
        targets: tuple[Target, ...],
    ) -> KeptFeatures:
        """Return the store of these feature sets, to be made."""
        definitions = matched.recipe.definitions(finds_crops=not matched.given_crops)
        description = Description(
            "new",
            targets,
            {name: (entry.modality, entry.columns) for name, entry in feature_sets.items()},
            time_column="time",
            source=f"extract {digest(definitions)}",
            definitions=definitions,
        )
        return cls(to, description, matched)

    def has(self, video: NewVideo, rate: float) -> bool:
        """True where the features of a video, of so many frames per second, are kept."""
        if (self.to / MANIFEST).is_file():
            return True  # `finish` says if it is the store of other videos
        return self._draft([(video, rate)]).has(0)

    def add(self, video: NewVideo, rate: float, part: Part) -> None:
        """Keep the features of one video."""
        self._draft([(video, rate)]).add(0, part)

    def finish(self, videos: Sequence[tuple[NewVideo, float]]) -> None:
        """Make the store of all videos with their frames per second; InputError where one of others
        is there."""
        if (self.to / MANIFEST).is_file():
            names = [recording.name for recording in Store.open(self.to).recordings]
            if names != [video.name for video, _ in videos]:
                raise InputError(
                    f"{self.to}: the features of other videos, which an earlier call kept; move "
                    "them away and give the same command again"
                )
            return
        self._draft(videos).finish()
        keep_recipe(self.to, self.matched.recipe, finds_crops=not self.matched.given_crops)

    def _draft(self, videos: Sequence[tuple[NewVideo, float]]) -> Draft:
        sources = [video.job.source(round(rate, 4)) for video, rate in videos]
        return Draft(self.to, self.description, sources)


def find_new_videos(
    paths: Sequence[Path],
    matched: MatchedRecipe,
    scratch: Path,
    *,
    crops: Path | None = None,
    subjects: Path | None = None,
    output: Path | None = None,
) -> ListedVideos:
    """The videos and sounds among files and in folders; InputError with everything wrong.

    `crops`: a folder of face crops per recording, for feature sets that look at given ones.
    `subjects`: a CSV recording,subject; each recording is a subject of its own without.
    `output`: the folder that is written, which is passed over where it lies among the videos."""
    media = find_listed_media(paths, output=output)
    people = {name: name for name in media.names()}
    if subjects is not None:
        people |= people_of(subjects, media.names())
    unnameable = _unnameable(media.names())
    names = [name for name in media.names() if name not in unnameable]
    # Crops that were given are read, never written or removed.
    finds_crops = matched.recipe.faces is not None and crops is None
    problems = _wrong_crops(matched, crops)
    jobs = []
    for name in names:
        video = media.picture_file([name])
        assert video is not None
        folder = None
        if crops is not None:
            folder = (crops / name).resolve()
            if name in media.videos and not folder.is_dir():
                problems.append(f"recording {name!r}: no folder of crops {crops / name}")
        elif finds_crops:
            folder = scratch / "crops" / file_name_of(name)
        beside = media.sound_beside([name], video)
        job = Job(
            name,
            people[name],
            "test",
            None,
            None,
            video,
            folder,
            finds_crops,
            name,
            beside=beside,
        )
        jobs.append(job)
    refuse(problems)
    with ThreadPoolExecutor(READERS) as pool:
        seconds = list(pool.map(_declared_seconds, [job.video for job in jobs]))
    videos = [
        NewVideo(job.name, job.subject, job, length)
        for job, length in zip(jobs, seconds, strict=True)
    ]
    return ListedVideos(videos, media.strangers, unnameable)


def _unnameable(names: Sequence[str]) -> dict[str, str]:
    """The problem of each name that no file can have."""
    problems = {}
    for name in names:
        try:
            file_name_of(name)
        except InputError as error:
            problems[name] = f"{error}; rename the video"
    return problems


def _wrong_crops(matched: MatchedRecipe, crops: Path | None) -> list[str]:
    looking = [entry.name for entry in matched.recipe.feature_sets if entry.images == "crops"]
    if crops is not None and not crops.is_dir():
        return [f"{crops}: no such folder, expected one folder of crops per recording"]
    if crops is not None and not matched.given_crops:
        reason = "the recipe finds the faces itself" if looking else "no member looks at crops"
        return [f"--crops {crops}: {reason}; leave it out"]
    if crops is None and matched.given_crops:
        names = ", ".join(looking)
        return [f"{ONLY_GIVEN}: {names}; give those of the new videos with --crops DIR"]
    return []


def _declared_seconds(file: Path) -> float:
    """The length in a file's header; 0 where it can't be read, which is told when its turn comes."""
    try:
        with opened(file) as container:
            return float((container.duration or 0) / av.time_base)
    except InputError:
        return 0.0


@dataclass
class VideoExtractor:
    """Extracts new videos; weights are loaded once, by `prepare`.

    `rate`: frames per second, None for the videos' own frames; `rate_of_sound` is that of files
    without pictures. `watch` is told a video's name, one of its feature sets, and the
    seconds of it that are done; from threads."""

    matched: MatchedRecipe
    scratch: Path
    rate: float | None
    rate_of_sound: float | None
    device: str
    falls_back: bool
    watch: Callable[[str, str, float], None]
    remarks: list[str] = field(default_factory=list)
    _worker: Worker | None = None
    _part: Part | None = None

    @property
    def feature_sets(self) -> dict[str, FeatureSet]:
        """The feature sets as they come out, by name, with all values and without a hash."""
        feature_sets = {}
        for entry in self.matched.recipe.feature_sets:
            columns = entry.build().columns  # type: ignore[union-attr]
            feature_sets[entry.name] = FeatureSet(
                entry.name, entry.modality, len(columns), "float32", "", columns
            )
        return feature_sets

    @property
    def folder(self) -> Path:
        """The folder of scratch files."""
        return self.scratch

    def add(self, index: int, part: Part) -> None:
        """Take the part that the worker has extracted."""
        self._part = part

    def extract(self, video: NewVideo) -> ExtractedVideo:
        """The features of one video, or what is wrong with it."""
        self._part = None
        job, timelines, problems = self._read(video)
        rate = self.rate
        timeline = timelines.get(job.video)
        if timeline is not None and not timeline.has_pictures:
            rate = rate or self.rate_of_sound
        if timeline is None or problems:
            outcome = RecordingOutcome(0, video.name, tuple(problems))
            return ExtractedVideo(video, outcome, None, 0.0, 0.0)
        outcome = self._worker_of(job, timelines, rate)(0)
        if job.finds_crops and job.crops is not None:
            remove_folder(job.crops)
        begins = [max(0.0, track.begin) for track in timeline.tracks]
        offset = max(0.0, timeline.begin - min([timeline.begin, *begins]))
        return ExtractedVideo(video, outcome, self._part, rate or timeline.rate, offset)

    def _read(self, video: NewVideo) -> tuple[Job, dict[Path, Timeline], list[str]]:
        """The job with the sound that it hears, the time stamps of its files, and problems."""
        timelines: dict[Path, Timeline] = {}
        problems: list[str] = []
        for file in video.files:
            try:
                timelines[file] = read_timeline(file)
            except InputError as error:
                # A file of sound counts only where the video has none of its own.
                if file == video.job.video:
                    problems += [f"recording {video.name!r}: {text}" for text in error.problems]
        job = video.job
        hears = any(entry.kind == "audio" for entry in self.matched.recipe.feature_sets)
        if hears and job.beside in timelines:
            (job,) = take_sounds([job], timelines, self.remarks)
        return job, timelines, problems

    def prepare(self) -> None:
        """Load the extractors' weights; where the device can't have them, on the CPU instead if it
        `falls_back`, else InputError."""
        # cuda:0 is a device of torch; ONNX Runtime and extractors know cuda and cpu.
        device = self.device.partition(":")[0]
        annotations = Annotations("new", (), (), has_labels=False)
        worker = Worker(self.matched.recipe, [], self, annotations, device, overlaps=True)
        try:
            worker.prepare()
        except InputError as error:
            if not self.falls_back or device == "cpu":
                raise
            self.remarks.append(f"features are extracted on the CPU: {error}")
            worker = replace(worker, device="cpu", _extractors={})
            worker.prepare()
        self._worker = worker

    def _worker_of(self, job: Job, timelines: dict[Path, Timeline], rate: float | None) -> Worker:
        """The worker for one job; all of them share the extractors with their weights."""
        assert self._worker is not None
        recording = AnnotatedRecording(job.name, job.subject, "test", job.name, (job.name,))
        annotations = Annotations("new", (), (recording,), rate=rate, has_labels=False)

        def watch(step: str, seconds: float) -> None:
            self.watch(job.name, step, seconds)

        return replace(
            self._worker, jobs=[job], annotations=annotations, timelines=timelines, watch=watch
        )

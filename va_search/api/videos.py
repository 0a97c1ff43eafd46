"""Videos in, curves out: an ensemble's predictions of files that nobody has annotated.

Conventions: what members read is extracted by the recipe that the training's store keeps. Recordings
are called like their files; frames are as in training, the videos' own or at the store's rate. Videos
are predicted one after another, whole subjects together; what is finished stays, whatever happens to
others. A broken video stops no other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from va_search.api.home import bring_members, open_noted_store
from va_search.api.progress import Note, ProgressLine, duration, progress_line, to_standard_error
from va_search.errors import InputError, JobError
from va_search.files import digest, written_or_shipped
from va_search.locks import only_one

if TYPE_CHECKING:
    from va_search.api.ensembles import OpenEnsemble
    from va_search.data.store import Store
    from va_search.extract.new_videos import (
        ExtractedVideo,
        KeptFeatures,
        NewVideo,
        VideoExtractor,
    )
    from va_search.extract.stored_recipe import MatchedRecipe
    from va_search.serving.video_folder import VideoFolder
    from va_search.serving.videos import VideoPredictor

Group = list["NewVideo"]
"""One subject's videos."""
NAMED = 5


@dataclass(frozen=True)
class PredictedVideos:
    """The folder that was written, and the `page` in it. Recordings that were `predicted` now,
    those that were `present` from an earlier call, and the problems of `broken` ones.

    `footage` are seconds of video that were predicted in `seconds`; `clipped` values lay outside
    their target's range. `features` is the store of their features, where these are kept."""

    folder: Path
    predicted: tuple[str, ...]
    present: tuple[str, ...]
    broken: dict[str, list[str]]
    rows: int
    clipped: int
    members: int
    feature_sets: tuple[str, ...]
    device: str
    footage: float
    seconds: float
    page: Path | None = None
    features: Path | None = None
    remarks: tuple[str, ...] = ()


def predict_videos(
    ensemble: OpenEnsemble,
    videos: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    store: Store | str | Path | None = None,
    crops: str | Path | None = None,
    subjects: str | Path | None = None,
    frames_per_second: float | None = None,
    keep_features: bool = False,
    device: str = "auto",
    replace: bool = False,
    trust_code: bool = False,
    note: Note = to_standard_error,
) -> PredictedVideos:
    """Predict videos or files of sound and write a CSV for each to the folder `out`, as
    `OpenEnsemble.predict_videos` says."""
    from va_search.ensemble.fresh import content_id
    from va_search.extract.new_videos import KeptFeatures, VideoExtractor, find_new_videos
    from va_search.models.sources import trust_everything
    from va_search.predictions.bank import Bank
    from va_search.serving.members import load_members, needed
    from va_search.serving.predict import checked_device
    from va_search.serving.video_folder import FEATURES, VideoFolder
    from va_search.serving.videos import VideoPredictor

    if trust_code:
        trust_everything()
    document, bank = ensemble.document, Bank(ensemble.home.files.bank)
    falls_back, device = device == "auto", checked_device(device)
    bring_members(ensemble.home, document, "weights")
    feature_sets = needed(document, bank)
    names = tuple(feature_set.name for feature_set in feature_sets)
    training, remarks = _training_store(document.store, store, recipe)
    matched = _matched_recipe(training, names, recipe)
    remarks += matched.remarks
    folder = VideoFolder(Path(out).resolve(), document, replace=replace)
    listed, strangers = find_new_videos(
        _paths(videos),
        matched,
        folder.scratch,
        crops=None if crops is None else Path(crops),
        subjects=None if subjects is None else Path(subjects),
    )
    folder.check([video.name for video in listed])
    if strangers:
        remarks.append(f"no videos or sound by their endings: {_few(strangers)}")
    rate, rate_of_sound = _rates(training, frames_per_second)
    progress = VideoProgress(len(names))
    extractor = VideoExtractor(
        matched, folder.scratch, rate, rate_of_sound, device, falls_back, progress.watch, remarks
    )
    members = list(load_members(document, bank))
    predictor = VideoPredictor(document, members, feature_sets, extractor.feature_sets, device)
    predictor.check()
    definitions = matched.recipe.definitions(finds_crops=not matched.given_crops)
    basis = digest([content_id(document), definitions, rate, rate_of_sound])
    with only_one(folder.out.with_name(f".{folder.out.name}.lock"), f"{folder.out}"):
        folder.begin()
        features = None
        if keep_features:
            features = KeptFeatures.of(
                folder.out / FEATURES, matched, extractor.feature_sets, document.targets
            )
        job = VideoJob(folder, extractor, predictor, progress, basis, features, note)
        job.run(_groups(listed))
        page = _write_page(ensemble.name, folder, listed, note)
        if features is not None and not job.broken:
            features.finish([(video, folder.entries[video.name].rate) for video in listed])
        folder.end()
    return PredictedVideos(
        folder=folder.out,
        predicted=tuple(job.predicted),
        present=tuple(job.present),
        broken=job.broken,
        rows=job.rows,
        clipped=job.clipped,
        members=len(members),
        feature_sets=names,
        device=device,
        footage=job.footage,
        seconds=progress.elapsed,
        page=page,
        features=None if features is None or job.broken else features.to,
        remarks=tuple(remarks),
    )


def _paths(videos: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(videos, str | Path):
        return [Path(videos)]
    if not videos:
        raise InputError("no videos are named")
    return [Path(path) for path in videos]


def _few(names: Sequence[str]) -> str:
    more = f" (and {len(names) - NAMED} more)" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _training_store(
    noted: str, named: Store | str | Path | None, recipe: str | Path | None
) -> tuple[Store | None, list[str]]:
    """The store that the ensemble was built on, and remarks; None where it is not there and a recipe
    is given."""
    try:
        return open_noted_store(noted, named), []
    except InputError:
        if recipe is None or named is not None:
            raise
    return None, [
        f"{noted}: the training's store is not there, so the recipe is not compared with it; frames "
        "are the videos' own unless --frames-per-second is given"
    ]


def _matched_recipe(
    training: Store | None, names: Sequence[str], recipe: str | Path | None
) -> MatchedRecipe:
    """The recipe of the members' feature sets: the one given, else the store's own."""
    from va_search.extract.stored_recipe import recipe_of_file, recipe_of_store

    if recipe is not None:
        return recipe_of_file(written_or_shipped(Path(recipe), "feature_recipes"), training, names)
    assert training is not None
    return recipe_of_store(training, names)


def _rates(training: Store | None, named: float | None) -> tuple[float | None, float | None]:
    """Frames per second, None for the videos' own frames, and those of files of sound alone."""
    if named is not None or training is None:
        return named, named
    counts = Counter(recording.frames_per_second for recording in training.recordings)
    usual = counts.most_common(1)[0][0]
    # Frames that the labels' clock made have times in the store; those of videos have none.
    return (None if training.time_column is None else usual), usual


def _groups(videos: Sequence[NewVideo]) -> list[Group]:
    """The videos by subject, in the order of each subject's first."""
    groups: dict[str, Group] = {}
    for video in videos:
        groups.setdefault(video.subject, []).append(video)
    return list(groups.values())


@dataclass
class VideoProgress:
    """Seconds of video that are done, of all; told by the threads that extract.

    `sets`: feature sets of each video."""

    sets: int
    total: float = 0.0
    count: int = 0
    finished: int = 0
    name: str = ""
    line: ProgressLine | None = None
    is_over: Event = field(default_factory=Event)
    _done: float = 0.0
    _steps: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def watch(self, name: str, step: str, seconds: float) -> None:
        """Take the seconds of a video that one of its feature sets has."""
        if self.is_over.is_set():
            raise KeyboardInterrupt  # ends the extracting thread; nobody waits for its result
        if name != self.name:
            self.name = name
            self._steps = {}
        self._steps[step] = seconds
        self.show()

    def end_video(self, seconds: float) -> None:
        """Count a video as extracted."""
        self._done += seconds
        self._steps = {}
        self.finished += 1

    def show(self) -> None:
        """Show where the job is, its speed and the time left."""
        if self.line is None:
            return
        done = self._done + sum(self._steps.values()) / max(1, self.sets)
        text = f"video {min(self.finished + 1, self.count)} of {self.count}: {self.name}"
        if done > 0 and self.elapsed > 1:
            speed = done / self.elapsed
            text += f", {speed:.1f} s of video per second"
            if self.total > done:
                text += f", about {duration((self.total - done) / speed)} left"
        self.line.update(text)


@dataclass
class VideoJob:
    """The predictions of all videos into one folder. `basis`: digest of what they are made by."""

    folder: VideoFolder
    extractor: VideoExtractor
    predictor: VideoPredictor
    progress: VideoProgress
    basis: str
    features: KeptFeatures | None
    note: Note
    predicted: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)
    rows: int = 0
    clipped: int = 0
    footage: float = 0.0
    _keys: dict[str, str] = field(default_factory=dict)

    def run(self, groups: Sequence[Group]) -> None:
        """Predict what is missing; JobError where the machine keeps the job from going on."""
        missing = []
        for group in groups:
            # As the files are now: one that changes while it is read is done again next time.
            facts = [[video.name, video.identity()] for video in group]
            self._keys |= dict.fromkeys(
                [video.name for video in group], digest([self.basis, facts])
            )
            if self._missing(group):
                missing.append(group)
            else:
                self.present += [video.name for video in group]
        self.progress.total = sum(video.seconds for group in missing for video in group)
        self.progress.count = sum(len(group) for group in missing)
        with progress_line("reading weights …", at_once=False) as line:
            self.progress.line = line
            if missing:
                self.extractor.prepare()
            for extracted in self._extracted(missing):
                self._predict(extracted)

    def _missing(self, group: Group) -> Group:
        return [video for video in group if not self._has(video)]

    def _has(self, video: NewVideo) -> bool:
        """True where a video is predicted, and its features are kept if they are to be."""
        if not self.folder.has(video.name, self._keys[video.name]):
            return False
        rate = self.folder.entries[video.name].rate
        return self.features is None or self.features.has(video, rate)

    def _extracted(self, groups: Sequence[Group]) -> Iterator[list[ExtractedVideo]]:
        """The groups' features; the next group is extracted while the caller predicts one."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="extract")
        try:
            running = None
            for group in groups:
                following = pool.submit(self._extract, group)
                if running is not None:
                    yield running.result()
                running = following
            if running is not None:
                yield running.result()
        finally:
            self.progress.is_over.set()
            pool.shutdown(cancel_futures=True)

    def _extract(self, group: Group) -> list[ExtractedVideo]:
        """Features of one subject's videos. Those that are predicted already come last: they are
        needed only where another one can be predicted beside them now."""
        missing = self._missing(group)
        present = [video for video in group if video not in missing]
        extracted: list[ExtractedVideo] = []
        for video in [*missing, *present]:
            if video in present and all(entry.part is None for entry in extracted):
                self.present.append(video.name)
                continue
            result = self.extractor.extract(video)
            if result.outcome.stop is not None:
                raise JobError(result.outcome.stop)
            extracted.append(result)
            self.progress.end_video(video.seconds)
        return extracted

    def _predict(self, extracted: Sequence[ExtractedVideo]) -> None:
        """Predict one subject's videos and write their files; a problem of one is told at once."""
        import numpy as np

        from va_search.serving.video_folder import VideoEntry
        from va_search.serving.videos import SeenRecording
        from va_search.targets import clipped

        whole: list[tuple[ExtractedVideo, SeenRecording]] = []
        for result in extracted:
            problems = list(result.outcome.problems)
            if result.part is not None and not problems:
                video = result.video
                seen = SeenRecording(video.name, video.subject, result.rate, result.part)
                problems = self.predictor.lacking(seen)
            if problems:
                self._tell_broken(result.video.name, problems)
            else:
                whole.append((result, seen))
        if not whole:
            return
        try:
            predictions = self.predictor.predict([seen for _, seen in whole])
        except JobError as error:  # a model that gives NaN for these recordings
            for _, seen in whole:
                self._tell_broken(seen.name, [f"recording {seen.name!r}: {error}"])
            return
        for (result, seen), raw in zip(whole, predictions, strict=True):
            values = clipped(raw, self.folder.ensemble.targets)
            assert seen.part.times is not None
            times = np.asarray(seen.part.times, dtype=np.float64)
            seconds = result.outcome.footage
            entry = VideoEntry(
                self._keys[seen.name],
                str(result.video.job.video),
                len(raw),
                seconds,
                result.offset,
                result.rate,
            )
            if self.features is not None:
                self.features.add(result.video, result.rate, seen.part)
            self.folder.add(seen.name, entry, times, values)
            self.predicted.append(seen.name)
            self.rows += len(raw)
            self.clipped += int((raw != values).sum())
            self.footage += seconds

    def _tell_broken(self, name: str, problems: list[str]) -> None:
        self.broken[name] = problems
        self.note(f"left out: {problems[0].splitlines()[0]}")


def _write_page(
    name: str, folder: VideoFolder, videos: Sequence[NewVideo], note: Note
) -> Path | None:
    """The page that shows the curves beside the videos; None where nothing was predicted."""
    from va_search.serving.video_folder import PAGE

    try:
        predicted = import_module("va_search.look.predicted")
        media = import_module("va_search.look.media")
        writing = import_module("va_search.look.folder")
    except ModuleNotFoundError:
        return None
    curves, files = [], []
    for video in videos:
        entry = folder.entries.get(video.name)
        if entry is None or not folder.file_of(video.name).is_file():
            continue
        seconds, values = folder.read(video.name)
        by_target = dict(zip(folder.ensemble.target_names, values.T, strict=True))
        curves.append(predicted.PredictedCurve(video.name, seconds, by_target, entry.offset))
        files.append(video.job.video)
    if not curves:
        return None
    targets = folder.ensemble.targets
    shown = predicted.shown_curves(curves, targets, title=f"ensemble {name}")
    found = media.Media.of_files(files[0].parent, files)
    try:
        look = writing.write_look(shown, folder.out / PAGE, media=found)
    except InputError as error:  # somebody worked in its folder: the predictions are there
        note(f"no page: {error}")
        return None
    for remark in look.remarks:
        note(remark)
    return Path(look.page)

"""From videos to a store: what is missing is extracted, recording by recording, and added with one
rename.

    STORE.partial/        parts of a store being made, one per recording, each whole
    STORE.adding.partial/ the same of feature sets being added to a store; they pass through STORE.adding
    STORE.crops/          crops that the recipe's `faces` found, by what found them

Conventions: a killed run goes on with the recordings that have no part. A recording that is broken
stops nothing: the others are extracted, then all problems are told and the store waits until they
are put right, or is made without them where that was asked for. A feature set that the store has
from the same definition is not extracted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import read_labels
from va_search.data.affwild2_sources import video_of
from va_search.data.draft import Description, Draft, Source
from va_search.data.importing import add_feature_sets, differences
from va_search.data.problems import PROBLEMS_SHOWN, and_more, first_few, refuse
from va_search.data.readers import where
from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.extract.broken import Broken
from va_search.extract.recipe import Recipe
from va_search.extract.recording import Outcome, Worker
from va_search.extract.sources import LABEL_RANGE, Job, Places, find_jobs
from va_search.extract.timeline import Timeline, read_timeline
from va_search.extract.tracks import sound_remarks
from va_search.files import digest, read_json, remove_folder
from va_search.locks import only_one

Engine = Callable[[Worker, Sequence[int]], Iterator[Outcome]]
"""Runs a worker on recordings by index and yields what came of each, in any order."""
Watch = Callable[["Progress"], None]
READERS = 8
"""Videos whose time stamps are read at once."""


@dataclass(frozen=True)
class Progress:
    """Recordings done of all; seconds of video done and in all, of this run; the one just done, ""
    at the start."""

    done: int
    total: int
    footage: float
    all_footage: float
    name: str


@dataclass(frozen=True)
class Extracted:
    """The store, which feature sets were extracted now and which were there, what was left out of
    it, and how long the recordings of this run took: `extracting` of the workers' `seconds` in the
    extractors, for `footage` seconds of video."""

    store: Store
    made: tuple[str, ...]
    there: tuple[str, ...]
    recordings: int
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0
    extracting: float = 0.0
    footage: float = 0.0


def in_turn(worker: Worker, indexes: Sequence[int]) -> Iterator[Outcome]:
    """The engine without Ray: one recording after another in this process."""
    return map(worker, indexes)


def quiet(progress: Progress) -> None:
    """The watch that shows nothing."""


def extract(
    recipe: Recipe,
    places: Places,
    to: Path,
    *,
    dtype: str = "float32",
    leave_out_broken: bool = False,
    engine: Engine = in_turn,
    watch: Watch = quiet,
) -> Extracted:
    """Extract a recipe's feature sets into a store at `to`, or add to it those it lacks.

    `leave_out_broken`: a new store is made without training and validation recordings whose files
    are broken. InputError with everything missing before anything is read, or at the end with what
    is wrong in recordings; JobError when the disk is full. What is finished is kept, and the same
    call goes on from there."""
    definitions = recipe.definitions(finds_crops=places.crops is None)
    wanted, there = _wanted(recipe, definitions, to, dtype)
    warnings: list[str] = []
    crops = to.with_name(f"{to.name}.crops")
    if recipe.faces is not None:
        crops /= recipe.faces_hash[:12]
    jobs = find_jobs(places, wanted, crops, warnings)
    left_out: tuple[str, ...] = ()
    if to.exists():
        left_out = tuple(read_json(to / "manifest.json").get("left_out", ()))
        jobs = [job for job in jobs if job.name not in left_out]
        _check_same_recordings(Store.open(to), jobs)
    if not wanted.feature_sets:
        return Extracted(Store.open(to), (), there, 0, left_out)
    if places.crops is None:
        # whatever is wrong with its detector is told now, not once for each recording
        recipe.finder()
    columns = {one.name: (one.modality, one.build().columns) for one in wanted.feature_sets}  # type: ignore[union-attr]
    with only_one(to.with_name(f".{to.name}.lock"), f"{to}: an extraction into it"):
        timelines, unread = _timelines(jobs)
        good = [job for job in jobs if job.video in timelines]
        if not good:
            refuse([problem for problems in unread.values() for problem in problems])
        place = to.with_name(f"{to.name}.adding") if to.exists() else to
        if place != to and _added(place, to):
            remove_folder(place)
        description = _description(columns, definitions, dtype)
        draft = Draft(place, description, [_source(job, timelines[job.video]) for job in good])
        draft.remarks = warnings + _remarks(wanted, good, timelines)
        if place != to:
            draft.remarks += _other_gaps(Store.open(to), good, timelines)
        run = Run(draft, wanted, good, {job.name: timelines[job.video] for job in good}, watch)
        outcomes = run.through(engine)
        broken = Broken(jobs, unread, [outcome for outcome in outcomes if outcome.problems])
        if broken.problems:
            if not (leave_out_broken and broken.can_go and place == to):
                refuse([*broken.problems, broken.advice(draft, adding=place != to)])
            draft = broken.taken_out_of(draft)
            left_out = tuple(draft.left_out)
        store = draft.finish()
        if place != to:
            try:
                store = add_feature_sets(to, place)
            except InputError:
                remove_folder(place)  # it will never fit, and would be in the way of what does
                raise
        _remove_scratch(to)
    return Extracted(
        store,
        tuple(one.name for one in wanted.feature_sets),
        there,
        len(outcomes),
        left_out,
        sum(outcome.seconds for outcome in outcomes),
        sum(outcome.extracting for outcome in outcomes),
        sum(outcome.footage for outcome in outcomes),
    )


@dataclass(frozen=True)
class Run:
    """One pass over the recordings a draft lacks."""

    draft: Draft
    recipe: Recipe
    jobs: list[Job]
    timelines: dict[str, Timeline]
    watch: Watch

    def through(self, engine: Engine) -> list[Outcome]:
        """What came of every recording that had no part; the longest go first, lest one be left
        alone at the end."""
        missing = [] if self.draft.already_finished() else self.draft.missing()
        footage = {index: self._footage(index) for index in missing}
        whole, total = sum(footage.values()), len(self.jobs)
        self.watch(Progress(total - len(missing), total, 0.0, whole, ""))
        outcomes: list[Outcome] = []
        passed = 0.0
        if missing:
            worker = Worker(self.recipe, self.jobs, self.draft)
            for outcome in engine(worker, sorted(missing, key=lambda index: -footage[index])):
                if outcome.stop is not None:
                    raise JobError(outcome.stop)
                outcomes.append(outcome)
                passed += footage[outcome.index]
                done = total - len(missing) + len(outcomes)
                self.watch(Progress(done, total, passed, whole, outcome.name))
        return outcomes + self._lost(missing, outcomes)

    def _footage(self, index: int) -> float:
        return self.timelines[self.jobs[index].name].seconds

    def _lost(self, missing: list[int], outcomes: list[Outcome]) -> list[Outcome]:
        """Recordings of which nothing was heard: the process that had them died."""
        heard = {outcome.index for outcome in outcomes}
        lost = [
            (index, self.jobs[index])
            for index in missing
            if index not in heard and not self.draft.has(index)
        ]
        what = "ended without a word (killed, out of memory, or a crash in a library); the same command tries it again"
        return [
            Outcome(
                index,
                job.name,
                (f"recording {job.name!r}: the process that read {job.video} {what}",),
                died=True,
            )
            for index, job in lost
        ]


def _wanted(
    recipe: Recipe, definitions: dict[str, str], to: Path, dtype: str
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe without what the store has from the same definition, and the names of that."""
    if not to.exists():
        return recipe, ()
    store = Store.open(to)
    known = read_json(to / "manifest.json").get("definitions", {})
    there = [one for one in recipe.feature_sets if one.name in store.feature_sets]
    other = [one.name for one in there if known.get(one.name) != definitions[one.name]]
    if other:
        raise InputError(
            *(
                f"{to}: feature set {name!r} is there already and was made otherwise (settings, weights, faces or an "
                "earlier version); name it otherwise in the recipe, or extract into another store"
                for name in other
            )
        )
    kept = {one.name: store.feature_sets[one.name].dtype for one in there}
    if any(before != dtype for before in kept.values()):
        raise InputError(
            *(
                f"{to}: feature set {name!r} is there as {before}, not as {dtype}; give --dtype {before}, or extract "
                "into another store"
                for name, before in kept.items()
                if before != dtype
            )
        )
    names = tuple(one.name for one in there)
    return replace(
        recipe, feature_sets=tuple(one for one in recipe.feature_sets if one.name not in names)
    ), names


def _check_same_recordings(store: Store, jobs: Sequence[Job]) -> None:
    """InputError, before hours of work, when these are not the recordings and labels that the store
    was made from."""
    given = {job.name: (job.split, job.subject, job.rows) for job in jobs}
    problems = differences(store, given, "what is given now") or _other_videos(store, jobs)
    if not problems:
        pairs = [store.annotations[one.start : one.stop] for one in store.recordings]
        with ThreadPoolExecutor(READERS) as pool:
            problems = [
                problem for found in pool.map(_other_labels, jobs, pairs) for problem in found
            ]
    if problems:
        advice = (
            f"{store.path}: give the --videos, --annotations, --sample and --subjects it was made from, or extract "
            "into another store"
        )
        raise InputError(*first_few(problems, PROBLEMS_SHOWN), advice)


def _other_videos(store: Store, jobs: Sequence[Job]) -> list[str]:
    """Videos that were replaced since, by their size, which a copy keeps and a new encoding does
    not."""
    notes = read_json(store.path / "manifest.json").get("notes", {})
    pairs = [
        (job, notes.get(job.name, {}).get("video_bytes"), job.video.stat().st_size) for job in jobs
    ]
    return [
        f"{job.video}: {now:,} bytes, {before:,} when {store.path} was made from it"
        for job, before, now in pairs
        if before not in (None, now)
    ]


def _other_labels(job: Job, before: NDArray[np.float32]) -> list[str]:
    """What is other in a recording's label file than in the store."""
    if job.rows is not None:
        return []
    try:
        now = read_labels(job.labels).astype(np.float32)
    except InputError as error:
        return error.problems
    if len(now) != len(before):
        return [f"{job.labels}: {len(now)} labels, {len(before)} in the store"]
    other = np.flatnonzero(((now != before) & ~(np.isnan(now) & np.isnan(before))).any(axis=1))
    if not other.size:
        return []
    return [
        f"{where(job.labels, int(other[0]))}: another label than in the store{and_more(other.size - 1)}"
    ]


def _timelines(jobs: Sequence[Job]) -> tuple[dict[Path, Timeline], dict[Path, list[str]]]:
    """Time stamps of all videos, and what is wrong with those that can't be read."""
    unread: dict[Path, list[str]] = {}
    timelines: dict[Path, Timeline] = {}
    videos = dict.fromkeys(job.video for job in jobs)
    with ThreadPoolExecutor(READERS) as pool:
        for video, found in zip(videos, pool.map(_timeline, videos), strict=True):
            if isinstance(found, Timeline):
                timelines[video] = found
            else:
                unread[video] = found
    return timelines, unread


def _timeline(video: Path) -> Timeline | list[str]:
    try:
        return read_timeline(video)
    except InputError as error:
        return error.problems


def _remarks(recipe: Recipe, jobs: Sequence[Job], timelines: dict[Path, Timeline]) -> list[str]:
    """What to report of choices among tracks and channels that the recipe leaves open."""
    remarks = sound_remarks(
        recipe.feature_sets, {job.name: timelines[job.video].tracks for job in jobs}
    )
    several = [job for job in jobs if timelines[job.video].others]
    if several:
        count = timelines[several[0].video].others + 1
        remarks.append(
            f"{several[0].video}: {count} video tracks; the one that is flagged as the default is used, else the first"
            f"{and_more(len(several) - 1)}"
        )
    return remarks


def _other_gaps(store: Store, jobs: Sequence[Job], timelines: dict[Path, Timeline]) -> list[str]:
    """What to report where a store that is added to has other gaps than its videos: it was made
    otherwise."""
    recordings = {one.name: one for one in store.recordings}
    other = [
        job.name
        for job in jobs
        if timelines[job.video].gaps(recordings[job.name].frames) != recordings[job.name].gaps
    ]
    if not other:
        return []
    return [
        f"recording {other[0]!r}{and_more(len(other) - 1)}: the gaps in time are others than its video has (an earlier "
        f"version made {store.path}, or an import); they stay. To have those of the video, extract all into another "
        "store"
    ]


def _source(job: Job, timeline: Timeline) -> Source:
    read = (
        job.labels,
        job.video,
        *([job.crops] if job.crops is not None and not job.finds_crops else []),
    )
    rate = round(timeline.rate, 4)
    return Source(job.name, job.subject, video_of(job.name), job.split, None, rate, read)


def _description(
    columns: dict[str, tuple[str, tuple[str, ...]]], definitions: dict[str, str], dtype: str
) -> Description:
    """Of the feature sets in `columns`."""
    definitions = {name: definitions[name] for name in columns}
    source = f"extract {digest(definitions)}"
    return Description(
        "affwild2", LABEL_RANGE, columns, dtype=dtype, source=source, definitions=definitions
    )


def _added(place: Path, to: Path) -> bool:
    """Whether a kill came after the sets at `place` were added to the store."""
    if not place.exists():
        return False
    new, old = (read_json(path / "manifest.json").get("definitions", {}) for path in (place, to))
    return bool(new.items() <= old.items())


def _remove_scratch(to: Path) -> None:
    """What kills left, now that the store is complete; only for who holds the lock, else it may be
    another's work.

    The lock's file stays: who has it open would hold another lock than who makes it anew.
    """
    for name in (f"{to.name}.adding", f"{to.name}.adding.partial", f"{to.name}.partial"):
        remove_folder(to.with_name(name))

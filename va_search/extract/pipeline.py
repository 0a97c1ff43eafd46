"""From videos to a store: recordings without a part are extracted one by one, and all parts are
added with one rename.

    STORE.partial/        parts of a store being made, one per recording, each whole
    STORE.adding.partial/ those of feature sets being added to a store; they pass through STORE.adding
    STORE.crops/          crops that the recipe's `faces` found, by the hash of `faces`

Conventions: a killed run goes on with the recordings that have no part. A recording that is broken
stops nothing: the others are extracted, then all problems are told and the store waits until they
are put right, or is made without them where that was asked for. A feature set that the store has
from the same definition is not extracted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from va_search.data.draft import Description, Draft, Source
from va_search.data.importing import add_feature_sets
from va_search.data.problems import and_more, refuse
from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.extract.annotations import Annotations, read_annotations
from va_search.extract.existing_store import READERS, ExistingStore
from va_search.extract.media import find_media
from va_search.extract.recipe import ExtractionRecipe
from va_search.extract.recording import RecordingOutcome, Worker
from va_search.extract.sources import Job, Sources, find_jobs
from va_search.extract.stored_recipe import keep_recipe
from va_search.extract.timeline import Timeline, read_timeline
from va_search.extract.tracks import sound_remarks
from va_search.files import digest, remove_folder
from va_search.locks import only_one

Engine = Callable[[Worker, Sequence[int]], Iterator[RecordingOutcome]]
"""Runs a worker on recordings by index and yields the outcome of each, in any order."""
Watch = Callable[["ExtractionProgress"], None]
Timelines = Mapping[Path, Timeline]
"""By video."""
DIED = (
    "ended without a word (killed, out of memory, or a crash in a library); the same command tries "
    "it again"
)


@dataclass(frozen=True)
class ExtractionProgress:
    """Recordings done of all; seconds of video done and in all, of this run; the one just done, ""
    at the start."""

    done: int
    total: int
    footage: float
    all_footage: float
    name: str


@dataclass(frozen=True)
class Extracted:
    """The store; the feature sets that were added now and those that were present before;
    recordings left out of it.

    Of this run: the recordings that were extracted, `extracting` of the workers' `seconds` in the
    extractors, for `footage` seconds of video."""

    store: Store
    added: tuple[str, ...]
    present: tuple[str, ...]
    recordings: int
    left_out: tuple[str, ...]
    seconds: float = 0.0
    extracting: float = 0.0
    footage: float = 0.0


def in_turn(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
    """Outcomes without Ray: one recording after another in this process."""
    return map(worker, indexes)


def quiet(progress: ExtractionProgress) -> None:
    """Show nothing."""


def extract(
    recipe: ExtractionRecipe,
    sources: Sources,
    to: Path,
    *,
    dtype: str = "float32",
    leave_out_broken: bool = False,
    engine: Engine = in_turn,
    watch: Watch = quiet,
) -> Extracted:
    """Extract a recipe's feature sets into a store at `to`, or add to it those it lacks.

    `leave_out_broken`: a new store is made without training and validation recordings whose files
    are broken. InputError with everything missing before anything is read, or at the end with the
    problems of recordings; JobError when the disk is full. What is finished is kept, and the same
    call goes on from there."""
    definitions = recipe.definitions(finds_crops=sources.crops is None)
    existing, lacking = None, recipe
    if to.exists():
        existing = ExistingStore(to)
        lacking = existing.lacks(recipe, definitions, dtype)
    added = tuple(feature_set.name for feature_set in lacking.feature_sets)
    names = [feature_set.name for feature_set in recipe.feature_sets]
    present = tuple(name for name in names if name not in added)
    warnings: list[str] = []
    media = find_media(sources.videos, sources.sound)
    annotations = read_annotations(
        sources.annotations,
        media,
        warnings,
        sample=sources.sample,
        subjects=sources.subjects,
        rate=sources.frames_per_second,
    )
    jobs = find_jobs(sources, lacking, annotations, media, _crops_folder(recipe, to))
    left_out: tuple[str, ...] = ()
    if existing is not None:
        left_out = existing.left_out
        jobs = [job for job in jobs if job.name not in left_out]
        existing.check_sources(jobs, annotations)
        if not added:
            # A store from before recipes were kept is given its own.
            keep_recipe(to, recipe, finds_crops=sources.crops is None)
            return Extracted(existing.store, (), present, 0, left_out)
    if sources.crops is None:
        # A problem of its detector is told now, not once for each recording.
        recipe.finder()
    description = _description(lacking, annotations, definitions, dtype)
    with only_one(to.with_name(f".{to.name}.lock"), f"{to}: an extraction into it"):
        # Time stamps first: they tell the rates and gaps, and which videos are broken.
        timelines, unread = _read_timelines(jobs)
        if any(feature_set.kind == "audio" for feature_set in lacking.feature_sets):
            jobs = take_sounds(jobs, timelines, warnings)
        readable = [job for job in jobs if job.video in timelines and job.sound_file in timelines]
        if not readable:
            refuse(_listed(_broken(jobs, unread, [])))
        _refuse_systematic(lacking, readable, timelines, annotations)
        drafted = [_source(job, timelines, annotations) for job in readable]
        draft = _draft(to, existing, description, drafted)
        draft.remarks = warnings + _remarks(lacking, readable, timelines)
        if existing is not None and not annotations.make_frames:
            draft.remarks += existing.gap_remarks(readable, timelines)
        worker = Worker(lacking, readable, draft, annotations)
        outcomes = _extract_missing(worker, draft, timelines, engine, watch)
        # Only now, when all that can be extracted is kept, are broken recordings told.
        broken = _broken(jobs, unread, outcomes)
        if broken:
            can_go = _can_go(jobs, broken, outcomes)
            if not (leave_out_broken and can_go and existing is None):
                advice = _advice(draft, len(jobs), adding=existing is not None, can_go=can_go)
                hints = _label_hints(sources, annotations, broken)
                refuse([*_listed(broken), *hints, advice])
            draft = _without(draft, broken)
            left_out = tuple(draft.left_out)
        if existing is None:
            refuse(draft.targets_without_labels())
        store = _finish(draft, existing, recipe, finds_crops=sources.crops is None)
    return Extracted(
        store,
        added,
        present,
        len(outcomes),
        left_out,
        sum(outcome.seconds for outcome in outcomes),
        sum(outcome.extracting for outcome in outcomes),
        sum(outcome.footage for outcome in outcomes),
    )


def _crops_folder(recipe: ExtractionRecipe, to: Path) -> Path:
    folder = to.with_name(f"{to.name}.crops")
    return folder if recipe.faces is None else folder / recipe.faces_hash[:12]


def _description(
    recipe: ExtractionRecipe,
    annotations: Annotations,
    definitions: Mapping[str, str],
    dtype: str,
) -> Description:
    """Of the recipe's feature sets; InputError where weights don't fit their settings."""
    feature_sets = {}
    for feature_set in recipe.feature_sets:
        columns = feature_set.build().columns  # type: ignore[union-attr]
        feature_sets[feature_set.name] = (feature_set.modality, columns)
    definitions = {name: definitions[name] for name in feature_sets}
    source = f"extract {digest(definitions)}"
    # What says how labels are read counts, as their files do: parts made otherwise are made anew.
    if annotations.streams is not None:
        source += f" annotations {annotations.streams.document.signed()}"
    elif annotations.described or annotations.rate is not None:
        labels: tuple[str, ...] | None = None
        if annotations.columns is not None:
            labels = tuple(name for names in annotations.columns.values() for name in names)
        source += f" annotations {labels} {annotations.rate}"
        if annotations.fused:
            source += f" raters {digest(dict(annotations.fused))}"
    return Description(
        annotations.name,
        annotations.targets,
        feature_sets,
        dtype=dtype,
        time_column=annotations.time_column,
        source=source,
        definitions=definitions,
        rated=annotations.rated,
    )


def _read_timelines(jobs: Sequence[Job]) -> tuple[dict[Path, Timeline], dict[Path, list[str]]]:
    """Time stamps by file, and problems by file for those that can't be read."""
    unread: dict[Path, list[str]] = {}
    timelines: dict[Path, Timeline] = {}
    videos: dict[Path, None] = {}
    for job in jobs:
        files = (job.video, job.sound, job.beside)
        videos |= dict.fromkeys(file for file in files if file is not None)
    with ThreadPoolExecutor(READERS) as pool:
        readings = [(video, pool.submit(read_timeline, video)) for video in videos]
        for video, reading in readings:
            try:
                timelines[video] = reading.result()
            except InputError as error:
                unread[video] = error.problems
    return timelines, unread


def _draft(
    to: Path, existing: ExistingStore | None, description: Description, sources: Sequence[Source]
) -> Draft:
    """The draft of the store, or of the feature sets that are added to it."""
    # Added sets are drafted as a store beside the old one.
    target = to
    if existing is not None:
        target = to.with_name(f"{to.name}.adding")
        if existing.includes(target):
            remove_folder(target)
    return Draft(target, description, sources)


def _source(job: Job, timelines: Timelines, annotations: Annotations) -> Source:
    """A recording as the draft knows it, with the rate of its frames."""
    if annotations.make_frames:
        return job.source(annotations.frame_rate(job.name))
    return job.source(round(timelines[job.video].rate, 4))


def _remarks(recipe: ExtractionRecipe, jobs: Sequence[Job], timelines: Timelines) -> list[str]:
    """Remarks on choices among tracks and channels that the recipe leaves open."""
    tracks = {job.name: timelines[job.sound_file].tracks for job in jobs}
    remarks = sound_remarks(recipe.feature_sets, tracks)
    several = [job.video for job in jobs if timelines[job.video].others]
    if several:
        count = timelines[several[0]].others + 1
        remarks.append(
            f"{several[0]}: {count} video tracks; the one that is flagged as the default is used, "
            f"else the first{and_more(len(several) - 1)}"
        )
    return remarks


def take_sounds(jobs: Sequence[Job], timelines: Timelines, warnings: list[str]) -> list[Job]:
    """The jobs with the sound that lies beside videos without any; remarks on what is taken and
    what is not."""
    taken: list[str] = []
    unused: list[str] = []
    resolved = []
    for job in jobs:
        if job.beside is None or job.video not in timelines:
            resolved.append(job)
        elif timelines[job.video].tracks:
            unused.append(job.beside.name)
            resolved.append(job)
        else:
            taken.append(job.beside.name)
            resolved.append(replace(job, sound=job.beside))
    if taken:
        warnings.append(
            f"{taken[0]}{and_more(len(taken) - 1)}: the sound of the video of this name, which has "
            "none of its own"
        )
    if unused:
        warnings.append(
            f"{unused[0]}{and_more(len(unused) - 1)}: not used, since the video of this name has "
            "sound of its own; --sound with the folder takes it in its place"
        )
    return resolved


def _refuse_systematic(
    recipe: ExtractionRecipe,
    jobs: Sequence[Job],
    timelines: Timelines,
    annotations: Annotations,
) -> None:
    """InputError for what is the same in all recordings and would be told only at the end."""
    problems = []
    is_clockless = not annotations.make_frames
    without = [job for job in jobs if not timelines[job.video].has_pictures]
    if is_clockless and len(without) == len(jobs):
        problems.append(
            f"{without[0].video}{and_more(len(without) - 1)}: sound without pictures, so nothing "
            "says when its frames are; give their rate with --frames-per-second, or labels with a "
            "column of times"
        )
    silent = [job for job in jobs if not timelines[job.sound_file].tracks]
    if len(silent) == len(jobs):
        for feature_set in recipe.feature_sets:
            if feature_set.kind == "audio" and feature_set.optional:
                problems.append(
                    f"feature set {feature_set.name!r} needs sound, and no recording has any; leave "
                    "it out of the recipe"
                )
    refuse(problems)


def _label_hints(
    sources: Sources, annotations: Annotations, broken: Mapping[str, Sequence[str]]
) -> list[str]:
    """The way to other labels than Aff-Wild2's, where labels were refused and nothing describes
    them."""
    texts = [text for problems in broken.values() for text in problems]
    words = ("outside the label range", "outside its range", ": header ")
    is_label = any(word in text for text in texts for word in words)
    if annotations.described or sources.annotations is None or not is_label:
        return []
    return [
        f"labels of another range or other targets: say so in {sources.annotations / 'dataset.yaml'}, "
        "such as `label_range: [1, 9]` for valence and arousal, or `targets: {stress: [1, 9]}`"
    ]


def _extract_missing(
    worker: Worker, draft: Draft, timelines: Timelines, engine: Engine, watch: Watch
) -> list[RecordingOutcome]:
    """Outcomes of all recordings that had no part; the longest go first, lest one be left alone at
    the end. JobError where one says that the job must stop."""
    jobs = worker.jobs
    missing: list[int] = []
    if not draft.already_finished():
        missing = draft.missing()
    footage = {index: timelines[jobs[index].video].seconds for index in missing}
    progress = ExtractionProgress(
        len(jobs) - len(missing), len(jobs), 0.0, sum(footage.values()), ""
    )
    watch(progress)
    outcomes: list[RecordingOutcome] = []
    if missing:  # else an engine would start Ray for nothing
        for outcome in engine(worker, sorted(missing, key=lambda index: -footage[index])):
            if outcome.stop is not None:
                raise JobError(outcome.stop)
            outcomes.append(outcome)
            progress = replace(
                progress,
                done=progress.done + 1,
                footage=progress.footage + footage[outcome.index],
                name=outcome.name,
            )
            watch(progress)
    heard = {outcome.index for outcome in outcomes}
    for index in missing:
        # Nothing was heard of it: the process that had it died.
        if index not in heard and not draft.has(index):
            job = jobs[index]
            problem = f"recording {job.name!r}: the process that read {job.video} {DIED}"
            outcomes.append(RecordingOutcome(index, job.name, (problem,), died=True))
    return outcomes


def _broken(
    jobs: Sequence[Job], unread: Mapping[Path, list[str]], outcomes: Sequence[RecordingOutcome]
) -> dict[str, list[str]]:
    """Problems by recording, of those whose video can't be read or that could not be extracted."""
    problems: dict[str, list[str]] = {}
    for job in jobs:
        texts = [*unread.get(job.video, [])]
        if job.sound is not None:
            texts += unread.get(job.sound, [])
        if texts:
            problems[job.name] = texts
    for outcome in outcomes:
        if outcome.problems:
            problems[outcome.name] = list(outcome.problems)
    return problems


def _listed(broken: Mapping[str, Sequence[str]]) -> list[str]:
    """All problems; one of a video that several recordings share comes once."""
    problems: dict[str, None] = {}
    for recording_problems in broken.values():
        problems |= dict.fromkeys(recording_problems)
    return list(problems)


def _can_go(
    jobs: Sequence[Job], broken: Mapping[str, Sequence[str]], outcomes: Sequence[RecordingOutcome]
) -> bool:
    """True where a store can be made without the broken recordings: predictions of test recordings
    are asked for, and where a process died the recording need not be to blame."""
    is_test = any(
        job.name in broken and job.split == "test" and job.labels is not None for job in jobs
    )
    died = any(outcome.died for outcome in outcomes)
    return not is_test and not died


def _advice(draft: Draft, total: int, *, adding: bool, can_go: bool) -> str:
    """The way out of a refusal because of broken recordings."""
    done = len(draft.recordings) - len(draft.missing())
    state = (
        f"{done} of {total} recordings are extracted and kept in {draft.folder}; put the others "
        "right"
    )
    if adding:  # to a store whose recordings are what they are
        return (
            f"{state}, and the same command goes on; to do without them, extract all into another "
            "store"
        )
    if can_go:
        return f"{state}, or add --leave-out-broken, and the same command goes on"
    return (
        f"{state}, and the same command goes on (test recordings, and those at which a process "
        "died, stay)"
    )


def _without(draft: Draft, broken: Mapping[str, Sequence[str]]) -> Draft:
    """The draft without broken recordings, with a remark for each problem; InputError where nothing
    is left."""
    whole = [source for source in draft.recordings if source.name not in broken]
    if not whole:
        refuse(_listed(broken))
    smaller = Draft(draft.to, draft.description, whole)
    smaller.left_out = sorted(broken)
    smaller.remarks = list(draft.remarks)
    for name, problems in broken.items():
        for problem in problems:
            reason = problem.removeprefix(f"recording {name!r}: ").splitlines()[0]
            smaller.remarks.append(f"recording {name!r} is left out: {reason}")
    return smaller


def _finish(
    draft: Draft, existing: ExistingStore | None, recipe: ExtractionRecipe, *, finds_crops: bool
) -> Store:
    """The store of the draft, or the old one with the draft's feature sets added by a rename; the
    recipe is kept in it, and what kills left is removed."""
    store = draft.finish()
    if existing is not None:
        try:
            store = add_feature_sets(existing.path, draft.to)
        except InputError:
            remove_folder(draft.to)  # it will never fit, and would be in the way of others
            raise
    keep_recipe(store.path, recipe, finds_crops=finds_crops)
    _remove_scratch(store.path)
    return store


def _remove_scratch(to: Path) -> None:
    """Remove what kills left, now that the store is complete; only for the holder of the lock, else
    it may be another's work.

    The lock's file stays: a process that has it open would hold another lock than one that makes it
    anew."""
    for name in (f"{to.name}.adding", f"{to.name}.adding.partial", f"{to.name}.partial"):
        remove_folder(to.with_name(name))

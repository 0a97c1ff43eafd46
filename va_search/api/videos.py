"""Videos in, curves out: an ensemble's predictions of files that nobody has annotated.

Conventions: what members read is extracted by the recipe that the training's store keeps. Recordings
are called like their files; frames are as in training, the videos' own or at the store's rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.home import bring_members, open_noted_store
from va_search.api.progress import Note, to_standard_error
from va_search.api.video_job import VideoJob, VideoProgress
from va_search.errors import InputError
from va_search.files import digest, written_or_shipped
from va_search.locks import only_one

if TYPE_CHECKING:
    from va_search.api.ensembles import OpenEnsemble
    from va_search.data.store import Store
    from va_search.extract.stored_recipe import MatchedRecipe

NAMED = 5
"""Files that a remark names."""


@dataclass(frozen=True)
class VideoOptions:
    """Options of predicting videos, as `OpenEnsemble.predict_videos` says; `device` is "auto", "cpu" or
    a torch device."""

    recipe: Path | None = None
    store: Store | str | Path | None = None
    crops: Path | None = None
    subjects: Path | None = None
    frames_per_second: float | None = None
    keep_features: bool = False
    device: str = "auto"
    replace: bool = False


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
    page: Path | None
    features: Path | None
    remarks: tuple[str, ...]


def predict_videos(
    ensemble: OpenEnsemble,
    paths: Sequence[Path],
    out: Path,
    options: VideoOptions,
    note: Note = to_standard_error,
) -> PredictedVideos:
    """Predict videos or files of sound and write a CSV for each to the folder `out`, and a page.

    InputError with all problems before anything is read; `note` is told what is left out."""
    job = _checked_job(ensemble, paths, out.resolve(), options, note)
    folder, features = job.folder, job.features
    with only_one(folder.out.with_name(f".{folder.out.name}.lock"), f"{folder.out}"):
        folder.begin()
        job.run()
        page = _write_page(job, note)
        job.finish_features()
        folder.end()
    return PredictedVideos(
        folder=folder.out,
        predicted=tuple(job.predicted),
        present=tuple(job.present),
        broken=job.broken,
        rows=job.rows,
        clipped=job.clipped,
        members=len(job.predictor.members),
        feature_sets=tuple(entry.name for entry in job.predictor.needed),
        device=job.predictor.device,
        footage=job.footage,
        seconds=job.progress.elapsed,
        page=page,
        features=None if features is None or job.broken else features.to,
        remarks=tuple(job.remarks),
    )


def _checked_job(
    ensemble: OpenEnsemble, paths: Sequence[Path], out: Path, options: VideoOptions, note: Note
) -> VideoJob:
    """The job, with everything that can be wrong looked at but the videos themselves."""
    from va_search.ensemble.fresh import content_id
    from va_search.extract.new_videos import KeptFeatures, VideoExtractor, find_new_videos
    from va_search.predictions.bank import Bank
    from va_search.serving.members import load_members, needed
    from va_search.serving.predict import checked_device
    from va_search.serving.video_folder import FEATURES, VideoFolder
    from va_search.serving.videos import VideoPredictor

    document, bank = ensemble.document, Bank(ensemble.home.files.bank)
    device = checked_device(options.device)
    bring_members(ensemble.home, document, "weights")
    feature_sets = needed(document, bank)
    names = [feature_set.name for feature_set in feature_sets]
    training, remarks = _training_store(document.store, options)
    matched = _matched_recipe(training, names, options.recipe)
    remarks += matched.remarks
    folder = VideoFolder(out, document, replace=options.replace)
    listed = find_new_videos(
        paths,
        matched,
        folder.scratch,
        crops=options.crops,
        subjects=options.subjects,
        output=out,
    )
    if listed.strangers:
        remarks.append(f"no videos or sound by their endings: {_few(listed.strangers)}")
    folder.check([video.name for video in listed.videos])

    rates = _rates(training, options.frames_per_second)
    progress = VideoProgress(len(names))
    falls_back = options.device == "auto"
    extractor = VideoExtractor(
        matched, folder.scratch, *rates, device, falls_back, progress.watch, remarks
    )
    extracted = extractor.feature_sets
    members = list(load_members(document, bank))
    predictor = VideoPredictor(document, members, feature_sets, extracted, device)
    predictor.check()
    features = None
    if options.keep_features:
        features = KeptFeatures.of(out / FEATURES, matched, extracted, document.targets)
    definitions = matched.recipe.definitions(finds_crops=not matched.given_crops)
    basis = digest([content_id(document), definitions, rates])
    return VideoJob(
        listed.videos,
        listed.unnameable,
        folder,
        extractor,
        predictor,
        progress,
        basis,
        features,
        remarks,
        note,
    )


def _few(names: Sequence[str]) -> str:
    more = f" (and {len(names) - NAMED} more)" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _training_store(noted: str, options: VideoOptions) -> tuple[Store | None, list[str]]:
    """The store that the ensemble was built on, and remarks; None where it is not there and a recipe
    is given."""
    try:
        return open_noted_store(noted, options.store), []
    except InputError:
        if options.recipe is None or options.store is not None:
            raise
    return None, [
        f"{noted}: the training's store is not there, so the recipe is not compared with it; frames "
        "are the videos' own unless --frames-per-second is given"
    ]


def _matched_recipe(
    training: Store | None, names: Sequence[str], recipe: Path | None
) -> MatchedRecipe:
    """The recipe of the members' feature sets: the one given, else the store's own."""
    from va_search.extract.stored_recipe import recipe_of_file, recipe_of_store

    if recipe is not None:
        return recipe_of_file(written_or_shipped(recipe, "feature_recipes"), training, names)
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


def _write_page(job: VideoJob, note: Note) -> Path | None:
    """The page that shows the curves beside the videos; None where nothing was predicted."""
    from va_search.look.folder import write_look
    from va_search.look.media import Media
    from va_search.look.predicted import PredictedCurve, shown_curves
    from va_search.serving.video_folder import PAGE

    ensemble = job.folder.ensemble
    curves, files = [], []
    for video, seconds, values, offset in job.curves():
        by_target = dict(zip(ensemble.target_names, values.T, strict=True))
        curves.append(PredictedCurve(video.name, seconds, by_target, offset))
        files.append(video.job.video)
    if not curves:
        return None
    title = f"ensemble {ensemble.name}"
    shown = shown_curves(curves, ensemble.targets, title=title)
    found = Media.of_files(files[0].parent, files)
    try:
        look = write_look(shown, job.folder.out / PAGE, media=found)
    except InputError as error:  # somebody worked in its folder: the predictions are there
        note(f"no page: {error}")
        return None
    for remark in look.remarks:
        note(remark)
    return Path(look.page)

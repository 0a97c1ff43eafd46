"""Stores from Python: import, simulate, extract, open, audit, divide into folds.

Conventions: folders and files may be strings or paths. A store appears whole or not at all; the
same call again finds it and opens it, or goes on from what was read. `progress`: a line in the
terminal or notebook while files are read. `note` takes warnings, by default on standard error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from va_search.api.progress import Note, ProgressLine, progress_line, to_standard_error
from va_search.files import read_json, written_or_shipped

if TYPE_CHECKING:
    from va_search.data.audit import AuditReport
    from va_search.data.folds import Folding
    from va_search.data.source_draft import WrittenDraft
    from va_search.data.store import Store
    from va_search.extract.pipeline import Extracted, Watch
    from va_search.extract.recording import RecordingOutcome, Worker

    AnyPath = str | Path
    ReadingProgress = Callable[[int, int, str], None]
    """Recordings done, recordings in all, the one just read."""

SHOWN_FROM = 256 << 20
"""Bytes from which on it is shown that a store is verified."""

DType = Literal["float32", "float16"]


def open_store(place: Store | AnyPath) -> Store:
    """Open the store at a folder in milliseconds, or at a URL once this machine has it. The first
    time its files are hashed, with a line of progress where that takes more than a moment.

    InputError when it is none, unfinished or not as it was sealed."""
    from va_search.data.store import Store

    if isinstance(place, Store):
        return place
    with ExitStack() as stack:
        line: ProgressLine | None = None

        def show(hashed: int, total: int) -> None:
            nonlocal line
            if total < SHOWN_FROM:
                return
            text = f"{place}: verified {hashed / 2**30:.1f} of {total / 2**30:.1f} GiB"
            if line is None:
                line = stack.enter_context(progress_line(text))
            line.update(text)

        return Store.open(place, show)


def import_table(
    source: AnyPath,
    to: AnyPath,
    *,
    dtype: DType = "float32",
    workers: int | None = None,
    progress: bool = True,
    note: Note = to_standard_error,
) -> Store:
    """Import a folder with dataset.yaml, recordings.csv and one CSV or Parquet file per recording
    (docs/data.md) into a store at `to`.

    `dtype` "float16" halves the disk space of features. `workers`: recordings read at once.
    InputError with the problems of all recordings together."""
    from va_search.data import table

    source = Path(source)
    return _read(
        lambda show: table.import_table(
            source, Path(to), dtype=dtype, workers=workers, progress=show
        ),
        progress,
        note,
    )


def draft_source(
    source: AnyPath,
    *,
    rate: float | None = None,
    labels: Sequence[str] = (),
    force: bool = False,
) -> WrittenDraft:
    """Write a draft of dataset.yaml or streams.yaml, and of recordings.csv where no file lists
    recordings, out of the files in a folder, or one file of all recordings.

    `rate`: frames per second, where no column of times says them. `labels`: the columns of labels,
    where no name tells them. Return the `.files`, and the `.guesses` and `.questions` in them.
    InputError where a description is there, unless `force`."""
    from va_search.data.guesses import Hints
    from va_search.data.source_draft import write_draft

    return write_draft(Path(source), Hints(rate, tuple(labels)), force=force)


def draft_streams(source: AnyPath) -> list[Path]:
    """Write a draft as `draft_source` does; return the paths of its files."""
    return list(draft_source(source).files)


def import_streams(
    source: AnyPath,
    to: AnyPath,
    *,
    dtype: DType = "float32",
    workers: int | None = None,
    progress: bool = True,
    note: Note = to_standard_error,
) -> Store:
    """Import a folder whose streams.yaml says in which files each feature set and target lies, and
    on which clock (docs/data.md), into a store at `to`; streams.json in it reports what was done.

    `dtype` "float16" halves the disk space of features. `workers`: recordings read at once.
    InputError with the problems of all recordings together."""
    from va_search.data import streams

    def read(show: ReadingProgress) -> Store:
        store, _ = streams.import_streams(
            Path(source), Path(to), dtype=dtype, workers=workers, progress=show
        )
        return store

    return _read(read, progress, note)


def import_affwild2(
    annotations: AnyPath,
    to: AnyPath,
    *,
    visual: AnyPath | None = None,
    audio: AnyPath | None = None,
    sample: AnyPath | None = None,
    crops: AnyPath | None = None,
    frame_rates: AnyPath | None = None,
    subjects: AnyPath | None = None,
    dtype: DType = "float32",
    workers: int | None = None,
    progress: bool = True,
    note: Note = to_standard_error,
) -> Store:
    """Import Aff-Wild2's annotations with features of your own into a store at `to`.

    `annotations`: the folder with Train_Set and Validation_Set, or its parent. `visual`, `audio`:
    folders with a subfolder per feature set. `sample`: the organisers' sample file, which names the
    test recordings. `crops`: cropped_aligned, which says which frames have a face. `frame_rates`: a
    CSV recording,frames_per_second (else 30). `subjects`: a CSV recording,subject (else a subject
    each). InputError with all problems together."""
    from va_search.data import affwild2

    options: dict[str, Any] = {
        "visual": visual,
        "audio": audio,
        "sample": sample,
        "crops": crops,
        "frame_rates": frame_rates,
        "subjects": subjects,
    }
    options = {name: Path(path) for name, path in options.items() if path is not None}
    options |= {"dtype": dtype, "workers": workers}
    return _read(
        lambda show: affwild2.import_affwild2(
            Path(annotations), Path(to), **options, progress=show
        ),
        progress,
        note,
    )


def simulate(
    to: AnyPath,
    *,
    size: Literal["demo", "tiny"] = "demo",
    like: Literal["affwild2"] | None = None,
    scale: float = 0.01,
    seed: int = 0,
    hidden: AnyPath | None = None,
    progress: bool = True,
    note: Note = to_standard_error,
) -> Store:
    """Make up a challenge at `to`: nothing to download, known truth; the same for the same options.

    `size`: "demo" has 56 recordings, "tiny" 14 short ones. `like` "affwild2" has the paper's
    feature sets and `scale` (0.01 to 1) of its frames instead. `hidden`: a folder for the withheld
    test labels, a CSV per recording."""
    from va_search.data import simulate as challenge
    from va_search.data.simulate_affwild2 import simulate_affwild2

    labels = None if hidden is None else Path(hidden)

    def make(show: ReadingProgress) -> Store:
        if like is None:
            return challenge.simulate(Path(to), size=size, seed=seed, hidden=labels, progress=show)
        return simulate_affwild2(Path(to), scale=scale, seed=seed, hidden=labels, progress=show)

    return _read(make, progress, note)


def extract_features(
    recipe: AnyPath,
    to: AnyPath,
    *,
    videos: AnyPath,
    annotations: AnyPath | None = None,
    crops: AnyPath | None = None,
    sample: AnyPath | None = None,
    subjects: AnyPath | None = None,
    sound: AnyPath | None = None,
    frames_per_second: float | None = None,
    dtype: DType = "float32",
    leave_out_broken: bool = False,
    workers: int | None = None,
    gpus: float = 0.0,
    address: str | None = None,
    watch: Watch | None = None,
) -> Extracted:
    """Extract a recipe's feature sets out of videos into a store at `to`, aligned by the videos'
    own time stamps; docs/features.md.

    `recipe`: a file, or feature_recipes/paper.yaml, which comes with va-search. `crops`: a folder
    of face crops per recording. `annotations` None: all recordings are test recordings without
    labels, to be predicted. `sound`: a folder with the sound of all videos. `frames_per_second`:
    the rate of labels without times, or of frames without labels. `leave_out_broken`: make the
    store without training and validation recordings whose files are broken. `workers`: recordings
    at once, by default one a core; 1 runs without Ray. `gpus`: share of a GPU for each. `address`:
    a Ray cluster. `watch` is called as recordings are done. InputError with all problems
    together."""
    from va_search.extract import pipeline
    from va_search.extract.ray_engine import OnRay
    from va_search.extract.recipe import load_recipe
    from va_search.extract.sources import Sources
    from va_search.search.machine import Options, check_options, side_by_side
    from va_search.search.ray_backend.connection import ray_running

    options = Options(address, workers, gpus)
    check_options(options)
    read = load_recipe(written_or_shipped(Path(recipe), "feature_recipes"))
    sources = Sources(
        Path(videos),
        _path(annotations),
        _path(crops),
        _path(sample),
        _path(subjects),
        sound=_path(sound),
        frames_per_second=frames_per_second,
    )

    def engine(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        if address is None and not gpus and (workers == 1 or len(indexes) == 1):
            # Ray takes longer to start than it saves
            yield from pipeline.in_turn(worker, indexes)
            return
        # else Ray tells what it thinks of its own ray.data
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with ray_running(options) as ray:
            count = workers or side_by_side(ray.resources, gpus, 1)
            yield from ray.supervisor.each(OnRay(count, gpus)(worker, indexes))

    return pipeline.extract(
        read,
        sources,
        Path(to),
        dtype=dtype,
        leave_out_broken=leave_out_broken,
        engine=engine,
        watch=watch or pipeline.quiet,
    )


def _path(place: AnyPath | None) -> Path | None:
    return None if place is None else Path(place)


def check_store(store: Store | AnyPath) -> AuditReport:
    """Audit a store: counts, lengths, labels, and in `.findings` what would spoil a study.

    Every value is read once. `.count("error")` says how many findings must be put right."""
    from va_search.data.audit import check

    return check(open_store(store))


def make_folds(
    store: Store | AnyPath,
    *,
    k: int = 6,
    keep_validation: bool = False,
    seed: int = 0,
    tries: int = 1000,
    by: Literal["subject", "stimulus", "subject,stimulus"] = "subject",
) -> Folding:
    """Divide the labelled recordings into `k` folds, once: people stay together, frames and labels
    are balanced.

    `keep_validation`: the official validation set is fold k, and training gives the others.
    `tries`: random divisions of which the best are improved. `by` "stimulus": a clip is in one fold
    only, people may be in several; "subject,stimulus": validation has neither people nor clips of
    training, and recordings that share one of them are left out of the fold's training. Open the
    store again afterwards: one that is open knows no new folds. InputError when it has folds of its
    own, or made otherwise, or too few people."""
    from va_search.data import folds

    path = Path(store) if isinstance(store, str | Path) else store.path
    return folds.make_folds(
        path, k=k, keep_validation=keep_validation, seed=seed, tries=tries, by=by
    )


def _read(read: Callable[[ReadingProgress], Store], progress: bool, note: Note) -> Store:
    """Run an importer with a line of progress, then note what its store warns of."""
    if not progress:
        store = read(lambda done, total, name: None)
    else:
        with progress_line("reading …", at_once=False) as line:
            store = read(lambda done, total, name: line.update(f"read {done} of {total}: {name}"))
    for text in read_json(store.path / "manifest.json")["warnings"]:
        note(f"warning: {text}")
    return store

"""`va-search extract`: feature sets out of videos, their sound and face crops."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.data import DType, DTypeOption
from va_search.cli.output import JsonOption, Output, command, duration

if TYPE_CHECKING:
    from va_search.extract.pipeline import Engine, Extracted, ExtractionProgress, Watch
    from va_search.extract.recording import RecordingOutcome, Worker
    from va_search.search.machine import Options

EXAMPLE = (
    "Example: va-search extract feature_recipes/paper.yaml --videos videos --crops cropped_aligned "
    "--annotations VA_Estimation_Challenge --to stores/affwild2"
)
LINE_SECONDS = 15.0
"""Where standard error is no terminal, progress is a line this often."""


def extract(
    recipe: Annotated[Path, typer.Argument(help="The recipe of the feature sets, a YAML file.")],
    *,
    videos: Annotated[Path, typer.Option(help="Folder of videos; subfolders are searched too.")],
    annotations: Annotated[
        Path, typer.Option(help="Folder with Train_Set and Validation_Set, or its parent.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The store to make, or to add feature sets to.")],
    crops: Annotated[
        Path | None,
        typer.Option(
            help="The folder cropped_aligned, with one folder of face crops per recording."
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(help="The organisers' sample file, which names the test recordings."),
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            help="CSV file recording,subject; without it each recording is a subject of its own."
        ),
    ] = None,
    dtype: DTypeOption = DType.float32,
    leave_out_broken: Annotated[
        bool,
        typer.Option(
            "--leave-out-broken",
            help="Make the store without training and validation recordings whose files are broken.",
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many recordings at the same time; default: one per core; 1 needs no Ray.",
        ),
    ] = None,
    gpus: Annotated[
        float,
        typer.Option(min=0, help="GPUs of each worker, such as 0.25: four workers on one GPU."),
    ] = 0.0,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster, e.g. auto; default: Ray on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Extract feature sets from videos into a store, aligned by the videos' time stamps; the same
    command again continues."""
    with command(as_json) as output:
        from va_search.extract.pipeline import extract as extract_store
        from va_search.extract.recipe import load_recipe
        from va_search.extract.sources import Sources
        from va_search.search.machine import Options, check_options

        options = Options(address, workers, gpus)
        check_options(options)
        loaded = load_recipe(recipe)
        sources = Sources(videos, annotations, crops, sample, subjects)
        began = time.monotonic()
        with progress(output) as watch:
            extracted = extract_store(
                loaded,
                sources,
                to,
                dtype=dtype.value,
                leave_out_broken=leave_out_broken,
                engine=_engine(options),
                watch=watch,
            )
        _show(output, extracted, time.monotonic() - began)


def _engine(options: Options) -> Engine:
    """An engine on Ray, or in this process where Ray would take longer to start than it saves."""
    from va_search.extract.pipeline import in_turn
    from va_search.extract.ray_engine import OnRay
    from va_search.search.machine import ray_running, side_by_side

    gpus = options.gpus_per_trial or 0.0

    def run(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        is_alone = options.concurrent == 1 or len(indexes) == 1
        if options.address is None and not gpus and is_alone:
            yield from in_turn(worker, indexes)
            return
        # Without it Ray prints its remarks on its own ray.data.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with ray_running(options) as ray:
            workers = options.concurrent or side_by_side(ray.resources, gpus, 1)
            yield from ray.supervisor.each(OnRay(workers, gpus)(worker, indexes))

    return run


def _show(output: Output, extracted: Extracted, seconds: float) -> None:
    from va_search.cli.data import show_store
    from va_search.files import read_json

    store = extracted.store
    for text in read_json(store.path / "manifest.json")["warnings"]:
        output.note(f"warning: {text}")
    if not extracted.added:
        output.show(f"{store.path}: already there, with all feature sets of the recipe")
    else:
        present = ""
        if extracted.present:
            present = f"; there before: {', '.join(extracted.present)}"
        output.show(f"{store.path}: {', '.join(extracted.added)} extracted{present}")
    if extracted.footage:
        speed = extracted.footage / seconds
        share = extracted.extracting / extracted.seconds
        output.show(
            f"{extracted.recordings} recordings, {duration(extracted.footage)} of video in "
            f"{duration(seconds)}, {speed:.1f} times real time; {share:.0%} of the workers' time "
            "in the extractors"
        )
    show_store(output, store)
    output.show(f"next: va-search data check {quote(str(store.path))}")
    output.done(
        {
            "store": str(store.path),
            "made": extracted.added,
            "there": extracted.present,
            "recordings": extracted.recordings,
            "left_out": extracted.left_out,
            "seconds": seconds,
            "worker_seconds": extracted.seconds,
            "extracting_seconds": extracted.extracting,
            "video_seconds": extracted.footage,
            "feature_sets": [
                {"name": feature_set.name, "modality": feature_set.modality, "dim": feature_set.dim}
                for feature_set in store.feature_sets.values()
            ],
        }
    )


@contextmanager
def progress(output: Output) -> Iterator[Watch]:
    """A watch that shows recordings done and time left, as a bar on a terminal and as a line now
    and then elsewhere."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("extracting"), BarColumn(), TextColumn("{task.fields[state]}"))
    is_terminal = output.error.is_terminal
    with Bar(*columns, console=output.error, transient=True, disable=not is_terminal) as bar:
        task = bar.add_task("extracting", total=1.0, state="reading time stamps")
        began = noted = time.monotonic()

        def watch(progress: ExtractionProgress) -> None:
            nonlocal began, noted
            now = time.monotonic()
            if not progress.name:
                began = now
            state = (
                f"{progress.done} of {progress.total} recordings"
                f"{time_left(progress, now - began)} {progress.name}"
            )
            total = progress.all_footage or 1.0
            bar.update(task, completed=progress.footage, total=total, state=state)
            is_due = now - noted > LINE_SECONDS or progress.done == progress.total
            if not is_terminal and is_due:
                output.note(state)
                noted = now

        yield watch


def time_left(progress: ExtractionProgress, seconds: float) -> str:
    """Time left at the pace of the `seconds` so far, by length of video rather than by recordings;
    "" before the first is done."""
    if not progress.footage or progress.footage >= progress.all_footage:
        return ""
    left = seconds * (progress.all_footage / progress.footage - 1)
    return f", {duration(left)} left"

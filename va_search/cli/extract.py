"""`va-search extract`: feature sets out of videos, their sound and face crops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.progress import duration
from va_search.cli.data import DType, DTypeOption
from va_search.cli.options import ClusterOption
from va_search.cli.output import JsonOption, Output, command

if TYPE_CHECKING:
    from va_search.extract.pipeline import Extracted, ExtractionProgress, Watch

EXAMPLE = (
    "Example: va-search extract feature_recipes/paper.yaml --videos videos --crops cropped_aligned "
    "--annotations VA_Estimation_Challenge --to stores/affwild2"
)
LINE_SECONDS = 15.0
"""Where standard error is no terminal, progress is a line this often."""


def extract(
    recipe: Annotated[Path, typer.Argument(help="The recipe of the feature sets, a YAML file.")],
    *,
    videos: Annotated[
        Path,
        typer.Option(help="Folder of videos, or of files of sound; subfolders are searched too."),
    ],
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Folder with Train_Set and Validation_Set, or with recordings.csv; without it all "
            "recordings are new ones, to be predicted."
        ),
    ] = None,
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
    sound: Annotated[
        Path | None,
        typer.Option(help="Folder with the sound of the videos, in files of their names."),
    ] = None,
    frames_per_second: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1000.0,
            help="Rate of labels without a column of times, or of frames without labels; default: "
            "the videos' frames.",
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
    address: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Extract feature sets from videos into a store, aligned by the videos' time stamps; the same
    command again continues."""
    with command(as_json) as output:
        import va_search as va

        began = time.monotonic()
        with progress(output) as watch:
            extracted = va.extract_features(
                recipe,
                to,
                videos=videos,
                annotations=annotations,
                crops=crops,
                sample=sample,
                subjects=subjects,
                sound=sound,
                frames_per_second=frames_per_second,
                dtype=dtype.value,
                leave_out_broken=leave_out_broken,
                workers=workers,
                gpus=gpus or 0.0,
                address=address,
                watch=watch,
            )
        _show(output, extracted, time.monotonic() - began)


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

    columns = (
        TextColumn("extracting"),
        BarColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
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

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
    from va_search.extract.pipeline import Extracted, Progress, Watch
    from va_search.extract.recording import Outcome, Worker

EXAMPLE = (
    "Example: va-search extract feature_recipes/paper.yaml --videos videos --crops cropped_aligned "
    "--annotations VA_Estimation_Challenge --to stores/affwild2"
)
LINE_SECONDS = 15.0
"""Where standard error is no terminal, progress is a line this often."""


def extract(
    recipe: Annotated[Path, typer.Argument(help="What is extracted, a YAML file.")],
    *,
    videos: Annotated[Path, typer.Option(help="Folder of videos; subfolders are searched too.")],
    annotations: Annotated[
        Path, typer.Option(help="Folder with Train_Set and Validation_Set, or its parent.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The store to make, or to add feature sets to.")],
    crops: Annotated[
        Path | None, typer.Option(help="cropped_aligned: a folder of face crops per recording.")
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(help="The organisers' sample file: test recordings.")
    ] = None,
    subjects: Annotated[
        Path | None, typer.Option(help="CSV recording,subject; else a subject each.")
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
        typer.Option(min=1, help="Recordings at once; default: one per core; 1: no Ray."),
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="GPU share of a worker, e.g. 0.25: four on one.")
    ] = 0.0,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster, e.g. auto; default: Ray on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Extract feature sets into a store, aligned by the videos' own time stamps; the same command
    again goes on."""
    with command(as_json) as output:
        from va_search.extract.cluster import OnRay
        from va_search.extract.pipeline import extract as run
        from va_search.extract.pipeline import in_turn
        from va_search.extract.recipe import load_recipe
        from va_search.extract.sources import Places
        from va_search.search.machine import Options, check_options, ray_running, side_by_side

        options = Options(address, workers, gpus)
        check_options(options)
        read = load_recipe(recipe)
        places = Places(videos, annotations, crops, sample, subjects)
        began = time.monotonic()

        def engine(worker: Worker, indexes: Sequence[int]) -> Iterator[Outcome]:
            if address is None and not gpus and (workers == 1 or len(indexes) == 1):
                yield from in_turn(worker, indexes)  # Ray takes longer to start than it saves
                return
            os.environ.setdefault(
                "RAY_BACKEND_LOG_LEVEL", "fatal"
            )  # else Ray tells what it thinks of its own ray.data
            with ray_running(options) as ray:
                count = workers or side_by_side(ray.resources, gpus, 1)
                yield from ray.supervisor.each(OnRay(count, gpus)(worker, indexes))

        with progress(output) as watch:
            made = run(
                read,
                places,
                to,
                dtype=dtype.value,
                leave_out_broken=leave_out_broken,
                engine=engine,
                watch=watch,
            )
        _show(output, made, time.monotonic() - began)


def _show(output: Output, made: Extracted, seconds: float) -> None:
    from va_search.cli.data import show_store
    from va_search.files import read_json

    path = made.store.path
    for text in read_json(path / "manifest.json")["warnings"]:
        output.note(f"warning: {text}")
    if not made.made:
        output.show(f"{path}: already there, with all feature sets of the recipe")
    else:
        before = f"; there before: {', '.join(made.there)}" if made.there else ""
        output.show(f"{path}: {', '.join(made.made)} extracted{before}")
    if made.footage:
        speed = made.footage / seconds
        output.show(
            f"{made.recordings} recordings, {duration(made.footage)} of video in {duration(seconds)}, {speed:.1f} "
            f"times real time; {made.extracting / made.seconds:.0%} of the workers' time in the extractors"
        )
    show_store(output, made.store)
    output.show(f"next: va-search data check {quote(str(path))}")
    output.done({
        "store": str(path), "made": made.made, "there": made.there, "recordings": made.recordings,
        "left_out": made.left_out, "seconds": seconds, "worker_seconds": made.seconds,
        "extracting_seconds": made.extracting, "video_seconds": made.footage,
        "feature_sets": [
            {"name": one.name, "modality": one.modality, "dim": one.dim} for one in made.store.feature_sets.values()
        ],
    })  # fmt: skip


@contextmanager
def progress(output: Output) -> Iterator[Watch]:
    """Recordings done and time left, as a bar on a terminal and as a line now and then
    elsewhere."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("extracting"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Bar(
        *columns, console=output.error, transient=True, disable=not output.error.is_terminal
    ) as bar:
        task = bar.add_task("extracting", total=1.0, said="reading time stamps")
        began = last = time.monotonic()

        def watch(state: Progress) -> None:
            nonlocal last, began
            now = time.monotonic()
            if not state.name:
                began = now
            said = f"{state.done} of {state.total} recordings{time_left(state, now - began)} {state.name}"
            bar.update(task, completed=state.footage, total=state.all_footage or 1.0, said=said)
            if not output.error.is_terminal and (
                now - last > LINE_SECONDS or state.done == state.total
            ):
                output.note(said)
                last = now

        yield watch


def time_left(state: Progress, seconds: float) -> str:
    """What is left at the pace so far, by seconds of video rather than by recordings; "" before the
    first is done."""
    if not state.footage or state.footage >= state.all_footage:
        return ""
    return f", {duration(seconds * (state.all_footage / state.footage - 1))} left"

"""`va-search data`: import a source into a store, and audit a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.cli.output import JsonOption, Output, command
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.data.audit import LabelCounts, Report
    from va_search.data.folds import Folding
    from va_search.data.importing import Progress
    from va_search.data.store import Store

TABLE_EXAMPLE = "Example: va-search data import table recordings/case --to stores/case"
AFFWILD2_EXAMPLE = (
    "Example: va-search data import affwild2 VA_Estimation_Challenge --visual features/visual --audio features/audio "
    "--sample sample_submission.txt --crops cropped_aligned --frame-rates fps.csv --to stores/affwild2"
)
SIMULATE_EXAMPLE = (
    "Example: va-search data simulate --to stores/simulated --hidden hidden-labels; "
    "or va-search data simulate --like affwild2 --scale 0.01 --to stores/like --hidden like-labels"
)
DEFAULT_SCALE = 0.01
FOLDS_EXAMPLE = "Example: va-search data folds stores/affwild2 --k 6 --keep-validation"
CHECK_EXAMPLE = "Example: va-search data check stores/case"
WARNINGS_SHOWN = 10
FINDINGS_SHOWN = 60
BARS = " ▁▂▃▄▅▆▇█"

app = typer.Typer(
    help="Bring recordings, features and labels into a store, and audit it.", no_args_is_help=True
)
import_app = typer.Typer(
    help="Read a source into a store; the same command again goes on.", no_args_is_help=True
)
app.add_typer(
    import_app, name="import", epilog="Example: va-search data import table SOURCE --to stores/mine"
)


class DType(StrEnum):
    """How feature values are kept."""

    float32 = "float32"
    float16 = "float16"


class Size(StrEnum):
    """Sizes of a simulated challenge."""

    demo = "demo"
    tiny = "tiny"


class Like(StrEnum):
    """Challenges whose shape a simulated one can have."""

    affwild2 = "affwild2"


ToOption = Annotated[Path, typer.Option("--to", help="The store to make.")]
DTypeOption = Annotated[
    DType, typer.Option("--dtype", help="float16 halves the disk space; features only.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Recordings read at once.")
]


@import_app.command(epilog=TABLE_EXAMPLE)
def table(
    source: Annotated[
        Path, typer.Argument(help="Folder with dataset.yaml, recordings.csv and recordings/.")
    ],
    to: ToOption,
    dtype: DTypeOption = DType.float32,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a folder with one CSV or Parquet file per recording."""
    with command(as_json) as output:
        from va_search.data.table import import_table

        _import(
            output,
            to,
            lambda show: import_table(
                source, to, dtype=dtype.value, workers=workers, progress=show
            ),
        )


@import_app.command(epilog=AFFWILD2_EXAMPLE)
def affwild2(  # noqa: PLR0917
    annotations: Annotated[
        Path, typer.Argument(help="Folder with Train_Set and Validation_Set, or its parent.")
    ],
    to: ToOption,
    visual: Annotated[
        Path | None, typer.Option(help="One subfolder per visual feature set.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="One subfolder per audio feature set.")] = None,
    sample: Annotated[
        Path | None, typer.Option(help="The organisers' sample file: test recordings.")
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(help="cropped_aligned: which frames have a face.")
    ] = None,
    frame_rates: Annotated[
        Path | None, typer.Option(help="CSV recording,frames_per_second; else 30.")
    ] = None,
    subjects: Annotated[
        Path | None, typer.Option(help="CSV recording,subject; else a subject each.")
    ] = None,
    dtype: DTypeOption = DType.float32,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import Aff-Wild2's valence-arousal annotations with features of your own, one file per
    recording and set."""
    with command(as_json) as output:
        from va_search.data.affwild2 import import_affwild2

        places: dict[str, Any] = {
            "visual": visual, "audio": audio, "sample": sample, "crops": crops,
            "frame_rates": frame_rates, "subjects": subjects, "dtype": dtype.value, "workers": workers,
        }  # fmt: skip
        _import(output, to, lambda show: import_affwild2(annotations, to, **places, progress=show))


@app.command(epilog=SIMULATE_EXAMPLE)
@import_app.command(epilog=SIMULATE_EXAMPLE)
def simulate(  # noqa: PLR0917
    to: ToOption,
    size: Annotated[
        Size | None, typer.Option(help="demo (default): 56 recordings; tiny: 14 short ones.")
    ] = None,
    like: Annotated[
        Like | None,
        typer.Option(help="Instead of a size: the shape and feature sets of the paper."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="With --like: share of its frames, 0.01 (default) to 1.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another challenge.")] = 0,
    hidden: Annotated[
        Path | None, typer.Option(help="Folder for the withheld test labels.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make up a challenge: nothing to download, known truth."""
    with command(as_json) as output:
        from va_search.data.simulate import simulate as make
        from va_search.data.simulate_affwild2 import simulate_affwild2 as make_like
        from va_search.errors import InputError

        if like is None and scale is not None:
            raise InputError("--scale goes with --like affwild2")
        if like is not None and size is not None:
            raise InputError(
                f"--size {size} and --like {like} are two challenges: give one of them, --like with --scale"
            )
        if like is None:
            chosen = size or Size.demo
            _import(
                output,
                to,
                lambda show: make(to, size=chosen.value, seed=seed, hidden=hidden, progress=show),
            )
        else:
            share = DEFAULT_SCALE if scale is None else scale
            _import(
                output,
                to,
                lambda show: make_like(to, scale=share, seed=seed, hidden=hidden, progress=show),
            )


@app.command(epilog=CHECK_EXAMPLE)
def check(
    store: Annotated[Path, typer.Argument(help="A store made by `va-search data import`.")],
    as_json: JsonOption = False,
) -> None:
    """Audit a store: counts, lengths, labels, and what would spoil a study. Exit code 2 when there
    are errors."""
    with command(as_json) as output:
        from dataclasses import asdict

        from va_search.data.audit import check as audit
        from va_search.data.store import Store

        opened = Store.open(store)
        with output.error.status("reading every value") as status:
            report = audit(opened, lambda name: status.update(f"reading {name}"))
        _show_report(output, opened, report)
        output.done(asdict(report))
        if report.count("error"):
            raise typer.Exit(2)


@app.command(epilog=FOLDS_EXAMPLE)
def folds(
    store: Annotated[
        Path,
        typer.Argument(help="A store made by `va-search data import`, whose source has no folds."),
    ],
    *,
    k: Annotated[int, typer.Option("--k", help="How many folds.")] = 6,
    keep_validation: Annotated[
        bool,
        typer.Option(
            "--keep-validation", help="The official validation set is fold k; training gives k - 1."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other folds.")] = 0,
    tries: Annotated[
        int, typer.Option(min=1, help="Random divisions of which the best are improved.")
    ] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Divide the labelled recordings into folds, once: people stay together, frames and labels are
    balanced."""
    with command(as_json) as output:
        from dataclasses import asdict

        from va_search.data.folds import make_folds

        made = make_folds(store, k=k, keep_validation=keep_validation, seed=seed, tries=tries)
        output.show(
            f"{store}: {'folds already there, made in this very way' if made.already_there else 'folds made'}"
        )
        _show_folds(output, made, kept=k if keep_validation else None)
        output.done({"store": str(store), **asdict(made)})


def _show_folds(output: Output, made: Folding, kept: int | None) -> None:
    table = _table(
        "fold",
        "recordings",
        "subjects",
        "frames",
        "share",
        "labelled",
        "valence",
        "±",
        "arousal",
        "±",
        "distance",
    )
    for row in made.rows:
        counts = (
            f"{row.recordings}",
            f"{row.subjects}",
            f"{row.frames:,}",
            f"{row.share:.1%}",
            f"{row.labelled:,}",
        )
        scores = (number(value) for value in (*row.valence, *row.arousal, row.distance))
        table.add_row(f"{row.fold}{' (official)' if row.fold == kept else ''}", *counts, *scores)
    output.show(table)
    output.show(
        "± is the spread of labels; distance: share of labels in other bins than those of all folds together"
    )
    output.show(
        f"kept together: recordings of one {made.kept_together.replace('and', 'and of one')}"
    )
    if made.kept_together == "subject":
        output.note("videos connect all subjects, so that a video may be in several folds")
    for warning in made.warnings:
        output.note(f"warning: {warning}")
    output.show("next: a space with `folds: all` trains each configuration on every fold")


def _import(output: Output, to: Path, read: Callable[[Progress], Store]) -> None:
    """Run an importer with a progress bar and print what the store holds."""
    from va_search.data.audit import leaks, split_counts
    from va_search.files import read_json

    there = (to / "manifest.json").is_file()
    with _progress(output) as show:
        store = read(show)
    warnings = read_json(store.path / "manifest.json")["warnings"]
    for text in warnings[:WARNINGS_SHOWN]:
        output.note(f"warning: {text}")
    if len(warnings) > WARNINGS_SHOWN:
        output.note(
            f"… and {len(warnings) - WARNINGS_SHOWN} more warnings: va-search data check {quote(str(to))}"
        )
    for finding in leaks(store):
        output.note(f"{finding.level}: {finding.where}: {finding.text}")
    output.show(f"{to}: {'already there, made from these very sources' if there else 'imported'}")
    show_store(output, store)
    output.show(f"next: va-search data check {quote(str(to))}")
    output.done({
        "store": str(to), "name": store.name, "already_there": there, "label_range": store.label_range,
        "splits": [vars(counts) for counts in split_counts(store)],
        "feature_sets": [_feature_set(store, name) for name in store.feature_sets], "warnings": warnings,
    })  # fmt: skip


@contextmanager
def _progress(output: Output) -> Iterator[Progress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Progress(
        *columns, console=output.error, transient=True, disable=not output.error.is_terminal
    ) as bar:
        task = bar.add_task("reading", total=None, what="")
        yield lambda done, total, what: bar.update(task, completed=done, total=total, what=what)


def _feature_set(store: Store, name: str) -> dict[str, Any]:
    entry = store.feature_sets[name]
    return {"name": name, "modality": entry.modality, "dim": entry.dim, "dtype": entry.dtype}


def show_store(output: Output, store: Store) -> None:
    """The splits and feature sets of a store, as two tables."""
    from va_search.data.audit import split_counts

    all_counts = split_counts(store)
    splits = _table(
        "split", "recordings", "subjects", "frames", "labelled", "shortest", "longest", "hours"
    )
    for counts in all_counts:
        numbers = (
            counts.recordings, counts.subjects, counts.frames, counts.labelled, counts.shortest, counts.longest,
        )  # fmt: skip
        splits.add_row(counts.split, *(f"{value:,}" for value in numbers), f"{counts.hours:.2f}")
    sets = _table("feature set", "modality", "dim", "dtype")
    for name in store.feature_sets:
        sets.add_row(*(str(value) for value in _feature_set(store, name).values()))
    output.show(splits)
    faces, gaps = (
        sum(counts.without_face for counts in all_counts),
        sum(counts.gaps for counts in all_counts),
    )
    if faces or gaps:
        from va_search.errors import counted

        output.show(
            f"{counted(faces, 'frame')} without a face take the nearest frame with one; "
            f"{counted(gaps, 'gap')} in time\n"
        )
    output.show(sets)


def _show_report(output: Output, store: Store, report: Report) -> None:
    from va_search.data.folds import folds_command
    from va_search.errors import counted

    low, high = report.label_range
    rates = ", ".join(
        f"{rate:g} ({counted(count, 'recording')})" for rate, count in report.frame_rates.items()
    )
    output.show(f"{report.name}: labels in [{low:g}, {high:g}]; frames per second: {rates}")
    show_store(output, store)
    labels = _table(
        "labels", "split", "unlabelled", "lowest", "highest", "mean", "spread", "histogram"
    )
    for counts in report.labels:
        labels.add_row(*_label_row(counts))
    output.show(labels)
    for finding in report.findings[:FINDINGS_SHOWN]:
        output.show(f"{finding.level}: {finding.where}: {finding.text}")
    if len(report.findings) > FINDINGS_SHOWN:
        output.show(f"… and {len(report.findings) - FINDINGS_SHOWN} more; --json shows all")
    if report.folds:
        held = ", ".join(
            f"{fold} ({counted(recordings, 'recording')})"
            for fold, recordings in report.folds.items()
        )
        output.show(f"folds: {held}")
    else:
        folds = folds_command(store)
        output.show("no folds" if folds is None else f"no folds; to make some: {folds}")
    errors, warnings = report.count("error"), report.count("warning")
    advice = (
        "put the errors right and import again"
        if errors
        else "next: va-search plan search_spaces/any.yaml"
    )
    output.show(
        f"{counted(errors, 'error')}, {counted(warnings, 'warning')}; {advice}"
        f"{'' if errors else f' --data {quote(str(store.path))}'}"
    )


def _label_row(counts: LabelCounts) -> tuple[str, ...]:
    most = max(counts.histogram) or 1
    bars = "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts.histogram)
    values = (counts.lowest, counts.highest, counts.mean, counts.deviation)
    return (
        counts.dimension, counts.split, f"{counts.unlabelled_share:.1%}", *(number(value) for value in values), bars,
    )  # fmt: skip


def _table(first: str, *others: str) -> Table:
    """An empty table; numbers stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(first, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in others:
        made.add_column(
            name, justify="left" if name in ("modality", "dtype", "split", "histogram") else "right"
        )
    return made

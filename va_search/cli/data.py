"""`va-search data`: import a source into a store, and audit a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.progress import live_text
from va_search.cli.output import JsonOption, Output, command
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.data.audit import AuditReport
    from va_search.data.folds import Folding
    from va_search.data.importing import Progress
    from va_search.data.store import Store
    from va_search.data.stream_report import StreamsReport

TABLE_EXAMPLE = "Example: va-search data import table recordings/case --to stores/case"
AFFWILD2_EXAMPLE = (
    "Example: va-search data import affwild2 VA_Estimation_Challenge --visual features/visual --audio features/audio "
    "--sample sample_submission.txt --crops cropped_aligned --frame-rates fps.csv --to stores/affwild2"
)
STREAMS_EXAMPLE = "Example: va-search data import streams recordings/forrest --to stores/forrest"
INIT_EXAMPLE = "Example: va-search data init recordings/mine"
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
    help="Import features and labels of recordings into a store, check it, and make folds.",
    no_args_is_help=True,
)
import_app = typer.Typer(
    help="Read a source into a store; the same command again continues.", no_args_is_help=True
)
app.add_typer(
    import_app, name="import", epilog="Example: va-search data import table SOURCE --to stores/mine"
)


class DType(StrEnum):
    """Types in which feature values are kept."""

    float32 = "float32"
    float16 = "float16"


class SimulatedSize(StrEnum):
    """Sizes of a simulated challenge."""

    demo = "demo"
    tiny = "tiny"


class Like(StrEnum):
    """Challenges whose shape a simulated one can have."""

    affwild2 = "affwild2"


class By(StrEnum):
    """What folds do not share."""

    subject = "subject"
    stimulus = "stimulus"
    both = "subject,stimulus"


ToOption = Annotated[
    Path, typer.Option("--to", help="The store to make: a new path or an empty folder.")
]
DTypeOption = Annotated[
    DType,
    typer.Option("--dtype", help="Type of the feature values; float16 halves the disk space."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="How many recordings are read at the same time; default: one per core, at most 8.",
    ),
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

        def read(progress: Progress) -> Store:
            return import_table(source, to, dtype=dtype.value, workers=workers, progress=progress)

        _import(output, to, read)


@import_app.command(epilog=STREAMS_EXAMPLE)
def streams(
    source: Annotated[
        Path,
        typer.Argument(help="Folder with streams.yaml, recordings.csv and the streams' files."),
    ],
    to: ToOption,
    dtype: DTypeOption = DType.float32,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import feature sets and labels that lie in separate files, each with its own clock and rate,
    as MuSe, EPiC, AVEC, OpenFace and openSMILE have them."""
    with command(as_json) as output:
        from va_search.data.streams import import_streams

        reports: list[StreamsReport] = []

        def read(progress: Progress) -> Store:
            store, report = import_streams(
                source, to, dtype=dtype.value, workers=workers, progress=progress
            )
            reports.append(report)
            return store

        _import(output, to, read, lambda document: _show_streams(output, reports[0], document))


@import_app.command(epilog=AFFWILD2_EXAMPLE)
def affwild2(  # noqa: PLR0917
    annotations: Annotated[
        Path, typer.Argument(help="Folder with Train_Set and Validation_Set, or its parent.")
    ],
    to: ToOption,
    visual: Annotated[
        Path | None, typer.Option(help="Folder with one subfolder per visual feature set.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder with one subfolder per audio feature set.")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(help="The organisers' sample file, which names the test recordings."),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(help="The folder cropped_aligned, which shows which frames have a face."),
    ] = None,
    frame_rates: Annotated[
        Path | None,
        typer.Option(help="CSV file recording,frames_per_second; without it 30 is used."),
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            help="CSV file recording,subject; without it each recording is a subject of its own."
        ),
    ] = None,
    dtype: DTypeOption = DType.float32,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import Aff-Wild2's valence-arousal annotations, with your own features in one file per
    recording and feature set."""
    with command(as_json) as output:
        from va_search.data.affwild2 import import_affwild2

        def read(progress: Progress) -> Store:
            return import_affwild2(
                annotations,
                to,
                visual=visual,
                audio=audio,
                sample=sample,
                crops=crops,
                frame_rates=frame_rates,
                subjects=subjects,
                dtype=dtype.value,
                workers=workers,
                progress=progress,
            )

        _import(output, to, read)


@app.command(epilog=SIMULATE_EXAMPLE)
@import_app.command(epilog=SIMULATE_EXAMPLE)
def simulate(  # noqa: PLR0917
    to: ToOption,
    size: Annotated[
        SimulatedSize | None,
        typer.Option(help="demo (default): 56 recordings; tiny: 14 short ones."),
    ] = None,
    like: Annotated[
        Like | None,
        typer.Option(help="Instead of --size: recordings and feature sets as in the paper."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="With --like: share of its frames, 0.001 to 1; default: 0.01."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes another challenge.")] = 0,
    hidden: Annotated[
        Path | None,
        typer.Option(help="Folder for the test labels, which a challenge would withhold."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a challenge: nothing is downloaded, and the test labels are known."""
    with command(as_json) as output:
        from va_search.data.simulate import simulate as make
        from va_search.data.simulate_affwild2 import simulate_affwild2 as make_like
        from va_search.errors import InputError

        if like is None and scale is not None:
            raise InputError("--scale goes with --like affwild2")
        if like is not None and size is not None:
            raise InputError(
                f"--size {size} and --like {like} are two challenges: give one of them, --like "
                "with --scale"
            )

        def read(progress: Progress) -> Store:
            if like is None:
                chosen = size or SimulatedSize.demo
                return make(to, size=chosen.value, seed=seed, hidden=hidden, progress=progress)
            share = DEFAULT_SCALE if scale is None else scale
            return make_like(to, scale=share, seed=seed, hidden=hidden, progress=progress)

        _import(output, to, read)


@app.command(epilog=INIT_EXAMPLE)
@app.command("draft", hidden=True, epilog=INIT_EXAMPLE)
def init(
    source: Annotated[
        Path, typer.Argument(help="Folder of your files, or one file of all recordings.")
    ],
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Frames (rows) per second, where no column of times says it."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,…", help="The columns of labels, where no name tells them."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a description that is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a draft of what an import needs to know, out of the files that lie in a folder:
    dataset.yaml for one file per recording, streams.yaml for features and labels in files of their
    own, and recordings.csv. Every guess is said, with the line to change it in."""
    with command(as_json) as output:
        from va_search.api.data import draft_source

        columns = [] if labels is None else [name.strip() for name in labels.split(",")]
        written = draft_source(source, rate=rate, labels=columns, force=force)
        for file in written.files:
            output.show(f"{file}: written")
        for guess in written.guesses:
            output.show(f"guess: {guess.place}: {guess.text}")
        for remark in written.remarks:
            output.show(f"guess: {remark}")
        for question in written.questions:
            output.show(f"to be put right: {question}")
        advice = "look at the guesses"
        if written.questions:
            advice = "put right what is asked, look at the guesses"
        output.show(f"next: {advice}, then {written.command}")
        output.done(
            {
                "files": [str(file) for file in written.files],
                "guesses": [vars(guess) for guess in written.guesses],
                "remarks": [*written.remarks],
                "questions": [*written.questions],
                "command": written.command,
            }
        )


@app.command(epilog=CHECK_EXAMPLE)
def check(
    store: Annotated[Path, typer.Argument(help="A store made by `va-search data import`.")],
    as_json: JsonOption = False,
) -> None:
    """Check a store for errors such as leakage, wrong labels and NaN, and show what it holds. Exit
    code 2 if there are errors."""
    with command(as_json) as output:
        from va_search.api.data import open_store
        from va_search.data.audit import check as audit

        opened = open_store(store)
        with live_text(output.error, "reading every value") as write:
            report = audit(opened, lambda name: write(f"reading {name}"))
        _show_report(output, opened, report)
        output.done(report.to_json())
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
            "--keep-validation",
            help="Keep the official validation set as fold k; divide the training recordings into k - 1.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other folds.")] = 0,
    tries: Annotated[
        int,
        typer.Option(
            min=1, help="How many random divisions are tried; the best ones are then improved."
        ),
    ] = 1000,
    by: Annotated[
        By,
        typer.Option(
            help="What a fold has for itself: its people, its stimuli (clips), or both; then recordings "
            "that share one of the two are left out of its training, and k is a product of two numbers.",
        ),
    ] = By.subject,
    as_json: JsonOption = False,
) -> None:
    """Divide the labelled recordings of a store into folds: a person is in one fold only, frames and
    labels are balanced."""
    with command(as_json) as output:
        from va_search.data.folds import make_folds

        folding = make_folds(
            store, k=k, keep_validation=keep_validation, seed=seed, tries=tries, by=by.value
        )
        state = "folds made"
        if folding.already_there:
            state = "folds already there, made with the same options"
        output.show(f"{store}: {state}")
        _show_folds(output, folding, kept=k if keep_validation else None)
        output.done({"store": str(store), **folding.to_json()})


def _show_folds(output: Output, folding: Folding, kept: int | None) -> None:
    """A table of the folds, of which `kept` is the official validation set, and warnings."""
    table = _table(
        "fold", "recordings", "subjects", "frames", "share", "labelled",
        *(heading for name in folding.rows[0].statistics for heading in (name, "±")),
        "distance",
    )  # fmt: skip
    for row in folding.rows:
        statistics = []
        for mean, spread in row.statistics.values():
            statistics += [number(mean), number(spread)]
        statistics.append(number(row.distance))
        table.add_row(
            f"{row.fold} (official)" if row.fold == kept else str(row.fold),
            str(row.recordings),
            str(row.subjects),
            f"{row.frames:,}",
            f"{row.share:.1%}",
            f"{row.labelled:,}",
            *statistics,
        )
    output.show(table)
    output.show(
        "± is the spread of labels; distance: share of labels in other bins than those of all "
        "folds together"
    )
    if not folding.left_out:
        together = folding.kept_together.replace("and", "and of one")
        output.show(f"kept together: recordings of one {together}")
    if folding.left_out:
        output.show("kept apart: no fold trains on a person or a stimulus that it validates")
        total = len(folding.folds)
        trained = [total - row.recordings - folding.left_out[row.fold] for row in folding.rows]
        output.show(
            f"left out: a fold trains on {min(trained)} to {max(trained)} of {total} recordings; the "
            f"others that it does not validate ({min(folding.left_out.values())} to "
            f"{max(folding.left_out.values())}) share a person or a stimulus with those it validates"
        )
    if folding.kept_together == "subject":
        output.note("videos connect all subjects, so that a video may be in several folds")
    for warning in folding.warnings:
        output.note(f"warning: {warning}")
    output.show("next: a space with `folds: all` trains each configuration on every fold")


def _show_streams(output: Output, report: StreamsReport, document: dict[str, object]) -> None:
    """Tables of a report on streams; the report also goes into `document`, which `--json`
    prints."""
    document["streams"] = report.to_json()
    low, rate, high = report.frame_rate
    rates = f"{rate:g}" if low == high else f"{low:g} to {high:g}"
    output.show(f"frames: {report.frames:,} at {rates} per second, made by {report.frames_made_by}")
    table = _table(
        "stream", "rate", "frames", "begins", "ends", "gaps", "missing rows", "resampling"
    )
    for row in report.streams:
        table.add_row(
            row.name,
            f"{row.rate[1]:g}/s",
            f"{row.covered:.1%}",
            _offset(row.begin),
            _offset(row.end),
            f"{row.gaps:,}",
            f"{row.missing_rows:,}",
            row.resampling,
        )
    output.show(table)
    output.show(
        "frames: share that the stream has samples for; begins, ends: seconds after the first and "
        "last frame, lowest to highest"
    )
    _show_targets(output, report)
    if report.without_some:
        output.show(
            f"{report.without_some:,} frames lack some stream: its values are kept as missing there"
        )
    output.show("")


def _show_targets(output: Output, report: StreamsReport) -> None:
    """Table of the targets, with their raters where they have several."""
    table = _table("target", "labelled", "raters", "fused by", "CCC", "r", "clock")
    for row in report.targets:
        table.add_row(
            row.name,
            f"{row.labelled:.1%}",
            str(row.raters),
            row.fuse or "–",
            number(row.ccc),
            number(row.r),
            row.clock,
        )
    output.show(table)


def _offset(values: tuple[float, float, float]) -> str:
    """Seconds from the lowest to the highest, or the only ones."""
    low, _, high = values
    if abs(high - low) < 5e-4:
        return f"{low:+.3g} s"
    return f"{low:+.3g} to {high:+.3g} s"


def _import(
    output: Output,
    to: Path,
    read: Callable[[Progress], Store],
    show_more: Callable[[dict[str, object]], None] | None = None,
) -> None:
    """Run an importer with a progress bar and print what the store holds; `show_more` prints more
    and adds it to the document of `--json`."""
    from va_search.data.audit import leaks, split_counts, target_findings
    from va_search.files import read_json
    from va_search.targets import targets_to_json

    # Asked before reading: an import that finds its store reads nothing.
    already_there = (to / "manifest.json").is_file()
    with _progress(output) as progress:
        store = read(progress)
    warnings = read_json(store.path / "manifest.json")["warnings"]
    command_line = f"va-search data check {quote(str(to))}"
    for text in warnings[:WARNINGS_SHOWN]:
        output.note(f"warning: {text}")
    if len(warnings) > WARNINGS_SHOWN:
        output.note(f"… and {len(warnings) - WARNINGS_SHOWN} more warnings: {command_line}")
    for finding in (*leaks(store), *target_findings(store)):
        output.note(f"{finding.level}: {finding.where}: {finding.text}")
    state = "already there, made from the same sources" if already_there else "imported"
    output.show(f"{to}: {state}")
    show_store(output, store)
    document: dict[str, object] = {
        "store": str(to),
        "name": store.name,
        "already_there": already_there,
        **targets_to_json(store.targets),
        "splits": [vars(counts) for counts in split_counts(store)],
        "feature_sets": [entry.summary() for entry in store.feature_sets.values()],
        "warnings": warnings,
    }
    if show_more is not None:
        show_more(document)
    output.show(f"next: {command_line}")
    output.done(document)


@contextmanager
def _progress(output: Output) -> Iterator[Progress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}", markup=False),
        console=output.error,
        transient=True,
        disable=not output.error.is_terminal,
    ) as bar:
        task = bar.add_task("reading", total=None, what="")
        yield lambda done, total, what: bar.update(task, completed=done, total=total, what=what)


def show_store(output: Output, store: Store) -> None:
    """The splits and feature sets of a store, as two tables."""
    from va_search.data.audit import split_counts
    from va_search.errors import counted

    splits = _table(
        "split", "recordings", "subjects", "frames", "labelled", "shortest", "longest", "hours"
    )
    faces = gaps = 0
    for counts in split_counts(store):
        faces += counts.without_face
        gaps += counts.gaps
        numbers = (
            counts.recordings,
            counts.subjects,
            counts.frames,
            counts.labelled,
            counts.shortest,
            counts.longest,
        )
        splits.add_row(counts.split, *[f"{value:,}" for value in numbers], f"{counts.hours:.2f}")
    output.show(splits)
    if faces or gaps:
        output.show(
            f"{counted(faces, 'frame')} without a face take the nearest frame with one; "
            f"{counted(gaps, 'gap')} in time\n"
        )
    sets = _table("feature set", "modality", "dim", "dtype")
    for entry in store.feature_sets.values():
        sets.add_row(*map(str, entry.summary().values()))
    output.show(sets)


def _show_report(output: Output, store: Store, report: AuditReport) -> None:
    from va_search.data.folds import folds_command
    from va_search.errors import counted
    from va_search.targets import ranges_of

    rates = []
    for rate, count in report.frame_rates.items():
        rates.append(f"{rate:g} ({counted(count, 'recording')})")
    output.show(
        f"{report.name}: {ranges_of(report.targets)}; frames per second: {', '.join(rates)}"
    )
    output.show(lengths_text(store))
    show_store(output, store)
    labels = _table(
        "labels", "split", "unlabelled", "lowest", "highest", "mean", "spread", "histogram"
    )
    for counts in report.labels:
        statistics = (counts.lowest, counts.highest, counts.mean, counts.deviation)
        labels.add_row(
            counts.dimension,
            counts.split,
            f"{counts.unlabelled_share:.1%}",
            *map(number, statistics),
            _bars(counts.histogram),
        )
    output.show(labels)
    _show_variance(output, report)
    for baseline in report.baselines:
        cccs = [f"{target} {number(value)}" for target, value in baseline.cccs.items()]
        output.show(f"CCC on validation without any training, {baseline.title}: {', '.join(cccs)}")
    for finding in report.findings[:FINDINGS_SHOWN]:
        output.show(f"{finding.level}: {finding.where}: {finding.text}")
    if len(report.findings) > FINDINGS_SHOWN:
        output.show(f"… and {len(report.findings) - FINDINGS_SHOWN} more; --json shows all")
    # Either the folds that are there, or the command that makes some.
    folds = [f"{fold} ({counted(count, 'recording')})" for fold, count in report.folds.items()]
    command_line = folds_command(store)
    if folds:
        output.show(f"folds: {', '.join(folds)}")
    elif command_line is None:
        output.show("no folds")
    else:
        output.show(f"no folds; to make some: {command_line}")
    errors, warnings = report.count("error"), report.count("warning")
    advice = f"next: va-search plan search_spaces/any.yaml --data {quote(str(store.path))}"
    if errors:
        advice = "put the errors right and import again"
    output.show(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}; {advice}")


def lengths_text(store: Store) -> str:
    """How long recordings are, in seconds and frames: `recordings last 50 s (1,001 frames)`."""
    from va_search.api.progress import duration

    by_length = sorted(store.recordings, key=lambda recording: recording.frames)
    ends: dict[str, None] = {}
    for recording in (by_length[0], by_length[-1]):
        seconds = duration(recording.frames / recording.frames_per_second)
        ends[f"{seconds} ({recording.frames:,} frames)"] = None
    advice = "; `va-search plan` says how many steps a model makes of them"
    return f"recordings last {' to '.join(ends)}{advice}"


def _show_variance(output: Output, report: AuditReport) -> None:
    """How much of the labels' variance lies between recordings, and between clips."""
    between: dict[str, list[str]] = {"recordings": [], "clips": []}
    for shares in report.variance:
        if shares.between_recordings is not None:
            between["recordings"].append(f"{shares.target} {shares.between_recordings:.1%}")
        if shares.between_clips is not None:
            between["clips"].append(f"{shares.target} {shares.between_clips:.1%}")
    parts = [f"between {noun} {', '.join(texts)}" for noun, texts in between.items() if texts]
    if parts:
        output.show(f"variance of the labels of train and validation: {'; '.join(parts)}")


def _bars(histogram: tuple[int, ...]) -> str:
    """A sign per bin, as high as its share of the fullest bin."""
    fullest = max(histogram) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // fullest)] for count in histogram)


def _table(*columns: str) -> Table:
    """An empty table; numbers stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(columns[0], box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in columns[1:]:
        is_text = name in (
            "modality",
            "dtype",
            "split",
            "histogram",
            "resampling",
            "clock",
            "fused by",
        )
        table.add_column(name, justify="left" if is_text else "right")
    return table

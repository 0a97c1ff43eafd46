"""`va-search submit`: an ensemble's test predictions in a challenge's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.home import check_ensemble
from va_search.cli.ensemble_tables import show_verdict
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble
    from va_search.submission.writing import Submission

EXAMPLE = "Example: va-search submit first-best --format recordings --out first-submission"

ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace", help="Replace what another ensemble or another command wrote to --out."
    ),
]


def submit(
    ensemble: Annotated[str, typer.Argument(help="The ensemble's name.")],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="The folder to write; an earlier submission of this ensemble is replaced."
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="recordings: one CSV per recording; abaw: one file in the order of --sample.",
        ),
    ] = "recordings",
    sample: Annotated[
        Path | None,
        typer.Option("--sample", help="The organisers' sample file, for --format abaw."),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            "--template",
            help="Folder of the organisers' files (any rows, any rate): a copy of them is filled.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="The store; default: the one the ensemble was chosen on."),
    ] = None,
    replace: ReplaceOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the ensemble's test predictions on the targets' scales, clipped to their ranges, and check that
    the files are complete."""
    with command(as_json) as output, named_home(home).using() as opened:
        import va_search as va
        from va_search.verdict.next_command import use_command

        files = opened.files
        words = ("--out", str(out))
        check_ensemble(files, ensemble, lambda name: files.command("submit", name, *words))
        saved = va.open_ensemble(ensemble, home=opened)
        written = saved.submit(
            out, format=format, sample=sample, template=template, store=data, replace=replace
        )
        show(output, saved.document, written)
        block = saved.judged([] if data is None else ["--data", data])
        # It is written: to write it again is no next step.
        show_verdict(output, block, done=use_command(files, saved.document))
        document = {**vars(written), "folder": str(written.folder)}
        document |= {"validation": saved.document.scores, "verdict": block.document()}
        output.done({**document, "remarks": saved.remarks})


def show(output: Output, ensemble: Ensemble, written: Submission) -> None:
    """Show what was written, and the scores on validation."""
    state = "replaced" if written.replaced else "wrote"
    files = written.files[0] if len(written.files) == 1 else f"{len(written.files)} files"
    recordings = counted(written.recordings, "test recording")
    output.show(f"{state} {written.folder}: {files}, {recordings}, {counted(written.rows, 'row')}")
    output.show(f"read back and checked: complete, finite, within {within(ensemble)}")
    if written.clipped:
        output.show(clipped_words(written.clipped))
    if written.unasked:
        are, were = ("is", "was") if written.unasked == 1 else ("are", "were")
        output.show(
            f"{counted(written.unasked, 'frame')} of the store {are} not in the sample and {were} left out"
        )
    if not ensemble.measured_on.recordings:
        output.show(f"no validation score: {ensemble.measured_on.reason}")
        return
    for measured in ("out_of_fold", "in_sample"):
        scores = ensemble.scores[measured] or {}
        cccs = [f"{name} {number(scores.get(name))}" for name in ensemble.target_names]
        output.show(f"validation, {measured.replace('_', '-'):11}  {'  '.join(cccs)}")


def within(ensemble: Ensemble) -> str:
    """Return the range of all targets, or of each: `[-1.0, 1.0]`, `engagement [0.0, 100.0]`."""
    ranges = {target.range for target in ensemble.targets}
    if len(ranges) == 1:
        return str(list(ensemble.targets[0].range))
    return ", ".join(f"{target.name} {list(target.range)}" for target in ensemble.targets)


def clipped_words(values: int) -> str:
    """`3 values were outside the label range and were clipped to it`."""
    were = "was" if values == 1 else "were"
    return f"{counted(values, 'value')} {were} outside the label range and {were} clipped to it"

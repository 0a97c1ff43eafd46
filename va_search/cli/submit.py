"""`va-search submit`: an ensemble's test predictions in a challenge's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, number
from va_search.cli.places import bring_members, opened

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble
    from va_search.submission import Submission

EXAMPLE = "Example: va-search submit first-best --format recordings --out first-submission"


def submit(
    ensemble: Annotated[str, typer.Argument(help="The ensemble's name.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; an earlier submission there is replaced.")],
    format: Annotated[
        str, typer.Option("--format", help="abaw: one file in the sample's order; recordings: a CSV per recording.")
    ] = "recordings",
    sample: Annotated[Path | None, typer.Option("--sample", help="abaw: the organisers' sample file.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="The store; default: the one of the ensemble.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write an ensemble's test predictions: source scale, clipped, complete, read back and checked."""
    with command(as_json) as output, opened(home) as at:
        from va_search.data.store import Store
        from va_search.ensemble.saved import read_ensemble
        from va_search.predictions.bank import Bank
        from va_search.submission import submit as write

        found = read_ensemble(at, ensemble)
        bring_members(at, found, "predictions")
        store = Store.open(found.store if data is None else data)
        written = write(found, store, Bank(at.bank), format=format, out=out, sample=sample)
        show(output, found, written)
        document = {**vars(written), "folder": str(written.folder), "validation": found.scores}
        output.done(document)


def show(output: Output, ensemble: Ensemble, written: Submission) -> None:
    """What was written and what to expect of it."""
    state = "replaced" if written.replaced else "wrote"
    files = written.files[0] if len(written.files) == 1 else f"{len(written.files)} files"
    output.show(f"{state} {written.folder}: {files}, {written.recordings} test recordings, {written.rows} rows")
    output.show(f"read back and checked: complete, finite, within {list(ensemble.label_range)}")
    if written.clipped:
        output.show(f"{written.clipped} values lay outside the label range and were clipped to it")
    if written.unasked:
        output.show(f"{written.unasked} frames of the store are not in the sample and were left out")
    if not ensemble.measured_on.recordings:
        output.show(f"no validation score: {ensemble.measured_on.reason}")
        return
    for measured in ("out_of_fold", "in_sample"):
        scores = ensemble.scores[measured] or {}
        pair = f"valence {number(scores.get('valence'))}  arousal {number(scores.get('arousal'))}"
        output.show(f"validation, {measured.replace('_', '-'):11}  {pair}")

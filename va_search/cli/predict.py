"""`va-search predict`: an ensemble's predictions of any store, from its members' weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.home import check_ensemble
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.cli.submit import ReplaceOption, clipped_words, within
from va_search.cli.trust import TrustCodeOption, allow_code
from va_search.errors import counted

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble
    from va_search.serving.predict import Written

EXAMPLE = (
    "Example: va-search predict first-best --data stores/new --split test --out new-predictions"
)

TOLERANCE = 1e-4
"""Of the label range: float32 on another machine or device stays below."""


def predict(
    ensemble: Annotated[str, typer.Argument(help="The ensemble's name.")],
    *,
    data: Annotated[
        str,
        typer.Option(
            "--data", help="The store to predict; it must have the members' feature sets."
        ),
    ],
    split: Annotated[
        str, typer.Option("--split", help="The recordings to predict: test, validation or train.")
    ] = "test",
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="The folder to write; earlier predictions of this ensemble are replaced."
        ),
    ],
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu or a torch device such as cuda:0.")
    ] = "auto",
    replace: ReplaceOption = False,
    trust_code: TrustCodeOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Predict the recordings of a store from the members' weights: one CSV per recording, on the
    targets' scales, clipped to their ranges."""
    with command(as_json) as output, named_home(home).using() as opened:
        import va_search as va

        allow_code(trust_code)
        files = opened.files
        words = ["--data", data, "--split", split, "--out", str(out)]
        check_ensemble(files, ensemble, lambda name: files.command("predict", name, *words))
        saved = va.open_ensemble(ensemble, home=opened)
        written = saved.write_predictions(data, out, split, device=device, replace=replace)
        show(output, written, saved.document)
        remarks = saved.remarks
        for remark in remarks:
            output.show(remark)
        output.done({**vars(written), "folder": str(written.folder), "remarks": remarks})


def show(output: Output, written: Written, ensemble: Ensemble) -> None:
    """Show what was written, and what a reader should know of it."""
    state = "replaced" if written.replaced else "wrote"
    recordings = counted(len(written.files), f"{written.split} recording")
    output.show(f"{state} {written.folder}: {recordings}, {counted(written.rows, 'row')}")
    members, sets = counted(written.members, "member"), ", ".join(written.feature_sets)
    output.show(
        f"predicted by {members} on {written.device}, from {sets}; "
        f"read back and checked: complete, finite, within {within(ensemble)}"
    )
    if written.clipped:
        output.show(clipped_words(written.clipped))
    if written.from_bank is not None:
        largest = f"the largest difference is {written.from_bank:.1e}"
        output.show(f"the bank has predictions of these recordings: {largest}")
        narrowest = min(target.high - target.low for target in ensemble.targets)
        if written.from_bank > TOLERANCE * narrowest:
            output.note(
                "warning: that is more than rounding: weights or features changed since, "
                "or trials were trained in bf16"
            )
    if written.split != "test":
        own = f"if these {written.split} recordings are the study's own"
        output.show(f"{own}, scores on them are too high")

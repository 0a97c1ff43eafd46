"""`va-search predict`: an ensemble's predictions of any store, from its members' weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration
from va_search.cli.places import bring_members, check_ensemble, opened
from va_search.cli.submit import ReplaceOption, clipped_words
from va_search.cli.trust import TrustCodeOption, allow_code
from va_search.errors import counted

if TYPE_CHECKING:
    from va_search.serving.predict import Written

EXAMPLE = (
    "Example: va-search predict first-best --data stores/new --split test --out new-predictions"
)

LINE_SECONDS = 15.0
"""Where standard error is no terminal, progress is a line this often."""

TOLERANCE = 1e-4
"""Of the label range: float32 on another machine or device stays below."""


def predict(
    ensemble: Annotated[str, typer.Argument(help="The ensemble's name.")],
    *,
    data: Annotated[
        str,
        typer.Option("--data", help="The store to predict; it needs the members' feature sets."),
    ],
    split: Annotated[str, typer.Option("--split", help="test, validation or train.")] = "test",
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="The folder to write; this ensemble's earlier predictions are replaced."
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
    """Predict recordings from the members' weights: one CSV per recording, on the label scale,
    clipped."""
    with command(as_json) as output, opened(home) as at_home:
        from va_search.data.store import Store
        from va_search.ensemble.saved import read_ensemble
        from va_search.predictions.bank import Bank
        from va_search.report.standing import out_of_date

        allow_code(trust_code)
        words = ["--data", data, "--split", split, "--out", str(out)]
        check_ensemble(at_home, ensemble, lambda name: at_home.command("predict", name, *words))
        found = read_ensemble(at_home, ensemble)
        bring_members(at_home, found, "weights")
        store = Store.open(data)
        with progress(output) as watch:
            from va_search.serving.predict import checked_device, write_predictions

            at = checked_device(device)
            written = write_predictions(
                found,
                Bank(at_home.bank),
                store,
                split,
                out,
                device=at,
                replace=replace,
                watch=watch,
            )
        show(output, written, found.label_range)
        remarks = out_of_date(at_home, found)
        for remark in remarks:
            output.show(remark)
        output.done({**vars(written), "folder": str(written.folder), "remarks": remarks})


def show(output: Output, written: Written, label_range: tuple[float, float]) -> None:
    """What was written, and what a reader should know of it."""
    state = "replaced" if written.replaced else "wrote"
    recordings = counted(len(written.files), f"{written.split} recording")
    rows = f"{recordings}, {counted(written.rows, 'row')}"
    output.show(f"{state} {written.folder}: {rows}")
    members, sets = counted(written.members, "member"), ", ".join(written.feature_sets)
    output.show(
        f"predicted by {members} on {written.device}, from {sets}; "
        f"read back and checked: complete, finite, within {list(label_range)}"
    )
    if written.clipped:
        output.show(clipped_words(written.clipped))
    if written.from_bank is not None:
        output.show(
            f"the bank has predictions of these recordings: the largest difference is {written.from_bank:.1e}"
        )
        low, high = label_range
        if written.from_bank > TOLERANCE * (high - low):
            output.note(
                "warning: that is more than rounding: weights or features changed since, or trials were trained in bf16"
            )
    if written.split != "test":
        output.show(
            f"if these {written.split} recordings are the study's own, scores on them are too high"
        )


@contextmanager
def progress(output: Output) -> Iterator[Callable[[str, int, int], None]]:
    """The member at work, the share done and the time left; always on standard error."""
    began = time.monotonic()

    def line(label: str, done: int, frames: int) -> str:
        left = (time.monotonic() - began) * (frames - done) / max(done, 1)
        return (
            f"predicting: {done / max(frames, 1):.0%}, member {label}, about {duration(left)} left"
        )

    if output.error.is_terminal:
        with output.error.status("reading weights …") as status:
            yield lambda label, done, frames: status.update(line(label, done, frames))
        return
    last = began

    def now_and_then(label: str, done: int, frames: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            output.note(line(label, done, frames))

    yield now_and_then

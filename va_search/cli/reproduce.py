"""`va-search reproduce paper`: the paper's searches, folds, five submissions and tables, on any
store."""

from __future__ import annotations

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration
from va_search.cli.places import opened
from va_search.cli.search import run

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.search.configurations import Space

EXAMPLE = (
    "Example: va-search data simulate --like affwild2 --scale 0.01 --to stores/like --hidden like-labels; "
    "va-search reproduce paper --data stores/like --labels like-labels --out paper-report"
)
FOLDS = 6
"""Of the paper (4.5): the official validation set and five of the training recordings."""


class What(StrEnum):
    """What can be reproduced."""

    paper = "paper"


class Size(StrEnum):
    """Model sizes and numbers of trials."""

    auto = "auto"
    small = "small"
    paper = "paper"


def reproduce(
    what: Annotated[What, typer.Argument(help="What to reproduce.")],
    *,
    data: Annotated[
        Path, typer.Option("--data", help="The store; folds are made in it where it has none.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the report, the spaces and the submissions.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Test labels, <recording>.csv each; without them Table 6 has none."
        ),
    ] = None,
    size: Annotated[
        Size,
        typer.Option(
            help="paper: the paper's models; small: for CPUs; auto: paper where a GPU is."
        ),
    ] = Size.auto,
    study: Annotated[
        str, typer.Option("--study", help="The four studies' names begin so.")
    ] = "paper",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Search, ablation, folds, Train-Val-Mix, five submissions, and a report with the paper's six
    tables.

    The same command again goes on from what is finished.
    """
    with command(as_json) as output, opened(home, "predictions", writes=True) as where:
        from va_search.cli import submissions
        from va_search.data.store import Store
        from va_search.report.write import check_place, write
        from va_search.search.machine import Options
        from va_search.submission.scoring import read_labels

        started = time.monotonic()
        check_place(out)
        if labels is not None:
            read_labels(labels, Store.open(data))  # refused now rather than after the searches
        store = _with_folds(output, Store.open(data))
        spaces = _spaces(output, store, _size(output, size), out / "spaces")
        studies = [study + name.removeprefix(what.value) for name in spaces]
        for name, space in zip(studies, spaces.values(), strict=True):
            output.show(f"search     study {name}")
            run(output, where, space, store, study=name, options=Options())
        made = None
        if store.split("test"):
            made = submissions.make(
                output,
                where,
                studies,
                out=out / "submissions",
                store=store,
                labels=labels,
                prefix=study,
            )
            submissions.log(output, where, made, None)
        else:
            output.show("no submissions, no Train-Val-Mix: the store has no test recordings")
        output.show("report     tables and figures …")
        said = _command(data, out, labels=labels, size=size, study=study, home=home)
        written = write(where, studies, store=store, out=out, command=said)
        output.show(f"report     {written}")
        output.show(f"the whole reproduction took {duration(time.monotonic() - started)}")
        output.done(
            {"report": str(written), "studies": studies, "submissions": made and made.document()}
        )


def _with_folds(output: Output, store: Store) -> Store:
    from va_search.data.folds import make_folds
    from va_search.data.store import Store

    if store.fold_numbers:
        output.show(
            f"folds      {store.path} has {len(store.fold_numbers)} with labels: {_numbers(store)}"
        )
        return store
    make_folds(store.path, k=FOLDS, keep_validation=True)
    found = Store.open(store.path)
    output.show(f"folds      made in {store.path}: {_numbers(found)}")
    return found


def _numbers(store: Store) -> str:
    return ", ".join(
        f"{n} (official)" if n == store.official_fold else str(n) for n in store.fold_numbers
    )


def _size(output: Output, size: Size) -> Literal["small", "paper"]:
    if size is not Size.auto:
        return "small" if size is Size.small else "paper"
    import torch

    if torch.cuda.is_available():
        return "paper"
    output.show(
        "size       small, since this machine has no GPU; --size paper trains the paper's own models"
    )
    return "small"


def _spaces(
    output: Output, store: Store, size: Literal["small", "paper"], folder: Path
) -> dict[str, Space]:
    """The fitted spaces by name, checked on the store; their files are in `folder`."""
    from va_search.search.paper import fitted_spaces
    from va_search.search.session import planned_trials
    from va_search.search.space import load_space

    found, remarks = {}, []
    for fitted in fitted_spaces(store, size):
        found[fitted.name] = load_space(fitted.write(folder), store)
        remarks += [remark for remark in fitted.remarks if remark not in remarks]
    for remark in remarks:
        output.show(f"spaces     {remark}")
    counts = {name: planned_trials(space) for name, space in found.items()}
    trials = ", ".join(f"{name} {count}" for name, count in counts.items())
    output.show(f"spaces     in {folder}; trials: {trials}")
    return found


def _command(
    data: Path, out: Path, *, labels: Path | None, size: Size, study: str, home: str
) -> str:
    """What the report says it was made by: what differs from the defaults, too."""
    words = ["va-search", "reproduce", "paper", "--data", str(data), "--out", str(out)]
    words += ["--labels", str(labels)] if labels is not None else []
    words += ["--size", size.value] if size is not Size.auto else []
    words += ["--study", study] if study != "paper" else []
    words += ["--home", home] if home != DEFAULT_HOME else []
    return shlex.join(words)

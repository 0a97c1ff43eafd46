"""Options that several commands have, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer


def gpu_names(text: str | None) -> tuple[str, ...] | None:
    """Return the names of GPUs, which commas separate; None where none are given."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise typer.BadParameter(f"--gpus: found {text!r}, expected GPUs such as 2,3")
    return names


ConcurrentOption = Annotated[
    int | None,
    typer.Option(min=1, help="How many trials run at the same time; default: as many as fit."),
]
GpusPerTrialOption = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs of each trial, such as 0.25: four trials on one GPU."),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        metavar="GPU,…",
        help="GPUs of this machine to train on: numbers as nvidia-smi shows them, such as 2,3, or "
        "their UUIDs, or parts (MIG) such as 0:1. Where CUDA_VISIBLE_DEVICES is set, numbers count "
        "what it lists. Default: all that nobody else uses.",
    ),
]
ShareGpusOption = Annotated[
    bool,
    typer.Option("--share-gpus", help="Train on GPUs that others use now, too."),
]
ClusterOption = Annotated[
    str | None, typer.Option(help="A Ray cluster, e.g. auto; default: Ray on this machine.")
]
PatienceOption = Annotated[
    float,
    typer.Option(
        "--patience",
        min=0,
        metavar="MINUTES",
        help="Minutes to wait for a failing machine (store away, disk full) before the search ends.",
    ),
]
TrackingUriOption = Annotated[
    str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
]
WorthOption = Annotated[
    float | None,
    typer.Option(
        help="End the search once the ensemble is expected to gain less CCC than this in a further "
        "hour, such as 0.005."
    ),
]
NotifyOption = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="A command of yours to run at a new best trial, at the end and at a failure; it gets "
        "the event as JSON on its standard input.",
    ),
]

"""Options that several commands have, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

ConcurrentOption = Annotated[
    int | None,
    typer.Option(min=1, help="How many trials run at the same time; default: as many as fit."),
]
GpusPerTrialOption = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs of each trial, such as 0.25: four trials on one GPU."),
]
ClusterOption = Annotated[
    str | None, typer.Option(help="A Ray cluster, e.g. auto; default: Ray on this machine.")
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

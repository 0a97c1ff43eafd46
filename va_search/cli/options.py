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

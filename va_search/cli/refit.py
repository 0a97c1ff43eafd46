"""`va-search refit`: an ensemble's members trained again on everything that is labelled."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from va_search.api.home import check_ensemble
from va_search.cli.ensemble_tables import show, show_verdict
from va_search.cli.options import (
    ClusterOption,
    ConcurrentOption,
    GpusOption,
    GpusPerTrialOption,
    PatienceOption,
    ShareGpusOption,
    TrackingUriOption,
    gpu_names,
)
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home
from va_search.cli.trust import TrustCodeOption, allow_code

EXAMPLE = "Example: va-search refit first-best --name first-refit"


def refit(
    ensemble: Annotated[str, typer.Argument(help="The ensemble whose members are trained again.")],
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the new ensemble and of the study of its trials; default: …-refit. The "
            "same name again trains what is missing.",
        ),
    ] = None,
    match: Annotated[
        bool,
        typer.Option(
            help="Scale and shift the test predictions to the mean and spread of all labelled "
            "frames; no test label is read.",
        ),
    ] = True,
    data: Annotated[
        str | None, typer.Option("--data", help="The store, if it moved; default: where it was.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    concurrent: ConcurrentOption = None,
    gpus: GpusOption = None,
    gpus_per_trial: GpusPerTrialOption = None,
    share_gpus: ShareGpusOption = False,
    address: ClusterOption = None,
    tracking_uri: TrackingUriOption = None,
    patience: PatienceOption = 10.0,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train an ensemble's members again on train and validation together, with their settings and
    seeds for all their epochs, and give them the weights they have: more people to learn from,
    for the last submission."""
    with command(as_json) as output:
        import va_search as va
        from va_search.api.refitting import save_refitted, train_again
        from va_search.cli.search import run

        allow_code(trust_code)
        opened = named_home(home)
        with opened.using():
            check_ensemble(
                opened.files, ensemble, lambda known: opened.files.command("refit", known)
            )
            members = va.open_ensemble(ensemble, home=opened)
        options = va.Options(
            address,
            concurrent,
            gpus_per_trial,
            tracking_uri,
            gpus=gpu_names(gpus),
            share_gpus=share_gpus,
            patience=60 * patience,
        )
        new_name = name or f"{ensemble}-refit"
        with opened.using(writes=True):
            train = partial(train_again, members, new_name, store=data, options=options)
            run(output, opened, train)
            built = save_refitted(members, new_name, match=match, store=data)
        show(output, built.document)
        output.show(f"saved {opened.files.ensemble(built.name)}")
        block = built.judged([] if data is None else ["--data", data])
        show_verdict(output, block)
        output.done({**built.document.model_dump(mode="json"), "verdict": block.document()})
        output.note("logging to MLflow …")
        built.track(tracking_uri, note=output.note)

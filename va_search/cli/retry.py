"""`va-search retry`: train again what failed, without the search space at hand."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from va_search.api.home import check_studies
from va_search.api.study import OpenStudy
from va_search.cli.options import (
    ClusterOption,
    ConcurrentOption,
    GpusOption,
    GpusPerTrialOption,
    NotifyOption,
    PatienceOption,
    ShareGpusOption,
    TrackingUriOption,
    gpu_names,
)
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home
from va_search.cli.trust import TrustCodeOption, allow_code

EXAMPLE = "Example: va-search retry first --failed"


def retry(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only failed trials, not unfinished ones.")
    ] = False,
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
    notify: NotifyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the failed and unfinished trials of a study again, and no new ones; its budget is
    ignored."""
    with command(as_json) as output:
        import va_search as va
        from va_search.cli.search import run

        allow_code(trust_code)
        opened = named_home(home)
        with opened.using():
            files = opened.files
            check_studies(files, [study], lambda name, of: files.command("retry", of[0]))
        options = va.Options(
            address,
            concurrent,
            gpus_per_trial,
            tracking_uri,
            gpus=gpu_names(gpus),
            share_gpus=share_gpus,
            patience=60 * patience,
        )

        again = partial(
            OpenStudy(opened, study).retry,
            failed_only=failed,
            store=data,
            options=options,
            notify=notify,
        )
        summary = run(output, opened, again)
        if not summary.trained and not summary.failed:
            output.show("nothing to retry")
        output.done(vars(summary))

"""`va-search retry`: train again what failed, without the search space at hand."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import check_studies, open_store, opened
from va_search.cli.trust import TrustCodeOption, allow_code

EXAMPLE = "Example: va-search retry first --failed"


def retry(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Failed trials alone, not those left unfinished.")
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="The store; default: where it was.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials side by side; default: all that fit.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="For example 0.25: four trials a GPU.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster, e.g. auto; default: Ray on this machine.")
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a study's failed and unfinished trials, whatever its budget, and nothing new."""
    with command(as_json) as output, opened(home) as at:
        from va_search.cli.search import run
        from va_search.models.sources import bring_kept
        from va_search.search.machine import Options
        from va_search.search.space import read_space
        from va_search.search.study import Study

        check_studies(at, [study], lambda name, of: at.command("retry", of[0]))
        found = Study(at, study)
        document = found.document()
        store = open_store(document["store_path"], data)
        allow_code(trust_code)
        bring_kept(document["space"], found.folder / "code")
        space = read_space(document["space"], store, path=found.folder / "study.json", name=study)
        options = Options(address, concurrent, gpus_per_trial, tracking_uri)
        only: Literal["failed", "begun"] = "failed" if failed else "begun"
        summary = run(output, at, space, store, study=study, options=options, only=only)
        if not summary.trained and not summary.failed:
            output.show("nothing to retry")
        output.done(vars(summary))

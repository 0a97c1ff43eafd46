"""`va-search register`: an ensemble in MLflow's model registry, ready to be served."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import bring_members, check_ensemble, opened
from va_search.cli.trust import TrustCodeOption, allow_code
from va_search.errors import counted

if TYPE_CHECKING:
    from va_search.serving.register import Registered

EXAMPLE = "Example: va-search register first-best"


def register(
    ensemble: Annotated[str, typer.Argument(help="The ensemble's name.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="The model's name; default: the ensemble's.")
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    trust_code: TrustCodeOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put an ensemble with its members' weights into MLflow's model registry; a new version only if
    it changed."""
    with command(as_json) as output, opened(home, writes=True) as at:
        from va_search.ensemble.saved import read_ensemble
        from va_search.report.standing import out_of_date

        allow_code(trust_code)
        check_ensemble(at, ensemble, lambda other: at.command("register", other))
        found = read_ensemble(at, ensemble)
        bring_members(at, found, "weights")
        output.note("reading weights, logging to MLflow …")
        from va_search.serving.register import register as register_model

        registered = register_model(at, found, name=name, tracking_uri=tracking_uri)
        show(output, registered, tracking_uri)
        remarks = out_of_date(at, found)
        for remark in remarks:
            output.show(remark)
        output.done({**vars(registered), "remarks": remarks})


def show(output: Output, registered: Registered, given: str | None) -> None:
    """The version, and how to predict with it, where the tracking URI was `given`."""
    done = "registered" if registered.new else "unchanged, registered before as"
    output.show(
        f"{done} {registered.uri}: {counted(registered.members, 'member')}, {registered.megabytes:.2g} MB of weights, "
        f"{counted(registered.columns, 'feature column')}"
    )
    uri = shlex.quote(registered.tracking_uri)
    output.show("predict a table of unseen recordings:")
    hidden = given not in (None, registered.tracking_uri)
    output.show(
        f"  export MLFLOW_TRACKING_URI={uri}"
        + ("  # with your user and password" if hidden else "")
    )
    output.show(
        f"  mlflow models predict -m {registered.uri} --env-manager local -t csv -i features.csv -o out.json"
    )

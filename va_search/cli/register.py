"""`va-search register`: an ensemble in MLflow's model registry, ready to be served."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.home import check_ensemble
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
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
    """Put an ensemble with its members' weights into MLflow's model registry; a new version is made
    only if something changed."""
    with command(as_json) as output, named_home(home).using(writes=True) as opened:
        import va_search as va

        allow_code(trust_code)
        files = opened.files
        check_ensemble(files, ensemble, lambda other: files.command("register", other))
        saved = va.open_ensemble(ensemble, home=opened)
        output.note("reading weights, logging to MLflow …")
        registered = saved.register(name=name, tracking_uri=tracking_uri)
        show(output, registered, tracking_uri)
        remarks = saved.remarks
        for remark in remarks:
            output.show(remark)
        output.done({**vars(registered), "remarks": remarks})


def show(output: Output, registered: Registered, named_uri: str | None) -> None:
    """Show the version, and how to predict with it; `named_uri` is the tracking URI of the
    command."""
    state = "registered" if registered.new else "unchanged, registered before as"
    members = counted(registered.members, "member")
    columns = counted(registered.columns, "feature column")
    size = f"{registered.megabytes:.2g} MB of weights"
    output.show(f"{state} {registered.uri}: {members}, {size}, {columns}")
    output.show("predict a table of unseen recordings:")
    export = f"  export MLFLOW_TRACKING_URI={shlex.quote(registered.tracking_uri)}"
    if named_uri not in (None, registered.tracking_uri):
        export += "  # with your user and password"
    output.show(export)
    files = "-t csv -i features.csv -o out.json"
    output.show(f"  mlflow models predict -m {registered.uri} --env-manager local {files}")

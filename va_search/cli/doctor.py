"""`va-search doctor`: is this machine fit for a search? Each check is ok, or says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from va_search.cli.options import TrackingUriOption
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command, finite
from va_search.cli.places import named_home

EXAMPLE = "Example: va-search doctor; or va-search doctor --data stores/mine --report doctor.json"


def doctor(
    home: HomeOption = DEFAULT_HOME,
    data: Annotated[
        str | None, typer.Option("--data", help="A store to look at too, a folder or a URL.")
    ] = None,
    tracking_uri: TrackingUriOption = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write what a bug report needs to this file; without names and secrets."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at versions, GPU, memory, the home's file system, Ray's needs, proxies and MLflow: each is
    ok, or the line below says what to do. Exit code 1 where something must be mended."""
    with command(as_json) as output:
        import va_search as va
        from va_search.files import whole_file

        diagnosis = va.diagnose(named_home(home), data, tracking_uri=tracking_uri)
        for line in diagnosis.lines:
            output.show(line)
        document = diagnosis.document()
        if report is not None:
            with whole_file(report) as beside:
                text = json.dumps(finite(document), indent=1)
                beside.write_text(text + "\n", encoding="utf-8")
            output.show(f"report: {report} (read it before you send it)")
        output.done(document)
        if diagnosis.problems:
            raise typer.Exit(1)

"""`va-search stop`: end a search from another shell."""

from __future__ import annotations

from typing import Annotated

import typer

from va_search.api.home import check_studies
from va_search.api.study import OpenStudy
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home

EXAMPLE = "Example: va-search stop first"


def stop(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask the running search of a study to stop as it does after Ctrl-C: its state is saved, its
    exit code is 130."""
    with command(as_json) as output, named_home(home).using() as opened:
        files = opened.files
        check_studies(files, [study], lambda name, of: files.command("stop", of[0]))
        searching = OpenStudy(opened, study).stop()
        if searching:
            status = files.command("status", study)
            output.show(
                f"study {study}: asked its search to stop; it does within seconds ({status})"
            )
        else:
            output.show(f"study {study}: nothing is searching it")
        output.done({"study": study, "searching": searching})

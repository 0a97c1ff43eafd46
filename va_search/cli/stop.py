"""`va-search stop`: end a search from another shell."""

from __future__ import annotations

from typing import Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import check_studies, opened

EXAMPLE = "Example: va-search stop first"


def stop(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask the running search of a study to stop as after Ctrl-C: everything is saved, its exit code
    is 130."""
    with command(as_json) as output, opened(home) as at:
        from va_search.search.study import Study
        from va_search.storage.lease import ask_elsewhere

        check_studies(at, [study], lambda name, of: at.command("stop", of[0]))
        found = Study(at, study)
        found.document()
        searching = found.ask_to_stop() or ask_elsewhere(at, study)
        if searching:
            status = at.command("status", study)
            output.show(
                f"study {study}: asked its search to stop; it does within seconds ({status})"
            )
        else:
            output.show(f"study {study}: nothing is searching it")
        output.done({"study": study, "searching": searching})

"""`va-search stop`: end a search from another shell."""

from __future__ import annotations

from typing import Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command

EXAMPLE = "Example: va-search stop first"


def stop(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask the running search of a study to stop, as Ctrl-C there would: with everything saved and exit code 130."""
    with command(as_json) as output:
        from va_search.files import Home
        from va_search.search.study import Study

        found = Study(Home(home), study)
        found.document()
        searching = found.ask_to_stop()
        if searching:
            output.show(f"study {study}: asked its search to stop; it does within seconds (va-search status {study})")
        else:
            output.show(f"study {study}: nothing is searching it")
        output.done({"study": study, "searching": searching})

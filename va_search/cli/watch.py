"""`va-search status STUDY --watch`: how a study goes, until all of it is trained."""

from __future__ import annotations

from va_search.cli.output import Output
from va_search.cli.places import named_home
from va_search.errors import InputError


def watch_study(
    output: Output, place: str, study: str | None, seconds: float, address: str | None
) -> None:
    """Show how a study goes, every so many seconds, until all of it is trained or Ctrl-C.

    InputError for a study that the home does not have, and for what can't be watched."""
    from va_search.api import watching

    if study is None or address is not None or output.as_json:
        raise InputError(
            "--watch shows one study of a home: give its name, without --address and --json"
        )
    watching.watch_study(named_home(place), study, seconds, output.standard)

"""Opens the home a command works on and names it on the screen."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from va_search.api.home import (
    Needed,
    check_ensemble,
    check_studies,
    home_words,
    open_home,
    studies_of,
)
from va_search.cli.output import Output

__all__ = ["check_ensemble", "check_studies", "name_home", "named_home", "opened", "studies_of"]

if TYPE_CHECKING:
    from va_search.api.home import OpenHome
    from va_search.home import Home


@contextmanager
def opened(
    place: str,
    need: Needed = "records",
    *,
    studies: Collection[str] | None = None,
    writes: bool = False,
) -> Iterator[Home]:
    """Context with the home's files, which names it; for a home at a URL as in `OpenHome.using`."""
    with named_home(place).using(need, studies=studies, writes=writes) as home:
        yield home.files


def named_home(place: str) -> OpenHome:
    """The home at a path or URL, named on the screen; nothing is brought yet."""
    home = open_home(place)
    name_home(home.files)
    return home


def name_home(home: Home) -> None:
    """Say which home the running command reads or makes."""
    output = Output.current()
    if output is not None:
        output.name_home(home_words(home), home.place)

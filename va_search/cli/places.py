"""The home of a command: named, checked for what it holds, and if at a URL, brought and put back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from va_search.cli.output import Output
from va_search.errors import counted

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home

Needed = Literal["records", "predictions", "weights"]
"""How much of finished trials is brought from a URL."""
NOT_THERE = "does not exist: give the right one with --home, or run this in the folder it is in"


@contextmanager
def opened(
    place: str,
    need: Needed = "records",
    *,
    studies: Collection[str] | None = None,
    writes: bool = False,
) -> Iterator[Home]:
    """The home at a path as it is; of one at a URL this machine's copy, brought now and, if the
    command `writes`, put there at its end.

    `need`: how much of finished trials is read, of these `studies` where some are named."""
    from va_search.storage.places import is_url

    if not is_url(place):
        from va_search.files import Home, share_with_group

        home = Home(Path(place))
        share_with_group(home.root)
        name_home(home)
        yield home
        return
    from va_search.storage.homes import Need, copy_of, home_at

    home = home_at(place)
    name_home(home)
    copy = copy_of(home)
    assert copy is not None
    copy.merge(Need[need.upper()], studies)
    yield home
    if writes:
        copy.merge(Need[need.upper()], studies)


def bring_members(home: Home, ensemble: Ensemble, need: Needed) -> None:
    """Bring what an ensemble's members predicted, or their weights too; nothing to do for a home at
    a path."""
    from va_search.storage.homes import Need, copy_of

    copy = copy_of(home)
    if copy is None:
        return
    studies = set()
    for _, piece in ensemble.pieces:
        for weighted in piece.dimensions.values():
            studies |= {member.study for member in weighted.members}
    copy.merge(Need[need.upper()], studies)


def name_home(home: Home) -> None:
    """Say which home the running command reads or makes."""
    output = Output.current()
    if output is not None:
        output.name_home(home_words(home), home.place)


def home_words(home: Home) -> str:
    """`home va-home (in /data/work), which does not exist yet`."""
    if home.url is not None:
        return f"home {home.url}"
    text = f"home {home.root}"
    if not home.root.is_absolute():
        text += f" (in {home.root.absolute().parent})"
    if not home.root.is_dir():
        text += ", which does not exist yet"
    return text


def open_store(noted: str, named: str | None) -> Store:
    """The store that was named, or else the one that a home's file notes; InputError, with what to
    do, where it moved."""
    from va_search.data.store import Store
    from va_search.errors import InputError

    if named is not None:
        return Store.open(named)
    try:
        return Store.open(noted)
    except InputError as error:
        problem = error.problems[0].partition(";")[0]
        moved = "if the store was moved, say where it is with --data STORE"
        raise InputError(f"{problem}; {moved}") from error


def studies_of(home: Home) -> list[str]:
    """Names of the home's studies: those that were searched, and those with trials from elsewhere
    only."""
    from va_search.predictions.bank import Bank

    searched = (path.parent.name for path in home.studies.glob("*/study.json"))
    return sorted({*Bank(home.bank).studies(), *searched})


def check_studies(
    home: Home, names: Sequence[str], instead: Callable[[str, list[str]], str]
) -> None:
    """InputError for names that are no study of the home: what they are instead, and what the home
    holds.

    `instead(ensemble, studies)` is the command that takes the ensemble of that name.
    """
    from va_search.ensemble.saved import known_ensembles, read_ensemble
    from va_search.errors import InputError, unknown_name

    studies, ensembles = studies_of(home), known_ensembles(home)
    problems = []
    for name in names:
        if name in studies:
            continue
        if name in ensembles:
            sources = read_ensemble(home, name).studies
            built = f"built of {counted(len(sources), 'study', 'studies')} {', '.join(sources)}"
            advice = f"try: {instead(name, sources)}"
            problems.append(f"{name!r} is an ensemble ({built}), not a study; {advice}")
        else:
            unknown = unknown_name("study", name, studies)
            problems.append(f"{unknown}; {_contents(home, studies, ensembles)}")
    if problems:
        raise InputError(*problems)


def check_complete(home: Home, studies: Sequence[str]) -> None:
    """InputError for studies of the home that have no complete trial yet, with where their searches
    stand."""
    from va_search.errors import InputError
    from va_search.predictions.bank import Bank
    from va_search.report.standing import is_searched
    from va_search.search.study import Study

    problems = []
    for name in studies:
        if Bank(home.bank).trials(name):
            continue
        failed = counted(len(Study(home, name).failures()), "trial")
        state = "nothing searches it now"
        if is_searched(home, name):
            state = "it is being searched now"
        problems.append(f"study {name!r} has no complete trial yet ({failed} failed, {state})")
    if problems:
        raise InputError(*problems)


def check_ensemble(home: Home, name: str, instead: Callable[[str], str]) -> None:
    """InputError for a name that is no ensemble of the home; `instead(ensemble)` is the command for
    another one."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble
    from va_search.errors import InputError, unknown_name

    studies, ensembles = studies_of(home), known_ensembles(home)
    if name in ensembles:
        return
    if name not in studies:
        text = unknown_name("ensemble", name, ensembles)
        if not ensembles:
            text += "; build one with `va-search ensemble STUDY --name NAME`"
        raise InputError(f"{text}; {_contents(home, studies, ensembles)}")
    # The name of a study: its ensembles, or how to build one.
    own = []
    for ensemble in ensembles:
        try:
            if name in read_ensemble(home, ensemble).studies:
                own.append(ensemble)
        except InputError:
            continue  # damaged; a command that asks for it by name says so
    if own:
        its = "its ensemble is" if len(own) == 1 else "its ensembles are"
        advice = f"{its} {', '.join(own)}; try: {instead(own[0])}"
    else:
        build = home.command("ensemble", name, "--name", f"{name}-best")
        advice = f"build its ensemble first: {build}"
    raise InputError(f"{name!r} is a study, not an ensemble; {advice}")


def _contents(home: Home, studies: Sequence[str], ensembles: Sequence[str]) -> str:
    """The home and how much it holds, or that it is not there."""
    words = home_words(home).removesuffix(", which does not exist yet")
    if home.url is None and not home.root.is_dir():
        return f"{words} {NOT_THERE}"
    text = f"{words} holds {counted(len(studies), 'study', 'studies')}"
    text += f" and {counted(len(ensembles), 'ensemble')}"
    if ensembles:
        text += f" ({', '.join(ensembles)})"
    return text

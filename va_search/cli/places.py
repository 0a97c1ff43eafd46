"""What every command does with its home: name it, say what is in it, and for one at a URL bring and
put its files."""

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


@contextmanager
def opened(
    place: str,
    need: Needed = "records",
    *,
    studies: Collection[str] | None = None,
    writes: bool = False,
) -> Iterator[Home]:
    """The home at a path as it is; of one at a URL this machine's copy, brought now and, if the
    command `writes`, put there at its end. `need`: how much of finished trials is read, of these
    studies where some are named."""
    from va_search.storage.places import is_url

    if not is_url(place):
        from va_search.files import Home, share_with_group

        share_with_group(Path(place))
        name_home(Home(Path(place)))
        yield Home(Path(place))
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
    from va_search.metrics import DIMENSIONS
    from va_search.storage.homes import Need, copy_of

    copy = copy_of(home)
    if copy is not None:
        parts = [
            piece.dimensions[dimension] for _, piece in ensemble.pieces for dimension in DIMENSIONS
        ]
        copy.merge(Need[need.upper()], {member.study for part in parts for member in part.members})


def name_home(home: Home) -> None:
    """Say which home the running command reads or makes."""
    output = Output.current()
    if output is not None:
        output.name_home(home_words(home), home.place)


def home_words(home: Home) -> str:
    """`home va-home (in /data/work)`, and whether it is there."""
    if home.url is not None:
        return f"home {home.url}"
    where = "" if home.root.is_absolute() else f" (in {home.root.absolute().parent})"
    missing = "" if home.root.is_dir() else ", which does not exist yet"
    return f"home {home.root}{where}{missing}"


def open_store(noted: str, given: str | None) -> Store:
    """The store that a home's file notes, or the one given; InputError, with what to do, where it
    moved."""
    from va_search.data.store import Store
    from va_search.errors import InputError

    if given is not None:
        return Store.open(given)
    try:
        return Store.open(noted)
    except InputError as error:
        first = error.problems[0].partition(";")[0]
        raise InputError(
            f"{first}; if the store was moved, say where it is with --data STORE"
        ) from error


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
            ensemble = read_ensemble(home, name)
            of = f"built of {counted(len(ensemble.studies), 'study', 'studies')} {', '.join(ensemble.studies)}"
            problems.append(
                f"{name!r} is an ensemble ({of}), not a study; try: {instead(name, ensemble.studies)}"
            )
        else:
            problems.append(
                f"{unknown_name('study', name, studies)}; {_holds(home, studies, ensembles)}"
            )
    if problems:
        raise InputError(*problems)


def check_complete(home: Home, studies: Sequence[str]) -> None:
    """InputError for studies of the home that have no complete trial yet, with where their searches
    stand."""
    from va_search.errors import InputError
    from va_search.predictions.bank import Bank
    from va_search.report.standing import is_searched
    from va_search.search.study import Study

    bank = Bank(home.bank)
    problems = []
    for name in studies:
        if not bank.trials(name):
            failed = counted(len(Study(home, name).failures()), "trial")
            state = (
                "it is being searched now" if is_searched(home, name) else "nothing searches it now"
            )
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
        build = "" if ensembles else "; build one with `va-search ensemble STUDY --name NAME`"
        raise InputError(
            f"{unknown_name('ensemble', name, ensembles)}{build}; {_holds(home, studies, ensembles)}"
        )
    own = []
    for ensemble in ensembles:
        try:
            if name in read_ensemble(home, ensemble).studies:
                own.append(ensemble)
        except InputError:
            continue  # damaged; whoever asks for it by name is told
    if own:
        names = ", ".join(own)
        hint = f"its {'ensemble is' if len(own) == 1 else 'ensembles are'} {names}; try: {instead(own[0])}"
    else:
        hint = (
            f"build its ensemble first: {home.command('ensemble', name, '--name', f'{name}-best')}"
        )
    raise InputError(f"{name!r} is a study, not an ensemble; {hint}")


def _holds(home: Home, studies: Sequence[str], ensembles: Sequence[str]) -> str:
    """What a home holds, or that it is not there."""
    words = home_words(home).removesuffix(", which does not exist yet")
    if home.url is None and not home.root.is_dir():
        return f"{words} does not exist: give the right one with --home, or run this in the folder it is in"
    parts = [counted(len(studies), "study", "studies"), counted(len(ensembles), "ensemble")]
    names = f" ({', '.join(ensembles)})" if ensembles else ""
    return f"{words} holds {' and '.join(parts)}{names}"

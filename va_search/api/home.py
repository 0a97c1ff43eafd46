"""A home as Python sees it: its studies and ensembles by name, and its files where it is at a URL.

Conventions: a name that is wrong is answered with the names that are right. Where a home is at a
URL, work on it stands inside `OpenHome.using`, which brings and puts files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from va_search.errors import InputError, counted, unknown_name
from va_search.files import share_with_group
from va_search.home import DEFAULT_HOME, HOME_VARIABLE, Home

if TYPE_CHECKING:
    from va_search.api.contents import HomeContents
    from va_search.api.ensembles import OpenEnsemble
    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble

Needed = Literal["records", "predictions", "weights"]
"""How much of finished trials is read; each includes the ones before."""
NEEDED: tuple[Needed, ...] = ("records", "predictions", "weights")


@dataclass
class _Around:
    """A context of `OpenHome.using` that is open: what it brought, and whether it puts files."""

    need: Needed
    studies: frozenset[str] | None
    writes: bool

    def covers(self, need: Needed, studies: frozenset[str] | None) -> bool:
        """Tell if everything that an inner context needs has been brought."""
        if NEEDED.index(need) > NEEDED.index(self.need):
            return False
        return self.studies is None or (studies is not None and studies <= self.studies)


@dataclass
class OpenHome:
    """A home; `files` has its paths. Make one with `open_home`."""

    files: Home
    _around: _Around | None = field(default=None, repr=False)

    @property
    def studies(self) -> list[str]:
        """Names of the studies: those that were searched, and those with models from elsewhere."""
        with self.using():
            return studies_of(self.files)

    @property
    def ensembles(self) -> list[str]:
        """Names of the ensembles."""
        from va_search.ensemble.saved import known_ensembles

        with self.using():
            return known_ensembles(self.files)

    def contents(self) -> HomeContents:
        """Return its studies and ensembles with sizes, ages, and what is wrong with each."""
        from va_search.api.contents import home_contents

        return home_contents(self)

    def study(self, name: str) -> OpenStudy:
        """Open a study; InputError, with the known names, where there is none."""
        from va_search.api.study import open_study

        return open_study(name, home=self)

    def ensemble(self, name: str) -> OpenEnsemble:
        """Open an ensemble; InputError, with the known names, where there is none."""
        from va_search.api.ensembles import open_ensemble

        return open_ensemble(name, home=self)

    @contextmanager
    def using(
        self,
        need: Needed = "records",
        *,
        studies: Collection[str] | None = None,
        writes: bool = False,
    ) -> Iterator[OpenHome]:
        """Context around work on the home's files, which does something for a home at a URL only.

        This machine's copy is brought at the beginning: what is `needed` of finished trials, of
        `studies` where some are named. New files are put to the URL at the end of what `writes`.
        Contexts may be nested: an inner one brings what the outer one did not."""
        if self.files.url is None:
            yield self
            return
        from va_search.storage.homes import Need, shared

        everywhere = shared(self.files)
        outer = self._around
        # the outermost context that writes puts the files, once
        outer_writes = outer is not None and outer.writes
        named = None if studies is None else frozenset(studies)
        if outer is not None and outer.covers(need, named):
            self._around = replace(outer, writes=writes or outer_writes)
        else:
            everywhere.merge(Need[need.upper()], studies)
            self._around = _Around(need, named, writes or outer_writes)
        try:
            yield self
        finally:
            self._around = outer
        if writes and not outer_writes:
            everywhere.merge(Need[need.upper()], studies)


def open_home(place: OpenHome | str | Path | None = None) -> OpenHome:
    """The home at a folder or URL; by default the one of VA_SEARCH_HOME, or ./va-home.

    Nothing is made or read. A search makes a home that is not there."""
    from va_search.storage.places import is_url

    if isinstance(place, OpenHome):
        return place
    if place is None:
        place = os.environ.get(HOME_VARIABLE, DEFAULT_HOME)
    # of a home at a URL this is the machine's working copy, which `using` keeps alike
    if is_url(place):
        from va_search.storage.homes import home_at

        return OpenHome(home_at(place))
    share_with_group(Path(place))
    return OpenHome(Home(Path(place)))


def bring_members(home: OpenHome, ensemble: Ensemble, need: Needed) -> None:
    """Bring what an ensemble's members predicted, or their weights too; nothing to do for a home at
    a path."""
    if home.files.url is None:
        return
    from va_search.storage.homes import Need, shared

    studies: set[str] = set()
    for _, piece in ensemble.pieces:
        for weighted in piece.dimensions.values():
            studies |= {member.study for member in weighted.members}
    shared(home.files).merge(Need[need.upper()], studies)


def open_noted_store(noted: str, named: Store | str | Path | None) -> Store:
    """The store that a home's file notes, or the one named; InputError, with what to do, where it
    moved."""
    from va_search.data.store import Store

    if isinstance(named, Store):
        return named
    if named is not None:
        return Store.open(named)
    try:
        return Store.open(noted)
    except InputError as error:
        reason = error.problems[0].partition(";")[0]
        raise InputError(
            f"{reason}; if the store was moved, say where it is with --data STORE"
        ) from error


def home_words(home: Home) -> str:
    """`home va-home (in /data/work)`, and that it is not there where it is not."""
    if home.url is not None:
        return f"home {home.url}"
    where = "" if home.root.is_absolute() else f" (in {home.root.absolute().parent})"
    missing = "" if home.root.is_dir() else ", which does not exist yet"
    return f"home {home.root}{where}{missing}"


def check_home(home: Home) -> None:
    """InputError for a home in a folder that is not there; one at a URL is asked elsewhere."""
    if home.url is None and not home.root.is_dir():
        raise InputError(
            f"home {home.root} (in {home.root.absolute().parent}) does not exist: give the right one "
            "with --home, or run this in the folder it is in"
        )


def studies_of(home: Home) -> list[str]:
    """Names of the home's studies: those that were searched, and those with trials from elsewhere
    only."""
    from va_search.predictions.bank import Bank

    return sorted({*Bank(home.bank).studies(), *home.searched})


def check_studies(
    home: Home, names: Sequence[str], instead: Callable[[str, list[str]], str]
) -> None:
    """InputError for names that are no study of the home: what they are instead, and what the home
    holds.

    `instead(ensemble, studies)` is the command that takes the ensemble of that name."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble

    studies, ensembles = studies_of(home), known_ensembles(home)
    problems = []
    for name in names:
        if name in studies:
            continue
        # the two kinds of names are often mistaken for one another
        if name in ensembles:
            parts = read_ensemble(home, name).studies
            built = f"built of {counted(len(parts), 'study', 'studies')} {', '.join(parts)}"
            problems.append(
                f"{name!r} is an ensemble ({built}), not a study; try: {instead(name, parts)}"
            )
        else:
            unknown = unknown_name("study", name, studies)
            problems.append(f"{unknown}; {_holds(home, studies, ensembles)}")
    if problems:
        raise InputError(*problems)


def check_complete(home: Home, studies: Sequence[str]) -> None:
    """InputError for studies of the home that have no complete trial yet, with where their searches
    stand."""
    from va_search.predictions.bank import Bank
    from va_search.search.extent import is_searched
    from va_search.search.study import Study

    bank = Bank(home.bank)
    problems = []
    for name in studies:
        if bank.trials(name):
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
    from va_search.ensemble.saved import known_ensembles

    studies, ensembles = studies_of(home), known_ensembles(home)
    if name in ensembles:
        return
    if name not in studies:
        build = "" if ensembles else "; build one with `va-search ensemble STUDY --name NAME`"
        unknown = unknown_name("ensemble", name, ensembles)
        raise InputError(f"{unknown}{build}; {_holds(home, studies, ensembles)}")
    built = _ensembles_of_study(home, name, ensembles)
    if built:
        verb = "ensemble is" if len(built) == 1 else "ensembles are"
        hint = f"its {verb} {', '.join(built)}; try: {instead(built[0])}"
    else:
        command = home.command("ensemble", name, "--name", f"{name}-best")
        hint = f"build its ensemble first: {command}"
    raise InputError(f"{name!r} is a study, not an ensemble; {hint}")


def _ensembles_of_study(home: Home, study: str, ensembles: Sequence[str]) -> list[str]:
    """Names of the ensembles that were built of the study."""
    from va_search.ensemble.saved import read_ensemble

    names = []
    for name in ensembles:
        try:
            if study in read_ensemble(home, name).studies:
                names.append(name)
        except InputError:
            continue  # a damaged file: whoever asks for it by name is told
    return names


def _holds(home: Home, studies: Sequence[str], ensembles: Sequence[str]) -> str:
    """`home va-home holds 2 studies and 1 ensemble (first-best)`, or that it is not there."""
    words = home_words(home).removesuffix(", which does not exist yet")
    if home.url is None and not home.root.is_dir():
        advice = "give the right one with --home, or run this in the folder it is in"
        return f"{words} does not exist: {advice}"
    studies_counted = counted(len(studies), "study", "studies")
    names = f" ({', '.join(ensembles)})" if ensembles else ""
    return f"{words} holds {studies_counted} and {counted(len(ensembles), 'ensemble')}{names}"

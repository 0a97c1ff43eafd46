"""Completion of names in a shell: studies, ensembles, trials, recipes, spaces, measures.

Conventions: names are read from folders alone, no document is opened but one trial's for its targets,
and nothing heavy is imported: a shell waits for this at every TAB. A home at a URL is completed from
this machine's copy of it, as it was brought last. What goes wrong completes nothing, in silence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from va_search.errors import InputError
from va_search.files import checked_name, read_json, shipped
from va_search.home import DEFAULT_HOME, HOME_VARIABLE, Home


class NamesGroup(TyperGroup):
    """A group of commands that completes names of the home among their arguments and options."""

    def _main_shell_completion(
        self,
        ctx_args: MutableMapping[str, Any],
        prog_name: str,
        complete_var: str | None = None,
    ) -> None:
        variable = complete_var or f"_{prog_name}_COMPLETE".replace("-", "_").upper()
        if variable not in os.environ:
            return
        try:
            _attach(self)
            super()._main_shell_completion(ctx_args, prog_name, complete_var)
        except Exception:  # a traceback would be written into the line that is being typed
            sys.exit(0)


def _attach(command: Any) -> None:
    """Give every parameter of a command, and of those below it, the names that it takes."""
    for below in getattr(command, "commands", {}).values():
        _attach(below)
    for parameter in command.params:
        names = NAMES.get(f"{command.name} {parameter.name}") or NAMES.get(parameter.name)
        if names is not None:
            parameter._custom_shell_complete = _completer(names)


def _completer(
    names: Callable[[Home, str, Any], Iterable[str]],
) -> Callable[[Any, Any, str], list[str]]:
    def complete(context: Any, parameter: Any, incomplete: str) -> list[str]:
        with suppress(Exception):
            home = _home(context.params.get("home"))
            matching = names(home, incomplete, context)
            return [name for name in matching if name.startswith(incomplete)]
        return []

    return complete


def _home(place: str | None) -> Home:
    """The home that the line names so far, else the default one."""
    place = place or os.environ.get(HOME_VARIABLE, DEFAULT_HOME)
    if "://" in place:
        from va_search.storage.homes import home_at

        return home_at(place)
    return Home(Path(place).expanduser())


def _checked(names: Iterable[str]) -> list[str]:
    """Those of the names that can be a study's, an ensemble's or a trial's, sorted, each once."""
    checked = set()
    for name in names:
        with suppress(InputError):
            if not name.startswith("."):
                checked.add(str(checked_name(name, "name")))
    return sorted(checked)


# Names ------------------------------------------------------------------------------------------


def _studies(home: Home, incomplete: str, context: Any) -> list[str]:
    searched = [path.parent.name for path in home.studies.glob("*/study.json")]
    in_bank = [path.name for path in home.bank.glob("*") if path.is_dir()]
    return _checked([*searched, *in_bank])


def _ensembles(home: Home, incomplete: str, context: Any) -> list[str]:
    return _checked(path.stem for path in home.root.glob("ensembles/*.json"))


def _studies_and_ensembles(home: Home, incomplete: str, context: Any) -> list[str]:
    return [*_studies(home, incomplete, context), *_ensembles(home, incomplete, context)]


def _trials(home: Home, incomplete: str, context: Any) -> Iterator[str]:
    """STUDY/ID of complete trials; as long as several studies are possible, these alone."""
    study, slash, _ = incomplete.partition("/")
    studies = [name for name in _studies(home, "", context) if name.startswith(study)]
    if slash:
        studies = [name for name in studies if name == study]
    if len(studies) > 1:
        yield from (f"{name}/" for name in studies)
        return
    for name in studies:
        folders = (path.parent.name for path in home.bank.glob(f"{name}/*/trial.json"))
        yield from (f"{name}/{trial}" for trial in _checked(folders))


def _measures(home: Home, incomplete: str, context: Any) -> list[str]:
    """Targets of the study that the line names, score and seconds."""
    named = context.params.get("study") or context.params.get("studies") or context.args
    # While its option lacks a value, a line's arguments are not assigned to parameters yet.
    study = named if isinstance(named, str) else named[0]
    targets: list[str] = []
    record = next(home.bank.glob(f"{checked_name(study, 'study')}/*/trial.json"), None)
    if record is not None:
        targets = [name for name in read_json(record)["best"] if name != "score"]
    return [*targets, "score", "seconds"]


def _shipped(pattern: str) -> Callable[[Home, str, Any], list[str]]:
    """The files that come with va-search like this one, by the names they are given by."""

    def names(home: Home, incomplete: str, context: Any) -> list[str]:
        folder = shipped(pattern).parent
        stems = []
        for path in folder.rglob("*.yaml"):
            stems.append(path.relative_to(folder).with_suffix("").as_posix())
        return sorted(stems)

    return names


NAMES: dict[str, Callable[[Home, str, Any], Iterable[str]]] = {
    "study": _studies,
    "studies": _studies,
    "first": _studies,
    "second": _studies,
    "warm_start": _studies,
    "report studies": _studies_and_ensembles,
    "subject": _studies_and_ensembles,
    "ensemble": _ensembles,
    "label": _trials,
    "ensemble recipe": _shipped("ensembles/greedy.yaml"),
    "extract recipe": _shipped("feature_recipes/paper.yaml"),
    "space": _shipped("search_spaces/any.yaml"),
    "status by": _measures,
    "space by": _measures,
}
"""Names by parameter, or by command and parameter."""

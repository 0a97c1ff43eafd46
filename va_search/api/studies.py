"""The studies of a home as its owner keeps house: another name, room on the disk, removal.

Conventions: sizes are bytes. What changes a home is refused at a URL, where other machines' copies
would bring the old files back, and while a process searches the study. Each may be killed at any
moment: the home opens, and the same call again ends it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.contents import StudySizes, files_below
from va_search.api.dependents import Dependents, adopted, used_by_ensembles, warm_started
from va_search.api.home import OpenHome, check_studies, open_home
from va_search.errors import InputError, counted
from va_search.files import checked_name, read_json, remove_folder, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.predictions.entries import (
    Size,
    copy_entry,
    drop_weights,
    entries,
    remove_entry,
    rename_origin,
    weights_of,
)

if TYPE_CHECKING:
    from va_search.tracking.door import Place

LOG = logging.getLogger(__name__)


# Rename ---------------------------------------------------------------------------------------


def rename_study(
    study: str,
    to: str,
    *,
    home: OpenHome | str | Path | None = None,
    tracking_uri: str | None = None,
) -> list[str]:
    """Give a study another name, everywhere in its home and in MLflow (`tracking_uri`, by default
    the home's own store); return sentences on what has to be done again.

    InputError where there is no such study, the new name is taken, or it is being searched. Trials
    keep their ids."""
    from va_search.search.housekeeping import Housekeeping, housekeeping, pending_of
    from va_search.tracking.door import tracking_place
    from va_search.tracking.renaming import rename_experiment

    opened = in_a_folder(open_home(home), "study rename")
    files = opened.files
    checked_name(to, "study name")
    deed = Housekeeping("rename", study, to=to)
    begun = pending_of(files, study)
    if begun is None or not begun.is_like(deed):
        check_studies(files, [study], _instead(files, "rename", to))
        refuse_taken(files, to)
    tracked_at = tracking_place(files, tracking_uri)
    # An ensemble that can't be read is refused before anything is changed.
    fit = Dependents.of(files, study).fit
    with housekeeping(files, deed):
        remarks = _rename(files, study, to)
        remarks += _tracked(tracked_at, lambda: rename_experiment(tracked_at, study, to))
    if fit is not None:
        remarks.append(f"the same `fit` with --name {fit} again would make study {study} anew")
    return remarks


def _rename(home: Home, study: str, to: str) -> list[str]:
    """Rename a study in the files of its home.

    First its entries have both names, so that every ensemble finds its members at each moment;
    then all that names the study is changed, one file after another; last the old entries go."""
    from va_search.ensemble.renaming import rename_in_ensembles

    banks = [Bank(home.bank), Bank(home.configurations)]
    for bank in banks:
        for trial in entries(bank, study):
            copy_entry(bank, study, trial, to=to)
    _rename_documents(home, study, to)
    remarks = rename_in_ensembles(home, study, to)
    for adopting, trials in adopted(home, study).items():
        for trial in trials:
            rename_origin(banks[0], adopting, trial, to=to)
    for bank in banks:
        _remove_entries(bank, study)
    remove_folder(home.study(study))
    return remarks


def _rename_documents(home: Home, study: str, to: str) -> None:
    """Move a study's own files to its new name, and rename it in other studies' documents."""
    source, target = home.study(study), home.study(to)
    for path in sorted((source / "failures").glob("[!.]*.json")):
        write_json(target / "failures" / path.name, {**read_json(path), "study": to})
        path.unlink()
    left_behind = ("failures", "lock", "lock.holder", "stop", "study.json")
    for path in sorted(source.glob("[!.]*")):
        if path.name not in left_behind:
            path.rename(target / path.name)
    # Last: a study is one by its document.
    if (source / "study.json").is_file():
        write_json(target / "study.json", {**read_json(source / "study.json"), "study": to})
        (source / "study.json").unlink()
    for warmed in warm_started(home, study):
        path = home.study(warmed) / "study.json"
        document = read_json(path)
        document["warm_start"] = _renamed(document["warm_start"], study, to)
        write_json(path, document)
    for path in sorted(home.studies.glob("[!.]*/submissions.json")):
        document = read_json(path)
        if study in document.get("studies", ()):
            document["studies"] = _renamed(document["studies"], study, to)
            write_json(path, document)


def _renamed(names: Sequence[str], study: str, to: str) -> list[str]:
    return [to if name == study else name for name in names]


def refuse_taken(home: Home, name: str) -> None:
    """InputError where something of a study of this name is in the home."""
    from va_search.search.housekeeping import refuse_pending

    refuse_pending(home, name)
    folders = (home.bank / name, home.configurations / name, home.study(name))
    for folder in folders:
        if folder.is_dir() and any(files_below(folder)):
            raise InputError(
                f"study {name!r} exists in this home ({folder}); choose another name, or remove it: "
                f"{home.command('study', 'remove', name)}"
            )


# Remove ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Removal:
    """A study that is to be removed: its sizes, and what depends on it."""

    study: str
    sizes: StudySizes
    dependents: Dependents


def plan_removal(
    study: str, *, with_dependents: bool = False, home: OpenHome | str | Path | None = None
) -> Removal:
    """Return what `remove_study` would remove. InputError as there."""
    files = in_a_folder(open_home(home), "study remove").files
    if not _is_half(files, study):
        check_studies(files, [study], _instead(files, "remove"))
    dependents = Dependents.of(files, study)
    if dependents.ensembles and not with_dependents:
        count = counted(len(dependents.ensembles), "ensemble")
        command = files.command("study", "remove", study, "--with-dependents")
        raise InputError(
            f"study {study!r}: {count} made of its trials ({', '.join(dependents.ensembles)}) would "
            f"be of no use without them; to remove these as well: {command}"
        )
    return Removal(study, StudySizes.of(files, study), dependents)


def _is_half(home: Home, study: str) -> bool:
    """Return True where a removal or an import of the study was interrupted."""
    from va_search.search.housekeeping import pending_of

    begun = pending_of(home, study)
    return begun is not None and begun.study == study and begun.deed in ("remove", "import")


def remove_study(
    study: str,
    *,
    with_dependents: bool = False,
    home: OpenHome | str | Path | None = None,
    tracking_uri: str | None = None,
) -> list[str]:
    """Remove a study with its trials from its home, and put its experiment in MLflow among the
    deleted ones; return sentences on what was removed beside it and what could not be.

    InputError where ensembles are made of its trials, unless these are removed too
    (`with_dependents`), and while it is searched. Trials that other studies took over stay."""
    from va_search.search.housekeeping import Housekeeping, housekeeping
    from va_search.tracking.door import tracking_place
    from va_search.tracking.renaming import remove_experiment

    removal = plan_removal(study, with_dependents=with_dependents, home=home)
    files = open_home(home).files
    tracked_at = tracking_place(files, tracking_uri)
    remarks: list[str] = []
    deed = Housekeeping("remove", study)
    with housekeeping(files, deed, replaces=_is_half(files, study)):
        for name in removal.dependents.ensembles:
            files.ensemble(name).unlink()
            remove_folder(files.ensemble(name).with_suffix(""))
            remarks.append(f"removed ensemble {name}")
        for root in (files.configurations, files.bank):
            _remove_entries(Bank(root), study)
        remarks += _tracked(tracked_at, lambda: remove_experiment(tracked_at, study))
        remove_folder(files.study(study))
    return remarks


def _remove_entries(bank: Bank, study: str) -> None:
    for trial in entries(bank, study):
        remove_entry(bank, study, trial)
    remove_folder(bank.root / study)


# Clean ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cleaning:
    """Everything that `clean_study` removes, or has removed: weights of these `trials`, and all `checkpoints` (names
    of trials that were begun). `kept`: trials with weights that ensembles are made of."""

    study: str
    trials: tuple[str, ...]
    weights: Size
    checkpoints: tuple[str, ...]
    checkpoint_size: Size
    kept: tuple[str, ...]

    @property
    def freed(self) -> int:
        """Bytes that are free afterwards."""
        return self.weights.own + self.checkpoint_size.own


def plan_cleaning(study: str, *, home: OpenHome | str | Path | None = None) -> Cleaning:
    """Return what `clean_study` would remove. InputError where an ensemble can't be read, so that
    it's not known which trials it is made of."""
    files = open_home(home).files
    check_studies(files, [study], _instead(files, "clean"))
    bank = Bank(files.bank)
    used = used_by_ensembles(files, study)
    unused: list[str] = []
    members: list[str] = []
    weights: list[Path] = []
    for trial in entries(bank, study):
        of_trial = weights_of(bank, study, trial)
        if of_trial and trial in used:
            members.append(trial)
        elif of_trial:
            unused.append(trial)
            weights += of_trial
    running = files.study(study) / "running"
    begun = sorted(path.name for path in running.glob("[!.]*") if path.is_dir())
    return Cleaning(
        study,
        trials=tuple(unused),
        weights=Size.of(weights),
        checkpoints=tuple(begun),
        checkpoint_size=Size.of(files_below(running)),
        kept=tuple(members),
    )


def clean_study(study: str, *, home: OpenHome | str | Path | None = None) -> Cleaning:
    """Remove the weights of a study's trials that no ensemble is made of, and its checkpoints;
    return what was removed.

    Scores, predictions and settings stay, and the trials are whole without their weights: they may
    be members, and be trained again. Predictions of new recordings by them are not possible any
    more; a trial that was begun begins anew. A damaged trial is left as it is, with a warning."""
    from va_search.search.housekeeping import refuse_pending, unsearched

    opened = in_a_folder(open_home(home), "study clean")
    files = opened.files
    check_studies(files, [study], _instead(files, "clean"))
    refuse_pending(files, study)
    bank = Bank(files.bank)
    folder = files.study(study)
    with unsearched(files, [study]):
        cleaning = plan_cleaning(study, home=opened)
        for trial in cleaning.trials:
            try:
                drop_weights(bank, study, trial)
            except InputError as error:
                LOG.warning("%s", error)
        for trial in cleaning.checkpoints:
            remove_folder(folder / "running" / trial)
    return cleaning


# All ------------------------------------------------------------------------------------------


def _instead(home: Home, *words: str) -> Callable[[str, list[str]], str]:
    """Return what `check_studies` asks for: the command on the study that an ensemble is of."""
    verb, *arguments = words
    return lambda _, studies: home.command("study", verb, studies[0], *arguments)


def in_a_folder(home: OpenHome, command: str) -> OpenHome:
    """Return the home; InputError for one at a URL."""
    if home.files.url is not None:
        raise InputError(
            f"{home.files.url}: `{command}` changes homes in folders only: other machines' copies of a "
            "home at a URL would bring the old files back"
        )
    return home


def _tracked(place: Place, action: Callable[[], None]) -> list[str]:
    """Run what MLflow may refuse; return a sentence where it did, none otherwise."""
    from va_search.tracking.shown import reason

    try:
        action()
    except Exception as error:  # whatever a server answers, the home itself is done
        return [
            f"MLflow was not changed ({reason(error, place.uri)}); the next search delivers anew"
        ]
    return []

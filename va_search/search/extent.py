"""Extent of a study's search: is it searched now, and how many of its planned trials are finished?

Conventions: sentences come as a list, empty where nothing is to be said. A few small files are
read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from va_search.data.store import Store
from va_search.errors import InputError, counted
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.study import Study
from va_search.storage.lease import searched
from va_search.storage.places import is_url


def is_searched(home: Home, study: str) -> bool:
    """Tell whether a process searches the study now, on this machine or, for a home at a URL,
    elsewhere."""
    return Study(home, study).is_searched or searched(home, study)


def searched_now(home: Home, studies: Sequence[str]) -> list[str]:
    """A sentence for each study that is being searched, with how many of its trials are
    finished."""
    sentences = []
    for study in dict.fromkeys(studies):
        if is_searched(home, study):
            finished = len(Bank(home.bank).trials(study))
            sentences.append(searched_sentence(study, finished, planned_trials(home, study)))
    return sentences


def searched_sentence(study: str, finished: int, planned: int | None) -> str:
    """A sentence on a study that is being searched."""
    counts = finished_of_planned(finished, planned)
    return f"study {study} is being searched now: {counts}; only these are used here"


def finished_of_planned(finished: int, planned: int | None) -> str:
    """`13 of 16 planned trials are finished`; `planned` None where that is not known."""
    are = "is" if finished == 1 else "are"
    if planned is None or finished > planned:
        return f"{counted(finished, 'trial')} {are} finished"
    return f"{finished:,} of {counted(planned, 'planned trial')} {are} finished"


def planned_trials(home: Home, study: str, *, brings_store: bool = True) -> int | None:
    """Trials of the study's whole search; None where only time bounds it, or its store is gone.

    Without `brings_store` it is None for a store at a URL too."""
    try:
        document = Study(home, study).document()
        if is_url(document["store_path"]) and not brings_store:
            return None
        store = Store.open(document["store_path"])
    except (InputError, KeyError, OSError):
        return None
    return planned_by_space(document.get("space"), store)


def planned_by_space(document: Any, store: Store | None) -> int | None:
    """Trials of a whole search over the space in `document`; None where only time bounds it, or it
    can't be read on this store."""
    if not isinstance(document, dict) or store is None:
        return None
    from va_search.search.budget import planned_trials as planned_of
    from va_search.search.space import read_space

    # The document was read from a file once; a message about it would go nowhere.
    try:
        space = read_space(document, store, path=Path("study.json"), name="space", kept=True)
    except InputError:
        return None
    return planned_of(space)

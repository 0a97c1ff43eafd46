"""The ensemble that a report shows: the one asked for, or the newest that these studies feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from va_search.ensemble.saved import Ensemble, known_ensembles, read_ensemble
from va_search.errors import InputError
from va_search.files import Home

PAPER_ORDER = ("ensemble_1", "ensemble_2", "ensemble_3", "six_fold", "train_val_mix")
"""The paper's recipes; Tables 2 and 3 show its first submission."""


@dataclass(frozen=True)
class Chosen:
    """`ensemble` is None where there is none; `others` are the names of those that were passed
    over."""

    ensemble: Ensemble | None
    others: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def choose(home: Home, studies: Sequence[str], name: str | None = None) -> Chosen:
    """The ensemble `name`, else the newest whose studies are among `studies`; those with a
    validation score first.

    InputError where `name` is unknown or can't be read. Where the newest is one of the paper's five
    strategies, the newest of the first of them is taken, as in the paper."""
    if name is not None:
        return Chosen(read_ensemble(home, name))
    found, problems = [], []
    for one in known_ensembles(home):
        try:
            ensemble = read_ensemble(home, one)
        except InputError as error:
            problems += error.problems
            continue
        if set(ensemble.studies) <= set(studies):
            found.append(ensemble)
    if not found:
        return Chosen(None, (), tuple(problems))
    best = max(found, key=lambda one: (_tier(one), one.created_at, one.name))
    if best.recipe in PAPER_ORDER:
        alike = [one for one in found if one.recipe in PAPER_ORDER and _tier(one) == _tier(best)]
        best = max(
            alike, key=lambda one: (-PAPER_ORDER.index(one.recipe), one.created_at, one.name)
        )
    others = tuple(one.name for one in found if one is not best)
    return Chosen(best, others, tuple(problems))


def _tier(ensemble: Ensemble) -> int:
    """2: members on one fold's validation; 1: with a score all the same; 0: without."""
    if not ensemble.scores.get("in_sample"):
        return 0
    return 2 if ensemble.measured_on.split == "validation" else 1

"""How to fill a table that is empty: commands that work as printed, on the report's own store.

    va-search space STUDY --folds all --out STUDY-folds.yaml && va-search search STUDY-folds.yaml …

Conventions: a command is only given where its space was checked on the store, and the names of its
file and of its study are free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from va_search.data.folds import folds_command
from va_search.data.store import OFFICIAL
from va_search.errors import InputError
from va_search.report.gather import Gathered
from va_search.search.study_space import (
    Wish,
    best_configurations,
    checked_space,
    space_document,
)
from va_search.table import Missing
from va_search.trial import ALL


def fold_space(gathered: Gathered, why: str, out: Path | None) -> Missing:
    """The best configuration on every fold; folds are made first where the store has none."""
    store = gathered.store
    if store is None:
        return Missing(why)
    has_folds = bool(store.fold_numbers)
    if store.url is not None and not has_folds:
        elsewhere = "They are made where the store is on a disk, before it is copied to a URL."
        return Missing(f"{why} {elsewhere}")
    make_folds = "" if has_folds else folds_command(store)
    if make_folds is None:
        return Missing(f"{why} It has too few people, or no validation recordings, to make some.")
    wish = Wish(folds="all")
    missing = _searching(gathered, out, why, wish, options=("--folds", ALL), kind="folds")
    if missing.command is None or not make_folds:
        return missing
    return Missing(why, f"{make_folds} && {missing.command}")


def ablation_space(gathered: Gathered, why: str, out: Path | None) -> Missing:
    """The best configuration with all feature sets, without each one, and with each one alone."""
    store = gathered.store
    if store is not None and len(store.feature_sets) < 2:
        alone = "The store has one feature set only, so there is nothing to leave out."
        return Missing(f"{why} {alone}")
    wish = Wish(ablate="features")
    return _searching(gathered, out, why, wish, options=("--ablate", "features"), kind="ablation")


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """`name`, or with -2, -3, … behind it: the first that is not taken."""
    free, number = name, 1
    while is_taken(free):
        number += 1
        free = f"{name}-{number}"
    return free


def _searching(
    gathered: Gathered,
    out: Path | None,
    why: str,
    wish: Wish,
    *,
    options: tuple[str, ...],
    kind: str,
) -> Missing:
    """The commands that make a space of the best configuration and search it; none without a folder
    of the report (`out`), or where the store refuses the space."""
    store, home = gathered.store, gathered.home
    if store is None or out is None:
        return Missing(why)
    # A store without folds refuses `all`, so the space is checked on its official split.
    checked = wish if store.fold_numbers or wish.folds is None else replace(wish, folds=[OFFICIAL])
    try:
        bases = best_configurations(gathered.trials, 1)
        document, _ = space_document(store, bases, gathered.trials, checked)
        checked_space(document, store)
    except InputError:
        return Missing(why)
    name = f"{gathered.names[0]}-{kind}"
    study = free_name(name, lambda name: home.study(name).exists() or (home.bank / name).exists())
    file = free_name(name, lambda name: Path(f"{name}.yaml").exists()) + ".yaml"
    on_store = ("--data", store.place)
    make = home.command("space", *gathered.names, *options, *on_store, "--out", file)
    search = home.command("search", file, *on_store, "--study", study)
    return Missing(why, f"{make} && {search}")

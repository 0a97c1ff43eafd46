"""How to fill a table that is empty: commands that work as printed, and the spaces they search.

    OUT/spaces/<study>-folds.yaml, OUT/spaces/<study>-ablation.yaml    written with the report

Conventions: a command is only given where its space was checked on the store, and its study's name
is free. The spaces are made of the best configuration there is, so that they need no feature set
that the store lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from va_search.data.folds import folds_command
from va_search.data.store import OFFICIAL, Store
from va_search.errors import InputError
from va_search.report.gather import Gathered
from va_search.report.words import absent_weights, effective_settings
from va_search.search.space import read_space
from va_search.table import Missing
from va_search.trial_settings import TrialSettings

MOST_SETS = 8
"""Feature sets of an ablation: all together, all but each one, each one alone."""


@dataclass(frozen=True)
class SpaceFile:
    """A search space that is written with the report; `path` is below the report's folder."""

    path: Path
    title: str
    text: str


@dataclass(frozen=True)
class MissingSearch(Missing):
    """Nothing to show, until a search has run; its command searches `space`."""

    space: SpaceFile | None = None


@dataclass(frozen=True)
class _Basis:
    """The material of a space: the best configuration, its store, the report's folder."""

    settings: TrialSettings
    store: Store
    out: Path


def fold_space(gathered: Gathered, why: str, out: Path | None) -> Missing:
    """The best configuration on every fold; folds are made first where the store has none."""
    basis = _basis(gathered, out)
    if basis is None:
        return Missing(why)
    has_folds = bool(basis.store.fold_numbers)
    if basis.store.url is not None and not has_folds:
        elsewhere = "They are made where the store is on a disk, before it is copied to a URL."
        return Missing(f"{why} {elsewhere}")
    make_folds = "" if has_folds else folds_command(basis.store)
    if make_folds is None:
        return Missing(f"{why} It has too few people, or no validation recordings, to make some.")
    document = _document(basis, folds="all")
    title = "the best configuration of the report, trained on every fold of the store"
    # A store without folds refuses `folds: all`, so the space is checked on its official split.
    checked = document if has_folds else {**document, "folds": [OFFICIAL]}
    missing = _searching(gathered, basis, why, document, kind="folds", title=title, checked=checked)
    if missing.command is None or not make_folds:
        return missing
    return MissingSearch(why, f"{make_folds} && {missing.command}", missing.space)


def ablation_space(gathered: Gathered, why: str, out: Path | None) -> Missing:
    """The best configuration with all feature sets, without each one, and with each one alone."""
    basis = _basis(gathered, out)
    if basis is None:
        return Missing(why)
    # The best configuration's own sets come first, where the store has too many.
    sets = list(dict.fromkeys([*basis.settings.features, *basis.store.feature_sets]))[:MOST_SETS]
    if len(sets) < 2:
        alone = "The store has one feature set only, so there is nothing to leave out."
        return Missing(f"{why} {alone}")
    document = _document(basis, folds=[OFFICIAL])
    document["settings"]["features"] = {"choice": _combinations(sets)}
    title = "the best configuration of the report, with and without each feature set"
    return _searching(gathered, basis, why, document, kind="ablation", title=title)


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """`name`, or with -2, -3, … behind it: the first that is not taken."""
    free, number = name, 1
    while is_taken(free):
        number += 1
        free = f"{name}-{number}"
    return free


def _basis(gathered: Gathered, out: Path | None) -> _Basis | None:
    """The best trial's settings on the main fold; None without one, a store or a folder."""
    trained = [trial for trial in gathered.on_main_fold if trial.settings is not None]
    best = max(trained, key=lambda trial: trial.score or 0.0, default=None)
    if best is None or best.settings is None or gathered.store is None or out is None:
        return None
    return _Basis(best.settings, gathered.store, out)


def _document(basis: _Basis, *, folds: str | list[str]) -> dict[str, Any]:
    """A space that fixes every setting that has an effect."""
    settings = {}
    hidden = {"seed", "fold", "averaged_epochs", *absent_weights(basis.store.target_names)}
    for name, value in effective_settings(basis.settings).items():
        # Optional settings that are off need no line in the space.
        field = TrialSettings.model_fields.get(name)
        left_at_none = value is None and (field is None or field.default is None)
        if name not in hidden and not left_at_none:
            settings[name] = value
    seeds = [basis.settings.seed]
    return {"sampler": "grid", "seeds": seeds, "folds": folds, "settings": settings}


def _searching(
    gathered: Gathered,
    basis: _Basis,
    why: str,
    document: dict[str, Any],
    *,
    kind: str,
    title: str,
    checked: dict[str, Any] | None = None,
) -> MissingSearch:
    """A search over the space in `document`; without a command where it, or what is `checked`
    in its place, is refused."""
    name = f"{gathered.names[0]}-{kind}"
    path = basis.out / "spaces" / f"{name}.yaml"
    try:
        read_space(checked or document, basis.store, path=path, name=name, kept=True)
    except InputError:
        return MissingSearch(why)
    home = gathered.home
    study = free_name(name, lambda name: home.study(name).exists() or (home.bank / name).exists())
    words = ["search", str(path), "--data", basis.store.place, "--study", study]
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)
    space = SpaceFile(path.relative_to(basis.out), title, text)
    return MissingSearch(why, home.command(*words), space)


def _combinations(sets: Sequence[str]) -> list[list[str]]:
    """All of the sets, all but each one, each one alone; each combination once."""
    combinations = [list(sets)]
    for left_out in sets:
        combinations.append([name for name in sets if name != left_out])
    for name in sets:
        # Of two sets "all but one" is each of them alone already.
        if [name] not in combinations:
            combinations.append([name])
    return combinations

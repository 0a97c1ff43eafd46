"""How to fill what is not there: commands that work as printed on this very store, and the spaces
they search.

    OUT/spaces/<study>-folds.yaml, OUT/spaces/<study>-ablation.yaml    written with the report that names them

Conventions: a command is only given where its space was checked on the store, and its study's name
is free. The spaces are made of the best configuration there is, so that they need no feature set
that the store lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from va_search.data.folds import folds_command
from va_search.data.store import OFFICIAL
from va_search.errors import InputError
from va_search.report.gather import Gathered
from va_search.report.model import Missing, SpaceFile
from va_search.search.space import read_space
from va_search.trial_settings import TrialSettings, unused

MOST_SETS = 8
"""Feature sets of an ablation: all together, all but each one, each one alone."""


def fold_space(gathered: Gathered, why: str, out: Path | None) -> Missing:
    """The best configuration on every fold; folds are made first where the store has none."""
    best, store = _best_settings(gathered), gathered.store
    if best is None or store is None or out is None:
        return Missing(why)
    if store.url is not None and not store.fold_numbers:
        return Missing(
            f"{why} They are made where the store is on a disk, before it is copied to a URL."
        )
    make_folds = "" if store.fold_numbers else folds_command(store)
    if make_folds is None:
        return Missing(f"{why} It has too few people, or no validation recordings, to make some.")
    settings = _fixed(best)
    document = {"sampler": "grid", "seeds": [best.seed], "folds": "all", "settings": settings}
    about = "the best configuration of the report, trained on every fold of the store"
    checked = document if store.fold_numbers else {**document, "folds": [OFFICIAL]}
    missing = _searching(gathered, why, "folds", document, about, checked=checked, out=out)
    if missing.command is None or not make_folds:
        return missing
    return Missing(why, f"{make_folds} && {missing.command}", missing.space)


def ablation_space(gathered: Gathered, why: str, out: Path | None) -> Missing:
    """The best configuration with all feature sets, without each one, and with each one alone."""
    best, store = _best_settings(gathered), gathered.store
    if best is None or store is None or out is None:
        return Missing(why)
    sets = list(dict.fromkeys([*best.features, *store.feature_sets]))[:MOST_SETS]
    if len(sets) < 2:
        return Missing(
            f"{why} The store has one feature set only, so there is nothing to leave out."
        )
    settings = {**_fixed(best), "features": {"choice": _combinations(sets)}}
    document = {"sampler": "grid", "seeds": [best.seed], "folds": [OFFICIAL], "settings": settings}
    about = "the best configuration of the report, with and without each feature set"
    return _searching(gathered, why, "ablation", document, about, checked=document, out=out)


def free_study(gathered: Gathered, name: str) -> str:
    """`name`, or with -2, -3, … behind it: the first that no study of the home has."""
    number, free = 1, name
    while gathered.home.study(free).exists() or (gathered.home.bank / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free


def free_ensemble(gathered: Gathered, name: str) -> str:
    """`name`, or with -2, -3, … behind it: the first that no ensemble of the home has."""
    number, free = 1, name
    while gathered.home.ensemble(free).exists():
        number += 1
        free = f"{name}-{number}"
    return free


def _searching(
    gathered: Gathered,
    why: str,
    kind: str,
    document: dict[str, Any],
    about: str,
    *,
    checked: dict[str, Any],
    out: Path,
) -> Missing:
    """A search over the space in `document`; without a command where `checked` is refused on the
    store."""
    store = gathered.store
    assert store is not None
    name = f"{gathered.names[0]}-{kind}"
    path = out / "spaces" / f"{name}.yaml"
    try:
        read_space(checked, store, path=path, name=name)
    except InputError:
        return Missing(why)
    study = free_study(gathered, name)
    command = gathered.home.command("search", str(path), "--data", store.place, "--study", study)
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)
    return Missing(why, command, SpaceFile(path.relative_to(out), about, text))


def _best_settings(gathered: Gathered) -> TrialSettings | None:
    """Settings of the trial with the best score on the main fold."""
    trained = [trial for trial in gathered.on_main_fold if trial.settings is not None]
    best = max(trained, key=lambda trial: trial.score or 0.0, default=None)
    return None if best is None else best.settings


def _fixed(settings: TrialSettings) -> dict[str, Any]:
    """The settings that have an effect, as a space fixes them."""
    document = settings.model_dump(mode="json")
    idle = {"seed", "fold", "averaged_epochs", *unused(document)}
    defaults = {name: field.default for name, field in TrialSettings.model_fields.items()}
    return {
        name: value
        for name, value in document.items()
        if name not in idle and not (value is None and defaults.get(name) is None)
    }


def _combinations(sets: Sequence[str]) -> list[list[str]]:
    """All of the sets, all but each one, each one alone; each combination once."""
    found = [list(sets)]
    found += [[name for name in sets if name != left_out] for left_out in sets]
    found += [[name] for name in sets]
    unique = {tuple(sorted(one)): one for one in reversed(found)}
    return list(reversed(unique.values()))

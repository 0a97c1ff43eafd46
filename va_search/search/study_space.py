"""Search spaces made from a study's own trials: its best configurations on all folds, with more
seeds, with and without a setting, or the values around one of them.

Conventions: a configuration is a trial's settings without seed and fold. Configurations are ranked
by the mean over their seeds, on the fold that most trials were validated on (the official split
where that is a tie): CCCs on other recordings don't compare. Settings at their default are not
written. A space is read for the study's store before anyone sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from va_search.data.folds import folds_command
from va_search.data.store import MIX, OFFICIAL, Store
from va_search.document.words import flow
from va_search.errors import InputError, unknown_name
from va_search.home import Home
from va_search.search.budget import planned_trials
from va_search.search.configurations import Configuration, Space
from va_search.search.listed import TRIALS
from va_search.search.machine import cores, gpus_seen, side_by_side
from va_search.search.plan import START_SECONDS, earlier_trials
from va_search.search.sameness import sameness_of
from va_search.search.space import read_space
from va_search.search.variations import (
    FEATURES,
    NOT_STATED,
    Variant,
    combinations,
    effective_of,
    numbers_around,
    rank,
    variants_of,
)
from va_search.trial import SCORE, Trial
from va_search.trial_settings import (
    TrialSettings,
    configuration_id,
    effective_settings,
    setting_field,
)

AROUND_TRIALS = 24
"""Budget of a space around a configuration."""
NAMED = ("encoder", "family")
"""Written although they are at their default: nobody knows defaults by heart."""


@dataclass(frozen=True)
class Basis:
    """A configuration that a space starts from.

    `label`: the trial that stands for it, as a person reads it. `seeds` are those that it was
    trained with, `ccc` its mean over them (None where nothing was validated), `seconds` the mean of
    its trials (None where not known)."""

    settings: TrialSettings
    label: str
    seeds: tuple[int, ...]
    ccc: float | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, trials: Sequence[Trial], by: str = SCORE) -> Basis:
        """Return the configuration of some trials that differ in seed and fold alone, of which the
        best stands for it."""
        cccs = [trial.ccc(by) for trial in trials]
        known = [ccc for ccc in cccs if ccc is not None and math.isfinite(ccc)]
        best = max(trials, key=lambda trial: rank(trial.ccc(by)))
        assert best.settings is not None
        seconds = [trial.seconds for trial in trials if trial.seconds]
        return cls(
            settings=best.settings,
            label=best.label,
            seeds=tuple(sorted({trial.settings.seed for trial in trials if trial.settings})),
            ccc=mean(known) if known else None,
            seconds=mean(seconds) if seconds else None,
        )

    def without_patience(self) -> Basis:
        """Return the configuration trained for all its epochs."""
        return replace(self, settings=self.settings.model_copy(update={"patience": None}))


@dataclass(frozen=True)
class Wish:
    """Requested changes: `folds` as in a space (None: the folds of the trials), `seeds` of each
    configuration (None: those it has), the setting that an ablation varies, or the neighbourhood of
    the only configuration."""

    folds: Literal["all"] | Sequence[int | str] | None = None
    seeds: int | None = None
    ablate: str | None = None
    around: bool = False


@dataclass(frozen=True)
class StudySpace:
    """A space made from trials, checked on their store.

    `document` is its YAML as plain data. Of its `trials` (on all folds; at most, where a sampler
    proposes them) `complete` are in the home already; `seconds` for the others on this machine,
    Ray's start included, None where not known. `entries`: a remark for each listed trial."""

    document: dict[str, Any]
    space: Space = field(repr=False)
    trials: int
    complete: int
    seconds: float | None
    entries: tuple[str, ...] = ()

    @property
    def new(self) -> int:
        """Number of trials that a search would train."""
        return max(0, self.trials - self.complete)

    def text(self, head: Sequence[str]) -> str:
        """Return the space as a YAML file: lines of a head, and a remark on each listed trial."""
        lines = [f"# {remark}" for remark in head]
        for key, value in self.document.items():
            if key == TRIALS:
                lines.append(f"{TRIALS}:")
                for entry, remark in zip(value, self.entries, strict=True):
                    lines.append(f"- {flow(entry)}    # {remark}")
            elif isinstance(value, dict) and key == "settings":
                lines.append(f"{key}:")
                lines += [f"  {name}: {flow(declared)}" for name, declared in value.items()]
            else:
                lines.append(f"{key}: {flow(value)}")
        return "\n".join(lines) + "\n"


def best_configurations(
    trials: Sequence[Trial], number: int, *, by: str = SCORE, with_setting: str | None = None
) -> list[Basis]:
    """Return so many configurations, the best by a target or the score first; fewer where there are
    no more. `with_setting`: only those in which this setting has an effect.

    InputError where no trial was trained and validated, or none has the setting."""
    scored = [trial for trial in trials if trial.settings is not None and trial.ccc(by) is not None]
    if not scored:
        raise InputError("no trial was trained and validated, so none is the best")
    if with_setting is not None:
        scored = [trial for trial in scored if with_setting in effective_of(trial)]
        if not scored:
            raise InputError(f"`{with_setting}` has no effect in any trial of the study")
    fold = _main_fold(scored)
    groups: dict[str, list[Trial]] = {}
    for trial in scored:
        assert trial.settings is not None
        if trial.settings.fold == fold:
            key = configuration_id(trial.settings, but=("seed", "fold"))
            groups.setdefault(key, []).append(trial)
    ranked = [Basis.of(group, by) for group in groups.values()]
    ranked.sort(key=lambda basis: -rank(basis.ccc))
    return ranked[:number]


def make_study_space(
    home: Home, store: Store, bases: Sequence[Basis], trials: Sequence[Trial], wish: Wish
) -> StudySpace:
    """Return the space of some configurations of a study, changed as wished.

    `trials` are all of the study: values that it tried are taken from them. InputError where the
    store refuses the space, or nothing can vary."""
    document, entries = space_document(store, bases, trials, wish)
    space = checked_space(document, store)
    planned = planned_trials(space) or 0
    complete = min(planned, len(earlier_trials(home, space, store)))
    known = [basis.seconds for basis in bases if basis.seconds is not None]
    seconds = None
    if known:
        gpus = min(1.0, gpus_seen())
        at_once = side_by_side({"CPU": float(cores()), "GPU": gpus_seen()}, gpus, 1)
        rounds = math.ceil((planned - complete) / at_once)
        seconds = START_SECONDS + rounds * mean(known) if planned > complete else 0.0
    return StudySpace(document, space, planned, complete, seconds, tuple(entries))


def space_document(
    store: Store, bases: Sequence[Basis], trials: Sequence[Trial], wish: Wish
) -> tuple[dict[str, Any], list[str]]:
    """Return the document of the space that `make_study_space` returns, and a remark for each trial
    that it lists."""
    folds = _folds(wish, bases, store)
    if folds == [MIX]:
        # Nothing is validated there, so that nothing could end a training early.
        bases = [basis.without_patience() for basis in bases]
    if wish.around:
        return _around(bases[0], trials, store, folds), []
    return _listed(bases, trials, store, wish, folds)


def checked_space(document: dict[str, Any], store: Store) -> Space:
    """Return the space of a document; InputError where the store refuses it."""
    return read_space(document, store, path=Path("the space"), name="space", kept=True)


def _main_fold(trials: Sequence[Trial]) -> int | str:
    """The fold of most trials, the official split where that is a tie."""
    counts: dict[int | str, int] = {OFFICIAL: 0}
    for trial in trials:
        assert trial.settings is not None
        counts[trial.settings.fold] = counts.get(trial.settings.fold, 0) + 1
    return max(counts, key=lambda fold: counts[fold])


def _folds(wish: Wish, bases: Sequence[Basis], store: Store) -> str | list[int | str]:
    """The folds of the space: those wished for, or the one that the configurations were compared
    on. InputError for folds that the store does not have."""
    if wish.folds is None:
        folds = [basis.settings.fold for basis in bases if basis.settings.fold != MIX]
        return [max(dict.fromkeys(folds), key=folds.count) if folds else OFFICIAL]
    if isinstance(wish.folds, str):
        if not store.fold_numbers:
            command = folds_command(store)
            advice = "" if command is None else f"; make some: {command}"
            raise InputError(f"{store.place} has no folds{advice}")
        return wish.folds
    keys = [*store.fold_keys, MIX]
    unknown = [unknown_name("fold", key, map(str, keys)) for key in wish.folds if key not in keys]
    if unknown:
        raise InputError(*(f"--folds: {problem}" for problem in unknown))
    return [*wish.folds]


# -- listed configurations


def _listed(
    bases: Sequence[Basis],
    trials: Sequence[Trial],
    store: Store,
    wish: Wish,
    folds: str | list[int | str],
) -> tuple[dict[str, Any], list[str]]:
    """The document of a space of the configurations and what an ablation makes of them, and a
    remark for each trial that it lists; one configuration alone is a grid."""
    if len(bases) == 1 and wish.ablate in (None, FEATURES):
        return _grid(bases[0], store, wish, folds), []
    sameness = sameness_of(store, [])
    entries: list[Configuration] = []
    remarks: list[str] = []
    for basis in bases:
        variants = [Variant(basis.settings)]
        if wish.ablate is not None:
            variants += variants_of(basis.settings, wish.ablate, trials, store)
        score = "" if basis.ccc is None else f", CCC {basis.ccc:.3f}"
        for variant in variants:
            seeds = _seeds(basis.seeds, wish.seeds)
            if sameness.draws_nothing(variant.settings):
                seeds = seeds[:1]  # every seed would train the same
            for seed in seeds:
                entry = stated(variant.settings)
                if seed:
                    entry["seed"] = seed
                if entry not in entries:
                    entries.append(entry)
                    remarks.append(f"{basis.label}{score}{variant.change}")
    return {"sampler": "grid", "folds": folds, TRIALS: entries}, remarks


def _grid(basis: Basis, store: Store, wish: Wish, folds: str | list[int | str]) -> dict[str, Any]:
    """The document of a space of one configuration, or of all its combinations of feature sets."""
    settings = stated(basis.settings)
    if wish.ablate == FEATURES:
        settings[FEATURES] = {"choice": combinations(basis.settings, store)}
    seeds = _seeds(basis.seeds, wish.seeds)
    return {"sampler": "grid", "seeds": seeds, "folds": folds, "settings": settings}


def _around(
    basis: Basis, trials: Sequence[Trial], store: Store, folds: str | list[int | str]
) -> dict[str, Any]:
    """The document of a space around a configuration, which is its first trial. InputError where
    it has no number to vary."""
    varied = numbers_around(basis.settings, trials, sameness_of(store, []))
    if not varied:
        raise InputError(
            f"{basis.label}: this model has no number that could be a little higher or lower; "
            "`--ablate SETTING` varies any other setting"
        )
    own = effective_settings(basis.settings)
    fixed = stated(basis.settings)
    for name in varied:
        fixed.pop(name, None)
    return {
        "sampler": "tpe",
        "budget": {"trials": AROUND_TRIALS},
        "seeds": [basis.settings.seed],
        "folds": folds,
        "settings": {**fixed, **varied},
        "first": [{name: own[name] for name in varied}],
    }


def stated(settings: TrialSettings) -> dict[str, Any]:
    """Return the settings that a space must state, as JSON: those that are not at their default,
    the kind of model, and neither seed nor fold."""
    stated_settings: dict[str, Any] = {}
    for name, value in effective_settings(settings).items():
        field_info = TrialSettings.model_fields.get(name)
        is_default = field_info is not None and getattr(settings, name) == field_info.default
        option = setting_field(name)
        is_off = value is None and (option is None or option.default is None)
        if name not in NOT_STATED and not is_off and (name in NAMED or not is_default):
            stated_settings[name] = value
    return stated_settings


def _seeds(trained: Sequence[int], number: int | None) -> list[int]:
    """So many seeds, those that were trained first; all of these where no number is given."""
    if number is None:
        return [*trained]
    seeds = [*trained[:number]]
    seed = 0
    while len(seeds) < number:
        if seed not in seeds:
            seeds.append(seed)
        seed += 1
    return sorted(seeds)

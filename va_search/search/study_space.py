"""Search spaces made from a study's own trials: its best configurations on all folds, with more
seeds, with and without a setting, or the values around one of them.

Conventions: a configuration is a trial's settings without seed and fold. Configurations are ranked
by the mean over their seeds, on the fold that most trials were validated on (the official split
where that is a tie): CCCs on other recordings don't compare. Settings at their default are not
written. A space is read for the study's store before anyone sees it."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import yaml

from va_search.data.folds import folds_command
from va_search.data.store import MIX, OFFICIAL, Store
from va_search.errors import InputError, unknown_name
from va_search.home import Home
from va_search.models.menu import MENUS
from va_search.search.budget import planned_trials
from va_search.search.configurations import Configuration, Space
from va_search.search.listed import TRIALS
from va_search.search.machine import cores, gpus_seen, side_by_side
from va_search.search.plan import START_SECONDS, earlier_trials
from va_search.search.sameness import sameness_of
from va_search.search.space import read_space
from va_search.trial import SCORE, Trial, known_settings
from va_search.trial_settings import (
    TrialSettings,
    configuration_id,
    effective_settings,
    setting_field,
)

MOST_SETS = 8
"""Feature sets of an ablation: all together, all but each one, each one alone."""
FACTOR = 3.0
"""A learning rate or a weight decay may be so many times lower or higher."""
SHARE_STEP = 0.1
"""A dropout or another share may be so much lower or higher."""
SMALL = 8
"""A whole number below has its neighbours beside it, a larger one its half and its double."""
AROUND_TRIALS = 24
"""Budget of a space around a configuration."""
ALWAYS_AROUND = (
    "learning_rate", "width", "layers", "hidden_size", "recurrent_layers", "encoder_dropout",
    "batch_size", "frame_step", "family.iterations", "family.leaves",
)  # fmt: skip
"""Settings that vary around a configuration, besides the numbers that vary in its study."""
NOT_STATED = ("seed", "fold", "averaged_epochs")
NAMED = ("encoder", "family")
"""Written although they are at their default: nobody knows defaults by heart."""
LONGEST_LINE = 10_000


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
        best = max(trials, key=lambda trial: _ranked(trial.ccc(by)))
        assert best.settings is not None
        seconds = [trial.seconds for trial in trials if trial.seconds]
        return cls(
            settings=best.settings,
            label=best.label,
            seeds=tuple(sorted({trial.settings.seed for trial in trials if trial.settings})),
            ccc=mean(known) if known else None,
            seconds=mean(seconds) if seconds else None,
        )


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
                    lines.append(f"- {_flow(entry)}    # {remark}")
            elif isinstance(value, dict) and key == "settings":
                lines.append(f"{key}:")
                lines += [f"  {name}: {_flow(declared)}" for name, declared in value.items()]
            else:
                lines.append(f"{key}: {_flow(value)}")
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
        scored = [trial for trial in scored if with_setting in _effective(trial)]
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
    ranked.sort(key=lambda basis: -_ranked(basis.ccc))
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
    if wish.around:
        return _around(bases[0], trials, store, folds), []
    return _listed(bases, trials, store, wish, folds)


def checked_space(document: dict[str, Any], store: Store) -> Space:
    """Return the space of a document; InputError where the store refuses it."""
    return read_space(document, store, path=Path("the space"), name="space", kept=True)


def _ranked(ccc: float | None) -> float:
    return -math.inf if ccc is None or math.isnan(ccc) else ccc


def _effective(trial: Trial) -> dict[str, Any]:
    """The settings of a trial that have an effect; none of a model from elsewhere."""
    return {} if trial.settings is None else effective_settings(trial.settings)


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
    name = wish.ablate
    if wish.folds == [MIX]:
        # Nothing is validated there, so that nothing could end a training early.
        bases = [replace(basis, settings=_to_the_end(basis.settings)) for basis in bases]
    if name is not None and len(bases) == 1 and name == "features":
        settings = stated(bases[0].settings)
        settings["features"] = {"choice": _combinations(bases[0].settings, store)}
        return _grid(bases[0], wish, folds, settings), []
    if name is None and len(bases) == 1:
        return _grid(bases[0], wish, folds, stated(bases[0].settings)), []
    sameness = sameness_of(store, [])
    entries: list[Configuration] = []
    remarks: list[str] = []
    for basis in bases:
        label = basis.label
        if basis.ccc is not None:
            label += f", CCC {basis.ccc:.3f}"
        for changed, change in _variants(basis.settings, name, trials, store):
            seeds = _seeds(basis.seeds, wish.seeds)
            if sameness.draws_nothing(changed):
                seeds = seeds[:1]  # every seed would train the same
            for seed in seeds:
                entry = stated(changed)
                if seed:
                    entry["seed"] = seed
                if entry not in entries:
                    entries.append(entry)
                    remarks.append(f"{label}{change}")
    return {"sampler": "grid", "folds": folds, TRIALS: entries}, remarks


def _to_the_end(settings: TrialSettings) -> TrialSettings:
    return settings.model_copy(update={"patience": None})


def _grid(
    basis: Basis, wish: Wish, folds: str | list[int | str], settings: dict[str, Any]
) -> dict[str, Any]:
    seeds = _seeds(basis.seeds, wish.seeds)
    return {"sampler": "grid", "seeds": seeds, "folds": folds, "settings": settings}


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


# -- ablations


def ablated_setting(name: str) -> str:
    """Return the setting that an ablation varies: `encoders` means `encoder`. InputError for a name
    that is none."""
    for spelling in (name, name.removesuffix("s"), f"{name}s"):
        if spelling not in NOT_STATED and setting_field(spelling) is not None:
            return spelling
    known = set(TrialSettings.model_fields) - set(NOT_STATED)
    raise InputError(f"--ablate: {unknown_name('setting', name, known)}")


def _variants(
    settings: TrialSettings, name: str | None, trials: Sequence[Trial], store: Store
) -> Iterator[tuple[TrialSettings, str]]:
    """The settings, then with each other value of one of them, with the change in words."""
    yield settings, ""
    if name is None:
        return
    values: Sequence[Any] = _combinations(settings, store)
    if name != "features":
        values = _other_values(settings, name, trials)
    count = 0
    for value in values:
        changed = _changed(settings, name, value, trials)
        if changed is not None and changed != settings:
            count += 1
            yield changed, f", with {name} {_flow(value)}"
    if count == 0:
        raise InputError(f"--ablate {name}: there is no other valid value of it")


def _combinations(settings: TrialSettings, store: Store) -> list[list[str]]:
    """All of the feature sets, all but each one, each one alone; each combination once. The
    configuration's own come first, where the store has too many."""
    sets = list(dict.fromkeys([*settings.features, *store.feature_sets]))[:MOST_SETS]
    if len(sets) < 2:
        raise InputError("the store has one feature set only, so there is nothing to leave out")
    combinations = [sets]
    for left_out in sets:
        combinations.append([name for name in sets if name != left_out])
    for name in sets:
        # Of two sets "all but one" is each of them alone already.
        if [name] not in combinations:
            combinations.append([name])
    return combinations


def _other_values(settings: TrialSettings, name: str, trials: Sequence[Trial]) -> list[Any]:
    """The values of a setting that the study tried; where that is one alone, those of its menu or
    its neighbours."""
    own = effective_settings(settings).get(name)
    tried: list[Any] = []
    for trial in trials:
        values = _effective(trial)
        if name in values and values[name] not in (own, *tried):
            tried.append(values[name])
    if tried:
        return tried
    if isinstance(own, bool):
        return [not own]
    if isinstance(own, int | float):
        return [value for value in neighbours(name, own) if value != own]
    for menu in MENUS:
        if menu.setting == name:
            return [entry for entry in menu if entry != own]
    field_info = setting_field(name)
    choices = typing.get_args(None if field_info is None else field_info.annotation)
    return [value for value in choices if isinstance(value, str) and value != own]


def _changed(
    settings: TrialSettings, name: str, value: Any, trials: Sequence[Trial]
) -> TrialSettings | None:
    """The settings with another value of one of them; None where that is invalid.

    What comes into play with the value is as in the best trial of the study that has it."""
    document = effective_settings(settings)
    best: dict[str, Any] = {}
    highest = -math.inf
    for trial in trials:
        values = _effective(trial)
        if values.get(name) == value and _ranked(trial.score) >= highest:
            best, highest = values, _ranked(trial.score)
    return known_settings({**best, **document, name: value})


# -- the values around a configuration


def neighbours(name: str, value: float) -> list[Any]:
    """Return a number of a setting with the numbers beside it, in rising order: shares a tenth
    apart, rates by a factor, small whole numbers by one, larger ones by half and double."""
    if isinstance(value, int):
        beside = [value - 1, value, value + 1]
        if value >= SMALL:
            beside = [value // 2, value, value * 2]
        return [number for number in beside if number >= 1]
    if value > 0 and name.endswith(("rate", "decay")):
        return [float(f"{value / FACTOR:.3g}"), value, float(f"{value * FACTOR:.3g}")]
    lowest = max(0.0, round(value - SHARE_STEP, 3))
    return [*dict.fromkeys([lowest, value, round(value + SHARE_STEP, 3)])]


def _around(
    basis: Basis, trials: Sequence[Trial], store: Store, folds: str | list[int | str]
) -> dict[str, Any]:
    """The document of a space around a configuration, which is its first trial."""
    own = stated(basis.settings)
    sameness = sameness_of(store, [])
    settings: dict[str, Any] = {}
    first: dict[str, Any] = {}
    for name, value in effective_settings(basis.settings).items():
        if name in NOT_STATED or not _varies_around(name, value, trials):
            continue
        values = []
        meanings = []
        for number in neighbours(name, value):
            changed = known_settings({**own, name: number})
            if changed is not None:
                values.append(number)
                meanings.append(sameness.meaning(changed))
        if all(meaning == meanings[0] for meaning in meanings):
            continue
        first[name] = value
        is_range = isinstance(value, float) and name.endswith(("rate", "decay"))
        settings[name] = {"choice": values}
        if is_range:
            settings[name] = {"float": [values[0], values[-1]], "log": True}
    if not settings:
        raise InputError(
            f"{basis.label}: this model has no number that could be a little higher or lower; "
            "`--ablate SETTING` varies any other setting"
        )
    fixed = {name: value for name, value in own.items() if name not in settings}
    return {
        "sampler": "tpe",
        "budget": {"trials": AROUND_TRIALS},
        "seeds": [basis.settings.seed],
        "folds": folds,
        "settings": {**fixed, **settings},
        "first": [first],
    }


def _varies_around(name: str, value: Any, trials: Sequence[Trial]) -> bool:
    """Return True for a number that is worth a change: one of `ALWAYS_AROUND`, or one that varies
    in the study."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    values = {value}
    for trial in trials:
        values.add(_effective(trial).get(name, value))
    return name in ALWAYS_AROUND or len(values) > 1


# -- words


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=LONGEST_LINE)
    return text.removesuffix("\n").removesuffix("\n...")

"""What decided: the best value of each setting, what it gives over the others, and how sure that
is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from va_search.report.gather import Gathered
from va_search.report.words import heading, measures
from va_search.search.importance import Decisive, decisive_settings
from va_search.search.sameness import sameness_of
from va_search.table import (
    DASH,
    Missing,
    Table,
    TableCell,
    TableRow,
    columns,
    number,
    row,
    signed,
)
from va_search.trial import Trial

TITLE = "What each feature set, the encoder and other settings bring"
MODEL = ("encoder", "family", "fusion")
"""Settings that stand with the feature sets."""
MOST_SETTINGS = 12
"""Other settings that have a row."""

EXPLAINED = (
    "The better value, the CCC that it gives over the other values, and the 95 % interval of that. "
    "In bold: more than chance. Seeds and folds are repeats of a configuration, not further "
    "evidence; what the other settings do is taken out, as far as they add up."
)

MOST_TRIALS = 1_000
"""So many trials are judged by at most: more would narrow the intervals by little, and take long."""

DecisiveByMeasure = Mapping[str, Sequence[Decisive]]
"""{each target, score} -> the settings that vary, the largest share first."""


def decisive_by_measure(gathered: Gathered) -> DecisiveByMeasure:
    """Judge the settings of all trials for each target and the score; of one target the score is
    its CCC."""
    sameness = None
    if gathered.store is not None:
        folds = {trial.settings.fold for trial in gathered.trained if trial.settings is not None}
        sameness = sameness_of(gathered.store, sorted(folds & {*gathered.store.fold_keys}, key=str))
    names = measures(gathered.targets)
    if len(gathered.targets) == 1:
        names = gathered.targets
    trials = judged_by(gathered.trained)
    return {name: decisive_settings(trials, name, sameness) for name in names}


def judged_by(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that settings are judged by: all, or evenly many in the order of their ids,
    which are hashes, so that the choice is by chance and always the same."""
    in_order = sorted(trials, key=lambda trial: trial.id)
    step = max(1, math.ceil(len(in_order) / MOST_TRIALS))
    return list(trials) if step == 1 else in_order[::step]


def sample_text(gathered: Gathered) -> str:
    """Of how many trials the settings are judged by a sample; empty where all of them count."""
    judged = len(judged_by(gathered.trained))
    if judged == len(gathered.trained):
        return ""
    return f"Judged by a sample of {judged:,} of the {len(gathered.trained):,} trials."


def why_undecided(decisive: DecisiveByMeasure) -> Missing | None:
    """The reason why no setting can be judged; None where one can."""
    reasons = []
    for settings in decisive.values():
        for setting in settings:
            if setting.interval is not None:
                return None
            reasons.append(setting.sentence.partition(": ")[2])
    if not reasons:
        return Missing("No setting varies over the trials, so none can matter.")
    return Missing(f"{reasons[0][:1].upper()}{reasons[0][1:]}; more configurations tell.")


def decisive_table(decisive: DecisiveByMeasure, sample: str = "") -> Table:
    """Feature sets and the model first, then other settings; a column for each target and the
    score. `sample`: what `sample_text` says."""
    missing = why_undecided(decisive)
    if missing is not None:
        return Table(TITLE, missing=missing)
    by_name = _by_name(decisive)
    notes = [EXPLAINED]
    model: list[str] = []
    other: list[str] = []
    for name, judged in by_name.items():
        if all(setting.interval is None for setting in judged.values()):
            # Nothing can be said of it for any target, for one reason.
            notes.append(f"{next(iter(judged.values())).sentence}.")
        elif name.startswith("features: ") or name in MODEL:
            model.append(name)
        else:
            other.append(name)
    unlisted = other[MOST_SETTINGS:]
    if unlisted:
        notes.insert(1, f"Not listed, as they matter least: {', '.join(unlisted)}.")
    rows: list[TableRow] = []
    groups = {"Feature sets and model": model, "Other settings": other[:MOST_SETTINGS]}
    for title, names in groups.items():
        if names:
            rows.append(row(title, kind="group"))
        for name in names:
            rows.append(row(name, *map(_cell, map(by_name[name].get, decisive))))
    heads = columns("Setting", *map(heading, decisive))
    most = 0
    for settings in decisive.values():
        most = max(most, *(setting.configurations for setting in settings))
    return Table(
        TITLE, heads, tuple(rows), f"Over {most} configurations. {sample}".strip(), tuple(notes)
    )


def _by_name(decisive: DecisiveByMeasure) -> dict[str, dict[str, Decisive]]:
    """{setting: {measure: what it decides}}, the setting first whose share in some measure is the
    largest."""
    by_name: dict[str, dict[str, Decisive]] = {}
    shares: dict[str, float] = {}
    for measure, settings in decisive.items():
        for setting in settings:
            by_name.setdefault(setting.setting, {})[measure] = setting
            shares[setting.setting] = max(setting.share, shares.get(setting.setting, 0.0))
    ranked = sorted(by_name, key=lambda name: -shares[name])
    return {name: by_name[name] for name in ranked}


def _cell(setting: Decisive | None) -> TableCell:
    """`train +0.31 (0.22 to 0.40)`."""
    if setting is None or setting.interval is None or not math.isfinite(setting.difference):
        return TableCell(DASH)
    low, high = setting.interval
    text = f"{setting.best} {signed(setting.difference, 2)}"
    text += f" ({number(low, 2)} to {number(high, 2)})"
    return TableCell(text, best=setting.is_certain)

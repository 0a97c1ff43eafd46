"""Importance of settings: how much each matters for a target's CCC, and which value is better.

Conventions: evidence is counted in configurations (settings without seed and fold). Seeds and folds
of one are repeats: its value is the mean of its CCCs, less what each fold gives every configuration.
Each feature set is a setting, with or without. Where a setting has no effect (`hidden_size` of an
encoder without one), a configuration says nothing about it.

The model is additive: value = constant + an effect of each setting + noise, so what two settings do
only together counts as noise. All effects have one common variance, as in a ridge regression. To
judge one value of one setting, its difference to the others is left free: where trials can't tell it
from other settings, its interval is wide. The strength of the ridge is not chosen but averaged
over, weighted by the restricted likelihood (Patterson and Thompson, 1971; equations of Henderson,
1975). Intervals are 95 %, of Student's t, and hold for the best of several values (Bonferroni)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.errors import counted
from va_search.search.sameness import Sameness
from va_search.table import number, signed
from va_search.trial import Trial
from va_search.trial_settings import (
    WEIGHTS,
    TrialSettings,
    configuration_id,
    value_text,
    without_effect,
)

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST = 6
"""Configurations from which on something may be told."""
FEWEST_ALIKE = 2
"""Configurations that a value needs, and all other values together, to be compared."""
MOST_VALUES = 4
"""Numbers with more different values than these are judged by their trend."""
WIDE_RANGE = 8
"""Numbers whose largest is this many times the smallest are taken by their logarithm."""
RIDGES = np.logspace(-3, 3, 19)
"""Variances of the settings' effects that are averaged over, in variances of the noise."""
CONFIDENCE = 0.95
REPEATS = ("seed", "fold", "averaged_epochs")
"""Settings of which one configuration may have several values."""
ALIKE = 0.95
"""Cosine of two contrasts from which on they can't be told from one another."""
BACKFITS = 30
"""Turns in which the effects of folds and configurations are told apart."""


@dataclass(frozen=True)
class Decisive:
    """One setting and what it does to a target's CCC.

    `share` of the variance between configurations that goes with it, 0 to 1; the rest of it is
    noise. `best`: the value that is better (of many numbers one near the best), None where too few
    trials tell. `difference` in CCC to the other values (of a trend to its other end), NaN where
    `best` is None, and its `interval` (95 %), None where another setting goes along with this one.
    `configurations` in which the setting has an effect. `sentence`: all of it but the share, in
    words."""

    setting: str
    share: float
    best: str | None
    difference: float
    interval: tuple[float, float] | None
    configurations: int
    sentence: str

    @property
    def is_certain(self) -> bool:
        """True where the interval is above 0."""
        return self.interval is not None and self.interval[0] > 0


def decisive_settings(
    trials: Sequence[Trial], target: str, sameness: Sameness | None = None
) -> list[Decisive]:
    """Return each setting that varies among the trials, first the one with the largest share in the
    differences of the target's CCC (or of "score"); empty where none varies.

    Trials without this CCC or without settings are left out. `sameness` of their store: values that
    mean the same there are taken for one."""
    groups = _configurations(trials, target, sameness)
    settings = _settings(groups, sameness)
    too_few = f"too few trials to tell ({len(groups)} configurations, {FEWEST} are needed)"
    if len(groups) < FEWEST:
        return [_undecided(setting, too_few) for setting in settings]
    values = _less_folds(groups)
    spread = float(np.std(values))
    if spread < 1e-9:
        return [_undecided(setting, "no difference at all") for setting in settings]
    model = _AdditiveModel((values - values.mean()) / spread, settings)
    decided = [_decide(model, setting, spread) for setting in settings]
    return sorted(decided, key=lambda each: (-each.share, each.setting))


def _decide(model: _AdditiveModel, setting: _Setting, spread: float) -> Decisive:
    """Judge the setting's best value; `spread`: standard deviation of the configurations' CCCs."""
    from scipy.special import stdtrit

    too_few = "too few trials to tell"
    if setting.configurations < FEWEST:
        have = counted(setting.configurations, "configuration")
        return _undecided(setting, f"{too_few} ({have} with it, {FEWEST} are needed)")
    if not setting.contrasts:
        return _undecided(setting, f"{too_few} (one configuration with each value but one)")
    # Effects are shrunk, so that a value that was tried twice does not win by chance.
    effects = model.effects[setting.name]
    best = max(setting.contrasts, key=lambda contrast: float(contrast.row @ effects))
    estimate = model.estimate(setting, best)
    if estimate.mean < 0:
        # Once the other settings are taken out, another value is ahead: no value is better by less
        # than nothing.
        best = max(setting.contrasts, key=lambda contrast: model.estimate(setting, contrast).mean)
        estimate = model.estimate(setting, best)
    if estimate.mean < 0:
        return _undecided(setting, "no value that was tried more than once is ahead")
    tail = (1 - CONFIDENCE) / 2 / len(setting.contrasts)
    reach = -float(stdtrit(max(estimate.freedom, 1.0), tail)) * estimate.error
    scale = best.steps * spread
    low, high = (estimate.mean - reach) * scale, (estimate.mean + reach) * scale
    evidence = f"95 % {number(low, 2)} to {number(high, 2)}, {best.counts}"
    remark = "" if low > 0 else "; may be chance"
    interval: tuple[float, float] | None = (low, high)
    twin = model.twin(setting, best)
    if twin is not None:
        interval, evidence, remark = None, best.counts, f"; can't be told from {twin}"
    difference = signed(estimate.mean * scale, 2)
    words = f"{best.words} {difference} over {best.others}"
    return Decisive(
        setting=setting.name,
        share=model.share(setting),
        best=best.value,
        difference=estimate.mean * scale,
        interval=interval,
        configurations=setting.configurations,
        sentence=f"{setting.name}: {words} ({evidence}){remark}",
    )


def _undecided(setting: _Setting, reason: str) -> Decisive:
    return Decisive(
        setting=setting.name,
        share=0.0,
        best=None,
        difference=math.nan,
        interval=None,
        configurations=setting.configurations,
        sentence=f"{setting.name}: {reason}",
    )


# Configurations -----------------------------------------------------------------------------------


@dataclass
class _Repeats:
    """A configuration: the CCC of each of its trials, the fold and the settings of each, and the
    settings of the first."""

    settings: TrialSettings
    alike: list[TrialSettings]
    values: list[float]
    folds: list[str]

    def mean(self, offsets: Mapping[str, float]) -> float:
        """The mean of the CCCs, each less the offset of its fold."""
        total = 0.0
        for value, fold in zip(self.values, self.folds, strict=True):
            total += value - offsets[fold]
        return total / len(self.values)


def _configurations(
    trials: Iterable[Trial], target: str, sameness: Sameness | None
) -> list[_Repeats]:
    groups: dict[str, _Repeats] = {}
    for trial in trials:
        settings, value = trial.settings, trial.ccc(target)
        if settings is None or value is None or not math.isfinite(value):
            continue
        meaning = settings if sameness is None else sameness.meaning(settings)
        key = configuration_id(meaning, but=REPEATS)
        group = groups.setdefault(key, _Repeats(settings, [], [], []))
        group.alike.append(settings)
        group.values.append(value)
        group.folds.append(str(settings.fold))
    return list(groups.values())


def _less_folds(groups: Sequence[_Repeats]) -> Floats:
    """Each configuration's mean CCC, as if all had been trained on the same folds.

    Some folds are harder than others. Effects of folds and of configurations are found in turns,
    each from what the other leaves (backfitting)."""
    folds = set().union(*(group.folds for group in groups))
    offsets = dict.fromkeys(folds, 0.0)
    means = [group.mean(offsets) for group in groups]
    if len(folds) == 1:
        return np.array(means)
    for _ in range(BACKFITS):
        remainders: dict[str, list[float]] = {fold: [] for fold in folds}
        for mean, group in zip(means, groups, strict=True):
            for value, fold in zip(group.values, group.folds, strict=True):
                remainders[fold].append(value - mean)
        offsets = {fold: float(np.mean(remainders[fold])) for fold in folds}
        means = [group.mean(offsets) for group in groups]
    return np.array(means)


# Settings as columns ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Contrast:
    """A value of a setting against others.

    `column`: one number per configuration; the difference in CCC is `steps` times its coefficient.
    `row`: the value in the columns of its setting. `words` describe the value, `others` what it is
    held against."""

    value: str
    column: Floats
    steps: float
    row: Floats
    words: str
    others: str
    counts: str


@dataclass(frozen=True)
class _Setting:
    """A setting that varies. `has_effect` in each configuration; `columns` (configurations, k) are
    centred where it has, and 0 elsewhere; `contrasts` of the values that may be the best."""

    name: str
    has_effect: Mask
    columns: Floats
    contrasts: tuple[_Contrast, ...]

    @property
    def configurations(self) -> int:
        return int(self.has_effect.sum())


FEATURES = "features: "
"""Begins the name of a feature set as a setting."""
ABSENT = object()
"""Stands for the value of a setting that has no effect in a configuration."""


def varying_settings(
    several: Sequence[TrialSettings], sameness: Sameness | None = None
) -> dict[str, list[Any]]:
    """Return by name the values (as JSON) of all settings that vary among these, but seed and fold:
    one per element of `several`, ABSENT where the setting has no effect.

    Each feature set is a setting, `features: <set>`, True or False. Values that mean the same by
    `sameness` are one, a text that names them all (`recording or subject`)."""
    columns: dict[str, list[Any]] = {}
    documents = _documents(several)
    meanings = documents
    if sameness is not None:
        meanings = _documents([sameness.meaning(settings) for settings in several])
    for name in sorted(set().union(*documents)):
        values = [document.get(name, ABSENT) for document in documents]
        same = [meaning.get(name, ABSENT) for meaning in meanings]
        if _differ(values) and _differ(same):
            columns[name] = values if sameness is None else _merged(values, same)
    for feature_set in sorted(set().union(*(settings.features for settings in several))):
        is_read = [feature_set in settings.features for settings in several]
        if not all(is_read):
            columns[f"{FEATURES}{feature_set}"] = is_read
    return columns


def _documents(several: Sequence[TrialSettings]) -> list[dict[str, Any]]:
    """Settings that have an effect, as JSON, but those that a configuration has several of."""
    weighed = set().union(*(settings.loss_weights for settings in several))
    documents = []
    for settings in several:
        document = settings.model_dump(mode="json")
        for target in weighed:
            document.setdefault(f"{WEIGHTS}.{target}", 1.0)
        for name in (*without_effect(document), *REPEATS, "features"):
            document.pop(name, None)
        documents.append(document)
    return documents


def _differ(values: Sequence[Any]) -> bool:
    return len({repr(value) for value in values if value is not ABSENT}) > 1


def _merged(values: Sequence[Any], meanings: Sequence[Any]) -> list[Any]:
    """Values of which those with one meaning are one text; as they are where a value's meaning
    depends on other settings."""
    meaning_of: dict[str, str] = {}
    texts: dict[str, set[str]] = {}
    for value, meaning in zip(values, meanings, strict=True):
        if value is ABSENT:
            continue
        key = "" if meaning is ABSENT else repr(meaning)
        if meaning_of.setdefault(repr(value), key) != key:
            return list(values)
        texts.setdefault(key, set()).add(value_text(value))
    merged = []
    for value in values:
        alike = [] if value is ABSENT else sorted(texts[meaning_of[repr(value)]])
        merged.append(" or ".join(alike) if len(alike) > 1 else value)
    return merged


def _settings(groups: Sequence[_Repeats], sameness: Sameness | None) -> list[_Setting]:
    # Values that mean the same are named by all trials, not by the first of each configuration.
    several = [group.settings for group in groups]
    alike = [settings for group in groups for settings in group.alike]
    settings = []
    for name, all_values in varying_settings([*several, *alike], sameness).items():
        values = all_values[: len(groups)]
        if not _differ(values):
            continue
        different = {repr(value) for value in values if value is not ABSENT}
        if len(different) > MOST_VALUES and _are_numbers(values):
            settings.append(_trend(name, values))
        else:
            settings.append(_choice(name, values))
    return settings


def _are_numbers(values: Sequence[Any]) -> bool:
    for value in values:
        if value is not ABSENT and (isinstance(value, bool) or not isinstance(value, int | float)):
            return False
    return True


def _choice(name: str, values: Sequence[Any]) -> _Setting:
    """A setting of single values: a column for each, 1 where a configuration has it, centred."""
    has_effect = np.array([value is not ABSENT for value in values])
    texts = []
    for value in values:
        if name.startswith(FEATURES):
            texts.append("with" if value else "without")
        else:
            texts.append("" if value is ABSENT else value_text(value))
    different = sorted(set(texts) - {""})
    counts = [texts.count(text) for text in different]
    columns = np.zeros((len(texts), len(different)))
    for index, text in enumerate(different):
        columns[:, index] = np.array(texts) == text
    columns = np.where(has_effect[:, None], columns - columns[has_effect].mean(axis=0), 0.0)
    contrasts = []
    for index, (text, count) in enumerate(zip(different, counts, strict=True)):
        against = sum(counts) - count
        if min(count, against) < FEWEST_ALIKE:
            continue
        others = "the other values" if len(different) > 2 else different[1 - index]
        contrasts.append(
            _Contrast(
                value=text,
                column=columns[:, index],
                steps=1.0,
                row=np.eye(len(different))[index],
                words=text,
                others=others,
                counts=f"{count} against {against} configurations",
            )
        )
    return _scaled(name, has_effect, columns, contrasts)


def _trend(name: str, values: Sequence[Any]) -> _Setting:
    """A setting of many numbers: two columns, a straight line and what a parabola adds to it."""
    has_effect = np.array([value is not ABSENT for value in values])
    numbers = np.array([value for value in values if value is not ABSENT], dtype=float)
    positions = numbers
    if numbers.min() > 0 and numbers.max() / numbers.min() >= WIDE_RANGE:
        positions = np.log(numbers)
    line = (positions - positions.mean()) / positions.std()
    parabola = np.polynomial.Polynomial.fit(line, line**2, 1)
    bend = line**2 - parabola(line)
    columns = np.zeros((len(values), 2))
    columns[has_effect] = np.stack([line, bend / max(float(bend.std()), 1e-9)], axis=1)
    # The number in the middle of each third stands for the third.
    order = np.argsort(numbers)
    thirds = [order[int(len(order) * share)] for share in (1 / 6, 1 / 2, 5 / 6)]
    low, middle, high = columns[has_effect][thirds]
    texts = [f"{numbers[index]:.2g}" for index in thirds]
    counts = f"{len(numbers)} configurations"
    rise = float(high[0] - low[0])
    sag = float((low[1] + high[1]) / 2 - middle[1])
    contrasts = []
    if rise > 0:
        lower, higher = f"lower is better, {texts[0]}", f"higher is better, {texts[2]}"
        down, up = -columns[:, 0], columns[:, 0]
        contrasts.append(_Contrast(texts[0], down, rise, low, lower, texts[2], counts))
        contrasts.append(_Contrast(texts[2], up, rise, high, higher, texts[0], counts))
    if sag > 0:
        around, ends = f"best around {texts[1]},", f"{texts[0]} and {texts[2]}"
        contrasts.append(_Contrast(texts[1], -columns[:, 1], sag, middle, around, ends, counts))
    return _scaled(name, has_effect, columns, contrasts)


def _scaled(
    name: str, has_effect: Mask, columns: Floats, contrasts: Sequence[_Contrast]
) -> _Setting:
    """The setting with columns of which a row's squares sum to 1 on average, so that each setting
    is as likely to matter, however many values it has."""
    mean_square = float((columns[has_effect] ** 2).sum(axis=1).mean())
    return _Setting(name, has_effect, columns / math.sqrt(mean_square), tuple(contrasts))


# The additive model -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Estimate:
    """A coefficient with its standard error, and the degrees of freedom that are left."""

    mean: float
    error: float
    freedom: float


class _AdditiveModel:
    """The additive model of all settings. `values`: a number per configuration, of mean 0 and
    variance 1."""

    def __init__(self, values: Floats, settings: Sequence[_Setting]) -> None:
        self.values = values
        self.settings = settings

    @cached_property
    def fits(self) -> list[_RidgeFit]:
        """The model with all effects shrunk, by each strength of the ridge."""
        constant = np.ones((len(self.values), 1))
        shrunk = np.concatenate([setting.columns for setting in self.settings], axis=1)
        return _fits(self.values, constant, shrunk)

    @cached_property
    def effects(self) -> dict[str, Floats]:
        """Coefficients of each setting's columns, all of them shrunk."""
        coefficients = np.zeros_like(self.fits[0].coefficients)
        for fit in self.fits:
            coefficients += fit.weight * fit.coefficients
        effects = {}
        start = 1
        for setting in self.settings:
            stop = start + setting.columns.shape[1]
            effects[setting.name] = coefficients[start:stop]
            start = stop
        return effects

    def share(self, setting: _Setting) -> float:
        """Share of the variance of the values that goes with this setting."""
        explained = setting.columns @ self.effects[setting.name]
        return float(np.clip(explained @ self.values / (self.values @ self.values), 0.0, 1.0))

    def twin(self, setting: _Setting, contrast: _Contrast) -> str | None:
        """Another setting and its value that the same configurations have, or nearly so; None where
        there is none."""
        lengths = np.linalg.norm(contrast.column)
        for other in self.settings:
            for alike in other.contrasts if other is not setting else ():
                cosine = alike.column @ contrast.column / np.linalg.norm(alike.column) / lengths
                if cosine > ALIKE:
                    return f"{other.name}: {alike.value}"
        return None

    def estimate(self, setting: _Setting, contrast: _Contrast) -> _Estimate:
        """Estimate the coefficient of a contrast, which is not shrunk while all else is."""
        free = np.stack([np.ones(len(self.values)), contrast.column], axis=1)
        direction = contrast.column / np.linalg.norm(contrast.column)
        shrunk = []
        for each in self.settings:
            columns = each.columns
            if each is setting:
                # Differences among its other values stay: all that is not in the contrast.
                columns = columns - np.outer(direction, direction @ columns)
            shrunk.append(columns)
        fits = _fits(self.values, free, np.concatenate(shrunk, axis=1))
        # Weighed as in the whole model: where two settings go together, this contrast would explain
        # all that the other one may have done, and the ridge would seem to be of no use.
        weights = [fit.weight for fit in self.fits]
        means = np.array([fit.coefficients[1] for fit in fits])
        mean = float(np.average(means, weights=weights))
        # Of a mixture: the variance within each fit, and that between the fits.
        variances = np.array([fit.variance for fit in fits]) + (means - mean) ** 2
        variance = float(np.average(variances, weights=weights))
        freedom = float(np.average([fit.freedom for fit in fits], weights=weights))
        return _Estimate(mean, math.sqrt(variance), freedom)


@dataclass(frozen=True)
class _RidgeFit:
    """The model with a ridge of one strength: its weight among others, all coefficients, the
    variance of the last free one, and the degrees of freedom that it leaves."""

    weight: float
    coefficients: Floats
    variance: float
    freedom: float


def _fits(values: Floats, free: Floats, shrunk: Floats) -> list[_RidgeFit]:
    """Fit values by columns that are `free` and others that are `shrunk`, at each of RIDGES."""
    number, unshrunk = free.shape
    columns = np.concatenate([free, shrunk], axis=1)
    gram = columns.T @ columns
    right = columns.T @ values
    solved = []
    likelihoods = []
    for ridge in RIDGES:
        system = gram.copy()
        system[range(unshrunk, len(gram)), range(unshrunk, len(gram))] += 1 / ridge
        inverse = np.linalg.inv(system)
        coefficients = inverse @ right
        noise = max(float(values @ values - coefficients @ right), 1e-9) / (number - unshrunk)
        # Minus twice the logarithm of the restricted likelihood, but for a constant.
        _, determinant = np.linalg.slogdet(system)
        penalty = determinant + shrunk.shape[1] * math.log(ridge)
        likelihoods.append(-((number - unshrunk) * math.log(noise) + penalty) / 2)
        variance = noise * float(inverse[unshrunk - 1, unshrunk - 1])
        freedom = number - float(np.trace(inverse @ gram))
        solved.append((coefficients, variance, freedom))
    weights = np.exp(np.array(likelihoods) - max(likelihoods))
    weights /= weights.sum()
    return [_RidgeFit(float(weight), *fit) for weight, fit in zip(weights, solved, strict=True)]

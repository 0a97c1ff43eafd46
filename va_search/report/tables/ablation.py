"""Table 5: every combination of feature sets at one setting, and what each set adds (paper 4.6).

Conventions: the combinations are those of the largest group of trials that differ in nothing but
feature sets and seed. The marginal effect of a set is its coefficient in a least-squares fit of the
CCC on the presence (0 or 1) of all sets, with a constant; one fit per seed, then the mean over
seeds and a 95 % interval from Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import OFFICIAL
from va_search.report.gather import Gathered
from va_search.report.suggest import ablation_space
from va_search.report.words import (
    configurations,
    feature_columns,
    feature_texts,
    kept_epochs,
    measures,
    model_name,
    other_settings,
    score_cells,
    score_columns,
    settings_of,
    varying,
)
from va_search.table import DASH, Table, columns, row, signed
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, configuration_id

TITLE = "Table 5: ablation of feature sets"
EFFECTS_TITLE = "Table 5, continued: what each feature set adds"
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """The change of a CCC where a feature set is there: mean over `seeds` fits and 95 % interval
    (None with one seed).

    Where it can't be determined, `mean` is None and `why` gives the reason. `names`: one set, or
    several that always come together."""

    names: tuple[str, ...]
    mean: float | None
    interval: tuple[float, float] | None
    seeds: int
    why: str = ""


def ablation_tables(gathered: Gathered, out: Path | None = None) -> tuple[Table, ...]:
    """Combinations, and below them the marginal effects; `out`: the report's folder."""
    group = largest_group(gathered.scored)
    if len(set(map(_features, group))) < 2:
        several = "these studies have" if len(gathered.names) > 1 else "this study has"
        need = "An ablation needs configurations that differ only in their feature sets"
        return (Table(TITLE, missing=ablation_space(gathered, f"{need}; {several} none.", out)),)
    return (_combinations_table(gathered, group), _effects_table(gathered, group))


def largest_group(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the setting (and fold) that was trained on most combinations of feature
    sets."""
    # The fold is part of the key: CCCs on different recordings don't compare.
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.settings is not None:
            key = configuration_id(trial.settings, but=("seed", "features"))
            groups.setdefault(key, []).append(trial)

    def size(group: list[Trial]) -> tuple[int, int]:
        return len(set(map(_features, group))), len(group)

    return max(groups.values(), key=size, default=[])


def _combinations_table(gathered: Gathered, group: Sequence[Trial]) -> Table:
    ranked = sorted(configurations(group), key=lambda group: -group.mean("score"))
    rows = []
    for combination, scores in zip(ranked, score_cells(ranked, gathered.targets), strict=True):
        names = feature_texts(_features(combination.trials[0]), gathered.store)
        rows.append(row(*names, str(len(combination.trials)), *scores))
    settings = ranked[0].settings
    assert settings is not None
    epochs = kept_epochs([settings.keep])
    return Table(
        TITLE,
        (
            *feature_columns(gathered.store),
            *score_columns(gathered.targets, "Seeds"),
        ),
        tuple(rows),
        lead=f"{epochs} All with one setting ({_fixed(gathered, settings)}).",
        notes=("Over several seeds: mean ± standard deviation. In bold the best.",),
    )


def _fixed(gathered: Gathered, settings: TrialSettings) -> str:
    """The one setting in words: the settings that differ elsewhere in the studies."""
    text = f"{model_name(settings)}, {settings.fusion} fusion"
    differing = other_settings(settings, varying(settings_of(gathered.scored)))
    if differing != DASH:
        text += f", {differing}"
    if settings.fold != OFFICIAL:
        text += f", fold {settings.fold}"
    return text


def _effects_table(gathered: Gathered, group: Sequence[Trial]) -> Table:
    store_sets = list(gathered.store.feature_sets) if gathered.store else []
    # The names are the same for every measure, since they depend on the combinations alone.
    by_names: dict[tuple[str, ...], list[Effect]] = {}
    for measure in measures(gathered.targets):
        for effect in effects(group, measure, store_sets):
            by_names.setdefault(effect.names, []).append(effect)
    # The largest effect on the score, which is the last measure, comes first.
    ranked = sorted(by_names.values(), key=lambda measured: -_rank(measured[-1]))
    rows = []
    seeds = 0
    for measured in ranked:
        names = " + ".join(measured[0].names)
        rows.append(row(names, measured[0].why, *map(effect_text, measured)))
        seeds = max(seeds, *(effect.seeds for effect in measured))
    change = (
        "The CCC's change where a set is there, the other sets being equal: a least-squares fit on "
        "the presence of each set, per seed, without interactions; the mean over seeds"
    )
    notes = [f"{change} and its 95 % interval (Student's t)."]
    if seeds <= 1:
        seeds_advice = "Train more seeds (seeds: [0, 1, 2] in the space) to have one."
        notes = [f"{change}.", f"One seed: there is no interval. {seeds_advice}"]
    heads = columns("Feature set", "Remark")
    numbers = score_columns(gathered.targets)
    return Table(EFFECTS_TITLE, (*heads, *numbers), tuple(rows), notes=tuple(notes))


def _rank(effect: Effect) -> float:
    return -math.inf if effect.mean is None else effect.mean


def effect_text(effect: Effect) -> str:
    """`+0.012 (−0.003 to +0.027)`."""
    if effect.interval is None:
        return signed(effect.mean)
    low, high = effect.interval
    return f"{signed(effect.mean)} ({signed(low)} to {signed(high)})"


def effects(group: Sequence[Trial], measure: str, store_sets: Sequence[str] = ()) -> list[Effect]:
    """The marginal effect on a CCC of every feature set of `group`, and of `store_sets` that none
    of it has."""
    used = sorted(set().union(*map(_features, group)))
    # (trial, set): 1 where the trial has the set.
    present = np.array([np.isin(used, _features(trial)) for trial in group], dtype=np.float64)
    # Sets that are always there or missing together have one column, and one effect.
    together: dict[bytes, list[str]] = {}
    for name, column in zip(used, present.T, strict=True):
        together.setdefault(column.tobytes(), []).append(name)
    # A set that is in all combinations can't be told from the fit's constant.
    in_all, varied = [], []
    for names in together.values():
        if present[:, used.index(names[0])].all():
            for name in names:
                in_all.append(Effect((name,), None, None, 0, "in all of the combinations"))
        else:
            varied.append(names)
    columns_used = [used.index(names[0]) for names in varied]
    per_seed = _fits(group, measure, present[:, columns_used])
    fitted = []
    for names, coefficients_of_seeds in zip(varied, per_seed.T, strict=True):
        fitted.append(_over_seeds(tuple(names), coefficients_of_seeds))
    in_none = []
    for name in store_sets:
        if name not in used:
            in_none.append(Effect((name,), None, None, 0, "in none of the combinations"))
    return [*in_all, *fitted, *in_none]


def _fits(group: Sequence[Trial], measure: str, present: Array) -> Array:
    """(seed, set) coefficients; NaN where a seed's combinations can't separate the set from
    others. `present`: (trial, set)."""
    seeds = np.array([settings.seed for settings in settings_of(group)])
    values = np.array([trial.ccc(measure) for trial in group], dtype=np.float64)
    # A fit per seed: their spread is what the interval is made of.
    fits = []
    for seed in np.unique(seeds):
        rows = np.flatnonzero((seeds == seed) & np.isfinite(values))
        fits.append(coefficients(present[rows], values[rows]))
    return np.array(fits).reshape(len(fits), present.shape[1])


def coefficients(present: Array, values: Array) -> Array:
    """(set,) least-squares effects of `present` (combination, set) on `values`; NaN for sets that
    can't be separated."""
    design = np.hstack([np.ones((len(values), 1)), present])
    fitted = np.linalg.lstsq(design, values, rcond=None)[0].astype(np.float64)
    # A set is separated where the other columns can't stand for it: the rank falls without it.
    rank = np.linalg.matrix_rank(design)
    for index in range(1, design.shape[1]):
        if np.linalg.matrix_rank(np.delete(design, index, axis=1)) == rank:
            fitted[index] = np.nan
    return fitted[1:]


def _over_seeds(names: tuple[str, ...], per_seed: Array) -> Effect:
    finite = per_seed[np.isfinite(per_seed)]
    if not finite.size:
        reason = "the combinations can't separate it from the other sets"
        return Effect(names, None, None, 0, reason)
    remark = "always together, so reported as one" if len(names) > 1 else ""
    return Effect(names, float(finite.mean()), t_interval(finite), len(finite), remark)


def t_interval(values: Array) -> tuple[float, float] | None:
    """95 % interval of the mean, from Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.975))
    half = quantile * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean - half, mean + half


def _features(trial: Trial) -> tuple[str, ...]:
    return () if trial.settings is None else trial.settings.features

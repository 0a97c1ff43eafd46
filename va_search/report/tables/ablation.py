"""Table 5: every combination of feature sets at one setting, and what each set is worth in it
(paper 4.6).

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
from va_search.report.model import DASH, Cell, Row, Table, columns, row
from va_search.report.suggest import ablation_space
from va_search.report.words import (
    BEST_EPOCH,
    Configuration,
    configurations,
    feature_cells,
    feature_columns,
    model_name,
    other_settings,
    said,
    signed,
    varying,
)
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, configuration_id

TITLE = "Table 5: ablation of feature sets"
EFFECTS = "Table 5, continued: what each feature set adds"
MEASURES = ("valence", "arousal", "score")
TOLERANCE = 1e-9
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What a feature set adds to a CCC: mean over `seeds` fits and 95 % interval (None with one
    seed).

    Where it can't be told, `mean` is None and `why` says the reason. `names`: one set, or several
    that come together."""

    names: tuple[str, ...]
    mean: float | None
    interval: tuple[float, float] | None
    seeds: int
    why: str = ""


def ablation_tables(gathered: Gathered, out: Path | None = None) -> tuple[Table, ...]:
    """Combinations, and below them the marginal effects; `out`: the report's folder."""
    group = largest_group(gathered.scored)
    combinations = configurations(group)
    if len(combinations) < 2:
        several = "these studies have" if len(gathered.names) > 1 else "this study has"
        why = f"An ablation needs configurations that differ only in their feature sets; {several} none."
        return (Table(TITLE, missing=ablation_space(gathered, why, out)),)
    return (_combinations(gathered, combinations), _effects(gathered, group))


def largest_group(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the setting (and fold) that was trained on most combinations of feature
    sets."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.settings is not None:
            key = configuration_id(trial.settings, but=("seed", "features"))
            groups.setdefault(key, []).append(trial)

    def size(group: list[Trial]) -> tuple[int, int]:
        return len({trial.settings.features for trial in group if trial.settings}), len(group)

    return max(groups.values(), key=size, default=[])


def _combinations(gathered: Gathered, found: list[Configuration]) -> Table:
    settings = next(one.settings for one in found if one.settings is not None)
    highest = {measure: max(one.mean(measure) for one in found) for measure in MEASURES}
    ranked = sorted(found, key=lambda one: (-one.mean("score"),))
    others = [trial.settings for trial in gathered.scored if trial.settings is not None]
    what = other_settings(settings, varying(others))
    rows = []
    for one in ranked:
        assert one.settings is not None
        cells = [Cell(text) for text in feature_cells(one.settings.features, gathered.store)]
        cells.append(Cell(str(len(one.trials))))
        cells += [
            Cell(said(one.over(each)), best=one.mean(each) == highest[each]) for each in MEASURES
        ]
        rows.append(Row(tuple(cells)))
    fixed = f"{model_name(settings)}, {settings.fusion} fusion" + (
        "" if what == DASH else f", {what}"
    )
    fold = "" if settings.fold == OFFICIAL else f", fold {settings.fold}"
    return Table(
        TITLE,
        columns(*feature_columns(gathered.store), numbers=("Seeds", "Valence", "Arousal", "Score")),
        tuple(rows),
        lead=f"{BEST_EPOCH} All with one setting ({fixed}{fold}).",
        notes=("Over several seeds: mean ± standard deviation. In bold the best.",),
    )


def _effects(gathered: Gathered, group: Sequence[Trial]) -> Table:
    every = list(gathered.store.feature_sets) if gathered.store else []
    found = {measure: {e.names: e for e in effects(group, measure, every)} for measure in MEASURES}
    seeds = max((effect.seeds for each in found.values() for effect in each.values()), default=0)
    notes = [
        "The CCC's change where a set is there, the other sets being equal: a least-squares fit on the presence of "
        "each set, per seed, without interactions; the mean over seeds"
        + (" and its 95 % interval (Student's t)." if seeds > 1 else "."),
    ]
    if seeds <= 1:
        notes.append(
            "One seed: there is no interval. Train more seeds (seeds: [0, 1, 2] in the space) to have one."
        )
    order = sorted(found["score"], key=lambda names: -_mean(found["score"][names]))
    rows = [_effect_row([found[measure][names] for measure in MEASURES]) for names in order]
    heads = ("Feature set", "Remark")
    return Table(
        EFFECTS,
        columns(*heads, numbers=("Valence", "Arousal", "Score")),
        tuple(rows),
        notes=tuple(notes),
    )


def _mean(effect: Effect) -> float:
    return -math.inf if effect.mean is None else effect.mean


def _effect_row(measured: Sequence[Effect]) -> Row:
    first = measured[0]
    return row(" + ".join(first.names), first.why or "", *map(effect_text, measured))


def effect_text(effect: Effect) -> str:
    """`+.012 (−.003 to +.027)`."""
    if effect.interval is None:
        return signed(effect.mean)
    return f"{signed(effect.mean)} ({signed(effect.interval[0])} to {signed(effect.interval[1])})"


def effects(group: Sequence[Trial], measure: str, every: Sequence[str] = ()) -> list[Effect]:
    """The marginal effect of every feature set of `group` (and of `every`, where none has it) on a
    CCC."""
    used = sorted({name for trial in group for name in _features(trial)})
    present = np.array(
        [[name in _features(trial) for name in used] for trial in group], dtype=np.float64
    )
    columns_of: dict[bytes, list[int]] = {}
    for index in range(len(used)):
        columns_of.setdefault(present[:, index].tobytes(), []).append(index)
    found, varied = [], []
    for indexes in columns_of.values():
        names = tuple(used[index] for index in indexes)
        if present[:, indexes[0]].all():
            found += [
                Effect((name,), None, None, 0, "in all of the combinations") for name in names
            ]
        else:
            varied.append((names, indexes[0]))
    per_seed = _fits(group, measure, [index for _, index in varied], present)
    found += [_over_seeds(names, per_seed[:, at]) for at, (names, _) in enumerate(varied)]
    return found + [
        Effect((name,), None, None, 0, "in none of the combinations")
        for name in every
        if name not in used
    ]


def _fits(group: Sequence[Trial], measure: str, used: list[int], present: Vector) -> Vector:
    """(seed, set) coefficients, NaN where a seed's combinations don't tell the set from others."""
    seeds = np.array([0 if trial.settings is None else trial.settings.seed for trial in group])
    values = np.array([trial.ccc(measure) for trial in group], dtype=np.float64)
    found = []
    for seed in np.unique(seeds):
        rows = np.flatnonzero((seeds == seed) & np.isfinite(values))
        found.append(coefficients(present[rows][:, used], values[rows]))
    return np.array(found).reshape(len(found), len(used))


def coefficients(present: Vector, values: Vector) -> Vector:
    """(set,) least-squares effects of `present` (combination, set) on `values`; NaN for what can't
    be told apart."""
    design = np.hstack([np.ones((len(values), 1)), present])
    fitted = np.linalg.lstsq(design, values, rcond=None)[0]
    _, sizes, directions = np.linalg.svd(design, full_matrices=True)
    rank = int((sizes > TOLERANCE * max(1.0, float(sizes.max(initial=0.0)))).sum())
    free = (
        np.abs(directions[rank:]).max(axis=0, initial=0.0) > 1e-6
    )  # it may be moved without changing any fit
    effect: Vector = np.where(free, np.nan, fitted)[1:]
    return effect


def _over_seeds(names: tuple[str, ...], per_seed: Vector) -> Effect:
    known = per_seed[np.isfinite(per_seed)]
    together = "always together, so reported as one" if len(names) > 1 else ""
    if not known.size:
        return Effect(
            names, None, None, 0, "the combinations can't separate it from the other sets"
        )
    mean = float(known.mean())
    return Effect(names, mean, t_interval(known), len(known), together)


def t_interval(values: Vector) -> tuple[float, float] | None:
    """95 % interval of the mean, from Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    half = (
        float(stdtrit(len(values) - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    )
    return float(values.mean()) - half, float(values.mean()) + half


def _features(trial: Trial) -> tuple[str, ...]:
    settings: TrialSettings | None = trial.settings
    return () if settings is None else settings.features

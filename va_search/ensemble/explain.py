"""Why this ensemble: how alike its members are, where its weight lies, and what each part of it is
worth.

Conventions: one dimension at a time. What a group of members adds is the CCC of the whole recipe
minus the CCC of the recipe built again without the group, both out-of-fold (in-sample where that is
impossible; `measured` says which): it may be negative, and a part that other members can replace
adds little, even with a large weight. Groups: every feature set and every encoder among the
candidates, and models from elsewhere. What single members add is the ensemble's own `gain`: the
others keep their weights' proportions. Of a recipe `auto`, the recipe it took is explained. Weights
may be negative (ridge); they sum to 1, and so do shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble import sums
from va_search.ensemble.honest import Fits
from va_search.ensemble.material import Material, Materials
from va_search.ensemble.moments import Moments, Vector
from va_search.ensemble.plan import OPTIONS, Plan, Shared
from va_search.ensemble.saved import Ensemble
from va_search.trial import Trial

Judge = Callable[[NDArray[np.bool_]], float | None]
"""(member,) which candidates may be members -> the recipe's CCC; None where it can't be built or
judged."""

SHARED = ("encoder", "features", "fusion", "seed")
"""What members may have in common, in the order it is told."""

ELSEWHERE = "from elsewhere"


@dataclass(frozen=True)
class Share:
    """Weight of the members that have `value` (of an encoder, a combination of feature sets, …) in
    common."""

    what: str
    value: str
    members: int
    weight: float


@dataclass(frozen=True)
class Addition:
    """What a group adds: `gain` = the CCC − the CCC `without` the group's candidates.

    `candidates`: how many are in the group, `weight` what they have in the ensemble. None where
    nothing is left without them, or it was not measured."""

    kind: str  # feature set, encoder, source, member
    name: str
    candidates: int
    weight: float
    without: float | None
    gain: float | None


@dataclass(frozen=True)
class Explanation:
    """One dimension. `labels` are the members with weight, most weight first, and `models` what
    they are; `correlation` (label, label) is over the labelled frames, NaN for a constant
    member."""

    measured: str
    ccc: float | None
    labels: tuple[str, ...]
    models: tuple[str, ...]
    weights: tuple[float, ...]
    correlation: Vector
    shares: tuple[Share, ...]
    additions: tuple[Addition, ...]

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        values = [
            [None if math.isnan(x) else round(x, 6) for x in row]
            for row in self.correlation.tolist()
        ]
        return {
            "measured": self.measured,
            "ccc": self.ccc,
            "members": [
                {"member": member, "model": model, "weight": weight}
                for member, model, weight in zip(
                    self.labels, self.models, self.weights, strict=True
                )
            ],
            "correlation": values,
            "weight": [asdict(share) for share in self.shares],
            "adds": [asdict(addition) for addition in self.additions],
        }


def explain(
    candidates: Sequence[Trial],
    weights: Vector,
    moments: Moments,
    judge: Judge,
    *,
    measured: str,
    gains: Mapping[str, float] | None = None,
) -> Explanation:
    """Explain the `weights` (candidate,) of one dimension; `moments` are the candidates' over all
    labelled frames.

    `gains`: what single members add, by label, where that is known.
    """
    members = np.array(
        [i for i in np.lexsort((np.arange(len(weights)), -weights)) if weights[i]], dtype=np.intp
    )
    everyone = judge(np.ones(len(candidates), dtype=bool))
    additions = [_addition(group, weights, everyone, judge) for group in groups(candidates)]
    additions += [
        _single(candidates[i].label, float(weights[i]), everyone, gains or {}) for i in members
    ]
    return Explanation(
        measured=measured,
        ccc=everyone,
        labels=tuple(candidates[i].label for i in members),
        models=tuple(model(candidates[i]) for i in members),
        weights=tuple(float(weights[i]) for i in members),
        correlation=correlation(moments)[np.ix_(members, members)],
        shares=tuple(shares(candidates, weights)),
        additions=tuple(additions),
    )


def model(candidate: Trial) -> str:
    """What a candidate is, in few words: encoder and feature sets, or that it is from elsewhere."""
    if not _settings(candidate):
        return ELSEWHERE
    return f"{_value(candidate, 'encoder')}, {_value(candidate, 'features')}"


def explain_ensemble(ensemble: Ensemble, materials: Materials) -> dict[str, Explanation]:
    """Explain both dimensions of a saved ensemble on what it was made from."""
    return {
        dimension: _explain_dimension(ensemble, material, dimension)
        for dimension, material in materials.items()
    }


def _explain_dimension(ensemble: Ensemble, material: Material, dimension: str) -> Explanation:
    weighted = ensemble.dimensions[dimension]
    material = material if weighted.outside else material.own()
    plan = read_plan(weighted.recipe)
    given = {f"{member.study}/{member.trial}": member for member in weighted.members}
    weights = np.array(
        [given[c.label].weight if c.label in given else 0.0 for c in material.candidates]
    )
    gains = {label: member.gain for label, member in given.items() if member.gain is not None}

    def judge(keep: NDArray[np.bool_]) -> float | None:
        fits = Fits(material.subset(np.flatnonzero(keep)), plan)
        found = fits.out_of_fold() if material.folds.parts else fits.in_sample()
        return None if found is None else float(sums.ccc(found.sum(axis=0)))

    measured = "out_of_fold" if material.folds.parts else "in_sample"
    return explain(
        material.candidates,
        weights,
        material.statistics.total(),
        judge,
        measured=measured,
        gains=gains,
    )


def read_plan(document: dict[str, Any]) -> Plan:
    """The plan whose `Plan.document` this is."""
    shared = {key: value for key, value in document.items() if key in Shared.model_fields}
    rest = {key: value for key, value in document.items() if key not in Shared.model_fields}
    return Plan(OPTIONS[document["method"]].model_validate(rest), Shared.model_validate(shared))


def correlation(moments: Moments) -> Vector:
    """(member, member) Pearson correlation of predictions; NaN where one is constant."""
    spread = np.sqrt(np.maximum(np.diag(moments.covariance), 0.0))
    scale = np.outer(spread, spread)
    found: Vector = np.full(scale.shape, np.nan)
    np.divide(moments.covariance, scale, out=found, where=scale > 0.0)
    return np.clip(found, -1.0, 1.0)


def shares(candidates: Sequence[Trial], weights: Vector) -> Iterator[Share]:
    """Weight by encoder, by combination of feature sets, by fusion and by seed, most weight
    first."""
    for what in SHARED:
        found: dict[str, list[float]] = {}
        for candidate, weight in zip(candidates, weights.tolist(), strict=True):
            if weight:
                found.setdefault(_value(candidate, what), []).append(weight)
        for value, some in sorted(found.items(), key=lambda item: (-sum(item[1]), item[0])):
            yield Share(what, value, len(some), sum(some))


def groups(candidates: Sequence[Trial]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """(kind, name, (candidate,) who is in it) of everything that is left out to see what it
    adds."""
    used = [_settings(candidate).get("features") or [] for candidate in candidates]
    for name in sorted({name for names in used for name in names}):
        yield "feature set", name, np.array([name in names for names in used])
    encoders = [_settings(candidate).get("encoder") for candidate in candidates]
    for name in sorted({name for name in encoders if name is not None}):
        yield "encoder", name, np.array([encoder == name for encoder in encoders])
    outside = np.array([candidate.is_outside for candidate in candidates])
    if outside.any():
        yield "source", ELSEWHERE, outside


def _addition(
    group: tuple[str, str, NDArray[np.bool_]], weights: Vector, everyone: float | None, judge: Judge
) -> Addition:
    kind, name, who = group
    without = None if who.all() else judge(~who)
    gain = (
        None if without is None or everyone is None else round(everyone - without, 12) + 0.0
    )  # no negative zero
    return Addition(kind, name, int(who.sum()), float(weights[who].sum()), without, gain)


def _single(
    label: str, weight: float, everyone: float | None, gains: Mapping[str, float]
) -> Addition:
    gain = gains.get(label)
    without = None if gain is None or everyone is None else everyone - gain
    return Addition("member", label, 1, weight, without, gain)


def _value(candidate: Trial, what: str) -> str:
    found = _settings(candidate).get(what)
    if found is None:
        return ELSEWHERE if candidate.is_outside else "–"
    return " + ".join(sorted(found)) if isinstance(found, list) else str(found)


def _settings(candidate: Trial) -> Mapping[str, Any]:
    return candidate.noted_settings or {}

"""Why this ensemble: how alike its members are, where its weight lies, and what each part of it is
worth; as numbers and as pictures.

Conventions: one target at a time. A group of members adds the CCC of the whole recipe minus the
CCC of the recipe built again without the group, both out-of-fold (in-sample where that is
impossible; `measured` says which): it may be negative, and a part that other members can replace
adds little, even with a large weight. Groups: every feature set and every encoder among the
candidates, and models from elsewhere. What single members add is the ensemble's own `gain`: the
others keep their weights' proportions. Of a recipe `auto`, the recipe it took is explained. Weights
may be negative (ridge); they sum to 1, and so do shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble import sums
from va_search.ensemble.material import Material, Materials
from va_search.ensemble.out_of_fold import Fits
from va_search.ensemble.pipeline import Pipeline
from va_search.ensemble.saved import Ensemble, Weighted
from va_search.ensemble.statistics import Moments, Statistics, Vector
from va_search.trial import Trial

Judge = Callable[[NDArray[np.bool_]], float | None]
"""(member,) which candidates may be members -> the recipe's CCC; None where it can't be built or
judged."""
SHARED = ("encoder", "features", "fusion", "seed")
"""What members may have in common, in the order it is told."""
ELSEWHERE = "from elsewhere"
KINDS = ("feature set", "encoder", "source", "member")
"""Of parts that add something."""


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
    """The `gain` of a group: the CCC − the CCC `without` the group's candidates.

    `candidates`: how many are in the group, `weight` what they have in the ensemble. None where
    nothing is left without them, or it was not measured."""

    kind: str  # of KINDS
    name: str
    candidates: int
    weight: float
    without: float | None
    gain: float | None


@dataclass(frozen=True)
class LeftOut:
    """Trials that are left out together to see what they add; `inside` (candidate,)."""

    kind: str
    name: str
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Explanation:
    """One target. `labels` are the members with weight, most weight first, and `models` what
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
        members = []
        for label, model_name, weight in zip(self.labels, self.models, self.weights, strict=True):
            members.append({"member": label, "model": model_name, "weight": weight})
        # JSON has no NaN.
        rounded = np.round(self.correlation, 6).astype(object)
        rounded[np.isnan(self.correlation)] = None
        return {
            "measured": self.measured,
            "ccc": self.ccc,
            "members": members,
            "correlation": rounded.tolist(),
            "weight": [asdict(share) for share in self.shares],
            "adds": [asdict(addition) for addition in self.additions],
        }


def explain_ensemble(ensemble: Ensemble, materials: Materials) -> dict[str, Explanation]:
    """Explain each target of a saved ensemble on what it was made from."""
    explanations = {}
    for target, material in materials.items():
        explanations[target] = _explain_target(ensemble.dimensions[target], material)
    return explanations


def _explain_target(weighted: Weighted, material: Material) -> Explanation:
    if not weighted.outside:
        material = material.own()
    pipeline = Pipeline.read(weighted.recipe)
    # Weights and gains of the candidates, from the saved members.
    weight_of, gains = {}, {}
    for member in weighted.members:
        label = f"{member.study}/{member.trial}"
        weight_of[label] = member.weight
        if member.gain is not None:
            gains[label] = member.gain
    weights = np.array([weight_of.get(c.label, 0.0) for c in material.candidates])

    def judge(inside: NDArray[np.bool_]) -> float | None:
        fits = Fits(material.subset(np.flatnonzero(inside)), pipeline)
        predicted = fits.out_of_fold() if material.folds.parts else fits.in_sample()
        return None if predicted is None else sums.pooled_ccc(predicted)

    measured = "out_of_fold" if material.folds.parts else "in_sample"
    statistics = material.statistics
    return explain(material.candidates, weights, statistics, judge, measured=measured, gains=gains)


def explain(
    candidates: Sequence[Trial],
    weights: Vector,
    statistics: Statistics,
    judge: Judge,
    *,
    measured: str,
    gains: Mapping[str, float] | None = None,
) -> Explanation:
    """Explain the `weights` (candidate,) of one target; `statistics` are the candidates'.

    `gains`: what single members add, by label, where that is known."""
    everyone = judge(np.ones(len(candidates), dtype=bool))
    # Groups first: the recipe is built again without each of them.
    additions = [_addition(group, weights, everyone, judge) for group in groups(candidates)]
    # Then the members with weight, most weight first.
    by_weight = np.argsort(-weights, kind="stable")
    members = by_weight[weights[by_weight] != 0.0]
    labels = [candidates[i].label for i in members]
    for label, weight in zip(labels, weights[members].tolist(), strict=True):
        gain = (gains or {}).get(label)
        without = None if gain is None or everyone is None else everyone - gain
        additions.append(Addition("member", label, 1, weight, without, gain))
    return Explanation(
        measured=measured,
        ccc=everyone,
        labels=tuple(labels),
        models=tuple(model(candidates[i]) for i in members),
        weights=tuple(weights[members].tolist()),
        correlation=correlation(statistics.subset(members).total()),
        shares=tuple(shares(candidates, weights)),
        additions=tuple(additions),
    )


def _addition(group: LeftOut, weights: Vector, everyone: float | None, judge: Judge) -> Addition:
    without = None if group.inside.all() else judge(~group.inside)
    gain = None
    if without is not None and everyone is not None:
        gain = round(everyone - without, 12) + 0.0  # no negative zero
    count, weight = int(group.inside.sum()), float(weights[group.inside].sum())
    return Addition(group.kind, group.name, count, weight, without, gain)


def groups(candidates: Sequence[Trial]) -> Iterator[LeftOut]:
    """Every group of candidates that is left out to see what it adds."""
    inside: dict[tuple[str, str], list[int]] = {}
    for index, candidate in enumerate(candidates):
        settings = _settings(candidate)
        for name in settings.get("features") or []:
            inside.setdefault(("feature set", name), []).append(index)
        if settings.get("encoder") is not None:
            inside.setdefault(("encoder", settings["encoder"]), []).append(index)
        if candidate.is_outside:
            inside.setdefault(("source", ELSEWHERE), []).append(index)
    for kind, name in sorted(inside, key=lambda key: (KINDS.index(key[0]), key[1])):
        mask = np.zeros(len(candidates), dtype=bool)
        mask[inside[kind, name]] = True
        yield LeftOut(kind, name, mask)


def shares(candidates: Sequence[Trial], weights: Vector) -> Iterator[Share]:
    """Weight by encoder, by combination of feature sets, by fusion and by seed, most weight
    first."""
    for setting in SHARED:
        weights_of: dict[str, list[float]] = {}
        for candidate, weight in zip(candidates, weights.tolist(), strict=True):
            if weight:
                weights_of.setdefault(_value(candidate, setting), []).append(weight)
        for value in sorted(weights_of, key=lambda value: (-sum(weights_of[value]), value)):
            yield Share(setting, value, len(weights_of[value]), sum(weights_of[value]))


def correlation(moments: Moments) -> Vector:
    """(member, member) Pearson correlation of predictions; NaN where one is constant."""
    spread = np.sqrt(np.maximum(np.diag(moments.covariance), 0.0))
    scale = np.outer(spread, spread)
    result: Vector = np.full(scale.shape, np.nan)
    np.divide(moments.covariance, scale, out=result, where=scale > 0.0)
    return np.clip(result, -1.0, 1.0)


def model(candidate: Trial) -> str:
    """A candidate in few words: encoder and feature sets, or that it is from elsewhere."""
    if not _settings(candidate):
        return ELSEWHERE
    return f"{_value(candidate, 'encoder')}, {_value(candidate, 'features')}"


def _value(candidate: Trial, what: str) -> str:
    value = _settings(candidate).get(what)
    if value is None:
        return ELSEWHERE if candidate.is_outside else "–"
    return " + ".join(sorted(value)) if isinstance(value, list) else str(value)


def _settings(candidate: Trial) -> Mapping[str, Any]:
    """A candidate's settings; where its family has no encoders, the family stands for its encoder."""
    settings = candidate.noted_settings or {}
    family = settings.get("family", "network")
    if family == "network":
        return settings
    return {**settings, "encoder": family}

"""Why this ensemble: how alike its members are, where its weight lies, and what each part of it is worth.

Conventions: one dimension at a time. What a group of members adds is the CCC of the whole recipe minus the CCC of the
recipe built again without the group, both out-of-fold (in-sample where that is impossible; `measured` says which): it
may be negative, and what others can stand in for adds little, however much weight it has. Groups: every feature set and
every encoder among the candidates, models from elsewhere, and the members with most weight one by one. Weights may be
negative (ridge), so shares are of the sum, as the ensemble's are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.candidates import Candidate
from va_search.ensemble.moments import Moments, Vector

Judge = Callable[[NDArray[np.bool_]], float | None]
"""(member,) which candidates may be members -> the recipe's CCC; None where it can't be built or judged."""

SHARED = ("encoder", "features", "fusion", "seed")
"""What members may have in common, in the order it is told."""

ELSEWHERE = "from elsewhere"
ONE_BY_ONE = 15
"""So many members, by weight, are left out one by one; each costs as much as judging the recipe once."""


@dataclass(frozen=True)
class Share:
    """Weight of the members that have `value` (of an encoder, a combination of feature sets, …) in common."""

    what: str
    value: str
    members: int
    weight: float


@dataclass(frozen=True)
class Addition:
    """What a group adds: `gain` = the recipe's CCC − its CCC `without` the group's candidates.

    `candidates`: how many are in the group, `weight` what they have in the ensemble. None where nothing is left
    without them.
    """

    kind: str  # feature set, encoder, source, member
    name: str
    candidates: int
    weight: float
    without: float | None
    gain: float | None


@dataclass(frozen=True)
class Explanation:
    """One dimension. `labels` are the members with weight, most weight first, and `models` what they are; `correlation`
    (label, label) is over the labelled frames, NaN for a constant member."""

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
        values = [[None if math.isnan(x) else round(x, 6) for x in row] for row in self.correlation.tolist()]
        return {
            "measured": self.measured,
            "ccc": self.ccc,
            "members": [
                {"member": member, "model": model, "weight": weight}
                for member, model, weight in zip(self.labels, self.models, self.weights, strict=True)
            ],
            "correlation": values,
            "weight": [asdict(share) for share in self.shares],
            "adds": [asdict(addition) for addition in self.additions],
        }


def explain(
    candidates: Sequence[Candidate], weights: Vector, moments: Moments, judge: Judge, *, measured: str
) -> Explanation:
    """Explain the `weights` (candidate,) of one dimension; `moments` are the candidates' over all labelled frames."""
    members = np.array([i for i in np.lexsort((np.arange(len(weights)), -weights)) if weights[i]], dtype=np.intp)
    everyone = judge(np.ones(len(candidates), dtype=bool))
    additions = [_addition(group, weights, everyone, judge) for group in groups(candidates, members)]
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


def model(candidate: Candidate) -> str:
    """What a candidate is, in few words: encoder and feature sets, or that it is from elsewhere."""
    if not _settings(candidate):
        return ELSEWHERE
    return f"{_value(candidate, 'encoder')}, {_value(candidate, 'features')}"


def correlation(moments: Moments) -> Vector:
    """(member, member) Pearson correlation of predictions; NaN where one is constant."""
    spread = np.sqrt(np.maximum(np.diag(moments.covariance), 0.0))
    scale = np.outer(spread, spread)
    found: Vector = np.full(scale.shape, np.nan)
    np.divide(moments.covariance, scale, out=found, where=scale > 0.0)
    return np.clip(found, -1.0, 1.0)


def shares(candidates: Sequence[Candidate], weights: Vector) -> Iterator[Share]:
    """Weight by encoder, by combination of feature sets, by fusion and by seed, most weight first."""
    for what in SHARED:
        found: dict[str, list[float]] = {}
        for candidate, weight in zip(candidates, weights.tolist(), strict=True):
            if weight:
                found.setdefault(_value(candidate, what), []).append(weight)
        for value, some in sorted(found.items(), key=lambda item: (-sum(item[1]), item[0])):
            yield Share(what, value, len(some), sum(some))


def groups(candidates: Sequence[Candidate], members: NDArray[np.intp]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """(kind, name, (candidate,) who is in it) of everything that is left out to see what it adds."""
    used = [_settings(candidate).get("features") or [] for candidate in candidates]
    for name in sorted({name for names in used for name in names}):
        yield "feature set", name, np.array([name in names for names in used])
    encoders = [_settings(candidate).get("encoder") for candidate in candidates]
    for name in sorted({name for name in encoders if name is not None}):
        yield "encoder", name, np.array([encoder == name for encoder in encoders])
    outside = np.array([candidate.record["source"] == "outside" for candidate in candidates])
    if outside.any():
        yield "source", ELSEWHERE, outside
    for member in members[:ONE_BY_ONE].tolist():
        yield "member", candidates[member].label, np.arange(len(candidates)) == member


def _addition(
    group: tuple[str, str, NDArray[np.bool_]], weights: Vector, everyone: float | None, judge: Judge
) -> Addition:
    kind, name, who = group
    without = None if who.all() else judge(~who)
    gain = None if without is None or everyone is None else round(everyone - without, 12) + 0.0  # no negative zero
    return Addition(kind, name, int(who.sum()), float(weights[who].sum()), without, gain)


def _value(candidate: Candidate, what: str) -> str:
    found = _settings(candidate).get(what)
    if found is None:
        return ELSEWHERE if candidate.record["source"] == "outside" else "–"
    return " + ".join(sorted(found)) if isinstance(found, list) else str(found)


def _settings(candidate: Candidate) -> dict[str, Any]:
    return candidate.record.get("settings") or {}

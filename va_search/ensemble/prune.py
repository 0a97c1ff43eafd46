"""Pruning: which members may be weighed at all, by their rank and by what they share.

Conventions: members are gone through from the highest CCC to the lowest, equal ones in the order
they stand in (by trial id), and each is kept while there is room. Pruning looks at the annotation
through the CCC: where a score is to be honest, it is redone inside each fold with that fold's
`each`. What helps, and how sure that is: worth.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble import select
from va_search.ensemble.moments import Statistics
from va_search.ensemble.statistics import Vector
from va_search.ensemble.worth import Groups, ccc_and_worth, helping
from va_search.trial import Trial


def prune(
    statistics: Statistics,
    each: Vector | None,
    candidates: Sequence[Trial],
    *,
    top: int | None = None,
    per_encoder: int | None = None,
    per_features: int | None = None,
    helpful: bool = False,
    matched: bool = False,
    groups: Groups = (),
) -> NDArray[np.bool_]:
    """(member,) which members are kept: the best `top`, of one encoder and of one combination of
    feature sets so many.

    `helpful`: only those that help (`worth.helping`) over these `groups` of blocks. `matched`: by
    the CCC that members have once they are scaled and shifted to the annotation's mean and
    variance.

    `each` counts the recordings as in `weigh`; None for a limit means none. A model from elsewhere,
    whose encoder and feature sets are not known, only counts toward `top`. At least the best member
    is always kept."""
    if any(limit is not None and limit < 1 for limit in (top, per_encoder, per_features)):
        raise ValueError(
            f"limits of at least 1 are needed, but got {top=}, {per_encoder=}, {per_features=}"
        )
    kept = np.zeros(statistics.members, dtype=bool)
    room = {"encoder": per_encoder, "features": per_features}
    counted: Counter[Hashable] = Counter()
    ccc, worth = ccc_and_worth(statistics, each, groups if helpful else (), matched=matched)
    ranking = select.from_highest(ccc)
    allowed = helping(ccc, worth) if helpful else np.ones(statistics.members, dtype=bool)
    if not allowed.any():
        allowed[ranking[0]] = True
    for member in ranking[allowed[ranking]].tolist():
        if top is not None and kept.sum() >= top:
            break
        shares = [
            (kind, value)
            for kind, value in _shared(candidates[member]).items()
            if value is not None
        ]
        if all(counted[kind, value] < (room[kind] or statistics.members) for kind, value in shares):
            kept[member] = True
            counted.update(shares)
    return kept


def _shared(candidate: Trial) -> dict[str, Hashable]:
    """What a candidate may share with others; feature sets count as equal in any order."""
    settings = candidate.noted_settings or {}
    features = settings.get("features")
    return {
        "encoder": settings.get("encoder"),
        "features": None if features is None else tuple(sorted(features)),
    }

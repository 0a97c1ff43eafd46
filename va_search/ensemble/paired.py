"""Is an ensemble better than a single trial? Paired differences out-of-fold, and the best trial for
both.

Conventions: `sums` (recording, 6) of out-of-fold predictions, as in sums.py. Two models are
compared on the same recordings and on the same bootstrap samples of people, so what makes a sample
hard is hard for both and cancels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from va_search.ensemble import bootstrap, sums
from va_search.ensemble.honest import Fits
from va_search.ensemble.material import NOTHING, Material, Materials, Without
from va_search.ensemble.moments import Statistics, Vector
from va_search.ensemble.plan import Best, Plan
from va_search.ensemble.saved import Difference
from va_search.metrics import DIMENSIONS

Predicted = Mapping[str, Vector | None]
"""Out-of-fold sums by dimension; None where there are no folds."""


@dataclass(frozen=True)
class Both:
    """The single trial with the highest mean of the two CCCs, chosen again in every fold for
    `predicted`."""

    study: str
    trial: str
    in_sample: dict[str, float]
    predicted: dict[str, Vector] | None


def differences(
    one: Predicted, other: Predicted, materials: Materials
) -> dict[str, Difference] | None:
    """`one` less `other`, of {valence, arousal, score}, with paired 95 % intervals; None where
    there are no folds."""
    pairs = []
    for dimension in DIMENSIONS:
        first, second = one[dimension], other[dimension]
        if first is None or second is None:
            return None
        pairs.append((first, second))
    named = dict(zip(DIMENSIONS, ([pair] for pair in pairs), strict=True))
    found = {name: _difference(each, materials) for name, each in {**named, "score": pairs}.items()}
    return {
        name: difference for name, difference in found.items() if difference is not None
    } or None


def _difference(pairs: Sequence[tuple[Vector, Vector]], materials: Materials) -> Difference | None:
    """Of one dimension, or of the mean of both; None where a CCC is not defined."""
    ones, others = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    groups = len(materials.folds.groups)
    value, interval = bootstrap.difference(ones, others, materials.drawn, groups)
    return None if not np.isfinite(value) else Difference(value=value, interval=interval)


def best_for_both(materials: Materials) -> Both | None:
    """The one trial that is best for both dimensions together, judged as everything is; None where
    none predicts both.

    This is the trial of a search's `best score`; the best trial per dimension is
    `compare.best_single`."""
    shared = _predicting_both(materials)
    first = shared[DIMENSIONS[0]]
    if not first.candidates:
        return None
    overall = _chosen(shared, NOTHING)
    ccc = [float(_ccc_of_each(material, NOTHING)[overall]) for material in shared.values()]
    in_sample = {**dict(zip(DIMENSIONS, ccc, strict=True)), "score": sum(ccc) / len(ccc)}
    best = first.candidates[overall]
    return Both(
        best.study,
        best.id,
        in_sample,
        _out_of_fold(shared) if len(first.folds.parts) > 1 else None,
    )


def _predicting_both(materials: Materials) -> dict[str, Material]:
    """Both dimensions with the candidates that are in both, in the same order."""
    labels = [
        {candidate.label for candidate in material.candidates} for material in materials.values()
    ]
    common = set.intersection(*labels)
    found = {}
    for dimension, material in materials.items():
        kept = [
            index
            for index, candidate in enumerate(material.candidates)
            if candidate.label in common
        ]
        found[dimension] = material.subset(np.array(kept, dtype=np.intp))
    return found


def _out_of_fold(shared: Mapping[str, Material]) -> dict[str, Vector]:
    """(recording, 6) by dimension: each part predicted by the trial that is best on the other
    parts."""
    found = {name: np.zeros((len(material.recordings), 6)) for name, material in shared.items()}
    parts = len(next(iter(shared.values())).folds.parts)
    for part in range(parts):
        without = frozenset({part})
        chosen = np.array([_chosen(shared, without)], dtype=np.intp)
        for name, material in shared.items():
            fits = Fits(material.subset(chosen), Plan(Best()))
            found[name][material.of(part)] = fits.predicted(without, part, fits.choice(without))
    return found


def _chosen(shared: Mapping[str, Material], without: Without) -> int:
    """Index of the candidate with the highest mean CCC on what is not left out; the first wins
    ties."""
    each = [np.nan_to_num(_ccc_of_each(material, without)) for material in shared.values()]
    mean = np.mean(each, axis=0)
    return int(np.argmax(mean >= mean.max() - 1e-12))


def _ccc_of_each(material: Material, without: Without) -> Vector:
    """(member,) CCC of every candidate alone on the recordings that are not left out."""
    return np.asarray(sums.ccc(_sums_of_each(material.statistics, material.blocks(without))))


def _sums_of_each(statistics: Statistics, each: Vector) -> Vector:
    """(member, 6) sums of every member alone; only the diagonal of the products is read."""
    squares = np.einsum("rmm->rm", statistics.products)
    counts = each @ statistics.counts
    relative = (
        counts,
        each @ statistics.sums,
        each @ statistics.label_sums,
        each @ squares,
        each @ statistics.with_label,
        each @ statistics.label_squares,
    )
    stacked = np.stack(np.broadcast_arrays(*relative), axis=-1)
    return sums.affine(stacked, np.ones(()), statistics.shifts - statistics.label_shift)

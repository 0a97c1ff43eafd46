"""An ensemble from the bank: candidates -> statistics -> weights per dimension -> honest scores -> saved.

Conventions: everything is chosen on the validation recordings alone. Test predictions are not read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.store import Store, positions
from va_search.ensemble import select
from va_search.ensemble.candidates import Candidate, LineUp, find_candidates, find_store, line_up
from va_search.ensemble.honest import Folds, make_folds, out_of_fold
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.saved import Ensemble, MeasuredOn, Member, Scores, Single, Weighted, read_ensemble
from va_search.ensemble.statistics import Statistics, Vector, measure
from va_search.errors import InputError
from va_search.files import Home, write_json
from va_search.metrics import DIMENSIONS, score
from va_search.predictions.bank import Bank

CHANGED = 0.01
"""A trial whose CCC now differs from its record's by more was judged on other annotations."""


def build(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, store: Store | None = None, *, force: bool = False
) -> Ensemble:
    """Build the ensemble `name` from complete trials of `studies`, and save it under home.

    The store is the one the trials' records name, or `store`. The same name again is built anew where recipe and
    studies are the same (new trials then come in), and refused otherwise unless `force`. InputError for unknown
    studies, nothing that lines up, no labelled frame, a dimension whose annotation is constant, NaN predictions.
    """
    bank = Bank(home.bank)
    candidates, left_out = find_candidates(bank, studies, outside=recipe.members.outside)
    notes = _same_again(home, name, recipe, studies, force)
    if not candidates:
        raise InputError(f"no member left: {', '.join(f'{n} × {why}' for why, n in left_out.items())}")
    lines = line_up(candidates, store or find_store(candidates), left_out)
    annotations = lines.store.annotations[positions(lines.recordings)]
    labelled = _labelled(lines, annotations)
    folds = make_folds(lines.recordings, labelled)
    dimensions, changed = {}, []
    for index, dimension in enumerate(DIMENSIONS):
        statistics = _statistics(bank, lines, dimension, annotations[:, index])
        dimensions[dimension] = _weigh(statistics, folds, recipe.methods[dimension], lines.candidates)
        changed += _changed(statistics, lines.candidates, dimension)
    measured_on = _measured_on(lines, folds, sum(labelled))
    ensemble = _ensemble(
        recipe, lines, measured_on, dimensions, name=name, studies=list(studies), notes=[*notes, *changed]
    )
    write_json(home.ensemble(name), ensemble.model_dump(mode="json"))
    return ensemble


def _same_again(home: Home, name: str, recipe: Recipe, studies: Sequence[str], force: bool) -> list[str]:
    path = home.ensemble(name)
    if not path.is_file():
        return []
    try:
        old = read_ensemble(home, name)
    except InputError:
        if force:
            return [f"{path} was not readable and is replaced"]
        raise InputError(f"{path}: exists and can't be read; --force replaces it") from None
    if not force and (old.recipe_document != recipe.document or sorted(old.studies) != sorted(studies)):
        raise InputError(
            f"ensemble {name!r} exists, of recipe {old.recipe} and studies {', '.join(old.studies)}; "
            "choose another --name, or replace it with --force"
        )
    return [f"replaces the ensemble {name!r} of {old.created_at} ({old.candidates} candidates then)"]


def _labelled(lines: LineUp, annotations: NDArray[np.float32]) -> list[int]:
    """Labelled frames of each recording; InputError when none has any."""
    known = ~np.isnan(annotations).any(axis=1)
    ends = np.cumsum([recording.frames for recording in lines.recordings])
    labelled = [int(part.sum()) for part in np.split(known, ends[:-1])]
    if not sum(labelled):
        raise InputError(
            f"{lines.store.path}: no labelled frame in the {len(lines.recordings)} validation recordings "
            f"of fold {lines.fold}; weights can't be chosen"
        )
    return labelled


def _statistics(bank: Bank, lines: LineUp, dimension: str, annotation: NDArray[np.float32]) -> Statistics:
    known = annotation[~np.isnan(annotation)]
    if not known.size or known.min() == known.max():
        raise InputError(
            f"{lines.store.path}: {dimension} has the same value in all {known.size} labelled validation frames; "
            "its CCC is not defined"
        )
    columns = [
        bank.column(c.study, c.trial, "validation", dimension, frames_hash=lines.frames_hash) for c in lines.candidates
    ]
    recordings = [(recording.name, recording.frames) for recording in lines.recordings]
    return measure(columns, annotation, recordings, [c.label for c in lines.candidates])


def _weigh(statistics: Statistics, folds: Folds, method: Any, candidates: Sequence[Candidate]) -> Weighted:
    moments = statistics.total()
    each = moments.ccc_of_each()
    weights: Vector = method.weights(moments)
    order = np.lexsort((-each, -weights))  # by weight, then by CCC
    members = [_member(candidates[i], float(weights[i]), float(each[i])) for i in order if weights[i] > 0.0]
    best = int(np.argmax(select.best(moments)))
    single = Scores(in_sample=float(each[best]), out_of_fold=out_of_fold(statistics, folds, select.best))
    return Weighted(
        recipe=method.model_dump(mode="json"),
        members=members,
        scores=Scores(in_sample=moments.ccc(weights), out_of_fold=out_of_fold(statistics, folds, method.weights)),
        best_single=Single(study=candidates[best].study, trial=candidates[best].trial, scores=single),
    )


def _member(candidate: Candidate, weight: float, ccc: float) -> Member:
    settings = candidate.record.get("settings") or {}
    about = {key: settings.get(key) for key in ("encoder", "fusion", "features", "seed")}
    return Member(
        study=candidate.study,
        trial=candidate.trial,
        weight=weight,
        ccc=ccc,
        source=candidate.record["source"],
        **about,
    )


def _changed(statistics: Statistics, candidates: Sequence[Candidate], dimension: str) -> list[str]:
    """Trials whose record tells another CCC than the bank and the store give now."""
    notes = []
    for candidate, now in zip(candidates, statistics.total().ccc_of_each(), strict=True):
        then = candidate.record.get("best", {}).get(dimension, {}).get("ccc")
        if then is not None and abs(then - now) > CHANGED:
            notes.append(
                f"{candidate.label}: its record says {dimension} {then:.3f}, its predictions give {now:.3f} on this "
                "store's annotations: they changed since, or --data is another store"
            )
    return notes


def _measured_on(lines: LineUp, folds: Folds, labelled_frames: int) -> MeasuredOn:
    return MeasuredOn(
        split="validation",
        fold=lines.fold,
        recordings=len(lines.recordings),
        labelled_frames=labelled_frames,
        folds=len(folds.parts),
        kept_together=folds.kept_together,
        reason=folds.reason,
    )


def _ensemble(
    recipe: Recipe,
    lines: LineUp,
    measured_on: MeasuredOn,
    dimensions: dict[str, Weighted],
    *,
    name: str,
    studies: list[str],
    notes: list[str],
) -> Ensemble:
    return Ensemble(
        name=name,
        recipe=recipe.name,
        recipe_document=recipe.document,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        package_version=__version__,
        studies=studies,
        store=str(lines.store.path.resolve()),
        store_name=lines.store.name,
        label_range=lines.store.label_range,
        frames_hash=lines.frames_hash,
        test_frames_hash=lines.test_frames_hash,
        candidates=len(lines.candidates),
        left_out=lines.left_out,
        notes=notes,
        measured_on=measured_on,
        dimensions=dimensions,
        scores=_both([dimensions[d].scores for d in DIMENSIONS]),
        best_single=_both([dimensions[d].best_single.scores for d in DIMENSIONS]),
    )


def _both(scores: list[Scores]) -> dict[str, dict[str, float] | None]:
    """The two dimensions and the challenge's score, in-sample and out-of-fold."""
    valence, arousal = scores
    found: dict[str, dict[str, float] | None] = {
        "in_sample": _named(valence.in_sample, arousal.in_sample),
        "out_of_fold": None,
    }
    if valence.out_of_fold is not None and arousal.out_of_fold is not None:
        found["out_of_fold"] = _named(valence.out_of_fold, arousal.out_of_fold)
    return found


def _named(valence: float, arousal: float) -> dict[str, float]:
    return {"valence": valence, "arousal": arousal, "score": score(valence, arousal)}

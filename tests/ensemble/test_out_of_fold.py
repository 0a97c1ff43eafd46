"""Out-of-fold scores are what a slow computation on frames gives, with nothing of a fold seen by
what judges it."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest
from trial_world import make_trial

from va_search.data.store import Recording
from va_search.ensemble import on_demand, sums
from va_search.ensemble.folds import make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import measure
from va_search.ensemble.on_demand import measure_on_demand
from va_search.ensemble.out_of_fold import Fits, FittedPipeline, nested, winner
from va_search.ensemble.post_processing import combine
from va_search.ensemble.recipe import read_recipe
from va_search.metrics import ccc

PEOPLE, EACH, FRAMES, MEMBERS = 5, 2, 60, 6
TUNED = {
    "shrink": [0.3, 0.0, 1.0],
    "match": "auto",
    "smooth": {"kind": "moving_average", "seconds": [0.0, 0.3]},
    "delay": {"seconds": [0.0, 0.2]},
    "prune": {"top": 4},
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "best": {"method": "best"},
    "mean": {"method": "mean"},
    "greedy": {"method": "greedy", "steps": 12},
    "ridge_matched": {"method": "ridge", "match": True},
    "bagged": {"method": "bagged_greedy", "bags": 4, "steps": 8, "shrink": 0.5},
    "all chosen": {"method": "greedy", "steps": 8, **TUNED},
    "harmless": {
        "method": "bagged_greedy",
        "bags": 4,
        "steps": 8,
        "match_members": True,
        "prune": {"helpful": True, "top": 4},
        "shrink": [0.5, 0.0],
        "toward": "nnls",
        "match": ["partial", True],
        "smooth": {"kind": "moving_average", "seconds": [0.0, 0.3]},
    },
    "savitzky_golay": {
        "method": "top_k",
        "k": 3,
        "smooth": {"kind": "savitzky_golay", "seconds": [0.0, 0.5]},
        "delay": {"seconds": 0.1},
    },
}


def recordings(people: int = PEOPLE, each: int = EACH) -> list[Recording]:
    return [
        Recording(
            f"r{i:02}",
            f"s{i // each}",
            f"v{i}",
            "validation",
            None,
            i * FRAMES,
            FRAMES,
            10.0 + 5 * (i % 2),
            (20,),
        )
        for i in range(people * each)
    ]


def material(seed: int = 3, people: int = PEOPLE) -> Material:
    rng = np.random.default_rng(seed)
    recs = recordings(people)
    n = len(recs) * FRAMES
    person = np.repeat(rng.normal(size=(people, MEMBERS)), EACH * FRAMES, axis=0)
    y = 100.0 + rng.normal(size=n).cumsum() / 6
    found = [
        (100 + (y - 100) * 0.5 + person[:, i] + (0.5 + i / 4) * rng.normal(size=n)).astype(
            np.float32
        )
        for i in range(MEMBERS)
    ]
    y[::7] = np.nan
    y[: FRAMES // 2] = np.nan
    labelled = [int((~np.isnan(y[r.start : r.stop])).sum()) for r in recs]
    folds = make_folds(recs, labelled)
    names = [f"s/m{i}" for i in range(MEMBERS)]
    pairs = [(r.name, r.frames) for r in recs]
    statistics = measure_on_demand(found.__getitem__, y, pairs, names, parts=folds.parts)
    candidates = [make_trial("s", f"m{i}") for i in range(MEMBERS)]
    return Material(statistics, candidates, found.__getitem__, y, recs, folds)


def fits(of: Material, document: dict[str, Any]) -> Fits:
    return Fits(of, read_recipe("r", document).plan("valence"))


def value(found: np.ndarray | None) -> float:
    assert found is not None
    return float(sums.ccc(found.sum(axis=0)))


def on_frames(of: Material, fit: FittedPipeline) -> np.ndarray:
    return combine(fit.weights, [of.columns(i) for i in range(MEMBERS)], of.recordings, fit.post)


def rows(of: Material, part: int) -> np.ndarray:
    return np.concatenate(
        [np.arange(of.recordings[i].start, of.recordings[i].stop) for i in of.folds.parts[part]]
    )


@pytest.mark.parametrize("name", list(DOCUMENTS))
@pytest.mark.parametrize("few", [128, 2])
def test_out_of_fold_is_the_computation_on_frames(
    name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part predicted, frame by frame, by the recipe fitted to a material that holds only the
    others."""
    monkeypatch.setattr(on_demand, "FEW", few)
    of = material()
    judged = fits(of, DOCUMENTS[name])
    joined = np.empty(len(of.annotation))
    for part in range(len(of.folds.parts)):
        inside = rows(of, part)
        joined[inside] = on_frames(of, judged.fit(frozenset({part})))[inside]
    assert value(judged.out_of_fold()) == pytest.approx(ccc(joined, of.annotation), abs=1e-9)
    whole = on_frames(of, judged.fit())
    assert value(judged.in_sample()) == pytest.approx(ccc(whole, of.annotation), abs=1e-9)


@pytest.mark.parametrize("name", list(DOCUMENTS))
def test_what_a_fit_leaves_out_does_not_matter_to_it(name: str) -> None:
    """Other annotations and other predictions in the part left out: the very same fit, choices
    included."""
    of = material()
    one = fits(of, DOCUMENTS[name]).fit(frozenset({1}))
    inside = rows(of, 1)
    rng = np.random.default_rng(9)
    y, columns = of.annotation.copy(), [of.columns(i).copy() for i in range(MEMBERS)]
    y[inside] = -y[inside] * 3 + rng.normal(size=len(inside))
    for column in columns:
        column[inside] += rng.normal(size=len(inside)).astype(np.float32) * 50
    pairs = [(r.name, r.frames) for r in of.recordings]
    statistics = measure(columns, y, pairs, of.statistics.labels)
    other = dataclasses.replace(
        of, statistics=statistics, annotation=y, columns=columns.__getitem__
    )
    again = fits(other, DOCUMENTS[name]).fit(frozenset({1}))
    np.testing.assert_allclose(again.weights, one.weights, atol=1e-9)
    assert again.shrink == one.shrink and again.post.window_seconds == one.post.window_seconds
    assert again.post.delay_seconds == one.post.delay_seconds
    assert again.post.scale == pytest.approx(one.post.scale, rel=1e-6)
    assert again.post.offset == pytest.approx(one.post.offset, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("few", [128, 2])
@pytest.mark.parametrize("name", ["all chosen", "harmless"])
def test_unseen_clips_do_not_matter_to_what_is_judged_on_them(
    name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other annotations and predictions of everything that shares people or clips with a part: what
    is predicted there is the same, choices included."""
    monkeypatch.setattr(on_demand, "FEW", few)
    of = material(people=6)
    watched = [dataclasses.replace(r, stimulus=f"c{i % 3}") for i, r in enumerate(of.recordings)]
    folds = make_folds(watched, [FRAMES] * len(watched), unseen_stimuli=True)
    assert folds.cells and len(folds.judged({0})) >= 2
    pairs = [(r.name, r.frames) for r in watched]
    measured = partial(measure_on_demand, parts=folds.parts)
    columns = [of.columns(i).copy() for i in range(MEMBERS)]
    statistics = measured(columns.__getitem__, of.annotation, pairs, of.statistics.labels)
    of = dataclasses.replace(of, recordings=watched, folds=folds, statistics=statistics)
    fit = fits(of, DOCUMENTS[name]).fit(frozenset({0}))
    rng = np.random.default_rng(9)
    y, columns = of.annotation.copy(), [of.columns(i).copy() for i in range(MEMBERS)]
    for index in folds.left_out({0}):
        inside = slice(watched[index].start, watched[index].stop)
        y[inside] = -y[inside] * 3 + rng.normal(size=FRAMES)
        for column in columns:
            column[inside] += rng.normal(size=FRAMES).astype(np.float32) * 50
    statistics = measured(columns.__getitem__, y, pairs, of.statistics.labels)
    other = dataclasses.replace(
        of, statistics=statistics, annotation=y, columns=columns.__getitem__
    )
    again = fits(other, DOCUMENTS[name]).fit(frozenset({0}))
    np.testing.assert_allclose(again.weights, fit.weights, atol=1e-9)
    assert again.shrink == fit.shrink
    assert again.post.scale == pytest.approx(fit.post.scale, rel=1e-6)
    assert again.post.offset == pytest.approx(fit.post.offset, rel=1e-6, abs=1e-6)


def test_choices_are_those_with_the_highest_inner_score() -> None:
    """By hand: every possibility as a recipe of its own, judged out-of-fold without part 2."""
    of = material()
    judged = fits(of, DOCUMENTS["all chosen"])
    scores = {}
    for index, amount in enumerate(TUNED["shrink"]):  # type: ignore[arg-type]
        for match in (True, False):
            for post in judged.pipeline.filters:
                fixed = {
                    "method": "greedy",
                    "steps": 8,
                    "prune": {"top": 4},
                    "shrink": amount,
                    "match": match,
                    "smooth": {"seconds": post.window_seconds},
                    "delay": {"seconds": post.delay_seconds},
                }
                found = fits(of, fixed).out_of_fold(frozenset({2}))
                scores[index, match, post.window_seconds, post.delay_seconds] = value(found)
    choice = judged.choice(frozenset({2}))
    taken = (choice.shrink, choice.match, choice.post.window_seconds, choice.post.delay_seconds)
    assert scores[taken] == pytest.approx(max(scores.values()), abs=1e-9)


def test_the_nested_estimate_chooses_again_in_every_fold() -> None:
    of = material()
    several = [fits(of, DOCUMENTS[name]) for name in ("mean", "greedy", "ridge_matched")]
    total = np.zeros(6)
    for part in range(len(of.folds.parts)):
        left = frozenset({part})
        scores = [value(one.out_of_fold(left)) for one in several]
        best = several[int(np.argmax(scores))]
        assert several[winner(several, left)] is best
        total += best.predicted(left, part).sum(axis=0)
    assert value(nested(several)) == pytest.approx(float(sums.ccc(total)))
    assert value(nested(several)) <= max(value(one.out_of_fold()) for one in several) + 1e-12


def test_two_parts_leave_nothing_to_choose_on_and_the_first_is_taken() -> None:
    of = material(people=2)
    assert len(of.folds.parts) == 2
    judged = fits(of, DOCUMENTS["all chosen"])
    assert judged.choice(frozenset({0})) == judged.possibilities[0]
    assert np.isfinite(value(judged.out_of_fold()))
    assert judged.out_of_fold(frozenset({0})) is None and nested([judged], frozenset({0})) is None


def test_without_folds_there_is_no_out_of_fold_score() -> None:
    of = material(people=1)
    judged = fits(of, DOCUMENTS["all chosen"])
    assert judged.out_of_fold() is None and judged.gains([0]) is None
    assert (
        np.isfinite(value(judged.in_sample()))
        and judged.choice(frozenset()) == judged.possibilities[0]
    )


@pytest.mark.parametrize("name", ["greedy", "ridge_matched", "all chosen"])
def test_gains_are_what_is_lost_without_a_member(name: str) -> None:
    of = material()
    judged = fits(of, DOCUMENTS[name])
    gains = judged.gains(range(MEMBERS))
    assert gains is not None
    for member in range(MEMBERS):
        joined = np.empty(len(of.annotation))
        for part in range(len(of.folds.parts)):
            left = frozenset({part})
            fit = judged.fit(left)
            weights = fit.weights.copy()
            weights[member] = 0.0
            plain = dataclasses.replace(fit.post, scale=1.0, offset=0.0)
            found = on_frames(of, FittedPipeline(weights / weights.sum(), 0.0, plain))
            if judged.choice(left).match:
                used = np.setdiff1d(np.flatnonzero(~np.isnan(of.annotation)), rows(of, part))
                p, y = found[used], of.annotation[used]
                found = (found - p.mean()) * y.std() / p.std() + y.mean()
            joined[rows(of, part)] = found[rows(of, part)]
        assert gains[member] == pytest.approx(
            value(judged.out_of_fold()) - ccc(joined, of.annotation), abs=1e-9
        )


def test_a_member_with_all_the_weight_has_no_gain() -> None:
    of = material()
    of = dataclasses.replace(of, folds=dataclasses.replace(of.folds, parts=of.folds.parts[:3]))
    judged = fits(of, {"method": "best"})
    gains = judged.gains(range(MEMBERS))
    used = np.any([judged.fit(frozenset({part})).weights for part in range(3)], axis=0)
    assert gains is not None and np.array_equal(np.isnan(gains), used)
    assert np.array(gains)[~used] == pytest.approx(0.0)

"""The verdict on an ensemble: against the best single trial, paired over the groups that folds keep
together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.ensemble import bootstrap, compare
from va_search.ensemble.bootstrap import Difference, RecordingSpread
from va_search.ensemble.build import build
from va_search.ensemble.compare import spread
from va_search.ensemble.material import gather
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import Ensemble
from va_search.ensemble.verdict import judge, single_trials, verdict_of, within_recordings
from va_search.metrics import ccc
from va_search.targets import AFFECT


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def same(value: float) -> dict[str, float]:
    return {"valence": value, "arousal": value, "score": value}


def certain(low: float, high: float) -> dict[str, Difference]:
    one = Difference(value=(low + high) / 2, interval=(low, high))
    return dict.fromkeys(("valence", "arousal", "score"), one)


@pytest.mark.parametrize(
    ("score", "single", "interval", "outcome", "said"),
    [
        (
            0.65,
            0.59,
            (0.01, 0.10),
            "better",
            "is better than the best single trial per target: score 0.650 against",
        ),
        (0.65, 0.59, (-0.02, 0.14), "ahead", "is not certainly better than"),
        (0.59, 0.59, (0.0, 0.0), "same", "is as good as"),
        (0.255, 0.354, (-0.2, 0.01), "behind", "is not better than"),
        (0.255, 0.354, (-0.2, -0.01), "worse", "is worse than"),
        (float("nan"), 0.354, (-0.2, -0.01), "unknown", "not known"),
    ],
)
def test_the_verdict_is_one_sentence(
    score: float, single: float, interval: tuple[float, float], outcome: str, said: str
) -> None:
    verdict = judge(same(score), same(single), certain(*interval))
    assert verdict.outcome == outcome and said in verdict.text
    assert verdict.text.count(". ") == 0 and verdict.text.endswith(".")
    assert verdict.use_best == (outcome in ("behind", "worse")) == ("--recipe best" in verdict.text)
    if outcome in ("ahead", "behind"):
        assert "within chance" in verdict.text
    if outcome in ("better", "worse"):
        assert "more than chance explains" in verdict.text


def test_a_file_of_an_earlier_version_has_no_interval_and_says_so() -> None:
    verdict = judge(same(0.255), same(0.354), None)
    assert verdict.outcome == "behind" and verdict.interval is None
    assert "chance is not known: build it again" in verdict.text


def test_the_saved_difference_is_the_difference_of_the_saved_scores(world: World) -> None:
    ensemble = build(world.home, ["first"], load_recipe("bagged_greedy"), "e")
    scores, single = ensemble.scores["out_of_fold"], ensemble.best_single["out_of_fold"]
    assert scores is not None and single is not None and ensemble.differences is not None
    for name, difference in ensemble.differences.items():
        assert difference.value == pytest.approx(scores[name] - single[name], abs=1e-12)
        assert difference.interval is not None
        low, high = difference.interval
        assert low <= difference.value <= high
    again = Ensemble.model_validate_json(ensemble.model_dump_json())
    assert verdict_of(again) == verdict_of(ensemble)


def test_the_recipe_best_is_the_best_single_trial_per_target_itself(world: World) -> None:
    ensemble = build(world.home, ["first"], load_recipe("best"), "best")
    verdict = verdict_of(ensemble)
    assert verdict.outcome == "same" and not verdict.use_best
    for dimension in AFFECT:
        single = ensemble.dimensions[dimension].best_single
        assert single is not None
        assert [single.trial] == [member.trial for member in ensemble.dimensions[dimension].members]


def test_the_best_trial_for_both_is_that_of_the_trials_own_scores(world: World) -> None:
    """What a search calls its best score: the highest mean of the two CCCs of one trial."""
    ensemble = build(world.home, ["first"], load_recipe("mean"), "mean")
    records = {trial: world.bank.trial("first", trial).best for trial in world.bank.trials("first")}
    best = max(records, key=lambda trial: records[trial]["score"].ccc)
    both = ensemble.best_for_both
    assert both is not None and (both.study, both.trial) == ("first", best)
    in_sample = both.scores["in_sample"]
    assert in_sample is not None
    assert in_sample["score"] == pytest.approx(records[best]["score"].ccc, abs=1e-6)
    for dimension in AFFECT:
        assert in_sample[dimension] == pytest.approx(records[best][dimension].ccc, abs=1e-6)


@pytest.mark.parametrize(("above", "said"), [(0.01, True), (-0.01, False)])
def test_a_single_trial_for_both_above_the_ensemble_is_not_passed_over(
    world: World, above: float, said: bool
) -> None:
    ensemble = build(world.home, ["first"], load_recipe("mean"), "mean")
    scores, both = ensemble.scores["out_of_fold"], ensemble.best_for_both
    assert scores is not None and both is not None
    higher = {**scores, "score": scores["score"] + above}
    single = both.model_copy(
        update={"trial": "another", "scores": {**both.scores, "out_of_fold": higher}}
    )
    text = single_trials(ensemble.model_copy(update={"best_for_both": single}))
    assert text is not None and "first/another" in text
    sentence = f"is above the {scores['score']:.3f} of ensemble mean; that may be chance"
    assert (sentence in text) == said


def test_out_of_fold_the_best_trial_for_both_is_chosen_without_the_recordings_it_is_judged_on(
    world: World,
) -> None:
    """A slow reference from the frames: every part predicted by the trial that is best on the other
    parts."""
    materials = gather(world.home, ["first"], None, outside=True)
    both = compare.best_for_both(materials)
    assert both is not None
    ends = np.cumsum([0, *(recording.frames for recording in materials.lines.recordings)])
    trials = [candidate.id for candidate in materials.lines.candidates]
    columns = {
        trial: world.bank.read(
            "first", trial, "validation", frames_hash=materials.lines.frames_hash
        )
        for trial in trials
    }
    mixed = np.full(world.labels.shape, np.nan)
    for part in materials.folds.parts:
        inside = np.zeros(len(world.labels), dtype=bool)
        for index in part:
            inside[ends[index] : ends[index + 1]] = True
        others = {
            trial: np.mean([ccc(values[~inside, i], world.labels[~inside, i]) for i in range(2)])
            for trial, values in columns.items()
        }
        mixed[inside] = columns[max(others, key=lambda trial: others[trial])][inside]
    from va_search.ensemble import sums

    for index, dimension in enumerate(AFFECT):
        expected = ccc(mixed[:, index], world.labels[:, index])
        assert float(sums.ccc(both.predicted[dimension].sum(axis=0))) == pytest.approx(
            expected, abs=1e-6
        )


def sums_of(prediction: np.ndarray, annotation: np.ndarray) -> np.ndarray:
    """(recording, 6) of predictions and annotations (recording, frame)."""
    ones = np.ones_like(prediction)
    parts = (ones, prediction, annotation, prediction**2, prediction * annotation, annotation**2)
    return np.stack([part.sum(axis=1) for part in parts], axis=-1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(3, 20), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_a_difference_and_its_reverse_mirror_each_other(
    seed: int, people: int, one: float, other: float
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(people, 40)) + rng.normal(size=(people, 1))
    first, second = (
        sums_of(truth + noise * rng.normal(size=truth.shape), truth) for noise in (one, other)
    )
    drawn = bootstrap.samples([(index,) for index in range(people)], people, number=200)
    forth = bootstrap.difference([first], [second], drawn, people)
    back = bootstrap.difference([second], [first], drawn, people)
    assert forth.interval is not None and back.interval is not None
    assert forth.value == pytest.approx(-back.value)
    assert forth.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    none = Difference(0.0, (0.0, 0.0))
    assert bootstrap.difference([first], [first], drawn, people) == none


def test_pairing_finds_what_two_intervals_hide() -> None:
    """People differ widely, the two models hardly: each interval is wide, that of the difference
    excludes 0."""
    rng = np.random.default_rng(5)
    people = 30
    ease = rng.uniform(0.2, 3.0, size=(people, 1))
    truth = rng.normal(size=(people, 200))
    noise = ease * rng.normal(size=truth.shape)
    better, worse = sums_of(truth + noise, truth), sums_of(truth + 1.1 * noise, truth)
    drawn = bootstrap.samples([(index,) for index in range(people)], people)
    gain = bootstrap.difference([better], [worse], drawn, people)
    around = bootstrap.interval([better], drawn, people)
    assert gain.interval is not None and around is not None
    assert gain.interval[0] > 0.0 and gain.value < around[1] - around[0]


def test_one_group_has_no_interval() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(1, 50))
    one = sums_of(truth, truth)
    assert bootstrap.difference([one], [one], np.ones((5, 1)), 1) == Difference(0.0, None)


@pytest.mark.parametrize(
    ("follows", "level", "said"),
    [
        (0.0, 1.0, "does not follow time"),
        (0.2, 1.0, "follows time a little"),
        (0.9, 1.0, "follows time (median correlation 0."),
        (0.9, 0.0, "but often at another level or scale"),
    ],
)
def test_whether_time_is_followed_within_a_recording_is_said(
    follows: float, level: float, said: str
) -> None:
    """`level`: the share of each recording's own mean that is predicted."""
    rng = np.random.default_rng(3)
    means = 4.0 * rng.normal(size=(40, 1))
    course = rng.normal(size=(40, 300))
    noise = rng.normal(size=course.shape)
    prediction = level * means + follows * course + np.sqrt(1 - follows**2) * noise
    found = spread(sums_of(prediction, means + course))
    assert found is not None and found.correlation == pytest.approx(follows, abs=0.08)
    assert said in within_recordings("valence", 0.6, found)


@pytest.mark.parametrize("pooled", [-0.3, 0.0, 0.05])
def test_a_low_pooled_score_is_not_explained_by_telling_recordings_apart(pooled: float) -> None:
    flat = RecordingSpread(-0.1, 0.0, 0.1, recordings=8, undefined=0, correlation=-0.1)
    said = within_recordings("valence", pooled, flat)
    assert "does not follow time (median correlation -0.10)" in said
    assert "comes from telling recordings apart" not in said
    assert "comes from telling recordings apart" in within_recordings("valence", 0.6, flat)
    older = dataclasses.replace(flat, correlation=None)
    assert within_recordings("valence", pooled, older) == ""


def test_without_folds_the_reason_is_said(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e")
    alone = ensemble.model_copy(
        update={
            "scores": {**ensemble.scores, "out_of_fold": None},
            "measured_on": ensemble.measured_on.model_copy(
                update={"reason": "only one labelled recording"}
            ),
        }
    )
    verdict = verdict_of(alone)
    assert (
        verdict.outcome == "unknown" and "is not known: only one labelled recording" in verdict.text
    )

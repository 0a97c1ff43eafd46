"""Estimates of what other people will give: the spread between people, the interval it makes, and
whom it is of."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import make_world
from scipy.stats import t

from va_search.data.store import Recording
from va_search.ensemble import compare, sums
from va_search.ensemble.build import build
from va_search.ensemble.estimate import (
    ALIKE,
    USUAL_SPREAD,
    USUAL_WEIGHT,
    Estimate,
    best_epoch_gain,
    interval_on_others,
    other_people,
    people_spread,
)
from va_search.ensemble.material import gather
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import read_ensemble
from va_search.report.tables.ensemble import scores_tables
from va_search.trial import Epoch


def drawn(random: np.random.Generator, people: int, between: float = 0.6) -> np.ndarray:
    """(recording, 6) sums of one recording a person, whose errors are much alike within it."""
    label = 0.5 * random.normal(size=(people, 1)) + random.normal(size=(people, 30))
    own = between * random.normal(size=(people, 1))
    return of(0.7 * label + own + 0.5 * random.normal(size=label.shape), label)


def of(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(recording, 6) sums of predictions and labels (recording, frames)."""
    ones = np.ones_like(label)
    parts = (ones, prediction, label, prediction**2, prediction * label, label**2)
    return np.stack([part.sum(axis=1) for part in parts], axis=1)


def alone(people: int) -> list[tuple[int, ...]]:
    return [(person,) for person in range(people)]


def test_of_two_people_the_spread_is_the_standard_deviation_of_their_own_cccs() -> None:
    # Without the one the other is left, so that both values of the jackknife are known.
    both = drawn(np.random.default_rng(3), 2)
    own = np.arctanh(sums.ccc(both))
    assert people_spread([both], alone(2)) == pytest.approx(np.std(own, ddof=1))
    other = drawn(np.random.default_rng(4), 2)
    means = np.arctanh((sums.ccc(both) + sums.ccc(other)) / 2)
    assert people_spread([both, other], alone(2)) == pytest.approx(np.std(means, ddof=1))


def test_the_spread_is_of_people_and_not_of_their_recordings() -> None:
    people = drawn(np.random.default_rng(0), 5)
    halved = np.repeat(people / 2, 2, axis=0)  # each person has two recordings
    groups = [(2 * person, 2 * person + 1) for person in range(5)]
    assert people_spread([halved], groups) == pytest.approx(people_spread([people], alone(5)))


@pytest.mark.parametrize(("people", "others"), [(2, 1), (6, 6), (6, 60), (97, 24)])
def test_the_interval_counts_both_groups_of_people_on_fishers_scale(
    people: int, others: int
) -> None:
    measured = drawn(np.random.default_rng(people), people)
    spread = people_spread([measured], alone(people))
    assert spread is not None
    interval = interval_on_others([measured], alone(people), others, score=0.4)
    assert interval is not None
    freedom = people - 1 + USUAL_WEIGHT
    variance = ((people - 1) * spread**2 + USUAL_WEIGHT * USUAL_SPREAD**2) / freedom
    reach = t.ppf(0.975, freedom) * math.sqrt(variance / people + variance / others)
    middle = math.atanh(0.4)
    assert np.arctanh(interval) == pytest.approx([middle - reach, middle + reach])


def test_the_usual_spread_of_a_mean_is_that_of_targets_whose_errors_are_a_little_alike() -> None:
    measured = drawn(np.random.default_rng(1), 6)
    alone_interval = interval_on_others([measured], alone(6), 6, score=0.4)
    twice_interval = interval_on_others([measured, measured], alone(6), 6, score=0.4)
    assert alone_interval is not None and twice_interval is not None
    variances = []
    for interval in (alone_interval, twice_interval):
        reach = math.atanh(interval[1]) - math.atanh(0.4)
        variances.append((reach / t.ppf(0.975, 13)) ** 2 * 13 / (1 / 6 + 1 / 6))
    usual = USUAL_WEIGHT * USUAL_SPREAD**2
    assert variances[0] - variances[1] == pytest.approx(usual * (1 - (1 + ALIKE) / 2))


def test_no_interval_where_no_spread_can_be_measured() -> None:
    measured = drawn(np.random.default_rng(0), 4)
    assert interval_on_others([measured], [(0, 1, 2, 3)], 6, score=0.4) is None
    assert interval_on_others([np.zeros((4, 6))], alone(4), 6, score=0.4) is None
    measured[:, [1, 3, 4]] = measured[:, [2, 5, 5]]  # a perfect prediction
    assert interval_on_others([measured], alone(4), 6, score=0.9) is None
    assert interval_on_others([drawn(np.random.default_rng(0), 4)], alone(4), 6, score=1.0) is None


@pytest.mark.parametrize("between", [0.2, 0.6, 1.2])
@pytest.mark.parametrize(("people", "others"), [(4, 4), (6, 6), (6, 30), (20, 5)])
def test_the_ccc_of_other_people_lies_in_it_as_often_as_it_says(
    people: int, others: int, between: float
) -> None:
    random = np.random.default_rng([people, others])
    inside = 0
    for _ in range(400):
        measured, tested = drawn(random, people, between), drawn(random, others, between)
        score = sums.pooled_ccc(measured)
        interval = interval_on_others([measured], alone(people), others, score=score)
        assert interval is not None
        inside += interval[0] <= sums.pooled_ccc(tested) <= interval[1]
    assert inside / 400 >= 0.90


PERSON = Recording("r0", "s0", "v0", "validation", None, 0, 30, 25.0)


def test_other_people_are_the_stores_test_people_or_as_many_as_validated() -> None:
    validated = [PERSON, replace(PERSON, name="r1", subject="s1", video="v1")]
    test = [replace(PERSON, name=f"t{n}", subject=f"t{n // 2}", video=f"t{n}") for n in range(6)]
    tested = other_people(test, validated)
    assert (tested.people, tested.groups, tested.tested) == (3, 3, True)
    as_many = other_people([], validated)
    assert (as_many.people, as_many.groups, as_many.tested) == (2, 2, False)
    pair = [replace(PERSON, name=name, subject=name, video="both") for name in "ab"]
    lone = replace(PERSON, name="c", subject="c", video="c")
    of_a_pair = other_people([*pair, lone], validated)
    assert (of_a_pair.people, of_a_pair.groups) == (3, 2)


def test_an_estimate_says_whom_it_is_of() -> None:
    scores = {"valence": 0.4, "arousal": 0.6, "score": 0.5}
    intervals = {"valence": (0.1, 0.6), "arousal": None, "score": (0.2, 0.7)}
    estimate = Estimate("mine", 6, True, scores, intervals)
    assert estimate.text == (
        "Expected on 6 other people (CCC, 95 % interval): score 0.500 (0.20 to 0.70), "
        "valence 0.400 (0.10 to 0.60), arousal 0.600."
    )
    assert "as many as the test set has" in estimate.sentence
    of_one_target = Estimate("mine", 1, False, {"joy": 0.4, "score": 0.4}, dict.fromkeys(scores))
    of_one_target.intervals["joy"] = (0.1, 0.6)
    assert of_one_target.text == (
        "Expected on 1 other person (CCC, 95 % interval): joy 0.400 (0.10 to 0.60)."
    )
    assert "as many as were scored" in of_one_target.sentence


def test_an_ensemble_has_the_estimate_of_its_stores_test_people(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    recipe = load_recipe("bagged_greedy")
    built = build(world.home, ["first"], recipe, "e")
    estimate = built.estimate
    assert estimate is not None and estimate == read_ensemble(world.home, "e").estimate
    assert (estimate.ensemble, estimate.people, estimate.tested) == ("e", 2, True)
    assert estimate.scores == built.scores["out_of_fold"]
    materials = gather(world.home, ["first"], world.store, outside=True)
    predicted = compare.predicted_by(compare.carry_out(recipe, materials))
    for target, by_recording in predicted.items():
        assert by_recording is not None
        score = sums.pooled_ccc(by_recording)
        groups = materials[target].folds.groups
        expected = interval_on_others([by_recording], groups, 2, score=score)
        assert estimate.intervals[target] == pytest.approx(expected)
    shown = scores_tables(built)[0]
    assert shown.rows[0].cells[0].text == "Expected on 2 other people"
    assert shown.notes[0] == estimate.sentence


def test_the_best_epoch_is_held_against_those_before_and_after_it() -> None:
    def history(*cccs: float | None) -> list[Epoch]:
        return [Epoch(number + 1, cccs={"valence": ccc}) for number, ccc in enumerate(cccs)]

    assert best_epoch_gain(history(0.1, 0.3, 0.5, 0.4), "valence") == pytest.approx(0.15)
    assert best_epoch_gain(history(0.5, 0.5), "valence") == 0.0
    assert best_epoch_gain(history(0.5, 0.3, 0.1), "valence") == pytest.approx(0.2)
    # the last one is kept without a choice, too
    assert best_epoch_gain(history(0.1, 0.3, 0.5), "valence") == 0.0
    # what was learnt until then is no gain of the choice
    assert best_epoch_gain(history(0.0, 0.6, 0.59), "valence") == pytest.approx(0.03)
    assert best_epoch_gain(history(0.5), "valence") == 0.0
    assert best_epoch_gain(history(None, None), "valence") == 0.0
    assert best_epoch_gain([], "valence") == 0.0


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_gain_of_members_best_epochs_is_taken_off(tmp_path: Path, keep: str) -> None:
    world = make_world(tmp_path)
    for path in (world.home.bank / "first").glob("*/trial.json"):
        document = json.loads(path.read_text())
        del document["seal"]  # a record from before there were seals may be edited
        document["settings"]["keep"] = keep
        document["history"] = []
        for epoch, valence in enumerate((0.40, 0.50, 0.46)):
            cccs = {"ccc_valence": valence, "ccc_arousal": 0.5}
            document["history"].append({"epoch": epoch + 1, "loss": 0.5, **cccs})
        path.write_text(json.dumps(document))
    built = build(world.home, ["first"], load_recipe("bagged_greedy"), "e")
    estimate, scores = built.estimate, built.scores["out_of_fold"]
    assert estimate is not None and scores is not None
    shown = " ".join(scores_tables(built)[0].notes)
    if keep == "last":
        assert not estimate.too_high and estimate.scores == scores
        assert "best epoch" not in shown
        return
    # The weights sum to 1, and every member has gained as much.
    assert estimate.too_high == pytest.approx({"valence": 0.07, "arousal": 0.0, "score": 0.035})
    for measure, value in scores.items():
        assert estimate.scores[measure] == pytest.approx(value - estimate.too_high[measure])
    assert "Out-of-fold scores less 0.035, because trials chose their best epochs" in shown

"""What a record says to a search: its measures, and the trials that no other beats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from trial_world import make_trial

from va_search.search.outcomes import measures, objective, pareto, values
from va_search.search.results import Results
from va_search.trial import Best, Trial


def test_an_objective_has_one_measure_or_two() -> None:
    one = make_trial(ccc=(0.25, 0.75))
    assert [values(one, name) for name in ("score", "valence", "both")] == [
        (0.5,),
        (0.25,),
        (0.25, 0.75),
    ]
    assert objective(one, "both") == 0.5
    assert measures("both") == ("valence", "arousal") and measures("arousal") == ("arousal",)
    assert values(make_trial(), "both") is None


def test_the_pareto_set_is_what_no_other_dominates() -> None:
    generator = np.random.default_rng(1)
    points = generator.integers(0, 12, (80, 2)) / 12.0  # equal values occur
    records = [
        make_trial(id=f"{number:02}", ccc=(valence, arousal))
        for number, (valence, arousal) in enumerate(points.tolist())
    ]
    expected = {
        f"{number:02}"
        for number, (v, a) in enumerate(points)
        if not any((w >= v and b >= a) and (w > v or b > a) for w, b in points)
    }
    front = pareto([*records, make_trial(id="mix")])
    assert {one["trial"] for one in front} == expected and len(front) == len(expected)
    assert [one["valence"] for one in front] == sorted(
        (one["valence"] for one in front), reverse=True
    )
    assert pareto([]) == []


def of_targets(trial: str, cccs: Mapping[str, float]) -> Trial:
    """A trial of any targets, with its score."""
    best = {target: Best(ccc, 1) for target, ccc in cccs.items()}
    best["score"] = Best(sum(cccs.values()) / len(cccs), 1)
    return replace(make_trial(id=trial), best=best, targets=tuple(cccs))


def test_one_target_is_its_score_and_the_front_is_its_best_trials() -> None:
    trials = [of_targets(f"t{number}", {"engagement": number / 4}) for number in (1, 3, 2, 3)]
    assert measures("both", ("engagement",)) == ("engagement",)
    for name in ("both", "engagement", "score"):
        assert values(trials[0], name) == (0.25,) and objective(trials[0], name) == 0.25
    assert [point["engagement"] for point in pareto(trials)] == [0.75, 0.75]


def test_three_targets_are_searched_together() -> None:
    generator = np.random.default_rng(2)
    names = ("valence", "arousal", "stress")
    points = (generator.integers(0, 4, (40, 3)) / 4.0).tolist()
    trials = []
    for number, point in enumerate(points):
        trials.append(of_targets(f"{number:02}", dict(zip(names, point, strict=True))))
    expected = set()
    for number, point in enumerate(points):
        beaten = False
        for other in points:
            as_good = all(theirs >= ours for theirs, ours in zip(other, point, strict=True))
            beaten = beaten or (as_good and other != point)
        if not beaten:
            expected.add(f"{number:02}")
    front = pareto(trials)
    assert {point["trial"] for point in front} == expected
    assert list(front[0]) == ["trial", *names]
    assert values(trials[0], "both") == tuple(points[0])
    assert values(trials[0], "stress") == (points[0][2],)


def test_results_know_the_best_of_every_target() -> None:
    results = Results()
    for trial, stress, arousal in (("a", 0.5, 0.1), ("b", 0.2, 0.7)):
        results.remember(of_targets(trial, {"stress": stress, "arousal": arousal}))
        results.finish(trial)
    assert results.best == {"stress": 0.5, "arousal": 0.7}
    best = results.best_trials()
    assert list(best) == ["stress", "arousal", "score"]
    assert best["stress"] == ("a", 0.5) and best["arousal"] == ("b", 0.7)
    assert best["score"][0] == "b"

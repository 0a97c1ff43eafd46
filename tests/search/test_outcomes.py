"""What a record says to a search: its measures, and the trials that no other beats."""

from __future__ import annotations

import numpy as np
from trial_world import make_trial

from va_search.search.outcomes import measures, objective, pareto, values


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

"""Pruning keeps the best of each kind, and repeats."""

from __future__ import annotations

import numpy as np
import pytest
from trial_world import make_trial

from va_search.ensemble.measure import measure
from va_search.ensemble.pipeline import Prune, prune
from va_search.ensemble.statistics import Statistics
from va_search.trial import Trial

KINDS = (
    ("gru", ("face", "voice")),
    ("gru", ("voice", "face")),
    ("gru", ("face",)),
    ("tcn", ("face",)),
    ("tcn", ("face",)),
    None,
    None,
)


def world() -> tuple[Statistics, list[Trial]]:
    """Members from the best to the worst, the last two from elsewhere."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    noise = rng.normal(size=400)
    members = [y + noise * (0.3 + 0.1 * index) for index in range(len(KINDS))]
    candidates = []
    for index, kind in enumerate(KINDS):
        settings = None if kind is None else {"encoder": kind[0], "features": list(kind[1])}
        candidates.append(make_trial("s", f"t{index}", settings=settings))
    return measure(members, y, [("a", 200), ("b", 200)], [c.label for c in candidates]), candidates


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"top": 3}, [0, 1, 2]),
        ({"top": 99}, [0, 1, 2, 3, 4, 5, 6]),
        ({"per_encoder": 1}, [0, 3, 5, 6]),
        ({"per_features": 1}, [0, 2, 5, 6]),
        ({"per_encoder": 2, "per_features": 1}, [0, 2, 5, 6]),
        ({"per_encoder": 1, "top": 3}, [0, 3, 5]),
    ],
)
def test_the_best_of_each_kind_are_kept(limits: dict[str, int], kept: list[int]) -> None:
    statistics, candidates = world()
    assert prune(statistics, None, candidates, Prune(**limits)).tolist() == kept


def test_only_the_counted_recordings_rank_and_ties_go_to_the_first() -> None:
    y = np.concatenate([np.arange(50.0), np.arange(50.0)])
    good_first = np.concatenate([y[:50], -y[50:]])
    statistics = measure(
        [-good_first, good_first, good_first], y, [("a", 50), ("b", 50)], ["s/0", "s/1", "s/2"]
    )
    candidates = [make_trial("s", str(i)) for i in range(3)]
    assert prune(statistics, np.array([1.0, 0.0]), candidates, Prune(top=1)).tolist() == [1]
    assert prune(statistics, np.array([0.0, 1.0]), candidates, Prune(top=1)).tolist() == [0]


def test_a_limit_below_one_is_a_mistake_of_the_caller() -> None:
    statistics, candidates = world()
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        prune(statistics, None, candidates, Prune(top=0))

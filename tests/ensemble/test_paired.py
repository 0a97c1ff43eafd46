"""Configurations compared person by person."""

from __future__ import annotations

import numpy as np
import pytest

from va_search.ensemble.paired import losers, shares
from va_search.metrics import ccc


def test_shares_are_the_jackknife_values_of_the_mean_ccc() -> None:
    rng = np.random.default_rng(0)
    annotations = rng.normal(size=(90, 2)) + 5.0
    annotations[:7, 0] = np.nan
    predictions = annotations + rng.normal(size=(90, 2))
    predictions[:7, 0] = 0.0
    people = [f"p{index // 30}" for index in range(90)]
    values = shares(predictions, annotations, people)

    def score(frames: np.ndarray) -> float:
        cccs = [ccc(predictions[frames, target], annotations[frames, target]) for target in (0, 1)]
        return float(np.mean(cccs))

    everyone = np.arange(90)
    for person in range(3):
        without = everyone[everyone // 30 != person]
        expected = 3 * score(everyone) - 2 * score(without)
        assert values[person] == pytest.approx(expected)


def test_a_ccc_that_is_not_defined_counts_nothing() -> None:
    constant = np.full((8, 1), 3.0)
    assert shares(constant, constant, ["a"] * 4 + ["b"] * 4).tolist() == [0.0, 0.0]


def test_a_configuration_that_is_worse_for_nearly_everybody_loses() -> None:
    rng = np.random.default_rng(1)
    best = rng.normal(0.6, 0.2, size=12)
    beside = best + np.where(np.arange(12) % 2, 0.05, -0.05)
    beside[0] -= 0.001
    worse = best - 0.1
    assert losers(np.stack([beside, best, worse, best])) == [2]


def test_few_people_decide_nothing() -> None:
    values = np.stack([np.full(5, 0.9), np.full(5, 0.1)])
    assert losers(values) == []
    assert losers(np.stack([np.full(6, 0.9), np.full(6, 0.1)])) == [1]

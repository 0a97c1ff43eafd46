"""Scores, sparklines and worst moments of one recording."""

from __future__ import annotations

import numpy as np
import pytest

from va_search.look.scores import SPARKS, scores_of, sparkline, worst_moment
from va_search.metrics import ccc

NAN = float("nan")


def test_scores_are_of_the_frames_that_have_a_label_and_a_prediction() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=200).astype(np.float32)
    predicted = (0.5 * labels + 0.2 + random.normal(size=200) * 0.1).astype(np.float32)
    labels[:20] = NAN
    predicted[190:] = NAN
    scores = scores_of(predicted, labels)
    assert scores is not None
    p, y = predicted[20:190].astype(float), labels[20:190].astype(float)
    assert scores["ccc"] == pytest.approx(ccc(p, y))
    assert scores["rmse"] == pytest.approx(np.sqrt(((p - y) ** 2).mean()))
    assert scores["bias"] == pytest.approx((p - y).mean())
    assert scores["spread"] == pytest.approx(p.std() / y.std())


def test_what_is_not_defined_is_none() -> None:
    labels = np.full(5, 2.0, np.float32)
    scores = scores_of(np.full(5, 2.0), labels)
    assert scores == {"ccc": None, "rmse": 0.0, "bias": 0.0, "spread": None}
    assert scores_of(np.ones(3), np.full(3, NAN)) is None
    assert scores_of(np.empty(0), np.empty(0)) is None


def test_a_sparkline_has_a_point_for_each_part() -> None:
    values = np.repeat(np.arange(SPARKS, dtype=np.float32), 10)
    values[:10] = NAN
    assert sparkline(values) == [None, *map(float, range(1, SPARKS))]
    assert sparkline(np.array([0.123456789])) == [0.1235]
    assert sparkline(np.empty(0)) == []


def test_the_worst_ten_seconds_have_the_largest_sum_of_squared_errors() -> None:
    seconds = np.arange(400) / 10.0
    labels = np.zeros(400)
    predicted = np.zeros(400)
    predicted[200:300] = 0.5
    predicted[350:360] = 1.0
    assert worst_moment(predicted, labels, seconds) == 200
    labels[200:280] = NAN
    assert worst_moment(predicted, labels, seconds) == 260, "what has no label counts nothing"


def test_the_worst_moment_of_a_short_recording_is_its_beginning() -> None:
    seconds = np.arange(5) / 10.0
    assert worst_moment(np.arange(5.0), np.zeros(5), seconds) == 0
    assert worst_moment(np.arange(1.0), np.zeros(1), seconds[:1]) == 0
    assert worst_moment(np.ones(5), np.full(5, NAN), seconds) is None


def test_times_that_are_irregular_count_in_seconds() -> None:
    seconds = np.array([0.0, 1.0, 2.0, 30.0, 31.0, 32.0, 33.0, 60.0, 61.0])
    errors = np.array([3.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 3.0, 0.0])
    assert worst_moment(errors, np.zeros(9), seconds) == 3

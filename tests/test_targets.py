"""Targets: names, ranges, and how files have them."""

from __future__ import annotations

import numpy as np
import pytest

from va_search.targets import (
    Target,
    affect,
    clipped,
    name_problem,
    targets_from_json,
    targets_to_json,
    to_unit,
)

MIXED = (Target("valence", -1.0, 1.0), Target("arousal", 0.0, 1000.0), Target("stress", 1.0, 9.0))


def test_valence_and_arousal_on_one_range_are_written_as_ever() -> None:
    assert targets_to_json(affect(0.5, 9.5)) == {"label_range": [0.5, 9.5]}
    assert targets_from_json({"label_range": [0.5, 9.5]}) == affect(0.5, 9.5)


@pytest.mark.parametrize("targets", [MIXED, MIXED[1:2], MIXED[:2], tuple(reversed(affect(-1, 1)))])
def test_other_targets_come_back_as_they_were(targets: tuple[Target, ...]) -> None:
    document = targets_to_json(targets)
    assert "label_range" not in document
    assert targets_from_json(document) == targets


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"name": "a", "low": 0, "high": 1}] * 2,
        [{"name": "score", "low": 0, "high": 1}],
        [{"name": "../x", "low": 0, "high": 1}],
        [{"name": "a", "low": 1, "high": 1}],
        [{"name": "a", "low": 0, "high": float("inf")}],
    ],
)
def test_a_file_without_right_targets_is_refused(entries: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError):
        targets_from_json({"targets": entries})


def test_each_range_is_mapped_by_itself() -> None:
    values = np.array([[-1.0, 0.0, 9.0], [0.5, 750.0, np.nan]])
    expected = np.array([[-1.0, -1.0, 1.0], [0.5, 0.5, np.nan]], np.float32)
    np.testing.assert_allclose(to_unit(values, MIXED), expected)
    outside = np.array([[2.0, -5.0, 10.0]], np.float32)
    np.testing.assert_array_equal(clipped(outside, MIXED), [[1.0, 0.0, 9.0]])


def test_names_are_safe_in_files() -> None:
    assert name_problem("self_esteem") is None
    for name in ("", "both", "a.b", "a/b", "1st", "wut é"):
        assert name_problem(name) is not None

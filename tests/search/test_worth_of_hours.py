"""The worth of a further hour: estimated seldom, noted with the study, and an end of the budget."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from va_search.search import worth as worth_module
from va_search.search.worth import FEWEST, Gain, Worth, last_gain

FIELDS = [field.name for field in fields(Gain)]


def trials(number: int) -> list[tuple[str, str]]:
    return [("s", str(index)) for index in range(number)]


def test_an_estimate_is_made_when_the_study_has_grown_by_a_quarter(tmp_path: Path) -> None:
    asked: list[tuple[int, float]] = []

    def prospect(names: object, more: float) -> Gain:
        asked.append((len(names), more))  # type: ignore[arg-type]
        return Gain(0.1 / len(asked), 0.0, 0.2, 0.5, asked[-1][0])

    worth = Worth(tmp_path, 0.04, prospect)
    for number in range(5, 61):
        worth.consider(trials(number), 60.0 * number)
        if worth.reached is not None:
            break
    assert [number for number, _ in asked] == [FEWEST, 30, 38]
    assert asked[0][1] == pytest.approx(60)  # one a minute
    assert worth.reached is not None and "less than budget.worth 0.04" in worth.reached
    assert last_gain(tmp_path) == worth.gain
    # a lower bound goes on
    assert Worth(tmp_path, 0.01, prospect).reached is None


def test_a_search_that_resumes_has_the_last_estimate_until_the_study_has_grown(
    tmp_path: Path,
) -> None:
    asked: list[int] = []

    def prospect(names: object, more: float) -> Gain:
        asked.append(len(names))  # type: ignore[arg-type]
        return Gain(0.03, 0.0, 0.1, 0.5, asked[-1])

    Worth(tmp_path, 0.04, prospect).consider(trials(40), 60.0)
    resumed = Worth(tmp_path, 0.04, prospect)
    for number in (40, 49, 50):
        resumed.consider(trials(number), 60.0)
        assert resumed.reached is not None
    assert asked == [40, 50]
    # One of trials that are gone is none.
    Worth(tmp_path, 0.04, prospect).consider(trials(30), 60.0)
    assert asked == [40, 50, 30]


def test_a_damaged_note_is_none(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"expected": 1}', json.dumps(dict.fromkeys(FIELDS, "x"))):
        (tmp_path / "worth.json").write_text(text)
        assert last_gain(tmp_path) is None


def test_without_a_bound_it_costs_a_fiftieth_of_the_time_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(worth_module.time, "monotonic", lambda: clock[0])
    asked = []

    def prospect(names: object, more: float) -> Gain:
        asked.append(len(names))  # type: ignore[arg-type]
        clock[0] += 2.0
        return Gain(0.0, 0.0, 0.0, 0.5, asked[-1])

    worth = Worth(tmp_path, None, prospect)
    for number in (24, 31, 36):
        worth.consider(trials(number), 60.0)
    clock[0] += 100.0
    worth.consider(trials(50), 60.0)
    assert asked == [24, 50] and worth.reached is None


def test_an_estimate_that_fails_ends_no_search(tmp_path: Path) -> None:
    def prospect(names: object, more: float) -> Gain:
        raise ValueError("no labelled frame")

    worth = Worth(tmp_path, 0.01, prospect)
    worth.consider(trials(30), 60.0)
    assert worth.gain is None and worth.reached is None and last_gain(tmp_path) is None

"""What the sampler is told where credits count, and when it is told anew."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from trial_world import make_trial

from va_search.search.outcomes import TIE, SamplerValues
from va_search.trial import Trial

Name = tuple[str, str]


def record(trial: str, value: float) -> Trial:
    return make_trial("s", trial, ccc=value)


class Given:
    """A credit for each trial, from the third one on."""

    def __init__(self) -> None:
        self.known: set[Name] = set()
        self.calls: list[int] = []

    def __call__(self, trials: Sequence[Name]) -> dict[Name, float]:
        self.known |= set(trials)
        self.calls.append(len(trials))
        return {name: float(name[1]) for name in trials} if len(self.known) >= 3 else {}


def test_without_credits_the_measures_are_told() -> None:
    assert SamplerValues("both", None).of(record("0", 0.4)) == (0.4, 0.4)
    assert SamplerValues("ensemble", None).of(record("0", 0.4)) == (0.4,)
    assert SamplerValues("score", Given()).of_all([record("0", 0.4), make_trial("s", "mix")]) == {
        "0": (0.4,)
    }


def test_the_score_until_there_are_credits_and_then_all_anew() -> None:
    told = SamplerValues("ensemble", Given())
    records = [record(str(k / 100), 0.5 - k / 10) for k in range(4)]
    assert [told.of(one) for one in records[:2]] == [(0.5,), (0.4,)]
    assert not told.are_due
    assert told.of(records[2]) == (pytest.approx(0.02 + TIE * 0.3),)
    assert told.are_due
    anew = told.of_all(records[:3])
    assert anew == {
        one.id: (pytest.approx(float(one.id) + TIE * s),)
        for one, s in zip(records, (0.5, 0.4, 0.3), strict=False)
    }
    assert not told.are_due
    told.of(records[3])
    assert told.are_due  # four where there were three


def test_credits_below_zero_count_as_zero_and_those_without_rank_by_score() -> None:
    told = SamplerValues(
        "ensemble", lambda trials: {name: -0.3 for name in trials if name[1] != "x"}
    )
    assert told.of(record("a", 0.5)) == (TIE * 0.5,)
    assert told.of(record("x", 0.6)) == (TIE * 0.6,)
    assert told.of(make_trial("s", "mix")) is None


def test_telling_anew_is_rare() -> None:
    given = Given()
    told = SamplerValues("ensemble", given)
    records = []
    for number in range(400):
        records.append(record(str(number), 0.1))
        told.of(records[-1])
        if told.are_due:
            told.of_all(records)
    assert sum(calls > 1 for calls in given.calls) < 25
    assert sum(given.calls) < 400 * 6

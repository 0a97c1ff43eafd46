"""What a member is worth is a slow computation on frames; few people make it uncertain."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from va_search.ensemble.measure import measure
from va_search.ensemble.statistics import Statistics
from va_search.ensemble.sums import ccc_and_worth, helping
from va_search.metrics import ccc

Vector = NDArray[np.float64]
FRAMES, RECORDINGS = 20, 8
PEOPLE = ((0, 1, 2), (3, 4), (5,), (6, 7))


def frames(offset: float = 0.0) -> tuple[Vector, Vector]:
    """Annotations (frame,) and predictions (frame, member): good, weak, flipped, noise, wrong in
    scale and offset."""
    rng = np.random.default_rng(4)
    y = rng.normal(size=FRAMES * RECORDINGS) + np.repeat(rng.normal(size=RECORDINGS), FRAMES)
    noise = rng.normal(size=(len(y), 5)) + np.repeat(
        rng.normal(size=(RECORDINGS, 5)), FRAMES, axis=0
    )
    members = np.stack([y, 0.2 * y, -y, 0.0 * y, 9.0 * y + 4.0], axis=1) + noise * [
        0.5,
        1.0,
        0.5,
        1.0,
        5.0,
    ]
    return y + offset, members + offset


def statistics_of(y: Vector, members: Vector) -> Statistics:
    recordings = [(f"r{index}", FRAMES) for index in range(RECORDINGS)]
    return measure(
        list(members.T.copy()), y, recordings, [f"m{index}" for index in range(members.shape[1])]
    )


def slowly(y: Vector, p: Vector, people: tuple[tuple[int, ...], ...]) -> tuple[float, float]:
    """CCC and worth of one member, from its frames."""
    recording = np.repeat(np.arange(RECORDINGS), FRAMES)
    used = np.isin(recording, [index for person in people for index in person])
    without = np.array(
        [
            ccc(p[kept], y[kept])
            for person in people
            for kept in [used & ~np.isin(recording, person)]
        ]
    )
    error = np.sqrt((len(people) - 1) / len(people) * ((without - without.mean()) ** 2).sum())
    whole = ccc(p[used], y[used])
    return whole, whole - float(error)


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("people", [PEOPLE, PEOPLE[1:]])
def test_worth_is_the_computation_on_frames(
    offset: float, people: tuple[tuple[int, ...], ...]
) -> None:
    """Also where a person is left out, and where everything lies far from zero."""
    y, members = frames(offset)
    each = np.array(
        [float(any(index in person for person in people)) for index in range(RECORDINGS)]
    )
    found, worth = ccc_and_worth(statistics_of(y, members), each, PEOPLE)
    expected = np.array([slowly(y, p, people) for p in members.T])
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-7)
    np.testing.assert_allclose(worth, expected[:, 1], atol=1e-7)
    assert (
        found[2] < -0.5
        and worth[0] > 0.5
        and worth[3] < abs(found[3]) < 0.2
        and (worth < found).all()
    )


def test_matched_members_are_worth_what_they_are_on_the_annotations_scale() -> None:
    y, members = frames()
    matched = (members - members.mean(axis=0)) / members.std(axis=0) * y.std() + y.mean()
    found, worth = ccc_and_worth(statistics_of(y, members), None, PEOPLE, matched=True)
    expected = np.array([slowly(y, p, PEOPLE) for p in matched.T])
    np.testing.assert_allclose(np.stack([found, worth], axis=1), expected, atol=1e-12)
    plain, _ = ccc_and_worth(statistics_of(y, members), None, PEOPLE)
    assert plain[4] < 0.3 and found[4] > 0.8


def test_one_person_gives_no_error_to_take_off() -> None:
    y, members = frames()
    each = np.array([1.0, 1.0, 1.0, 0, 0, 0, 0, 0])
    found, worth = ccc_and_worth(statistics_of(y, members), each, PEOPLE)
    np.testing.assert_array_equal(found, worth)
    assert found[0] == pytest.approx(ccc(members[:60, 0], y[:60]), abs=1e-12)


def test_who_helps() -> None:
    ccc_of = np.array([0.5, 0.1, 0.0, -0.3, np.nan])
    assert (
        helping(ccc_of, np.array([0.3, -0.1, -0.1, -0.5, np.nan])).tolist() == [True] + [False] * 4
    )
    unsure = np.array([-0.1, -0.2, -0.1, -0.5, np.nan])
    assert helping(ccc_of, unsure).tolist() == [True, True, False, False, False]
    assert not helping(-np.abs(ccc_of), unsure).any()

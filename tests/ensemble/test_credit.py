"""What a trial adds to the ensemble: copies little, what is different much, whatever its own
score."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world
from trial_world import make_trial

from va_search.data.store import frames_hash, positions
from va_search.ensemble import credit as room
from va_search.ensemble.credit import Contest, Credits
from va_search.ensemble.folds import make_folds
from va_search.ensemble.measure import measure
from va_search.ensemble.methods import select_greedily
from va_search.metrics import ccc
from va_search.predictions.bank import Predictions


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, trials=0)


def put(world: World, trial: str, bias: float, seed: int, noise: float, study: str = "s") -> float:
    """A trial that is off by `bias` in every other recording and by noise of its own; its mean
    CCC."""
    rng = np.random.default_rng(seed)
    found = {}
    for split in ("validation", "test"):
        recordings = world.store.split(split)
        truth = np.nan_to_num(world.store.annotations[positions(recordings)], nan=5.0)
        off = np.concatenate(
            [np.full((r.frames, 2), bias * (-1) ** i) for i, r in enumerate(recordings)]
        )
        values = truth + off + rng.normal(size=truth.shape) * noise
        found[split] = Predictions(values.astype(np.float32), frames_hash(recordings))
    world.bank.write(make_trial(study, trial), found)
    values = found["validation"].values
    return float(np.mean([ccc(values[:, index], world.labels[:, index]) for index in range(2)]))


def test_a_copy_of_the_best_gets_less_than_a_worse_one_that_complements_it(world: World) -> None:
    best = put(world, "best", 1.0, 1, 0.1)
    middling = [put(world, f"m{index}", 1.1, 2 + index, 0.3) for index in range(3)]
    clone = put(world, "clone", 1.0, 1, 0.1)
    other = put(world, "other", -1.4, 9, 0.5)
    assert clone == best > max(middling) > other
    first = [("s", name) for name in ("best", "m0", "m1", "m2")]
    for newcomer, other_one in (("clone", "other"), ("other", "clone")):
        credits = Credits(world.home, world.store)
        credits(first)
        each = {name: credits([("s", name)])["s", name] for name in (newcomer, other_one)}
        assert each["other"] > each["clone"] + 0.05
        assert abs(each["clone"]) < 0.01


def test_credit_is_what_the_ensemble_loses_out_of_fold(world: World) -> None:
    """Against a plain calculation from the frames."""
    names = [f"t{index}" for index in range(6)]
    for index, name in enumerate(names):
        put(world, name, 0.6 * (-1) ** index + 0.1 * index, index, 0.4)
    place = frames_hash(world.validation)
    found = Credits(world.home, world.store)([("s", name) for name in names])

    def judged(members: list[str], index: int, dimension: str) -> float:
        y = world.labels[:, index]
        columns = [
            world.bank.column("s", name, "validation", dimension, frames_hash=place)
            for name in members
        ]
        recordings = [(r.name, r.frames) for r in world.validation]
        statistics = measure(columns, y, recordings, members)
        ends = np.cumsum([0, *(r.frames for r in world.validation)])
        labelled = [int((~np.isnan(y[a:b])).sum()) for a, b in pairwise(ends)]
        predicted = np.zeros(len(y))
        for part in make_folds(world.validation, labelled).parts:
            weights = select_greedily(
                statistics.total(statistics.without(part)), room.STEPS, room.START
            )
            for recording in part:
                rows = slice(ends[recording], ends[recording + 1])
                predicted[rows] = sum(
                    w * column[rows] for w, column in zip(weights, columns, strict=True)
                )
        return ccc(predicted, y)

    for name in names:
        others = [other for other in names if other != name]
        lost = [
            judged(names, i, d) - judged(others, i, d) for i, d in enumerate(("valence", "arousal"))
        ]
        assert found["s", name] == pytest.approx(np.mean(lost), abs=1e-6)
    assert max(found.values()) > 0.003


def test_there_is_no_credit_before_three_and_none_for_what_does_not_line_up(world: World) -> None:
    for index in range(3):
        put(world, f"t{index}", 0.5, index, 0.3)
    values = np.zeros((4, 2), dtype=np.float32)
    world.bank.write(
        make_trial("s", "elsewhere"), {"validation": Predictions(values, "other frames")}
    )
    world.bank.write(make_trial("s", "mix"), {})
    credits = Credits(world.home, world.store)
    assert (
        credits([("s", "t0"), ("s", "t1"), ("s", "elsewhere"), ("s", "mix"), ("s", "gone")]) == {}
    )
    assert set(credits([("s", "t2")])) == {("s", "t2")}
    assert set(credits([("s", "t0"), ("s", "elsewhere")])) == {("s", "t0")}


def test_a_pool_keeps_who_has_weight_and_the_best(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "POOL", 5)
    names = [("s", f"t{index:02}") for index in range(17)]
    for index, (_, name) in enumerate(names):
        put(world, name, 2.0 - 0.1 * index, index, 0.3)
    put(world, "other", -2.5, 99, 0.3)
    credits = Credits(world.home, world.store)
    credits([*names[:3], ("s", "other")])
    credits(names[3:])
    (contests,) = credits._contests.values()
    for contest in contests:
        assert len(contest._pool) == 5 and contest.known == 18
        assert ("s", "other") in contest._pool and names[-1] in contest._pool
    assert credits([("s", "other")])["s", "other"] > 0.01
    assert credits(names[:2]) == {names[0]: 0.0, names[1]: 0.0}


def test_one_by_one_is_the_same_as_at_once(world: World) -> None:
    names = [("s", f"t{index}") for index in range(8)]
    for index, (_, name) in enumerate(names):
        put(world, name, 0.6 * (-1) ** index, index, 0.4)
    at_once, one_by_one = Credits(world.home, world.store), Credits(world.home, world.store)
    for name in names:
        one_by_one([name])
    first, second = at_once(names), one_by_one(names)
    assert first.keys() == second.keys()
    assert list(first.values()) == pytest.approx(list(second.values()), abs=1e-9)


def test_one_recording_is_judged_in_sample(world: World) -> None:
    recordings = world.validation[:1]
    rows = slice(recordings[0].start, recordings[0].stop)
    annotation = world.store.annotations[rows, 0]
    for index in range(3):
        values = np.nan_to_num(world.store.annotations[rows], nan=5.0) + np.float32(index - 1)
        found = {"validation": Predictions(values, frames_hash(recordings))}
        world.bank.write(make_trial("s", f"t{index}"), found)
    contest = Contest(world.bank, frames_hash(recordings), "valence", recordings, annotation)
    contest.enter([("s", f"t{index}") for index in range(3)])
    assert contest.credit(("s", "t1")) == pytest.approx(
        0.0, abs=1e-9
    )  # the two others' mean is as good

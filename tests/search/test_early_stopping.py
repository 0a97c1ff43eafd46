"""Early stopping's decisions, without Ray and without training."""

from __future__ import annotations

import numpy as np
import pytest
from trial_world import make_trial

from va_search.search.early_stopping import Rungs, is_rung
from va_search.trial import Epoch


def test_rungs_lie_ever_further_apart() -> None:
    assert [epoch for epoch in range(1, 60) if is_rung(epoch, 2, 3)] == [2, 6, 18, 54]


def test_one_measure_decides_as_rays_asha_does() -> None:
    schedulers = pytest.importorskip("ray.tune.schedulers.async_hyperband")
    bracket = schedulers._Bracket(1, 100, 3, 0)
    rungs = Rungs(1, 3, ["score"])
    generator = np.random.default_rng(0)
    decided = []
    for number in range(60):
        trial = type("Trial", (), {"trial_id": str(number)})()
        value = generator.uniform()
        for epoch in (1, 3, 9):
            ours = rungs.behind(str(number), epoch, {"score": value})
            assert ours == (bracket.on_result(trial, epoch, value) == "STOP")
            decided.append(ours)
            if ours:
                break
            value += generator.uniform(0, 0.3)
    assert 20 < sum(decided) < 60


def test_a_trial_is_stopped_only_when_behind_on_both() -> None:
    rungs = Rungs(1, 3, ["valence", "arousal"])
    for number in range(9):
        rungs.behind(str(number), 1, {"valence": 0.5, "arousal": 0.5})
    assert rungs.behind("weak", 1, {"valence": 0.4, "arousal": 0.4})
    assert not rungs.behind("valence", 1, {"valence": 0.6, "arousal": 0.0})
    assert not rungs.behind("arousal", 1, {"valence": 0.0, "arousal": 0.6})


def test_the_first_at_a_rung_goes_on_and_between_rungs_nothing_is_decided() -> None:
    rungs = Rungs(2, 3, ["score"])
    assert not rungs.behind("first", 2, {"score": 0.1})
    assert not rungs.behind("second", 3, {"score": -1.0})
    assert rungs.behind("second", 6, {"score": -1.0}) is False  # first there
    assert rungs.behind("second", 2, {"score": 0.0})


def test_a_trial_that_comes_again_is_not_measured_by_itself() -> None:
    rungs = Rungs(1, 3, ["score"])
    rungs.behind("a", 1, {"score": 0.5})
    assert not rungs.behind("a", 1, {"score": 0.1})


def test_finished_trials_of_an_earlier_run_count() -> None:
    rungs = Rungs(2, 2, ["score"])
    history = [
        Epoch(1, cccs={"valence": 0.1, "arousal": 0.6}, score=0.35),
        Epoch(2, cccs={"valence": 0.4, "arousal": 0.2}, score=0.3),
    ]
    rungs.learn([make_trial(id="a", history=history), make_trial(id="outside")])
    assert rungs.behind("b", 2, {"score": 0.49})  # a's best epochs give (0.4 + 0.6) / 2
    assert not Rungs(2, 2, ["score"]).behind("b", 2, {"score": 0.49})
    last = Rungs(2, 2, ["score"])
    last.learn([make_trial(id="a", history=history, settings={"keep": "last"})])
    assert not last.behind("b", 2, {"score": 0.31})  # a's second epoch alone gives 0.3


def test_trials_without_validation_teach_nothing() -> None:
    rungs = Rungs(1, 2, ["score"])
    rungs.learn([make_trial(id="mix", history=[Epoch(1)])])
    assert not rungs.behind("b", 1, {"score": -1.0})


def test_finished_trials_of_other_targets_count() -> None:
    rungs = Rungs(1, 2, ["stress", "valence", "arousal"])
    cccs = {"stress": 0.4, "valence": 0.1, "arousal": 0.6}
    trial = make_trial(id="a", history=[Epoch(1, cccs=cccs, score=1.1 / 3)], targets=tuple(cccs))
    rungs.learn([trial])
    assert rungs.behind("b", 1, {"stress": 0.3, "valence": 0.0, "arousal": 0.5})
    one = Rungs(1, 2, ["score"])
    one.learn(
        [
            make_trial(
                id="a", history=[Epoch(1, cccs={"stress": 0.4}, score=0.4)], targets=("stress",)
            )
        ]
    )
    assert one.behind("b", 1, {"stress": 0.3, "score": 0.3})

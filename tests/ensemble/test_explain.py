"""Why an ensemble: shares of weight, correlation, and what each part adds, on predictions whose
answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trial_world import make_trial

from va_search.ensemble import methods
from va_search.ensemble.explain import (
    ELSEWHERE,
    Explanation,
    correlation,
    explain,
    groups,
    shares,
)
from va_search.ensemble.measure import measure
from va_search.ensemble.pictures import MOST, draw
from va_search.ensemble.statistics import Statistics
from va_search.trial import Trial

FRAMES = 900


def candidate(
    trial: str, encoder: str | None = "lstm", features: tuple[str, ...] = ("face",)
) -> Trial:
    if encoder is None:
        return make_trial("night", trial, source="outside")
    settings = {
        "encoder": encoder,
        "fusion": "concat",
        "features": list(features),
        "seed": len(trial),
    }
    return make_trial("night", trial, settings=settings)


def predict(candidates: list[Trial], shares_of_label: list[float], seed: int = 0) -> Statistics:
    """Each predicts its share of the label, and noise of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=FRAMES)
    columns = [share * labels + rng.normal(size=FRAMES) * 0.5 for share in shares_of_label]
    names = [c.label for c in candidates]
    return measure(columns, labels, [("r0", FRAMES // 2), ("r1", FRAMES - FRAMES // 2)], names)


def explained(candidates: list[Trial], statistics: Statistics, weights: Any = None) -> Explanation:
    """With the greedy recipe, in-sample."""

    def judge(keep: Any) -> float:
        some = statistics.subset(np.flatnonzero(keep))
        return some.total().ccc(methods.greedy(some))

    weights = methods.greedy(statistics) if weights is None else np.array(weights)
    return explain(candidates, weights, statistics, judge, measured="in_sample")


def test_the_part_that_knows_the_label_adds_and_the_rest_does_not() -> None:
    candidates = [
        candidate("a", "lstm", ("face",)),
        candidate("b", "gru", ("face", "voice")),
        candidate("c", None),
    ]
    one = explained(candidates, predict(candidates, [0.0, 0.9, 0.0]))
    adds = {(a.kind, a.name): a for a in one.additions}
    assert [a.kind for a in one.additions] == ["feature set"] * 2 + ["encoder"] * 2 + ["source"] + [
        "member"
    ] * len(one.labels)
    assert adds["encoder", "gru"].gain == pytest.approx(adds["feature set", "voice"].gain)
    assert adds["encoder", "gru"].gain > 0.5
    assert adds["encoder", "gru"].gain == pytest.approx(one.ccc - adds["encoder", "gru"].without)
    assert abs(adds["encoder", "lstm"].gain) < 0.05
    assert adds["source", ELSEWHERE].candidates == 1
    assert one.labels[0] == "night/b"
    assert adds["member", "night/b"].gain is None  # not measured here


def test_gains_of_single_members_are_those_given() -> None:
    candidates = [candidate("a"), candidate("b", "gru")]
    statistics = predict(candidates, [0.9, 0.5])
    one = explain(
        candidates, np.array([0.7, 0.3]), statistics, lambda _: 0.5, measured="out_of_fold",
        gains={"night/a": 0.2},
    )  # fmt: skip
    first, second = (a for a in one.additions if a.kind == "member")
    assert (first.name, first.weight, first.gain, first.without) == (
        "night/a",
        0.7,
        0.2,
        pytest.approx(0.3),
    )
    assert (second.name, second.gain, second.without) == ("night/b", None, None)


def test_a_stand_in_makes_a_member_with_all_the_weight_add_nothing() -> None:
    candidates = [candidate("a", "gru"), candidate("b", "lstm")]
    statistics = predict(candidates[:1], [0.9])
    twice = measure_again(statistics)
    one = explained(candidates, twice, [1.0, 0.0])
    (gru,) = (a for a in one.additions if a.name == "gru")
    assert gru.weight == 1.0
    assert gru.gain == 0.0


def measure_again(statistics: Statistics) -> Statistics:
    """The same member a second time, as night/b."""
    from dataclasses import replace

    return replace(statistics.subset(np.array([0, 0])), labels=("night/a", "night/b"))


def test_nothing_is_left_without_what_all_use() -> None:
    candidates = [candidate("a"), candidate("b")]
    one = explained(candidates, predict(candidates, [0.9, 0.5]))
    face = one.additions[0]
    assert (face.name, face.candidates, face.without, face.gain) == ("face", 2, None, None)
    assert json.loads(json.dumps(one.document(), allow_nan=False))["adds"][0]["gain"] is None


def test_shares_add_up_by_everything_that_is_shared() -> None:
    candidates = [
        candidate("a", features=("voice", "face")),
        candidate("b", features=("face", "voice")),
        candidate("c", None),
    ]
    found = list(shares(candidates, np.array([0.2, 0.25, 0.55])))
    for what in ("encoder", "features", "fusion", "seed"):
        assert sum(share.weight for share in found if share.what == what) == pytest.approx(1.0)
    features = [share for share in found if share.what == "features"]
    assert [(s.value, s.members, s.weight) for s in features] == [
        (ELSEWHERE, 1, 0.55),
        ("face + voice", 2, pytest.approx(0.45)),
    ]


def test_a_model_of_a_family_without_encoders_is_called_by_its_family() -> None:
    """Its noted settings have the default encoder, which trained nothing."""
    ridge = make_trial(
        "night",
        "r",
        settings={"encoder": "transformer", "family": "ridge", "features": ["face"]},
    )
    candidates = [candidate("a"), ridge]
    weight_of = {
        share.value: share.weight
        for share in shares(candidates, np.array([0.4, 0.6]))
        if share.what == "encoder"
    }
    assert weight_of == {"ridge": 0.6, "lstm": 0.4}
    encoders = [group.name for group in groups(candidates) if group.kind == "encoder"]
    assert encoders == ["lstm", "ridge"]


def test_correlation_is_that_of_numpy_and_undefined_for_a_constant_member() -> None:
    rng = np.random.default_rng(0)
    columns = [
        *(rng.normal(size=(3, FRAMES)) + rng.normal(size=FRAMES) + 1000.0),
        np.full(FRAMES, 7.0),
    ]
    names = [f"m{index}" for index in range(4)]
    found = correlation(measure(columns, rng.normal(size=FRAMES), [("r", FRAMES)], names).total())
    np.testing.assert_allclose(found[:3, :3], np.corrcoef(columns[:3]), atol=1e-9)
    assert np.isnan(found[3]).all()


def test_a_judge_that_cannot_judge_leaves_gaps_not_numbers() -> None:
    candidates = [candidate("a"), candidate("b", "gru")]
    statistics = predict(candidates, [0.9, 0.5])
    one = explain(
        candidates, np.array([0.5, 0.5]), statistics, lambda _: None, measured="out_of_fold"
    )
    assert one.ccc is None
    assert {a.gain for a in one.additions} == {None}


@pytest.mark.parametrize("members", [1, 40])
def test_pictures_of_any_size_are_drawn_and_readable(tmp_path: Path, members: int) -> None:
    long = ("a_very_long_feature_set_name", "face", "voice")
    candidates = [
        candidate(f"{index:016x}", ("lstm", "gru")[index % 2], long[: 1 + index % 3])
        for index in range(members)
    ]
    candidates[-1] = candidate("outside-team", None)
    statistics = predict(candidates, np.linspace(0.2, 0.9, members).tolist())
    one = explained(candidates, statistics, np.full(members, 1 / members))
    assert sum(a.kind == "member" for a in one.additions) == members
    assert members <= MOST or len(one.labels) > MOST
    paths = draw({"valence": one, "arousal": one}, tmp_path / "explained")
    assert sorted(path.name for path in paths) == ["adds.png", "correlation.png", "weight.png"]
    for path in paths:
        head = path.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(head[16:20]) == 1430  # 13 inches wide
    assert not list(tmp_path.glob("**/*.partial"))

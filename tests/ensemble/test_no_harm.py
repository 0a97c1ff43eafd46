"""The default recipe: who is no better than a constant gets no weight and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trial_world import make_trial
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.store import Recording
from va_search.ensemble import sums
from va_search.ensemble.build import build
from va_search.ensemble.folds import make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import measure
from va_search.ensemble.out_of_fold import Fits, FittedPipeline
from va_search.ensemble.post_processing import combine
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.ensemble.sums import ccc_and_worth
from va_search.errors import InputError
from va_search.metrics import ccc

Vector = NDArray[np.float64]
DEFAULT = load_recipe("bagged_greedy")
FRAMES, EACH = 30, 2
LEAST = 0.005
"""What an ensemble may fall behind the best single member."""


def recordings_of(people: int) -> list[Recording]:
    return [
        Recording(
            f"r{i:02}", f"s{i // EACH:02}", f"v{i:02}", "validation", None, i * FRAMES, FRAMES, 25.0
        )
        for i in range(people * EACH)
    ]


def draw(seed: int, people: int, good: int) -> tuple[Vector, Vector]:
    """Annotations (frame,) and predictions (frame, member) of members that are each right in their
    own way."""
    rng = np.random.default_rng(seed)
    frames = people * EACH * FRAMES
    y = rng.normal(size=frames) + np.repeat(rng.normal(size=people), EACH * FRAMES)
    errors = (
        rng.normal(size=(frames, good))
        + np.repeat(rng.normal(size=(people * EACH, good)), FRAMES, axis=0) / 2
    )
    return y, rng.uniform(0.6, 1.2, good) * y[:, None] + errors + rng.normal(0.0, 0.3, good)


def material(y: Vector, members: Vector, names: list[str] | None = None) -> Material:
    recordings = recordings_of(len(y) // (EACH * FRAMES))
    labels = names or [f"m{i:02}" for i in range(members.shape[1])]
    columns = list(np.ascontiguousarray(members.T))
    statistics = measure(columns, y, [(one.name, FRAMES) for one in recordings], labels)
    candidates = [make_trial("s", label) for label in labels]
    folds = make_folds(recordings, [FRAMES] * len(recordings))
    return Material(statistics, candidates, columns.__getitem__, y, recordings, folds)


def fit(of: Material) -> FittedPipeline:
    return Fits(of, DEFAULT.plan("valence")).fit()


def predictions(fitted: FittedPipeline, members: Vector) -> Vector:
    recordings = recordings_of(len(members) // (EACH * FRAMES))
    return combine(fitted.weights, list(members.T), recordings, fitted.post)


def test_two_good_and_six_flipped_models_are_as_good_as_the_two() -> None:
    y, good = draw(1, people=6, good=2)
    rng = np.random.default_rng(2)
    flipped = -y[:, None] + rng.normal(0.0, 0.7, (len(y), 6))
    of = material(y, np.hstack([flipped[:, :3], good, flipped[:, 3:]]))
    fits = Fits(of, DEFAULT.plan("valence"))
    weights = fits.fit().weights
    assert weights[[0, 1, 2, 5, 6, 7]].tolist() == [0.0] * 6 and weights[[3, 4]].min() > 0.3
    assert fits.unhelpful() == [0, 1, 2, 5, 6, 7]
    np.testing.assert_allclose(fit(material(y, good)).weights, weights[[3, 4]], atol=1e-12)
    found = fits.out_of_fold()
    assert found is not None
    best = max(ccc(member, y) for member in good.T)
    assert float(sums.ccc(found.sum(axis=0))) > best + 0.02
    old = {"method": "bagged_greedy", "prune": {"top": 10}, "shrink": 0.5, "match": True}
    before = Fits(of, read_recipe("old", old).plan("valence")).out_of_fold()
    assert before is not None and float(sums.ccc(before.sum(axis=0))) < best - 0.1


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    people=st.integers(2, 7),
    good=st.integers(1, 6),
    bad=st.integers(1, 6),
    scale=st.floats(0.1, 10.0),
)
def test_flipped_members_get_no_weight_and_change_no_prediction(
    seed: int, people: int, good: int, bad: int, scale: float
) -> None:
    y, members = draw(seed, people, good)
    rng = np.random.default_rng(seed + 1)
    flipped = -scale * members[:, rng.integers(0, good, bad)] + rng.normal(size=bad)
    assert all(ccc(member, y) < 0.0 for member in flipped.T)
    order = rng.permutation(good + bad)
    with_them = fit(material(y, np.hstack([members, flipped])[:, order]))
    assert with_them.weights[order >= good].tolist() == [0.0] * bad
    _, others = draw(seed + 2, 4, good)
    whole = np.hstack([others, -others[:, rng.integers(0, good, bad)]])[:, order]
    alone = fit(material(y, members[:, order[order < good]]))
    expected = predictions(alone, others[:, order[order < good]])
    np.testing.assert_allclose(predictions(with_them, whole), expected, atol=1e-9)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), people=st.integers(4, 8), good=st.integers(2, 6))
def test_noise_gets_no_weight_unless_it_is_better_than_a_constant_by_more_than_its_error(
    seed: int, people: int, good: int
) -> None:
    y, members = draw(seed, people, good)
    members[:, 0] = np.random.default_rng(seed + 1).normal(size=len(y))
    of = material(y, members)
    fitted = fit(of)
    _, worth = ccc_and_worth(of.statistics, None, of.independent, matched=True)
    assert worth[1:].max() > 0.0
    assert (fitted.weights[worth <= 0.0] == 0.0).all()
    assert fitted.weights[0] <= 0.1  # by chance noise may look good, but never by much
    assert (fitted.weights >= 0.0).all() and fitted.weights.sum() == pytest.approx(1.0)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), people=st.integers(2, 7), good=st.integers(1, 6))
def test_the_order_of_members_changes_nothing(seed: int, people: int, good: int) -> None:
    y, members = draw(seed, people, good)
    members = np.hstack([members, -members[:, :1] + 0.1])
    order = np.random.default_rng(seed).permutation(members.shape[1])
    names = [f"m{i:02}" for i in range(members.shape[1])]
    first = fit(material(y, members, names))
    second = fit(material(y, members[:, order], [names[i] for i in order]))
    np.testing.assert_allclose(second.weights, first.weights[order], atol=1e-12)
    assert second.post.scale == pytest.approx(
        first.post.scale
    ) and second.weights.sum() == pytest.approx(1.0)


def test_scales_and_offsets_of_members_hardly_matter() -> None:
    """A model that is right on another scale is as good a member."""
    y, members = draw(7, 6, 4)
    scale, offset = np.array([0.2, 1.0, 7.0, 1.0]), np.array([0.0, 300.0, -5.0, 1.0])
    plain, other = fit(material(y, members)), fit(material(y, members * scale + offset))
    in_use = other.weights * scale
    np.testing.assert_allclose(in_use / in_use.sum(), plain.weights, atol=1e-3)
    moved = ccc(predictions(other, members * scale + offset), y)
    assert moved == pytest.approx(ccc(predictions(plain, members), y), abs=0.02)


def test_one_excellent_member_among_poor_ones_keeps_the_weight() -> None:
    """Halfway to equal weights on all of them would halve the CCC."""
    y, poor = draw(3, 8, 7)
    rng = np.random.default_rng(4)
    members = np.hstack(
        [0.15 * poor + rng.normal(size=poor.shape), (y + rng.normal(0.0, 0.3, len(y)))[:, None]]
    )
    fits = Fits(material(y, members), DEFAULT.plan("valence"))
    assert fits.fit().weights[-1] * 1.0 > 0.8
    found = fits.out_of_fold()
    assert found is not None and float(sums.ccc(found.sum(axis=0))) > ccc(members[:, -1], y) - LEAST


def flipped_world(folder: Path, good: int = 0) -> World:
    world = make_world(folder, trials=good)
    for index in range(12):
        world.add("first", f"bad{index:02}", seed=20 + index, noise=0.5, flipped=True)
    return world


def test_candidates_all_worse_than_a_constant_are_refused_with_their_cccs(tmp_path: Path) -> None:
    world = flipped_world(tmp_path)
    with pytest.raises(InputError) as error:
        build(world.home, ["first"], DEFAULT, "e")
    assert [problem.split(":")[0] for problem in error.value.problems] == ["valence", "arousal"]
    records = {trial.id: trial.best["arousal"].ccc for trial in world.bank.each_trial("first")}
    best = max(records, key=lambda trial: records[trial])
    assert records[best] < -0.2
    assert f"6 recordings: first/{best} {records[best]:.3f}, first/" in error.value.problems[1]
    assert "no candidate is better than a constant" in str(error.value) and "and 2 more" in str(
        error.value
    )
    assert not world.home.ensemble("e").exists()


def test_no_recipe_makes_an_ensemble_of_them(tmp_path: Path) -> None:
    home = flipped_world(tmp_path).home
    ridge = read_recipe("ridge_matched", {"method": "ridge", "match": True})
    for recipe in (*(load_recipe(name) for name in ("best", "mean", "auto", "exact")), ridge):
        with pytest.raises(InputError, match="no candidate is better than a constant"):
            build(home, ["first"], recipe, "e")
    assert not home.ensemble("e").exists()


def test_the_command_says_who_gets_no_weight_and_refuses_what_would_do_harm(tmp_path: Path) -> None:
    world = flipped_world(tmp_path / "some", good=3)
    command = ["ensemble", "first", "--name", "e", "--no-tracking", "--home", str(world.home.root)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    assert (
        "Valence: 12 of 15 candidates get no weight, no better than a constant (CCC 0)"
        in shown.output
    )
    saved = json.loads(world.home.ensemble("e").read_text())
    for dimension in ("valence", "arousal"):
        members = saved["dimensions"][dimension]["members"]
        assert {member["trial"] for member in members} <= {"a0", "a1", "a2"}
        scores = saved["dimensions"][dimension]
        assert (
            scores["scores"]["out_of_fold"] > scores["best_single"]["scores"]["out_of_fold"] - LEAST
        )
    world = flipped_world(tmp_path / "none")
    refused = CliRunner().invoke(app, [*command[:-1], str(world.home.root)])
    assert refused.exit_code == 2 and "no candidate is better than a constant" in refused.output
    compared = CliRunner().invoke(
        app, ["ensemble", "first", "--compare", "--home", str(world.home.root)]
    )
    assert (
        compared.exit_code == 2
        and "arousal: no candidate is better than a constant" in compared.output
    )

"""Recipes carried out and ranked on one and the same material."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world

from va_search.ensemble import compare, sums
from va_search.ensemble.build import build
from va_search.ensemble.explain import ELSEWHERE, explain_ensemble
from va_search.ensemble.material import Materials, gather
from va_search.ensemble.recipe import Recipe, load_recipe, read_recipe
from va_search.errors import InputError

SHIPPED = Path(__file__).resolve().parents[2] / "ensembles"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def materials(world: World) -> Materials:
    return gather(world.home, ["first"], None, outside=True)


@pytest.fixture
def recipes() -> list[Recipe]:
    return [load_recipe(path) for path in sorted(SHIPPED.glob("*.yaml"))]


def test_all_recipes_are_ranked_out_of_fold(materials: Materials, recipes: list[Recipe]) -> None:
    rows = compare.compare(recipes, materials)
    assert {row.recipe for row in rows} == {recipe.name for recipe in recipes}
    scores = [row.out_of_fold["score"] for row in rows if row.out_of_fold is not None]
    assert len(scores) == len(rows) and scores == sorted(scores, reverse=True)
    for row in rows:
        assert row.intervals is not None and row.out_of_fold is not None
        for name, interval in row.intervals.items():
            assert interval is not None and interval[0] <= row.out_of_fold[name] <= interval[1]
    again = compare.compare(recipes[::-1], gather_again(materials))
    assert [row.recipe for row in again] == [row.recipe for row in rows]


def gather_again(materials: Materials) -> Materials:
    return replace(materials, notes=[])


def test_a_row_is_what_the_built_ensemble_says(
    world: World, materials: Materials, recipes: list[Recipe]
) -> None:
    by_name = {recipe.name: recipe for recipe in recipes}
    rows = {row.recipe: row for row in compare.compare(recipes, materials)}
    for name in ("greedy", "bagged_greedy", "auto"):
        built = build(world.home, ["first"], by_name[name], name)
        assert built.scores == {
            "in_sample": rows[name].in_sample,
            "out_of_fold": rows[name].out_of_fold,
        }
        assert built.intervals is not None and built.intervals["ensemble"] == rows[name].intervals


def test_auto_takes_the_winner_of_each_dimension_and_reports_the_nested_score(
    world: World, materials: Materials, recipes: list[Recipe]
) -> None:
    rows = {row.recipe: row for row in compare.compare(recipes, materials)}
    auto = next(recipe for recipe in recipes if recipe.among)
    takes = rows["auto"].takes
    assert takes is not None
    for dimension in ("valence", "arousal"):
        scores = {one.name: rows[one.name].out_of_fold[dimension] for one in auto.among}  # type: ignore[index]
        assert scores[takes[dimension]] == max(scores.values())
        assert rows["auto"].out_of_fold[dimension] <= max(scores.values()) + 1e-12  # type: ignore[index]
        assert rows["auto"].in_sample[dimension] == rows[takes[dimension]].in_sample[dimension]
    built = build(world.home, ["first"], auto, "a")
    assert {d: part.takes for d, part in built.dimensions.items()} == takes


def test_models_from_elsewhere_are_left_to_the_recipes_that_want_them(world: World) -> None:
    world.add("first", "outside-x", seed=9, noise=0.1, source="outside", settings=None, content="c")
    materials = gather(world.home, ["first"], None, outside=True)
    own = read_recipe("own", {"method": "best", "members": {"outside": False}})
    everyone = read_recipe("all", {"method": "best"})
    rows = {row.recipe: row for row in compare.compare([own, everyone], materials)}
    assert rows["all"].in_sample["score"] > rows["own"].in_sample["score"]
    alone = gather(world.home, ["first"], None, outside=False)
    assert rows["own"].out_of_fold == compare.compare([own], alone)[0].out_of_fold


def test_auto_without_models_from_elsewhere_is_not_judged_by_others_fits(world: World) -> None:
    world.add(
        "first", "outside-x", seed=9, noise=0.01, source="outside", settings=None, content="c"
    )
    materials = gather(world.home, ["first"], None, outside=True)
    mean, best = load_recipe("mean"), load_recipe("best")
    auto = read_recipe(
        "auto_own", {"method": "auto", "among": ["best", "mean"], "members": {"outside": False}}
    )
    row = next(
        one for one in compare.compare([mean, best, auto], materials) if one.recipe == "auto_own"
    )
    alone = compare.compare([auto], gather(world.home, ["first"], None, outside=False))[0]
    assert (row.out_of_fold, row.in_sample, row.takes) == (
        alone.out_of_fold,
        alone.in_sample,
        alone.takes,
    )


def test_a_recipe_of_the_same_name_is_not_taken_for_another(
    world: World, materials: Materials
) -> None:
    mine = read_recipe("best", {"method": "mean"})
    auto = read_recipe("auto", {"method": "auto", "among": ["best", "top_k"]})
    row = next(one for one in compare.compare([mine, auto], materials) if one.recipe == "auto")
    alone = compare.compare([auto], materials)[0]
    assert (row.out_of_fold, row.in_sample, row.takes) == (
        alone.out_of_fold,
        alone.in_sample,
        alone.takes,
    )


def test_what_auto_took_is_explained_by_the_candidates_it_had(world: World) -> None:
    world.add(
        "first", "outside-x", seed=9, noise=0.01, source="outside", settings=None, content="c"
    )
    materials = gather(world.home, ["first"], None, outside=True)
    for name in ("mean", "best"):
        text = f"method: {name}\nmembers: {{outside: false}}\n"
        (world.home.root / f"own_{name}.yaml").write_text(text)
    (world.home.root / "auto.yaml").write_text("method: auto\namong: [own_mean, own_best]\n")
    auto = load_recipe(world.home.root / "auto.yaml")
    built = build(world.home, ["first"], auto, "a")
    for dimension, one in explain_ensemble(built, materials).items():
        taken = load_recipe(world.home.root / f"{built.dimensions[dimension].takes}.yaml")
        assert one.ccc == pytest.approx(compare.carry_out(taken, materials)[dimension].out_of_fold)
        assert all(addition.name != ELSEWHERE for addition in one.additions)


def test_a_constant_member_is_left_out_by_name(world: World) -> None:
    predictions = world.predict(3, 0.5)
    for one in predictions.values():
        one.values[:, 0] = 4.0
    world.bank.write(replace(world.bank.trial("first", "a0"), id="flat"), predictions)
    materials = gather(world.home, ["first"], None, outside=True)
    assert materials.notes == ["left out of valence, its predictions are constant: first/flat"]
    assert len(materials["valence"].candidates) == 6 and len(materials["arousal"].candidates) == 7
    assert "flat" not in {m.trial for m in _mean(world).dimensions["valence"].members}


def _mean(world: World):  # type: ignore[no-untyped-def]
    return build(world.home, ["first"], read_recipe("mean", {"method": "mean"}), "m")


def test_only_constant_members_are_an_error_with_their_names(tmp_path: Path) -> None:
    world = make_world(tmp_path, trials=0)
    trial = make_world(tmp_path / "other", trials=1).bank.trial("first", "a0")
    predictions = world.predict(3, 0.5)
    for one in predictions.values():
        one.values[:, 1] = 4.0
    flat = replace(trial, id="flat", store_path=str(world.store.path))
    world.bank.write(flat, predictions)
    with pytest.raises(
        InputError, match=r"every member's arousal predictions are constant \(first/flat\)"
    ):
        gather(world.home, ["first"], None, outside=True)


def test_the_spread_leaves_out_what_is_not_defined() -> None:
    rng = np.random.default_rng(0)
    found = np.zeros((5, 6))
    for index in range(3):
        y, p = rng.normal(size=20), rng.normal(size=20)
        found[index] = [20, p.sum(), y.sum(), p @ p, p @ y, y @ y]
    found[3] = [10, 3.0, 5.0, 2.0, 1.5, 2.5]  # y is .5 in all ten frames
    spread = compare.spread(found)
    assert spread is not None
    assert (spread.recordings, spread.undefined) == (4, 1)  # the fifth has no labelled frame
    each = sums.ccc(found[:3])
    assert (spread.low, spread.median, spread.high) == pytest.approx(
        np.quantile(each, [0.25, 0.5, 0.75])
    )
    assert compare.spread(None) is None

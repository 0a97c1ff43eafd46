"""Products that are made on demand are those of the slow, obvious pass, and so is what recipes make
of them."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trial_world import make_trial

from va_search.data.store import Recording
from va_search.ensemble import bootstrap, compare, methods, on_demand, sums
from va_search.ensemble.folds import make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import MemberFrames, measure, measure_members
from va_search.ensemble.methods import ranking, select, select_greedily
from va_search.ensemble.on_demand import PairsOnDemand, measure_on_demand
from va_search.ensemble.out_of_fold import Fits, nested
from va_search.ensemble.recipe import known_recipes, load_recipe, read_recipe
from va_search.ensemble.statistics import Statistics
from va_search.errors import InputError

SEEDS = range(6)


@dataclasses.dataclass
class Bank:
    """Random predictions of members that share errors, with an annotation of random gaps."""

    columns: list[NDArray[np.float32]]
    annotation: NDArray[np.float32]
    recordings: list[Recording]
    names: list[str]

    @property
    def pairs(self) -> list[tuple[str, int]]:
        return [(recording.name, recording.frames) for recording in self.recordings]

    def measured(self) -> Statistics:
        """All products in one obvious pass."""
        return measure(self.columns, self.annotation, self.pairs, self.names)

    def on_demand(self, parts: Any = ()) -> Statistics:
        columns = self.columns.__getitem__
        return measure_on_demand(columns, self.annotation, self.pairs, self.names, parts=parts)

    def materials(self) -> tuple[Material, Material]:
        """The same with all products at hand, and on demand."""
        ends = np.cumsum([recording.frames for recording in self.recordings])[:-1]
        labelled = [int(part.sum()) for part in np.split(~np.isnan(self.annotation), ends)]
        folds = make_folds(self.recordings, labelled)
        candidates = [
            make_trial("s", name.partition("/")[2], source="outside" if index % 5 == 4 else "trial")
            for index, name in enumerate(self.names)
        ]
        shared = candidates, self.columns.__getitem__, self.annotation, self.recordings, folds
        return Material(self.measured(), *shared), Material(self.on_demand(folds.parts), *shared)


@cache
def bank(seed: int) -> Bank:
    rng = np.random.default_rng(seed)
    recordings, start = [], 0
    people = [1, 2, 4, 6, 9, 12][seed % 6]
    for index in range(people * 2):
        frames = int(rng.integers(3, 90))
        recordings.append(
            Recording(
                f"r{index:02}",
                f"p{index // 2}",
                f"v{index}",
                "validation",
                None,
                start,
                frames,
                10.0,
                (),
            )
        )
        start += frames
    y = rng.normal(size=start).cumsum() / 4
    errors = rng.normal(size=(5, start)).cumsum(axis=1) / 8
    offset = [0.0, 1e3][seed % 2]
    columns = []
    for _ in range(14):
        member = y * rng.uniform(-0.1, 0.9) + rng.normal(0, 0.4, 5) @ errors
        columns.append((member + rng.normal(0, 0.3, start) + offset).astype(np.float32))
    columns[3][:] = columns[2]  # a tie
    columns[6][:] = 0.25  # a constant
    y = (y + offset).astype(np.float32)
    y[rng.random(start) < 0.2] = np.nan
    for recording in recordings[3::4]:
        y[recording.start : recording.stop] = np.nan
    y[:2] = offset, offset + 1.0
    return Bank(columns, y, recordings, [f"s/m{index:02}" for index in range(len(columns))])


def parts_of(statistics: Statistics) -> list[list[int]]:
    return [list(range(part, statistics.recordings, 3)) for part in range(3)]


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_of_members_are_those_of_one_recording_and_member_after_another(seed: int) -> None:
    world = bank(seed)
    sums_ = measure_members(
        MemberFrames(world.columns.__getitem__, world.annotation, world.pairs), world.names
    )
    for block, recording in enumerate(world.recordings):
        inside = slice(recording.start, recording.stop)
        labelled = ~np.isnan(world.annotation[inside])
        y = world.annotation[inside][labelled].astype(np.float64) - sums_.label_shift
        assert sums_.counts[block] == labelled.sum()
        assert sums_.label_sums[block] == pytest.approx(y.sum(), rel=1e-12, abs=1e-9)
        for member, column in enumerate(world.columns):
            x = column[inside][labelled].astype(np.float64) - sums_.shifts[member]
            close = {"rel": 1e-12, "abs": 1e-10 * (1 + np.abs(x).sum() + (x * x).sum())}
            assert sums_.sums[block, member] == pytest.approx(x.sum(), **close)
            assert sums_.squares[block, member] == pytest.approx(x @ x, **close)
            assert sums_.with_label[block, member] == pytest.approx(x @ y, **close)


@pytest.mark.parametrize("few", [128, 4, 0])
@pytest.mark.parametrize("seed", SEEDS)
def test_products_on_demand_are_those_of_the_whole_pass(
    seed: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "FEW", few)
    world, rng = bank(seed), np.random.default_rng(seed)
    slow = world.measured()
    parts = parts_of(slow)
    fast = world.on_demand(parts)
    bags = [rng.integers(0, 3, slow.recordings).astype(float) for _ in range(3)]
    for times in (None, slow.without(parts[0]), slow.only([*parts[0], *parts[2]]), *bags):
        if times is not None and not times @ slow.counts > 0:
            continue
        whole = slow.total(times)
        scale = np.sqrt(np.outer(np.diag(whole.covariance), np.diag(whole.covariance))) + 1e-9
        np.testing.assert_allclose(
            fast.total(times).covariance / scale, whole.covariance / scale, atol=1e-9
        )
        np.testing.assert_allclose(fast.alone(times).ccc_of_each(), whole.ccc_of_each(), atol=1e-9)
        members = rng.permutation(slow.members)[:5]
        np.testing.assert_allclose(
            fast.rows(members, times) / scale[members],
            whole.covariance[members] / scale[members],
            atol=1e-9,
        )
        subset = fast.subset(members)
        np.testing.assert_allclose(
            subset.total(times).covariance / scale[np.ix_(members, members)],
            whole.subset(members).covariance / scale[np.ix_(members, members)],
            atol=1e-9,
        )
        matched, factors = subset.matched(times)
        expected, expected_factors = slow.subset(members).matched(times)
        np.testing.assert_allclose(factors, expected_factors, rtol=1e-8)
        np.testing.assert_allclose(
            matched.total(times).covariance, expected.total(times).covariance, atol=1e-7
        )
        weights = np.where(rng.random(slow.members) < 0.4, rng.random(slow.members), 0.0)
        weights[0] = 1.0
        weights /= weights.sum()
        assert fast.ccc(weights, times) == pytest.approx(whole.ccc(weights), abs=1e-9)


def test_near_products_do_not_depend_on_the_order_they_were_asked_for() -> None:
    world, rng = bank(5), np.random.default_rng(5)
    at_once = world.on_demand().products
    for _ in range(5):
        grown = world.on_demand()
        assert isinstance(grown.pairs, PairsOnDemand)
        for low in range(0, grown.members, 3):
            grown.pairs.ask(rng.permutation(grown.members)[: low + 1])
        np.testing.assert_array_equal(grown.products, at_once)


def test_near_products_give_way_where_memory_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = bank(4)
    slow, fast = world.measured(), world.on_demand()
    monkeypatch.setattr(on_demand, "NEAR", 8 * slow.recordings * 6**2)
    assert isinstance(fast.pairs, PairsOnDemand)
    for members in (np.arange(5), np.arange(3, 9), np.arange(2, 6)):
        np.testing.assert_allclose(
            fast.subset(members).products, slow.subset(members).products, rtol=1e-9, atol=1e-7
        )
        assert len(fast.pairs.source.near_members) <= 6
    with pytest.raises(ValueError, match="too many"):
        fast.products.sum()


def test_too_many_members_for_all_pairs_are_refused_and_others_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_demand, "FEW", 2)
    monkeypatch.setattr(on_demand, "BUDGET", 8 * 14 * 10)
    world = bank(3)
    fast, slow = world.on_demand(), world.measured()
    with pytest.raises(InputError, match=r"14 members.*prune"):
        fast.total()
    for times in (None, np.arange(slow.recordings) % 3.0):
        expected = select_greedily(slow.total(times), 20, 2)
        np.testing.assert_array_equal(select(fast, times, 20, 2), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("likely", [1, 3, 32])
def test_greedy_selection_on_rows_is_greedy_selection(
    seed: int, likely: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "FEW", 0)
    monkeypatch.setattr(on_demand, "SHARE_OF_ROWS", 1)
    monkeypatch.setattr(methods, "LIKELY", likely)
    world = bank(seed)
    slow, fast = world.measured(), world.on_demand()
    for steps, start in ((0, 1), (1, 5), (40, 1), (40, 5)):
        expected = select_greedily(slow.total(), steps, start)
        np.testing.assert_array_equal(select(fast, None, steps, start), expected)
        options = {"bags": 5, "steps": steps, "start": start}
        for part in (1.0, 0.5):
            np.testing.assert_allclose(
                methods.bagged_greedy(fast, member_part=part, **options),  # type: ignore[arg-type]
                methods.bagged_greedy(slow, member_part=part, **options),  # type: ignore[arg-type]
                atol=1e-12,
            )


def slow_worth(statistics: Statistics, groups: list[list[int]], matched: bool) -> Any:
    """The CCC of each member less its standard error, one member and group after another."""
    cccs, worths = [], []
    for member in range(statistics.members):
        alone = statistics.subset(np.array([member]))
        if matched:
            alone, _ = alone.matched()
        ccc = float(alone.total().ccc_of_each()[0])
        without = []
        for group in groups:
            times = np.ones(statistics.recordings)
            times[group] = 0.0
            without.append(float(alone.total(times).ccc_of_each()[0]))
        cccs.append(ccc)
        worths.append(ccc - sums.standard_error(np.array(without)))
    return cccs, worths


@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_worth_is_the_jackknife_of_each_member(
    seed: int, matched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "AT_ONCE", 5)
    statistics = bank(seed).measured().subset(np.array([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]))
    groups = [[i for i in (2 * p, 2 * p + 1) if statistics.counts[i] > 0] for p in range(4)]
    groups = [group for group in groups if group]
    ccc, worth = sums.ccc_and_worth(statistics, None, groups, matched=matched)
    expected, expected_worth = slow_worth(statistics, groups, matched)
    np.testing.assert_allclose(ccc, expected, atol=1e-9)
    np.testing.assert_allclose(worth, expected_worth, atol=1e-8)


SHIPPED = [
    name for name in known_recipes() if "/" not in name and name not in ("auto", "over_folds")
]
MORE: dict[str, dict[str, Any]] = {
    "ridge": {"method": "ridge", "match": True, "shrink": [0.0, 0.5]},
    "unpruned bags": {"method": "bagged_greedy", "bags": 3, "steps": 9, "match_members": True},
    "groups": {"method": "greedy", "prune": {"top": 5, "per_encoder": 3}, "shrink": "auto"},
    "smooth": {"method": "mean", "smooth": {"seconds": [0.0, 0.4]}, "match": "auto"},
}


@pytest.mark.parametrize("few", [128, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_ensembles_are_those_of_all_products(
    seed: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, scores, intervals, gains and the nested choice, of every recipe of the menu."""
    monkeypatch.setattr(on_demand, "FEW", few)
    varying = np.setdiff1d(np.arange(14), [6])
    slow_material, fast_material = (of.subset(varying) for of in bank(seed).materials())
    recipes = {name: load_recipe(name) for name in SHIPPED}
    recipes |= {name: read_recipe(name, document) for name, document in MORE.items()}
    several: tuple[list[Fits], list[Fits]] = [], []
    for name, recipe in recipes.items():
        if recipe.of or recipe.among:
            continue
        outside = recipe.members.outside
        slow, fast = (
            Fits(of if outside else of.own(), recipe.plan("valence"))
            for of in (slow_material, fast_material)
        )
        several[0].append(slow)
        several[1].append(fast)
        np.testing.assert_allclose(
            of_twins(fast.fit().weights),
            of_twins(slow.fit().weights),
            rtol=0,
            atol=1e-7,
            err_msg=name,
        )
        same_scores(fast.in_sample(), slow.in_sample())
        predicted, expected = fast.out_of_fold(), slow.out_of_fold()
        assert (predicted is None) == (expected is None)
        if predicted is None or expected is None:
            continue
        same_scores(predicted, expected)
        groups = slow_material.folds.groups
        drawn = bootstrap.samples(groups, len(expected))
        np.testing.assert_allclose(
            np.array(bootstrap.interval([predicted], drawn, len(groups)), dtype=float),
            np.array(bootstrap.interval([expected], drawn, len(groups)), dtype=float),
            atol=1e-8,
        )
        # Equal members may share their weight anyhow.
        members = np.setdiff1d(np.flatnonzero(slow.fit().weights), [2, 3])[:4].tolist()
        np.testing.assert_allclose(
            np.array(fast.gains(members), float), np.array(slow.gains(members), float), atol=1e-8
        )
    slow_nested, fast_nested = nested(several[0]), nested(several[1])
    if slow_nested is not None and fast_nested is not None:
        same_scores(fast_nested, slow_nested)
    assert (
        ranking(compare.BEST.weights(fast_material.statistics, None, [], [])[:, 0])[0]
        == ranking(compare.BEST.weights(slow_material.statistics, None, [], [])[:, 0])[0]
    )


def of_twins(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights with those of the two equal members added up: least squares may share them anyhow."""
    return np.concatenate([weights[:2], [weights[2] + weights[3]], weights[4:]])


def same_scores(fast: NDArray[np.float64], slow: NDArray[np.float64]) -> None:
    assert sums.pooled_ccc(fast) == pytest.approx(sums.pooled_ccc(slow), abs=1e-9, nan_ok=True)

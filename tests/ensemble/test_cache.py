"""Kept statistics save time and never tell anything that the frames do not."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world

from va_search.ensemble import cache, on_demand
from va_search.ensemble.cache import statistics_for
from va_search.ensemble.candidates import LineUp, find_candidates, line_up
from va_search.ensemble.measure import measure, measure_members
from va_search.ensemble.on_demand import PairsOnDemand, ProductSource
from va_search.ensemble.statistics import MemberSums, Statistics
from va_search.errors import InputError

BLOCK = 8


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, trials=5)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Members asked for and known of every pass over the frames."""
    seen: list[tuple[int, int]] = []

    def watched(*args: object, **given: object) -> MemberSums:
        known = given["known"]
        seen.append((len(args[1]), len(known.labels) if isinstance(known, MemberSums) else 0))  # type: ignore[arg-type]
        return measure_members(*args, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "measure_members", watched)
    return seen


def lines_of(world: World, *studies: str) -> LineUp:
    return line_up(
        find_candidates(world.bank, studies or ("first",), outside=True)[0], world.store, {}
    )


def kept(world: World, dimension: str = "valence", **given: object) -> Statistics:
    annotation = world.labels[:, ("valence", "arousal").index(dimension)]
    statistics = statistics_for(world.home, lines_of(world), dimension, annotation, **given)  # type: ignore[arg-type]
    assert np.isfinite(statistics.products).all()
    statistics.pairs.keep()
    return statistics


def source_of(statistics: Statistics) -> ProductSource:
    assert isinstance(statistics.pairs, PairsOnDemand)
    return statistics.pairs.source


def direct(world: World, dimension: str = "valence") -> Statistics:
    lines = lines_of(world)
    column = ("valence", "arousal").index(dimension)
    columns = [
        world.bank.column(c.study, c.id, "validation", dimension, frames_hash=lines.frames_hash)
        for c in lines.candidates
    ]
    recordings = [(r.name, r.frames) for r in lines.recordings]
    return measure(
        columns, world.labels[:, column], recordings, [c.label for c in lines.candidates]
    )


def same(one: Statistics, other: Statistics) -> None:
    for name in (*(field.name for field in fields(MemberSums)), "products"):
        ours, theirs = getattr(one, name), getattr(other, name)
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-9, err_msg=name)
        else:
            assert ours == theirs, name


def test_the_second_time_no_frame_is_read(world: World, passes: list[tuple[int, int]]) -> None:
    first = {d: kept(world, d) for d in ("valence", "arousal")}
    assert passes == [(5, 0), (5, 0)]
    for dimension, statistics in first.items():
        again = kept(world, dimension)
        assert source_of(again).passes == 0
        np.testing.assert_array_equal(again.products, statistics.products)
        same(again, statistics)
        same(again, direct(world, dimension))
    assert len(passes) == 2
    files = list((world.home.study("first") / "statistics").iterdir())
    kinds = [file.name.split(".")[1] for file in files]
    assert sorted(kinds) == ["members", "members", "near", "near"]


def test_new_trials_are_added_to_what_is_known(world: World, passes: list[tuple[int, int]]) -> None:
    kept(world)
    world.add("first", "a1b", seed=20, noise=0.5)  # between others
    world.add("first", "z", seed=21, noise=0.5)
    same(kept(world), direct(world))
    same(kept(world), direct(world))
    assert passes == [(5, 0), (7, 5)]


def test_a_deleted_trial_is_left_out_and_may_come_back(
    world: World, passes: list[tuple[int, int]]
) -> None:
    kept(world)
    folder = world.bank.folder("first", "a2")
    aside = folder.rename(folder.parent.parent / "aside")
    same(kept(world), direct(world))
    assert passes == [(5, 0)]
    aside.rename(folder)
    assert kept(world).members == 5
    same(kept(world), direct(world))


def test_changed_predictions_are_read_again(world: World, passes: list[tuple[int, int]]) -> None:
    before = kept(world)
    world.add("first", "a3", seed=77, noise=0.1)  # the same name, as after `search` trained it anew
    after = kept(world)
    same(after, direct(world))
    assert passes == [(5, 0), (5, 4)]
    assert not np.allclose(after.products, before.products)


def test_a_change_that_keeps_size_and_time_is_seen(world: World) -> None:
    kept(world)
    one, other = (world.bank.folder("first", trial) / "validation.arrow" for trial in ("a0", "a4"))
    times = one.stat()
    one.write_bytes(other.read_bytes())
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert one.stat().st_size == times.st_size and one.stat().st_mtime_ns == times.st_mtime_ns
    same(kept(world), direct(world))


def test_other_annotations_are_other_statistics(
    world: World, passes: list[tuple[int, int]]
) -> None:
    annotation = world.labels[:, 0].copy()
    lines = lines_of(world)
    statistics_for(world.home, lines, "valence", annotation)
    annotation[np.flatnonzero(~np.isnan(annotation))[3]] += 0.25
    again = statistics_for(world.home, lines, "valence", annotation)
    true = direct(world)
    assert again.total().label_mean == pytest.approx(
        true.total().label_mean + 0.25 / true.counts.sum(), abs=1e-7
    )
    annotation[np.flatnonzero(~np.isnan(annotation))[3]] = np.nan
    assert (
        statistics_for(world.home, lines, "valence", annotation).counts.sum()
        == true.counts.sum() - 1
    )
    assert passes == [(5, 0)] * 3


@pytest.mark.parametrize("kind", ["members", "near"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "folder"])
def test_a_damaged_file_is_computed_anew(world: World, damage: str, kind: str) -> None:
    kept(world)
    file = next((world.home.study("first") / "statistics").glob(f"valence-*.{kind}.npz"))
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("not an archive")
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    else:
        file.unlink()
        file.mkdir()
    same(kept(world), direct(world))
    same(kept(world), direct(world))


def test_a_home_that_takes_no_file_still_gives_statistics(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    folder = world.home.study("first") / "statistics"
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    same(kept(world), direct(world))
    assert "not kept" in caplog.text


def test_rows_and_all_pairs_are_kept_for_the_same_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "FEW", 1)
    parts = [[0, 1, 2], [3, 4, 5]]
    annotation, lines = world.labels[:, 0], lines_of(world)
    expected = direct(world)
    times = expected.without([0, 1, 2])

    def again(parts: list[list[int]]) -> Statistics:
        return statistics_for(world.home, lines, "valence", annotation, parts=parts)

    first = again(parts)
    rows = first.rows(np.array([3]), times)
    np.testing.assert_allclose(rows, expected.total(times).covariance[[3]], atol=1e-12)
    first.pairs.keep()
    second = again(parts)
    np.testing.assert_array_equal(second.rows(np.array([3]), times), rows)
    assert source_of(second).passes == 0
    covariance = second.total(times).covariance
    np.testing.assert_allclose(covariance, expected.total(times).covariance, atol=1e-12)
    second.pairs.keep()
    third = again(parts)
    np.testing.assert_array_equal(third.total(times).covariance, covariance)
    assert source_of(third).passes == 0
    # Of other parts nothing of it is used, of fewer members the very same numbers.
    other = again([[0, 3], [1, 2, 4, 5]])
    np.testing.assert_allclose(other.total().covariance, expected.total().covariance, atol=1e-12)
    assert source_of(other).passes == 1
    shutil.rmtree(world.bank.folder("first", "a2"))
    lines = lines_of(world)
    fewer = again(parts)
    others = np.array([0, 1, 3, 4])
    np.testing.assert_allclose(
        fewer.total(times).covariance, covariance[np.ix_(others, others)], atol=1e-12
    )


def test_studies_together_and_alone_are_kept_apart(
    world: World, passes: list[tuple[int, int]]
) -> None:
    world.add("second", "b0", seed=30, noise=0.4)
    lines = lines_of(world, "first", "second")
    both = statistics_for(world.home, lines, "valence", world.labels[:, 0])
    assert both.labels[-1] == "second/b0"
    kept(world)
    statistics_for(world.home, lines, "valence", world.labels[:, 0])
    kept(world)
    assert passes == [(6, 0), (5, 0)]


def test_old_files_and_half_written_ones_go(world: World) -> None:
    folder = world.home.study("first") / "statistics"
    folder.mkdir(parents=True)
    for index in range(6):
        (folder / f"valence-{index:016x}.members.npz").write_text("old")
        os.utime(folder / f"valence-{index:016x}.members.npz", (1000 + index, 1000 + index))
    (folder / "valence-0000000000000009.npz").write_text("of a format before")
    (folder / "arousal-0.members.npz").write_text("other")
    for name, second in (
        (".valence-1.npz.aa.partial", 1000.0),
        (".valence-2.npz.bb.partial", time.time()),
    ):
        (folder / name).write_text("half")
        os.utime(folder / name, (second, second))
    kept(world)
    names = sorted(file.name for file in folder.iterdir())
    assert len([name for name in names if name.endswith("members.npz")]) == cache.KEPT + 1
    assert "valence-0000000000000005.members.npz" in names and "arousal-0.members.npz" in names
    assert "valence-0000000000000009.npz" not in names
    assert [name for name in names if name.startswith(".")] == [".valence-2.npz.bb.partial"]
    same(kept(world), direct(world))


def test_nan_predictions_are_refused_by_name_and_nothing_is_kept(world: World) -> None:
    import pyarrow as pa

    # They came after the candidates were looked at, which leaves damaged trials out.
    lines = lines_of(world)
    file = world.bank.folder("first", "a1") / "validation.arrow"
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    values = table.column("valence").to_numpy().copy()
    values[20] = np.nan
    table = table.set_column(0, "valence", pa.array(values, from_pandas=False))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"first/a1/validation\.arrow: damaged \(changed since it was written"
        ):
            statistics_for(world.home, lines, "valence", world.labels[:, 0])
    assert not list(world.home.root.glob("studies/*/statistics/*"))


def test_missing_files_and_constant_annotations_are_input_errors(world: World) -> None:
    with pytest.raises(InputError, match="arousal has the same value in all"):
        statistics_for(
            world.home,
            lines_of(world),
            "arousal",
            np.full(len(world.labels), 3.0, dtype=np.float32),
        )
    lines = lines_of(world)
    (world.bank.folder("first", "a1") / "validation.arrow").unlink()
    with pytest.raises(InputError, match=r"a1.*missing"):
        statistics_for(world.home, lines, "valence", world.labels[:, 0])


def test_a_home_may_move(world: World, tmp_path: Path) -> None:
    kept(world)
    shutil.copytree(world.home.root, tmp_path / "moved")
    moved = World(type(world.home)(tmp_path / "moved"), world.store)
    same(kept(moved), direct(world))

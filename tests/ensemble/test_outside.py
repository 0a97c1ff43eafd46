"""Predictions made elsewhere: how rows find their frames, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world, write_outside

from va_search.data.store import Store, positions
from va_search.data.table import import_table
from va_search.ensemble.build import build
from va_search.ensemble.outside import add_outside
from va_search.ensemble.recipe import read_recipe
from va_search.errors import InputError
from va_search.files import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, trials=2)


def read(world: World, trial: str, split: str) -> np.ndarray:
    from va_search.data.store import frames_hash

    return world.bank.read("first", trial, split, frames_hash=frames_hash(world.store.split(split)))


@pytest.mark.parametrize(("rows", "time"), [("labelled", True), ("labelled", False), ("all", True), ("all", False)])
def test_rows_find_their_frames(world: World, tmp_path: Path, rows: str, time: bool) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4, rows=rows, time=time)
    (added,) = add_outside(world.bank, "first", tmp_path / "teams", world.store)
    assert (added.trial, added.state) == ("outside-red", "new")
    expected = world.predict(4, 1.0)["validation"].values
    labelled = ~np.isnan(world.labels[:, 0])
    found = read(world, "outside-red", "validation")
    covered = labelled if rows == "labelled" else np.ones(len(labelled), dtype=bool)
    np.testing.assert_allclose(found[covered], expected[covered], atol=1e-4)
    filled = int((~covered).sum()) + (20 if rows == "labelled" and time else 0)
    assert added.filled_frames == filled == world.bank.record("first", "outside-red")["filled_frames"]
    assert added.best["valence"] == pytest.approx(ccc(expected[:, 0], world.labels[:, 0]), abs=1e-4)


def test_frames_without_row_take_the_nearest_rows_value(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    add_outside(world.bank, "first", tmp_path / "teams", world.store)
    test = read(world, "outside-red", "test")
    np.testing.assert_array_equal(test[:5], np.repeat(test[5:6], 5, axis=0))
    np.testing.assert_array_equal(test[28:33], np.repeat(test[27:28], 5, axis=0))  # x1 has 33 frames


def test_rows_in_any_order_by_time(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    add_outside(world.bank, "first", tmp_path / "teams", world.store)
    before = read(world, "outside-red", "validation")
    file = tmp_path / "teams" / "red" / "v3.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *reversed(rows)]) + "\n")
    (added,) = add_outside(world.bank, "first", tmp_path / "teams", world.store)
    assert added.state == "unchanged"
    np.testing.assert_array_equal(read(world, "outside-red", "validation"), before)


def test_the_record_and_an_ensemble_with_it(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    add_outside(world.bank, "first", tmp_path / "teams", world.store)
    record = world.bank.record("first", "outside-red")
    assert (record["source"], record["settings"], record["history"]) == ("outside", None, [])
    assert record["store_path"] == str(world.store.path.resolve()) and record["best"]["valence"]["epoch"] is None
    assert record["data_hash"] == world.store.data_hash([])
    built = build(world.home, ["first"], read_recipe("mean", {"method": "mean"}), "m")
    assert [m.source for m in built.dimensions["valence"].members] == ["trained", "trained", "outside"]
    assert built.notes == []


def test_the_same_again_and_a_corrected_model(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    write_outside(tmp_path / "teams" / "blue", world, seed=5)

    def states() -> list[str]:
        return [one.state for one in add_outside(world.bank, "first", tmp_path / "teams", world.store)]

    assert states() == ["new", "new"]
    assert states() == ["unchanged", "unchanged"]
    file = tmp_path / "teams" / "red" / "x1.csv"
    file.write_text(file.read_text().replace("250,", "250,1", 1))
    assert states() == ["unchanged", "replaced"]


def test_the_folder_of_one_model_will_do(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "red", world, seed=4)
    (added,) = add_outside(world.bank, "new", tmp_path / "red", world.store)
    assert added.trial == "outside-red" and world.bank.trials("new") == ["outside-red"]


def damage(file: Path, line: int, text: str) -> None:
    lines = file.read_text().splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n")


def test_all_problems_of_all_models_at_once_and_nothing_written(world: World, tmp_path: Path) -> None:
    for index, team in enumerate(("blue", "green", "red")):
        write_outside(tmp_path / "teams" / team, world, seed=index)
    red, blue = tmp_path / "teams" / "red", tmp_path / "teams" / "blue"
    (red / "v2.csv").unlink()
    (red / "x2.csv").unlink()
    damage(red / "v3.csv", 5, "500,abc,5")
    damage(red / "v4.csv", 7, "500,,5")
    damage(blue / "v1.csv", 4, "400,5,-77")
    damage(blue / "x1.csv", 3, "301,5,5")
    damage(blue / "v5.csv", 3, "450,5,5")  # frame 9 twice, frame 10 not
    damage(blue / "v2.csv", 2, "inf,5,inf")
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "teams", world.store)
    text = str(error.value)
    assert f"{red}: no file for 2 validation or test recordings: v2, x2" in text
    assert f"{red / 'v3.csv'}:5: column 'valence': 'abc' is not a number" in text
    assert f"{red / 'v4.csv'}:7: valence is empty or NaN, expected a number" in text
    assert f"{blue / 'v1.csv'}:4: arousal -77 is far outside the label range [0.5, 9.5]" in text
    assert f"{blue / 'x1.csv'}:3: time 301 is no frame's time; the recording has 33 frames from 0 to 1600" in text
    assert f"{blue / 'v5.csv'}:3: time 450 stands twice" in text
    assert f"{blue / 'v2.csv'}:2: arousal is infinite" in text
    assert "green" not in text
    assert world.bank.trials("first") == ["a0", "a1"]


def test_a_labelled_frame_without_row(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=1)
    file = tmp_path / "teams" / "red" / "v3.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-3]) + "\n")
    with pytest.raises(InputError, match=r"v3\.csv: 3 of 63 labelled frames have no row"):
        add_outside(world.bank, "first", tmp_path / "teams", world.store)


def test_row_counts_that_fit_nothing_without_times(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=1, time=False)
    for name in ("v3", "x1"):
        file = tmp_path / "teams" / "red" / f"{name}.csv"
        file.write_text("\n".join(file.read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "teams", world.store)
    text = str(error.value)
    assert "v3.csv: 60 rows, expected 70 (all frames) or 63 (the labelled ones); with the column 'time'" in text
    assert "x1.csv: 30 rows, expected 33 (all frames); with" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty file"),
        ("time,valence,arousal\n", "a header and no rows"),
        ("time,valenz,arousal\n0,1,1\n", "unknown column 'valence'; did you mean 'valenz'?"),
        ("time,valence,arousal\n0,1\n", "expected 3"),
        ("time,valence,valence,arousal\n0,1,1,1\n", "stands twice"),
    ],
)
def test_files_that_are_no_predictions(world: World, tmp_path: Path, content: str, said: str) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=1)
    (tmp_path / "teams" / "red" / "v1.csv").write_text(content)
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "teams", world.store)
    assert said in str(error.value) and "v1.csv" in str(error.value)


def test_folders_that_hold_no_models(world: World, tmp_path: Path) -> None:
    for source, said in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "void", "expected one folder per model"),
    ):
        (tmp_path / "void").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=said):
            add_outside(world.bank, "first", source, world.store)
    (tmp_path / "teams" / "bad name").mkdir(parents=True)
    (tmp_path / "teams" / "nothing").mkdir()
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "teams", world.store)
    assert "can't be used as a file name" in str(error.value)
    assert "no CSV in it, expected one per recording (such as v1.csv)" in str(error.value)


def test_the_ten_challenge_entries_of_case(case_folder: Path, tmp_path: Path) -> None:
    store: Store = import_table(case_folder, tmp_path / "case")
    home = Home(tmp_path / "home")
    added = {one.model: one for one in add_outside(Bank(home.bank), "teams", case_folder / "team_predictions", store)}
    assert len(added) == 10
    expected = {"CARElab": (0.440, 0.671), "shubham": (0.404, 0.459), "UBA": (0.143, 0.367), "SAIL": (0.189, 0.238)}
    for model, pair in expected.items():
        assert tuple(added[model].best.values()) == pytest.approx(pair, abs=6e-4)
    assert {one.filled_frames for one in added.values()} == {400 * 96}  # 601 of 1001 rows, 96 recordings
    mean = build(home, ["teams"], read_recipe("mean", {"method": "mean"}), "mean").scores["in_sample"]
    assert mean is not None and (mean["valence"], mean["arousal"]) == pytest.approx((0.200, 0.247), abs=6e-4)
    assert np.isnan(store.annotations[positions(store.split("test"))]).all()

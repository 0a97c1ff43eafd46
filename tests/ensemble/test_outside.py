"""Predictions made elsewhere: how rows find their frames, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
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
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, trials=2)


def read(world: World, trial: str, split: str) -> np.ndarray:
    from va_search.data.store import frames_hash

    return world.bank.read("first", trial, split, frames_hash=frames_hash(world.store.split(split)))


@pytest.mark.parametrize(
    ("rows", "time"), [("labelled", True), ("labelled", False), ("all", True), ("all", False)]
)
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
    assert added.filled_frames == filled == world.bank.trial("first", "outside-red").filled_frames
    assert added.best["valence"] == pytest.approx(ccc(expected[:, 0], world.labels[:, 0]), abs=1e-4)


def test_frames_without_row_take_the_nearest_rows_value(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    add_outside(world.bank, "first", tmp_path / "teams", world.store)
    test = read(world, "outside-red", "test")
    np.testing.assert_array_equal(test[:5], np.repeat(test[5:6], 5, axis=0))
    np.testing.assert_array_equal(
        test[28:33], np.repeat(test[27:28], 5, axis=0)
    )  # x1 has 33 frames


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
    record = world.bank.trial("first", "outside-red")
    assert (record.source, record.settings_json, record.history) == ("outside", None, ())
    assert (
        record.store_path == str(world.store.path.resolve())
        and record.best["valence"].epoch is None
    )
    assert record.data_hash == world.store.data_hash([])
    built = build(world.home, ["first"], read_recipe("mean", {"method": "mean"}), "m")
    assert [m.source for m in built.dimensions["valence"].members] == [
        "trained",
        "trained",
        "outside",
    ]
    assert built.notes == []


def test_the_same_again_and_a_corrected_model(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    write_outside(tmp_path / "teams" / "blue", world, seed=5)

    def states() -> list[str]:
        return [
            one.state for one in add_outside(world.bank, "first", tmp_path / "teams", world.store)
        ]

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


def test_all_problems_of_all_models_at_once_and_nothing_written(
    world: World, tmp_path: Path
) -> None:
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
    assert (
        f"{blue / 'x1.csv'}:3: time 301 is no frame's time; the recording has 33 frames from 0 to 1600"
        in text
    )
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
    assert (
        "v3.csv: 60 rows, expected 70 (all frames) or 63 (the labelled ones); with the column 'time'"
        in text
    )
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
def test_files_that_are_no_predictions(
    world: World, tmp_path: Path, content: str, said: str
) -> None:
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
    added = {
        one.model: one
        for one in add_outside(Bank(home.bank), "teams", case_folder / "team_predictions", store)
    }
    assert len(added) == 10
    expected = {
        "CARElab": (0.440, 0.671),
        "shubham": (0.404, 0.459),
        "UBA": (0.143, 0.367),
        "SAIL": (0.189, 0.238),
    }
    for model, pair in expected.items():
        assert tuple(added[model].best.values()) == pytest.approx(pair, abs=6e-4)
    assert {one.filled_frames for one in added.values()} == {
        400 * 96
    }  # 601 of 1001 rows, 96 recordings
    mean = build(home, ["teams"], read_recipe("mean", {"method": "mean"}), "mean").scores[
        "in_sample"
    ]
    assert mean is not None and (mean["valence"], mean["arousal"]) == pytest.approx(
        (0.200, 0.247), abs=6e-4
    )
    assert np.isnan(store.annotations[positions(store.split("test"))]).all()


def truth(world: World, name: str) -> np.ndarray:
    """(frames, 2) what the outside model of seed 4 predicts of a recording, with four decimals."""
    for split in ("validation", "test"):
        start = 0
        for recording in world.store.split(split):
            if recording.name == name:
                return (
                    world.predict(4, 1.0)[split].values[start : start + recording.frames].round(4)
                )
            start += recording.frames
    raise AssertionError(name)


def write_named(folder: Path, world: World, header: str, cell: Callable[[str, int], str]) -> None:
    """All frames of all recordings, last frame first, named by `cell`; arousal stands before
    valence."""
    folder.mkdir(parents=True, exist_ok=True)
    for recording in (*world.store.split("validation"), *world.store.split("test")):
        values = truth(world, recording.name)
        rows = [
            f"{cell(recording.name, frame)},{values[frame, 1]:.4f},{values[frame, 0]:.4f}"
            for frame in reversed(range(recording.frames))
        ]
        (folder / f"{recording.name}.csv").write_text(
            "\n".join([f"{header},arousal,valence", *rows]) + "\n"
        )


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("frame", lambda name, frame: str(frame + 1)),
        ("frame_id", lambda name, frame: str(frame)),  # from 0 in every file
        ("image_location", lambda name, frame: f"{name}/{frame + 1}.jpg"),
        ("timestamp", lambda name, frame: f"{frame * 0.05:.2f}"),  # the store's are in ms
        ("Time (ms)", lambda name, frame: str(frame * 50)),
        ("time_us", lambda name, frame: str(frame * 50_000)),
        ("Unnamed: 0, frame ", lambda name, frame: f"{frame},{frame + 1}"),
        ("video,time", lambda name, frame: f"/videos/{name}.mp4,{frame * 50}"),
        ("file,frameTime", lambda name, frame: f"'unknown',{frame * 0.05:.3f}"),
    ],
)
def test_rows_are_named_in_many_ways(
    world: World, tmp_path: Path, header: str, cell: Callable[[str, int], str]
) -> None:
    write_named(tmp_path / "red", world, header, cell)
    (added,) = add_outside(world.bank, "first", tmp_path / "red", world.store)
    expected = np.concatenate([truth(world, recording.name) for recording in world.validation])
    np.testing.assert_allclose(read(world, "outside-red", "validation"), expected, atol=1e-6)
    np.testing.assert_allclose(
        read(world, "outside-red", "test")[:33], truth(world, "x1"), atol=1e-6
    )
    remarks = "\n".join(added.remarks)
    assert ("column Unnamed: 0 is not used" in remarks) == ("Unnamed" in header)
    assert ("frames count from 0 in it" in remarks) == (header == "frame_id")


@pytest.mark.parametrize("header", ["Unnamed: 0", "index", "id", "Zeile"])
def test_a_column_that_would_be_ignored_though_it_orders_rows_is_refused_by_name(
    world: World, tmp_path: Path, header: str
) -> None:
    write_named(tmp_path / "red", world, header, lambda name, frame: str(frame))
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "red", world.store)
    assert len(error.value.problems) == 8
    assert (
        f"x1.csv:3: column '{header}' is not used, but by its numbers the rows are in another order"
        in str(error.value)
    )


def test_two_persons_of_a_video_that_changed_places(world: World, tmp_path: Path) -> None:
    write_named(tmp_path / "red", world, "image", lambda name, frame: f"{name}/{frame + 1:05d}.jpg")
    first, second = tmp_path / "red" / "v1.csv", tmp_path / "red" / "v1_left.csv"
    texts = first.read_text(), second.read_text()
    second.write_text(texts[0])
    first.write_text(texts[1])
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "red", world.store)
    left, right = error.value.problems
    said = "column 'image' names {} ({}), but the file is of recording {}; expected rows of one recording, the file's own"
    assert left == f"{first}:2: " + said.format("'v1_left'", "'v1_left/00080.jpg'", "'v1'")
    assert right == f"{second}:2: " + said.format("'v1'", "'v1/00060.jpg'", "'v1_left'")


@pytest.mark.parametrize(
    ("bring", "said"),
    [
        (lambda values: (values - 5) / 4.5, "valence runs from -"),  # [-1, 1] against [0.5, 9.5]
        (lambda values: values + 6, "which does not fit labels in [0.5, 9.5]: another scale?"),
        (lambda values: values / 10, "mostly between 0."),
    ],
)
def test_predictions_on_another_scale_are_refused(
    world: World, tmp_path: Path, bring: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    folder = tmp_path / "red"
    folder.mkdir()
    for recording in (*world.validation, *world.store.split("test")):
        rows = [
            f"{valence:.4f},{arousal:.4f}"
            for valence, arousal in bring(truth(world, recording.name))
        ]
        (folder / f"{recording.name}.csv").write_text("\n".join(["valence,arousal", *rows]) + "\n")
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", folder, world.store)
    assert said in str(error.value) and "scale" in str(error.value)
    assert world.bank.trials("first") == ["a0", "a1"]


def test_a_scale_inside_the_labels_range_is_asked_for(world: World, tmp_path: Path) -> None:
    """Labels go from .5 to 9.5: a perfect prediction on 1 to 5 can't be told from a careful one,
    but is reported."""
    folder = tmp_path / "red"
    folder.mkdir()
    for recording in (*world.validation, *world.store.split("test")):
        labels = np.nan_to_num(world.store.annotations[recording.start : recording.stop], nan=5.0)
        rows = [f"{1 + (valence - 0.5) * 4 / 9:.4f},{arousal:.4f}" for valence, arousal in labels]
        (folder / f"{recording.name}.csv").write_text("\n".join(["valence,arousal", *rows]) + "\n")
    (added,) = add_outside(world.bank, "first", folder, world.store)
    (remark,) = added.remarks
    assert (
        f"{folder}: valence correlates 1.00 with the labels but its CCC is 0." in remark
        and "another scale?" in remark
    )


def test_what_lies_there_in_place_of_predictions_is_named(world: World, tmp_path: Path) -> None:
    red = tmp_path / "teams" / "red"
    write_outside(red, world, seed=4)
    (red / "v2.csv").rename(red / "V02.csv")
    (red / "x1.csv").rename(red / "x1.tsv")
    np.save(red / "v3.npy", truth(world, "v3"))
    (red / "v3.log").write_text("no data")
    (red / "other.csv").write_text("time,valence,arousal\n0,1,1\n")
    with pytest.raises(InputError) as error:
        add_outside(world.bank, "first", tmp_path / "teams", world.store)
    found = str(error.value)
    assert (
        f"{red}: no file for 2 validation or test recordings: v2, x1; there are files of no recording of the"
        in found
    )
    assert (
        "no v2.csv; V02.csv is there: is it meant?" in found
        and "no x1.csv; x1.tsv is there, allowed: .csv" in found
    )
    assert "pandas.read_csv('x1.tsv', sep='\\t').to_csv('x1.csv', index=False)" in found
    assert (
        f"{red / 'v3.csv'} and v3.npy: two files of one recording; keep one" in found
        and "v3.log" not in found
    )
    (red / "V02.csv").rename(red / "v2.csv")
    (red / "x1.tsv").rename(red / "x1.csv")
    (red / "v3.npy").unlink()
    (added,) = add_outside(world.bank, "first", tmp_path / "teams", world.store)
    assert added.remarks == (
        f"{red}: the store has no recording of these names, so they are not read: other.csv",
    )


def test_arrays_have_a_row_a_frame_and_a_column_a_target(world: World, tmp_path: Path) -> None:
    red = tmp_path / "teams" / "red"
    red.mkdir(parents=True)
    for recording in (*world.validation, *world.store.split("test")):
        np.save(red / f"{recording.name}.npy", truth(world, recording.name))
    (added,) = add_outside(world.bank, "first", tmp_path / "teams", world.store)
    assert (added.state, added.filled_frames, added.remarks) == ("new", 0, ())
    expected = np.concatenate([truth(world, recording.name) for recording in world.validation])
    np.testing.assert_array_equal(read(world, "outside-red", "validation"), expected)
    np.save(red / "v2.npy", truth(world, "v2")[:, :1])
    with pytest.raises(InputError, match=r"v2.npy: 1 columns, expected 2: valence, arousal"):
        add_outside(world.bank, "first", tmp_path / "teams", world.store)
    np.save(red / "v2.npy", truth(world, "v2")[:-1])
    with pytest.raises(InputError, match=r"v2.npy: 40 rows, expected 41 \(all frames\)"):
        add_outside(world.bank, "first", tmp_path / "teams", world.store)


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        (lambda frame, row: frame, True),
        (lambda frame, row: frame + 1, True),
        (lambda frame, row: row, True),
        (lambda frame, row: row + 5000, True),  # of a table of all recordings
        (lambda frame, row: row + 2, False),
        (
            lambda frame, row: row + 2 * (row > 9),
            False,
        ),  # other frames than the labelled ones were left out
    ],
)
def test_row_numbers_go_with_the_labelled_frames_or_are_refused(
    world: World, tmp_path: Path, number: Callable[[int, int], int], fits: bool
) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4, rows="labelled", time=False)
    file = tmp_path / "teams" / "red" / "v3.csv"
    v3 = next(recording for recording in world.store.recordings if recording.name == "v3")
    labels = world.store.annotations[v3.start : v3.stop]
    frames = np.flatnonzero(~np.isnan(labels).all(axis=1)).tolist()
    assert frames[0] > 2 and len(frames) < v3.frames
    header, *rows = file.read_text().splitlines()
    numbered = [
        f"{number(frame, row)},{text}"
        for row, (frame, text) in enumerate(zip(frames, rows, strict=True))
    ]
    file.write_text("\n".join([f",{header}", *numbered]) + "\n")
    if fits:
        (added,) = add_outside(world.bank, "first", tmp_path / "teams", world.store)
        assert added.state == "new"
        return
    with pytest.raises(
        InputError, match=r"v3.csv: .* but column '', which is not used, numbers them"
    ):
        add_outside(world.bank, "first", tmp_path / "teams", world.store)


def test_predictions_for_another_person_are_refused(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    file = tmp_path / "teams" / "red" / "v3.csv"
    people = {recording.name: recording.subject for recording in world.store.recordings}
    header, *rows = file.read_text().splitlines()
    file.write_text(
        "\n".join([f"subject,{header}", *(f"{people['v3']},{row}" for row in rows)]) + "\n"
    )
    add_outside(world.bank, "first", tmp_path / "teams", world.store)
    file.write_text(
        "\n".join([f"subject,{header}", *(f"{people['v1']},{row}" for row in rows)]) + "\n"
    )
    with pytest.raises(InputError, match=f"v3.csv:2: column 'subject' names '{people['v1']}'"):
        add_outside(world.bank, "first", tmp_path / "teams", world.store)

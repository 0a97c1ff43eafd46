"""A submission is the ensemble's test predictions, complete, in the asked order, and never over
someone's files."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_world import World, make_store, make_world
from submission_world import UnitWorld, make_target_world, make_unit_world
from target_world import ONE, THREE

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.data.time_texts import written_times
from va_search.ensemble.build import build
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, JobError
from va_search.submission import folder, formats, predict, submit
from va_search.submission.folder import MARK
from va_search.submission.scoring import read_labels, read_submission
from va_search.submission.writing import Submission
from va_search.targets import Target, affect

GREEDY = read_recipe("greedy", {"method": "greedy", "steps": 20})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, trials=4)


@pytest.fixture
def unit(tmp_path: Path) -> UnitWorld:
    return make_unit_world(tmp_path / "unit")


@pytest.fixture
def unit_built(unit: UnitWorld) -> Ensemble:
    return build(unit.home, ["first"], GREEDY, "e")


@pytest.fixture
def built(world: World) -> Ensemble:
    return build(world.home, ["first"], GREEDY, "e")


def write(world: World, built: Ensemble, out: Path, **options: object) -> Submission:
    return submit(built, world.store, world.bank, **{"format": "recordings", "out": out, **options})  # type: ignore[arg-type]


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    with open(path, newline="") as handle:
        header, *rows = csv.reader(handle)
    return header, rows


def expected(world: World, built: Ensemble) -> np.ndarray:
    """By hand: members' test predictions from their files, weighted, clipped."""
    columns = []
    for index, dimension in enumerate(("valence", "arousal")):
        total = np.zeros(33 + 48)
        for member in built.dimensions[dimension].members:
            seed = int(member.trial[1:])
            total += member.weight * world.predict(seed, 0.6 + 0.25 * seed)["test"].values[
                :, index
            ].astype(float)
        columns.append(total)
    return np.clip(np.stack(columns, axis=1), *world.store.targets[0].range)


def sample(
    tmp_path: Path,
    rows: list[str],
    name: str = "sample.txt",
    header: str = "image_location,valence,arousal",
) -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def locations(*recordings: tuple[str, int]) -> list[str]:
    return [
        f"{name}/{frame:05d}.jpg" for name, frames in recordings for frame in range(1, frames + 1)
    ]


def test_recordings_format(world: World, built: Ensemble, tmp_path: Path) -> None:
    written = write(world, built, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [MARK, "x1.csv", "x2.csv"]
    assert (written.recordings, written.rows, written.unasked, written.replaced) == (
        2,
        81,
        0,
        False,
    )
    found = []
    for name, frames in (("x1", 33), ("x2", 48)):
        header, rows = read(tmp_path / "out" / f"{name}.csv")
        assert header == ["time", "valence", "arousal"]
        assert [row[0] for row in rows] == [
            str(50 * i) for i in range(frames)
        ]  # integers stay integers
        found += [[float(cell) for cell in row[1:]] for row in rows]
    np.testing.assert_allclose(np.array(found), expected(world, built), atol=1e-6)


def test_times_stand_as_they_stood() -> None:
    assert written_times(np.array([0.0, 50.0])) == ["0", "50"]
    assert written_times(np.array([0.0, 0.04, np.nan])) == ["0.0", "0.04", ""]


def test_without_a_time_column_there_is_none(tmp_path: Path) -> None:
    world = make_world(tmp_path, trials=2, time_column=None)
    write(world, build(world.home, ["first"], GREEDY, "e"), tmp_path / "out")
    header, rows = read(tmp_path / "out" / "x1.csv")
    assert header == ["valence", "arousal"] and len(rows) == 33


def test_values_outside_the_range_are_clipped_and_counted(world: World, tmp_path: Path) -> None:
    predictions = world.predict(0, 0.6)
    predictions["test"].values[:4, 0] = (-3.0, 20.0, 0.5, 9.5)
    trial = replace(world.bank.trial("first", "a0"), study="wild", id="w")
    world.bank.write(trial, predictions)
    built = build(world.home, ["wild"], GREEDY, "wild")
    written = write(world, built, tmp_path / "out")
    _, rows = read(tmp_path / "out" / "x1.csv")
    assert [float(row[1]) for row in rows[:4]] == [0.5, 9.5, 0.5, 9.5]
    assert (
        written.clipped
        == int(
            (
                predict(built, world.bank, "test", world.store.split("test"))
                != expected_clip(world, built)
            ).sum()
        )
        >= 2
    )


def expected_clip(world: World, built: Ensemble) -> np.ndarray:
    return np.clip(
        predict(built, world.bank, "test", world.store.split("test")), *world.store.targets[0].range
    )


@pytest.mark.parametrize(
    ("name", "file"), [("sample.txt", "predictions.txt"), ("sample.csv", "predictions.csv")]
)
def test_abaw_format_in_the_samples_order(
    unit: UnitWorld, unit_built: Ensemble, tmp_path: Path, name: str, file: str
) -> None:
    asked = locations(("x2", 48), ("x1", 33))
    path = sample(tmp_path, [f"{location},-5,-5" for location in asked], name)
    written = write(unit, unit_built, tmp_path / "out", format="abaw", sample=path)
    header, rows = read(tmp_path / "out" / file)
    assert header == ["image_location", "valence", "arousal"] and [row[0] for row in rows] == asked
    truth = expected(unit, unit_built)
    found = np.array([[float(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_allclose(found, np.concatenate([truth[33:], truth[:33]]), atol=1e-6)
    assert written.files == (file,) and written.rows == 81


def test_frames_the_sample_leaves_out_are_counted(
    unit: UnitWorld, unit_built: Ensemble, tmp_path: Path
) -> None:
    asked = [
        f"{location},0,0"
        for location in locations(("x1", 33), ("x2", 48))
        if not location.endswith("00007.jpg")
    ]
    written = write(
        unit, unit_built, tmp_path / "out", format="abaw", sample=sample(tmp_path, asked)
    )
    assert (written.rows, written.unasked) == (79, 2)


def test_a_sample_that_is_not_the_stores(
    unit: UnitWorld, unit_built: Ensemble, tmp_path: Path
) -> None:
    rows = [f"{location},0,0" for location in locations(("x1", 34), ("y", 2))]
    with pytest.raises(InputError) as error:
        write(unit, unit_built, tmp_path / "out", format="abaw", sample=sample(tmp_path, rows))
    text = str(error.value)
    assert (
        "unknown test recording 'y'" in text
        and "test recording 'x2' of the store has no row" in text
    )
    assert "frame 34 of 'x1', but the store has 33 frames of it" in text
    assert not (tmp_path / "out").exists()
    twice = [f"{location},0,0" for location in [*locations(("x1", 33), ("x2", 48)), "x2/00048.jpg"]]
    with pytest.raises(InputError, match="frame 48 of 'x2' stands 2 times"):
        write(unit, unit_built, tmp_path / "out", format="abaw", sample=sample(tmp_path, twice))


@pytest.mark.parametrize(
    ("rows", "said"),
    [([], "no rows"), (["x1/abc.jpg,0,0"], r"sample\.txt:2: image_location 'x1/abc\.jpg'")],
)
def test_a_sample_that_is_none(
    unit: UnitWorld, unit_built: Ensemble, tmp_path: Path, rows: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        write(unit, unit_built, tmp_path / "out", format="abaw", sample=sample(tmp_path, rows))
    with pytest.raises(InputError, match="no such file"):
        write(unit, unit_built, tmp_path / "out", format="abaw", sample=tmp_path / "nowhere.txt")


def test_options_that_do_not_go_together(
    world: World, built: Ensemble, unit: UnitWorld, unit_built: Ensemble, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="unknown format 'abav'; did you mean 'abaw'"):
        write(world, built, tmp_path / "out", format="abav")
    with pytest.raises(InputError, match="give it with --sample FILE"):
        write(unit, unit_built, tmp_path / "out", format="abaw")
    with pytest.raises(InputError, match="only format abaw has a sample file"):
        write(world, built, tmp_path / "out", sample=sample(tmp_path, []))


def test_an_earlier_submission_is_replaced_and_nothing_else(
    world: World, built: Ensemble, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    assert not write(world, built, out).replaced  # an empty folder is fine
    before = (out / "x1.csv").read_text()
    assert write(world, built, out).replaced
    assert (out / "x1.csv").read_text() == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["out"]  # nothing is left beside it

    (out / "x1.csv").write_text(before + "9,9,9\n")
    with pytest.raises(InputError, match=r"x1\.csv changed since"):
        write(world, built, out)
    (out / "x1.csv").write_text(before)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"added or removed \(notes\.txt\)"):
        write(world, built, out)
    assert (out / "notes.txt").read_text() == "mine"


def test_someone_elses_folder_or_file_is_refused(
    world: World, built: Ensemble, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x1.csv").write_text("time,valence,arousal\n0,1,1\n")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"not empty and no earlier submission \(found x1\.csv\)"):
        write(world, built, tmp_path / "mine")
    with pytest.raises(InputError, match="is a file"):
        write(world, built, tmp_path / "file")


def test_what_does_not_read_back_is_not_submitted(
    world: World, built: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = folder._write

    def lossy(path: Path, sheet: formats.Sheet) -> None:
        honest(path, sheet)
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")

    monkeypatch.setattr(folder, "_write", lossy)
    with pytest.raises(JobError, match="does not read back"):
        write(world, built, tmp_path / "out")
    assert not any("out" in path.name for path in tmp_path.iterdir())


def test_a_bank_that_changed_since_is_refused(
    world: World, built: Ensemble, tmp_path: Path
) -> None:
    trial = built.dimensions["valence"].members[0].trial
    world.add("first", trial, seed=99, noise=2.0)
    replaced = f"{trial} of study first was replaced since ensemble 'e' was built; build it again"
    with pytest.raises(InputError, match=replaced):
        write(world, built, tmp_path / "out")
    from_before = built.model_copy(update={"member_seals": None})
    with pytest.raises(
        InputError, match=r"valence CCC in-sample is .* now and was .*build it again"
    ):
        write(world, from_before, tmp_path / "out")
    (world.bank.folder("first", trial) / "test.arrow").unlink()
    (world.bank.folder("first", trial) / "validation.arrow").unlink()
    with pytest.raises(InputError, match=r"validation\.arrow: missing"):
        write(world, from_before, tmp_path / "out")


def test_another_store_is_refused(
    world: World, built: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ensemble_world

    longer = tuple((*row[:-1], row[-1] + (row[0] == "x1")) for row in ensemble_world.ROWS)
    monkeypatch.setattr(ensemble_world, "ROWS", longer)
    other: Store = make_store(tmp_path / "other")
    with pytest.raises(InputError, match="its test recordings are not those"):
        submit(built, other, world.bank, format="recordings", out=tmp_path / "out")
    monkeypatch.setattr(ensemble_world, "ROWS", ensemble_world.ROWS[:-2])
    with pytest.raises(InputError, match="the store has no test recordings"):
        submit(
            built,
            make_store(tmp_path / "none"),
            world.bank,
            format="recordings",
            out=tmp_path / "out",
        )


def test_a_store_of_another_label_range_is_refused(
    world: World, built: Ensemble, tmp_path: Path
) -> None:
    corrected = make_store(
        tmp_path / "corrected", label_range=(0.0, 10.0)
    )  # the same frames and labels
    with pytest.raises(
        InputError,
        match=r"label range \[0\.0, 10\.0\], ensemble 'e' is of \[0\.5, 9\.5\]; build it again",
    ):
        submit(built, corrected, world.bank, format="recordings", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_killed_while_writing_leaves_nothing_that_looks_finished(
    world: World, built: Ensemble, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    program = f"""
import time
from pathlib import Path
from typing import Any
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.ensemble.saved import read_ensemble
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.submission import folder, submit
honest = folder.check_sheet
def slow(*given):
    honest(*given)
    print("one", flush=True)
    time.sleep(30)
folder.check_sheet = slow
home = Home(Path({str(world.home.root)!r}))
store = Store.open(Path({str(world.store.path)!r}))
submit(read_ensemble(home, "e"), store, Bank(home.bank), format="recordings", out=Path({str(out)!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "one\n"
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.05)
    assert not out.exists()
    assert not write(world, built, out).replaced and (out / "x2.csv").is_file()


def test_a_file_that_came_while_it_was_predicted_is_not_removed(
    world: World, built: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, check = tmp_path / "out", folder.check_sheet
    write(world, built, out)

    def meanwhile(*given: Any) -> None:
        (out / "notes.txt").write_text("mine")
        check(*given)

    monkeypatch.setattr(folder, "check_sheet", meanwhile)
    with pytest.raises(InputError, match=r"files added or removed \(notes.txt\)"):
        write(world, built, out)
    assert (out / "notes.txt").read_text() == "mine" and (out / "x1.csv").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


@pytest.mark.parametrize("targets", [ONE, THREE])
def test_a_column_for_each_target_clipped_to_its_own_range(
    tmp_path: Path, targets: tuple[Target, ...]
) -> None:
    world = make_target_world(tmp_path, targets)
    ensemble = world.build()
    written = submit(ensemble, world.store, world.bank, format="recordings", out=tmp_path / "out")
    raw = (world.predict(0, 0.1)["test"].astype(float) + world.predict(1, 0.15)["test"]) / 2
    truth = raw.copy()
    for column, target in enumerate(targets):
        truth[:, column] = np.minimum(np.maximum(raw[:, column], target.low), target.high)
    assert written.clipped == int((raw != truth).sum())
    for number, name in enumerate(("r7", "r8")):
        header, rows = read(tmp_path / "out" / f"{name}.csv")
        assert header == [target.name for target in targets]
        values = np.array(rows, dtype=float)
        np.testing.assert_allclose(values, truth[60 * number : 60 * (number + 1)], atol=1e-6)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (ONE, r"has targets engagement \[0\.0, 100\.0\]"),
        (affect(0.0, 1.0), r"label range \[0\.0, 1"),
    ],
)
def test_abaw_is_valence_and_arousal_between_minus_one_and_one(
    tmp_path: Path, targets: tuple[Target, ...], words: str
) -> None:
    world = make_target_world(tmp_path, targets)
    asked = sample(tmp_path, [f"{row},0,0" for row in locations(("r7", 60), ("r8", 60))])
    with pytest.raises(InputError, match=words):
        submit(
            world.build(), world.store, world.bank, format="abaw", out=tmp_path / "o", sample=asked
        )
    assert not (tmp_path / "o").exists()


NAMES = ("-3g5yACwYnA", "_0eJ", "Zoë 1", "情感", "a:b", "con")


def test_recordings_of_any_name_are_written_and_read_back(tmp_path: Path) -> None:
    targets = affect(-1.0, 1.0)
    sources = [
        Source(name, name, name, "test" if number else "validation", None, 10.0, ())
        for number, name in enumerate(NAMES)
    ]
    draft = Draft(tmp_path / "store", Description("n", targets, {"f": ("m", ("a",))}), sources)
    for number in range(len(NAMES)):
        labels = np.full((5, 2), 0.1) if number == 0 else None
        draft.add(number, Part({"f": np.ones((5, 1))}, labels))
    store = draft.finish()
    test = store.split("test")
    values = np.linspace(-1, 1, 50).reshape(25, 2)
    sheets = formats.recording_sheets(values, test, store, store.target_names)
    assert [sheet.name for sheet in sheets] == [
        "_0eJ.csv",
        "Zoë 1.csv",
        "情感.csv",
        "a%3Ab.csv",
        "%63on.csv",
    ]
    folder.write_folder(tmp_path / "out", sheets, {"ensemble": "e", "kind": "submission"}, targets)
    np.testing.assert_allclose(read_submission(tmp_path / "out", store), values, atol=1e-6)
    np.testing.assert_allclose(read_labels(tmp_path / "out", store), values, atol=1e-6)

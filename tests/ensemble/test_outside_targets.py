"""Predictions from elsewhere as people hold them: any targets, one file of all, other clocks,
validation only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from submission_world import TargetWorld, make_target_world
from target_world import ONE, THREE

from va_search.data.store import Recording, frames_hash
from va_search.ensemble.candidates import find_candidates
from va_search.ensemble.outside import Added, add_outside
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.report.chosen import ChosenEnsemble, answer
from va_search.report.gather import gather
from va_search.report.tables.trials import best_trials_table
from va_search.targets import Target, names


@pytest.fixture
def world(tmp_path: Path) -> TargetWorld:
    return make_target_world(tmp_path, THREE, trials=1)


def predicted(world: TargetWorld) -> dict[str, np.ndarray]:
    """(frames, targets) of each validation and test recording, with four decimals."""
    values = world.predict(7)
    parts: dict[str, np.ndarray] = {}
    for split in ("validation", "test"):
        start = 0
        for recording in world.store.split(split):
            rows = values[split][start : start + recording.frames]
            parts[recording.name] = rows.astype(float).round(4)
            start += recording.frames
    return parts


def write(
    folder: Path,
    values: dict[str, np.ndarray],
    targets: tuple[str, ...],
    columns: tuple[int, ...] = (0, 1, 2),
) -> None:
    """A CSV per recording with the targets of these columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in values.items():
        lines = [",".join(targets[column] for column in columns)]
        lines += [",".join(f"{value:.4f}" for value in row[list(columns)]) for row in rows]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def add(world: TargetWorld, source: Path) -> Added:
    (added,) = add_outside(world.bank, "first", source, world.store)
    return added


def banked(world: TargetWorld, trial: str, split: str = "validation") -> np.ndarray:
    lines_up = frames_hash(world.store.split(split))
    return world.bank.read("first", trial, split, frames_hash=lines_up)


def joined(world: TargetWorld, values: dict[str, np.ndarray], split: str) -> np.ndarray:
    recordings: tuple[Recording, ...] = world.store.split(split)
    return np.concatenate([values[recording.name] for recording in recordings])


@pytest.mark.parametrize("targets", [ONE, THREE])
def test_all_targets_of_a_store(tmp_path: Path, targets: tuple[Target, ...]) -> None:
    world = make_target_world(tmp_path, targets, trials=1)
    values = predicted(world)
    write(tmp_path / "red", values, names(targets), tuple(range(len(targets)))[::-1])
    added = add(world, tmp_path / "red")
    trial = world.bank.trial("first", "outside-red")
    assert trial.target_names == names(targets)
    expected = joined(world, values, "validation")
    np.testing.assert_allclose(banked(world, "outside-red"), expected, rtol=1e-6)
    start = world.store.split("validation")[0].start
    labels = world.store.annotations[start : start + len(expected)]
    cccs = []
    for column in range(len(targets)):
        labelled = ~np.isnan(labels[:, column])
        cccs.append(ccc(expected[labelled, column], labels[labelled, column]))
    np.testing.assert_allclose(list(added.best.values()), cccs, rtol=1e-4)
    assert trial.best["score"].ccc == pytest.approx(np.mean(cccs), rel=1e-4)


def test_one_target_only_is_a_member_for_it_alone(world: TargetWorld, tmp_path: Path) -> None:
    write(tmp_path / "red", predicted(world), names(THREE), (1,))
    added = add(world, tmp_path / "red")
    assert list(added.best) == ["arousal"]
    assert added.remarks == (
        f"{tmp_path / 'red'}: predicts arousal; it can be a member for nothing else",
    )
    assert world.bank.trial("first", "outside-red").targets == ["arousal"]
    ensemble = world.build()
    members = {
        target: sorted(member.trial for member in part.members)
        for target, part in ensemble.dimensions.items()
    }
    assert members == {
        "valence": ["a0"],
        "arousal": ["a0", "outside-red"],
        "stress": ["a0"],
    }


def test_a_model_of_some_targets_has_no_score_that_ranks_it(
    world: TargetWorld, tmp_path: Path
) -> None:
    values = {name: np.zeros((0, 3)) for name in predicted(world)}
    for recording in world.store.recordings:
        if recording.name in values:
            labels = world.store.annotations[recording.span].astype(float)
            middle = [(target.low + target.high) / 2 for target in THREE]
            values[recording.name] = np.where(np.isnan(labels), middle, labels)
    write(tmp_path / "red", values, names(THREE), (1,))
    add(world, tmp_path / "red")
    trial = world.bank.trial("first", "outside-red")
    assert trial.ccc(THREE[1].name) == pytest.approx(1.0, abs=1e-4)
    assert trial.score is None
    gathered = gather(world.home, ["first"], world.store)
    assert trial.id in [each.id for each in gathered.on_main_fold]
    ((_, sentence),) = answer(gathered, ChosenEnsemble(None)).rows
    assert f"for {THREE[1].name} outside-red" in sentence
    assert "for all targets outside-red" not in sentence
    table = best_trials_table(gathered.on_main_fold[::-1], "score")
    assert [column.name for column in table.columns][1:5] == ["score", *names(THREE)]


def test_a_column_called_nearly_as_a_target_is_no_other_column(
    world: TargetWorld, tmp_path: Path
) -> None:
    write(tmp_path / "red", predicted(world), ("valence", "arousel", "stress"))
    with pytest.raises(InputError, match=r"unknown column 'arousal'; did you mean 'arousel'"):
        add(world, tmp_path / "red")


def test_validation_only_is_scored_and_is_no_member(world: TargetWorld, tmp_path: Path) -> None:
    values = predicted(world)
    validation = {name: rows for name, rows in values.items() if name in ("r4", "r5", "r6")}
    write(tmp_path / "red", validation, names(THREE))
    added = add(world, tmp_path / "red")
    assert "no test predictions: it is scored on validation" in added.remarks[0]
    np.testing.assert_allclose(
        banked(world, "outside-red"), joined(world, values, "validation"), rtol=1e-6
    )
    trial = world.bank.trial("first", "outside-red")
    assert trial.frames_hash("test") is None and set(trial.predictions) == {"validation"}
    candidates, _ = find_candidates(world.bank, ["first"], outside=True)
    assert len(candidates) == 2
    ensemble = world.build()
    assert {m.trial for part in ensemble.dimensions.values() for m in part.members} == {"a0"}
    assert ensemble.left_out
    (tmp_path / "red" / "r7.csv").write_text((tmp_path / "red" / "r4.csv").read_text())
    with pytest.raises(InputError, match="no file for 1 validation or test recording: r8"):
        add(world, tmp_path / "red")


@pytest.mark.parametrize("kind", ["image", "recording", "media", "semicolon"])
def test_one_file_of_all_recordings(world: TargetWorld, tmp_path: Path, kind: str) -> None:
    values = predicted(world)
    header = {"image": "image_location"}.get(kind, "recording,frame")
    separator = ";" if kind == "semicolon" else ","
    lines = [f"{header},valence,arousal,stress".replace(",", separator)]
    rows = [(name, frame) for name, part in values.items() for frame in range(len(part))]
    np.random.default_rng(0).shuffle(rows)
    for name, frame_text in rows:
        frame = int(frame_text)
        where = f"{name}/{frame + 1:05d}.jpg"
        if kind != "image":
            where = f"{name}{'.mp4' if kind == 'media' else ''},{frame + 1}"
        cells = [where, *(f"{value:.4f}" for value in values[name][frame])]
        lines.append(",".join(cells).replace(",", separator))
    red = tmp_path / "red"
    red.mkdir()
    for name in ("all.csv", "all.txt"):  # twice the same is one
        (red / name).write_text("\n".join(lines) + "\n")
    added = add(world, red)
    assert any("not read: all.txt" in remark for remark in added.remarks)
    for split in ("validation", "test"):
        np.testing.assert_allclose(
            banked(world, "outside-red", split), joined(world, values, split), rtol=1e-6
        )
    (red / "all.txt").unlink()
    assert add(world, red).state == "unchanged"
    assert add(world, red / "all.csv").trial == "outside-all"
    lines[40] = lines[40].rpartition(separator)[0] + separator + "much"
    (red / "all.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"red/all\.csv:41: column 'stress': 'much' is not a n"):
        add(world, red)
    lines[40] = lines[40].replace("r", "q", 1)
    (red / "all.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"all\.csv:41: .* names no recording of the store"):
        add(world, red)


@pytest.mark.parametrize(("rate", "offset"), [(2.0, 0.0), (4.0, 0.03), (25.0, -0.02), (10.0, 0.04)])
def test_rows_at_another_clock_are_the_nearest_frames(
    world: TargetWorld, tmp_path: Path, rate: float, offset: float
) -> None:
    """Frames are at 10 Hz, 60 of them; rows at another rate, or later by a part of a frame."""
    values = predicted(world)
    red = tmp_path / "red"
    red.mkdir()
    expected = {}
    for name, part in values.items():
        times = np.arange(0, 5.95, 1 / rate) + offset
        rows_of: dict[int, list[np.ndarray]] = {}
        lines = ["timestamp,valence,arousal,stress"]
        for time in times:
            frame = min(range(60), key=lambda number, time=time: abs(number / 10 - time))
            row = (part[frame] + np.round(0.01 * time, 4)).round(4)
            rows_of.setdefault(frame, []).append(row)
            lines.append(f"{time:.6f}," + ",".join(f"{value:.4f}" for value in row))
        (red / f"{name}.csv").write_text("\n".join(lines) + "\n")
        slow = np.empty((60, 3))
        for frame in range(60):  # the nearest frame that has rows, the earlier of two
            source = min(rows_of, key=lambda number, frame=frame: (abs(number - frame), number))
            slow[frame] = np.mean(rows_of[source], axis=0)
        expected[name] = slow
    added = add(world, red)
    np.testing.assert_allclose(
        banked(world, "outside-red"), joined(world, expected, "validation"), rtol=1e-5
    )
    assert any("each on the nearest frame" in remark for remark in added.remarks) == (rate != 2.0)


def test_a_clock_that_leaves_the_recording_is_refused_with_the_first_row(
    world: TargetWorld, tmp_path: Path
) -> None:
    write(tmp_path / "red", predicted(world), names(THREE))
    lines = ["timestamp_seconds,valence,arousal,stress"]
    lines += [f"{0.25 * row:.2f},0,500,5" for row in range(40)]
    (tmp_path / "red" / "r5.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"r5\.csv:\d+: timestamp_seconds 6 is no frame's time"):
        add(world, tmp_path / "red")


def test_a_single_file_that_names_no_recordings_is_one_under_a_wrong_name(
    world: TargetWorld, tmp_path: Path
) -> None:
    write(tmp_path / "red", {"R4": predicted(world)["r4"]}, names(THREE))
    with pytest.raises(InputError) as error:
        add(world, tmp_path / "red")
    assert "no r4.csv; R4.csv is there: is it meant?" in str(error.value)


def test_names_of_any_signs(world: TargetWorld, tmp_path: Path) -> None:
    """A file may be called as its recording, or by the ending of its video."""
    values = predicted(world)
    write(tmp_path / "red", values, names(THREE))
    (tmp_path / "red" / "r5.csv").rename(tmp_path / "red" / "r5.mp4.csv")
    assert add(world, tmp_path / "red").state == "new"
    np.testing.assert_allclose(
        banked(world, "outside-red"), joined(world, values, "validation"), rtol=1e-6
    )

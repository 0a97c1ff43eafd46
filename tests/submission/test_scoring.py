"""Test labels: read whole and right or refused with every problem; the CCC is pooled over what was
written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folds_world import RANGE, make_store
from target_world import THREE, make_target_store

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.submission.scoring import read_labels, read_submission, scores_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store")


def write_labels(folder: Path, store: Store, seed: int = 0) -> np.ndarray:
    """Labels of the test recordings; the first five frames of each have none."""
    folder.mkdir()
    parts = []
    for index, recording in enumerate(store.split("test")):
        values = (
            np.random.default_rng([seed, index])
            .uniform(*RANGE, size=(recording.frames, 2))
            .round(4)
        )
        values[:5] = np.nan
        cells = [",".join("" if np.isnan(x) else f"{x:.4f}" for x in row) for row in values]
        (folder / f"{recording.name}.csv").write_text("\n".join(["valence,arousal", *cells]) + "\n")
        parts.append(values)
    return np.concatenate(parts)


def test_labels_and_submissions_are_read_in_the_stores_order(store: Store, tmp_path: Path) -> None:
    expected = write_labels(tmp_path / "labels", store)
    (tmp_path / "labels" / "another.csv").write_text("not looked at\n")
    labels = read_labels(tmp_path / "labels", store)
    np.testing.assert_array_equal(labels, expected)
    assert np.isnan(labels).any(axis=1).sum() == 10
    submitted = write_labels(tmp_path / "submission", store, seed=1)
    values = np.nan_to_num(submitted, nan=4.0)
    scores = scores_of(values, labels)
    pair = [ccc(values[:, index], expected[:, index]) for index in range(2)]
    assert scores == {"valence": pair[0], "arousal": pair[1], "score": sum(pair) / 2}
    np.testing.assert_array_equal(read_submission(tmp_path / "submission", store), submitted)


def test_every_problem_is_told_at_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    with pytest.raises(InputError, match="no such folder, expected a folder with <recording>"):
        read_labels(folder, store)
    write_labels(folder, store)
    lines = (folder / "x0.csv").read_text().splitlines()
    (folder / "x0.csv").write_text("\n".join([*lines[:8], "-5,-5", *lines[9:-1]]) + "\n")
    (folder / "x1.csv").unlink()
    with pytest.raises(InputError) as error:
        read_labels(folder, store)
    found = "\n".join(error.value.problems)
    assert (
        f"{folder / 'x0.csv'}: {len(lines) - 2} rows, expected {len(lines) - 1}, one per frame"
        in found
    )
    assert (
        f"{folder / 'x0.csv'}:9: valence -5 is outside the label range [0.5, 9.5]; leave frames without"
        in found
    )
    assert "arousal -5" in found and f"{folder / 'x1.csv'}: no such file" in found
    write_labels(tmp_path / "empty", store)
    for file in (tmp_path / "empty").iterdir():
        rows = file.read_text().splitlines()
        file.write_text("\n".join([rows[0], *(["5,"] * (len(rows) - 1))]) + "\n")
    with pytest.raises(
        InputError, match="no test frame has a label of arousal; nothing can be scored"
    ):
        read_labels(tmp_path / "empty", store)


def test_labels_by_their_frames_in_any_order(store: Store, tmp_path: Path) -> None:
    expected = write_labels(tmp_path / "labels", store)
    remarks: list[str] = []
    for name, clock in (
        ("x0", lambda frame: f"{frame * 0.05:.2f}"),
        ("x1", lambda frame: f"{frame * 50}"),
    ):
        file = tmp_path / "labels" / f"{name}.csv"
        rows = file.read_text().splitlines()[1:]
        named = [
            f"{clock(frame)},{name},{row},{-frame}" for frame, row in enumerate(rows) if frame >= 5
        ]
        file.write_text("\n".join(["timestamp,video,valence,arousal,note", *sorted(named)]))
    np.testing.assert_array_equal(read_labels(tmp_path / "labels", store, remarks), expected)
    assert remarks == [f"{tmp_path / 'labels'}: column note is not used"]
    rows = file.read_text().replace("x1,", "x0,")
    file.write_text(rows)
    with pytest.raises(
        InputError,
        match=r"x1\.csv:2: column 'video' names 'x0' \('x0'\), but the file is of recording",
    ):
        read_labels(tmp_path / "labels", store)


def test_labels_under_another_name_or_ending_are_named(store: Store, tmp_path: Path) -> None:
    write_labels(tmp_path / "labels", store)
    (tmp_path / "labels" / "x0.csv").rename(tmp_path / "labels" / "X0.csv")
    (tmp_path / "labels" / "x1.csv").rename(tmp_path / "labels" / "x1.txt")
    with pytest.raises(InputError) as error:
        read_labels(tmp_path / "labels", store)
    found = str(error.value)
    assert "x0.csv: no such file; X0.csv is there: is it meant?" in found
    assert "x1.csv: no such file; x1.txt is there, allowed: .csv" in found


def test_a_submission_whose_rows_were_moved_is_read_by_its_times(
    store: Store, tmp_path: Path
) -> None:
    expected = []
    for index, recording in enumerate(store.split("test")):
        values = np.random.default_rng(index).uniform(*RANGE, size=(recording.frames, 2)).round(4)
        rows = [
            f"{frame * 50},{values[frame, 1]},{values[frame, 0]}"
            for frame in range(recording.frames)
        ]
        lines = ["time,arousal,valence", *reversed(rows)]
        (tmp_path / f"{recording.name}.csv").write_text("\n".join(lines))
        expected.append(values)
    np.testing.assert_array_equal(read_submission(tmp_path, store), np.concatenate(expected))
    (tmp_path / f"{recording.name}.csv").write_text("\n".join(lines[:-2]))
    with pytest.raises(InputError, match=r"x1\.csv: 2 of 107 frames have no row"):
        read_submission(tmp_path, store)


def test_labels_that_only_rounding_put_outside_the_range_are_in_it(
    store: Store, tmp_path: Path
) -> None:
    expected = write_labels(tmp_path / "labels", store)
    lines = (tmp_path / "labels" / "x0.csv").read_text().splitlines()
    lines[7] = "9.500000000000002,0.4999999999999999"
    (tmp_path / "labels" / "x0.csv").write_text("\n".join(lines) + "\n")
    labels = read_labels(tmp_path / "labels", store)
    assert labels[6].tolist() == [9.5, 0.5]
    np.testing.assert_array_equal(np.delete(labels, 6, axis=0), np.delete(expected, 6, axis=0))


def test_each_target_is_scored_on_its_own_labelled_frames(tmp_path: Path) -> None:
    store = make_target_store(tmp_path / "store", THREE)
    random = np.random.default_rng(0)
    low = np.array([target.low for target in THREE])
    high = np.array([target.high for target in THREE])
    truth = random.uniform(low, high, (120, 3)).round(4)
    truth[:7] = np.nan
    truth[20:30, 1] = np.nan
    values = random.uniform(low, high, (120, 3)).round(4)
    for folder, array in (("labels", truth), ("submission", values)):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(("r7", "r8")):
            lines = ["stress,valence,arousal"]
            for row in array[60 * number : 60 * (number + 1)]:
                cells = ["" if np.isnan(value) else f"{value:.4f}" for value in row[[2, 0, 1]]]
                lines.append(",".join(cells))
            (tmp_path / folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    labels = read_labels(tmp_path / "labels", store)
    np.testing.assert_array_equal(labels, truth)
    scores = scores_of(read_submission(tmp_path / "submission", store), labels, store.target_names)
    by_hand = []
    for column in range(3):
        labelled = ~np.isnan(truth[:, column])
        x, y = values[labelled, column], truth[labelled, column]
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        by_hand.append(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))
    assert list(scores) == ["valence", "arousal", "stress", "score"]
    np.testing.assert_allclose(list(scores.values()), [*by_hand, np.mean(by_hand)])


def test_a_label_outside_its_own_targets_range_is_refused(tmp_path: Path) -> None:
    store = make_target_store(tmp_path / "store", THREE)
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in ("r7", "r8"):
        rows = ["0.5,500,5"] * 60
        (folder / f"{name}.csv").write_text("\n".join(["valence,arousal,stress", *rows]) + "\n")
    (folder / "r8.csv").write_text(
        (folder / "r8.csv").read_text().replace("500,5\n", "500,9.5\n", 1)
    )
    with pytest.raises(
        InputError, match=r"r8.csv:2: stress 9.5 is outside the label range \[1, 9\]"
    ):
        read_labels(folder, store)

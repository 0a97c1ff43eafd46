"""Drafts of streams.yaml out of folders as people have them: what is found, and that it imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streams_world import write_csv
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.streams import import_streams
from va_search.data.streams_document import read_streams_document
from va_search.data.table import import_table
from va_search.errors import InputError

MUSE_SPLITS = [(1, "train"), (2, "devel"), (3, "test")]


def muse(folder: Path) -> Path:
    """Feature and label folders at 2 Hz in ms with segments, and a partition.csv."""
    write_csv(folder / "metadata/partition.csv", ["Id", "Partition"], MUSE_SPLITS)
    for number, split in MUSE_SPLITS:
        rows = [(500 * row, 1 + row // 20, np.sin(row), row / 10) for row in range(40)]
        for name in ("egemaps", "faus"):
            header = ["timestamp", "segment_id", "x", "y"]
            write_csv(folder / f"feature_segments/{name}/{number}.csv", header, rows)
        for name in ("valence", "arousal"):
            labels = [(t, "" if split == "test" else value, s) for t, s, value, _ in rows]
            header = ["timestamp", "value", "segment_id"]
            write_csv(folder / f"label_segments/{name}/{number}.csv", header, labels)
    return folder


def epic(folder: Path) -> Path:
    """1 kHz signals and 20 Hz annotations in ms, in folders of splits."""
    for split, name in (("train", "sub_0_vid_0"), ("val", "sub_1_vid_0"), ("test", "sub_2_vid_1")):
        signals = [(t, np.sin(t / 100), 0.1) for t in range(4000)]
        write_csv(folder / f"{split}/physiology/{name}.csv", ["time", "ecg", "gsr"], signals)
        labels = [(1000 + 50 * row, 0.5 + row / 10, 9.5 - row / 10) for row in range(40)]
        write_csv(
            folder / f"{split}/annotations/{name}.csv", ["time", "valence", "arousal"], labels
        )
    return folder


def one_file(folder: Path) -> Path:
    """A file of all recordings with the person of each."""
    rows = []
    for number in range(3):
        for row in range(30):
            rows.append((row / 25, np.sin(row), row, row / 30, f"r{number}", f"p{number}"))
    header = ["time", "a", "b", "engagement", "recording", "subject"]
    write_csv(folder / "all.csv", header, rows)
    return folder / "all.csv"


def nested(folder: Path) -> Path:
    """A folder for each person, with files of two devices and labels at a rate of their own."""
    for person in ("P01", "P02"):
        write_csv(folder / f"{person}/gsr.csv", ["time_s", "g"], [(t / 10, t) for t in range(100)])
        write_csv(folder / f"{person}/gaze.csv", ["time_s", "x"], [(t / 30, t) for t in range(300)])
        labels = [(t / 2, 100 * t / 20) for t in range(20)]
        write_csv(folder / f"{person}/ratings.csv", ["time_s", "calm"], labels)
    return folder


LAYOUTS: list[
    tuple[Callable[[Path], Path], dict[str, tuple[float, float]], dict[str, str], int]
] = [
    (muse, {"arousal": (-1, 1), "valence": (-1, 1)}, {"egemaps": "audio", "faus": "visual"}, 120),
    (epic, {"valence": (0.5, 9.5), "arousal": (0.5, 9.5)}, {"physiology": "physiology"}, 120),
    (one_file, {"engagement": (0, 1)}, {"all": "other"}, 90),
    (nested, {"calm": (0, 100)}, {"gaze": "visual", "gsr": "physiology"}, 40),
]


@pytest.mark.parametrize(("make", "targets", "features", "frames"), LAYOUTS)
def test_a_draft_is_imported_as_it_is_written(
    tmp_path: Path,
    make: Callable[[Path], Path],
    targets: dict[str, tuple[float, float]],
    features: dict[str, str],
    frames: int,
) -> None:
    source = make(tmp_path / "source")
    result = CliRunner().invoke(app, ["data", "draft", str(source)])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "source"
    document = read_streams_document(folder / "streams.yaml")
    assert {name: entry.range for name, entry in document.targets.items()} == targets
    assert {name: entry.modality for name, entry in document.features.items()} == features
    assert "# guess: range, of labels from" in (folder / "streams.yaml").read_text()

    store, _ = import_streams(folder, tmp_path / "store")
    assert len(store.times) == frames
    assert store.target_names == tuple(targets)
    assert not np.isnan(store.features(next(iter(features)))[:]).any()


def test_people_and_splits_are_those_that_names_and_folders_tell(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["data", "draft", str(epic(tmp_path / "source"))])
    lines = (tmp_path / "source/recordings.csv").read_text().splitlines()
    assert lines[0] == "recording,subject,split,folder"
    assert sorted(lines[1:])[1] == "sub_1_vid_0,sub_1,validation,val"
    CliRunner().invoke(app, ["data", "draft", str(one_file(tmp_path / "other"))])
    lines = (tmp_path / "other/recordings.csv").read_text().splitlines()
    assert lines == ["recording,subject,split", *(f"r{n},p{n},train" for n in range(3))]
    assert "nothing tells splits, so all are train" in (tmp_path / "other/streams.yaml").read_text()


def without_files(folder: Path) -> Path:
    """Labels lie in a folder; the last of three recordings has no file there."""
    for number in range(3):
        rows = [(row / 10, np.sin(row + number)) for row in range(40)]
        write_csv(folder / f"sound/P{number}.csv", ["time_s", "a"], rows)
        if number < 2:
            write_csv(folder / f"labels/P{number}.csv", ["time_s", "valence"], rows)
    return folder


def with_empty_cells(folder: Path) -> Path:
    """Labels lie in a folder; all cells of the last of three recordings are empty."""
    without_files(folder)
    rows = [(row / 10, "") for row in range(40)]
    write_csv(folder / "labels/P2.csv", ["time_s", "valence"], rows)
    return folder


def with_rows_without_labels(folder: Path) -> Path:
    """One file of all recordings, of which the last has no labels."""
    rows = []
    for number in range(3):
        for row in range(40):
            label = np.sin(row) if number < 2 else ""
            rows.append((row / 10, row % 7, label, f"P{number}"))
    write_csv(folder / "all.csv", ["time_s", "a", "valence", "recording"], rows)
    return folder


@pytest.mark.parametrize("make", [without_files, with_empty_cells, with_rows_without_labels])
def test_recordings_without_a_label_are_test(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "source")
    source = folder / "all.csv" if make is with_rows_without_labels else folder
    result = CliRunner().invoke(app, ["data", "draft", str(source)])
    assert result.exit_code == 0, result.output
    lines = sorted((folder / "recordings.csv").read_text().splitlines())
    assert lines[:3] == ["P0,P0,train", "P1,P1,train", "P2,P2,test"]
    text = (folder / "streams.yaml").read_text()
    assert "no labels of 1 recording (P2), so test" in text
    assert "nothing tells splits, so all with labels are train" in text
    store, _ = import_streams(folder, tmp_path / "store")
    assert [recording.name for recording in store.split("test")] == ["P2"]
    assert len(store.split("train")) == 2


@pytest.mark.parametrize(("make", "targets", "features", "frames"), LAYOUTS)
def test_data_import_table_shows_the_draft(
    tmp_path: Path,
    make: Callable[[Path], Path],
    targets: dict[str, tuple[float, float]],
    features: dict[str, str],
    frames: int,
) -> None:
    source = make(tmp_path / "source")
    with pytest.raises(InputError, match=r"va-search data init .* writes this") as error:
        import_table(source, tmp_path / "store")
    text = str(error.value)
    CliRunner().invoke(app, ["data", "draft", str(source)])
    for line in (tmp_path / "source/streams.yaml").read_text().splitlines():
        assert f"    {line}\n" in text + "\n"
    assert all(f'"{name}": {{range' in text for name in targets)


def test_a_clock_that_two_readings_fit_is_left_to_be_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = [(row, row / 100) for row in range(100)]
        write_csv(tmp_path / f"labels/{name}.csv", ["time", "valence"], rows)
        write_csv(tmp_path / f"face/{name}.csv", ["when", "x"], rows)
    result = CliRunner().invoke(app, ["data", "draft", str(tmp_path)])
    assert result.exit_code == 0
    text = (tmp_path / "streams.yaml").read_text()
    assert "# to be put right: " in text
    assert "no column is a clock by its name" in text


def test_what_is_no_source_of_streams_is_refused(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["data", "draft", *arguments])
        assert result.exit_code == 2
        return " ".join(result.output.split())

    assert "no data files in it" in refused(str(tmp_path))
    write_csv(tmp_path / "face/a.csv", ["time_s", "x"], [(0, 1), (1, 2)])
    write_csv(tmp_path / "face/b.csv", ["time_s", "x"], [(0, 1), (1, 2)])
    assert "no labels found: no folder is called labels" in refused(str(tmp_path))
    assert "no such file or folder" in refused(str(tmp_path / "nowhere"))
    muse(tmp_path / "muse")
    (tmp_path / "muse/streams.yaml").write_text("name: mine\n")
    assert "streams.yaml: is there already" in refused(str(tmp_path / "muse"))
    with pytest.raises(InputError, match=r"no such file; `va-search data init .*` writes a draft"):
        import_streams(tmp_path, tmp_path / "store")


def test_targets_with_clocks_of_their_own_have_a_rate_in_the_draft(tmp_path: Path) -> None:
    """One recording is enough, and openSMILE's `name` is no reason to take its file for all."""
    for name, offset in (("valence", 0.0), ("arousal", 0.13)):
        labels = [(round(row / 4 + offset, 2), row / 40) for row in range(40)]
        write_csv(tmp_path / f"labels/{name}/r1.csv", ["time_s", "value"], labels)
    rows = [("'unknown'", row / 50, row) for row in range(500)]
    write_csv(tmp_path / "egemaps/r1.csv", ["name", "frameTime", "F0"], rows)
    assert CliRunner().invoke(app, ["data", "draft", str(tmp_path)]).exit_code == 0
    document = read_streams_document(tmp_path / "streams.yaml")
    assert document.frames_per_second == 4
    assert document.features["egemaps"].files == "egemaps/{recording}.csv"
    store, _ = import_streams(tmp_path, tmp_path / "store")
    assert store.target_names == ("arousal", "valence")


@pytest.mark.parametrize("raters", [("ann", "bob"), ("ann", "bob", "cy")])
def test_folders_of_the_same_labels_are_raters(tmp_path: Path, raters: tuple[str, ...]) -> None:
    for number in range(3):
        for index, rater in enumerate(raters):
            labels = [(t / 5, index + t / 100) for t in range(20)]
            write_csv(tmp_path / f"ratings/{rater}/r{number}.csv", ["time_s", "liking"], labels)
        rows = [(t / 5, t, number) for t in range(20)]
        write_csv(tmp_path / f"sound/r{number}.csv", ["time_s", "f0", "x"], rows)
    CliRunner().invoke(app, ["data", "draft", str(tmp_path)])
    document = read_streams_document(tmp_path / "streams.yaml")
    assert document.targets["liking"].files == "ratings/{rater}/{recording}.csv"
    assert document.targets["liking"].range == (0, 5)
    store, _ = import_streams(tmp_path, tmp_path / "store")
    assert store.target_names == ("liking",)
    expected = np.tile(np.arange(20) / 100 + (len(raters) - 1) / 2, 3)
    np.testing.assert_allclose(store.annotations[:, 0], expected, atol=1e-6)
    assert store.raters is not None
    assert (store.raters == len(raters)).all()


def test_recordings_of_one_name_in_two_splits_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("physiology", "annotations"):
            rows = [(t / 5, 0.1) for t in range(9)]
            path = tmp_path / f"{split}/{name}/sub_1.csv"
            write_csv(path, ["time_s", "valence" if name == "annotations" else "ecg"], rows)
    result = CliRunner().invoke(app, ["data", "draft", str(tmp_path)])
    assert result.exit_code == 2
    assert "both are recording 'sub_1', in folders of two splits" in result.output
    assert "train_sub_1" in result.output


def test_several_files_of_all_recordings_are_a_stream_each(tmp_path: Path) -> None:
    for file, column in (("labels", "valence"), ("sound", "f0")):
        rows = [(f"r{n}", t / 5, (t + n) / 100) for n in range(3) for t in range(20)]
        write_csv(tmp_path / f"{file}.csv", ["recording", "time_s", column], rows)
    CliRunner().invoke(app, ["data", "draft", str(tmp_path)])
    store, _ = import_streams(tmp_path, tmp_path / "store")
    assert [recording.name for recording in store.recordings] == ["r0", "r1", "r2"]
    assert list(store.feature_sets) == ["sound"]
    np.testing.assert_allclose(store.annotations[:, 0], store.features("sound")[:, 0])


@pytest.mark.parametrize("raters", [("ann", "bob"), (1, 2)])
def test_a_column_of_raters_is_one(tmp_path: Path, raters: tuple[object, ...]) -> None:
    labels = []
    for name in ("r0", "r1"):
        for index, rater in enumerate(raters):
            labels += [(name, rater, t / 5, (t + index) / 100) for t in range(20)]
    write_csv(tmp_path / "labels.csv", ["recording", "rater", "time_s", "valence"], labels)
    rows = [(name, t / 5, t) for name in ("r0", "r1") for t in range(20)]
    write_csv(tmp_path / "sound.csv", ["recording", "time_s", "f0"], rows)
    CliRunner().invoke(app, ["data", "draft", str(tmp_path)])
    store, _ = import_streams(tmp_path, tmp_path / "store")
    expected = np.tile((np.arange(20) + 0.5) / 100, 2)
    np.testing.assert_allclose(store.annotations[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("column", ["valence", "value"])
def test_labels_and_features_may_lie_in_files_named_behind_the_recording(
    tmp_path: Path, column: str
) -> None:
    times = [frame / 5 for frame in range(20)]
    for name in ("P01_a", "P01_b", "P02_a"):
        write_csv(
            tmp_path / f"{name}_valence.csv", ["time_s", column], [(time, 0.1) for time in times]
        )
        write_csv(
            tmp_path / f"{name}-sound.csv", ["time_s", "f0"], [(time, time) for time in times]
        )
        write_csv(tmp_path / f"{name}.csv", ["time_s", "light"], [(time, -time) for time in times])
    result = CliRunner().invoke(app, ["data", "init", str(tmp_path)])
    assert result.exit_code == 0, result.output
    store, _ = import_streams(tmp_path, tmp_path / "store")
    assert [recording.name for recording in store.recordings] == ["P01_a", "P01_b", "P02_a"]
    assert store.target_names == ("valence",) and set(store.feature_sets) == {"sound", "features"}
    assert {recording.subject for recording in store.recordings} == {"P01", "P02"}

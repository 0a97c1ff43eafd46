"""`data import streams`: layouts that people have, clocks, gaps, missing values, raters."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streams_world import write_csv, write_source

from va_search.data.raters import fuse
from va_search.data.store import Store
from va_search.data.streams import import_streams
from va_search.errors import InputError
from va_search.files import read_json
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

SUBJECTS = [("a", "s1", "train"), ("b", "s2", "validation")]
LABELS = {"range": [-1, 1], "files": "labels/{recording}.csv"}
FACE = {"modality": "visual", "files": "face/{recording}.csv"}


def document(**changes: Any) -> dict[str, Any]:
    """A description with one target and one feature set."""
    return {"name": "test", "targets": {"valence": LABELS}, "features": {"face": FACE}, **changes}


def make(
    folder: Path,
    labels: Callable[[int], tuple[Any, ...] | None] = lambda row: (row / 2, row / 100),
    face: Callable[[int], tuple[Any, ...] | None] = lambda row: (row / 10, float(row)),
    **changes: Any,
) -> Path:
    """Two recordings of 20 labels (2 Hz) and 100 rows of a face (10 Hz); a row that is None is not
    written."""
    write_source(folder, document(**changes), SUBJECTS)
    for recording, _, _ in SUBJECTS:
        rows = [labels(row) for row in range(20)]
        write_csv(folder / f"labels/{recording}.csv", ["time_s", "valence"], _present(rows))
        rows = [face(row) for row in range(100)]
        write_csv(folder / f"face/{recording}.csv", ["time_s", "smile"], _present(rows))
    return folder


def _present(rows: list[tuple[Any, ...] | None]) -> list[tuple[Any, ...]]:
    return [row for row in rows if row is not None]


def refusal(folder: Path, to: Path) -> str:
    """The message with which a source is refused."""
    with pytest.raises(InputError) as error:
        import_streams(folder, to)
    return str(error.value)


def face(store: Store, recording: int = 0) -> list[float]:
    """The first column of the face of a recording."""
    span = store.recordings[recording].span
    return [float(value) for value in store.features("face")[span][:, 0]]


def test_the_labels_clock_makes_frames_and_features_are_their_mean(tmp_path: Path) -> None:
    store, report = import_streams(make(tmp_path / "source"), tmp_path / "store")

    # Frame 0 lasts from 0 to 0.5 s: rows 0 to 4; the last one as long.
    assert face(store)[:3] == [2.0, 7.0, 12.0]
    assert face(store)[-1] == 97.0
    assert store.times[:3].tolist() == [0.0, 0.5, 1.0]
    assert store.time_column == "time_s"
    assert store.recordings[0].frames_per_second == 2.0
    np.testing.assert_allclose(store.annotations[:3, 0], [0.0, 0.01, 0.02], atol=1e-7)
    row = report.streams[0]
    assert (row.rate[1], row.covered, row.begin[1], round(row.end[1], 3)) == (10.0, 1.0, 0.0, 0.4)
    kept = json.loads((store.path / "streams.json").read_text())
    assert kept["streams"][0]["name"] == "face"


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("nearest", [0.0, 5.0]),
        ("linear", [0.0, 5.0]),
        ("mean", [2.0, 7.0]),
        ("mean_spread", [2.0, 7.0]),
    ],
)
def test_a_stream_is_pooled_as_it_is_said(tmp_path: Path, pool: str, expected: list[float]) -> None:
    folder = make(tmp_path / "source", features={"face": {**FACE, "pool": pool}})
    store, _ = import_streams(folder, tmp_path / "store")

    assert face(store)[:2] == expected
    if pool == "mean_spread":
        assert store.feature_sets["face"].columns == ("smile", "smile_spread")
        assert store.features("face")[0, 1] == pytest.approx(np.std([0, 1, 2, 3, 4]))


def test_a_delay_takes_earlier_samples_and_a_window_counts_from_its_centre(tmp_path: Path) -> None:
    entry = {**FACE, "pool": "nearest", "delay": 0.3}
    folder = make(tmp_path / "source", features={"face": entry})
    store, _ = import_streams(folder, tmp_path / "store")
    assert face(store)[1] == 2.0  # of 0.5 s: the sample at 0.2 s

    entry = {**FACE, "pool": "nearest", "window": 0.4}
    folder = make(tmp_path / "window", features={"face": entry})
    store, _ = import_streams(folder, tmp_path / "store2")
    assert face(store)[1] == 3.0  # the window from 0.3 to 0.7 s


def test_nothing_is_interpolated_over_a_hole(tmp_path: Path) -> None:
    def with_hole(row: int) -> tuple[Any, ...] | None:
        return None if 20 <= row < 40 else (row / 10, float(row))

    for pool in ("linear", "mean", "nearest"):
        folder = make(tmp_path / pool, face=with_hole, features={"face": {**FACE, "pool": pool}})
        store, report = import_streams(folder, tmp_path / f"store-{pool}")

        # Rows end at 1.9 s and go on at 4 s: frames 4 to 7 (2 to 3.5 s) have nothing.
        missing = np.flatnonzero(~store.valid_of("face")[:20]).tolist()
        assert missing == [4, 5, 6, 7]
        assert np.isnan(face(store)[4:8]).all()
        assert not np.isnan(face(store)[8:20]).any()
        assert report.streams[0].missing_frames == 8
        assert report.streams[0].gaps == 2
        assert report.without_some == 8


def test_rows_with_an_empty_cell_and_frames_without_a_face_are_missing(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    for recording, _, _ in SUBJECTS:
        rows = []
        for row in range(100):
            smile = "NaN" if 20 <= row < 25 else float(row)
            rows.append((row / 10, smile, 0 if 30 <= row < 35 else 1))
        write_csv(folder / f"face/{recording}.csv", ["time_s", "smile", "success"], rows)
    store, report = import_streams(folder, tmp_path / "store")

    assert store.feature_sets["face"].columns == ("smile",)
    assert np.flatnonzero(~store.valid_of("face")[:20]).tolist() == [4, 6]
    assert report.streams[0].missing_rows == 20


def test_a_recording_that_lacks_a_whole_stream_is_refused_in_words(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    (folder / "face/b.csv").unlink()
    message = refusal(folder, tmp_path / "store")

    assert "recording 'b': features.face: no " in message
    assert "if recordings may lack the whole stream, say so" in message
    assert not (tmp_path / "store").exists()


def test_recordings_may_lack_an_optional_stream_which_is_missing_then(tmp_path: Path) -> None:
    voice = {"files": "voice/{recording}.csv", "modality": "audio", "optional": True}
    folder = make(tmp_path / "source", features={"face": FACE, "voice": voice})
    rows = [(row / 10, float(row), 2.0 * row) for row in range(100)]
    write_csv(folder / "voice/a.csv", ["time_s", "pitch", "loud"], rows)
    store, report = import_streams(folder, tmp_path / "store")

    voices = store.features("voice")
    a, b = store.recordings
    assert not np.isnan(voices[a.span]).any()
    assert np.isnan(voices[b.span]).all()
    assert store.valid_of("face").all()
    row = next(row for row in report.streams if "voice" in row.name)
    assert row.covered == a.frames / store.frames
    warnings = read_json(tmp_path / "store/manifest.json")["warnings"]
    assert any("recording 'b': features.voice" in text for text in warnings)

    # Training sees zeros and the mask, whoever lacks the stream.
    for normalise in ("train", "subject", "recording"):
        settings = TrialSettings(
            features=("face", "voice"), encoder="gru", normalise=normalise, segment_length=10
        )
        fit = Fit(settings, store)
        assert np.isfinite(fit.run_epoch().loss)

    (folder / "face/b.csv").unlink()
    (folder / "labels/b.csv").unlink()
    everything = {"face": {**FACE, "optional": True}, "voice": voice}
    write_source(folder, document(features=everything), SUBJECTS)
    assert "recording 'b': no stream has a file of it" in refusal(folder, tmp_path / "other")


def test_a_recording_may_lack_a_target_and_only_test_all_of_them(tmp_path: Path) -> None:
    targets = {"valence": LABELS, "calm": {"range": [0, 100], "files": "calm/{recording}.csv"}}
    folder = make(tmp_path / "source", targets=targets)
    write_csv(folder / "calm/a.csv", ["time_s", "calm"], [(i / 2, i) for i in range(20)])
    store, _ = import_streams(folder, tmp_path / "store")
    assert np.isnan(store.annotations[store.recordings[1].span][:, 1]).all()
    warnings = json.loads((store.path / "manifest.json").read_text())["warnings"]
    assert any("recording 'b': targets.calm: no " in text for text in warnings)

    (folder / "labels/b.csv").unlink()
    assert "only test recordings may have no labels" in refusal(folder, tmp_path / "other")
    rows = [(row / 2, 0, 0) for row in range(20)]
    write_csv(folder / "labels/b.csv", ["time_s", "mood", "calm"], rows)
    assert "b.csv: targets.valence: unknown column 'valence'" in refusal(folder, tmp_path / "other")


def test_files_of_a_feature_set_have_the_same_columns(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    rows = [(row / 10, row, row) for row in range(100)]
    write_csv(folder / "face/b.csv", ["time_s", "smile", "frown"], rows)
    assert "column 'frown' is not in the stream's first file" in refusal(folder, tmp_path / "s")
    write_csv(folder / "face/b.csv", ["time_s", "frown"], [row[:2] for row in rows])
    assert "b.csv: unknown column 'smile'" in refusal(folder, tmp_path / "s")


def test_settings_without_an_effect_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "source", targets={"valence": {**LABELS, "fuse": "ewe"}})
    assert "`fuse` goes with several raters" in refusal(folder, tmp_path / "store")
    folder = make(tmp_path / "other", targets={"valence": {**LABELS, "pool": "mean"}})
    assert "targets.valence.pool goes with `frames_per_second`" in refusal(
        folder, tmp_path / "store"
    )


def test_streams_whose_clocks_do_not_meet_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "source", face=lambda row: (1000 + row / 10, float(row)))
    assert "times run from 1000 to 1009.9 s, the frames' from 0 to 9.5 s" in refusal(
        folder, tmp_path / "store"
    )


# Clocks.


def test_a_unit_that_only_the_values_tell_is_guessed_with_a_remark(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    for recording, _, _ in SUBJECTS:
        labels = [(500 * row, row / 100) for row in range(20)]
        write_csv(folder / f"labels/{recording}.csv", ["timestamp", "valence"], labels)
        write_csv(
            folder / f"face/{recording}.csv", ["time", "smile"], [(i / 10, i) for i in range(100)]
        )
    store, _ = import_streams(folder, tmp_path / "store")

    warnings = json.loads((store.path / "manifest.json").read_text())["warnings"]
    assert any(
        "targets.valence: column 'timestamp' is taken for milliseconds" in t for t in warnings
    )
    assert any("features.face: column 'time' is taken for seconds (10 per" in t for t in warnings)
    assert face(store)[:2] == [2.0, 7.0]
    assert store.times[:2].tolist() == [0.0, 500.0]


def test_two_readings_of_a_clock_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    for recording, _, _ in SUBJECTS:
        rows = [(5 * row, row / 100) for row in range(100)]
        for name in ("labels", "face"):
            column = "valence" if name == "labels" else "smile"
            write_csv(folder / f"{name}/{recording}.csv", ["time", column], rows)
    message = refusal(folder, tmp_path / "store")

    assert "may be in seconds (0.2 per second, 495 s) or in milliseconds (200 per second" in message
    assert "`unit:` under targets.valence" in message


def test_milliseconds_declared_as_seconds_are_refused(tmp_path: Path) -> None:
    entry = {**FACE, "unit": "s", "clock": "time_s"}
    folder = make(
        tmp_path / "source", face=lambda row: (100 * row, float(row)), features={"face": entry}
    )
    message = refusal(folder, tmp_path / "store")

    assert "do not fit each other" in message
    assert "in seconds 9900 s at 0.01 per second" in message


def test_a_file_in_another_unit_than_the_first_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    rows = [(100 * row, row) for row in range(100)]
    write_csv(folder / "face/b.csv", ["time_s", "smile"], rows)

    assert "b.csv: features.face: its clock steps at 0.01 per second, that of the" in refusal(
        folder, tmp_path / "store"
    )


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(1.0, i) for i in range(30)], "is 1 in all 30 rows, so it is no clock"),
        (
            [(i / 10, i) for i in [0, 1, 2, 3, 4, 9, 8, 10]],
            "b.csv:8: time_s 0.8 after 0.9; times must increase",
        ),
        ([(i / 10, i) for i in [0, 1, 2, 3, 3, 4]], "b.csv:6: time_s 0.3 stands twice"),
        ([(i / 10 if i != 3 else None, i) for i in range(9)], "b.csv:5: 'time_s' is empty"),
    ],
)
def test_a_clock_that_stands_still_goes_back_or_repeats_is_refused(
    tmp_path: Path, rows: list[tuple[Any, ...]], text: str
) -> None:
    folder = make(tmp_path / "source")
    write_csv(folder / "face/b.csv", ["time_s", "smile"], rows)

    assert text in refusal(folder, tmp_path / "store")


def test_frame_numbers_and_files_without_a_clock_need_a_rate(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    for recording, _, _ in SUBJECTS:
        rows = [(row + 1, float(row)) for row in range(100)]
        write_csv(folder / f"face/{recording}.csv", ["frame", "smile"], rows)
    assert "has frame numbers, and nothing says at which rate" in refusal(folder, tmp_path / "s")

    write_source(folder, document(features={"face": {**FACE, "frames_per_second": 10}}), SUBJECTS)
    store, _ = import_streams(folder, tmp_path / "store")
    assert face(store)[:2] == [2.0, 7.0]

    for recording, _, _ in SUBJECTS:
        write_csv(folder / f"face/{recording}.csv", ["smile"], [(row,) for row in range(100)])
    entry = {**FACE, "frames_per_second": 10, "starts_at": 0.5}
    write_source(folder, document(features={"face": entry}), SUBJECTS)
    store, report = import_streams(folder, tmp_path / "later")
    assert face(store)[1] == 2.0
    assert not store.valid_of("face")[0]
    assert report.streams[0].begin[1] == 0.5


def test_a_rate_that_makes_a_stream_end_too_early_is_told_with_one_that_fits(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path / "source", features={"face": {**FACE, "frames_per_second": 15}})
    for recording, _, _ in SUBJECTS:
        write_csv(folder / f"face/{recording}.csv", ["smile"], [(row,) for row in range(100)])
    store, _ = import_streams(folder, tmp_path / "store")

    warnings = json.loads((store.path / "manifest.json").read_text())["warnings"]
    assert any("ends 2.9 s before the last frame: is frames_per_second 15" in t for t in warnings)


def test_dates_and_times_of_day_are_clocks(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    for recording, _, _ in SUBJECTS:
        labels = [(f"2024-05-01 23:59:{55 + row / 2:06.3f}", row / 100) for row in range(10)]
        labels += [(f"2024-05-02 00:00:{row / 2:06.3f}", row / 100) for row in range(10)]
        write_csv(folder / f"labels/{recording}.csv", ["timestamp", "valence"], labels)
        rows = [(f"2024-05-01T23:59:{55 + row / 10:04.1f}", row) for row in range(50)]
        rows += [(f"2024-05-02T00:00:{row / 10:04.1f}", 50 + row) for row in range(50)]
        write_csv(folder / f"face/{recording}.csv", ["timestamp", "smile"], rows)
    store, _ = import_streams(folder, tmp_path / "store")

    assert face(store)[9:12] == [47.0, 52.0, 57.0]
    assert store.recordings[0].gaps == ()


def test_clocks_that_start_again_are_gaps_and_parts_stay_apart(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "source",
        labels=lambda row: (row % 10 / 2, row / 100),
        face=lambda row: (row % 50 / 10, float(row)),
    )
    store, _ = import_streams(folder, tmp_path / "store")

    assert store.recordings[0].gaps == (10,)
    assert face(store)[9:11] == [47.0, 52.0]
    assert store.times[9:11].tolist() == [4.5, 0.0]


def test_a_stream_that_starts_again_less_often_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "source", labels=lambda row: (row % 10 / 2, row / 100))
    message = refusal(folder, tmp_path / "store")

    assert "recording 'a': clocks start again" in message
    assert "valence has 2, feature set face has 1" in message


def test_segments_of_one_clock_are_gaps(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    for recording, _, _ in SUBJECTS:
        rows = [(row / 2, row / 100, 1 if row < 8 else 2) for row in range(20)]
        write_csv(folder / f"labels/{recording}.csv", ["time_s", "valence", "segment_id"], rows)
    store, _ = import_streams(folder, tmp_path / "store")

    assert store.recordings[0].gaps == (8,)


def test_targets_beside_each_other_need_a_named_rate(tmp_path: Path) -> None:
    targets = {"valence": LABELS, "calm": {"range": [0, 100], "files": "calm/{recording}.csv"}}
    folder = make(tmp_path / "source", targets=targets)
    for recording, _, _ in SUBJECTS:
        rows = [(0.2 + row / 2, row) for row in range(20)]
        write_csv(folder / f"calm/{recording}.csv", ["time_s", "calm"], rows)
    assert "clocks lie beside each other" in refusal(folder, tmp_path / "store")

    write_source(folder, document(targets=targets, frames_per_second=1), SUBJECTS)
    store, report = import_streams(folder, tmp_path / "store")
    # Frame 1 lasts from 1 to 2 s: labels of valence at 1 and 1.5, of calm at 1.2 and 1.7.
    np.testing.assert_allclose(store.annotations[1], [0.025, 2.5], atol=1e-6)
    assert report.targets[0].clock == "brought to the frames: mean"


def test_a_target_at_half_the_rate_labels_half_of_the_frames(tmp_path: Path) -> None:
    targets = {"valence": LABELS, "calm": {"range": [0, 100], "files": "calm/{recording}.csv"}}
    folder = make(tmp_path / "source", targets=targets)
    for recording, _, _ in SUBJECTS:
        write_csv(folder / f"calm/{recording}.csv", ["time_s", "calm"], [(i, i) for i in range(10)])
    store, report = import_streams(folder, tmp_path / "store")

    assert np.isnan(store.annotations[1, 1])
    assert store.annotations[2].tolist() == pytest.approx([0.02, 1.0])
    assert [row.labelled for row in report.targets] == [1.0, 0.5]


def test_labels_outside_their_target_s_range_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "source", labels=lambda row: (row / 2, row / 10))
    assert "recording 'a': valence 1.1 (and 8 more) is outside its range [-1, 1]" in refusal(
        folder, tmp_path / "store"
    )


# Descriptions.


def test_every_mistake_in_streams_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    (folder / "streams.yaml").write_text(
        "name: x\n"
        "targets:\n"
        "  valence: {range: [1, -1], files: 'labels/{recording}.csv'}\n"
        "features:\n"
        "  face: {modality: visual, files: 'face/{recording}.csv', pool: mode, unit: secs}\n"
        "  voice: {modality: audio, files: v.csv, unit: frames}\n"
        "fps: 3\n"
    )
    message = refusal(folder, tmp_path / "store")

    assert "streams.yaml:3: targets.valence.range: `low < high` must hold" in message
    assert "streams.yaml:5: features.face.pool" in message
    assert "streams.yaml:6: features.voice: `unit: frames` needs frames_per_second" in message
    assert "streams.yaml:7: fps: unknown key 'fps'; did you mean 'frames_per_second'?" in message


def test_patterns_names_and_all_others_choose_columns(tmp_path: Path) -> None:
    features = {
        "face": {**FACE, "columns": "AU*_r"},
        "gaze": {**FACE, "columns": ["gaze_x", "gaze_y"]},
        "rest": {**FACE, "columns": "all others"},
    }
    folder = make(tmp_path / "source", features=features)
    header = [
        "frame",
        "face_id",
        "timestamp",
        "confidence",
        "success",
        "gaze_x",
        "gaze_y",
        "AU01_r",
        "AU01_c",
        "AU02_r",
    ]
    for recording, _, _ in SUBJECTS:
        rows = [(i + 1, 0, i / 10, 0.9, 1, i, -i, 2 * i, 1, 3 * i) for i in range(100)]
        write_csv(folder / f"face/{recording}.csv", header, rows)
    store, _ = import_streams(folder, tmp_path / "store")

    assert store.feature_sets["face"].columns == ("AU01_r", "AU02_r")
    assert store.feature_sets["gaze"].columns == ("gaze_x", "gaze_y")
    assert store.feature_sets["rest"].columns == ("gaze_x", "gaze_y", "AU01_r", "AU01_c", "AU02_r")
    assert store.features("face")[0].tolist() == [4.0, 6.0]

    write_source(folder, document(features={"face": {**FACE, "columns": "AU*_x"}}), SUBJECTS)
    assert "features.face.columns: unknown column 'AU*_x'" in refusal(folder, tmp_path / "s")


def test_one_file_of_all_recordings_is_divided_by_its_column(tmp_path: Path) -> None:
    entry = {"files": "all.csv"}
    features = {"face": {**entry, "modality": "visual"}}
    targets = {"valence": {**entry, "range": [-1, 1]}}
    folder = make(tmp_path / "source", features=features, targets=targets)
    rows = []
    for row in range(60):
        for number, recording in enumerate("ab"):
            rows.append((recording, row / 10, row + 1000 * number, row / 100))
    write_csv(folder / "all.csv", ["recording", "time_s", "smile", "valence"], rows)
    store, _ = import_streams(folder, tmp_path / "store")

    assert store.feature_sets["face"].columns == ("smile",)
    assert face(store)[:2] == [0.0, 1.0]
    assert face(store, 1)[:2] == [1000.0, 1001.0]


def test_a_pattern_may_name_any_column_of_recordings_csv(tmp_path: Path) -> None:
    folder = make(tmp_path / "source", features={"face": {**FACE, "files": "{site}/{subject}.csv"}})
    rows = [("a", "s1", "train", "north"), ("b", "s2", "validation", "south")]
    write_csv(folder / "recordings.csv", ["recording", "subject", "split", "site"], rows)
    assert "recording 'a': features.face: no " in refusal(folder, tmp_path / "store")
    for recording, subject, _, site in rows:
        header = ["recording", "time_s", "smile"]
        content = [(recording, i / 10, i) for i in range(100)]
        write_csv(folder / site / f"{subject}.csv", header, content)
    store, _ = import_streams(folder, tmp_path / "store")
    assert face(store)[0] == 2.0

    write_source(folder, document(features={"face": {**FACE, "files": "{place}.csv"}}), SUBJECTS)
    assert "{place} is no column of recordings.csv" in refusal(folder, tmp_path / "s")


def test_recordings_may_be_called_anything(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    names = {"-_r 0": "-_r 0", "访谈/v:1": "访谈%2Fv%3A1"}
    rows = [(name, name, split) for name, split in zip(names, ["train", "validation"], strict=True)]
    write_csv(folder / "recordings.csv", ["recording", "subject", "split"], rows)
    for old, file_name in zip("ab", names.values(), strict=True):
        for stream in ("labels", "face"):
            (folder / stream / f"{old}.csv").rename(folder / stream / f"{file_name}.csv")
    store, _ = import_streams(folder, tmp_path / "store")
    assert [recording.name for recording in store.recordings] == list(names)
    assert face(store, 1)[0] == 2.0

    write_csv(folder / "recordings.csv", ["recording", "subject", "split"], [("..", "s", "train")])
    assert "no " in refusal(folder, tmp_path / "other")


# Whole imports.


def test_a_killed_import_goes_on_and_a_finished_one_is_found(tmp_path: Path) -> None:
    folder = make(tmp_path / "source")
    whole = (folder / "face/b.csv").read_text()
    write_csv(folder / "face/b.csv", ["time_s", "smile"], [(i / 10, "x") for i in range(100)])
    refusal(folder, tmp_path / "store")
    parts = list((tmp_path / "store.partial/parts").glob("*.npz"))
    assert len(parts) == 1
    read_before = parts[0].stat().st_mtime_ns

    (folder / "face/b.csv").write_text(whole)
    import_streams(folder, tmp_path / "store")
    before = (tmp_path / "store/manifest.json").stat().st_mtime_ns
    (tmp_path / "store/streams.json").unlink()
    _, report = import_streams(folder, tmp_path / "store")

    assert read_before < before
    assert (tmp_path / "store/manifest.json").stat().st_mtime_ns == before
    assert (tmp_path / "store/streams.json").is_file()
    assert report.streams[0].covered == 1.0


def test_muse_segments_and_partition_come_as_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "muse"
    targets = {}
    for name in ("valence", "arousal"):
        files = f"label_segments/{name}/{{recording}}.csv"
        targets[name] = {"range": [-1, 1], "files": files, "column": "value"}
    features = {}
    for name, modality in (("egemaps", "audio"), ("faus", "visual")):
        files = f"feature_segments/{name}/{{recording}}.csv"
        features[name] = {"files": files, "modality": modality, "pool": "nearest"}
    write_source(
        folder,
        {
            "name": "muse", "recordings": "metadata/partition.csv",
            "targets": targets, "features": features,
        },
        [],
    )  # fmt: skip
    splits = [(1, "train"), (2, "devel"), (3, "test")]
    write_csv(folder / "metadata/partition.csv", ["Id", "Proposal"], splits)
    segments = [1] * 20 + [2] * 20
    times = [500 * row for row in range(20)] + [30_000 + 500 * row for row in range(20)]
    for recording, split in splits:
        for name in targets:
            rows = [
                (t, "" if split == "test" else t / 1e6, s)
                for t, s in zip(times, segments, strict=True)
            ]
            write_csv(
                folder / f"label_segments/{name}/{recording}.csv",
                ["timestamp", "value", "segment_id"],
                rows,
            )
        for name in features:
            values = [(t, s, t / 10) for t, s in zip(times, segments, strict=True)]
            write_csv(
                folder / f"feature_segments/{name}/{recording}.csv",
                ["timestamp", "segment_id", "x"],
                values,
            )
    store, _ = import_streams(folder, tmp_path / "store")

    assert [recording.split for recording in store.recordings] == ["train", "validation", "test"]
    assert store.recordings[0].frames_per_second == 2.0
    assert store.recordings[0].gaps == (20,)
    assert store.features("faus")[21, 0] == 3050.0
    assert np.isnan(store.annotations[store.recordings[2].span]).all()
    assert store.times[store.recordings[2].span].tolist() == times


def test_epic_physiology_and_annotations_come_as_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "epic"
    ends = {"range": [0.5, 9.5], "files": "{split}/annotations/{recording}.csv"}
    entry = {"modality": "physiology", "files": "{split}/physiology/{recording}.csv"}
    recordings = [
        ("sub_0_vid_0", "0", "train"),
        ("sub_1_vid_0", "1", "validation"),
        ("sub_2_vid_1", "2", "test"),
    ]
    write_source(
        folder,
        {
            "name": "epic",
            "targets": {"valence": ends, "arousal": ends},
            "features": {"body": entry},
        },
        recordings,
    )
    for recording, _, split in recordings:
        rows = [(t, np.sin(t / 100), 0.1) for t in range(12_000)]
        write_csv(folder / f"{split}/physiology/{recording}.csv", ["time", "ecg", "gsr"], rows)
        labels = [(10_000 + 50 * i, *(("", "") if split == "test" else (5, 4))) for i in range(40)]
        write_csv(
            folder / f"{split}/annotations/{recording}.csv", ["time", "valence", "arousal"], labels
        )
    store, report = import_streams(folder, tmp_path / "store")

    assert store.recordings[2].frames == 40
    expected = np.sin(np.arange(10_050, 10_100) / 100).mean()
    assert store.features("body")[1, 0] == pytest.approx(expected, abs=1e-6)
    assert report.streams[0].begin[1] == -10.0
    assert store.times[:2].tolist() == [10_000.0, 10_050.0]


def test_openface_and_opensmile_come_as_they_lie(tmp_path: Path) -> None:
    features = {
        "face": {"modality": "visual", "files": "openface/{recording}.csv", "columns": "AU*_r"},
        "egemaps": {"modality": "audio", "files": "opensmile/{recording}.csv", "window": 0.06, "pool": "mean_spread"},
    }  # fmt: skip
    folder = make(tmp_path / "source", features=features)
    for recording, _, _ in SUBJECTS:
        faces = [(i + 1, 0, round(i / 30, 3), 0.98, int(i < 200), i, 1) for i in range(300)]
        header = ["frame", "face_id", "timestamp", "confidence", "success", "AU01_r", "AU01_c"]
        write_csv(folder / f"openface/{recording}.csv", header, faces)
        lines = ["name;frameTime;F0;loudness"]
        lines += [f"'unknown';{i / 100};{i};{i % 2}" for i in range(990)]
        (folder / "opensmile").mkdir(exist_ok=True)
        (folder / f"opensmile/{recording}.csv").write_text("\n".join(lines) + "\n")
    store, report = import_streams(folder, tmp_path / "store")

    assert face(store)[1] == pytest.approx(np.mean(np.arange(15, 30)))
    # Windows whose centres lie from 0.5 to 1 s begin from 0.47 to 0.97 s.
    assert store.features("egemaps")[1, 0] == pytest.approx(np.mean(np.arange(47, 97)))
    assert store.features("egemaps")[1, 3] == pytest.approx(0.5)
    assert report.streams[0].rate[1] == 30.0
    # From 6.7 s on nobody is seen.
    assert np.flatnonzero(~store.valid_of("face")[:20]).tolist() == [14, 15, 16, 17, 18, 19]
    assert report.streams[0].missing_rows == 200


def test_forrest_gump_comes_as_it_lies(tmp_path: Path) -> None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "forrest"
    recordings = Path(os.environ.get("VA_SEARCH_FORREST", beside))
    if not (recordings / "recordings.csv").is_file():
        pytest.skip(f"the Forrest Gump recordings are not at {recordings} (set VA_SEARCH_FORREST)")
    source = tmp_path / "forrest"
    source.mkdir()
    for name in ("features", "labels", "recordings.csv"):
        (source / name).symlink_to(recordings / name)
    ends = {"range": [-1, 1], "files": "labels/{recording}.csv"}
    features = {}
    for name, modality in (("sound", "audio"), ("light", "visual")):
        features[name] = {"modality": modality, "files": f"features/{name}/{{recording}}.csv"}
    (source / "streams.yaml").write_text(
        json.dumps(
            {"name": "f", "targets": {"valence": ends, "arousal": ends}, "features": features}
        )
    )
    store, report = import_streams(source, tmp_path / "store")

    assert [recording.frames_per_second for recording in store.recordings] == [1.0] * 8
    assert store.recordings[0].frames == 886
    content = np.genfromtxt(recordings / "features/sound/segment1.csv", delimiter=",", names=True)
    expected = content["rms"][(content["time"] >= 100) & (content["time"] < 101)].mean()
    assert store.features("sound")[100, 0] == pytest.approx(expected, rel=1e-6)
    assert [row.rate[1] for row in report.streams] == [25.0, 25.0]
    assert report.without_some == 0


# Raters.


def rated(folder: Path, **target: Any) -> Path:
    """A source whose target has raters; `target` replaces keys of its entry."""
    return make(folder, targets={"valence": {**LABELS, **target}})


def annotation(store: Store) -> list[float]:
    """The first recording's valence."""
    return [float(label) for label in store.annotations[store.recordings[0].span][:, 0]]


TRACES = {"ann": [0.0, 0.2, 0.4, 0.6], "bob": [0.1, 0.3, 0.3, 0.7], "cy": [0.5, 0.1, 0.2, 0.0]}
"""Two raters who agree, and one who goes the other way."""


@pytest.mark.parametrize("layout", ["columns", "rows", "files"])
def test_raters_in_columns_rows_and_files_are_fused_to_their_mean(
    tmp_path: Path, layout: str
) -> None:
    targets: dict[str, dict[str, Any]] = {
        "columns": {"raters": ["ann", "b*", "cy"]},
        "rows": {"rater_column": "rater"},
        "files": {"files": "labels/{rater}/{recording}.csv"},
    }
    folder = rated(tmp_path / "source", **targets[layout])
    for recording, _, _ in SUBJECTS:
        file = folder / f"labels/{recording}.csv"
        if layout == "columns":
            rows = [(i / 2, *values) for i, values in enumerate(zip(*TRACES.values(), strict=True))]
            write_csv(file, ["time_s", *TRACES], rows)
        if layout == "rows":
            rows = [(name, i / 2, v) for name, trace in TRACES.items() for i, v in enumerate(trace)]
            write_csv(file, ["rater", "time_s", "valence"], rows)
        if layout == "files":
            for name, trace in TRACES.items():
                rows = [(i / 2, value) for i, value in enumerate(trace)]
                write_csv(folder / f"labels/{name}/{recording}.csv", ["time_s", "valence"], rows)
    store, report = import_streams(folder, tmp_path / "store")

    assert annotation(store) == pytest.approx([0.2, 0.2, 0.3, 1.3 / 3])
    assert (report.targets[0].raters, report.targets[0].fuse) == (3, "mean")
    facts = report.recordings["a"].raters["valence"]
    pairs = [("ann", "bob"), ("ann", "cy"), ("bob", "cy")]
    expected = np.mean([np.corrcoef(TRACES[one], TRACES[other])[0, 1] for one, other in pairs])
    assert facts.r == pytest.approx(expected)
    assert facts.ccc is not None
    assert facts.weights == pytest.approx({"ann": 1 / 3, "bob": 1 / 3, "cy": 1 / 3})


def test_ewe_weighs_raters_by_their_agreement_with_the_others(tmp_path: Path) -> None:
    folder = rated(tmp_path / "source", raters=list(TRACES), fuse="ewe")
    for recording, _, _ in SUBJECTS:
        rows = [(i / 2, *values) for i, values in enumerate(zip(*TRACES.values(), strict=True))]
        write_csv(folder / f"labels/{recording}.csv", ["time_s", *TRACES], rows)
    store, report = import_streams(folder, tmp_path / "store")

    weights = []
    for name, trace in TRACES.items():
        others = np.mean([values for other, values in TRACES.items() if other != name], axis=0)
        weights.append(max(np.corrcoef(trace, others)[0, 1], 0))
    expected = np.array(weights) @ np.array(list(TRACES.values())) / np.sum(weights)
    assert annotation(store) == pytest.approx(expected.tolist())
    assert report.recordings["a"].raters["valence"].weights["cy"] == 0.0


def test_a_frame_takes_the_raters_who_labelled_it() -> None:
    matrix = np.array([[0.0, 1.0], [np.nan, 0.5], [np.nan, np.nan]])
    annotation, weights = fuse(matrix, "mean")
    assert annotation[:2].tolist() == [0.5, 0.5]
    assert np.isnan(annotation[2])
    assert weights.tolist() == [0.5, 0.5]


def test_ewe_of_raters_who_agree_on_nothing_is_their_mean() -> None:
    matrix = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    annotation, weights = fuse(matrix, "ewe")
    assert annotation.tolist() == [0.5, 0.5, 0.5]
    assert weights.tolist() == [0.5, 0.5]


def test_raters_are_given_in_one_way(tmp_path: Path) -> None:
    folder = rated(tmp_path / "source", raters=["a"], rater_column="rater")
    assert "give one of them" in refusal(folder, tmp_path / "store")

"""The Aff-Wild2 importer: labels, test recordings, rows by frame, and the audio of two persons in
one video."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from formats import WRITERS
from hypothesis import given
from hypothesis import strategies as st

from va_search.data.affwild2 import import_affwild2
from va_search.data.affwild2_sources import video_of
from va_search.data.frame_names import nearest
from va_search.data.readers import suffix_of
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import read_json

LENGTHS = {
    "10-60-1280x720": 6,
    "video2": 9,
    "video2_left": 8,
    "5-30": 7,
    "8-30_left": 5,
    "8-30_right": 4,
}
TRAIN, VALIDATION, TEST = (
    ("10-60-1280x720", "video2", "video2_left"),
    ("5-30",),
    ("8-30_right", "8-30_left"),
)
DIMS = {"face": 3, "voice": 2}


def features(name: str, feature_set: str, rows: int | None = None) -> np.ndarray:
    """Rows whose first column is the row's number, so that alignment shows."""
    rows = LENGTHS.get(name, 9) if rows is None else rows
    values = (
        np.random.default_rng(len(name)).normal(size=(rows, DIMS[feature_set])).astype(np.float32)
    )
    values[:, 0] = np.arange(1, rows + 1)
    return values


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    """A whole challenge; the label folders lie one level down, as in the official archive."""
    labels = tmp_path / "annotations" / "VA_Estimation_Challenge"
    for folder, names in (("Train_Set", TRAIN), ("Validation_Set", VALIDATION)):
        (labels / folder).mkdir(parents=True)
        for name in names:
            rows = [f"{0.1 * frame:.1f},-0.5" for frame in range(LENGTHS[name])]
            (labels / folder / f"{name}.txt").write_text(
                "\n".join(["valence,arousal", *rows]) + "\n"
            )
    rows = [f"{name}/{frame:05d}.jpg,0,0" for name in TEST for frame in range(1, LENGTHS[name] + 1)]
    (tmp_path / "sample.txt").write_text(
        "\n".join(["image_location,valence,arousal", *rows]) + "\n"
    )
    for modality, feature_set in (("visual", "face"), ("audio", "voice")):
        (tmp_path / modality / feature_set).mkdir(parents=True)
        for name in LENGTHS:
            np.save(tmp_path / modality / feature_set / f"{name}.npy", features(name, feature_set))
    return {
        "annotations": tmp_path / "annotations", "to": tmp_path / "store", "sample": tmp_path / "sample.txt",
        "visual": tmp_path / "visual", "audio": tmp_path / "audio",
    }  # fmt: skip


def label_file(places: dict[str, Any], name: str = "video2") -> Path:
    folder = "Train_Set" if name in TRAIN else "Validation_Set"
    return Path(places["annotations"]) / "VA_Estimation_Challenge" / folder / f"{name}.txt"


def refused(places: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        import_affwild2(**places)
    assert not Path(places["to"]).exists()
    return str(error.value)


def numbers(store: Store, name: str, feature_set: str = "face") -> list[float]:
    """Which rows the frames of a recording took."""
    recording = next(r for r in store.recordings if r.name == name)
    return store.features(feature_set)[recording.start : recording.stop, 0].tolist()  # type: ignore[no-any-return]


def valid(store: Store, name: str) -> list[bool]:
    recording = next(r for r in store.recordings if r.name == name)
    return store.valid[recording.start : recording.stop].tolist()  # type: ignore[no-any-return]


def warnings(store: Store) -> str:
    return "\n".join(read_json(store.path / "manifest.json")["warnings"])


def test_reads_the_official_layout(places: dict[str, Any]) -> None:
    store = import_affwild2(**places)
    assert [r.name for r in store.split("train")] == sorted(TRAIN)
    assert [r.name for r in store.split("test")] == list(TEST)  # the sample's order
    assert [r.frames for r in store.split("test")] == [4, 5]
    assert {r.name: r.video for r in store.recordings}["video2_left"] == "video2"
    assert {r.subject for r in store.recordings} == set(LENGTHS)
    assert {name: (s.modality, s.dim) for name, s in store.feature_sets.items()} == {
        "face": ("visual", 3), "voice": ("audio", 2),
    }  # fmt: skip
    assert store.targets[0].range == (-1.0, 1.0)
    first = store.recordings[0]
    np.testing.assert_allclose(
        store.annotations[first.start : first.stop, 0], np.arange(6) / 10, atol=1e-6
    )
    assert np.isnan(store.annotations[store.split("test")[0].start :]).all()
    assert "30 frames per second taken" in warnings(store)
    assert {r.frames_per_second for r in store.recordings} == {30.0}


def test_label_folders_given_directly(places: dict[str, Any]) -> None:
    places["annotations"] = places["annotations"] / "VA_Estimation_Challenge"
    assert len(import_affwild2(**places).recordings) == 6


def test_unlabelled_frames_stay_in_place(places: dict[str, Any]) -> None:
    lines = label_file(places).read_text().splitlines()
    lines[3] = "-5,-5"
    label_file(places).write_text("\n".join(lines))
    store = import_affwild2(**places)
    video = next(r for r in store.recordings if r.name == "video2")
    assert np.isnan(store.annotations[video.start + 2]).all()
    assert store.annotations[video.start + 3, 0] == pytest.approx(0.3)
    assert video.frames == 9 and numbers(store, "video2") == list(range(1, 10))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("-5,0.1", "video2.txt:4: one label is -5 and the other is not"),
        ("0.1,1.01", "video2.txt:4: arousal 1.01 is outside the label range [-1, 1]"),
        ("-4.9,-5", "one label is -5 and the other is not"),
        ("x,0.1", "video2.txt:4: column 'valence': 'x' is not a number"),
        (",0.1", "video2.txt:4: empty label"),
        ("0.1", "video2.txt:4: 1 cell, expected 2"),
    ],
)
def test_bad_labels(places: dict[str, Any], row: str, message: str) -> None:
    lines = label_file(places).read_text().splitlines()
    lines[3] = row
    label_file(places).write_text("\n".join(lines))
    assert message in refused(places)


def test_an_empty_line_between_labels_or_features_would_shift_frames(
    places: dict[str, Any],
) -> None:
    lines = label_file(places).read_text().splitlines()
    label_file(places).write_text("\n".join([*lines[:4], "", *lines[4:], "", ""]))
    folder = places["audio"] / "voice"
    (folder / "5-30.npy").unlink()
    (folder / "5-30.csv").write_text("a,b\r\n" + "1,2\r\n" * 3 + "\r\n" + "1,2\r\n" * 4 + "\r\n")
    with pytest.raises(InputError) as refused:
        import_affwild2(**places)
    text = "\n".join(refused.value.problems)
    assert "video2.txt:5: empty line; every row is a frame" in text
    assert "(the same at 5-30.csv:5)" in text


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_row_numbers_of_pandas_are_no_feature(places: dict[str, Any], name: str) -> None:
    folder = places["visual"] / "face"
    (folder / "video2.npy").unlink()
    (folder / "video2.csv").write_text(
        f"{name},a,b\n" + "".join(f"{row},1,2\n" for row in range(9))
    )
    with pytest.raises(InputError, match=f"column '{name}' has no name of its own"):
        import_affwild2(**places)


def test_bad_label_header_and_bad_features_are_told_together(places: dict[str, Any]) -> None:
    label_file(places).write_text("arousal,valence\n0,0\n")
    values = features("5-30", "face")
    values[2, 1] = np.nan
    np.save(places["visual"] / "face" / "5-30.npy", values)
    found = refused(places)
    assert "video2.txt:1: header 'arousal,valence', expected 'valence,arousal'" in found
    assert (
        "5-30.npy row 3: column '1' is empty or NaN" in found
        or "5-30.npy row 3: column 1 is empty or NaN" in found
    )


def test_audio_of_persons_is_found_under_the_video(places: dict[str, Any]) -> None:
    voice = places["audio"] / "voice"
    for name in ("8-30_left", "8-30_right", "video2_left"):
        (voice / f"{name}.npy").unlink()
    np.save(voice / "8-30.npy", features("8-30", "voice", 5))
    np.save(voice / "video2.npy", features("video2", "voice", 9))
    store = import_affwild2(**places)
    assert numbers(store, "8-30_left", "voice") == [1, 2, 3, 4, 5]
    assert numbers(store, "8-30_right", "voice") == [1, 2, 3, 4]  # one row more than frames
    assert numbers(store, "video2", "voice") == list(range(1, 10))
    assert numbers(store, "video2_left", "voice") == list(range(1, 9))
    assert all(valid(store, "8-30_left"))


def test_full_name_goes_before_the_video(places: dict[str, Any]) -> None:
    np.save(places["audio"] / "voice" / "8-30.npy", features("8-30", "voice", 5) + 100)
    assert numbers(import_affwild2(**places), "8-30_left", "voice")[0] == 1


def test_visual_is_never_found_under_the_video(places: dict[str, Any]) -> None:
    (places["visual"] / "face" / "video2_left.npy").unlink()
    (places["audio"] / "voice" / "5-30.npy").unlink()
    found = refused(places)
    assert (
        "recording 'video2_left': missing from feature set 'face': no video2_left with .npy"
        in found
    )
    assert "recording '5-30': missing from feature set 'voice'" in found


def test_rows_by_frame_column_fill_from_the_nearest(places: dict[str, Any]) -> None:
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    (face / "video2.csv").write_text("frame,a,b,c\n7,7,0,0\n3,3,0,0\n5,5,0,0\n")
    store = import_affwild2(**places)
    assert numbers(store, "video2") == [
        3,
        3,
        3,
        3,
        5,
        5,
        7,
        7,
        7,
    ]  # 4 and 6 lie between: the earlier
    assert valid(store, "video2") == [frame in (3, 5, 7) for frame in range(1, 10)]


@pytest.mark.parametrize("column", ["image", "image_location"])
def test_rows_by_image_name(places: dict[str, Any], column: str) -> None:
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    images = [
        f"video2/{frame:05d}.jpg" if column == "image_location" else f"{frame:05d}.jpg"
        for frame in (2, 9)
    ]
    pa.parquet.write_table(
        pa.table({column: images, "a": [2.0, 9.0], "b": [0.0, 0.0], "c": [1, 1]}),
        face / "video2.parquet",
    )
    assert numbers(import_affwild2(**places), "video2") == [2, 2, 2, 2, 2, 9, 9, 9, 9]


def test_rows_by_existing_crops(places: dict[str, Any], tmp_path: Path) -> None:
    for name, frames in LENGTHS.items():
        (tmp_path / "crops" / name).mkdir(parents=True)
        for frame in range(1, frames + 1):
            if (name, frame) not in (("video2", 1), ("video2", 5), ("video2", 6)):
                (tmp_path / "crops" / name / f"{frame:05d}.jpg").touch()
    np.save(places["visual"] / "face" / "video2.npy", features("video2", "face", 6))
    store = import_affwild2(**places, crops=tmp_path / "crops")
    assert numbers(store, "video2") == [1, 1, 2, 3, 3, 4, 4, 5, 6]  # crops 2 3 4 7 8 9
    assert valid(store, "video2") == [frame not in (1, 5, 6) for frame in range(1, 10)]
    assert numbers(store, "video2_left") == list(range(1, 9))


def test_rows_that_match_neither_frames_nor_crops(places: dict[str, Any], tmp_path: Path) -> None:
    for name in LENGTHS:
        (tmp_path / "crops" / name).mkdir(parents=True)
        (tmp_path / "crops" / name / "00001.jpg").touch()
    np.save(places["visual"] / "face" / "video2.npy", features("video2", "face", 6))
    places["crops"] = tmp_path / "crops"
    found = refused(places)
    assert (
        "video2.npy: 6 rows, but" in found
        and "video2.txt has 9 frames" in found
        and "1 crops" in found
    )


@pytest.mark.parametrize(
    ("rows", "taken"), [(8, [1, 2, 3, 4, 5, 6, 7, 8, 8]), (10, list(range(1, 10)))]
)
def test_one_row_off_is_a_warning(places: dict[str, Any], rows: int, taken: list[int]) -> None:
    np.save(places["visual"] / "face" / "video2.npy", features("video2", "face", rows))
    store = import_affwild2(**places)
    assert numbers(store, "video2") == taken
    assert valid(store, "video2") == [True] * 8 + [rows == 10]
    assert f"video2.npy: {rows} rows" in warnings(store) and "video2.txt has 9 frames" in warnings(
        store
    )


@pytest.mark.parametrize("rows", [7, 11])
def test_two_rows_off_is_one_error_that_names_both(places: dict[str, Any], rows: int) -> None:
    np.save(places["visual"] / "face" / "video2.npy", features("video2", "face", rows))
    found = refused(places)
    assert found.count("\n") == 0
    assert (
        f"face/video2.npy: {rows} rows, but" in found
        and "Train_Set/video2.txt has 9 frames" in found
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame,a,b,c\n1,0,0,0\n1,0,0,0\n", "video2.csv:3: frame 1 has two rows"),
        ("frame,a,b,c\n0,0,0,0\n", "video2.csv:2: frame 0, expected a whole number from 1"),
        ("frame,a,b,c\n1,0,0,0\n11,0,0,0\n", "video2.csv:3: last frame 11, but"),
        (
            "time,a,b,c\n1,0,0,0\n",
            "video2.csv:2: time 1 is no frame's time; the recording has 9 frames",
        ),
        (
            "image,a,b,c\nface.jpg,0,0,0\n",
            "video2.csv:2: image 'face.jpg', expected an image such as 00001.jpg",
        ),
        ("frame,a,b\n1,0,0\n", "dim 2, but feature set 'face' has 3"),
        ("frame,a,b,c\n1,0,word,0\n", "video2.csv:2: column 'b': 'word' is not a number"),
        ("frame\n1\n", "no feature column"),
        ("", "empty file"),
    ],
)
def test_bad_feature_files(places: dict[str, Any], content: str, message: str) -> None:
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    (face / "video2.csv").write_text(content)
    assert message in refused(places)


def test_pickled_and_misshapen_arrays_are_refused(places: dict[str, Any]) -> None:
    face = places["visual"] / "face"
    np.save(face / "video2.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(face / "5-30.npy", np.zeros((7, 2, 3)))
    (face / "video2_left.npy").write_bytes(b"\x93NUMPY\x01")
    found = refused(places)
    assert "video2.npy: not a .npy array of numbers" in found
    assert "5-30.npy: shape (7, 2, 3)" in found
    assert "video2_left.npy: not a .npy array of numbers" in found


def test_columns_in_another_order_are_refused(places: dict[str, Any]) -> None:
    face = places["visual"] / "face"
    for name, header in (("10-60-1280x720", "a,b,c"), ("video2", "b,a,c")):
        (face / f"{name}.npy").unlink()
        rows = "\n".join(["1,2,3"] * LENGTHS[name])
        (face / f"{name}.csv").write_text(f"{header}\n{rows}\n")
    assert "video2.csv: columns under other names, or in another order" in refused(places)


def test_bad_frame_rates_are_told_with_their_lines(places: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "fps.csv").write_text(
        "recording,frames_per_second\nvideo2,fast\n8-30,24\n5-30,inf\n"
    )
    with pytest.raises(InputError) as refused:
        import_affwild2(**places, frame_rates=tmp_path / "fps.csv")
    texts = [problem.split("fps.csv:")[1] for problem in refused.value.problems]
    assert texts == [
        "2: frames_per_second 'fast', expected a number above 0",
        "4: frames_per_second 'inf', expected a number above 0",
        " no row for 1 recording: 10-60-1280x720; expected frames_per_second of every recording",
    ]


def test_frame_rates_and_subjects(places: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "fps.csv").write_text(
        "recording,frames_per_second\nvideo2,23.98\n8-30,24\n5-30,25\n10-60-1280x720,30\n"
    )
    people = [f"{name},{'Ann' if name == 'video2' else name}" for name in LENGTHS]
    (tmp_path / "people.csv").write_text("\n".join(["recording,subject", *people]) + "\n")
    store = import_affwild2(
        **places, frame_rates=tmp_path / "fps.csv", subjects=tmp_path / "people.csv"
    )
    rates = {r.name: r.frames_per_second for r in store.recordings}
    assert (
        rates["video2_left"] == rates["video2"] == 23.98
        and rates["8-30_right"] == 24
        and rates["5-30"] == 25
    )
    assert rates["10-60-1280x720"] == 30
    assert "frames per second taken" not in warnings(store)
    assert {r.name: r.subject for r in store.recordings}["video2"] == "Ann"


def test_without_a_sample_there_is_no_test_split(places: dict[str, Any]) -> None:
    del places["sample"]
    store = import_affwild2(**places)
    assert store.split("test") == () and "no sample file" in warnings(store)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["a/00001.jpg,0,0", "b/00001.jpg,0,0", "a/00002.jpg,0,0"],
            "sample.txt:4: rows of 'a' begin again",
        ),
        (["a/00002.jpg,0,0", "a/00001.jpg,0,0"], "sample.txt:3: frame 1 after 2"),
        (["a,0,0"], "sample.txt:2: image_location 'a', expected <recording>/00001.jpg"),
        (["../a/00001.jpg,0,0"], "recording '../a' can't be used as a file name"),
        ([], "a header and no rows"),
    ],
)
def test_bad_sample(places: dict[str, Any], rows: list[str], message: str) -> None:
    places["sample"].write_text("\n".join(["image_location,valence,arousal", *rows]) + "\n")
    assert message in refused(places)


def test_wrong_folders(places: dict[str, Any]) -> None:
    assert "expected Train_Set and Validation_Set here or one below" in refused(
        {**places, "annotations": places["visual"]}
    )
    assert "no features: give --visual or --audio" in refused(
        {**places, "visual": None, "audio": None}
    )
    assert "no subfolder in it" in refused({**places, "visual": places["visual"] / "face"})
    assert "'voice' stands under visual and audio" in refused({**places, "visual": places["audio"]})


def test_same_import_twice(places: dict[str, Any]) -> None:
    first = import_affwild2(**places)
    seen: list[str] = []
    again = import_affwild2(**places, progress=lambda done, total, what: seen.append(what))
    assert seen == [] and again.hashes == first.hashes


def test_video_of() -> None:
    names = ["X", "X_left", "X_right", "video10_1_left", "left", "a_left_b"]
    assert [video_of(name) for name in names] == ["X", "X", "X", "video10_1", "left", "a_left_b"]


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 61))
def test_nearest_is_what_a_slow_search_finds(known: set[int], frames: int) -> None:
    ordered = sorted(known)
    found = nearest(np.array(ordered), frames)
    for frame in range(frames):
        assert ordered[found[frame]] == min(ordered, key=lambda one: (abs(one - frame), one))


def openface(
    frames: int,
    faces: tuple[int, ...] = (),
    header: str = "frame, face_id, timestamp, confidence, success, AU01, AU12, AU25",
) -> str:
    """A file as OpenFace writes it; in `faces` (frames from 1) it found none and writes zeros."""
    rows = []
    for frame in range(1, frames + 1):
        success = int(frame not in faces)
        rows.append(
            f"{frame}, 0, {(frame - 1) / 30:.3f}, {0.98 * success:g}, {success}, {frame * success}, 0.5, 1.5"
        )
    return "\n".join([header, *rows]) + "\n"


def write_openface(places: dict[str, Any]) -> Path:
    """Every recording's face features in OpenFace's own CSV; video2 has no face in frames 1, 5 and
    6."""
    face = Path(places["visual"]) / "face"
    for name, frames in LENGTHS.items():
        (face / f"{name}.npy").unlink()
        (face / f"{name}.csv").write_text(openface(frames, (1, 5, 6) if name == "video2" else ()))
    return face


def test_openface_csv_as_it_comes(places: dict[str, Any]) -> None:
    write_openface(places)
    store = import_affwild2(**places)
    assert store.feature_sets["face"].columns == ("AU01", "AU12", "AU25")
    assert numbers(store, "video2") == [2, 2, 3, 4, 4, 7, 7, 8, 9]
    assert valid(store, "video2") == [frame not in (1, 5, 6) for frame in range(1, 10)]
    assert all(valid(store, "video2_left"))
    said = warnings(store)
    assert "feature set 'face': rows whose 'success' is 0 are frames without a face" in said
    assert (
        "feature set 'face': columns face_id, confidence are bookkeeping by name, no feature, and not used"
        in said
    )
    assert "timestamp" not in said


def test_openface_at_another_rate_than_taken_says_so(
    places: dict[str, Any], tmp_path: Path
) -> None:
    write_openface(places)
    rates = [f"{name},{24 if name == '5-30' else 30}" for name in LENGTHS]
    (tmp_path / "fps.csv").write_text("\n".join(["recording,frames_per_second", *rates]))
    said = warnings(import_affwild2(**places, frame_rates=tmp_path / "fps.csv"))
    assert (
        "5-30.csv: its column 'timestamp' steps as 30 frames per second do, but 24 are taken"
        in said
    )
    assert said.count("steps as") == 1


def test_several_faces_in_a_frame_are_refused(places: dict[str, Any]) -> None:
    face = write_openface(places)
    lines = openface(9).splitlines()
    (face / "video2.csv").write_text(
        "\n".join([*lines[:4], lines[3].replace(", 0,", ", 1,", 1), *lines[4:]])
    )
    found = refused(places)
    assert (
        "video2.csv:5: column 'face_id' tells 2 people apart ('0', '1'), several of them in one frame; keep"
        in found
    )
    (face / "video2.csv").write_text(openface(9, tuple(range(1, 10))))
    assert "video2.csv: success is 0 in every row, so no frame has a face" in refused(places)
    (face / "video2.csv").write_text(openface(9).replace(", 0.98, 1,", ", 0.98, 0.7,", 1))
    assert "video2.csv:2: success 0.7, expected 1 or 0 (no face in the frame)" in refused(places)


def test_rows_of_another_recording_are_refused_with_both_names(places: dict[str, Any]) -> None:
    """Left and right changed places; sound may go by the video's name, a face may not."""
    face, voice = places["visual"] / "face", places["audio"] / "voice"
    for name, other in (("8-30_left", "8-30_right"), ("8-30_right", "8-30_left")):
        (face / f"{name}.npy").unlink()
        rows = "".join(
            f"{other}/{frame:05d}.jpg,{frame},0,0\n" for frame in range(1, LENGTHS[name] + 1)
        )
        (face / f"{name}.csv").write_text(f"image_location,a,b,c\n{rows}")
        (voice / f"{name}.npy").unlink()
        rows = "".join(f"8-30.mp4,{frame},{frame},0\n" for frame in range(1, LENGTHS[name] + 1))
        (voice / f"{name}.csv").write_text(f"video,frame,a,b\n{rows}")
    found = refused(places)
    assert found.count("\n") == 1
    for name, other in (("8-30_left", "8-30_right"), ("8-30_right", "8-30_left")):
        assert (
            f"{name}.csv:2: column 'image_location' names '{other}' ('{other}/00001.jpg'), but the file is of"
            in found
        )
        assert f"recording '{name}'" in found
    for name in ("8-30_left", "8-30_right"):
        text = (face / f"{name}.csv").read_text()
        other = "8-30_right" if name == "8-30_left" else "8-30_left"
        (face / f"{name}.csv").write_text(text.replace(other, name))
    assert numbers(import_affwild2(**places), "8-30_left", "voice") == [1, 2, 3, 4, 5]


def test_rows_by_their_times(places: dict[str, Any], tmp_path: Path) -> None:
    rates = [f"{name}.mp4,25" for name in LENGTHS]
    (tmp_path / "fps.csv").write_text("\n".join(["recording,frames_per_second", *rates]))
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    (face / "video2.csv").write_text("Time (s),a,b,c\n0.24,7,0,0\n0.08,3,0,0\n0.16,5,0,0\n")
    store = import_affwild2(**places, frame_rates=tmp_path / "fps.csv")
    assert numbers(store, "video2") == [3, 3, 3, 3, 5, 5, 7, 7, 7]
    (face / "video2.csv").write_text(
        "Time (s),a,b,c\n" + "".join(f"{frame / 100},1,1,1\n" for frame in range(40))
    )
    with pytest.raises(
        InputError, match=r"video2.csv:3: Time \(s\) 0.01 is no frame's time .*100 rows per second"
    ):
        import_affwild2(**{**places, "to": tmp_path / "other"}, frame_rates=tmp_path / "fps.csv")


def test_frames_that_count_from_0_in_every_file(places: dict[str, Any]) -> None:
    face = places["visual"] / "face"
    for name, frames in LENGTHS.items():
        (face / f"{name}.npy").unlink()
        rows = "".join(f"{frame},{frame + 1},0,0\n" for frame in range(frames) if frame != 2)
        (face / f"{name}.csv").write_text(f"frame,a,b,c\n{rows}")
    store = import_affwild2(**places)
    assert numbers(store, "video2") == [1, 2, 2, 4, 5, 6, 7, 8, 9]
    assert (
        "feature set 'face': frames count from 0 in it, since every file begins at frame 0"
        in warnings(store)
    )
    (face / "5-30.csv").write_text(
        "frame,a,b,c\n" + "".join(f"{frame},1,0,0\n" for frame in range(1, 7))
    )
    places["to"] = places["to"].with_name("other")
    found = refused(places)
    assert (
        "frame 0, expected a whole number from 1; frame 1 is the first (image 00001.jpg)" in found
    )


@pytest.mark.parametrize("name", ["index", "id", "row", "idx", "row_number"])
def test_columns_that_number_rows_are_no_features(places: dict[str, Any], name: str) -> None:
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    rows = "".join(f"{row},1,2,3\n" for row in (3, 1, 2, 0, 4, 5, 6, 7, 8))
    (face / "video2.csv").write_text(f"{name},a,b,c\n{rows}")
    assert f"video2.csv: column '{name}' numbers rows by its name" in refused(places)


def test_sound_at_another_rate_is_told_by_its_rate(places: dict[str, Any]) -> None:
    np.save(places["audio"] / "voice" / "video2.npy", features("video2", "voice", 15))
    np.save(places["audio"] / "voice" / "5-30.npy", features("5-30", "voice", 23))
    found = refused(places)
    assert (
        "video2.npy: 15 rows, but" in found
        and "At 30 frames per second they look like 50 rows per second" in found
    )
    assert "5-30.npy: 23 rows, but" in found and "they look like 100 rows per second" in found
    assert "face" not in found.replace(str(places["visual"]), "")


def test_an_array_whose_rows_and_columns_changed_places(places: dict[str, Any]) -> None:
    np.save(places["visual"] / "face" / "video2.npy", np.ones((3, 9), np.float32))
    assert "it has 9 columns, as many as frames: rows and columns changed places?" in refused(
        places
    )


@pytest.mark.parametrize(
    "name",
    [
        "array.npz",
        "squeezed.npy",
        "recording.h5",
        "frames.hdf5",
        "matrix.mat",
        "packed.csv.gz",
        "open.arff",
    ],
)
def test_features_of_every_format_are_laid_on_the_same_frames(
    places: dict[str, Any], tmp_path: Path, name: str
) -> None:
    if name.endswith(("h5", "hdf5")):
        pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    plain = import_affwild2(**places)
    for file in sorted((places["visual"] / "face").iterdir()):
        table = pd.DataFrame(np.load(file).astype(np.float64), columns=["a", "b", "c"])
        file.unlink()
        WRITERS[name](table, file.with_name(file.stem + suffix_of(name)))
    store = import_affwild2(**(places | {"to": tmp_path / "other"}))
    for recording in plain.recordings:
        assert numbers(store, recording.name) == numbers(plain, recording.name)
    squeezed = "feature set 'face': arrays of shape (frames, 1, dim) are read as (frames, dim)"
    warnings = read_json(tmp_path / "other" / "manifest.json")["warnings"]
    assert (squeezed in warnings) == (name == "squeezed.npy")


def test_frames_without_a_dataset_in_hdf5_have_no_face(places: dict[str, Any]) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    file = places["visual"] / "face" / "video2.npy"
    values = np.load(file)
    file.unlink()
    with h5py.File(file.with_suffix(".h5"), "w") as root:
        for frame in (9, 1, 2, 4):
            root[f"video2/{frame:05d}"] = values[frame - 1]
    store = import_affwild2(**places)
    assert numbers(store, "video2") == [1, 2, 2, 4, 4, 4, 9, 9, 9]


def test_what_lies_there_in_place_of_a_feature_file_is_named(places: dict[str, Any]) -> None:
    face, voice = places["visual"] / "face", places["audio"] / "voice"
    (face / "video2.pkl").write_bytes(pickle.dumps(features("video2", "face")))
    (face / "video2_left.pt").write_bytes(b"PK")
    (face / "5-30.txt.xz").write_bytes(b"\xfd7z")
    (face / "10-60-1280x720.CSV").write_text("a,b,c\n")
    (voice / "Video2.npy").write_bytes((voice / "video2.npy").read_bytes())
    (voice / "5-030.npy").write_bytes((voice / "5-30.npy").read_bytes())
    for file in (
        face / "video2.npy",
        face / "video2_left.npy",
        face / "5-30.npy",
        face / "10-60-1280x720.npy",
    ):
        file.unlink()
    for file in (voice / "video2.npy", voice / "5-30.npy"):
        file.unlink()
    found = refused(places)
    for said in (
        "video2.pkl is there, allowed: .npy, .csv, ", "video2_left.pt is there", "5-30.txt.xz is there",
        "10-60-1280x720.CSV is there", "Video2.npy is there: is it meant?", "5-030.npy is there: is it meant?",
        "np.save('video2.npy', np.asarray(pandas.read_pickle('video2.pkl')))", "torch.load('video2_left.pt'",
        "mv 10-60-1280x720.CSV 10-60-1280x720.csv",
    ):  # fmt: skip
        assert said in found, found
    work = {"np": np, "pandas": pd}
    import os

    before = Path.cwd()
    os.chdir(face)
    try:
        exec(
            "np.save('video2.npy', np.asarray(pandas.read_pickle('video2.pkl')))", work
        )  # the advice works on this very file
    finally:
        os.chdir(before)
    np.testing.assert_array_equal(np.load(face / "video2.npy"), features("video2", "face"))


def test_names_of_frame_rates_and_subjects_must_be_the_recordings(
    places: dict[str, Any], tmp_path: Path
) -> None:
    rates, people = tmp_path / "fps.csv", tmp_path / "people.csv"
    names = ["10-60-1280x720.mp4", "videos/video2.avi", "8-30", "5-30.mp4"]
    rates.write_text("\n".join(["recording,frames_per_second", *(f"{name},25" for name in names)]))
    people.write_text(
        "\n".join(["recording,subject", *(f"{name}.mp4,s_{name}" for name in LENGTHS)])
    )
    store = import_affwild2(**places, frame_rates=rates, subjects=people)
    assert {r.frames_per_second for r in store.recordings} == {25.0}
    assert {r.name: r.subject for r in store.recordings} == {name: f"s_{name}" for name in LENGTHS}
    places["to"] = tmp_path / "other"
    rates.write_text(
        "recording,frames_per_second\nVideo2,25\n8-30,25\n5-030,25\n10-60-1280x720,30\n"
    )
    people.write_text("recording,subject\nvideo2,a\nvideo2.mp4,b\n8-30,c\n5-30,\n")
    with pytest.raises(InputError) as error:
        import_affwild2(**places, frame_rates=rates, subjects=people)
    found = str(error.value)
    assert "fps.csv:2: unknown recording 'Video2'; did you mean 'video2'?" in found
    assert "fps.csv:4: unknown recording '5-030'; did you mean '5-30'?" in found
    assert (
        "fps.csv: no row for 3 recordings: video2, video2_left, 5-30; expected frames_per_second"
        in found
    )
    assert "people.csv:3: recording 'video2' is in line 2 already" in found
    assert (
        "people.csv:4: unknown recording '8-30'; did you mean '8-30_" in found
    )  # a video is not a person
    assert "people.csv:5: empty cell, expected recording and subject" in found
    assert (
        "people.csv: no row for 4 recordings: 10-60-1280x720, video2_left, 8-30_right, 8-30_left"
        in found
    )


def test_a_sample_that_contradicts_itself_or_asks_for_too_much(places: dict[str, Any]) -> None:
    rows = [f"8-30_left/{frame:05d}.jpg,{frame + (frame == 3)},x" for frame in range(1, 6)]
    places["sample"].write_text("\n".join(["image_location,frame,note", *rows]))
    assert "sample.txt:4: column 'frame' says 4, but image_location frame 3" in refused(places)
    places["sample"].write_text("image_location,valence,arousal\n8-30_left/99999999999.jpg,0,0\n")
    assert "sample.txt:2: image_location '8-30_left/99999999999.jpg', expected" in refused(places)


def test_a_confidence_alone_tells_frames_without_a_face(places: dict[str, Any]) -> None:
    face, voice = places["visual"] / "face", places["audio"] / "voice"
    (face / "video2.npy").unlink()
    rows = "".join(f"{0.9 if frame != 4 else 0},{frame},0,0\n" for frame in range(1, 10))
    (face / "video2.csv").write_text(f"confidence,a,b,c\n{rows}")
    (voice / "video2.npy").unlink()  # of sound it says nothing about faces
    (voice / "video2.csv").write_text(
        "confidence,a,b\n" + "".join(f"0,{frame},0\n" for frame in range(1, 10))
    )
    store = import_affwild2(**places)
    assert numbers(store, "video2") == [1, 2, 3, 3, 5, 6, 7, 8, 9]
    assert valid(store, "video2") == [frame != 4 for frame in range(1, 10)]
    assert numbers(store, "video2", "voice") == list(range(1, 10))
    said = warnings(store)
    assert "feature set 'face': rows whose 'confidence' is 0 are frames without a face" in said
    assert (
        "feature set 'voice': column confidence is bookkeeping by name, no feature, and not used"
        in said
    )


def test_files_and_columns_that_nobody_uses_are_told(
    places: dict[str, Any], tmp_path: Path
) -> None:
    np.save(places["visual"] / "face" / "9-30.npy", features("video2", "face"))
    people = "".join(f"{name},s_{name},20\n" for name in LENGTHS)
    (tmp_path / "people.csv").write_text(f"recording,subject,age\n{people}")
    said = warnings(import_affwild2(**places, subjects=tmp_path / "people.csv"))
    assert "feature set 'face': 1 file is of no recording and not imported: 9-30.npy" in said
    assert "people.csv: column age is not used" in said


def test_a_folder_of_crops_under_a_like_name_is_named(
    places: dict[str, Any], tmp_path: Path
) -> None:
    for name in LENGTHS:
        (tmp_path / "crops" / name.replace("5-30", "05-30")).mkdir(parents=True)
    assert "/crops/5-30; 05-30 is there: is it meant?" in refused(
        {**places, "crops": tmp_path / "crops"}
    )


def test_an_array_with_row_numbers_in_another_order_is_refused(
    places: dict[str, Any], tmp_path: Path
) -> None:
    rows = [f"{name},30" for name in LENGTHS]
    labels = ["0.1,0.2"] * 14
    label_file(places).write_text("\n".join(["valence,arousal", *labels]) + "\n")
    (tmp_path / "fps.csv").write_text("\n".join(["recording,frames_per_second", *rows]))
    values = features("video2", "face", rows=14)
    np.save(places["visual"] / "face" / "video2.npy", values)
    np.save(
        places["audio"] / "voice" / "video2.npy",
        features("video2", "voice", rows=14) * np.float32(0.5),
    )
    store = import_affwild2(**places)
    assert "video2.npy: column '0' numbers the rows, and is taken as a feature" in warnings(store)
    np.save(places["visual"] / "face" / "video2.npy", values[::-1])
    places["to"] = tmp_path / "again"
    assert (
        "video2.npy row 2: column '0' numbers the rows in another order (13 after 14)"
        in refused(places)
    )


def test_times_cut_off_to_whole_milliseconds_and_quoted_names_of_opensmile(
    places: dict[str, Any],
) -> None:
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    cells = [
        f"'video2',{frame * 1000 // 30},{frame + 1},0,0"
        for frame in reversed(range(LENGTHS["video2"]))
    ]
    (face / "video2.csv").write_text("\n".join(["name,timestamp,a,b,c", *cells]) + "\n")
    store = import_affwild2(**places)
    assert numbers(store, "video2") == list(range(1, LENGTHS["video2"] + 1))


def test_features_of_another_subject_are_refused_and_faces_have_numbers_of_their_own(
    places: dict[str, Any], tmp_path: Path
) -> None:
    rows = [f"{name},{index}" for index, name in enumerate(LENGTHS)]
    (tmp_path / "subjects.csv").write_text("\n".join(["recording,subject", *rows]))
    places["subjects"] = tmp_path / "subjects.csv"
    face = places["visual"] / "face"
    (face / "video2.npy").unlink()
    own = list(LENGTHS).index("video2")
    assert own == 1

    def write(subject: int) -> None:
        cells = [f"{frame},0,{subject},{frame},0,0" for frame in range(1, LENGTHS["video2"] + 1)]
        (face / "video2.csv").write_text("\n".join(["frame,face_id,subject,a,b,c", *cells]) + "\n")

    write(2)
    assert (
        "video2.csv:2: column 'subject' names '2', but the file is of recording 'video2'"
        in refused(places)
    )
    write(own)
    assert numbers(import_affwild2(**places), "video2") == list(range(1, LENGTHS["video2"] + 1))


def test_a_subject_in_two_spellings_is_refused(places: dict[str, Any], tmp_path: Path) -> None:
    people = ["Anna", "anna", "01", "1", *(f"p{index}" for index in range(len(LENGTHS) - 4))]
    rows = [f"{name},{person}" for name, person in zip(LENGTHS, people, strict=True)]
    (tmp_path / "subjects.csv").write_text("\n".join(["recording,subject", *rows]))
    text = refused({**places, "subjects": tmp_path / "subjects.csv"})
    assert "subjects.csv:3: subject 'anna', but 'Anna' in line 2" in text
    assert "subjects.csv:5: subject '1', but '01' in line 4" in text

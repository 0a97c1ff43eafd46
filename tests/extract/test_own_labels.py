"""Labels of other ranges and targets than Aff-Wild2's, and labels with a clock or rate of their own,
on the right frames."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from colour_world import use_mean_colour
from extract_world import clicks, tone, write_crops, write_labels, write_recipe, write_video
from test_new_media import AT, expected, loud, warnings

from va_search.data.audit import check
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract.annotations import read_annotations
from va_search.extract.media import find_media
from va_search.extract.pipeline import Extracted, extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sources import Sources
from va_search.targets import Target, affect

FBANK = "feature_sets:\n- {name: mel, extractor: fbank, settings: {bins: 8}}\n"
SCENE = "feature_sets:\n- {name: scene, extractor: colour, images: frames}\n"
FILM = np.arange(90) / 30


@pytest.fixture(autouse=True)
def _colour(monkeypatch: pytest.MonkeyPatch) -> None:
    use_mean_colour(monkeypatch)


def run(tmp_path: Path, text: str = FBANK, **more: object) -> Extracted:
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", text))
    places = Sources(tmp_path / "videos", tmp_path / "labels", **more)  # type: ignore[arg-type]
    return extract(recipe, places, tmp_path / "store")


def refused(tmp_path: Path, text: str = FBANK) -> str:
    with pytest.raises(InputError) as caught:
        run(tmp_path, text)
    return "\n".join(caught.value.problems)


def write_rows(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(str(cell) for cell in row) for row in rows]
    path.write_text("\n".join([header, *lines, ""]))


def write_world(
    tmp_path: Path, header: str, rows: Sequence[Sequence[object]], dataset: str = ""
) -> None:
    """Two videos of 3 s with clicks, whose labels are the same rows."""
    for name, split in (("v0", "Train_Set"), ("v1", "Validation_Set")):
        write_video(tmp_path / "videos" / f"{name}.mp4", FILM, clicks(3.0, AT), bright=[48])
        write_rows(tmp_path / "labels" / split / f"{name}.txt", header, rows)
    if dataset:
        (tmp_path / "labels" / "dataset.yaml").write_text(dataset)


def ramp(count: int, step: float = 1.0) -> list[tuple[object, ...]]:
    """Rows of a time and two labels that tell their number."""
    return [(round(i * step, 6), i / 1000, -i / 1000) for i in range(count)]


# Ranges and targets


def test_labels_of_another_range_are_refused_with_the_way_and_taken_once_it_is_said(
    tmp_path: Path,
) -> None:
    rows = [(1 + i % 9, 9 - i % 9) for i in range(90)]
    write_world(tmp_path, "valence,arousal", rows)
    problem = refused(tmp_path)
    assert "is outside the label range [-1, 1]" in problem
    assert "say so in" in problem and "dataset.yaml, such as `label_range: [1, 9]`" in problem
    (tmp_path / "labels" / "dataset.yaml").write_text("label_range: [1, 9]\n")
    store = run(tmp_path).store
    assert store.targets == affect(1.0, 9.0)
    np.testing.assert_array_equal(store.annotations[:90], np.array(rows, dtype=np.float32))
    assert store.recordings[0].frames_per_second == pytest.approx(30.0, abs=0.01)
    assert check(store).count("error") == 1, "both videos are the same, which the audit finds"
    assert run(tmp_path).added == ()


def test_one_target_or_three_with_ranges_of_their_own(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(i, "" if i < 10 else i / 100, 5) for i in range(90)]
    dataset = "name: mine\ntargets: {stress: [0, 100], calm: {range: [0, 1], column: c}, liking: [1, 5]}\n"
    write_world(tmp_path, "stress,c,liking", rows, dataset)
    store = run(tmp_path).store
    assert store.name == "mine"
    assert store.targets == (
        Target("stress", 0.0, 100.0),
        Target("calm", 0.0, 1.0),
        Target("liking", 1.0, 5.0),
    )
    np.testing.assert_array_equal(store.annotations[:90, 0], np.arange(90, dtype=np.float32))
    assert np.isnan(store.annotations[:10, 1]).all()
    assert store.annotations[10:90, 1].min() == pytest.approx(0.1)
    (tmp_path / "labels" / "dataset.yaml").write_text("targets: {stress: [0, 100]}\n")
    with pytest.raises(InputError, match=r"labels of stress in \[0, 100\] now"):
        run(tmp_path)
    one = extract(
        load_recipe(tmp_path / "recipe.yaml"),
        Sources(tmp_path / "videos", tmp_path / "labels"),
        tmp_path / "one",
    ).store
    assert one.annotations.shape == (180, 1)
    assert "columns c, liking are not used" in warnings(one)


def test_a_label_outside_its_targets_range_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path, "stress", [(i,) for i in range(90)], "targets: {stress: [0, 50]}\n")
    problem = refused(tmp_path)
    assert "v0.txt:53: stress 51 (and 38 more) is outside the label range [0, 50]" in problem
    assert "`label_range" not in problem, "the range is described: nothing is advised"
    (tmp_path / "labels" / "dataset.yaml").write_text("targets: {stres: [0, 90]}\n")
    assert "unknown column 'stres'; did you mean 'stress'?" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: x\n", "neither targets nor label_range is given"),
        (
            "label_range: [1, 9]\nfeatures: {a: {modality: b, columns: [c]}}\n",
            "leave `features` out",
        ),
        ("label_range: [9, 1]\n", "`low < high` must hold"),
        ("label_range: [1, 9]\ntime_colum: t\n", "time_column"),
    ],
)
def test_a_wrong_description_is_refused_with_its_line(
    text: str, problem: str, tmp_path: Path
) -> None:
    write_world(tmp_path, "valence,arousal", [(1, 1)] * 90, text)
    told = refused(tmp_path)
    assert "dataset.yaml:" in told and problem in told


def test_recordings_csv_names_people_and_test_recordings(tmp_path: Path) -> None:
    for number in range(3):
        video = tmp_path / "videos" / f"v{number}.mp4"
        write_video(video, FILM, tone(3.0, seed=number))
    labels = tmp_path / "labels"
    for name in ("v0", "v1"):
        write_rows(labels / "recordings" / f"{name}.csv", "stress", [(i,) for i in range(90)])
    write_rows(
        labels / "recordings.csv",
        "recording,subject,split",
        [("v0", "a", "train"), ("v1", "b", "validation"), ("v2", "c", "test")],
    )
    assert "recordings.csv and no dataset.yaml; write one with the range" in refused(tmp_path)
    (labels / "dataset.yaml").write_text("targets: {stress: [0, 100]}\n")
    store = run(tmp_path).store
    facts = [(each.name, each.subject, each.split, each.frames) for each in store.recordings]
    assert facts == [
        ("v0", "a", "train", 90), ("v1", "b", "validation", 90), ("v2", "c", "test", 90)
    ]  # fmt: skip
    assert np.isnan(store.annotations[180:]).all() and np.isfinite(store.annotations[:180]).all()
    (labels / "recordings" / "v1.csv").unlink()
    assert "recording 'v1': targets.stress: no" in refused(tmp_path)


# Labels with a clock of their own


@pytest.mark.parametrize(
    ("header", "factor", "begin"),
    [("time,valence,arousal", 1.0, 0.0), ("time_ms,valence,arousal", 1000.0, 2.0)],
)
def test_timed_labels_make_the_frames_and_features_lie_at_their_times(
    header: str, factor: float, begin: float, tmp_path: Path
) -> None:
    write_world(tmp_path, header, ramp(75, 0.04 * factor))
    # The labels' second 0 is the first frame, wherever the video's clock begins.
    for name in ("v0", "v1"):
        (tmp_path / "videos" / f"{name}.mp4").unlink()
        write_video(
            tmp_path / "videos" / f"{name}.mkv",
            begin + FILM,
            clicks(3.0, AT),
            sound_begin=begin,
            bright=[48],
        )
    text = FBANK + "- {name: scene, extractor: colour, images: frames}\n"
    store = run(tmp_path, text).store
    assert [each.frames for each in store.recordings] == [75, 75]
    assert [each.frames_per_second for each in store.recordings] == [25.0, 25.0]
    assert store.time_column == header.split(",", maxsplit=1)[0]
    np.testing.assert_allclose(store.times[:75], np.arange(75) * 0.04 * factor, atol=1e-6)
    np.testing.assert_allclose(store.annotations[:75, 0], np.arange(75) / 1000, atol=1e-6)
    np.testing.assert_allclose(loud(store.features("mel")[:75]), expected(25.0), atol=1)
    # Picture 48 stands at 1.6 s, as label 40 does.
    scene = store.features("scene")[:75, 0]
    assert np.flatnonzero(scene > 200).tolist() == [40]
    is_guessed = "column 'time' is taken for seconds (25 per second" in warnings(store)
    assert is_guessed == (header == "time,valence,arousal"), "a unit in the name is none"


def test_labels_at_one_a_second_take_the_mean_of_what_lies_between(tmp_path: Path) -> None:
    write_world(tmp_path, "second,valence,arousal", ramp(3))
    store = run(tmp_path, SCENE.replace("frames}", "frames, pooling: mean}")).store
    assert [each.frames for each in store.recordings] == [3, 3]
    own = extract(
        load_recipe(write_recipe(tmp_path / "all.yaml", SCENE)),
        Sources(tmp_path / "videos"),
        tmp_path / "all",
    ).store.features("scene")[:90]
    means = own.reshape(3, 30, 3).mean(axis=1)
    np.testing.assert_allclose(store.features("scene")[:3], means, rtol=1e-5)
    assert means[1, 0] > means[0, 0] + 5, "the white picture is in the second second"


def test_the_videos_length_tells_units_apart_and_what_it_took_is_said(tmp_path: Path) -> None:
    for name, split in (("v0", "Train_Set"), ("v1", "Validation_Set")):
        write_video(tmp_path / "videos" / f"{name}.mp4", FILM, clicks(3.0, AT))
        rows = [(5 * i, 0, 0) for i in range(600)]  # 5 s or 5 ms: labels have both rates
        write_rows(tmp_path / "labels" / split / f"{name}.txt", "time,valence,arousal", rows)
    store = run(tmp_path).store
    assert store.recordings[0].frames_per_second == 200.0
    assert "column 'time' is taken for milliseconds (200 per second, 2.995 s" in warnings(store)


def test_a_unit_that_does_not_fit_the_video_is_refused(tmp_path: Path) -> None:
    write_world(
        tmp_path,
        "t,valence,arousal",
        ramp(75, 40),
        "label_range: [-1, 1]\ntime_column: t\ntime_unit: seconds\n",
    )
    problem = refused(tmp_path)
    assert "the clocks of the streams do not fit each other" in problem
    assert "in seconds 2960 s at 0.025 per second" in problem
    assert "v0.mp4 'time stamps': in seconds 3 s" in problem
    assert "Say the right one with `time_unit:` in" in problem
    (tmp_path / "labels" / "dataset.yaml").write_text(
        "label_range: [-1, 1]\ntime_column: t\ntime_unit: ms\n"
    )
    assert run(tmp_path).store.recordings[0].frames == 75


def test_times_outside_the_video_and_clocks_that_start_again_are_refused(tmp_path: Path) -> None:
    rows = ramp(75, 0.04)
    write_world(tmp_path, "time_s,valence,arousal", [(row[0] + 10, *row[1:]) for row in rows])  # type: ignore[operator]
    problem = refused(tmp_path)
    assert "v0.txt: its times run from 10 to 12.96 s" in problem
    assert "v0.mp4 from 0 to 3 s; they may lie 1 s outside" in problem
    write_world(tmp_path, "time_s,valence,arousal", [*rows[:40], *rows[:30]])
    assert "its clock starts again, and the video's runs on" in refused(tmp_path)
    write_world(tmp_path, "time_s,valence,arousal", [*rows[:40], rows[10], *rows[41:]])
    assert "time_s 0.4 after 1.56" in refused(tmp_path)


def test_jumps_of_the_labels_clock_are_gaps_and_holes_of_the_video_are_missing(
    tmp_path: Path,
) -> None:
    times = np.concatenate([np.arange(30) / 30, 2 + np.arange(30) / 30])  # nothing from 1 to 2 s
    for name, split in (("v0", "Train_Set"), ("v1", "Validation_Set")):
        write_video(tmp_path / "videos" / f"{name}.mkv", times, tone(3.0))
        kept = [row for row in ramp(60, 0.05) if not 0.4 < float(str(row[0])) < 0.6]
        write_rows(tmp_path / "labels" / split / f"{name}.txt", "time_s,valence,arousal", kept)
    store = run(tmp_path, SCENE).store
    recording = store.recordings[0]
    seconds = store.times[: recording.frames]
    (gap,) = recording.gaps
    assert (seconds[gap - 1], seconds[gap]) == (pytest.approx(0.4), pytest.approx(0.6))
    missing = np.isnan(store.features("scene")[: recording.frames, 0])
    told = (
        f"'scene' is missing in {missing.sum()} of 57 frames, at whose times v0.mkv has no picture"
    )
    assert told in warnings(store)
    np.testing.assert_array_equal(missing, (seconds > 1.02) & (seconds < 1.94))


def test_labels_at_a_named_rate_lie_at_their_times(tmp_path: Path) -> None:
    for name, split in (("v0", "Train_Set"), ("v1", "Validation_Set")):
        write_video(tmp_path / "videos" / f"{name}.mp4", FILM, clicks(3.0, AT))
        write_labels(tmp_path / "labels", name, 60, split)
    assert "(if that is their rate: --frames-per-second 20)" in refused(tmp_path)
    store = run(tmp_path, frames_per_second=20.0).store
    assert [each.frames for each in store.recordings] == [60, 60]
    np.testing.assert_allclose(loud(store.features("mel")[:60]), expected(20.0), atol=1)
    (tmp_path / "labels" / "dataset.yaml").write_text(
        "label_range: [-1, 1]\nframes_per_second: 25\n"
    )
    with pytest.raises(InputError, match=r"frames_per_second is 25, and --frames-per-second 20"):
        run(tmp_path, frames_per_second=20.0)


def test_frame_numbers_without_a_rate_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path, "frame,valence,arousal", ramp(90))
    problem = refused(tmp_path)
    assert "column 'frame' has frame numbers, and nothing says at which rate" in problem
    assert "give `frames_per_second:` in" in problem
    store = run(tmp_path, frames_per_second=30.0).store
    assert store.recordings[0].frames == 90
    assert "frames in column 'frame' count from 0" in warnings(store)


def write_streams(tmp_path: Path, document: str) -> None:
    labels = tmp_path / "labels"
    labels.mkdir(exist_ok=True)
    (labels / "streams.yaml").write_text(document)
    rows = [("v0", "a", "train"), ("v1", "b", "validation"), ("v2", "c", "test")]
    write_rows(labels / "recordings.csv", "recording,subject,split", rows)
    for number in range(3):
        video = tmp_path / "videos" / f"v{number}.mp4"
        write_video(video, FILM, clicks(3.0, AT), bright=[48])
        for rater in ("x", "y"):
            if number < 2:
                offset = 1 if rater == "x" else 3
                file = labels / rater / f"v{number}.csv"
                write_rows(file, "time_ms,stress", [(100 * i, i + offset) for i in range(30)])


STREAMS = (
    "name: mine\ntargets:\n"
    '  stress: {range: [0, 40], files: "{rater}/{recording}.csv", column: stress}\n'
)


def test_targets_of_several_raters_come_as_streams_yaml_has_them(tmp_path: Path) -> None:
    write_streams(tmp_path, STREAMS)
    store = run(tmp_path).store
    assert [(each.split, each.frames) for each in store.recordings] == [
        ("train", 30), ("validation", 30), ("test", 30)
    ]  # fmt: skip
    np.testing.assert_allclose(store.annotations[:30, 0], np.arange(30) + 2)
    assert np.isnan(store.annotations[60:]).all()
    np.testing.assert_allclose(store.times[60:], np.arange(30) * 100, atol=1e-6)
    np.testing.assert_allclose(loud(store.features("mel")[60:]), expected(10.0), atol=1)
    assert "1 recording without labels: frames at the others' 10 per second" in warnings(store)


def test_a_rate_at_the_top_of_streams_yaml_makes_the_frames(tmp_path: Path) -> None:
    write_streams(tmp_path, "frames_per_second: 25\n" + STREAMS)
    store = run(tmp_path, SCENE).store
    assert store.recordings[0].frames_per_second == 25.0
    assert np.isfinite(store.annotations[:70]).all()
    with pytest.raises(InputError, match=r"--frames-per-second: say it in \S+streams.yaml"):
        run(tmp_path, frames_per_second=25.0)
    (tmp_path / "labels" / "dataset.yaml").write_text("label_range: [1, 9]\n")
    assert "dataset.yaml and streams.yaml are there; keep one" in refused(tmp_path)


def test_labels_changed_since_are_told_before_a_set_is_added(tmp_path: Path) -> None:
    write_world(tmp_path, "time_s,valence,arousal", ramp(75, 0.04))
    run(tmp_path)
    more = FBANK + "- {name: scene, extractor: colour, images: frames}\n"
    assert run(tmp_path, more).added == ("scene",)
    file = tmp_path / "labels" / "Train_Set" / "v0.txt"
    file.write_text(file.read_text().replace("0.07,", "0.071,"))
    assert "v0.txt: frame 71: another label than in the store" in refused(tmp_path, more)
    assert Store.open(tmp_path / "store").recordings[0].frames == 75


def test_crops_lie_at_their_pictures_times_and_frames_without_a_face_are_not_valid(
    tmp_path: Path,
) -> None:
    write_world(tmp_path, "time_s,valence,arousal", ramp(29, 0.1))
    numbers = [
        number for number in range(1, 91) if not 30 < number <= 45
    ]  # no face from 1 to 1.5 s
    for name in ("v0", "v1"):
        write_crops(tmp_path / "crops" / name, numbers)
    face = "feature_sets:\n- {name: face, extractor: colour}\n"
    store = run(tmp_path, face, crops=tmp_path / "crops").store
    values = store.features("face")[:29, 0]
    # Label i stands at i / 10 s, on picture 3 i: crop 3 i + 1, of that brightness.
    own = np.array([frame for frame in range(29) if not 10 < frame < 15])
    np.testing.assert_allclose(values[own], 3 * own + 51, atol=1.5)
    np.testing.assert_array_equal(np.flatnonzero(~store.valid[:29]), [11, 12, 13, 14])
    assert np.isfinite(values).all()


def test_annotations_with_clocks_go_to_other_processes(tmp_path: Path) -> None:
    write_streams(tmp_path, STREAMS)
    media = find_media(tmp_path / "videos", None)
    annotations = read_annotations(tmp_path / "labels", media, [])
    copied = pickle.loads(pickle.dumps(annotations))
    assert copied.recordings == annotations.recordings
    (labels,) = [copied.streams.read_labels("stress", "v0")]
    assert list(labels) == ["x", "y"] and len(labels["x"].times) == 30


def test_a_changed_file_of_any_rater_is_read_again(tmp_path: Path) -> None:
    write_streams(tmp_path, STREAMS)
    video = tmp_path / "videos" / "v2.mp4"
    whole = video.read_bytes()
    video.write_bytes(b"broken")
    refused(tmp_path)
    second = tmp_path / "labels" / "y" / "v0.csv"
    second.write_text(second.read_text().replace(",3\n", ",9\n"))
    video.write_bytes(whole)
    store = run(tmp_path).store
    assert store.annotations[0, 0] == pytest.approx(5.0), "the mean of 1 and 9"


def test_timed_files_of_aff_wild2_say_minus_five_where_a_frame_has_no_label(
    tmp_path: Path,
) -> None:
    rows: list[tuple[object, ...]] = [
        (i / 10, -5 if i < 3 else 0.5, -5 if i < 3 else 0.25, "bob") for i in range(30)
    ]
    write_world(tmp_path, "time_s,valence,arousal,annotator", rows)
    store = run(tmp_path).store
    assert np.isnan(store.annotations[:3]).all()
    np.testing.assert_array_equal(store.annotations[3:30], [[0.5, 0.25]] * 27)
    assert "v0.txt: column annotator is not used (and 1 more)" in warnings(store)
    (tmp_path / "labels" / "dataset.yaml").write_text("label_range: [-1, 1]\n")
    again = Sources(tmp_path / "videos", tmp_path / "labels")
    with pytest.raises(InputError, match=r"v0.txt: valence -5 \(and 2 more\) is outside its range"):
        extract(load_recipe(tmp_path / "recipe.yaml"), again, tmp_path / "other")


def test_a_target_without_any_label_in_training_is_refused(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(i, 5, "") for i in range(90)]
    write_world(tmp_path, "n,stress,calm", rows, "targets: {stress: [1, 9], calm: [1, 9]}\n")
    problem = refused(tmp_path)
    assert "target 'calm': no frame of the 1 training recordings has a label" in problem


@pytest.mark.parametrize("column", ["image_location", "face_id", "recording"])
def test_a_column_that_names_images_recordings_or_people_is_refused_unless_ignored(
    column: str, tmp_path: Path
) -> None:
    rows: list[tuple[object, ...]] = [(f"x/{90 - i:05d}.jpg", 5) for i in range(90)]
    write_world(tmp_path, f"{column},stress", rows, "targets: {stress: [1, 9]}\n")
    problem = refused(tmp_path)
    assert f"v0.txt: column '{column}' names images, recordings or people, and is not" in problem
    (tmp_path / "labels" / "dataset.yaml").write_text(
        f"targets: {{stress: [1, 9]}}\nignored_columns: [{column}]\n"
    )
    assert run(tmp_path).store.recordings[0].frames == 90


def test_a_description_one_level_down_counts_too(tmp_path: Path) -> None:
    write_world(tmp_path, "stress", [(5,)] * 90, "targets: {stress: [1, 9]}\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "labels").rename(tmp_path / "inner" / "labels")
    (tmp_path / "inner").rename(tmp_path / "labels")
    assert run(tmp_path).store.targets == (Target("stress", 1.0, 9.0),)
    (tmp_path / "labels" / "more").mkdir()
    (tmp_path / "labels" / "more" / "dataset.yaml").write_text("targets: {calm: [1, 9]}\n")
    assert "labels and more both have a dataset.yaml or streams.yaml" in refused(tmp_path)


# Several raters, and what was watched


@pytest.mark.parametrize("clock", [False, True])
def test_raters_are_fused_and_their_spread_is_kept_and_stimuli_too(
    tmp_path: Path, clock: bool
) -> None:
    """Patterns of raters, who differ from recording to recording, on the videos' frames and on a
    clock."""
    listing = []
    for name, split, raters in (("v0", "train", "r_1,r_2"), ("v1", "validation", "r_1,r_3")):
        write_video(tmp_path / "videos" / f"{name}.mp4", FILM, clicks(3.0, AT), bright=[48])
        header = raters + (",time" if clock else "")
        rows: list[list[object]] = []
        for frame in range(90):
            cells: list[object] = [frame / 100, frame / 100 + 0.02]
            rows.append([*cells, round(frame / 30, 6)] if clock else cells)
        write_rows(tmp_path / f"labels/recordings/{name}.csv", header, rows)
        listing.append((name, name, split, f"clip {name}"))
    write_rows(tmp_path / "labels/recordings.csv", "recording,subject,split,film", listing)
    text = "targets: {stress: {range: [0, 2], raters: ['r_*']}}\nstimulus: film\n"
    (tmp_path / "labels/dataset.yaml").write_text(text)
    store = run(tmp_path).store
    frames = np.arange(90)
    assert store.spread is not None
    assert store.raters is not None
    for recording in store.recordings:
        assert recording.stimulus == f"clip {recording.name}"
        labels = store.annotations[recording.span, 0]
        assert labels == pytest.approx(frames / 100 + 0.01, abs=1e-6)
        assert store.spread[recording.span, 0] == pytest.approx(0.02 / np.sqrt(2), abs=1e-6)
        assert (store.raters[recording.span] == 2).all()
    assert check(store).raters["v1"]["stress"].weights == {"r_1": 0.5, "r_3": 0.5}
    # More feature sets of the same labels leave the raters as they are.
    more = FBANK + "- {name: scene, extractor: colour, images: frames}\n"
    again = run(tmp_path, more).store
    assert again.raters_hash == store.raters_hash
    assert check(again).raters == check(store).raters


@pytest.mark.parametrize("more", ["", "- {name: scene, extractor: colour, images: frames}\n"])
def test_a_store_without_stimuli_is_given_them_by_the_same_command(
    tmp_path: Path, more: str
) -> None:
    for name in ("v0", "v1"):
        write_video(tmp_path / "videos" / f"{name}.mp4", FILM, clicks(3.0, AT), bright=[48])
        write_rows(tmp_path / f"labels/recordings/{name}.csv", "stress", [(0.1,)] * 90)

    def describe(film: str | None) -> None:
        """Write the description, with what was watched or without."""
        rows: list[tuple[object, ...]] = [("v0", "v0", "train"), ("v1", "v1", "validation")]
        header, text = "recording,subject,split", "targets: {stress: [0, 1]}\n"
        if film is not None:
            rows = [(*row, film) for row in rows]
            header, text = header + ",film", text + "stimulus: film\n"
        write_rows(tmp_path / "labels/recordings.csv", header, rows)
        (tmp_path / "labels/dataset.yaml").write_text(text)

    describe(None)
    store = run(tmp_path).store
    assert {recording.stimulus for recording in store.recordings} == {None}
    describe("joy")
    again = run(tmp_path, FBANK + more).store
    assert {recording.stimulus for recording in again.recordings} == {"joy"}
    assert again.hashes == store.hashes
    describe("fear")
    assert "the stimuli of its recordings are others than those given now" in refused(tmp_path)
    # Without them the store keeps what it has.
    describe(None)
    kept = run(tmp_path, FBANK + more).store
    assert {recording.stimulus for recording in kept.recordings} == {"joy"}


def test_wrong_raters_and_stimuli_are_refused_in_the_words_of_their_file(tmp_path: Path) -> None:
    write_world(tmp_path, "r_1,r_2", [(0.1, 0.2)] * 90)
    dataset = tmp_path / "labels/dataset.yaml"
    dataset.write_text("targets: {stress: {range: [0, 1], raters: ['x*']}}\n")
    assert refused(tmp_path).startswith(f"{dataset}: targets: stress: raters: unknown column 'x*'")
    dataset.write_text("targets: {stress: {range: [0, 0.1], raters: ['r_*']}}\n")
    text = refused(tmp_path)
    assert "stress 0.2" in text
    assert "is outside the label range [0, 0.1]" in text

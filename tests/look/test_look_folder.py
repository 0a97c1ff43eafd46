"""A look's folder is there whole or not at all, and replaces nothing but an earlier one of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from look_world import ODD_NAMES, make_look, make_shown, read_index, read_recording

from va_search.errors import InputError
from va_search.look.folder import write_look
from va_search.look.media import Media
from va_search.look.shown import Curves
from va_search.targets import Target

SMALL = {"recordings": 8, "frames": 60, "members": 3}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_array_comes_back_bit_for_bit(tmp_path: Path) -> None:
    shown = make_shown(**SMALL)
    make_look(tmp_path / "out", **SMALL)
    for index, recording in enumerate(shown.recordings):
        curves = shown.curves(index)
        document = read_recording(tmp_path / "out", recording.name)
        assert document["frames"] == recording.frames
        for number, by_target in curves.series.items():
            assert document["series"][f"s{number}"].keys() == by_target.keys()
            for target, values in by_target.items():
                written = document["series"][f"s{number}"][target]
                assert written.dtype == values.dtype
                assert written.tobytes() == values.tobytes()
        for target, labels in curves.annotation.items():
            if np.isnan(labels).all():
                assert target not in document["annotation"]
            else:
                assert document["annotation"][target].tobytes() == labels.tobytes()
        for target, band in curves.raters.items():
            assert document["raters"][target]["low"].tobytes() == band.low.tobytes()
            assert document["raters"][target]["high"].tobytes() == band.high.tobytes()
        assert document["missing"].keys() == curves.missing.keys()


def test_names_are_no_files_names(tmp_path: Path) -> None:
    look = make_look(tmp_path / "out", **SMALL)
    index = read_index(tmp_path / "out")
    assert [entry["name"] for entry in index["recordings"][:5]] == list(ODD_NAMES)
    numbered = {f"data/{number:04d}.js" for number in range(1, 9)}
    assert files_of(tmp_path / "out") == {"index.html", ".look.json", "data/index.js"} | numbered
    assert look.recordings == 8
    assert look.bytes > sum(entry["bytes"] for entry in index["recordings"])


def test_the_list_has_scores_of_the_first_series(tmp_path: Path) -> None:
    make_look(tmp_path / "out", **SMALL)
    index = read_index(tmp_path / "out")
    assert index["format"] == 1
    assert [series["id"] for series in index["series"]] == ["s0", "s1", "s2", "s3"]
    labelled, unlabelled = index["recordings"][0], index["recordings"][2]
    assert labelled["scores"]["valence"].keys() == {"ccc", "rmse", "bias", "spread"}
    assert len(labelled["sparkline"]["valence"]["annotation"]) == 48
    assert unlabelled["scores"] == {}
    assert unlabelled["sparkline"]["valence"]["annotation"] is None
    assert len(unlabelled["sparkline"]["valence"]["prediction"]) == 48 or unlabelled["frames"] < 48


def test_irregular_times_and_a_recording_of_one_frame(tmp_path: Path) -> None:
    shown = make_shown(**SMALL)
    make_look(tmp_path / "out", **SMALL)
    irregular = read_recording(tmp_path / "out", shown.recordings[3].name)
    times = shown.recordings[3].clock.times
    assert times is not None
    assert irregular["times"].tobytes() == times.tobytes()
    single = read_recording(tmp_path / "out", shown.recordings[5].name)
    assert single["frames"] == 1
    assert single["times"] is None
    assert single["worst"] == {"valence": 0, "arousal": 0}


def test_recordings_without_frames_series_or_targets_are_written(tmp_path: Path) -> None:
    shown = make_shown(**SMALL)
    (recording, *_) = shown.recordings
    empty = replace(recording, clock=replace(recording.clock, frames=0))
    shown = replace(
        shown,
        targets=(Target("engagement_level", 0.0, 100.0),),
        recordings=(empty, recording),
        curves=lambda index: Curves(),
    )
    write_look(shown, tmp_path / "out")
    index = read_index(tmp_path / "out")
    assert index["targets"] == [
        {"name": "engagement_level", "title": "Engagement level", "low": 0.0, "high": 100.0}
    ]
    assert index["recordings"][0]["seconds"] == 0.0
    assert index["recordings"][1]["scores"] == {}


def test_the_same_again_replaces_our_folder_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not make_look(out, **SMALL).replaced
    assert make_look(out, recordings=3, frames=50, members=1).replaced
    assert len(read_index(out)["recordings"]) == 3
    assert len(files_of(out)) == 6
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt was added, changed or removed"):
        make_look(out, **SMALL)
    (out / "notes.txt").unlink()
    (out / "index.html").write_text("mine now")
    with pytest.raises(InputError, match=r"index\.html was added, changed or removed"):
        make_look(out, **SMALL)
    assert (out / "index.html").read_text() == "mine now"


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        make_look(tmp_path / "file", **SMALL)
    with pytest.raises(InputError, match="not written by va-search look"):
        make_look(tmp_path, **SMALL)
    (tmp_path / "empty").mkdir()
    assert not make_look(tmp_path / "empty", **SMALL).replaced


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_the_earlier_folder_and_no_half_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    make_look(tmp_path / "out", **SMALL)
    shown = make_shown(**SMALL)

    def interrupted(index: int) -> Curves:
        if index == 2:
            raise error
        return make_shown(**SMALL).curves(index)

    before = files_of(tmp_path / "out")
    for out in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(error):
            write_look(replace(shown, curves=interrupted), out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert files_of(tmp_path / "out") == before


def test_media_are_linked_from_where_the_folder_ends_up(tmp_path: Path) -> None:
    media = tmp_path / "my videos"
    media.mkdir()
    (media / "Case.mp4").write_bytes(b"")
    (media / "P06_v2.wav").write_bytes(b"")
    shown = make_shown(**SMALL)
    look = write_look(shown, tmp_path / "deep" / "out", media=Media.of_folder(media))
    entries = {
        entry["name"]: entry for entry in read_index(tmp_path / "deep" / "out")["recordings"]
    }
    assert entries["Case"]["media"] == "../../my%20videos/Case.mp4"
    assert entries["case"]["media"] is None
    assert entries["P06_v2"]["media"] == "../../my%20videos/P06_v2.wav"
    assert look.with_media == 2
    assert any("no video or sound of 6 recordings" in remark for remark in look.remarks)

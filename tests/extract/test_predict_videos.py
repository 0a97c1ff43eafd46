"""`va-search predict --videos`: video in, curves out, in one command that goes on where it was
stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import write_sound
from videos_world import (
    VideoWorld,
    arousal,
    make_call_world,
    make_video_world,
    read_curves,
    regular,
    valence,
    voice,
    write_film,
    write_light,
)

import va_search as va
from va_search.cli.main import app
from va_search.extract.new_videos import VideoExtractor
from va_search.home import Home
from va_search.metrics import ccc
from va_search.submission.folder import MARK

TIMES = regular(6.0, 12.5)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> VideoWorld:
    """Read only."""
    return make_video_world(tmp_path_factory.mktemp("videos-world"))


@pytest.fixture
def world(built: VideoWorld, tmp_path: Path) -> VideoWorld:
    """The home, beside a folder `new` with two videos."""
    for number in (7, 8):
        write_film(tmp_path / "new" / f"film{number}.mp4", number, TIMES)
    return VideoWorld(tmp_path, built.home, built.store, built.ensemble)


def predict(world: VideoWorld, *more: Any, videos: str = "new") -> Result:
    words = ["predict", "mix", "--videos", world.folder / videos, "--out", world.folder / "out"]
    words += ["--home", world.home.root, "--device", "cpu", *more]
    return CliRunner().invoke(app, [str(word) for word in words])


def entries(world: VideoWorld) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((world.folder / "out" / MARK).read_text())["videos"]
    return document


def count_extracted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the videos that are extracted from now on."""
    names: list[str] = []
    extract = VideoExtractor.extract

    def counting(self: VideoExtractor, video: Any) -> Any:
        names.append(video.name)
        return extract(self, video)

    monkeypatch.setattr(VideoExtractor, "extract", counting)
    return names


def test_videos_become_curves_on_their_own_clock(world: VideoWorld) -> None:
    (world.folder / "new" / "deep").mkdir()
    write_film(world.folder / "new" / "deep" / "film 9.mkv", 9, TIMES)
    (world.folder / "new" / "notes.txt").write_text("x")
    result = predict(world, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["predicted"] == ["film 9", "film7", "film8"] and document["rows"] == 225
    assert any("notes.txt" in remark for remark in document["remarks"])
    for number, name in ((7, "film7"), (8, "film8"), (9, "film 9")):
        times, curves = read_curves(world.folder / "out" / f"{name}.csv")
        np.testing.assert_allclose(times, TIMES, atol=1e-3)
        assert ccc(curves["valence"], valence(number, TIMES)) > 0.95
        assert ccc(curves["arousal"], arousal(number, TIMES)) > 0.8
    left = {path.name for path in (world.folder / "out").iterdir()} - {"look"}
    assert left == {MARK, "film 9.csv", "film7.csv", "film8.csv"}  # no features, no scratch


def test_the_curves_are_those_of_extract_and_predict(world: VideoWorld) -> None:
    predict(world)
    store = va.extract_features(
        world.store.path.parent / "recipe.yaml",
        world.folder / "store",
        videos=world.folder / "new",
        workers=1,
    ).store
    va.open_ensemble("mix", home=world.home.root).write_predictions(
        store, world.folder / "by-store", device="cpu"
    )
    for name in ("film7.csv", "film8.csv"):
        videos, by_store = (read_curves(world.folder / at / name) for at in ("out", "by-store"))
        np.testing.assert_array_equal(videos[0], by_store[0])
        for target, values in videos[1].items():
            np.testing.assert_allclose(values, by_store[1][target], atol=2e-6)


def test_the_same_command_goes_on_and_does_changed_videos_again(
    world: VideoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(world).exit_code == 0
    names = count_extracted(monkeypatch)
    before = (world.folder / "out" / "film7.csv").read_bytes()
    again = predict(world)
    assert again.exit_code == 0 and "2 videos predicted before" in again.stdout and not names
    # A file that is gone, and a video that is another now.
    (world.folder / "out" / "film7.csv").unlink()
    write_film(world.folder / "new" / "film8.mp4", 9, TIMES)
    assert predict(world).exit_code == 0
    assert names == ["film7", "film8"]
    assert (world.folder / "out" / "film7.csv").read_bytes() == before
    _, curves = read_curves(world.folder / "out" / "film8.csv")
    assert ccc(curves["valence"], valence(9, TIMES)) > 0.95


def test_a_broken_video_stops_no_other_and_the_command_ends_with_1(world: VideoWorld) -> None:
    whole = (world.folder / "new" / "film7.mp4").read_bytes()
    (world.folder / "new" / "film7.mp4").write_bytes(whole[:3000])
    write_film(world.folder / "new" / "mute.mp4", 3, TIMES, sound=False)
    result = predict(world, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["predicted"] == ["film8"] and [*document["broken"]] == ["film7", "mute"]
    assert "3,000 bytes that are no whole video" in document["broken"]["film7"][0]
    assert "no audio track" in document["broken"]["mute"][0]
    assert "2 videos could not be predicted" in document["error"]
    # Put right, the same command does what is missing: a sound beside the mute video will do.
    (world.folder / "new" / "film7.mp4").write_bytes(whole)
    write_sound(world.folder / "new" / "mute.wav", voice(3, 6.0))
    mended = predict(world, "--json")
    assert mended.exit_code == 0, mended.output
    document = json.loads(mended.stdout)
    assert document["predicted"] == ["film7", "mute"] and document["present"] == ["film8"]
    assert any("mute.wav: the sound of the video" in remark for remark in document["remarks"])


def test_two_videos_of_one_name_are_refused_and_files_may_be_named(world: VideoWorld) -> None:
    twin = write_film(world.folder / "other" / "film7.mov", 7, TIMES)
    result = predict(world, twin)
    assert result.exit_code == 2 and "two videos of one name; keep one" in result.output
    assert not (world.folder / "out").exists()
    named = predict(world, world.folder / "new" / "film8.mp4", videos="other/film7.mov")
    assert named.exit_code == 0 and [*entries(world)] == ["film7", "film8"]
    wrong = predict(world, videos="nothing")
    assert wrong.exit_code == 2 and "nothing: no such file or folder" in wrong.output


def test_sound_alone_is_refused_where_members_see_pictures(world: VideoWorld) -> None:
    write_sound(world.folder / "new" / "call.wav", voice(4, 6.0))
    result = predict(world)
    assert result.exit_code == 1
    assert "call.wav: no pictures, which feature set 'light' needs" in result.output
    assert [*entries(world)] == ["film7", "film8"]


def test_other_weights_and_a_store_without_recipe_are_told_precisely(
    world: VideoWorld, tmp_path: Path
) -> None:
    shutil.copytree(world.store.path.parent, tmp_path / "copy")
    moved = ("--data", tmp_path / "copy" / "store")
    network = world.store.path.parent / "light.onnx"
    whole = network.read_bytes()
    try:
        write_light(network, 2.0)
        result = predict(world)
        assert result.exit_code == 2 and "another file, or cut short" in result.output
        assert not (world.folder / "out").exists()
        # The recipe of the copy names its own network, which is the one of training.
        given = predict(world, "--recipe", tmp_path / "copy" / "recipe.yaml", *moved)
        assert given.exit_code == 0, given.output
    finally:
        network.write_bytes(whole)


def test_a_folder_of_something_else_is_left_alone(world: VideoWorld) -> None:
    (world.folder / "out").mkdir()
    (world.folder / "out" / "mine.txt").write_text("x")
    result = predict(world)
    assert result.exit_code == 2 and "not empty and no earlier submission" in result.output
    shutil.rmtree(world.folder / "out")
    written = predict(world)
    assert written.exit_code == 0, written.output
    file = world.folder / "out" / "film7.csv"
    file.write_text(file.read_text() + "edited")
    changed = predict(world)
    assert changed.exit_code == 2 and "film7.csv: changed since it was written" in changed.output


def test_the_videos_of_one_person_are_normalised_together(world: VideoWorld) -> None:
    subjects = world.folder / "people.csv"
    subjects.write_text("recording,subject\nfilm7,anna\nfilm8,anna\n")
    apart = predict(world)
    curves = {
        name: (world.folder / "out" / f"{name}.csv").read_text() for name in ("film7", "film8")
    }
    together = predict(world, "--subjects", subjects, "--json")
    assert apart.exit_code == together.exit_code == 0
    assert json.loads(together.stdout)["predicted"] == ["film7", "film8"]
    for name, text in curves.items():
        assert (world.folder / "out" / f"{name}.csv").read_text() != text


def test_features_are_kept_where_that_is_asked_for(
    world: VideoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = predict(world, "--keep-features")
    assert result.exit_code == 0, result.output
    store = va.open_store(world.folder / "out" / "features")
    assert [recording.name for recording in store.recordings] == ["film7", "film8"]
    va.open_ensemble("mix", home=world.home.root).write_predictions(
        store, world.folder / "again", device="cpu"
    )
    videos, again = (read_curves(world.folder / at / "film7.csv") for at in ("out", "again"))
    np.testing.assert_allclose(videos[1]["valence"], again[1]["valence"], atol=2e-6)
    names = count_extracted(monkeypatch)
    assert predict(world, "--keep-features").exit_code == 0 and not names


def test_options_of_videos_are_refused_for_a_store(world: VideoWorld) -> None:
    words = ["predict", "mix", "--out", str(world.folder / "out"), "--home", str(world.home.root)]
    run = CliRunner().invoke
    assert "give --videos DIR" in run(app, words).output
    of_store = [*words, "--data", str(world.store.path)]
    assert "--keep-features: for --videos only" in run(app, [*of_store, "--keep-features"]).output
    assert predict(world, "--split", "test").exit_code == 2


def test_from_python(world: VideoWorld) -> None:
    ensemble = va.open_ensemble("mix", home=Home(world.home.root).root)
    notes: list[str] = []
    written = ensemble.predict_videos(
        world.folder / "new", world.folder / "out", device="cpu", note=notes.append
    )
    assert written.predicted == ("film7", "film8") and written.feature_sets == ("light", "mel")
    assert written.footage == pytest.approx(12.0, abs=0.2) and not written.broken


def test_members_that_only_hear_predict_sound_and_videos_at_the_rate_of_training(
    tmp_path: Path,
) -> None:
    world = make_call_world(tmp_path)
    write_sound(tmp_path / "new" / "call7.wav", voice(7, 6.0))
    write_film(tmp_path / "new" / "film8.mp4", 8, TIMES)
    result = predict(world, "--json")
    assert result.exit_code == 0, result.output
    for number, name in ((7, "call7"), (8, "film8")):
        times, curves = read_curves(tmp_path / "out" / f"{name}.csv")
        np.testing.assert_allclose(times, np.arange(len(times)) / 10, atol=1e-9)
        assert len(times) in (60, 61)
        assert ccc(curves["arousal"], arousal(number, times)) > 0.8
    slower = predict(world, "--frames-per-second", "5", "--json")
    assert json.loads(slower.stdout)["predicted"] == ["call7", "film8"]
    assert read_curves(tmp_path / "out" / "call7.csv")[0][1] == 0.2


def test_a_changed_video_that_is_broken_now_keeps_no_old_curve(world: VideoWorld) -> None:
    assert predict(world).exit_code == 0
    (world.folder / "new" / "film7.mp4").write_bytes(b"no video")
    result = predict(world)
    assert result.exit_code == 1 and "film7.mp4" in result.output
    assert not (world.folder / "out" / "film7.csv").exists() and [*entries(world)] == ["film8"]


def test_another_ensembles_folder_is_replaced_only_where_that_is_said(world: VideoWorld) -> None:
    out = world.folder / "out"
    va.open_ensemble("mix", home=world.home.root).write_predictions(
        world.store, out, "validation", device="cpu"
    )
    refused = predict(world)
    assert refused.exit_code == 2 and "add --replace to replace it" in refused.output
    assert predict(world, "--replace").exit_code == 0
    assert {path.name for path in out.glob("*.csv")} == {"film7.csv", "film8.csv"}


def test_a_video_whose_pictures_begin_late_has_an_offset_for_its_player(world: VideoWorld) -> None:
    write_film(world.folder / "late" / "film7.mp4", 7, TIMES + 0.2)
    assert predict(world, videos="late").exit_code == 0
    times, _ = read_curves(world.folder / "out" / "film7.csv")
    np.testing.assert_allclose(times, TIMES, atol=1e-3)
    assert entries(world)["film7"]["offset"] == pytest.approx(0.2, abs=0.03)


def test_an_output_beside_the_videos_is_not_named_as_no_video(world: VideoWorld) -> None:
    inside = world.folder / "new" / "curves"
    for _ in range(2):
        result = predict(world, "--out", inside)
        assert result.exit_code == 0 and "by their endings" not in result.output
    assert "2 videos predicted before" in result.output


def test_a_name_that_no_file_can_have_stops_no_other_video(world: VideoWorld) -> None:
    name = "?" * 80  # three signs each in a file's name
    shutil.copy(world.folder / "new" / "film8.mp4", world.folder / "new" / f"{name}.mp4")
    result = predict(world, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["predicted"] == ["film7", "film8"] and [*document["broken"]] == [name]
    assert "too long for a file name: 240 bytes" in document["broken"][name][0]
    assert "1 video could not be predicted" in document["error"]
    assert document["page"] is not None


def test_what_another_process_wrote_meanwhile_stays_in_the_mark(world: VideoWorld) -> None:
    from va_search.serving.video_folder import VideoFolder

    late = VideoFolder(world.folder / "out", world.ensemble)
    assert predict(world).exit_code == 0
    late.check(["film7", "film8"])
    late.begin()
    late.end()
    assert [*entries(world)] == ["film7", "film8"]
    assert "2 videos predicted before" in predict(world).output

"""Videos to a store: what is in it, going on after a kill, adding feature sets, and bad input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("opensmile", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")
pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")

from extract_world import tone, write_crops, write_labels, write_recipe, write_video

from va_search.data.audit import check
from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.extract import extractor, pipeline
from va_search.extract.extractor import Settings
from va_search.extract.pipeline import Extracted, ExtractionProgress, extract, in_turn
from va_search.extract.recipe import load_recipe
from va_search.extract.recording import RecordingOutcome, Worker
from va_search.extract.sources import Sources
from va_search.files import read_json

FBANK = "feature_sets:\n- {name: mel, extractor: fbank, settings: {bins: 8}}\n"
MORE = FBANK + "- {name: face, extractor: colour}\n"


class MeanColour:
    """An image extractor of the tests' own: the mean of each colour, NaN for an image of brightness
    99."""

    Settings = Settings
    kind = "image"
    batch = 7
    columns = ("red", "green", "blue")

    def __init__(self, settings: Settings) -> None:
        self.ready = False

    def prepare(self, device: str = "cpu") -> None:
        self.ready = True

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        assert self.ready
        assert 0 < len(images) <= self.batch
        return np.array([image.reshape(-1, 3).mean(axis=0) for image in images], dtype=np.float32)


@pytest.fixture(autouse=True)
def _colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extractor.EXTRACTORS, "colour", (__name__, "MeanColour"))


@pytest.fixture
def places(tmp_path: Path) -> Sources:
    """Three recordings of 4 s, 23.976 fps, every second frame with a crop."""
    for number in range(3):
        times = np.arange(96) * 1001 / 24000
        write_video(tmp_path / "videos" / f"v{number}.mp4", times, tone(4.0, seed=number))
        write_labels(
            tmp_path / "labels",
            f"v{number}",
            97,
            "Train_Set" if number < 2 else "Validation_Set",
            number,
        )
        write_crops(tmp_path / "crops" / f"v{number}", range(1, 97, 2))
    return Sources(tmp_path / "videos", tmp_path / "labels", tmp_path / "crops")


def run(tmp_path: Path, places: Sources, text: str = FBANK, **more: object) -> Extracted:
    return extract(
        load_recipe(write_recipe(tmp_path / "recipe.yaml", text)),
        places,
        tmp_path / "store",
        **more,
    )  # type: ignore[arg-type]


def check_warnings(store: Store) -> list[str]:
    return list(read_json(store.path / "manifest.json")["warnings"])


def refused(tmp_path: Path, places: Sources, text: str = FBANK) -> list[str]:
    with pytest.raises(InputError) as caught:
        run(tmp_path, places, text)
    assert not (tmp_path / "store").exists()
    return caught.value.problems


def kept(tmp_path: Path) -> int:
    return len(list((tmp_path / "store.partial" / "parts").glob("*.npz")))


def test_a_store_of_sound_and_crops(tmp_path: Path, places: Sources) -> None:
    text = (
        FBANK
        + "- {name: face, extractor: colour}\n- {name: scene, extractor: colour, images: frames}\n"
    )
    seen: list[ExtractionProgress] = []
    made = run(tmp_path, places, text, watch=seen.append)
    store = Store.open(tmp_path / "store")
    assert {name: (one.modality, one.dim) for name, one in store.feature_sets.items()} == {
        "mel": ("audio", 8),
        "face": ("visual", 3),
        "scene": ("visual", 3),
    }
    assert [(one.name, one.split, one.frames) for one in store.recordings] == [
        ("v0", "train", 97), ("v1", "train", 97), ("v2", "validation", 97)
    ]  # fmt: skip
    assert store.recordings[0].frames_per_second == pytest.approx(23.976, abs=0.01)
    valid = store.valid[:97]
    assert valid.sum() == 48
    assert valid[0]
    assert not valid[1]
    face = store.features("face")[:97]
    np.testing.assert_allclose(face[0:96:2, 0], np.arange(1, 97, 2) % 100 + 50, atol=1.5)
    assert face[1, 0] in (face[0, 0], face[2, 0])  # whichever is nearer by the video's clock
    assert [progress.done for progress in seen] == [0, 1, 2, 3]
    assert seen[-1].footage == pytest.approx(seen[-1].all_footage)
    assert made.recordings == 3
    assert 0 < made.extracting < made.seconds
    assert made.footage == pytest.approx(12.0, abs=0.1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".store.lock", "crops", "labels", "recipe.yaml", "store", "videos"]


def test_a_killed_run_goes_on_with_what_is_missing(tmp_path: Path, places: Sources) -> None:
    def killed(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        yield worker(indexes[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, places, engine=killed)
    assert kept(tmp_path) == 1
    made = run(tmp_path, places)
    assert made.recordings == 2
    again = run(tmp_path, places)
    assert (again.recordings, again.added, again.present) == (0, (), ("mel",))


def test_feature_sets_are_added_and_what_was_there_stays(tmp_path: Path, places: Sources) -> None:
    first = run(tmp_path, places).store
    before = first.data_hash(["mel"])
    mapped = first.features("mel").copy()
    made = run(tmp_path, places, MORE)
    assert (made.added, made.present) == (("face",), ("mel",))
    assert made.store.data_hash(["mel"]) == before
    assert list(made.store.feature_sets) == ["mel", "face"]
    np.testing.assert_array_equal(first.features("mel"), mapped)  # whoever had it open reads on
    assert made.store.valid.sum() == 3 * 48
    assert check(made.store).count("error") == 0
    with pytest.raises(
        InputError, match="feature set 'mel' is there already and was made otherwise"
    ):
        run(tmp_path, places, FBANK.replace("8", "9"))
    alone = extract(load_recipe(tmp_path / "recipe.yaml"), places, tmp_path / "other").store
    assert alone.feature_sets["mel"].dim == 9


def test_a_command_with_nothing_to_do_leaves_what_another_has_finished(
    tmp_path: Path, places: Sources
) -> None:
    def killed(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        yield worker(indexes[0])
        raise KeyboardInterrupt

    run(tmp_path, places)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, places, MORE, engine=killed)
    lock = tmp_path / ".store.lock"
    held = lock.stat().st_ino
    assert run(tmp_path, places).added == ()
    assert lock.stat().st_ino == held
    assert run(tmp_path, places, MORE).recordings == 2


def test_a_kill_right_after_adding_is_not_in_the_way_of_the_next_set(
    tmp_path: Path, places: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, places)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_remove_scratch", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, places, MORE)
    assert run(tmp_path, places, MORE).added == ()
    assert run(
        tmp_path, places, MORE + "- {name: late, extractor: colour, delay: 0.1}\n"
    ).added == ("late",)
    assert not list(tmp_path.glob("store.*"))


def test_a_kill_while_adding_leaves_the_old_store_or_the_new(
    tmp_path: Path, places: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    import va_search.data.importing as importing

    run(tmp_path, places)
    for step in ("_link", "write_frames", "write_manifest"):
        with monkeypatch.context() as patch:
            patch.setattr(importing, step, _killed)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, places, MORE)
        assert list(Store.open(tmp_path / "store").feature_sets) == ["mel"]
    assert list(run(tmp_path, places, MORE).store.feature_sets) == ["mel", "face"]
    assert not list(tmp_path.glob("store.*"))


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


def write_sample(tmp_path: Path, rows: int = 97) -> Path:
    """A sample of test recording v3, whose video and crops are written too."""
    if not (tmp_path / "videos" / "v3.mp4").exists():
        write_video(tmp_path / "videos" / "v3.mp4", np.arange(96) * 1001 / 24000, tone(4.0, seed=3))
        write_crops(tmp_path / "crops" / "v3", range(1, 97, 2))
    path = tmp_path / "sample.csv"
    path.write_text(
        "image_location,valence,arousal\n"
        + "".join(f"v3/{i + 1:05d}.jpg,0,0\n" for i in range(rows))
    )
    return path


def not_run(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
    raise AssertionError("nothing should be extracted")


def test_recordings_that_are_not_the_stores_are_told_before_a_set_is_extracted(
    tmp_path: Path, places: Sources
) -> None:
    run(tmp_path, places)
    tested = replace(places, sample=write_sample(tmp_path))
    with pytest.raises(
        InputError, match="no recording 'v3', which is in what is given now"
    ) as caught:
        run(tmp_path, tested, MORE, engine=not_run)
    assert (
        "give the --videos, --annotations, --sample and --subjects it was made from"
        in caught.value.problems[-1]
    )
    labels = tmp_path / "labels" / "Train_Set" / "v0.txt"
    labels.rename(tmp_path / "labels" / "Validation_Set" / "v0.txt")
    with pytest.raises(
        InputError,
        match=r"recording 'v0': split train in \S+store, validation in what is given now",
    ):
        run(tmp_path, places, MORE, engine=not_run)
    (tmp_path / "labels" / "Validation_Set" / "v0.txt").rename(tmp_path / "v0.txt")
    with pytest.raises(InputError, match="store: recording 'v0' is not in what is given now"):
        run(tmp_path, places, MORE, engine=not_run)
    (tmp_path / "v0.txt").rename(labels)
    assert run(tmp_path, places, MORE).added == ("face",)


def test_other_test_lengths_are_told_before_a_set_is_extracted(
    tmp_path: Path, places: Sources
) -> None:
    tested = replace(places, sample=write_sample(tmp_path))
    run(tmp_path, tested)
    write_sample(tmp_path, 96)
    with pytest.raises(
        InputError, match=r"recording 'v3': frames 97 in \S+store, 96 in what is given now"
    ):
        run(tmp_path, tested, MORE, engine=not_run)


def test_a_store_is_not_taken_for_one_of_other_labels_or_splits(
    tmp_path: Path, places: Sources
) -> None:
    run(tmp_path, places)
    with pytest.raises(InputError, match="no recording 'v3', which is in what is given now"):
        run(tmp_path, replace(places, sample=write_sample(tmp_path)))
    people = tmp_path / "people.csv"
    people.write_text("recording,subject\nv0,anna\nv1,anna\nv2,v2\n")
    with pytest.raises(
        InputError, match=r"recording 'v0': subject v0 in \S+store, anna in what is given now"
    ):
        run(tmp_path, replace(places, subjects=people))
    with pytest.raises(
        InputError,
        match="feature set 'mel' is there as float32, not as float16; give --dtype float32",
    ):
        run(tmp_path, places, dtype="float16")
    labels = tmp_path / "labels" / "Train_Set" / "v1.txt"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines[:3], "-5,-5", "0.1,0.1", *lines[5:]]) + "\n")
    for text in (FBANK, MORE):
        with pytest.raises(
            InputError, match=r"v1\.txt:4: another label than in the store \(and 1 more\)"
        ):
            run(tmp_path, places, text, engine=not_run)
    labels.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match=r"v1\.txt: 96 labels, 97 in the store"):
        run(tmp_path, places)
    labels.write_text("\n".join(lines) + "\n")
    assert run(tmp_path, places).added == ()


def test_unlabelled_frames_are_found_again(tmp_path: Path, places: Sources) -> None:
    labels = tmp_path / "labels" / "Train_Set" / "v1.txt"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([lines[0], "-5,-5", *lines[2:]]) + "\n")
    run(tmp_path, places)
    assert run(tmp_path, places).added == ()


def test_sets_that_the_store_refuses_are_not_in_the_way_of_the_next(
    tmp_path: Path, places: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, places)
    labels = tmp_path / "labels" / "Train_Set" / "v0.txt"
    before = labels.read_text()

    def changed(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        labels.write_text(before.replace("0.5000", "0.4000"))
        return in_turn(worker, indexes)

    with pytest.raises(InputError, match=r"store\.adding: other annotations than in \S+store"):
        run(tmp_path, places, MORE, engine=changed)
    labels.write_text(before)
    assert run(tmp_path, places, MORE).added == ("face",)


def test_a_recording_broken_while_adding_can_not_be_left_out(
    tmp_path: Path, places: Sources
) -> None:
    run(tmp_path, places)
    (tmp_path / "crops" / "v1" / "00003.jpg").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run(tmp_path, places, MORE)
    assert "2 of 3 recordings are extracted and kept" in caught.value.problems[-1]
    assert "label files" not in caught.value.problems[-1]
    assert "extract all into another store" in caught.value.problems[-1]
    write_crops(tmp_path / "crops" / "v1", [3])
    assert run(tmp_path, places, MORE).recordings == 1


def test_broken_recordings_are_told_at_the_end_and_the_others_are_kept(
    tmp_path: Path, places: Sources
) -> None:
    video = tmp_path / "videos" / "v0.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    write_video(tmp_path / "videos" / "v1.mp4", np.arange(96) * 1001 / 24000)  # no sound
    problems = refused(tmp_path, places)
    assert "v0.mp4" in problems[0]
    assert "no whole video" in problems[0]
    assert "v1.mp4: no audio track" in problems[1]
    assert "1 of 3 recordings are extracted and kept" in problems[-1]
    assert kept(tmp_path) == 1
    video.write_bytes(whole)
    write_video(tmp_path / "videos" / "v1.mp4", np.arange(96) * 1001 / 24000, tone(4.0))
    assert run(tmp_path, places).recordings == 2


def test_a_store_without_what_is_broken_is_made_where_asked_for(
    tmp_path: Path, places: Sources
) -> None:
    video = tmp_path / "videos" / "v0.mp4"
    video.write_bytes(video.read_bytes()[:5000])
    assert "--leave-out-broken" in refused(tmp_path, places)[-1]
    made = run(tmp_path, places, leave_out_broken=True)
    assert (made.left_out, made.recordings) == (("v0",), 0), "the others' parts are used"
    assert [one.name for one in made.store.recordings] == ["v1", "v2"]
    (warning,) = [text for text in check_warnings(made.store) if "left out" in text]
    assert warning.startswith(
        f"recording 'v0' is left out: {video}: 5,000 bytes that are no whole video"
    )
    assert not list(tmp_path.glob("store.partial"))
    again = run(tmp_path, places)
    assert (again.added, again.left_out) == ((), ("v0",))
    assert run(tmp_path, places, MORE).added == ("face",), "a set is added to what the store has"
    assert [one.name for one in Store.open(tmp_path / "store").recordings] == ["v1", "v2"]


def test_what_is_broken_inside_is_left_out_too_but_never_all_nor_a_test_recording(
    tmp_path: Path, places: Sources
) -> None:
    face = "feature_sets: [{name: face, extractor: colour}]\n"
    for name in ("v0", "v1", "v2"):
        (tmp_path / "crops" / name / "00003.jpg").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run(tmp_path, places, face, leave_out_broken=True)
    assert len(caught.value.problems) == 3 and not (tmp_path / "store").exists()
    write_crops(tmp_path / "crops" / "v0", [3])
    labels = tmp_path / "labels"
    (labels / "Train_Set" / "v1.txt").rename(labels / "Validation_Set" / "v1.txt")
    (labels / "Validation_Set" / "v2.txt").unlink()
    sample = tmp_path / "sample.txt"
    sample.write_text(
        "image_location,valence,arousal\n"
        + "".join(f"v2/{i:05d}.jpg,-5,-5\n" for i in range(1, 97))
    )
    tested = replace(places, sample=sample)
    with pytest.raises(InputError) as caught:
        run(tmp_path, tested, face, leave_out_broken=True)
    assert "test recordings, and those at which a process died, stay" in caught.value.problems[-1]
    write_crops(tmp_path / "crops" / "v2", [3])
    assert run(tmp_path, tested, face, leave_out_broken=True).left_out == ("v1",)


def test_where_processes_died_nothing_is_left_out(tmp_path: Path, places: Sources) -> None:
    def dying(worker: Worker, indexes: Sequence[int]) -> Iterator[RecordingOutcome]:
        yield from in_turn(worker, indexes[1:])

    with pytest.raises(InputError, match="ended without a word"):
        run(tmp_path, places, leave_out_broken=True, engine=dying)
    assert not (tmp_path / "store").exists()


def test_a_video_replaced_since_is_told_before_anything_is_mixed(
    tmp_path: Path, places: Sources
) -> None:
    run(tmp_path, places)
    write_video(tmp_path / "videos" / "v1.mp4", np.arange(96) * 1001 / 24000, tone(4.0, seed=9))
    for text in (FBANK, MORE):
        with pytest.raises(
            InputError, match=r"v1\.mp4: [\d,]+ bytes, [\d,]+ when .*store was made from it"
        ):
            run(tmp_path, places, text)


def test_crops_that_are_beyond_the_video_empty_or_absent(tmp_path: Path, places: Sources) -> None:
    face = "feature_sets: [{name: face, extractor: colour}]\n"
    write_crops(tmp_path / "crops" / "v0", [140])
    (tmp_path / "crops" / "v1" / "00003.jpg").write_bytes(b"")
    for path in (tmp_path / "crops" / "v2").iterdir():
        path.unlink()
    problems = "\n".join(refused(tmp_path, places, face))
    assert "00140.jpg: a crop beyond the video's end" in problems
    assert "00003.jpg: 0 bytes that are no whole image" in problems
    assert "v2: no crop in it" in problems


def test_values_that_are_not_finite_name_frame_and_column(
    tmp_path: Path, places: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dirty(self: MeanColour, images: Sequence[np.ndarray]) -> np.ndarray:
        values = np.ones((len(images), 3), dtype=np.float32)
        values[0, 1] = np.nan
        return values

    monkeypatch.setattr(MeanColour, "images", dirty)
    problems = refused(tmp_path, places, "feature_sets: [{name: face, extractor: colour}]\n")
    assert "recording 'v0': feature set 'face': " in "\n".join(problems)
    assert "nan in frame 1, column 1" in problems[0]


def test_sound_shorter_than_the_video_is_held_and_told_by_the_audit(
    tmp_path: Path, places: Sources
) -> None:
    times = np.arange(96) * 1001 / 24000
    write_video(tmp_path / "videos" / "v0.mp4", times, tone(2.0))
    store = run(tmp_path, places).store
    mel = store.features("mel")[:97]
    np.testing.assert_array_equal(mel[60], mel[96])
    texts = [f"{finding.where}: {finding.text}" for finding in check(store).findings]
    assert any(
        "v0: its sound is 1.9" in text or "v0: its sound is 2.0" in text for text in texts
    ), texts


def test_a_wrong_folder_or_a_missing_video_is_told_before_anything_is_read(
    tmp_path: Path, places: Sources
) -> None:
    assert (
        "expected videos" in refused(tmp_path, Sources(tmp_path / "crops", tmp_path / "labels"))[0]
    )
    assert (
        "no such folder" in refused(tmp_path, Sources(tmp_path / "nowhere", tmp_path / "labels"))[0]
    )
    write_labels(tmp_path / "labels", "gone", 50)
    write_labels(tmp_path / "labels", "lost_left", 50)
    problems = refused(tmp_path, places)
    assert [problem.split(" with")[0] for problem in problems] == [
        "recording 'gone': no video gone",
        "recording 'lost_left': no video lost_left or lost",
    ]
    (places.videos / "GONE.mp4").write_text("a video")
    (places.videos / "lost.mts").write_text("of an ending that is not read")
    told = refused(tmp_path, places)
    assert told[0].endswith("; GONE.mp4 is there: is it meant? Names must be the same")
    assert told[1].endswith("; lost.mts is there, which is none of these: convert it")
    assert not (tmp_path / "store.partial").exists()
    face = "feature_sets: [{name: face, extractor: colour}]\n"
    without = Sources(places.videos, places.annotations)
    (tmp_path / "labels" / "Train_Set" / "gone.txt").unlink()
    (tmp_path / "labels" / "Train_Set" / "lost_left.txt").unlink()
    assert "'face' looks at crops: give --crops" in refused(tmp_path, without, face)[0]


def test_a_full_disk_stops_the_job_and_keeps_what_is_done(tmp_path: Path, places: Sources) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        recipe = load_recipe(
            write_recipe(
                tmp_path / "recipe.yaml", "feature_sets: [{name: face, extractor: colour}]"
            )
        )
        (disk / "filler").write_bytes(bytes(44_000))
        with pytest.raises(JobError, match=r"(?i)no space left"):
            extract(recipe, places, disk / "store", engine=in_turn)
        assert not (disk / "store").exists()
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        assert extract(recipe, places, disk / "store").store.frames == 3 * 97
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

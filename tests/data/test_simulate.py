"""The simulated challenge: repeatable, hostile where the real one is, and learnable to the intended
degree."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from va_search.data.audit import check
from va_search.data.simulate import simulate
from va_search.data.store import Store, positions
from va_search.metrics import ccc


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    folder = tmp_path_factory.mktemp("simulated")
    return simulate(folder / "store", hidden=folder / "hidden"), folder / "hidden"


def test_same_seed_same_challenge(tmp_path: Path) -> None:
    stores = [
        simulate(tmp_path / str(n), size="tiny", seed=seed) for n, seed in enumerate((3, 3, 4))
    ]
    assert stores[0].hashes == stores[1].hashes != stores[2].hashes
    assert stores[0].feature_sets == stores[1].feature_sets != stores[2].feature_sets


def test_second_call_finds_it(tmp_path: Path) -> None:
    simulate(tmp_path / "store", size="tiny")
    begun = time.perf_counter()
    seen: list[str] = []
    simulate(
        tmp_path / "store",
        size="tiny",
        hidden=tmp_path / "late",
        progress=lambda done, total, what: seen.append(what),
    )
    assert seen == [] and time.perf_counter() - begun < 2
    assert len(list((tmp_path / "late").iterdir())) == len(
        Store.open(tmp_path / "store").split("test")
    )


def test_it_holds_every_difficulty(made: tuple[Store, Path]) -> None:
    store, _ = made
    assert len({recording.frames for recording in store.recordings}) > 20
    assert (~store.valid).any() and any(recording.gaps for recording in store.recordings)
    shown = np.concatenate([store.annotations[r.start : r.stop] for r in store.split("train")])
    assert 0 < np.isnan(shown).mean() < 0.1
    assert store.fold_keys == ["official", 0, 1, 2, 3]
    frames = [sum(r.frames for r in store.recordings if r.fold == fold) for fold in range(4)]
    assert max(frames) < 1.35 * min(frames)
    report = check(store)
    assert [finding for finding in report.findings if finding.level != "note"] == []


def test_two_persons_share_a_video_and_its_sound(made: tuple[Store, Path]) -> None:
    store, _ = made
    by_name = {recording.name: recording for recording in store.recordings}
    left = [recording for recording in store.recordings if recording.name.endswith("_left")]
    assert len(left) > 5
    for one in left:
        other = by_name[f"{one.video}_right"]
        assert (one.split, one.fold, one.frames, one.video) == (
            other.split,
            other.fold,
            other.frames,
            other.video,
        )
        assert one.subject != other.subject
        voice, face = store.features("voice"), store.features("face")
        np.testing.assert_array_equal(voice[one.start : one.stop], voice[other.start : other.stop])
        assert not np.array_equal(face[one.start : one.stop], face[other.start : other.stop])


def test_frames_without_a_face_repeat_the_nearest_one(made: tuple[Store, Path]) -> None:
    store, _ = made
    recording = next(r for r in store.recordings if not store.valid[r.start : r.stop].all())
    span = slice(recording.start, recording.stop)
    valid, face, voice = (
        store.valid[span],
        store.features("face")[span],
        store.features("voice")[span],
    )
    known = np.flatnonzero(valid)
    for frame in np.flatnonzero(~valid):
        nearest = known[np.abs(known - frame).argmin()]
        np.testing.assert_array_equal(face[frame], face[nearest])
        assert not np.array_equal(voice[frame], voice[nearest])


def test_test_labels_are_hidden_and_complete(made: tuple[Store, Path]) -> None:
    store, hidden = made
    for recording in store.split("test"):
        assert np.isnan(store.annotations[recording.start : recording.stop]).all()
        lines = (hidden / f"{recording.name}.csv").read_text().splitlines()
        assert lines[0] == "valence,arousal" and len(lines) == recording.frames + 1
    files = [hidden / f"{recording.name}.csv" for recording in store.split("test")]
    labels = np.concatenate([np.genfromtxt(file, delimiter=",", skip_header=1) for file in files])
    assert np.nanstd(labels, axis=0).min() > 0.3 and np.isnan(labels).mean() < 0.1


def ridge(store: Store, names: list[str]) -> np.ndarray:
    """Validation predictions of a linear model on person-normalised features averaged over about 2
    s."""
    values = np.concatenate(
        [np.asarray(store.features(name), dtype=np.float64) for name in names], axis=1
    )
    for subject in {recording.subject for recording in store.recordings}:
        own = positions(
            tuple(recording for recording in store.recordings if recording.subject == subject)
        )
        values[own] = (values[own] - values[own].mean(axis=0)) / values[own].std(axis=0)
    for recording in store.recordings:
        padded = np.pad(values[recording.start : recording.stop], ((25, 25), (0, 0)), "edge")
        smooth = [np.convolve(column, np.ones(51) / 51, "valid") for column in padded.T]
        values[recording.start : recording.stop] = np.stack(smooth, axis=1)
    train, validation = positions(store.split("train")), positions(store.split("validation"))
    train = train[~np.isnan(store.annotations[train]).any(axis=1)]
    x, y = values[train], store.annotations[train]
    return values[validation] @ np.linalg.solve(
        x.T @ x + 100 * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0))
    )


def test_sets_differ_in_what_they_tell_and_complement_each_other(made: tuple[Store, Path]) -> None:
    store, _ = made
    labels = store.annotations[positions(store.split("validation"))]
    found = {}
    for names in (["face"], ["voice"], ["room_tone"], ["face", "action_units", "voice", "speech"]):
        predicted = ridge(store, names)
        found["+".join(names)] = [ccc(predicted[:, index], labels[:, index]) for index in (0, 1)]
    face, voice, noise, together = found.values()
    assert face[0] > face[1] + 0.15 and voice[1] > voice[0] + 0.15, found
    assert max(np.abs(noise)) < 0.15, found
    assert (
        together[0] > face[0] - 0.02
        and together[1] > voice[1] - 0.02
        and sum(together) > face[0] + voice[1]
    ), found
    assert max(together) < 0.9, found

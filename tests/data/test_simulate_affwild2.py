"""The simulated Aff-Wild2: repeatable, shaped as the paper's data, its test labels only where they
are hidden."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from va_search.data import simulate_affwild2 as simulate_affwild2_module
from va_search.data.audit import check
from va_search.data.draft import Part
from va_search.data.folds import make_folds
from va_search.data.simulate_affwild2 import (
    SENSORS,
    affwild2_shape,
    film,
    labels_of,
    simulate_affwild2,
)
from va_search.data.store import Store, positions
from va_search.errors import InputError

PAPERS = {
    "visual": {"densenet": 342, "ires100": 512, "fau": 512, "mae": 768, "ms_va": 342},
    "audio": {
        "fbank": 80, "egemaps": 23, "compare": 130, "vggish": 128, "wav2vec": 768, "hubert": 1024, "ecapatdnn": 512,
    },
}  # fmt: skip
SCALE = 0.001


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    folder = tmp_path_factory.mktemp("like")
    return simulate_affwild2(
        folder / "store", scale=SCALE, hidden=folder / "hidden"
    ), folder / "hidden"


def test_it_has_the_papers_feature_sets_in_float16_and_no_folds(made: tuple[Store, Path]) -> None:
    store, _ = made
    found: dict[str, dict[str, int]] = {"visual": {}, "audio": {}}
    for one in store.feature_sets.values():
        found[one.modality][one.name] = one.dim
        assert one.dtype == "float16"
    assert found == PAPERS
    assert (
        store.fold_numbers == []
        and store.time_column is None
        and store.targets[0].range == (-1.0, 1.0)
    )


def test_the_audit_finds_what_the_real_data_has_and_no_error(made: tuple[Store, Path]) -> None:
    report = check(made[0])
    assert report.count("error") == 0
    (constant,) = [finding for finding in report.findings if finding.level == "warning"]
    assert "valence is" in constant.text and "own CCC is undefined" in constant.text
    train = report.labels[0]
    assert 0 < train.unlabelled_share < 0.02


def test_same_scale_and_seed_same_challenge(made: tuple[Store, Path], tmp_path: Path) -> None:
    again = simulate_affwild2(tmp_path / "again", scale=SCALE)
    other = simulate_affwild2(tmp_path / "other", scale=SCALE, seed=1)
    assert again.hashes == made[0].hashes != other.hashes
    assert again.feature_sets == made[0].feature_sets != other.feature_sets


def test_a_second_call_finds_it_and_another_scale_is_refused(made: tuple[Store, Path]) -> None:
    began = time.perf_counter()
    assert simulate_affwild2(made[0].path, scale=SCALE).hashes == made[0].hashes
    assert time.perf_counter() - began < 1.0
    with pytest.raises(InputError, match="made from other sources"):
        simulate_affwild2(made[0].path, scale=SCALE * 2)


def test_test_labels_are_hidden_and_not_in_the_store(made: tuple[Store, Path]) -> None:
    store, hidden = made
    tests = store.split("test")
    assert np.isnan(store.annotations[positions(tests)]).all()
    assert {path.stem for path in hidden.iterdir()} == {one.name for one in tests}
    plan = {one.name: one for one in affwild2_shape(SCALE)}
    empty = 0
    for one in tests:
        with open(hidden / f"{one.name}.csv", encoding="utf-8") as handle:
            header, *rows = csv.reader(handle)
        assert header == ["valence", "arousal"] and len(rows) == one.frames
        written = [[float(value) if value else np.nan for value in row] for row in rows]
        np.testing.assert_allclose(written, labels_of(plan[one.name], 0), atol=1e-9)
        empty += int(np.isnan(written).any(axis=1).sum())
    assert empty == sum(plan[one.name].unlabelled for one in tests) > 0


def test_two_persons_of_a_video_share_its_sound_and_not_their_faces(
    made: tuple[Store, Path],
) -> None:
    store, _ = made
    second = next(one for one in affwild2_shape(SCALE) if one.place == 1)
    one, other = [recording for recording in store.recordings if recording.video == second.video]
    for name, entry in store.feature_sets.items():
        values = store.features(name)
        same = np.array_equal(values[one.start : one.stop], values[other.start : other.stop])
        assert same == (entry.modality == "audio"), name


def test_frames_without_a_face_take_the_nearest_in_pictures_only() -> None:
    longest = sorted(affwild2_shape(0.003), key=lambda one: -one.frames)
    part = next(
        part
        for part in (film(one, 0) for one in longest)
        if part.valid is not None and not part.valid.all()
    )
    assert part.valid is not None
    lost, known = np.flatnonzero(~part.valid), np.flatnonzero(part.valid)
    near = known[np.abs(known[None, :] - lost[:, None]).argmin(axis=1)]
    face, sound = part.features["mae"], part.features["hubert"]
    assert np.array_equal(face[lost], face[near]) and not np.array_equal(sound[lost], sound[near])


def test_values_are_about_unit_scale_and_low_rank() -> None:
    plan = max(affwild2_shape(0.003), key=lambda one: one.frames)
    part = film(plan, 0)
    for name, sensor in SENSORS.items():
        values = part.features[name].astype(np.float64)
        assert 0.4 < values.std() < 1.5 and np.abs(values.mean()) < 0.3, name
        if sensor.dim >= 300:
            spread = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
            assert spread[12] > 2 * spread[13] > spread[14], name


def test_folds_can_be_made(made: tuple[Store, Path], tmp_path: Path) -> None:
    store = simulate_affwild2(tmp_path / "store", scale=SCALE)
    assert len(make_folds(store.path, k=6, keep_validation=True).rows) == 6


def test_which_sets_tell_more_depends_on_the_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ridge regression on second-long means, learnt on the training recordings, on those of
    validation and test."""
    of_valence, of_arousal = ("densenet", "ms_va", "compare"), ("ires100", "mae", "hubert")
    names = (*of_valence, *of_arousal, "vggish")
    monkeypatch.setattr(
        simulate_affwild2_module, "SENSORS", {name: SENSORS[name] for name in names}
    )
    plans = affwild2_shape(0.01)
    sides = [
        [(film(one, 0), labels_of(one, 0)) for one in plans if (one.split == "train") == train]
        for train in (1, 0)
    ]
    found = {name: _told(sides, name) for name in names}
    leaning = {name: valence - arousal for name, (valence, arousal) in found.items()}
    assert (
        np.mean([leaning[name] for name in of_valence])
        > np.mean([leaning[name] for name in of_arousal]) + 0.1
    ), found
    assert sum(found["vggish"]) < min(
        sum(told) for name, told in found.items() if name != "vggish"
    ), found
    assert max(max(told) for told in found.values()) < 0.8, found  # no set tells all


def _told(sides: list[list[tuple[Part, np.ndarray]]], name: str) -> list[float]:
    """Correlations of valence and arousal with what feature set `name` tells of them on the second
    side."""
    pairs = []
    for side in sides:
        x = np.concatenate([_seconds(part.features[name]) for part, _ in side])
        y = np.concatenate([_seconds(labels) for _, labels in side])
        known = ~np.isnan(y).any(axis=1)
        pairs.append((x[known], y[known]))
    (x, y), (x_new, y_new) = pairs
    kernel = x @ x.T + 3.0 * x.shape[1] * np.eye(len(x))
    told = x_new @ x.T @ np.linalg.solve(kernel, y - y.mean(axis=0))
    return [float(np.corrcoef(told[:, d], y_new[:, d])[0, 1]) for d in (0, 1)]


def _seconds(values: np.ndarray) -> np.ndarray:
    whole = len(values) // 30 * 30
    return values[:whole].astype(np.float64).reshape(-1, 30, values.shape[1]).mean(axis=1)

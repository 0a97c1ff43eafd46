"""What stands in for a missing value: zero, the recording's mean, or the last that was there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training_world import write_store

from va_search.data.draft import Part
from va_search.data.segments import stretches
from va_search.data.stand_ins import StandIns
from va_search.data.store import MemoryStore, Recording, Store
from va_search.search.sameness import sameness_of
from va_search.training.batches import Steps
from va_search.training.examples import Examples
from va_search.training.fit import Fit
from va_search.training.fused import Fused, fits_of
from va_search.training.weights import load_model
from va_search.trial_settings import MEANING, TrialSettings, meaning_on, trial_id, trial_id_on

SMALL: dict[str, Any] = {
    "features": ("face", "voice"),
    "encoder": "gru",
    "width": 8,
    "hidden_size": 6,
    "head_sizes": (5,),
    "segment_length": 7,
    "epochs": 2,
}


def make(**changes: Any) -> TrialSettings:
    return TrialSettings(**{**SMALL, **changes})


def with_holes(index: int, part: Part) -> Part:
    """A random world: long and short holes, in one column or all, some at a stretch's ends; the
    gap of the fourth recording lies in a hole, the last recording has no face at all."""
    random = np.random.default_rng(index)
    face = np.array(part.features["face"], dtype=np.float64)
    for _ in range(6):
        start, length = int(random.integers(0, len(face))), int(random.integers(1, 16))
        columns = slice(None) if random.random() < 0.5 else int(random.integers(0, 3))
        face[start : start + length, columns] = np.nan
    face[:3] = np.nan
    face[-2:, 1] = np.nan
    if index == 3:
        face[44:58] = np.nan
    if index == 10:
        face[:] = np.nan
    return Part({**part.features, "face": face}, part.annotations, gaps=part.gaps)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "holes", change=with_holes)


def test_values_by_hand(tmp_path: Path) -> None:
    def change(index: int, part: Part) -> Part:
        face = np.full((len(part.features["face"]), 3), np.nan)
        face[:, 0] = 5.0
        face[[2, 4], 1] = (10.0, 30.0)  # nothing before frame 2, a hole at 3, nothing after 4
        return Part({**part.features, "face": face}, part.annotations, gaps=part.gaps)

    store = write_store(tmp_path / "s", change=change)
    face = store.feature_sets["face"]
    expected = {"last": [10, 10, 10, 10, 30, 30, 30], "mean": [20.0] * 7}
    for how, values in expected.items():
        table = StandIns.of(how, store, [face], store.recordings[:1])
        keys = 1 * store.frames + np.arange(7)
        entry = np.searchsorted(table.key, keys, side="right") - 1
        missing = [0, 1, 3, 5, 6]
        assert table.value[entry][missing].tolist() == [values[frame] for frame in missing]
        assert np.isnan(table.value[table.key >= 2 * store.frames]).all()  # never any value


def stand_in(
    store: Store, recording: Recording, stretch: tuple[int, int], frame: int, column: int, how: str
) -> float:
    """The slow way: walk back, then forth; or average the recording."""
    values = store.features("face")[:, column].astype(np.float64)
    if how == "mean":
        own = values[recording.span]
        present = own[~np.isnan(own)]
        return float(present.mean()) if len(present) else np.nan
    for position in [*range(frame - 1, stretch[0] - 1, -1), *range(frame, stretch[1])]:
        if not np.isnan(values[position]):
            return float(values[position])
    return np.nan


def reference(
    store: Store, settings: TrialSettings, data: Examples, recording: Recording
) -> NDArray[np.float64]:
    """(steps, columns) of the face, without its share."""
    row = data.statistics.group[recording.name]
    views = len(settings.views)
    rows: list[list[float]] = []
    for stretch in stretches(recording):
        for start in range(*stretch, settings.frame_step):
            frames = range(start, min(start + settings.frame_step, stretch[1]))
            inputs = []
            for place in range(3 * views):
                column = place % 3
                raw = store.features("face")[frames.start : frames.stop, column].astype(float)
                raw = raw[~np.isnan(raw)]
                if not len(raw) and settings.missing != "zero":
                    value = stand_in(store, recording, stretch, start, column, settings.missing)
                    raw = np.array([] if np.isnan(value) else [value])
                shift = data.statistics.shift[row, 2 * views + place]
                scale = data.statistics.scale[row, 2 * views + place]
                values = np.clip((raw - shift) * scale, -1.5, 1.5)
                inputs.append(values.mean() if len(values) else 0.0)
            rows.append(inputs)
    return np.array(rows)


@pytest.mark.parametrize("missing", ["zero", "mean", "last"])
@pytest.mark.parametrize("frame_step", [1, 3])
@pytest.mark.parametrize("normalise", ["none", "train", ("subject", "recording")])
def test_any_segment_gets_what_a_slow_reference_gives(
    store: Store, missing: str, frame_step: int, normalise: Any
) -> None:
    settings = make(missing=missing, frame_step=frame_step, normalise=normalise, clip=1.5)
    data = Examples(settings, store, torch.device("cpu"))
    random = np.random.default_rng(1)
    for recording in [store.recordings[index] for index in (0, 3, 10)]:
        expected = reference(store, settings, data, recording)
        steps = Steps.of(store, (recording,), frame_step, data.statistics.group)
        # segments that overlap and begin anywhere, also inside a hole; none crosses a gap
        segments = []
        for start, stop in steps.stretches:
            for _ in range(8):
                begin = int(random.integers(start, stop))
                segments.append([begin, min(begin + 9, int(stop))])
        inputs = data.gather.inputs(steps, np.array(segments))
        for number, (begin, end) in enumerate(segments):
            face = inputs.x[number, : end - begin, 2 * len(settings.views) : -1]
            np.testing.assert_allclose(face.numpy(), expected[begin:end], atol=1e-4)


def test_what_stands_in_is_normalised_in_float64_where_the_values_are(tmp_path: Path) -> None:
    def change(index: int, part: Part) -> Part:
        face = with_holes(index, part).features["face"] * 1e-3 + 1e9
        return Part({**part.features, "face": face}, part.annotations, gaps=part.gaps)

    wide = write_store(tmp_path / "wide", change=change)
    assert wide.feature_sets["face"].dtype == "float64"
    data = Examples(make(missing="last", normalise="recording"), wide, torch.device("cpu"))
    recording = wide.recordings[0]
    steps = Steps.of(wide, (recording,), 1, data.statistics.group)
    x = data.gather.inputs(steps, np.array([[0, len(steps)]])).x[0, :, 2:5]
    face = wide.features("face")[recording.span]
    assert np.isnan(face[:3]).all()
    first = (~np.isnan(face)).argmax(axis=0)
    for column, frame in enumerate(first):
        assert (x[: frame + 1, column] == x[frame, column]).all()


@pytest.mark.parametrize("missing", ["mean", "last"])
@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_training_and_a_model_read_back_predict_the_same(
    store: Store, tmp_path: Path, missing: str, encoder: str
) -> None:
    changes: dict[str, Any] = {"layers": 1, "attention_heads": 2, "feed_forward": 8}
    if encoder == "transformer":
        changes |= {"stride": 3}
    settings = make(missing=missing, encoder=encoder, frame_step=2, **changes)
    fit = Fit(settings, store)
    while not fit.finished:
        assert np.isfinite(fit.run_epoch().loss)
    expected = fit.predictions()["test"].values
    fit.save_weights(tmp_path)
    # recording by recording, as a server gets them
    model = load_model(tmp_path, "valence")
    parts = [model.predict(store, (recording,))[:, 0] for recording in store.split("test")]
    np.testing.assert_allclose(np.concatenate(parts), expected[:, 0], atol=1e-5)
    # and from a table
    frames = slice(store.split("test")[0].start, store.split("test")[-1].stop)
    table = MemoryStore.of(
        "the table",
        model.feature_sets,
        {name: np.array(store.features(name)[frames]) for name in ("face", "voice")},
        [replace(each, start=each.start - frames.start) for each in store.split("test")],
        store.targets,
    )
    served = model.predict(table, table.recordings)
    np.testing.assert_allclose(served[:, 0], expected[:, 0], atol=1e-5)


def test_ids_change_where_frames_with_and_without_a_value_share_a_step(
    store: Store, tmp_path: Path
) -> None:
    whole = write_store(tmp_path / "whole")
    for changes in (
        {},
        {"frame_step": 4},
        {"fusion": "late"},
        {"frame_step": 2, "encoder": "lstm"},
    ):
        settings = make(**changes)
        other = settings.frame_step > 1 or settings.fusion == "late"
        for each, is_other in ((whole, False), (store, other)):
            before = trial_id(settings, each.data_hash(settings.features, settings.fold))
            assert (trial_id_on(settings, each) != before) == is_other
            assert (meaning_on(settings, each) != MEANING) == is_other
        # a trial on sets that lack nothing is what it was, whatever else the store has
        voice = make(**{**changes, "features": ("voice",)})
        assert trial_id_on(voice, store) == trial_id(voice, store.data_hash(("voice",)))


def test_ids_of_stores_without_missing_values_are_golden() -> None:
    assert trial_id(make(frame_step=4), "data", 1) == "c51788c2df1aee6b"
    late = make(frame_step=4, fusion="late", missing="zero")
    assert trial_id(late, "data", 1) == "89e62eba1de9d65e"
    assert trial_id(make(missing="last"), "data") != trial_id(make(), "data")
    assert trial_id(make(missing="mean"), "data") != trial_id(make(missing="last"), "data")


def test_where_nothing_is_missing_the_setting_means_nothing(store: Store, tmp_path: Path) -> None:
    whole = write_store(tmp_path / "whole")
    for each, features, same in (
        (whole, ("face", "voice"), True),
        (store, ("voice",), True),
        (store, ("face", "voice"), False),
    ):
        meaning = sameness_of(each, ["official"]).meaning
        zero, last = (make(features=features, missing=how) for how in ("zero", "last"))
        assert (meaning(zero) == meaning(last)) == same


@pytest.mark.parametrize("fusion", ["late", "gated"])
def test_fused_trials_with_missing_values_are_those_trained_alone(
    store: Store, fusion: str
) -> None:
    transformer = {"encoder": "transformer", "layers": 1, "attention_heads": 2, "feed_forward": 8}
    several = [
        make(
            **transformer,
            fusion=fusion,
            frame_step=2,
            missing="last",
            normalise=("train", "recording"),
            learning_rate=5e-3,
            seed=seed,
        )
        for seed in range(2)
    ]
    fused = Fused(fits_of(several, store))
    while not fused.finished:
        fused.run_epoch()
    for together, settings in zip(fused.fits, several, strict=True):
        alone = Fit(settings, store)
        while not alone.finished:
            alone.run_epoch()
        losses = [[epoch.loss for epoch in fit.history] for fit in (together, alone)]
        assert losses[0] == pytest.approx(losses[1], abs=2e-4)
        for split, expected in alone.predictions().items():
            found = together.predictions()[split].values
            np.testing.assert_allclose(found, expected.values, atol=2e-3)

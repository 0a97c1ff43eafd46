"""Model inputs against a plain recomputation, and that they cost no copy of the store."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from va_search.data.normalise import by_recording, normalisation
from va_search.data.store import Recording, Store, positions
from va_search.training.batches import Steps
from va_search.training.features import Gather, in_order, modality_dims, shared_tensor

CPU = torch.device("cpu")


def gathered(
    store: Store, recording: Recording, frame_step: int, clip: float | None
) -> tuple[Steps, np.ndarray, np.ndarray, np.ndarray]:
    """Steps of one recording, and x, mask, label of all its segments of 8 steps."""
    sets = in_order(list(store.feature_sets.values()))
    statistics = normalisation(
        store,
        [one.name for one in sets],
        store.fold("official"),
        grouped=by_recording,
    )
    steps = Steps.of(store, (recording,), frame_step, statistics.group)
    gather = Gather(store, sets, statistics, frame_step=frame_step, clip=clip, device=CPU)
    inputs = gather.inputs(steps, steps.segments(8, 8)[0])
    return steps, inputs.x.numpy(), inputs.mask.numpy(), inputs.label.numpy()


def expected(
    store: Store, recording: Recording, frame_step: int, clip: float | None
) -> list[np.ndarray]:
    """Features of every step, one plain mean at a time."""
    rows = slice(recording.start, recording.stop)
    columns = np.concatenate(
        [store.features("voice")[rows], store.features("face")[rows]], axis=1
    ).astype(float)
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    if clip is not None:
        columns = np.clip(columns, -clip, clip)
    borders = [0, *recording.gaps, recording.frames]
    return [
        columns[at : min(at + frame_step, stop)].mean(axis=0)
        for start, stop in pairwise(borders)
        for at in range(start, stop, frame_step)
    ]


@pytest.mark.parametrize("frame_step", [1, 3, 4])
@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("index", [0, 3])  # the fourth has a gap
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_are_normalised_clipped_then_averaged(
    make_store, frame_step: int, clip: float | None, index: int, dtype: str
) -> None:
    store = make_store(dtype=dtype)
    recording = store.recordings[index]
    steps, x, mask, _ = gathered(store, recording, frame_step, clip)
    plain = expected(store, recording, frame_step, clip)
    assert mask.sum() == len(plain) == len(steps)
    assert x[mask] == pytest.approx(np.array(plain), abs=2e-5)
    assert not x[~mask].any()
    assert x.dtype == np.float32


def test_labels_are_the_mean_of_a_steps_labelled_frames(tiny: Store) -> None:
    recording = tiny.recordings[0]  # 97 frames, the first 9 and last 9 unlabelled
    steps, _, mask, label = gathered(tiny, recording, 4, None)
    unit = tiny.to_unit(tiny.annotations[recording.start : recording.stop])
    flat = label[mask]
    assert np.isnan(flat[:2]).all()
    assert flat[2] == pytest.approx(unit[9:12].mean(axis=0), abs=1e-6)  # frame 8 has no label
    assert flat[10] == pytest.approx(unit[40:44].mean(axis=0), abs=1e-6)
    assert np.isnan(flat[-1]).all()
    assert np.isnan(label[~mask]).all()
    assert np.nanmax(np.abs(flat)) <= 1
    assert steps.count.tolist() == [4] * 24 + [1]


def test_no_segment_crosses_a_gap(tiny: Store) -> None:
    recording = tiny.recordings[3]
    steps, *_ = gathered(tiny, recording, 4, None)
    gap = recording.start + recording.gaps[0]
    assert steps.count[:13].tolist() == [4] * 12 + [2]
    table, count = steps.segments(8, 4)
    assert len(count) == 2
    for start, stop in table:
        frames = np.concatenate(
            [np.arange(steps.frame[i], steps.frame[i] + steps.count[i]) for i in range(start, stop)]
        )
        assert (np.diff(frames) == 1).all()
        assert not (frames[0] < gap <= frames[-1])


def test_the_stores_pages_are_shared_not_copied(tiny: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = tiny.features("face")
        tensor = shared_tensor(values)
    assert tensor.data_ptr() == values.ctypes.data
    assert not values.flags.writeable


def test_columns_lie_modality_after_modality(tiny: Store) -> None:
    sets = list(tiny.feature_sets.values())
    assert [one.name for one in in_order(sets)] == ["voice", "face"]  # audio, then visual
    assert modality_dims(sets[::-1]) == {"audio": 2, "visual": 3}


@pytest.mark.parametrize("frame_step", [1, 4, 7])
def test_steps_come_back_to_every_frame(tiny: Store, frame_step: int) -> None:
    group = {recording.name: 0 for recording in tiny.recordings}
    recordings = (tiny.recordings[0], tiny.recordings[3], tiny.recordings[1])
    steps = Steps.of(tiny, recordings, frame_step, group)
    middle = steps.frame + (steps.count - 1) / 2
    frames = steps.to_frames(np.stack([middle, -middle], axis=1))
    wanted = positions(recordings).astype(float)
    assert frames.shape == (len(wanted), 2)
    inner = np.ones(len(wanted), bool)  # up to half a step from a stretch's ends it is constant
    for recording in recordings:
        for edge in (
            recording.start,
            recording.stop,
            *(recording.start + gap for gap in recording.gaps),
        ):
            inner &= np.abs(wanted + 0.5 - edge) > frame_step / 2
    assert frames[inner, 0] == pytest.approx(wanted[inner])
    assert (
        np.abs(frames[:, 0] - wanted).max() <= (frame_step - 1) / 2
    )  # nothing bleeds across recordings
    assert (frames[:, 1] == -frames[:, 0]).all()


def test_counts_of_labels_and_frames_by_segment(tiny: Store) -> None:
    steps = Steps.of(
        tiny, tiny.split("train"), 4, {recording.name: 0 for recording in tiny.recordings}
    )
    table, _ = steps.segments(10, 10)
    plain = [(~np.isnan(steps.label[start:stop])).sum(axis=0).tolist() for start, stop in table]
    assert steps.labelled(table).tolist() == plain
    assert steps.frames_in(table).sum() == sum(
        recording.frames for recording in tiny.split("train")
    )

"""Features mapped, resident or streamed: the same batches, and what stays in a device's memory for
the next trial.

A GPU is stood in for by the CPU with a limit of its own; what differs on one (pinned memory) needs
one to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from va_search.data.draft import Part
from va_search.data.normalise import by_recording, normalisation
from va_search.data.store import Store
from va_search.training import features as features_module
from va_search.training.batches import Steps
from va_search.training.features import (
    Gather,
    Mapped,
    Resident,
    Streamed,
    in_order,
    place,
    shared_tensor,
)
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

CPU = torch.device("cpu")
PLENTY = 10**9


@pytest.fixture(autouse=True)
def nothing_resident() -> Iterator[None]:
    features_module._resident.clear()
    yield
    features_module._resident.clear()


def placed(store: Store, most: int | None, names: tuple[str, ...] = ("face", "voice")) -> Mapped:
    return place(store, in_order([store.feature_sets[name] for name in names]), CPU, most=most)


def size(store: Store) -> int:
    return sum(store.features(name).nbytes for name in ("face", "voice"))


def test_a_cpu_reads_the_mapped_files_and_a_limit_decides_elsewhere(tiny: Store) -> None:
    assert isinstance(placed(tiny, None), Mapped)
    assert isinstance(placed(tiny, size(tiny)), Resident)
    streamed = placed(tiny, size(tiny) - 1)
    assert isinstance(streamed, Streamed)
    assert "features are streamed to cpu: 0.00 GiB" in streamed.remarks[0]
    assert placed(tiny, PLENTY).remarks == placed(tiny, None).remarks == []


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("frame_step", "clip"), [(1, None), (4, 1.5)])
def test_batches_are_the_same_bit_for_bit(
    make_store, dtype: str, frame_step: int, clip: float | None
) -> None:
    store = make_store(dtype=dtype)
    fold, sets = store.fold("official"), in_order(list(store.feature_sets.values()))
    statistics = normalisation(store, [one.name for one in sets], fold, grouped=by_recording)
    steps = Steps.of(store, fold.train, frame_step, statistics.group)
    steps = replace(steps, weight=np.abs(steps.label))
    segments, _ = steps.segments(12, 9)
    batches = []
    for most in (None, PLENTY, 0):
        features = placed(store, most)
        assert {rows.dtype for rows in features.rows(torch.tensor([0, 5]))} == {
            getattr(torch, dtype)
        }
        gather = Gather(
            store, sets, statistics, frame_step=frame_step, clip=clip, device=CPU, features=features
        )
        batches.append(gather.inputs(steps, segments[[3, 0, len(segments) - 1]]))
    for other in batches[1:]:
        assert all(
            torch.equal(value.nan_to_num(9), getattr(other, name).nan_to_num(9))
            for name, value in vars(batches[0]).items()
        )


@pytest.mark.parametrize("frame_step", [1, 4])
@pytest.mark.parametrize("missing", ["zero", "mean", "none"])
def test_steps_that_are_laid_out_once_are_those_of_each_batch(
    make_store, monkeypatch: pytest.MonkeyPatch, missing: str, frame_step: int
) -> None:
    def holes(index: int, part: Part) -> Part:
        face = np.array(part.features["face"])
        face[index : index + 6, 0] = np.nan
        return replace(part, features={**part.features, "face": face})

    store = make_store(change=holes)
    fold, sets = store.fold("official"), in_order(list(store.feature_sets.values()))
    statistics = normalisation(store, [each.name for each in sets], fold, grouped=by_recording)
    steps = Steps.of(store, fold.train, frame_step, statistics.group)
    segments, _ = steps.segments(12, 9)
    inputs = []
    for most in (PLENTY, 0):
        monkeypatch.setattr(features_module, "LAID_OUT", most)
        gather = Gather(
            store, sets, statistics, frame_step=frame_step, clip=1.5, device=CPU, missing=missing
        )
        x = gather.inputs(steps, segments[::-1]).x
        # a batch may be changed where it is
        expected = x.clone()
        x.zero_()
        again = gather.inputs(steps, segments[::-1]).x
        np.testing.assert_array_equal(again.numpy(), expected.numpy())
        inputs.append(expected.numpy())
    np.testing.assert_array_equal(*inputs)
    assert bool(np.isnan(inputs[0]).any()) == (missing == "none")


@pytest.mark.parametrize("has_holes", [False, True])
@pytest.mark.parametrize("frame_step", [1, 4])
def test_a_batch_is_the_same_in_parts_and_at_once(
    make_store, monkeypatch: pytest.MonkeyPatch, frame_step: int, has_holes: bool
) -> None:
    def holes(index: int, part: Part) -> Part:
        face = np.array(part.features["face"])
        if has_holes:
            face[index : index + 6, 0] = np.nan
        return replace(part, features={**part.features, "face": face})

    store = make_store(change=holes)
    fold, sets = store.fold("official"), in_order(list(store.feature_sets.values()))
    statistics = normalisation(store, [each.name for each in sets], fold, grouped=by_recording)
    steps = Steps.of(store, fold.train, frame_step, statistics.group)
    segments, _ = steps.segments(12, 9)
    monkeypatch.setattr(features_module, "LAID_OUT", 0)
    inputs = []
    for values in (PLENTY, 1, 3 * 12 * frame_step * statistics.shift.shape[1]):
        monkeypatch.setattr(features_module, "AT_ONCE", values)
        gather = Gather(store, sets, statistics, frame_step=frame_step, clip=1.5, device=CPU)
        batches = [gather.inputs(steps, segments[:7]).x.clone()]
        # a smaller batch, in the memory of the larger one
        batches.append(gather.inputs(steps, segments[:4]).x.clone())
        inputs.append(batches)
    for other in inputs[1:]:
        assert all(torch.equal(*pair) for pair in zip(inputs[0], other, strict=True))
    assert torch.equal(inputs[0][0][:4], inputs[0][1])


def mean_of_products(x: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """[row, step, feature]: the plain mean over the first `count` frames, every frame multiplied."""
    real = torch.arange(x.shape[2]) < count[..., None]
    return (x * real[..., None]).sum(dim=2) / count[..., None]


@pytest.mark.parametrize("frames", [2, 3, 4, 6, 7, 12, 16, 25, 60])
def test_the_mean_over_a_steps_frames_has_the_bits_of_the_plain_formula(frames: int) -> None:
    random = torch.Generator().manual_seed(frames)
    for columns in (1, 3, 16, 33, 130):
        x = 1e3 * torch.randn((3, 20, frames, columns), generator=random) - 50
        whole = torch.full((3, 20), frames)
        last = whole.clone()
        last[:, -1] = torch.randint(1, frames + 1, (3,), generator=random)
        any_number = torch.randint(1, frames + 1, (3, 20), generator=random)
        for count in (whole, last, any_number):
            mean = features_module._block_mean(x, count)
            assert torch.equal(mean, mean_of_products(x, count))


@pytest.mark.parametrize("most", [PLENTY, 0])
def test_a_trial_is_the_same_wherever_its_features_lie(tiny: Store, most: int) -> None:
    trial = TrialSettings(
        features=("face", "voice"), width=8, layers=1, attention_heads=2, feed_forward=8, head_sizes=(8,), epochs=2,
        segment_length=30,
    )  # fmt: skip
    fits = [Fit(trial, tiny) for _ in range(2)]
    fits[1].data.gather.features = placed(tiny, most)
    for fit in fits:
        fit.run_epoch()
    assert fits[0].history[0].loss == fits[1].history[0].loss
    found = [fit.predictions()["test"].values for fit in fits]
    np.testing.assert_array_equal(found[0], found[1])


def test_what_lies_there_serves_the_next_trial_and_what_it_does_not_read_goes(tiny: Store) -> None:
    first = placed(tiny, PLENTY)
    lying = dict(features_module._resident)
    assert len(lying) == 2
    again = placed(tiny, PLENTY)
    assert {id(one) for one in again._tensors} == {id(one) for one in first._tensors}  # type: ignore[attr-defined]
    placed(tiny, PLENTY, ("voice",))
    assert [key for key in lying if key in features_module._resident] == [
        (tiny.feature_sets["voice"].hash, "cpu")
    ]
    mapped = shared_tensor(tiny.features("voice"))
    assert lying[tiny.feature_sets["voice"].hash, "cpu"].data_ptr() != mapped.data_ptr(), (
        "a copy, not the mapped file"
    )


def test_what_does_not_fit_leaves_what_lies_there(tiny: Store) -> None:
    placed(tiny, PLENTY, ("voice",))
    assert isinstance(placed(tiny, 10), Streamed)
    assert list(features_module._resident) == [(tiny.feature_sets["voice"].hash, "cpu")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_features_stay_there_and_a_trial_learns(tiny: Store) -> None:
    trial = TrialSettings(
        features=("face", "voice"), width=16, layers=1, attention_heads=2, feed_forward=16, head_sizes=(16,), epochs=12,
        segment_length=30, learning_rate=1e-2, encoder_dropout=0.1, batch_size=4,
    )  # fmt: skip
    fit = Fit(trial, tiny, device="cuda")
    assert isinstance(fit.data.gather.features, Resident)
    while not fit.finished:
        fit.run_epoch()
    assert fit.best["valence"].ccc > 0.6

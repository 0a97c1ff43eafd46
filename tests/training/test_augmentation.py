"""Augmentation changes what is trained on, as it says, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from va_search.data.store import FeatureSet, Store
from va_search.errors import InputError
from va_search.training.augmentation import Augmentation, column_roles
from va_search.training.batches import Steps
from va_search.training.features import BatchInputs
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

CPU = torch.device("cpu")
ALL = {
    "feature_noise": 0.3, "offset_jitter": 0.3, "gain_jitter": 0.3, "time_masking": 0.2,
    "modality_dropout": 0.3, "mixup": 0.4, "label_delay": 0.2,
}  # fmt: skip


def settings(**changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 10, "width": 8, "hidden_size": 8, "encoder": "gru",
        "head_sizes": (8,), "learning_rate": 5e-3, "batch_size": 4, "epochs": 4, "encoder_dropout": 0.1,
    }  # fmt: skip
    return TrialSettings(**(small | changes))


SETS = [
    FeatureSet("face", "visual", 3, (), "", "float32", missing=True),
    FeatureSet("voice", "audio", 2, (), "", "float32"),
]
"""In a model's input: two columns of audio, three visual ones, and the share of these there."""


def batch(rows: int = 4, steps: int = 20) -> BatchInputs:
    """Rows of ones, two of each recording; the last row has five steps less."""
    mask = torch.ones(rows, steps, dtype=torch.bool)
    mask[-1, -5:] = False
    x = torch.ones(rows, steps, 6) * mask[..., None]
    label = torch.arange(rows * 1.0)[:, None, None].expand(rows, steps, 2).clone()
    label[-1, -5:] = torch.nan
    return BatchInputs(x, mask, label, torch.arange(rows) // 2)


def changed(seeds: tuple[int, int] = (0, 1), rows: int = 4, **changes: object) -> BatchInputs:
    inputs = batch(rows)
    Augmentation(settings(**changes), SETS, rows, seeds, CPU).change(inputs, fresh=True)
    return inputs


def test_columns_are_told_by_modality_and_the_share_that_is_there_is_not_measured() -> None:
    modality, measured = column_roles(SETS, views=1)
    assert modality.tolist() == [0, 0, 1, 1, 1, 1]
    assert measured.tolist() == [True] * 5 + [False]
    # each view is a copy of a set's columns; the share that is there stands behind all of them
    modality, measured = column_roles(SETS, views=2)
    assert modality.tolist() == [0] * 4 + [1] * 7
    assert measured.tolist() == [True] * 10 + [False]


@pytest.mark.parametrize("name", sorted({*ALL} - {"label_delay"}))
def test_an_epoch_repeats_and_no_other_is_like_it(name: str) -> None:
    first, again, other = (
        changed(seeds, rows=40, **{name: ALL[name]}) for seeds in ((0, 1), (0, 1), (0, 2))
    )
    assert torch.equal(first.x, again.x)
    if name != "mixup":  # of rows of ones nothing but ones can be mixed
        assert not torch.equal(first.x, other.x)
    assert torch.equal(first.label.nan_to_num(9), again.label.nan_to_num(9))
    assert (first.x[-1, -5:] == 0).all(), "padded steps stay zero"


def test_without_settings_nothing_changes() -> None:
    inputs, plain = changed(), batch()
    assert torch.equal(inputs.x, plain.x)
    assert torch.equal(inputs.label.nan_to_num(9), plain.label.nan_to_num(9))


@pytest.mark.parametrize("name", ["offset_jitter", "gain_jitter"])
def test_jitter_is_one_number_for_a_recording_and_column(name: str) -> None:
    x = changed(**{name: 0.5}).x
    constant = x[:3].std(dim=1)
    assert constant.max() < 1e-6
    assert torch.equal(x[0], x[1])  # two segments of one recording
    assert (x[0, 0, :5] != x[2, 0, :5]).all()
    assert len(set(x[0, 0, :5].tolist())) == 5
    assert (x[:3, :, 5] == 1).all()  # the share that is there


def test_noise_is_of_the_given_spread_and_new_for_each_value() -> None:
    x = changed(rows=200, feature_noise=0.3).x[:199]
    assert x[..., :5].std().item() == pytest.approx(0.3, abs=0.01)
    assert x[..., :5].mean().item() == pytest.approx(1.0, abs=0.01)
    assert (x[..., 5] == 1).all()


def test_a_recording_is_never_without_all_modalities() -> None:
    x = changed(rows=200, modality_dropout=0.9).x[:199]
    audio, visual = (x[:, 0, columns] for columns in (slice(0, 2), slice(2, 6)))
    assert ((audio == 1).all(dim=1) | (audio == 0).all(dim=1)).all()
    assert ((visual == 1).all(dim=1) | (visual == 0).all(dim=1)).all()
    there = audio[:, 0] + visual[:, 0]
    assert (there >= 1).all() and (there == 1).float().mean() > 0.8
    one_set = Augmentation(settings(modality_dropout=0.9), SETS[:1], 4, (0, 1), CPU)
    inputs = batch()
    one_set.change(inputs, fresh=True)
    assert torch.equal(inputs.x, batch().x)


def test_one_run_of_each_rows_real_steps_is_hidden() -> None:
    x = changed(time_masking=0.2).x
    for row, steps in zip(x, [20, 20, 20, 15], strict=True):
        hidden = (row[:steps] == 0).all(dim=1)
        assert hidden.sum() == steps * 0.2
        assert (hidden.int().diff().abs().sum() <= 2).all(), "in one run"
        assert (row[:steps][~hidden] == 1).all()


def test_rows_and_labels_are_mixed_by_the_same_share() -> None:
    augmentation = Augmentation(settings(mixup=0.4), SETS, 4, (0, 3), CPU)
    inputs = batch()
    inputs.x[:, :, 0] = inputs.label[..., 0].nan_to_num(0)
    augmentation.change(inputs, fresh=True)
    partner, share = augmentation._partner, augmentation._share
    assert (share <= 0.5).all() and sorted(partner) == [0, 1, 2, 3]
    expected = [row + (partner[row] - row) * share[row] for row in range(4)]
    assert inputs.label[:, 0, 0].tolist() == pytest.approx(expected)
    assert inputs.x[:, 0, 0].tolist() == pytest.approx(expected)
    # where one has no label there is none: the last five steps of row 3 and of who is mixed with it
    without = {3, int(np.flatnonzero(partner == 3)[0])}
    unlabelled = inputs.label[..., 0].isnan()
    assert set(torch.nonzero(unlabelled[:, -1]).flatten().tolist()) == without
    assert not unlabelled[:, :-5].any()


def test_rows_whose_state_is_carried_keep_partner_and_share() -> None:
    augmentation = Augmentation(settings(mixup=0.4), SETS, 4, (0, 3), CPU)
    augmentation.change(batch(), fresh=True)
    share = augmentation._share.copy()
    ended = int(augmentation._partner[0])
    for rows in (4, 2):
        inputs = batch(rows)
        augmentation.change(inputs, fresh=False)
        alone = ended >= rows
        expected = 0.0 if alone else ended * share[0]
        assert inputs.label[0, 0, 0].item() == pytest.approx(expected)
    augmentation.change(batch(), fresh=True)
    assert (augmentation._share != share).any()


@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_a_killed_training_goes_on_bit_for_bit(tiny: Store, tmp_path: Path, encoder: str) -> None:
    small = {"layers": 1, "attention_heads": 2, "feed_forward": 8}
    trial = settings(encoder=encoder, keep="ema", frame_step=2, **ALL, **small)
    straight = Fit(trial, tiny)
    while not straight.finished:
        straight.run_epoch()
    fit = Fit(trial, tiny)
    while not fit.finished:
        fit.run_epoch()
        fit.save(tmp_path)
        fit = Fit(trial, tiny)
        assert fit.resume(tmp_path)
    assert [(e.loss, e.cccs) for e in fit.history] == [(e.loss, e.cccs) for e in straight.history]
    found, expected = fit.predictions(), straight.predictions()
    assert all((found[split].values == expected[split].values).all() for split in expected)


def test_only_training_is_changed(tiny: Store) -> None:
    plain = settings(epochs=1)
    for name in sorted({*ALL} - {"label_delay"}):
        fit = Fit(settings(epochs=1, **{name: ALL[name]}), tiny)
        model = fit._new_model()
        predicted = fit._predict(model, fit.data.validation)
        assert (predicted == Fit(plain, tiny)._predict(model, fit.data.validation)).all(), name
        assert fit.run_epoch().loss != Fit(plain, tiny).run_epoch().loss, name


@pytest.mark.parametrize("frame_step", [1, 4])
def test_labels_are_moved_within_stretches_and_predictions_back(
    tiny: Store, frame_step: int
) -> None:
    """The recording has a gap before frame 50, 25 frames a second, and labels in the middle."""
    recording = tiny.recordings[3]
    plain, steps = (
        Steps.of(tiny, (recording,), frame_step, {recording.name: 0}, seconds)
        for seconds in (0.0, 0.2)
    )
    label = tiny.to_unit(tiny.annotations[recording.span])
    moved = np.full_like(label, np.nan)
    moved[:45], moved[50:-5] = label[5:50], label[55:]
    assert np.isnan(label[:10]).all() and not np.isnan(moved[10:45]).any()
    for row, (start, count) in enumerate(zip(plain.frame, plain.count, strict=True)):
        of_step = moved[start - recording.start : start - recording.start + count]
        labelled = of_step[~np.isnan(of_step[:, 0])]
        expected = labelled.mean(axis=0) if len(labelled) else [np.nan, np.nan]
        np.testing.assert_allclose(steps.label[row], expected, rtol=1e-5)

    values = np.random.default_rng(0).normal(size=(len(steps), 1))
    before, after = plain.to_frames(values), steps.to_frames(values)
    assert (after[5:50] == before[:45]).all() and (after[55:] == before[50:-5]).all()
    assert (after[:5] == before[0]).all() and (after[50:55] == before[50]).all()


def test_a_delay_is_undone_in_what_is_predicted(make_store) -> None:
    """Annotations that follow the features by ten frames: with that delay they are learnt as those
    that do not."""

    def late(index, part):
        follow = {name: np.roll(values, -10, axis=0) for name, values in part.features.items()}
        return dataclasses.replace(part, features=follow)

    store = make_store("late", change=late)
    scores = []
    for seconds in (0.0, 0.4):
        trial = settings(
            label_delay=seconds, epochs=8, encoder="transformer", layers=1, attention_heads=2,
            feed_forward=8, segment_length=1, batch_size=64, learning_rate=2e-2,
        )  # fmt: skip
        fit = Fit(trial, store)
        while not fit.finished:
            fit.run_epoch()
        scores.append(sum(best.ccc for best in fit.best.values()) / 2)
    assert scores[1] > scores[0] + 0.1


def test_a_delay_that_leaves_no_label_is_refused(tiny: Store) -> None:
    with pytest.raises(InputError, match="label_delay 50 leaves nothing to learn"):
        Fit(settings(label_delay=50.0), tiny)

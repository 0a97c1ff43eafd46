"""A trial in training: learns, repeats bit for bit, keeps the two best epochs, and leaks and loses
nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from va_search.data.draft import Part
from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.data.table import import_table
from va_search.errors import InputError, JobError
from va_search.metrics import ccc
from va_search.training import fit as fit_module
from va_search.training.epochs import Diverged, Sums
from va_search.training.fit import Fit
from va_search.training.weights import load_model
from va_search.trial import Epoch
from va_search.trial_settings import TrialSettings

ENCODERS = ["lstm", "gru", "transformer", "transformer_lstm"]


def settings(**changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 30, "width": 16, "layers": 1, "attention_heads": 2,
        "feed_forward": 16, "hidden_size": 16, "head_sizes": (16,), "learning_rate": 5e-3, "batch_size": 4,
        "epochs": 3, "encoder_dropout": 0.1,
    }  # fmt: skip
    return TrialSettings(**(small | changes))


def trained(trial: TrialSettings, store: Store) -> Fit:
    fit = Fit(trial, store)
    while not fit.finished:
        fit.run_epoch()
    return fit


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns(tiny: Store, encoder: str) -> None:
    fit = trained(settings(encoder=encoder, epochs=12, learning_rate=1e-2), tiny)
    assert fit.best["valence"].ccc > 0.6
    assert fit.best["arousal"].ccc > 0.6
    assert fit.history[-1].loss < fit.history[0].loss


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("frame_step", [1, 4])
def test_predictions_are_of_every_frame_and_score_what_was_reported(
    tiny: Store, encoder: str, frame_step: int
) -> None:
    stride = 10 if encoder == "transformer" else None
    fit = trained(
        settings(encoder=encoder, frame_step=frame_step, stride=stride, fusion="late"), tiny
    )
    predictions = fit.predictions()
    for split in ("validation", "test"):
        found = predictions[split]
        assert found.values.shape == (sum(r.frames for r in tiny.split(split)), 2)
        assert found.values.dtype == np.float32
        assert np.isfinite(found.values).all()
        assert found.values.min() >= 0.5
        assert found.values.max() <= 9.5
        assert found.frames_hash == frames_hash(tiny.split(split))
    truth = tiny.annotations[positions(tiny.split("validation"))]
    for column, dimension in enumerate(("valence", "arousal")):
        best = fit.best[dimension]
        assert ccc(predictions["validation"].values[:, column], truth[:, column]) == pytest.approx(
            best.ccc, abs=1e-6
        )
        reported = [epoch.ccc(dimension) for epoch in fit.history]
        assert best.ccc == max(reported)
        assert reported.index(best.ccc) + 1 == best.epoch


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_run_repeats_bit_for_bit_whatever_ran_before(tiny: Store, encoder: str) -> None:
    trial = settings(encoder=encoder, epochs=2, schedule="one_cycle")
    first = trained(trial, tiny)
    torch.manual_seed(99)
    torch.rand(7)
    interleaved, other = Fit(trial, tiny), Fit(settings(encoder="gru", seed=5), tiny)
    while not interleaved.finished:
        interleaved.run_epoch()
        other.run_epoch()
        torch.rand(3)
    a, b = first.predictions(), interleaved.predictions()
    assert all((a[split].values == b[split].values).all() for split in a)
    assert [e.loss for e in first.history] == [e.loss for e in interleaved.history]


def test_another_seed_is_another_run_and_the_callers_random_numbers_stay(tiny: Store) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = trained(settings(epochs=1), tiny).predictions()["validation"].values
    assert torch.equal(torch.rand(2), expected)
    second = trained(settings(epochs=1, seed=1), tiny).predictions()["validation"].values
    assert not np.allclose(first, second)


@pytest.mark.parametrize("normalise", ["none", "train", "recording", "subject"])
@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_nothing_of_validation_or_test_reaches_training(
    make_store, normalise: str, encoder: str
) -> None:
    def scrambled(index: int, part: Part) -> Part:
        if index < 6:
            return part
        features = {name: values[::-1] * 3 + 100 for name, values in part.features.items()}
        return dataclasses.replace(part, features=features, annotations=part.annotations[::-1])

    weights = []
    for store in (make_store("a"), make_store("b", change=scrambled)):
        fit = Fit(settings(normalise=normalise, encoder=encoder), store)
        epoch = fit.run_epoch()
        weights.append((epoch.loss, fit.model.state_dict()))
    assert weights[0][0] == weights[1][0]
    assert all(torch.equal(value, weights[1][1][name]) for name, value in weights[0][1].items())


@pytest.mark.parametrize(("edge", "matters"), [(1.0, False), (1.5, True)])
def test_segments_without_labels_teach_a_transformer_nothing(
    make_store, edge: float, matters: bool
) -> None:
    """Only the unlabelled edges differ between the stores, once cut off at a segment's border and
    once reaching in."""

    def other_start(index: int, part: Part) -> Part:
        last = int(part.frames // 10 // 2 * 2 * edge)
        features = {
            name: np.concatenate([v[:last] + 9, v[last:]]) for name, v in part.features.items()
        }
        return dataclasses.replace(part, features=features) if index < 6 else part

    trial = settings(encoder="transformer", normalise="none", segment_length=2, epochs=1)
    first, second = (
        Fit(trial, store) for store in (make_store("a"), make_store("b", change=other_start))
    )
    assert (first.run_epoch().loss != second.run_epoch().loss) == matters
    assert len(first.predictions()["test"].values) == 156


def test_a_recordings_prediction_does_not_depend_on_its_neighbours(make_store) -> None:
    def others_changed(index: int, part: Part) -> Part:
        if index in (7, 8):
            return dataclasses.replace(
                part, features={n: v[::-1] + 9 for n, v in part.features.items()}
            )
        return part

    for encoder in ENCODERS:
        first, second = (
            trained(settings(encoder=encoder, epochs=1), store)
            .predictions()["validation"]
            .values[:90]
            for store in (
                make_store(f"a-{encoder}"),
                make_store(f"b-{encoder}", change=others_changed),
            )
        )
        assert first == pytest.approx(second, abs=1e-5)


def test_state_is_reset_at_a_gap(make_store) -> None:
    """Two recordings' worth of frames with a gap between are predicted as two recordings would
    be."""

    def with_gap(index: int, part: Part) -> Part:
        return dataclasses.replace(part, gaps=(40,)) if index == 6 else part

    def changed_before_it(index: int, part: Part) -> Part:
        part = with_gap(index, part)
        if index != 6:
            return part
        features = {
            name: np.concatenate([v[:40] * -2 + 5, v[40:]]) for name, v in part.features.items()
        }
        return dataclasses.replace(part, features=features)

    first, second = (
        trained(settings(encoder="gru", epochs=1), make_store(name, change=change))
        .predictions()["validation"]
        .values
        for name, change in (("a", with_gap), ("b", changed_before_it))
    )
    assert first[40:90] == pytest.approx(second[40:90], abs=1e-6)
    assert not np.allclose(first[:40], second[:40], atol=1e-3)


@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_predictions_carry_state_from_segment_to_segment(
    tiny: Store, tmp_path: Path, encoder: str
) -> None:
    fit = trained(settings(encoder=encoder, epochs=1, segment_length=10), tiny)
    fit.save_weights(tmp_path)
    in_segments = load_model(tmp_path, "valence")
    whole = dataclasses.replace(
        in_segments, settings=settings(encoder=encoder, epochs=1, segment_length=500)
    )
    found = in_segments.predict(tiny, tiny.recordings)
    assert found == pytest.approx(whole.predict(tiny, tiny.recordings), abs=1e-4)


@pytest.mark.parametrize("encoder", ["lstm", "gru", "transformer_lstm"])
def test_training_carries_state_by_row_and_starts_recordings_without(
    tiny: Store, encoder: str
) -> None:
    fit = Fit(settings(encoder=encoder, segment_length=10), tiny)
    given: list[torch.Tensor | None] = []
    left: list[torch.Tensor] = []
    model = fit.model
    model.register_forward_pre_hook(lambda _, args: given.append(args[2] and args[2][0][0]))
    model.register_forward_hook(lambda _, args, out: left.append(out[1][0][0]))
    with torch.random.fork_rng():
        done = list(fit._learn(1, Sums()))
    assert [state is None for state in given] == [batch.fresh for batch in done]
    assert sum(batch.fresh for batch in done) == 2  # seven stretches, four side by side
    for index, state in enumerate(given):
        if state is not None:
            assert torch.equal(state, left[index - 1][:, : len(done[index].segments)])
            assert not state.requires_grad


def test_float16_stores_train_as_well(make_store) -> None:
    half, full = (
        trained(settings(epochs=2), make_store(dtype, dtype=dtype))
        for dtype in ("float16", "float32")
    )
    assert half.history[-1].loss == pytest.approx(full.history[-1].loss, abs=0.05)


def test_patience_counts_epochs_without_a_better_valence_or_arousal(
    tiny: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = iter(
        [(0.1, 0.1), (0.2, 0.0), (0.0, 0.0), (0.0, 0.15), (0.2, 0.15), (0.1, 0.1), (0.9, 0.9)]
    )
    monkeypatch.setattr(Fit, "_validated", lambda self, number: next(pairs))
    fit = trained(settings(epochs=30, patience=2), tiny)
    assert len(fit.history) == 6  # the best arousal was in epoch 4; an equal one is not better
    assert fit.stopped
    assert (fit.best["valence"].epoch, fit.best["arousal"].epoch) == (2, 4)


def test_each_dimension_is_predicted_by_its_own_best_epoch(
    tiny: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(*pairs: tuple[float, float]) -> Fit:
        """A Fit of as many epochs, told its CCCs."""
        left = iter(pairs)
        monkeypatch.setattr(Fit, "_validated", lambda self, number: next(left))
        return trained(settings(epochs=len(pairs)), tiny)

    first = scored((0.5, 0.1)).predictions()
    third = scored((0.1, 0.1), (0.2, 0.2), (0.3, 0.3)).predictions()
    mixed = scored((0.5, 0.1), (0.4, 0.2), (0.3, 0.3)).predictions()
    for split, found in mixed.items():
        assert (found.values[:, 0] == first[split].values[:, 0]).all()
        assert (found.values[:, 1] == third[split].values[:, 1]).all()
        assert not np.allclose(found.values[:, 0], third[split].values[:, 0])


def test_all_epochs_are_run_without_patience(tiny: Store) -> None:
    fit = trained(settings(epochs=2), tiny)
    assert [epoch.epoch for epoch in fit.history] == [1, 2]
    assert not fit.stopped


def test_a_loss_that_is_no_number_names_its_epoch(tiny: Store) -> None:
    fit = Fit(settings(), tiny)
    fit.run_epoch()
    with torch.no_grad():
        next(fit.model.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="loss became nan in epoch 2"):
        fit.run_epoch()
    assert issubclass(Diverged, JobError)
    assert len(fit.history) == 1


def test_weights_blown_up_by_the_last_step_are_found_in_the_predictions(
    tiny: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Fit(settings(), tiny)
    monkeypatch.setattr(fit, "_predict", lambda model, steps: np.full((274, 2), np.nan, np.float32))
    with pytest.raises(Diverged, match="NaN in epoch 1"):
        fit.run_epoch()


def test_the_epochs_numbers(tiny: Store) -> None:
    epoch = Fit(settings(schedule="step", schedule_epochs=1), tiny).run_epoch()
    assert epoch.learning_rate == 5e-3
    assert epoch.score == pytest.approx(sum(epoch.cccs.values()) / 2)
    assert epoch.frames_per_second > 0
    assert 0 < epoch.outside_share < 1
    assert all(isinstance(value, int | float) for value in epoch.to_json().values())
    assert isinstance(epoch, Epoch)


def test_wrong_settings_for_a_store_are_refused_all_at_once(make_store) -> None:
    def unlabelled(index: int, part: Part) -> Part:
        return dataclasses.replace(part, annotations=None)

    with pytest.raises(InputError) as caught:
        Fit(settings(features=("fase", "voice", "x")), make_store(change=unlabelled))
    problems = caught.value.problems
    assert "unknown feature set 'fase'; did you mean 'face'? (known: face, voice)" in problems[0]
    assert "unknown feature set 'x'" in problems[1]
    assert any(
        "0 frames labelled for valence in the 6 training recordings" in problem
        for problem in problems
    )
    assert any(
        "0 frames labelled for arousal in the 3 validation recordings" in problem
        for problem in problems
    )
    with pytest.raises(InputError, match="unknown fold 7"):
        Fit(settings(fold=7), make_store("b"))


def test_a_fold_validates_on_its_own_recordings(tiny: Store) -> None:
    found = trained(settings(fold=1, epochs=1), tiny).predictions()["validation"]
    validation: tuple[Recording, ...] = tiny.fold(1).validation
    assert found.frames_hash == frames_hash(validation) != frames_hash(tiny.split("validation"))
    assert len(found.values) == sum(recording.frames for recording in validation)


def test_gpu_settings_on_a_cpu_train_in_float32_and_say_so(
    tiny: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger=fit_module.__name__):
        fit = trained(settings(precision="bf16", compile=True, epochs=1), tiny)
    assert len(fit.remarks) == 2
    assert "trained in float32 on cpu" in caplog.text
    plain = trained(settings(epochs=1), tiny)
    assert fit.history[0].loss == plain.history[0].loss
    assert plain.remarks == []


def test_people_on_both_sides_are_remarked(tiny: Store) -> None:
    fit = Fit(settings(fold=1), tiny)
    assert fit.remarks == [
        "fold 1: 3 subjects are in training and in validation (s0, s2, s3); validation CCCs are too high for people "
        "the model has not seen"
    ]


@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_the_time_of_an_epoch_is_foretold_from_a_few_batches(tiny: Store, encoder: str) -> None:
    fit = Fit(settings(encoder=encoder, segment_length=5), tiny)
    batches: list[int] = []
    fit.model.register_forward_hook(lambda _, args, out: batches.append(len(out[0])))
    assert fit.seconds_per_epoch(0.0) > 0
    assert 2 <= len(batches) <= 4  # one warm-up and one measured, of training and of prediction
    assert fit.history == []


def test_what_was_measured_is_scaled_up_without_the_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(fit_module, "perf_counter", lambda: now[0])

    def batches(*seconds: float) -> Iterator[int]:
        for one in seconds:
            now[0] += one
            yield 10

    assert fit_module.scaled_up(batches(9.0, 1.0, 1.0), 1000, budget=100.0) == pytest.approx(100.0)
    assert fit_module.scaled_up(batches(9.0), 1000, budget=100.0) == pytest.approx(900.0)
    began = now[0]
    assert fit_module.scaled_up(batches(*[1.0] * 50), 1000, budget=5.0) == pytest.approx(100.0)
    assert now[0] - began <= 6.0


@pytest.mark.parametrize("normalise", ["none", "train", "recording", "subject"])
def test_saved_weights_predict_the_same_numbers(
    tiny: Store, tmp_path: Path, normalise: str
) -> None:
    trial = settings(encoder="lstm", fusion="late", normalise=normalise, frame_step=2, clip=3.0)
    fit = trained(trial, tiny)
    fit.save_weights(tmp_path / "trial")
    assert sorted(p.name for p in (tmp_path / "trial").iterdir()) == [
        "arousal.safetensors",
        "valence.safetensors",
    ]
    for column, dimension in enumerate(("valence", "arousal")):
        model = load_model(tmp_path / "trial", dimension)
        assert model.settings == trial
        for split, expected in fit.predictions().items():
            found = model.predict(tiny, tiny.split(split))
            assert (found[:, column] == expected.values[:, column]).all()


@pytest.mark.slow
def test_the_case_recordings_are_learnt(case_folder: Path, tmp_path: Path) -> None:
    store = import_table(case_folder, tmp_path / "case")
    trial = TrialSettings(
        features=tuple(store.feature_sets), normalise="subject", normalise_by="median_mad", clip=5.0, frame_step=4,
        encoder="gru", width=64, hidden_size=128, segment_length=251, head_sizes=(64,), learning_rate=2e-3, epochs=15,
    )  # fmt: skip
    fit = trained(trial, store)
    assert fit.best["valence"].ccc > 0.45
    assert fit.best["arousal"].ccc > 0.5

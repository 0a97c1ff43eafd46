"""Context: a mean over the recording beside each step, exact however the recording is cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from va_search.data.draft import Part
from va_search.data.segments import cut
from va_search.data.store import FeatureSet, Store
from va_search.errors import InputError
from va_search.models.estimator import Estimator
from va_search.models.menu import ENCODERS, FUSIONS, HEADS, Encoder
from va_search.search.sizes import number_of_weights
from va_search.training.batches import Steps
from va_search.training.checkpoint import NAME
from va_search.training.context import SegmentSums
from va_search.training.epochs import Sums
from va_search.training.features import Gather
from va_search.training.fit import Fit
from va_search.training.fused import fits_of
from va_search.training.predict import build_model, in_batches, predict, segments_of
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, trial_id, unstackable

CONTEXTS = ["recording", "running"]
CUTS = [
    {"segment_length": 20},
    {"segment_length": 200},
    {"segment_length": 20, "stride": 7, "encoder": "transformer"},
    {"segment_length": 20, "encoder": "transformer", "frame_step": 3, "fusion": "late"},
    {"segment_length": 20, "encoder": "transformer_lstm"},
    {"segment_length": 1, "encoder": "lstm", "frame_step": 5},
]


class PerStep(nn.Module):
    """An encoder whose output at a step depends on that step alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.layer(x).tanh(), ()


@pytest.fixture
def per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Encoder("per_step", "per step", f"{__name__}:PerStep", causal=True)
    monkeypatch.setitem(ENCODERS.entries, "per_step", line)


def settings(**changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 30, "width": 8, "layers": 1, "attention_heads": 2,
        "feed_forward": 8, "hidden_size": 8, "head_sizes": (8,), "learning_rate": 5e-3, "batch_size": 4,
        "epochs": 3, "encoder_dropout": 0.1, "encoder": "gru", "context": "recording",
    }  # fmt: skip
    return TrialSettings(**(small | changes))


def trained(trial: TrialSettings, store: Store) -> Fit:
    fit = Fit(trial, store)
    while not fit.finished:
        fit.run_epoch()
    return fit


def outputs(
    model: Estimator, trial: TrialSettings, gather: Gather, steps: Steps
) -> list[tuple[int, int, NDArray[np.float64]]]:
    """Recording, first step and output of the fusion [step, size] for each segment, one after
    another, without padding."""
    found = []
    for begin, end in steps.stretches.tolist():
        states = None
        for start, stop in cut(end - begin, trial.segment_length, stride_of(trial)) + begin:
            inputs = gather.inputs(steps, np.array([[start, stop]]))
            carried = states if trial.carries_state else None
            y, states = model.context(inputs.x.clone(), inputs.mask, carried)
            found.append((int(steps.recording[start]), int(start), y[0].double().numpy()))
    return found


def stride_of(trial: TrialSettings) -> int:
    return trial.stride or trial.segment_length


def by_hand(
    model: Estimator, trial: TrialSettings, gather: Gather, steps: Steps
) -> dict[int, NDArray[np.float32]]:
    """[step, target] predictions by the segments' first steps, each mean written out."""
    model.eval()
    with torch.no_grad():
        segments = outputs(model, trial, gather, steps)
        # each step once: from the last segment that begins at or before it
        once: dict[int, NDArray[np.float64]] = {}
        for _, start, y in segments:
            once |= {start + index: row for index, row in enumerate(y)}
        predictions = {}
        for recording, start, y in segments:
            of_recording = np.flatnonzero(steps.recording == recording).tolist()
            means = []
            for index in range(len(y)):
                if trial.context == "recording":
                    rows = [once[step] for step in of_recording]
                else:
                    rows = [once[step] for step in of_recording if step < start]
                    rows += list(y[: index + 1])
                means.append(np.mean(rows, axis=0))
            both = np.concatenate([y, np.stack(means)], axis=1).astype(np.float32)
            predictions[start] = model.heads(torch.from_numpy(both)[None])[0].numpy()
    return predictions


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("changes", CUTS, ids=str)
def test_predictions_are_those_of_means_written_out(
    tiny: Store, context: str, changes: dict[str, object]
) -> None:
    trial = settings(context=context, **changes)
    fit = Fit(trial, tiny)
    for steps in (fit.data.train, fit.data.validation):  # with a gap in a recording, and without
        expected = by_hand(fit.model, trial, fit.data.gather, steps)
        segments, _ = segments_of(trial, steps)
        done = 0
        for batch, prediction in in_batches(fit.model, trial, fit.data.gather, steps):
            for row, index in enumerate(batch.segments.tolist()):
                start, stop = segments[index].tolist()
                assert prediction[row, : stop - start] == pytest.approx(expected[start], abs=2e-6)
                done += 1
        assert done == len(expected)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("changes", CUTS[:3], ids=str)
@pytest.mark.parametrize("gaps", [True, False])
def test_training_sees_the_means_that_prediction_does(
    make_store, context: str, changes: dict[str, object], gaps: bool
) -> None:
    def change(index: int, part: Part) -> Part:
        return part if gaps else dataclasses.replace(part, gaps=())

    quiet = {"encoder_dropout": 0.0, "head_dropout": 0.0, "learning_rate": 1e-12}
    trial = settings(context=context, **quiet, **changes)
    fit = Fit(trial, make_store(change=change))
    expected = by_hand(fit.model, trial, fit.data.gather, fit.data.train)
    seen: list[Tensor] = []
    fit.model.register_forward_hook(lambda _, args, out: seen.append(out[0].detach()))
    batches = list(fit._learn(1, Sums()))
    learnt = seen[len(seen) - len(batches) :]  # the others collected the sums
    for batch, prediction in zip(batches, learnt, strict=True):
        for row, index in enumerate(batch.segments.tolist()):
            start, stop = fit.data.segments[index].tolist()
            assert prediction[row, : stop - start].numpy() == pytest.approx(
                expected[start], abs=2e-6
            )


@pytest.mark.parametrize(
    ("changes", "needed", "two_passes"),
    [
        ({}, True, True),
        ({"segment_length": 200}, True, True),  # the gap: two segments
        ({"segment_length": 200, "split": "validation"}, False, False),
        ({"context": "running", "split": "validation"}, True, False),
        ({"context": "running"}, True, True),
        ({"context": "running", "encoder": "transformer", "split": "validation"}, True, True),
        ({"context": "none"}, False, False),
    ],
    ids=str,
)
def test_passes_are_no_more_than_needed(
    tiny: Store,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    needed: bool,
    two_passes: bool,
) -> None:
    split = changes.pop("split", "train")
    trial = settings(**changes)
    fit = Fit(trial, tiny)
    steps = getattr(fit.data, split)
    sums = SegmentSums(fit.model, trial, steps, segments_of(trial, steps)[0], fit.device)
    assert (sums.needed, sums.two_passes) == (needed, two_passes)
    passes: dict[str, int] = {"context": 0, "heads": 0}

    def counted(name: str) -> None:
        passes[name] += 1

    for name in passes:
        part = fit.model.get_submodule(name)
        part.register_forward_hook(lambda *_, name=name: counted(name))
    batches = list(in_batches(fit.model, trial, fit.data.gather, steps))
    # the heads take what the first of two passes leaves
    assert passes == {"context": len(batches), "heads": len(batches)}
    monkeypatch.setattr("va_search.training.predict.KEPT", 0)
    again = list(in_batches(fit.model, trial, fit.data.gather, steps))
    assert passes["context"] == len(batches) * (3 if two_passes else 2)
    assert passes["heads"] == 2 * len(batches)
    for (_, values), (_, expected) in zip(again, batches, strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("length", [7, 30, 64])
def test_for_an_encoder_of_single_steps_the_cut_changes_nothing(
    tiny: Store, per_step: None, length: int
) -> None:
    trial = settings(encoder="per_step", segment_length=500)
    fit = Fit(trial, tiny)
    gather, steps = fit.data.gather, fit.data.train
    whole = predict(fit.model, trial, gather, steps, tiny.targets)
    for stride in (None, 5):
        trial = settings(encoder="per_step", segment_length=length, stride=stride)
        pieces = predict(fit.model, trial, gather, steps, tiny.targets)
        assert pieces == pytest.approx(whole, abs=2e-5)


def test_a_running_mean_knows_nothing_that_comes_later(make_store) -> None:
    def later(index: int, part: Part) -> Part:
        changed = {name: values.copy() for name, values in part.features.items()}
        for values in changed.values():
            values[60:] += 7.0
        return dataclasses.replace(part, features=changed)

    first, second = make_store("a"), make_store("b", change=later)
    for context in CONTEXTS:
        trial = settings(context=context, normalise="none", segment_length=20)
        fit = Fit(trial, first)
        values = [
            predict(fit.model, trial, each.data.gather, each.data.validation, first.targets)
            for each in (fit, Fit(trial, second))
        ]
        length = fit.data.validation.recordings[0].frames
        before = np.abs(values[0][:60] - values[1][:60]).max()
        after = np.abs(values[0][60:length] - values[1][60:length]).max()
        assert after > 1e-3
        assert (before == 0) == (context == "running")


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_gradient_goes_through_a_rows_own_part_only(context: str) -> None:
    dims = [FeatureSet("x", "m", 3, "float32", "")]
    model = build_model(settings(features=("x",), context=context), dims).eval()
    x, mask = torch.randn(2, 6, 3), torch.ones(2, 6, dtype=torch.bool)
    x.requires_grad_()
    prediction, states = model(x, mask)
    # the last step's mean depends on the first step, and the first's on the last where it is whole
    for step, reached in ((-1, 0), (0, -1)):
        (gradient,) = torch.autograd.grad(prediction[0, step].sum(), x, retain_graph=True)
        assert bool(gradient[0, reached].any()) == (context == "recording" or step == -1)
        assert not gradient[1].any()
    assert not states[-1][0].requires_grad


@pytest.mark.parametrize("context", CONTEXTS)
def test_heads_of_ones_own_get_one_tensor_of_both(context: str) -> None:
    dims = [FeatureSet("x", "m", 3, "float32", "")]
    trial = settings(features=("x",), context=context, heads="shared")
    model = build_model(trial, dims).eval()
    layers: Any = model.heads.both
    own = Estimator(model.context, layers, model.summary)
    x, mask = torch.randn(2, 9, 3), torch.ones(2, 9, dtype=torch.bool)
    assert torch.allclose(model(x, mask)[0], own(x, mask)[0], atol=1e-6)


@pytest.mark.parametrize("context", CONTEXTS)
def test_sums_are_float32_where_the_model_computes_in_bf16(context: str) -> None:
    dims = [FeatureSet("x", "m", 3, "float32", "")]
    model = build_model(settings(features=("x",), context=context), dims).eval()
    x, mask = torch.randn(2, 300, 3), torch.ones(2, 300, dtype=torch.bool)
    exact, _ = model(x, mask)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = model.context(x, mask, None)
        prediction, states = model(x, mask)
    assert states[-1][0].dtype == torch.float32
    assert torch.allclose(states[-1][0][0], y.float().sum(dim=1), rtol=1e-5)
    assert torch.allclose(prediction.float(), exact, atol=0.03)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("changes", CUTS[:3], ids=str)
def test_a_training_goes_on_from_its_checkpoint_bit_for_bit(
    tiny: Store, tmp_path: Path, context: str, changes: dict[str, object]
) -> None:
    trial = settings(context=context, **changes)
    whole = trained(trial, tiny)
    begun = Fit(trial, tiny)
    begun.run_epoch()
    begun.save(tmp_path)
    assert (tmp_path / NAME).exists()
    resumed = Fit(trial, tiny)
    assert resumed.resume(tmp_path)
    while not resumed.finished:
        resumed.run_epoch()
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]
    assert [epoch.cccs for epoch in resumed.history] == [epoch.cccs for epoch in whole.history]


@pytest.mark.parametrize("context", CONTEXTS)
def test_saved_weights_predict_the_same_numbers(tiny: Store, tmp_path: Path, context: str) -> None:
    fit = trained(settings(context=context, epochs=1), tiny)
    fit.save_weights(tmp_path)
    model = load_model(tmp_path, "valence")
    expected = fit.predictions()["test"].values
    assert (model.predict(tiny, tiny.split("test"))[:, 0] == expected[:, 0]).all()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("heads", HEADS)
def test_heads_are_twice_as_wide_and_no_weight_has_another_name(
    tiny: Store, encoder: str, fusion: str, heads: str
) -> None:
    shapes = {}
    for context in ("none", "recording", "running"):
        trial = settings(encoder=encoder, fusion=fusion, heads=heads, context=context)
        model = build_model(trial, [tiny.feature_sets[name] for name in trial.features])
        shapes[context] = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        weights = sum(parameter.numel() for parameter in model.parameters())
        assert number_of_weights(trial, tiny) == weights
    assert shapes["none"].keys() == shapes["recording"].keys()
    assert shapes["recording"] == shapes["running"]
    wider = [name for name, shape in shapes["none"].items() if shapes["recording"][name] != shape]
    assert all(name.startswith("heads.") for name in wider)


def test_context_is_another_trial_and_none_is_the_trial_before() -> None:
    ids = {trial_id(settings(context=context), "data") for context in ("none", *CONTEXTS)}
    assert len(ids) == 3
    # an id of before there was a context
    without = TrialSettings(features=("face",), context="none")
    assert trial_id(without, "data", 1) == "e4a269858340cb17"
    with pytest.raises(ValueError, match="context"):
        settings(context="recordings")


def test_models_with_context_are_trained_one_by_one(tiny: Store) -> None:
    trial = settings(encoder="transformer")
    expected = "context recording can't be fused (allowed: none): each model has sums of its own"
    assert unstackable([trial]) == [expected]
    assert not trial.stackable
    with pytest.raises(InputError, match="can't be fused"):
        fits_of([trial, trial.model_copy(update={"seed": 1})], tiny)


def test_the_time_of_an_epoch_counts_the_passes_without_collecting(tiny: Store) -> None:
    fit = Fit(settings(segment_length=5), tiny)
    batches: list[int] = []
    fit.model.register_forward_hook(lambda _, args, out: batches.append(len(out[0])))
    assert fit.seconds_per_epoch(0.0) > 0
    assert 2 <= len(batches) <= 4

"""Fusions of modalities, and a modality that is missing: left out, never NaN, no state spoilt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from va_search.data.store import FeatureSet
from va_search.models.estimator import Estimator, carry
from va_search.models.fusions import CrossAttention, Gated, Late
from va_search.models.menu import ENCODERS, FUSIONS
from va_search.models.stacked import EachItsOwn, Stack
from va_search.training.fused import unfusable
from va_search.training.predict import build_model
from va_search.trial_settings import TrialSettings

SIZES: dict[str, Any] = {
    "width": 8, "layers": 1, "attention_heads": 2, "feed_forward": 8, "hidden_size": 6, "recurrent_layers": 2,
    "encoder_dropout": 0.3, "head_sizes": (5,),
}  # fmt: skip
VOICE = FeatureSet("a", "audio", 2, "float32", "")
FACE = FeatureSet("b", "visual", 3, "float32", "", missing=True)
POSE = FeatureSet("c", "visual", 1, "float32", "", missing=True)
BY_MODALITY = [name for name in FUSIONS if FUSIONS[name].of_modalities]
BATCH, STEPS, COLUMNS = 4, 9, 8
"""Columns: two of the voice, three of the face, its share, one of the pose, its share."""


def model_of(fusion: str, encoder: str = "gru", seed: int = 1) -> Estimator:
    torch.manual_seed(seed)
    settings = TrialSettings(features=("a", "b", "c"), encoder=encoder, fusion=fusion, **SIZES)
    model = build_model(settings, [VOICE, FACE, POSE])
    for parameter in getattr(model.context, "absent", nn.ParameterDict()).values():
        nn.init.normal_(parameter)
    return model


def inputs(present: Tensor, seed: int = 0) -> Tensor:
    """[batch, step, column] with the visual modality where it is `present` [batch, step]: there one
    of its two sets at least, elsewhere zeros and shares of zero."""
    torch.manual_seed(seed)
    x = torch.randn(*present.shape, COLUMNS)
    x[..., 5] = torch.randint(0, 2, present.shape).float()
    x[..., 7] = 1.0 - x[..., 5] * 0.5
    x[..., 2:] *= present[..., None]
    return x


def random_world(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, mask and presence: rows that end early, one row without any face, one with all."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([STEPS, STEPS - 3, STEPS, STEPS])
    mask = torch.arange(STEPS) < lengths[:, None]
    present = torch.rand(BATCH, STEPS, generator=generator) < 0.5
    present[0], present[2] = False, True
    x = inputs(present & mask, seed)
    return x, mask, present & mask


@pytest.mark.parametrize("encoder", ENCODERS)
def test_late_encodes_the_steps_that_are_there_as_if_there_were_no_others(encoder: str) -> None:
    model = model_of("late", encoder).eval()
    fusion: Any = model.context
    x, mask, present = random_world(3)
    with torch.no_grad():
        y, states = fusion(x, mask, None)
        voice = fusion.encoders[0](fusion.affines[0](x[..., :2]), mask, None)[0]
        torch.testing.assert_close(y[..., : voice.shape[2]][mask], voice[mask])
        face = y[..., voice.shape[2] :]
        for row in range(BATCH):
            own = x[row, present[row], 2:][None]
            assert (face[row, ~present[row]] == fusion.absent["1"]).all()
            if not own.shape[1]:
                for part in states[1]:
                    assert (part[:, row] == 0).all()  # as before: no step was seen
                continue
            real = torch.ones(own.shape[:2], dtype=torch.bool)
            alone, state = fusion.encoders[1](fusion.affines[1](own), real, None)
            torch.testing.assert_close(face[row, present[row]], alone[0])
            for part, expected in zip(states[1], state, strict=True):
                torch.testing.assert_close(part[:, row], expected[:, 0])


@pytest.mark.parametrize("fusion", BY_MODALITY)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_missing_changes_nothing_and_is_never_nan(fusion: str, encoder: str) -> None:
    model = model_of(fusion, encoder)
    x, mask, present = random_world(5)
    other = x.clone()
    other[..., 2:5] = torch.where(present[..., None], x[..., 2:5], torch.tensor(7.0))
    other[..., 6] = torch.where(present, x[..., 6], torch.tensor(-7.0))
    for training in (False, True):
        model.train(training)
        outputs = []
        for values in (x, other):
            torch.manual_seed(2)
            outputs.append(model(values, mask)[0])
        assert outputs[0].isfinite().all()
        torch.testing.assert_close(outputs[0][mask], outputs[1][mask])
    outputs[0][mask].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("fusion", BY_MODALITY)
def test_nobody_has_a_step(fusion: str) -> None:
    for encoder in ENCODERS:
        model = model_of(fusion, encoder).eval()
        mask = torch.ones(BATCH, STEPS, dtype=torch.bool)
        nothing = inputs(torch.zeros_like(mask))
        with torch.no_grad():
            y, states = model(nothing, mask)
            assert y.isfinite().all()
            # the first segment without a face leaves its encoder where it was: at the start
            some = inputs(mask, seed=4)
            states = carry(states, BATCH)
            behind = model.context.encoders[1](model.context.affines[1](some[..., 2:]), mask, None)  # type: ignore[index, operator]
            after = model(some, mask, states)[1][1]
        for part, expected in zip(after, behind[1], strict=True):
            torch.testing.assert_close(part, expected)


@pytest.mark.parametrize("fusion", ["late", "gated"])
@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_segments_with_carried_state_are_the_whole_recording(fusion: str, encoder: str) -> None:
    model = model_of(fusion, encoder).eval()
    mask = torch.ones(2, 30, dtype=torch.bool)
    present = torch.rand(2, 30, generator=torch.Generator().manual_seed(8)) < 0.4
    present[0, :12] = False  # two whole segments without a face
    x = inputs(present)
    with torch.no_grad():
        expected = model(x, mask)[0]
        states = None
        parts = []
        for start in range(0, 30, 5):
            segment = slice(start, start + 5)
            y, states = model(x[:, segment], mask[:, segment], states)
            parts.append(y)
            states = carry(states, 2)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-6, rtol=1e-5)


def test_gates_by_hand() -> None:
    fusion = Gated([1, 1], 2, Same, share_columns=[[], [0]])
    with torch.no_grad():
        for affine, value in zip(fusion.affines, (2.0, 5.0), strict=True):
            affine.weight.zero_()  # type: ignore[operator, union-attr]
            affine.bias.fill_(value)  # type: ignore[operator, union-attr]
        fusion.gate.weight.zero_()
        fusion.gate.bias.copy_(torch.tensor([0.0, torch.log(torch.tensor(3.0))]))
        x = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])  # at the second step the second is missing
        y, _ = fusion(x, torch.ones(1, 2, dtype=torch.bool), None)
    torch.testing.assert_close(y, torch.tensor([[[4.25, 4.25], [2.0, 2.0]]]))  # 1/4 * 2 + 3/4 * 5
    assert fusion.size == 2


def test_gates_of_modalities_that_are_all_missing_are_zero() -> None:
    fusion = Gated([1, 1], 2, Same, share_columns=[[0], [0]])
    with torch.no_grad():
        y, _ = fusion(torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool), None)
    assert (y == 0).all()


class Same(nn.Module):
    """An encoder that gives back what it gets."""

    size = 2

    def forward(self, x: Tensor, mask: Tensor, state: Any) -> tuple[Tensor, Any]:
        return x, ()


@pytest.mark.parametrize("recursions", [1, 2])
def test_cross_attention_is_what_a_slow_reference_gives(recursions: int) -> None:
    torch.manual_seed(3)
    fusion = CrossAttention([2, 6], 2, Same, recursions=recursions, share_columns=[[], [3, 5]])
    x, mask, present = random_world(6)
    with torch.no_grad():
        y, _ = fusion(x, mask, None)
        outputs = [fusion.affines[0](x[..., :2]), fusion.affines[1](x[..., 2:])]
        outputs[1][~present] = fusion.absent["1"]
        steps = [mask, present]
        for _ in range(recursions):
            outputs = [attended(fusion, outputs, steps, index) for index in (0, 1)]
    expected = torch.cat(outputs, dim=-1)
    torch.testing.assert_close(y[mask], expected[mask])


def attended(fusion: Any, outputs: list[Tensor], steps: list[Tensor], own: int) -> Tensor:
    """Step by step: a softmax over the other modality's steps that are there, and a zero."""
    result = outputs[own].clone()
    for row in range(BATCH):
        other = fusion.in_projections[1 - own](outputs[1 - own][row, steps[1 - own][row]])
        keys = torch.cat([torch.zeros(1, 2), other[:, 2:4]])
        values = torch.cat([torch.zeros(1, 2), other[:, 4:]])
        for step in range(STEPS):
            if steps[own][row, step]:
                query = fusion.in_projections[own](outputs[own][row, step])[:2]
                weights = ((keys @ query) / 2**0.5).softmax(dim=0)
                z = fusion.out_projections[own](weights @ values)
                result[row, step] = fusion.norms[own](outputs[own][row, step] + z)
    return result


@pytest.mark.parametrize("fusion", ["late", "gated"])
def test_stacked_models_leave_out_what_each_alone_leaves_out(fusion: str) -> None:
    models = [model_of(fusion, "transformer", seed=seed).train() for seed in range(3)]
    worlds = [random_world(seed) for seed in (11, 12, 13)]
    x = torch.stack([world[0] for world in worlds])
    mask = torch.stack([world[1] for world in worlds])
    named = [dict(model.named_parameters()) for model in models]
    stacked = {
        name: torch.stack([each[name].detach() for each in named]).requires_grad_()
        for name in named[0]
    }
    generators = [torch.Generator().manual_seed(100 + row) for row in range(3)]
    together = Stack(models[0], stacked)(x, mask, EachItsOwn(generators, [STEPS] * 3))
    (together**2 * mask[..., None]).sum().backward()
    for row, model in enumerate(models):
        torch.manual_seed(100 + row)
        alone = model(x[row], mask[row])[0]
        real = mask[row]
        torch.testing.assert_close(together[row][real], alone[real], atol=1e-6, rtol=1e-5)
        (alone**2 * real[..., None]).sum().backward()
        for name, parameter in model.named_parameters():
            assert stacked[name].grad is not None and parameter.grad is not None
            torch.testing.assert_close(
                stacked[name].grad[row], parameter.grad, atol=1e-5, rtol=1e-4
            )


def test_cross_attention_is_refused_by_fused_seeds() -> None:
    several = [
        TrialSettings(features=("a",), fusion="cross_attention", seed=seed) for seed in range(2)
    ]
    [problem] = unfusable(several)
    assert problem.startswith("fusion cross_attention can't be fused (allowed: early, late, gated)")


def test_a_modality_that_lacks_nothing_in_one_set_is_always_there() -> None:
    whole = FeatureSet("d", "visual", 2, "float32", "")
    settings = TrialSettings(features=("a", "b", "d"), fusion="late", **SIZES)
    context: Any = build_model(settings, [VOICE, FACE, whole]).context
    assert isinstance(context, Late) and context.share_columns == [[], []]
    assert not list(context.absent)
    views = TrialSettings(
        features=("b", "c"), fusion="late", normalise=("train", "recording"), **SIZES
    )
    context = build_model(views, [FACE, POSE]).context
    assert context.dims == [10] and context.share_columns == [[6, 9]]


def test_options_count_only_for_their_fusion() -> None:
    with pytest.raises(ValueError, match=r"fusion\.recursions"):
        TrialSettings(features=("a",), fusion="cross_attention", **{"fusion.recursions": 0})
    late = TrialSettings(features=("a",), fusion="late", **{"fusion.recursions": 3})
    assert late == TrialSettings(features=("a",), fusion="late")

"""Models: shapes, the paper's sizes, padding that changes nothing, state that carries on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from va_search.data.store import FeatureSet
from va_search.models.encoders import sinusoids
from va_search.models.estimator import Estimator, carry
from va_search.models.menu import ENCODERS, FUSIONS, HEADS
from va_search.training.predict import build_model
from va_search.trial_settings import TrialSettings

SMALL: dict[str, Any] = {
    "width": 8, "layers": 2, "attention_heads": 2, "feed_forward": 16, "hidden_size": 6,
    "recurrent_layers": 2, "encoder_dropout": 0.3, "head_sizes": (5,),
}  # fmt: skip
RECURRENT = [
    (encoder, fusion) for encoder in ("lstm", "gru", "ssm") for fusion in ("early", "late")
]


def sets(*dims: int) -> list[FeatureSet]:
    """A feature set of each width, each of a modality of its own."""
    return [FeatureSet(f"x{i}", f"m{i}", dim, "float32", "") for i, dim in enumerate(dims)]


def small(encoder: str, fusion: str = "early", heads: str = "separate") -> Estimator:
    torch.manual_seed(1)
    settings = TrialSettings(
        features=("x0", "x1"), encoder=encoder, fusion=fusion, heads=heads, **SMALL
    )
    return build_model(settings, sets(3, 2)).eval()


def test_defaults_are_the_papers_sizes() -> None:
    settings = TrialSettings(features=("a",))
    assert (
        settings.width,
        settings.layers,
        settings.attention_heads,
        settings.encoder_dropout,
    ) == (1024, 4, 4, 0.3)
    assert (settings.segment_length, settings.head_sizes, settings.head_dropout) == (
        150,
        (512, 256),
        0.1,
    )


def test_the_papers_transformer_has_its_29_million_parameters() -> None:
    with torch.device("meta"):
        model = build_model(TrialSettings(features=("x0", "x1")), sets(1024, 1024))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(29e6, rel=0.05)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("heads", HEADS)
def test_two_values_between_minus_one_and_one_per_step(
    encoder: str, fusion: str, heads: str
) -> None:
    x = torch.randn(4, 7, 5) * 50
    y, states = small(encoder, fusion, heads)(x, torch.ones(4, 7, dtype=torch.bool))
    assert y.shape == (4, 7, 2)
    assert y.abs().max() <= 1
    assert len(states) == (2 if FUSIONS[fusion].of_modalities else 1)
    assert bool(states[0]) == ENCODERS[encoder].carries_state


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_changes_nothing(encoder: str, fusion: str) -> None:
    model = small(encoder, fusion)
    x = torch.randn(2, 6, 5)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    other = x.clone()
    other[1, 4:] = 99.0
    with torch.no_grad():
        y, _ = model(x, mask)
        padded_otherwise, _ = model(other, mask)
        alone, _ = model(x[1:, :4], mask[1:, :4])
    assert torch.equal(y[1, :4], padded_otherwise[1, :4])
    assert torch.allclose(y[1, :4], alone[0], atol=1e-6)


@pytest.mark.parametrize(("encoder", "fusion"), RECURRENT)
def test_segments_with_carried_state_equal_the_whole_recording(encoder: str, fusion: str) -> None:
    model = small(encoder, fusion)
    x, mask = torch.randn(3, 10, 5), torch.ones(3, 10, dtype=torch.bool)
    with torch.no_grad():
        whole, _ = model(x, mask)
        head, states = model(x[:, :4], mask[:, :4])
        tail, _ = model(x[:2, 4:], mask[:2, 4:], carry(states, 2))  # the third recording has ended
        forgotten, _ = model(x[:2, 4:], mask[:2, 4:])
    assert torch.allclose(whole[:, :4], head, atol=1e-6)
    assert torch.allclose(whole[:2, 4:], tail, atol=1e-6)
    assert not torch.allclose(tail, forgotten, atol=1e-4)


def test_the_transformer_lstm_carries_its_lstm_and_the_transformer_nothing() -> None:
    x, mask = torch.randn(2, 5, 5), torch.ones(2, 5, dtype=torch.bool)
    model = small("transformer_lstm")
    with torch.no_grad():
        first, states = model(x, mask)
        second, _ = model(x, mask, carry(states, 2))
    assert not torch.allclose(first, second, atol=1e-4)
    assert small("transformer")(x, mask)[1] == ((),)


def test_carried_state_has_no_gradient_into_the_past() -> None:
    model = small("gru").train()
    _, states = model(torch.randn(2, 5, 5), torch.ones(2, 5, dtype=torch.bool))
    assert states[0][0].requires_grad
    assert not carry(states, 2)[0][0].requires_grad


def test_causal_encoders_look_back_only() -> None:
    causal = [encoder for encoder in ENCODERS if ENCODERS[encoder].causal]
    assert causal == ["lstm", "gru", "ssm", "mlp"]
    for encoder in causal:
        model = small(encoder)
        x, mask = torch.randn(1, 8, 5), torch.ones(1, 8, dtype=torch.bool)
        later = x.clone()
        later[:, 5:] += 3
        assert torch.equal(model(x, mask)[0][:, :5], model(later, mask)[0][:, :5])


def test_the_transformer_knows_where_a_step_stands() -> None:
    model = small("transformer")
    x, mask = torch.randn(1, 1, 5).expand(1, 6, 5), torch.ones(1, 6, dtype=torch.bool)
    y, _ = model(x, mask)
    assert y[0].std(dim=0).min() > 1e-5  # the same input at every step, another output at each


def test_positions_are_the_published_sinusoids() -> None:
    table = sinusoids(50, 8)
    assert table[7, 0] == pytest.approx(torch.sin(torch.tensor(7.0)).item())
    assert table[7, 3] == pytest.approx(
        torch.cos(torch.tensor(7.0 / 10000 ** (2 / 8))).item(), abs=1e-6
    )
    assert sinusoids(5, 7).shape == (5, 7)


def test_late_fusion_keeps_modalities_apart_until_the_heads() -> None:
    model = small("lstm", "late")
    x, mask = torch.randn(1, 4, 5), torch.ones(1, 4, dtype=torch.bool)
    other = x.clone()
    other[..., 3:] += 1.0  # the second modality
    one, _ = model.context(x, mask, None)
    two, _ = model.context(other, mask, None)
    assert torch.equal(one[..., :6], two[..., :6])
    assert not torch.equal(one[..., 6:], two[..., 6:])

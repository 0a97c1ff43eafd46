"""Dropout's noise: its share and scale, its independence, and attention that is written out for it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from va_search.models.encoders import TransformerLayer
from va_search.models.noise import LEVELS, UnitDropout, attention, dropped, noise

SHARES = [0.1, 0.3, 0.5, 0.97]


@pytest.mark.parametrize("share", SHARES)
def test_a_share_is_zero_and_the_mean_is_kept(share: float) -> None:
    values = noise(torch.Size([400, 1000]), share, torch.Generator().manual_seed(1))
    rounded = round(share * LEVELS) / LEVELS
    zeros = (values == 0).double().mean().item()
    # five standard deviations of a share of 400,000 independent values
    assert abs(zeros - rounded) < 5 * math.sqrt(rounded * (1 - rounded) / values.numel())
    assert values[values != 0].unique().tolist() == pytest.approx([1 / (1 - rounded)], rel=1e-6)


def test_each_value_is_drawn_by_itself() -> None:
    values = noise(torch.Size([50_000, 8]), 0.3, torch.Generator().manual_seed(2))
    correlations = torch.corrcoef((values == 0).double().T)
    others = correlations[~torch.eye(8, dtype=torch.bool)]
    assert others.abs().max() < 5 / math.sqrt(50_000)
    drawn_again = noise(torch.Size([50_000, 8]), 0.3, torch.Generator().manual_seed(3))
    same = torch.corrcoef(torch.stack([values.flatten(), drawn_again.flatten()]))[0, 1]
    assert abs(same) < 5 / math.sqrt(400_000)


def test_a_generator_gives_the_same_noise_whatever_the_shape_layout_and_type() -> None:
    def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        generator = torch.Generator().manual_seed(4)
        return noise(torch.Size(shape), 0.4, generator, dtype=dtype)

    assert torch.equal(drawn(6, 35).flatten(), drawn(210))
    assert torch.equal(drawn(210) == 0, drawn(210, dtype=torch.bfloat16) == 0)
    # the global generator is one like any other
    torch.manual_seed(4)
    assert torch.equal(noise(torch.Size([210]), 0.4), drawn(210))
    x = torch.ones(6, 35)
    torch.manual_seed(4)
    assert torch.equal(UnitDropout(0.4)(x), drawn(6, 35))
    torch.manual_seed(4)
    assert torch.equal(UnitDropout(0.4)(x.T.contiguous().T), drawn(6, 35))


@pytest.mark.parametrize(("share", "zeros"), [(0.0, 0.0), (1e-9, 0.0), (1 - 1e-9, 65_535 / 65_536)])
def test_the_smallest_and_largest_shares(share: float, zeros: float) -> None:
    values = noise(torch.Size([2, 500_000]), share, torch.Generator().manual_seed(5))
    assert (values == 0).double().mean().item() == pytest.approx(zeros, abs=3e-5)
    assert torch.isfinite(values).all()


def test_the_gradient_goes_where_the_value_went() -> None:
    x = torch.randn(9, 33, requires_grad=True)
    y = UnitDropout(0.5)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.where(y == 0, 0.0, 2.0))
    layer = UnitDropout(0.5).eval()
    assert layer(x) is x
    assert UnitDropout(0.0)(x) is x


@pytest.mark.parametrize("masked", [False, True])
def test_attention_written_out_is_torchs(monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    q, k, v = (torch.randn(3, 2, 7, 5, generator=generator, requires_grad=True) for _ in range(3))
    mask = None
    if masked:
        mask = torch.ones(3, 1, 1, 7, dtype=torch.bool)
        mask[1, ..., 4:] = False
    # noise that drops nothing leaves the arithmetic alone
    monkeypatch.setattr(
        "va_search.models.noise.noise", lambda shape, share, dtype: torch.ones(shape)
    )
    expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    computed = attention(q, k, v, mask, 0.2)
    torch.testing.assert_close(computed, expected)
    weight = torch.randn(expected.shape, generator=generator)
    gradients = torch.autograd.grad((computed * weight).sum(), (q, k, v))
    right_gradients = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    for gradient, right in zip(gradients, right_gradients, strict=True):
        torch.testing.assert_close(gradient, right)


@pytest.mark.parametrize("training", [False, True])
def test_a_transformer_layer_is_torchs_but_for_the_noise(training: bool) -> None:
    torch.manual_seed(7)
    ours = TransformerLayer(12, 3, 20, 0.0, batch_first=True).train(training)
    torchs = nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True).train(training)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 9, 12)
    real = torch.arange(9) < torch.tensor([[9], [5], [1], [8]])
    for mask in (None, real):
        allowed = None if mask is None else mask[:, None, None, :]
        padding = None if mask is None else ~mask
        compared = torch.ones(4, 9, dtype=torch.bool) if mask is None else mask
        expected = torchs(x, src_key_padding_mask=padding)[compared]
        torch.testing.assert_close(ours(x, allowed)[compared], expected)


def test_a_transformer_layer_drops_where_torchs_does() -> None:
    torch.manual_seed(8)
    layer = TransformerLayer(12, 3, 20, 0.5, batch_first=True)
    x = torch.randn(2, 5, 12)
    outputs = [layer(x) for _ in range(2)]
    assert not torch.equal(*outputs)
    assert torch.equal(layer.eval()(x), layer(x))


def test_dropped_keeps_the_expected_value() -> None:
    torch.manual_seed(9)
    x = torch.full((1000, 1000), 3.0)
    assert dropped(x, 0.3).mean().item() == pytest.approx(3.0, abs=0.02)

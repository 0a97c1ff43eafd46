"""Dropout drawn faster is torch's own, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from va_search.models import noise
from va_search.models.noise import UnitDropout


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5])
def test_it_is_torchs_dropout(monkeypatch: pytest.MonkeyPatch, share: float, same: bool) -> None:
    if not same:  # a machine on which torch draws it in another way
        monkeypatch.setattr(noise, "uniform_is_the_same", lambda: False)
    x = torch.randn(7, 33, 5, requires_grad=True)
    results = []
    for layer in (nn.Dropout(share), UnitDropout(share)):
        torch.manual_seed(5)
        for values in (x, x.transpose(0, 1), x[:, :1]):
            y = layer(values)
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
            results.append((y.detach(), gradient))
        assert layer.eval()(x) is x
    for expected, got in zip(results[:3], results[3:], strict=True):
        assert torch.equal(expected[0], got[0])
        assert torch.equal(expected[1], got[1])

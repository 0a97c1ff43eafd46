"""Encoders against slow references: sums over neighbours, recurrences step by step, rows one by
one; and segments against the whole recording."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from va_search.models.encoders import (
    BiGru,
    BiLstm,
    Mlp,
    Scan,
    Ssm,
    StateSpace,
    Tcn,
    doubled,
    recurrence,
)
from va_search.models.menu import ENCODERS
from va_search.trial_settings import TrialSettings

SIZES = {"width": 8, "layers": 2, "attention_heads": 2, "feed_forward": 12, "hidden_size": 6}
NEW = ("bilstm", "bigru", "tcn", "ssm", "mlp")


def encoder(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    settings = TrialSettings(features=("face",), encoder=name, **{**SIZES, **changes})
    module: nn.Module = ENCODERS[name].load()(8, **settings.arguments(ENCODERS))
    return module.eval()


def everywhere(x: Tensor) -> Tensor:
    """A mask without padding."""
    return torch.ones(x.shape[:2], dtype=torch.bool)


# -- convolutions


def neighbours_one_by_one(tcn: Tcn, x: Tensor) -> Tensor:
    """A row [step, width] through each level: for each step, a sum over the steps that it reads."""
    for level, (linear, norm) in enumerate(zip(tcn.linears, tcn.norms, strict=True)):
        # the linear layer's columns belong to one neighbour after another
        weights = linear.weight.chunk(tcn.kernel, dim=1)
        earliest = tcn.kernel - 1 if tcn.causal else tcn.kernel // 2
        rows = []
        for step in range(len(x)):
            y = linear.bias
            for place, weight in enumerate(weights):
                neighbour = step + (place - earliest) * 2**level
                if 0 <= neighbour < len(x):
                    y = y + weight @ x[neighbour]
            rows.append(norm(x[step] + functional.relu(y)))
        x = torch.stack(rows)
    return x


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_convolution_sums_over_the_real_neighbours(kernel: int, causal: bool, steps: int) -> None:
    tcn = encoder("tcn", layers=3, **{"encoder.kernel": kernel, "encoder.causal": causal})
    assert isinstance(tcn, Tcn)
    x = torch.randn(2, 9, 8)
    mask = everywhere(x)
    mask[1, steps:] = False
    with torch.no_grad():
        y, state = tcn(x, mask, None)
        assert state == ()
        for row, length in enumerate((9, steps)):
            expected = neighbours_one_by_one(tcn, x[row, :length])
            torch.testing.assert_close(y[row, :length], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_a_segment_of_convolutions_is_the_recordings_but_for_its_edges(causal: bool) -> None:
    tcn = encoder("tcn", **{"encoder.kernel": 3, "encoder.causal": causal})
    assert tcn.reach == (6 if causal else 3)
    x = torch.randn(1, 40, 8)
    start, stop, reach = 10, 30, int(tcn.reach)
    with torch.no_grad():
        whole = tcn(x, everywhere(x), None)[0][:, start:stop]
        segment = x[:, start:stop]
        alone, _ = tcn(segment, everywhere(segment), None)
    last = len(segment[0]) if causal else len(segment[0]) - reach
    torch.testing.assert_close(alone[:, reach:last], whole[:, reach:last])
    assert not torch.allclose(alone[:, reach - 1], whole[:, reach - 1])
    assert causal == torch.allclose(alone[:, -1], whole[:, -1])


@pytest.mark.parametrize("causal", [False, True])
def test_convolutions_look_ahead_unless_they_are_causal(causal: bool) -> None:
    tcn = encoder("tcn", **{"encoder.causal": causal})
    x = torch.randn(1, 12, 8)
    later = x.clone()
    later[:, 7:] += 3.0
    with torch.no_grad():
        before, after = (tcn(each, everywhere(x), None)[0] for each in (x, later))
    assert causal == torch.equal(before[:, :7], after[:, :7])


# -- state spaces


def complex_normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex128)


def rates() -> Tensor:
    return torch.polar(torch.tensor([0.0, 0.5, 0.999]), torch.tensor([0.0, 1.0, 0.1])).to(
        torch.complex128
    )


@pytest.mark.parametrize("steps", [1, 2, 7, 64])
def test_a_recurrence_is_the_sum_of_everything_before(steps: int) -> None:
    drive, rate = complex_normal(2, steps, 3), rates()
    expected = torch.zeros_like(drive)
    for step in range(steps):
        for before in range(step + 1):
            expected[:, step] += rate ** (step - before) * drive[:, before]
    torch.testing.assert_close(recurrence(drive, rate), expected)
    torch.testing.assert_close(doubled(drive, rate), expected)


def test_the_gradient_of_a_scan_is_that_of_its_steps() -> None:
    drive, rate = complex_normal(2, 5, 3).requires_grad_(), rates().requires_grad_()
    assert torch.autograd.gradcheck(Scan.apply, (drive, rate))


def test_a_state_space_is_its_formula_step_by_step() -> None:
    torch.manual_seed(0)
    space = StateSpace(4, 5)
    x, state = torch.randn(2, 6, 4), complex_normal(2, 5).to(torch.complex64)
    with torch.no_grad():
        rate = torch.exp(-torch.exp(space.decay) + 1j * torch.exp(space.angle))
        share = torch.sqrt(1 - rate.abs() ** 2)
        drive = space.drive.weight[:5] + 1j * space.drive.weight[5:]
        h, rows = state, []
        for step in range(6):
            h = rate * h + share * (x[:, step].to(torch.complex64) @ drive.T)
            parts = torch.cat([h.real, h.imag], dim=-1)
            rows.append(parts @ space.read.weight.T + space.skip * x[:, step])
        y, last = space(x, state)
    torch.testing.assert_close(y, torch.stack(rows, dim=1))
    torch.testing.assert_close(last, h)
    assert 0.9 <= float(rate.abs().min()) <= float(rate.abs().max()) <= 0.9991


@pytest.mark.parametrize("lengths", [(1, 9), (4, 6), (3, 1, 6), (1,) * 10])
def test_a_state_that_is_carried_makes_segments_one_pass(lengths: tuple[int, ...]) -> None:
    ssm = encoder("ssm", layers=3)
    x = torch.randn(2, 10, 8)
    state = None
    parts = []
    with torch.no_grad():
        whole, last = ssm(x, everywhere(x), None)
        for part in torch.split(x, list(lengths), dim=1):
            y, state = ssm(part, everywhere(part), state)
            parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-4)
    assert state is not None
    torch.testing.assert_close(state[0], last[0], atol=1e-5, rtol=1e-4)
    assert state[0].shape == (3, 2, 6)


# -- both directions


@pytest.mark.parametrize("kind", [BiLstm, BiGru])
def test_the_backward_cell_begins_at_a_rows_last_real_step(kind: type[BiLstm | BiGru]) -> None:
    torch.manual_seed(0)
    encoder = kind(4, hidden_size=3, recurrent_layers=2, encoder_dropout=0.3).eval()
    x = torch.randn(3, 7, 4)
    mask = torch.arange(7) < torch.tensor([7, 1, 5])[:, None]
    with torch.no_grad():
        y, state = encoder(x, mask, None)
        for row, length in enumerate((7, 1, 5)):
            expected, _ = encoder.cell(x[row : row + 1, :length])
            torch.testing.assert_close(y[row, :length], expected[0])
    assert y.shape == (3, 7, encoder.size) == (3, 7, 6)
    assert state == ()


# -- all of them


def test_a_perceptron_sees_each_step_alone() -> None:
    mlp = encoder("mlp")
    assert isinstance(mlp, Mlp)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        together, _ = mlp(x, everywhere(x), None)
        alone, _ = mlp(x[1:, 2:3], everywhere(x[1:, 2:3]), None)
    torch.testing.assert_close(together[1:, 2:3], alone)


@pytest.mark.parametrize("name", NEW)
def test_a_row_of_one_step_is_learnt_from(name: str) -> None:
    module = encoder(name).train()
    x = torch.randn(2, 1, 8)
    y, _ = module(x, everywhere(x), None)
    y.square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in module.parameters()
    )


@pytest.mark.parametrize("name", NEW)
def test_half_precision_is_about_as_exact_as_it_can_be(name: str) -> None:
    module = encoder(name)
    x = torch.randn(2, 30, 8)
    mask = everywhere(x)
    mask[1, 20:] = False
    with torch.no_grad():
        exact, _ = module(x, mask, None)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, _ = module(x, mask, None)
    assert (half.float() - exact)[mask].abs().max() < 0.1


@pytest.mark.parametrize("name", NEW)
def test_its_state_is_trained_over_long_segments_without_overflow(name: str) -> None:
    module = encoder(name).train()
    x = torch.randn(1, 1500, 8)
    y, _ = module(x, everywhere(x), None)
    y.square().mean().backward()
    norms = [float(parameter.grad.norm()) for parameter in module.parameters()]
    assert all(0 <= norm < 1e3 for norm in norms)


def test_a_state_space_begins_with_outputs_of_its_inputs_size() -> None:
    torch.manual_seed(0)
    ssm = Ssm(64, layers=4, hidden_size=64, encoder_dropout=0.0)
    x = torch.randn(4, 300, 64)
    with torch.no_grad():
        y, _ = ssm(x, everywhere(x), None)
    assert 0.5 < float(y.std()) < 3.0

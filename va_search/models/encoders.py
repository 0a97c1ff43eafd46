"""Encoders: those of the paper (3.3: LSTM, GRU, Transformer, and a Transformer with an LSTM behind
it), recurrent ones in both directions, dilated convolutions, a diagonal state space, and a
perceptron that sees each step alone.

Conventions: an encoder is built from the width of its input and its options by keyword, and has the
width of its output as `size`. Input [batch, step, width], mask [batch, step] True where a step is
real, output [batch, step, size]. A row's real steps come first and there is at least one. State is
a tuple of tensors [layers, batch, hidden], empty for an encoder that carries none; None means
zeros. What looks back only needs no mask: padding at a row's end changes nothing before it.

An encoder that carries state gives the same output whether a recording comes whole or in segments.
The others begin anew in every segment: they see nothing before its first step or behind its last.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from va_search.models.noise import UnitDropout, attention, dropped

State = tuple[Tensor, ...]


class Recurrent(nn.Module):
    """An LSTM or GRU; dropout between layers and on the output."""

    kind: type[nn.LSTM] | type[nn.GRU]
    directions = 1

    def __init__(
        self, width: int, *, hidden_size: int, recurrent_layers: int, encoder_dropout: float
    ) -> None:
        super().__init__()
        between_layers = encoder_dropout if recurrent_layers > 1 else 0.0
        self.cell = self.kind(
            width,
            hidden_size,
            recurrent_layers,
            batch_first=True,
            dropout=between_layers,
            bidirectional=self.directions == 2,
        )
        self.dropout = UnitDropout(encoder_dropout)
        self.size = self.directions * hidden_size


class Lstm(Recurrent):
    """Formula 3; the state is (h, c)."""

    kind = nn.LSTM

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, hidden], and the state behind the last step."""
        y, state = self.cell(x, state)
        return self.dropout(y), state


class Gru(Recurrent):
    """Formula 4; the state is (h,)."""

    kind = nn.GRU

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, hidden], and the state behind the last step."""
        y, h = self.cell(x, None if state is None else state[0])
        return self.dropout(y), (h,)


class Bidirectional(Recurrent):
    """A cell that reads each row forwards and another that reads it backwards from its last real
    step, their outputs side by side; no state is carried."""

    directions = 2

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, 2 * hidden]."""
        if bool(mask.all()):
            y, _ = self.cell(x)
            return self.dropout(y), ()
        # packed rows have no padding that the backward cell could read first
        lengths = mask.sum(dim=1).cpu()
        rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, _ = self.cell(rows)
        y, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
        return self.dropout(y), ()


class BiLstm(Bidirectional):
    """An LSTM in both directions."""

    kind = nn.LSTM


class BiGru(Bidirectional):
    """A GRU in both directions."""

    kind = nn.GRU


class Transformer(nn.Module):
    """Formula 5: fixed sinusoid positions, then torch's encoder layers (norm behind each block, as
    in the original)."""

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        attention_heads: int,
        feed_forward: int,
        encoder_dropout: float,
    ) -> None:
        super().__init__()
        layer = TransformerLayer(
            width, attention_heads, feed_forward, encoder_dropout, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        # torch makes the layers copies of one another: draw each anew
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.register_buffer("positions", torch.empty(0, width), persistent=False)
        self.positions: Tensor
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to the same; masked steps are attended by none."""
        if len(self.positions) < x.shape[1]:
            self.positions = sinusoids(x.shape[1], x.shape[2]).to(x.device)
        y = x + self.positions[: x.shape[1]]
        allowed = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in self.layers.layers:
            y = layer(y, allowed)
        return y, ()


class TransformerLayer(nn.TransformerEncoderLayer):
    """torch's layer with its parameters and its arithmetic, written out: its dropout is `noise`'s,
    which on a CPU costs a tenth."""

    def forward(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """[batch, step, width] to the same; `allowed` [batch, 1, 1, step] is True where a step may
        be attended, None: everywhere."""
        share = float(self.dropout.p) if self.training else 0.0
        # attention: one product makes queries, keys and values
        projection = self.self_attn
        mixed = functional.linear(x, projection.in_proj_weight, projection.in_proj_bias)
        by_head = mixed.view(*x.shape[:2], 3, projection.num_heads, -1)
        q, k, v = by_head.permute(2, 0, 3, 1, 4)  # each [batch, head, step, size]
        y = attention(q, k, v, allowed, share).transpose(1, 2).flatten(2)
        x = self.norm1(x + dropped(projection.out_proj(y), share))
        # feed-forward
        y = dropped(functional.relu(self.linear1(x)), share)
        output: Tensor = self.norm2(x + dropped(self.linear2(y), share))
        return output


class TransformerLstm(nn.Module):
    """Formulas 6 and 7: local context by the Transformer within a segment, global context by the
    LSTM across them."""

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        attention_heads: int,
        feed_forward: int,
        hidden_size: int,
        recurrent_layers: int,
        encoder_dropout: float,
    ) -> None:
        super().__init__()
        self.transformer = Transformer(
            width,
            layers=layers,
            attention_heads=attention_heads,
            feed_forward=feed_forward,
            encoder_dropout=encoder_dropout,
        )
        self.lstm = Lstm(
            width,
            hidden_size=hidden_size,
            recurrent_layers=recurrent_layers,
            encoder_dropout=encoder_dropout,
        )
        self.size = self.lstm.size

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, hidden], and the LSTM's state."""
        y, _ = self.transformer(x, mask, None)
        output: tuple[Tensor, State] = self.lstm(y, mask, state)
        return output


class Tcn(nn.Module):
    """Temporal convolutional network (Bai et al. 2018): levels of dilated convolutions, each with a
    residual and the norm behind it. Level l reads `kernel` steps that lie 2^l steps apart: around
    each step, or `causal`ly at it and before it. Each level is one linear layer over those steps.

    No state is carried: within the first `reach` steps of a segment (for one that is not causal,
    also the last ones) the output depends on where the segment begins; further inside it is that
    of the whole recording."""

    def __init__(
        self, width: int, *, layers: int, encoder_dropout: float, kernel: int, causal: bool
    ) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(kernel * width, width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.dropout = UnitDropout(encoder_dropout)
        self.kernel, self.causal = kernel, causal
        self.reach = (kernel - 1 if causal else kernel // 2) * (2**layers - 1)
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to the same."""
        for level, (linear, norm) in enumerate(zip(self.linears, self.norms, strict=True)):
            y = functional.relu(linear(self.taps(x, mask, level)))
            x = norm(x + self.dropout(y))
        return x, ()

    def taps(self, x: Tensor, mask: Tensor | None, level: int) -> Tensor:
        """[..., step, width] to [..., step, kernel * width]: the steps that a level reads for each
        step, zero outside the row; mask [..., step], None where nothing is padded."""
        if mask is not None and not self.causal:
            x = x.masked_fill(~mask[..., None], 0.0)
        apart, steps = 2**level, x.shape[-2]
        left = (self.kernel - 1 if self.causal else self.kernel // 2) * apart
        right = (self.kernel - 1) * apart - left
        padded = functional.pad(x, (0, 0, left, right))
        shifts = range(0, self.kernel * apart, apart)
        return torch.cat([padded[..., shift : shift + steps, :] for shift in shifts], dim=-1)


class Ssm(nn.Module):
    """Layers of diagonal state spaces, each behind a norm and in front of a gate, with a residual;
    their states are carried."""

    def __init__(
        self, width: int, *, layers: int, hidden_size: int, encoder_dropout: float
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.spaces = nn.ModuleList(StateSpace(width, hidden_size) for _ in range(layers))
        self.gates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.dropout = UnitDropout(encoder_dropout)
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to the same, and the states behind the last step, complex [layers,
        batch, hidden]."""
        carried: list[Tensor] = []
        parts = zip(self.norms, self.spaces, self.gates, strict=True)
        for layer, (norm, space, gate) in enumerate(parts):
            y, final = space(norm(x), None if state is None else state[0][layer])
            carried.append(final)
            y = functional.glu(gate(functional.gelu(y)), dim=-1)
            x = x + self.dropout(y)
        return x, (torch.stack(carried),)


class StateSpace(nn.Module):
    """Linear recurrent unit (Orvieto et al. 2023): h[t] = r * h[t - 1] + sqrt(1 - |r|^2) * B x[t]
    and y[t] = Re(C h[t]) + d * x[t], with complex h and r [hidden], |r| < 1.

    r = exp(-exp(decay) + i exp(angle)); in the beginning it forgets within about 10 to 1,000 steps
    and turns by up to a tenth of pi a step."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        radius = torch.empty(hidden).uniform_(0.9**2, 0.999**2).sqrt()
        angle = torch.empty(hidden).uniform_(0.001, math.pi / 10)
        self.decay = nn.Parameter(torch.log(-torch.log(radius)))
        self.angle = nn.Parameter(torch.log(angle))
        # real and imaginary parts of B, and of C
        self.drive = nn.Linear(width, 2 * hidden, bias=False)
        self.read = nn.Linear(2 * hidden, width, bias=False)
        self.skip = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """[batch, step, width] to the same, and h behind the last step [batch, hidden]; `state` is
        h before the first."""
        rate = torch.exp(torch.complex(-torch.exp(self.decay), torch.exp(self.angle)))
        # 1 - |r|^2 without the rounding of a difference of nearly equal numbers
        share = torch.sqrt(-torch.expm1(-2 * torch.exp(self.decay)))
        real, imaginary = self.drive(x).float().chunk(2, dim=-1)
        drive = torch.complex(share * real, share * imaginary)
        if state is not None:
            beginning = drive[:, :1] + (rate * state)[:, None]
            drive = torch.cat([beginning, drive[:, 1:]], dim=1)
        h = Scan.apply(drive, rate)  # type: ignore[no-untyped-call]
        y: Tensor = self.read(torch.cat([h.real, h.imag], dim=-1)) + self.skip * x
        return y, h[:, -1]


class Scan(torch.autograd.Function):
    """h[t] = rate * h[t - 1] + drive[t] for every step, zero before the first: complex [batch, step,
    hidden] from a drive of that shape and a rate [hidden].

    The gradient is the same recurrence backwards, so that nothing but h is kept for it."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, rate: Tensor) -> Tensor:
        """Return h."""
        h = recurrence(drive, rate)
        ctx.save_for_backward(h, rate)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of drive and rate from that of h."""
        h, rate = ctx.saved_tensors
        of_drive = recurrence(gradients[0].flip(1), rate.conj().resolve_conj()).flip(1)
        of_rate = (h[:, :-1].conj() * of_drive[:, 1:]).sum(dim=(0, 1))
        return of_drive, of_rate


def recurrence(drive: Tensor, rate: Tensor) -> Tensor:
    """Return `Scan`'s h: step by step on a CPU; elsewhere, where each kernel's start costs more than its
    work, in log2(steps) passes."""
    if drive.device.type != "cpu":
        return doubled(drive, rate)
    rows = list(drive.transpose(0, 1).contiguous())
    for step in range(1, len(rows)):
        rows[step] = torch.addcmul(rows[step], rate, rows[step - 1])
    return torch.stack(rows, dim=1)


def doubled(drive: Tensor, rate: Tensor) -> Tensor:
    """`recurrence` in passes: h sums over the last 1, 2, 4, … steps."""
    h, summed = drive, 1
    while summed < h.shape[1]:
        longer = h[:, summed:] + rate * h[:, :-summed]
        h = torch.cat([h[:, :summed], longer], dim=1)
        rate, summed = rate * rate, 2 * summed
    return h


class Mlp(nn.Module):
    """A perceptron over each step alone: the baseline of what time adds."""

    def __init__(self, width: int, *, layers: int, encoder_dropout: float) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.ReLU()]
        for _ in range(layers):
            modules += [nn.Linear(width, width), nn.ReLU(), UnitDropout(encoder_dropout)]
        self.layers = nn.Sequential(*modules)
        self.size = width

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to the same."""
        return self.layers(x), ()


def sinusoids(steps: int, width: int) -> Tensor:
    """[step, width] fixed positions (Vaswani et al. 2017): sine in even columns, cosine in odd
    ones."""
    step = torch.arange(steps, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(steps, width)
    table[:, 0::2] = torch.sin(step * rate)
    table[:, 1::2] = torch.cos(step * rate)[:, : width // 2]
    return table

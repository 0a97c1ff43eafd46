"""Temporal encoders (paper 3.3): LSTM, GRU, Transformer, and a Transformer with an LSTM behind it.

Conventions: input [batch, step, width], mask [batch, step] True where a step is real, output
[batch, step, size]. A row's real steps come first and there is at least one. State is a tuple of
tensors [layers, batch, hidden], empty for an encoder that carries none; None means zeros. Recurrent
encoders look back only, so that padding at a row's end changes nothing before it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Sizes:
    """What the encoders are built from; each takes what it needs."""

    width: int = 1024
    layers: int = 4
    attention_heads: int = 4
    feed_forward: int = 1024
    hidden_size: int = 512
    recurrent_layers: int = 1
    dropout: float = 0.3


class Recurrent(nn.Module):
    """An LSTM or GRU; dropout between layers and on the output."""

    cell: nn.LSTM | nn.GRU

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], sizes: Sizes) -> None:
        super().__init__()
        between = sizes.dropout if sizes.recurrent_layers > 1 else 0.0
        self.cell = kind(
            sizes.width,
            sizes.hidden_size,
            sizes.recurrent_layers,
            batch_first=True,
            dropout=between,
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.size = sizes.hidden_size


class Lstm(Recurrent):
    """Formula 3; the state is (h, c)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(nn.LSTM, sizes)

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, hidden], and the state behind the last step."""
        y, (h, c) = self.cell(x, None if state is None else (state[0], state[1]))
        return self.dropout(y), (h, c)


class Gru(Recurrent):
    """Formula 4; the state is (h,)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(nn.GRU, sizes)

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, hidden], and the state behind the last step."""
        y, h = self.cell(x, None if state is None else state[0])
        return self.dropout(y), (h,)


class Transformer(nn.Module):
    """Formula 5: fixed sinusoid positions, then torch's encoder layers (norm behind each block, as
    in the original)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            sizes.width, sizes.attention_heads, sizes.feed_forward, sizes.dropout, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False)
        for (
            parameter
        ) in self.layers.parameters():  # layers start as copies of one another: draw each anew
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.register_buffer("positions", torch.empty(0, sizes.width), persistent=False)
        self.positions: Tensor
        self.size = sizes.width

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to the same; masked steps are attended by none."""
        if len(self.positions) < x.shape[1]:
            self.positions = sinusoids(x.shape[1], x.shape[2]).to(x.device)
        y = x + self.positions[: x.shape[1]]
        padding = None if bool(mask.all()) else ~mask
        return self.layers(y, src_key_padding_mask=padding), ()


class TransformerLstm(nn.Module):
    """Formulas 6 and 7: local context by the Transformer within a segment, global context by the
    LSTM across them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.transformer = Transformer(sizes)
        self.lstm = Lstm(sizes)
        self.size = self.lstm.size

    def forward(self, x: Tensor, mask: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[batch, step, width] to [batch, step, hidden], and the LSTM's state."""
        y, _ = self.transformer(x, mask, None)
        out: tuple[Tensor, State] = self.lstm(y, mask, state)
        return out


Encoder = Lstm | Gru | Transformer | TransformerLstm

ENCODERS: dict[str, type[Lstm] | type[Gru] | type[Transformer] | type[TransformerLstm]] = {
    "lstm": Lstm,
    "gru": Gru,
    "transformer": Transformer,
    "transformer_lstm": TransformerLstm,
}


def sinusoids(steps: int, width: int) -> Tensor:
    """[step, width] fixed positions (Vaswani et al. 2017): sine in even columns, cosine in odd
    ones."""
    step = torch.arange(steps, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(steps, width)
    table[:, 0::2] = torch.sin(step * rate)
    table[:, 1::2] = torch.cos(step * rate)[:, : width // 2]
    return table

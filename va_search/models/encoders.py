"""Temporal encoders (paper 3.3): LSTM, GRU, Transformer, and a Transformer with an LSTM behind it.

Conventions: an encoder is built from the width of its input and its options by keyword, and has the
width of its output as `size`. Input [batch, step, width], mask [batch, step] True where a step is
real, output [batch, step, size]. A row's real steps come first and there is at least one. State is
a tuple of tensors [layers, batch, hidden], empty for an encoder that carries none; None means
zeros. Recurrent encoders look back only, so that padding at a row's end changes nothing before it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class Recurrent(nn.Module):
    """An LSTM or GRU; dropout between layers and on the output."""

    kind: type[nn.LSTM] | type[nn.GRU]

    def __init__(
        self, width: int, *, hidden_size: int, recurrent_layers: int, encoder_dropout: float
    ) -> None:
        super().__init__()
        between_layers = encoder_dropout if recurrent_layers > 1 else 0.0
        self.cell = self.kind(
            width, hidden_size, recurrent_layers, batch_first=True, dropout=between_layers
        )
        self.dropout = nn.Dropout(encoder_dropout)
        self.size = hidden_size


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
        layer = nn.TransformerEncoderLayer(
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
        padding = None if bool(mask.all()) else ~mask
        return self.layers(y, src_key_padding_mask=padding), ()


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


def sinusoids(steps: int, width: int) -> Tensor:
    """[step, width] fixed positions (Vaswani et al. 2017): sine in even columns, cosine in odd
    ones."""
    step = torch.arange(steps, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(steps, width)
    table[:, 0::2] = torch.sin(step * rate)
    table[:, 1::2] = torch.cos(step * rate)[:, : width // 2]
    return table

"""Several models of one shape computed as one: every layer is one batched product over all of them.

Conventions: S models side by side, the first axis of everything: input [model, batch, step,
feature], mask [model, batch, step] True where a step is real (None: everywhere), output [model,
batch, step, target]. Parameters have the names they have in one `Estimator`, each [model, …]. A model's
values never reach another, NaN included.

The layers are written out rather than `vmap`ped over `Estimator`: each model can then draw its
dropout from a generator of its own, in the order in which it would alone, and on a GPU attention
keeps its fused kernels. Entries of the menus that can be computed like this are `stackable` there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from va_search.models.encoders import Mlp, Tcn, Transformer, sinusoids
from va_search.models.estimator import Estimator, Separate
from va_search.models.fusions import Early, Gated, encoded_together, weighed_by_gates
from va_search.models.noise import attention, attention_weights, noise


class Dropout:
    """Units dropped in training; this one drops nothing, for evaluation."""

    def units(self, x: Tensor, share: float) -> Tensor:
        """Return x [model, batch, step, width] with a share of it zero, the others scaled up."""
        return x

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, share: float
    ) -> Tensor:
        """Attention [model, batch, head, step, size] with a share of its weights zero; mask [model,
        batch, 1, 1, step] True where a step may be attended."""
        return attend(q, k, v, mask, 0.0)


class AtOnce(Dropout):
    """Dropout drawn for all models at once, from the device's own generator: fewest and fastest
    kernels."""

    def units(self, x: Tensor, share: float) -> Tensor:
        """See `Dropout`."""
        return functional.dropout(x, share)

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, share: float
    ) -> Tensor:
        """See `Dropout`."""
        return attend(q, k, v, mask, share)


class EachItsOwn(Dropout):
    """Dropout drawn model by model on the CPU, exactly as each would draw it alone.

    `generators` are the models' own; `steps` how many steps each model's batch has without the
    others' padding."""

    def __init__(self, generators: Sequence[torch.Generator], steps: Sequence[int]) -> None:
        self._drawn = list(zip(generators, steps, strict=True))

    def units(self, x: Tensor, share: float) -> Tensor:
        """See `Dropout`."""
        if share == 0.0:
            return x
        drawn = torch.zeros(x.shape, dtype=x.dtype)
        for model, (generator, steps) in enumerate(self._drawn):
            _draw(drawn[model, :, :steps], share, generator)
        return x * drawn

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, share: float
    ) -> Tensor:
        """See `Dropout`."""
        if share == 0.0:
            return attend(q, k, v, mask, share)
        weights = attention_weights(q, k, mask)  # [model, batch, head, step, step]
        drawn = torch.zeros_like(weights)
        for model, (generator, steps) in enumerate(self._drawn):
            _draw(drawn[model, :, :, :steps, :steps], share, generator)
        return (weights * drawn) @ v


EVALUATION = Dropout()


def _draw(target: Tensor, share: float, generator: torch.Generator) -> None:
    """Fill `target` with dropout's noise: 0 for a share, else 1 / (1 - share)."""
    target.copy_(noise(target.shape, share, generator))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, share: float) -> Tensor:
    """torch's attention over [model, batch, head, step, size], models and batch as one axis for its
    fused kernels."""
    allowed = None if mask is None else mask.flatten(0, 1)
    y = attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), allowed, share)
    return y.view(*q.shape[:2], *y.shape[1:])


class Stack:
    """The function that S models of `like`'s shape compute together; `parameters` by name, each
    [model, …]."""

    def __init__(self, like: Estimator, parameters: dict[str, Tensor]) -> None:
        self._like, self._parameters = like, parameters
        self._positions = torch.empty(0)

    def __call__(self, x: Tensor, mask: Tensor | None, dropout: Dropout = EVALUATION) -> Tensor:
        """[model, batch, step, feature] to [model, batch, step, target]."""
        return self._heads(self._context(x, mask, dropout), dropout)

    def _context(self, x: Tensor, mask: Tensor | None, dropout: Dropout) -> Tensor:
        context: Any = self._like.context
        if isinstance(context, Early):
            y = self._linear("context.affine", x)
            return self._encoder("context.encoder", context.encoder, y, mask, dropout)
        # an encoder for each modality
        outputs: list[Tensor] = []
        present = context.present(x, mask)
        for index, part in enumerate(torch.split(x, context.dims, dim=-1)):
            y = self._linear(f"context.affines.{index}", part)
            outputs.append(self._branch(index, y, mask, present[index], dropout))
        if isinstance(context, Gated):
            logits = self._linear("context.gate", torch.cat(outputs, dim=-1))
            return weighed_by_gates(outputs, logits, present)
        return torch.cat(outputs, dim=-1)

    def _branch(
        self, index: int, y: Tensor, mask: Tensor | None, steps: Tensor | None, dropout: Dropout
    ) -> Tensor:
        """A modality's output by its encoder, of the steps that have it (None: all), as
        models/fusions.py computes it for a single model."""
        context: Any = self._like.context

        def encode(z: Tensor, real: Tensor | None) -> Tensor:
            name, encoder = f"context.encoders.{index}", context.encoders[index]
            return self._encoder(name, encoder, z, real, dropout)

        if steps is None:
            return encode(y, mask)
        whole = bool(steps.all()) if mask is None else bool((steps == mask).all())
        y = encode(y, mask) if whole else encoded_together(encode, y, steps)
        absent = self._parameters[f"context.absent.{index}"]
        return torch.where(steps[..., None], y, absent[:, None, None].to(y.dtype))

    def _heads(self, x: Tensor, dropout: Dropout) -> Tensor:
        heads: Any = self._like.heads
        if not isinstance(heads, Separate):
            return self._sequence("heads.both", heads.both, x, dropout)
        outputs = []
        for part in heads.parts:
            layers: Any = heads.get_submodule(part)
            outputs.append(self._sequence(f"heads.{part}", layers, x, dropout))
        return torch.cat(outputs, dim=-1)

    def _sequence(self, name: str, layers: nn.Sequential, x: Tensor, dropout: Dropout) -> Tensor:
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.Linear):
                x = self._linear(f"{name}.{index}", x)
            elif isinstance(layer, nn.Dropout):
                x = dropout.units(x, layer.p)
            else:
                x = layer(x)  # ReLU, Tanh
        return x

    def _encoder(
        self, name: str, encoder: nn.Module, x: Tensor, mask: Tensor | None, dropout: Dropout
    ) -> Tensor:
        if isinstance(encoder, Transformer):
            return self._transformer(name, encoder, x, mask, dropout)
        if isinstance(encoder, Tcn):
            return self._tcn(name, encoder, x, mask, dropout)
        if isinstance(encoder, Mlp):
            return self._sequence(f"{name}.layers", encoder.layers, x, dropout)
        raise TypeError(
            f"only transformer, tcn and mlp can be stacked, not {type(encoder).__name__}"
        )

    def _tcn(
        self, name: str, encoder: Tcn, x: Tensor, mask: Tensor | None, dropout: Dropout
    ) -> Tensor:
        norms: Any = encoder.norms
        for level, norm in enumerate(norms):
            y = self._linear(f"{name}.linears.{level}", encoder.taps(x, mask, level))
            y = dropout.units(functional.relu(y), encoder.dropout.p)
            x = self._norm(f"{name}.norms.{level}", x + y, norm.eps)
        return x

    def _transformer(
        self, name: str, encoder: Transformer, x: Tensor, mask: Tensor | None, dropout: Dropout
    ) -> Tensor:
        if len(self._positions) < x.shape[2]:
            self._positions = sinusoids(x.shape[2], x.shape[3]).to(x.device)
        x = x + self._positions[: x.shape[2]]
        allowed = None if mask is None else mask[:, :, None, None, :]
        for index, layer in enumerate(encoder.layers.layers):
            x = self._layer(f"{name}.layers.layers.{index}", layer, x, allowed, dropout)
        return x

    def _layer(
        self, name: str, layer: Any, x: Tensor, allowed: Tensor | None, dropout: Dropout
    ) -> Tensor:
        """torch's TransformerEncoderLayer as the encoders build it: the norm behind each block,
        ReLU."""
        share = float(layer.dropout.p)
        # attention: one product makes queries, keys and values
        mixed = self._affine(f"{name}.self_attn.in_proj_", x)  # [model, batch, step, 3 * width]
        by_head = mixed.view(*x.shape[:3], 3, layer.self_attn.num_heads, -1)
        q, k, v = by_head.permute(3, 0, 1, 4, 2, 5)  # each [model, batch, head, step, size]
        y = dropout.attention(q, k, v, allowed, share)
        y = self._linear(f"{name}.self_attn.out_proj", y.transpose(2, 3).flatten(3))
        y = dropout.units(y, share)
        x = self._norm(f"{name}.norm1", x + y, layer.norm1.eps)
        # feed-forward
        y = functional.relu(self._linear(f"{name}.linear1", x))
        y = self._linear(f"{name}.linear2", dropout.units(y, share))
        return self._norm(f"{name}.norm2", x + dropout.units(y, share), layer.norm2.eps)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return self._affine(f"{name}.", x)

    def _affine(self, prefix: str, x: Tensor) -> Tensor:
        weight, bias = self._parameters[f"{prefix}weight"], self._parameters[f"{prefix}bias"]
        y = torch.baddbmm(bias[:, None], x.flatten(1, 2), weight.mT)  # [model, batch * step, out]
        return y.view(*x.shape[:3], -1)

    def _norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        weight, bias = self._parameters[f"{name}.weight"], self._parameters[f"{name}.bias"]
        y = functional.layer_norm(x, x.shape[-1:], eps=eps)
        return y * weight[:, None, None] + bias[:, None, None]

"""Fusions: from the columns of all modalities to one output per step (paper 3.2.3).

Conventions: the input [batch, step, feature] holds the columns of one modality after another, mask
[batch, step] is True where a step is real, the output is [batch, step, size] and has no meaning at
masked steps. A fusion's states are one encoder state per encoder. `dims` are the columns of each
modality, `width` the encoder's input.

A modality is missing at a step where none of its feature sets has a value. `share_columns` tells
it: for each modality the columns (counted within its own) that hold the share of each feature
set's values that are there; empty where the modality is always there. The fusions with an encoder
for each modality leave a missing one out: its encoder sees only the steps that have it, one behind
the other, so that neither its state nor its attention learns of the others, and at a missing step
a learnt vector stands in for its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from va_search.models.encoders import State
from va_search.models.estimator import States

NewEncoder = Callable[[], Any]  # a module with a `size`


class Early(nn.Module):
    """Formula 1 of the paper: all columns through one linear layer, then one encoder."""

    def __init__(self, dims: Sequence[int], width: int, new_encoder: NewEncoder) -> None:
        super().__init__()
        self.affine = nn.Linear(sum(dims), width)
        self.encoder = new_encoder()
        self.size = self.encoder.size

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        y, state = self.encoder(self.affine(x), mask, None if states is None else states[0])
        return y, (state,)


class Late(nn.Module):
    """Formula 2: per modality a linear layer and an encoder of its own; outputs side by side."""

    def __init__(
        self,
        dims: Sequence[int],
        width: int,
        new_encoder: NewEncoder,
        *,
        share_columns: Sequence[Sequence[int]] = (),
        carries_state: bool = False,
    ) -> None:
        super().__init__()
        self.dims = list(dims)
        self.share_columns = [list(columns) for columns in share_columns] or [[] for _ in dims]
        self.carries_state = carries_state
        self.affines = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        encoders = [new_encoder() for _ in dims]
        self.encoders = nn.ModuleList(encoders)
        self.encoder_size = encoders[0].size
        self.size = sum(encoder.size for encoder in encoders)
        # what stands in for the output of a modality that is missing
        self.absent = nn.ParameterDict()
        for index, columns in enumerate(self.share_columns):
            if columns:
                self.absent[str(index)] = nn.Parameter(torch.zeros(self.encoder_size))

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        present = self.present(x, mask)
        outputs, states = self._encoded(x, mask, present, states)
        return self.fused(outputs, present), states

    def fused(self, outputs: list[Tensor], present: list[Tensor | None]) -> Tensor:
        """[…, step, size] from each modality's output [..., step, encoder's size]; `present` as
        `self.present` returns it."""
        return torch.cat(outputs, dim=-1)

    def present(self, x: Tensor, mask: Tensor | None) -> list[Tensor | None]:
        """For each modality [..., step], True where a step is real and has it; None where it can't
        be missing. `mask` None: all steps are real."""
        present: list[Tensor | None] = []
        for part, columns in zip(
            torch.split(x, self.dims, dim=-1), self.share_columns, strict=True
        ):
            if not columns:
                present.append(None)
                continue
            steps = (part[..., columns] > 0).any(dim=-1)
            present.append(steps if mask is None else steps & mask)
        return present

    def _encoded(
        self, x: Tensor, mask: Tensor, present: list[Tensor | None], states: States | None
    ) -> tuple[list[Tensor], States]:
        """Each modality's output, and the states to carry on with."""
        outputs: list[Tensor] = []
        carried: list[State] = []
        for index, part in enumerate(torch.split(x, self.dims, dim=-1)):
            # an encoder that has seen no step yet has an empty state: from zero
            state = None if states is None else states[index] or None
            y, state = self._branch(index, self.affines[index](part), mask, present[index], state)
            outputs.append(y)
            carried.append(state)
        return outputs, tuple(carried)

    def _branch(
        self, index: int, y: Tensor, mask: Tensor, steps: Tensor | None, state: State | None
    ) -> tuple[Tensor, State]:
        """A modality's output by its encoder, of the `steps` that have it (None: all), and the
        encoder's state."""
        encoder = self.encoders[index]

        def encode(z: Tensor, real: Tensor) -> Tensor:
            output: Tensor = encoder(z, real, None)[0]
            return output

        new_state: State = ()
        if steps is None or bool((steps == mask).all()):
            y, new_state = encoder(y, mask, state)
        elif self.carries_state:
            y, new_state = encoded_in_turn(encoder, y, steps, state)
        else:
            y = encoded_together(encode, y, steps)
        if steps is not None:
            y = torch.where(steps[..., None], y, self.absent[str(index)].to(y.dtype))
        return y, new_state


class Gated(Late):
    """A gate per modality and step, as Arevalo et al. 2017 (gated multimodal units), with a softmax
    over the modalities: outputs are added in proportion to their gates, which depend on all
    outputs. A missing modality has gate 0; where all are missing the output is zero."""

    def __init__(
        self,
        dims: Sequence[int],
        width: int,
        new_encoder: NewEncoder,
        *,
        share_columns: Sequence[Sequence[int]] = (),
        carries_state: bool = False,
    ) -> None:
        super().__init__(
            dims, width, new_encoder, share_columns=share_columns, carries_state=carries_state
        )
        self.gate = nn.Linear(self.size, len(dims))
        self.size = self.encoder_size

    def fused(self, outputs: list[Tensor], present: list[Tensor | None]) -> Tensor:
        """See `Late`."""
        return weighed_by_gates(outputs, self.gate(torch.cat(outputs, dim=-1)), present)


class CrossAttention(Late):
    """Each modality's steps attend to the other modalities' steps of the segment, as in joint
    cross-attention (Praveen et al. 2022); `recursions` times with the same weights (recursive joint
    cross-attention, Praveen and Alam 2024). Outputs side by side.

    Attention is added to what attends and normalised. Missing steps are attended by none, and
    attend to none; where nothing else is there, attention is to a zero."""

    def __init__(
        self,
        dims: Sequence[int],
        width: int,
        new_encoder: NewEncoder,
        *,
        recursions: int,
        share_columns: Sequence[Sequence[int]] = (),
        carries_state: bool = False,
    ) -> None:
        super().__init__(
            dims, width, new_encoder, share_columns=share_columns, carries_state=carries_state
        )
        size = self.encoder_size
        self.recursions = recursions
        self.in_projections = nn.ModuleList(nn.Linear(size, 3 * size) for _ in dims)
        self.out_projections = nn.ModuleList(nn.Linear(size, size) for _ in dims)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in dims)

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        present = self.present(x, mask)
        outputs, states = self._encoded(x, mask, present, states)
        steps = [mask if own is None else own for own in present]
        for _ in range(self.recursions):
            outputs = self._attended(outputs, steps)
        return torch.cat(outputs, dim=-1), states

    def _attended(self, outputs: list[Tensor], steps: list[Tensor]) -> list[Tensor]:
        """Each modality's output [batch, step, size] after attending to the others' once; `steps`
        [batch, step] True where it has a step."""
        projected = [
            project(y).chunk(3, dim=-1)
            for project, y in zip(self.in_projections, outputs, strict=True)
        ]
        attended: list[Tensor] = []
        for index, y in enumerate(outputs):
            sources = [source for source in range(len(outputs)) if source != index]
            # something to attend to where no other modality has a step
            nothing = torch.zeros_like(projected[index][0][:, :1])
            keys = torch.cat([nothing, *(projected[source][1] for source in sources)], dim=1)
            values = torch.cat([nothing, *(projected[source][2] for source in sources)], dim=1)
            always = torch.ones_like(steps[index][:, :1])
            allowed = torch.cat([always, *(steps[source] for source in sources)], dim=1)
            z = functional.scaled_dot_product_attention(
                projected[index][0], keys, values, attn_mask=allowed[:, None, :]
            )
            new = self.norms[index](y + self.out_projections[index](z))
            attended.append(torch.where(steps[index][..., None], new, y.to(new.dtype)))
        return attended


def weighed_by_gates(outputs: list[Tensor], logits: Tensor, present: list[Tensor | None]) -> Tensor:
    """[..., step, size]: the outputs [..., step, size] of the modalities added, each times its
    share in the softmax of `logits` [..., step, modality]; those that are not present count 0."""
    allowed = torch.ones_like(logits, dtype=torch.bool)
    for modality, steps in enumerate(present):
        if steps is not None:
            allowed[..., modality] = steps
    lowest = torch.finfo(logits.dtype).min
    gates = logits.masked_fill(~allowed, lowest).softmax(dim=-1) * allowed
    return (torch.stack(outputs, dim=-1) * gates[..., None, :]).sum(dim=-1)


def encoded_together(
    encode: Callable[[Tensor, Tensor], Tensor], y: Tensor, present: Tensor
) -> Tensor:
    """[..., step, size] by an encoder without state of y [..., step, width] that sees only the
    steps that are `present` [..., step], one behind the other; anything at the others.

    `encode` gets the steps and a mask of real ones. A row without any is encoded as if it had one.
    """
    squeezed = present_first(y, present)
    count = present.sum(dim=-1, keepdim=True).clamp(min=1)
    real = torch.arange(y.shape[-2], device=y.device) < count
    return back_in_place(encode(squeezed, real), present)


def encoded_in_turn(
    encoder: Any, y: Tensor, present: Tensor, state: State | None
) -> tuple[Tensor, State]:
    """As `encoded_together`, by an encoder that carries a state, of y [batch, step, width]; and its
    state behind each row's last step that is present: without one, what it was.

    Rows of equally many steps are encoded together, since behind padding a state is spoilt."""
    squeezed = present_first(y, present)
    count = present.sum(dim=1)
    output: Tensor | None = None
    carried = state
    for steps in torch.unique(count).tolist():
        if steps == 0:
            continue
        rows = (count == steps).nonzero()[:, 0]
        own = None if state is None else tuple(part[:, rows] for part in state)
        real = torch.ones(len(rows), steps, dtype=torch.bool, device=y.device)
        z, behind = encoder(squeezed[rows, :steps], real, own)
        if output is None:
            output = z.new_zeros(*y.shape[:2], z.shape[2])
        if carried is None:
            carried = tuple(
                part.new_zeros(part.shape[0], len(y), *part.shape[2:]) for part in behind
            )
        output = output.index_put((rows[:, None], torch.arange(steps, device=y.device)), z)
        carried = tuple(
            part.index_copy(1, rows, new.to(part.dtype))
            for part, new in zip(carried, behind, strict=True)
        )
    if output is None:  # nobody has a step: from zero another time, or as it was
        return y.new_zeros(*y.shape[:2], encoder.size), state or ()
    return back_in_place(output, present), carried or ()


def present_first(y: Tensor, present: Tensor) -> Tensor:
    """y [..., step, width] with the steps that are present in front, in their order."""
    order = (~present).to(torch.uint8).argsort(dim=-1, stable=True)
    return y.gather(-2, order[..., None].expand_as(y))


def back_in_place(z: Tensor, present: Tensor) -> Tensor:
    """[..., step, size] with what `present_first` put in front where it came from."""
    position = (present.cumsum(dim=-1) - 1).clamp(min=0)
    return z.gather(-2, position[..., None].expand(*position.shape, z.shape[-1]))

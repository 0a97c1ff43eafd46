"""The whole model: fusion with its encoders, then the heads.

Conventions: `forward(x [batch, step, feature], mask [batch, step], states) -> (prediction [batch,
step, 2], states)`, predictions in (-1, 1); what stands at masked steps has no meaning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from va_search.models.encoders import Sizes
from va_search.models.fusion import FUSIONS, States
from va_search.models.heads import HEADS


class Estimator(nn.Module):
    """Frame-level valence and arousal from features; `dims` are the columns of each modality, in
    order."""

    def __init__(
        self,
        dims: Sequence[int],
        sizes: Sizes,
        *,
        encoder: str = "transformer",
        fusion: str = "early",
        heads: str = "separate",
        head_sizes: Sequence[int] = (512, 256),
        head_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.context = FUSIONS[fusion](dims, encoder, sizes)
        self.heads = HEADS[heads](self.context.size, head_sizes, head_dropout)

    def forward(
        self, x: Tensor, mask: Tensor, states: States | None = None
    ) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, 2], and the states to carry on with."""
        y, states = self.context(x, mask, states)
        return self.heads(y), states


def carry(states: States, rows: int) -> States:
    """States for the next segment: cut off from the past's gradient, only the first `rows` rows."""
    return tuple(tuple(part[:, :rows].detach().contiguous() for part in state) for state in states)

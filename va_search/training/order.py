"""In which order segments go through a model, in batches.

Conventions: segments are told by their index into a (segments, 2) table of ranges. A chain is the
segments of one gap-free stretch in order, `first` to `first + count - 1`. A batch that is not
`fresh` continues the one before: its rows are the first rows of that batch, each one segment on, so
that an encoder's state can be carried by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Indexes = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Segments (rows,) to be computed together; `fresh` when no state is carried into them."""

    segments: Indexes
    fresh: bool = True


@dataclass(frozen=True)
class Chains:
    """Segments that follow one another: (chains,) first and (chains,) count."""

    first: Indexes
    count: Indexes

    def batches_in(self, batch_size: int) -> int:
        """Batches of one pass side by side; the same for every shuffle."""
        return int(np.sort(self.count)[::-1][::batch_size].sum())


def independent(
    segments: Indexes, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """Segments in batches, shuffled when a generator is given."""
    if generator is not None:
        segments = segments[torch.randperm(len(segments), generator=generator).numpy()]
    for at in range(0, len(segments), batch_size):
        yield Batch(segments[at : at + batch_size])


def side_by_side(
    chains: Chains, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """`batch_size` chains at a time, segment after segment; a row ends where its chain does.

    Chains of equal count are put together so that few rows end early. With a generator, which
    chains of equal count meet and the order of the groups are drawn anew."""
    n = len(chains.count)
    drawn = np.arange(n) if generator is None else torch.randperm(n, generator=generator).numpy()
    longest_first = drawn[np.argsort(-chains.count[drawn], kind="stable")]
    groups = [longest_first[at : at + batch_size] for at in range(0, n, batch_size)]
    if generator is not None:
        groups = [
            groups[index] for index in torch.randperm(len(groups), generator=generator).tolist()
        ]
    for group in groups:
        first, count = chains.first[group], chains.count[group]
        for step in range(int(count[0])):
            yield Batch(first[: int((count > step).sum())] + step, fresh=step == 0)

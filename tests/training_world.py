"""A small store with something to learn, for tests of training and of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.targets import affect

LABEL_RANGE = (0.5, 9.5)
SPLITS = ["train"] * 6 + ["validation"] * 3 + ["test"] * 2
FRAMES = [97, 120, 83, 131, 64, 110, 90, 71, 113, 55, 101]


def write_store(
    folder: Path,
    *,
    dtype: str = "float32",
    change: Callable[[int, Part], Part] | None = None,
    rated: bool = False,
) -> Store:
    """Eleven recordings of uneven length; `face` (visual) follows valence, `voice` (audio) arousal,
    with noise.

    The first and last tenth of every recording is unlabelled, the fourth recording has a gap, test
    has no labels. `rated`: the store keeps the `ratings` that `change` gives its parts."""
    sets = {"face": ("visual", ("f0", "f1", "f2")), "voice": ("audio", ("v0", "v1"))}
    sources = [
        Source(
            f"r{i:02d}",
            f"s{i // 2}",
            f"r{i:02d}",
            split,
            i % 3 if split != "test" else None,
            25.0,
            (),
        )
        for i, split in enumerate(SPLITS)
    ]
    description = Description("tiny", affect(*LABEL_RANGE), sets, dtype=dtype, rated=rated)
    draft = Draft(folder, description, sources)
    for index, frames in enumerate(FRAMES):
        part = _part(index, frames, labelled=SPLITS[index] != "test")
        draft.add(index, change(index, part) if change else part)
    return draft.finish()


def _part(index: int, frames: int, *, labelled: bool) -> Part:
    rng = np.random.default_rng(index)
    walk = np.cumsum(rng.normal(size=(frames, 2)), axis=0)
    truth = 5.0 + 3.0 * np.tanh(
        (walk - walk.mean(axis=0)) / walk.std(axis=0)
    )  # (frames, 2) on the source's scale
    face = truth[:, :1] * [1.0, -0.5, 0.0] + rng.normal(size=(frames, 3)) + 20
    voice = truth[:, 1:] * [0.1, 0.0] + rng.normal(size=(frames, 2)) * 0.1
    annotations = truth.copy()
    annotations[: frames // 10] = annotations[-(frames // 10) :] = np.nan
    if not labelled:
        annotations[:] = np.nan
    return Part({"face": face, "voice": voice}, annotations, gaps=(50,) if index == 3 else ())

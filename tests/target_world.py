"""Stores of any targets for tests: features that follow them, some frames with only some labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.targets import Target

ONE = (Target("engagement", 0.0, 100.0),)
THREE = (
    Target("valence", -1.0, 1.0),
    Target("arousal", 0.0, 1000.0),
    Target("stress", 1.0, 9.0),
)
SPLITS = ("train",) * 4 + ("validation",) * 3 + ("test",) * 2


def make_target_store(
    folder: Path, targets: Sequence[Target] = THREE, *, frames: int = 60
) -> Store:
    """Nine recordings of one person each; `face` has two columns, a noisy copy of each target's
    course and its slope comes in `voice`.

    Of each recording the first 5 frames have no label at all, and target number k has none in frames
    10 (k + 1) to 10 (k + 1) + 4: there a frame has only some of them. Test has no labels."""
    targets = tuple(targets)
    sets = {
        "face": ("visual", tuple(f"f{number}" for number in range(len(targets)))),
        "voice": ("audio", tuple(f"v{number}" for number in range(len(targets)))),
    }
    sources = []
    for number, split in enumerate(SPLITS):
        fold = None if split == "test" else number % 2
        sources.append(Source(f"r{number}", f"s{number}", f"r{number}", split, fold, 10.0, ()))
    draft = Draft(folder, Description("targets", targets, sets), sources)
    for number, split in enumerate(SPLITS):
        draft.add(number, _part(number, targets, frames, labelled=split != "test"))
    return draft.finish()


def _part(number: int, targets: tuple[Target, ...], frames: int, *, labelled: bool) -> Part:
    random = np.random.default_rng(number)
    time = np.arange(frames) / 10.0
    phases = random.uniform(0, 6, len(targets))
    unit = 0.9 * np.sin(time[:, None] * (0.5 + 0.3 * np.arange(len(targets))) + phases)
    face = (unit + random.normal(0, 0.2, unit.shape)).astype(np.float32)
    voice = (np.gradient(unit, axis=0) * 5 + random.normal(0, 0.2, unit.shape)).astype(np.float32)
    low = np.array([target.low for target in targets])
    high = np.array([target.high for target in targets])
    labels = low + (unit + 1) / 2 * (high - low)
    labels[:5] = np.nan
    for column in range(len(targets)):
        labels[10 * (column + 1) : 10 * (column + 1) + 5, column] = np.nan
    return Part({"face": face, "voice": voice}, labels if labelled else None)

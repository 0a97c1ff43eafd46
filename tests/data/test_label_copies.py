"""Copies of labels found in float32 chunks are those that float64 finds, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from va_search.data.copies import FrameHashes
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.label_copies import COPY, LabelCopies
from va_search.data.medians import widened
from va_search.data.store import Store
from va_search.targets import affect

COLUMNS = 12
Floats = NDArray[np.float64]


def store_of(folder: Path, random: np.random.Generator, dtype: str) -> Store:
    """Recordings with features of all kinds, some of which are nearly or exactly their labels."""
    lengths = [int(random.choice([12, 60, 300])) for _ in range(5)]
    sources = [
        Source(f"r{i}", f"s{i}", f"v{i}", "train", None, 25.0, ()) for i in range(len(lengths))
    ]
    draft = Draft(folder, Description("d", affect(-1, 1), {"x": ("visual", ())}, dtype), sources)
    kinds = random.integers(0, 8, COLUMNS)
    for index, frames in enumerate(lengths):
        labels = random.uniform(-1, 1, (frames, 2))
        x = random.normal(size=(frames, COLUMNS))
        for column, kind in enumerate(kinds.tolist()):
            label = labels[:, column % 2]
            if kind == 0:
                x[:, column] = 3 * label + 1
            elif kind == 1:
                x[:, column] = (index + 1) * label + 10 * index  # in units of each recording
            elif kind == 2:
                x[:, column] = label + random.normal(0, 0.02, frames)  # r is about .9994
            elif kind == 3:
                x[:, column] = label + random.normal(0, 0.006, frames)  # about .99995
            elif kind == 4:
                x[:, column] = 4.0  # constant
            elif kind == 5:
                x[:, column] = label if index else 0.5  # still in one recording
            elif kind == 6:
                x[:, column] = label + 40 * (random.random(frames) < 0.01)  # outliers
        labels[random.random(frames) < random.choice([0, 0.3])] = np.nan
        draft.add(index, Part({"x": x}, labels))
    return draft.finish()


def obvious_copies(store: Store) -> set[tuple[int, int]]:
    """(column, target) by np.corrcoef in float64, over all recordings and within each."""
    values, labels = store.features("x").astype(np.float64), store.annotations.astype(np.float64)

    def correlation(x: Floats, y: Floats) -> float:
        known = ~np.isnan(y)
        x, y = x[known], y[known]
        if len(x) < 10 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return float("nan")
        return float(abs(np.corrcoef(x, y)[0, 1]))

    copies = set()
    for column in range(COLUMNS):
        for target in range(2):
            pooled = correlation(values[:, column], labels[:, target])
            spans = [recording.span for recording in store.recordings]
            each = [correlation(values[span, column], labels[span, target]) for span in spans]
            in_each = not np.isnan(pooled) and np.nanmin([1.0, *each]) >= COPY
            if pooled >= COPY or in_each:
                copies.add((column, target))
    return copies


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("seed", range(25))
def test_copies_are_those_of_float64(tmp_path: Path, seed: int, dtype: str) -> None:
    store = store_of(tmp_path / "store", np.random.default_rng(seed), dtype)
    values = store.features("x")
    copies = LabelCopies(store, np.median(values.astype(np.float64), axis=0))
    for recording in store.recordings:
        for start in range(recording.start, recording.stop, 50):
            block = values[start : min(start + 50, recording.stop)]
            copies.add(start, widened(block))
        copies.end_recording()
    copies.confirm(values)
    found = {(column, store.target_names.index(label)) for column, label, _ in copies.columns()}
    assert found == obvious_copies(store)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 6, 8, 33])
def test_frames_have_equal_hashes_where_all_values_are_equal(dim: int, dtype: str) -> None:
    random = np.random.default_rng(dim)
    values = random.normal(size=(3000, dim)).astype(dtype)
    values[1000:1500] = values[:500]
    values[2000:] = values[1999]
    # One column alone moves in these, by a bit or more.
    for column in range(dim):
        values[2001 + column, column] = random.normal()
    hashes = FrameHashes(len(values), "face", dim, dtype)
    for start in range(0, len(values), 700):
        hashes.add(start, values[start : start + 700])
    frames = [row.tobytes() for row in values]
    for other in (values[1000:1500], values[:500]):
        assert len({row.tobytes() for row in other}) == len(np.unique(hashes.values[1000:1500]))
    assert len(set(frames)) == len(np.unique(hashes.values))
    assert (hashes.values[1000:1500] == hashes.values[:500]).all()


def test_the_same_values_in_another_set_have_other_hashes() -> None:
    values = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float16)
    hashes = []
    for name in ("face", "voice"):
        own = FrameHashes(10, name, 4, "float16")
        own.add(0, values)
        hashes.append(own.values)
    assert (hashes[0] != hashes[1]).all()

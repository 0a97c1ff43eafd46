"""An excerpt reads a part of a store at its place, and says how much more there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from va_search.data.excerpt import excerpt
from va_search.data.simulate import simulate


def test_an_excerpt_has_both_sides_and_the_same_values(tmp_path: Path) -> None:
    store = simulate(tmp_path / "store", size="tiny")
    assert excerpt(store, "official", frames=10**6, frame_step=1) == (store, 1.0)
    part, times = excerpt(store, "official", frames=60, frame_step=2)
    fold, whole = part.fold("official"), store.fold("official")
    assert fold.train and fold.validation
    read = sum(recording.frames for recording in (*fold.train, *fold.validation))
    total = sum(recording.frames for recording in (*whole.train, *whole.validation))
    assert times == total / read > 1
    by_name = {recording.name: recording for recording in store.recordings}
    for recording in part.recordings:
        original = by_name[recording.name]
        assert recording.start == original.start
        assert 16 <= recording.frames <= original.frames
        assert all(gap < recording.frames for gap in recording.gaps)
        for name in store.feature_sets:
            expected = store.features(name)[original.span][: recording.frames]
            assert np.array_equal(part.features(name)[recording.span], expected, equal_nan=True)

"""Every value of `data import streams` lies where a slow reference puts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streams_world import World, random_world, reference_frame

from va_search.data import resampling
from va_search.data.store import Store
from va_search.data.streams import import_streams


@pytest.mark.parametrize("seed", range(40))
def test_every_value_of_a_random_world_lies_where_a_slow_reference_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(resampling, "BLOCK", 1 + 10 * seed)
    world = random_world(tmp_path / "source", seed)

    store, report = import_streams(world.folder, tmp_path / "store", workers=1)

    assert [target.name for target in store.targets] == list(world.targets)
    assert [target.range for target in store.targets] == list(world.targets.values())
    for recording in store.recordings:
        frames = world.frames(recording.name)
        assert recording.frames == len(frames)
        assert list(recording.gaps) == world.gaps(recording.name)
        _compare_labels(store, world, recording.name, frames)
        for stream in world.streams[recording.name]:
            expected = []
            for part, begin, end in frames:
                expected.append(reference_frame(stream, part, begin, end))
            values = store.features(stream.name)[recording.start : recording.stop]
            missing = 0
            # Seconds since 1970 have 7 digits behind the point.
            tolerance = 1e-4 if stream.clock == "datetime" else 2e-5
            for index, own_values in enumerate(expected):
                if own_values is None:
                    assert np.isnan(values[index]).all()
                    missing += 1
                else:
                    np.testing.assert_allclose(values[index], own_values, atol=tolerance)
            facts = report.recordings[recording.name].streams[stream.name]
            assert facts.missing_frames == missing


def _compare_labels(
    store: Store, world: World, recording: str, frames: list[tuple[int, float, float]]
) -> None:
    """Labels lie on the frames of their own times, or, at a named rate, are the nearest ones."""
    span = next(entry.span for entry in store.recordings if entry.name == recording)
    labels = world.labels[recording]
    for index, (part, begin, end) in enumerate(frames):
        if world.rate is None:
            rows = [row for row in labels.rows if (row.part, row.time) == (part, begin)]
            expected = rows[0].values
        else:
            labels.pool = "nearest"
            expected = reference_frame(labels, part, begin, end)
        found = store.annotations[span][index]
        if expected is None:
            assert np.isnan(found).all()
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5)

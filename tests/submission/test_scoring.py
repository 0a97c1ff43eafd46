"""Test labels: read whole and right or refused with every problem; the CCC is pooled over what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folds_world import RANGE, make_store

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.submission.scoring import read_labels, read_submission, scores_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store")


def write_labels(folder: Path, store: Store, seed: int = 0) -> np.ndarray:
    """Labels of the test recordings; the first five frames of each have none."""
    folder.mkdir()
    parts = []
    for index, recording in enumerate(store.split("test")):
        values = np.random.default_rng([seed, index]).uniform(*RANGE, size=(recording.frames, 2)).round(4)
        values[:5] = np.nan
        cells = [",".join("" if np.isnan(x) else f"{x:.4f}" for x in row) for row in values]
        (folder / f"{recording.name}.csv").write_text("\n".join(["valence,arousal", *cells]) + "\n")
        parts.append(values)
    return np.concatenate(parts)


def test_labels_and_submissions_are_read_in_the_stores_order(store: Store, tmp_path: Path) -> None:
    expected = write_labels(tmp_path / "labels", store)
    (tmp_path / "labels" / "another.csv").write_text("not looked at\n")
    labels = read_labels(tmp_path / "labels", store)
    np.testing.assert_array_equal(labels, expected)
    assert np.isnan(labels).any(axis=1).sum() == 10
    submitted = write_labels(tmp_path / "submission", store, seed=1)
    values = np.nan_to_num(submitted, nan=4.0)
    scores = scores_of(values, labels)
    pair = [ccc(values[:, index], expected[:, index]) for index in range(2)]
    assert scores == {"valence": pair[0], "arousal": pair[1], "score": sum(pair) / 2}
    np.testing.assert_array_equal(read_submission(tmp_path / "submission", store), submitted)


def test_every_problem_is_told_at_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    with pytest.raises(InputError, match="no such folder, expected a folder with <recording>"):
        read_labels(folder, store)
    write_labels(folder, store)
    lines = (folder / "x0.csv").read_text().splitlines()
    (folder / "x0.csv").write_text("\n".join([*lines[:8], "-5,-5", *lines[9:-1]]) + "\n")
    (folder / "x1.csv").unlink()
    with pytest.raises(InputError) as error:
        read_labels(folder, store)
    found = "\n".join(error.value.problems)
    assert f"{folder / 'x0.csv'}: {len(lines) - 2} rows, expected {len(lines) - 1}, one per frame" in found
    assert f"{folder / 'x0.csv'}:9: valence -5 is outside the label range [0.5, 9.5]; leave frames without" in found
    assert "arousal -5" in found and f"{folder / 'x1.csv'}: no such file" in found
    write_labels(tmp_path / "empty", store)
    for file in (tmp_path / "empty").iterdir():
        rows = file.read_text().splitlines()
        file.write_text("\n".join([rows[0], *(["5,"] * (len(rows) - 1))]) + "\n")
    with pytest.raises(InputError, match="no test frame has a label of arousal; nothing can be scored"):
        read_labels(tmp_path / "empty", store)

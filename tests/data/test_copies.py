"""Recordings under two names and features that are labels: found where they are, and nowhere
else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from va_search.data.audit import AuditFinding, check
from va_search.data.copies import WINDOW
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.targets import affect

FRAMES = 60
Floats = NDArray[np.float64]


def store_of(
    to: Path, blocks: list[Floats], labels: list[Floats], splits: list[str], dtype: str = "float32"
) -> Store:
    """A store of one recording a block, columns x0, x1, … cut into two feature sets."""
    width = blocks[0].shape[1]
    names = tuple(f"x{index}" for index in range(width))
    sets = {"face": ("visual", names[: width // 2]), "voice": ("audio", names[width // 2 :])}
    sources = [
        Source(f"r{i}", f"s{i}", f"v{i}", split, None, 25.0, ()) for i, split in enumerate(splits)
    ]
    draft = Draft(to, Description("d", affect(-1, 1), sets, dtype), sources)
    for index, block in enumerate(blocks):
        features = {"face": block[:, : width // 2], "voice": block[:, width // 2 :]}
        draft.add(index, Part(features, labels[index]))
    return draft.finish()


def blocks_and_labels(count: int = 4, seed: int = 0) -> tuple[list[Floats], list[Floats]]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(FRAMES, 4)) for _ in range(count)], [
        random.uniform(-1, 1, (FRAMES, 2)) for _ in range(count)
    ]


SPLITS = ["train", "train", "validation", "test"]


def findings(store: Store) -> list[AuditFinding]:
    return [finding for finding in check(store).findings if finding.level != "note"]


@pytest.mark.parametrize(("second", "level"), [(2, "error"), (1, "warning"), (3, "error")])
def test_the_same_recording_under_two_names(tmp_path: Path, second: int, level: str) -> None:
    blocks, labels = blocks_and_labels()
    blocks[second], labels[second] = blocks[0].copy(), labels[0].copy()
    (finding,) = findings(store_of(tmp_path / "store", blocks, labels, SPLITS))
    assert (finding.level, finding.where) == (level, f"recordings r0 and r{second}")
    assert finding.text.startswith(
        "the same recording under two names: all 60 frames have equal features ("
    )
    assert ("leakage" in finding.text) == (level == "error") and "other labels" not in finding.text


def test_copies_with_other_labels_parts_and_overlaps_are_named(tmp_path: Path) -> None:
    blocks, labels = blocks_and_labels(6)
    blocks[1] = blocks[0].copy()
    blocks[2] = blocks[3][10:50].copy()
    labels[2] = labels[3][10:50].copy()
    blocks[4][:25] = blocks[5][35:]
    splits = ["train", "validation", "train", "train", "train", "test"]
    texts = {
        finding.where: finding.text
        for finding in findings(store_of(tmp_path / "store", blocks, labels, splits))
    }
    assert texts["recordings r0 and r1"].endswith(
        "(in train and validation: leakage), with other labels"
    )
    part = "r2 is a part of r3: its 40 frames are those from frame 10 on (both in train)"
    assert texts["recordings r2 and r3"] == part
    overlap = "about 25 frames have equal features, from frame 0 of r4 and 35 of r5 on (in train and test: leakage)"
    assert texts["recordings r4 and r5"].startswith(overlap)


def test_stills_padding_and_shared_sound_are_no_copies(tmp_path: Path) -> None:
    blocks, labels = blocks_and_labels()
    blocks[0][:30], blocks[2][:30] = 0.0, 0.0  # a dropped sensor
    blocks[1][:, 2:] = blocks[3][:, 2:]  # two persons of one video share its sound
    assert [finding for finding in findings(store_of(tmp_path / "store", blocks, labels, SPLITS)) if
            finding.where.startswith("recordings")] == []  # fmt: skip


@pytest.mark.parametrize("frames", [1, 5])
def test_short_recordings_are_compared_whole(tmp_path: Path, frames: int) -> None:
    random = np.random.default_rng(3)
    blocks = [random.normal(size=(frames, 20)) for _ in range(4)]
    blocks[2] = blocks[1].copy()
    labels = [random.uniform(-1, 1, (frames, 2)) for _ in range(4)]
    errors = [
        one
        for one in findings(store_of(tmp_path / "store", blocks, labels, SPLITS))
        if one.level == "error"
    ]
    assert [finding.where for finding in errors] == ["recordings r1 and r2"]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 999),
    length=st.integers(1, FRAMES),
    levels=st.sampled_from([0, 3, 50]),
    data=st.data(),
)
def test_runs_are_found_as_a_slow_search_finds_them(
    seed: int, length: int, levels: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    blocks = [random.normal(size=(FRAMES, 4)) for _ in range(3)]
    if levels:
        blocks = [random.integers(0, levels, (FRAMES, 4)).astype(float) for _ in range(3)]
    begin, to = (
        data.draw(st.integers(0, FRAMES - length)),
        data.draw(st.integers(0, FRAMES - length)),
    )
    blocks[2][to : to + length] = blocks[0][begin : begin + length]
    labels = [random.uniform(-1, 1, (FRAMES, 2)) for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder) / "store", blocks, labels, ["train", "train", "test"])
        pairs = {
            finding.where for finding in findings(store) if finding.where.startswith("recordings r")
        }
    expected = set()
    for first in range(3):
        for second in range(first + 1, 3):
            if longest_run(blocks[first], blocks[second]) >= WINDOW:
                expected.add(f"recordings r{first} and r{second}")
    assert pairs == expected


def longest_run(one: Floats, two: Floats) -> int:
    """The longest run of equal rows, by comparing every row with every other."""
    alike = (one[:, None, :] == two[None, :, :]).all(axis=2)
    longest = 0
    for distance in range(-FRAMES + 1, FRAMES):
        run = 0
        for equal in np.diagonal(alike, distance):
            run = run + 1 if equal else 0
            longest = max(longest, run)
    return longest


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("factor", "offset"), [(1.0, 0.0), (-250.0, 12.0), (0.001, 5.0), (1.0, 1e7)]
)
def test_a_feature_that_is_a_label_in_other_units_is_named(
    tmp_path: Path, factor: float, offset: float, dtype: str
) -> None:
    if dtype == "float16" and (offset > 100 or abs(factor) < 0.01):
        pytest.skip("float16 does not hold it")
    blocks, labels = blocks_and_labels()
    for block, pair in zip(blocks, labels, strict=True):
        block[:, 3] = pair[:, 1] * factor + offset
    labels[1][::3] = np.nan
    texts = [
        finding.text
        for finding in findings(store_of(tmp_path / "store", blocks, labels, SPLITS, dtype))
    ]
    (text,) = [text for text in texts if "copy" in text]
    assert text.startswith("column x3 is a copy of the label arousal (r = ")


def test_a_label_in_the_units_of_each_recording_is_named_and_a_good_feature_is_not(
    tmp_path: Path,
) -> None:
    blocks, labels = blocks_and_labels()
    random = np.random.default_rng(1)
    for index, (block, pair) in enumerate(zip(blocks, labels, strict=True)):
        block[:, 0] = pair[:, 0] * (index + 1) + 10 * index
        block[:, 1] = pair[:, 0] + random.normal(0, 0.05, FRAMES)  # r is about .995
    found = [
        finding
        for finding in findings(store_of(tmp_path / "store", blocks, labels, SPLITS))
        if "copy" in finding.text
    ]
    assert [(one.level, one.where, one.text.split(":")[0]) for one in found] == [
        (
            "warning",
            "feature set face",
            "column x0 is a copy of the label valence (|r| = 1 within each recording)",
        )
    ]

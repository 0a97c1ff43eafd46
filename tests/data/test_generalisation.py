"""Whom scores generalise to, and the variance between recordings and clips, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.audit import check
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.generalisation import SeenCounts, eta_squared, seen_in, variance_shares
from va_search.data.store import OFFICIAL, Recording, Store
from va_search.targets import Target

LABELS = ([0.0, 2.0], [4.0, 6.0], [0.0, np.nan, 2.0], [4.0, 6.0])
"""Means 1, 5, 1, 5 around 3: squares 20 + 20 in all, 16 + 16 between recordings."""


def store_of(folder: Path, people: str, clips: str, splits: str = "ttvv") -> Store:
    """Four recordings of these people and clips (a letter each, `-` for none) and splits."""
    split_of = {"t": "train", "v": "validation", "x": "test"}
    sources = []
    for number, (person, clip, split) in enumerate(zip(people, clips, splits, strict=True)):
        stimulus = None if clip == "-" else clip
        source = Source(
            f"r{number}", person, f"r{number}", split_of[split], None, 1.0, (), stimulus=stimulus
        )
        sources.append(source)
    description = Description("d", (Target("joy", 0.0, 10.0),), {"f": ("m", ("a",))})
    draft = Draft(folder / "store", description, sources)
    for number, values in enumerate(LABELS):
        labels = np.array(values)[:, None]
        features = np.arange(len(values), dtype=float)[:, None] + number
        draft.add(number, Part({"f": features}, None if splits[number] == "x" else labels))
    return draft.finish()


def test_eta_squared_by_hand() -> None:
    labels = [np.array(values) for values in LABELS]
    assert eta_squared(labels, "abcd") == pytest.approx(32 / 40)
    assert eta_squared(labels, "xyyx") == pytest.approx(0.0)  # both clips have mean 3
    assert eta_squared(labels, "xyxy") == pytest.approx(32 / 40)
    assert eta_squared([np.full(3, 2.0)], "a") is None
    assert eta_squared([np.full(3, np.nan)], "a") is None
    assert eta_squared([], "") is None


def test_shares_are_of_train_and_validation_alone(tmp_path: Path) -> None:
    (shares,) = variance_shares(store_of(tmp_path, "abcd", "xyyx"))
    assert shares.target == "joy" and shares.labelled == 8
    assert shares.between_recordings == pytest.approx(0.8)
    assert shares.between_clips == pytest.approx(0.0)


def test_without_the_clip_of_some_recording_there_is_no_share_of_clips(tmp_path: Path) -> None:
    (shares,) = variance_shares(store_of(tmp_path, "abcd", "xy-x"))
    assert shares.between_clips is None


@pytest.mark.parametrize(
    ("people", "clips", "text"),
    [
        ("abcd", "xyxy", "unseen people, seen clips"),
        ("abcd", "xyuv", "unseen people, unseen clips"),
        ("abcd", "xyxv", "unseen people, partly seen clips (1 of 2 recordings)"),
        ("abab", "xyuv", "seen people, unseen clips"),
        ("abad", "xyxy", "partly seen people (1 of 2 recordings), seen clips"),
        ("abcd", "----", "unseen people"),
        ("abcd", "xyx-", "unseen people"),
        ("abcd", "x-xx", "unseen people"),
    ],
)
def test_whom_a_score_generalises_to(tmp_path: Path, people: str, clips: str, text: str) -> None:
    assert seen_in(store_of(tmp_path, people, clips), [OFFICIAL]).text == text


def test_folds_are_counted_together() -> None:
    def recording(name: str, person: str, clip: str) -> Recording:
        return Recording(name, person, name, "train", None, 0, 1, 1.0, stimulus=clip)

    first, second = recording("r0", "a", "x"), recording("r1", "b", "x")
    third = recording("r2", "b", "y")
    counts = SeenCounts.of([((first,), (second, third)), ((second, third), (first,))])
    assert counts == SeenCounts(
        recordings=3, people=2, of_seen_people=0, of_seen_clips=2, people_of_seen_clips=2
    )
    assert counts.text == "unseen people, partly seen clips (2 of 3 recordings)"


def test_the_audit_says_who_saw_a_clip_of_training(tmp_path: Path) -> None:
    report = check(store_of(tmp_path, "abcc", "xyxu", splits="ttvx"))
    notes = [(finding.where, finding.text) for finding in report.findings if "saw" in finding.text]
    saw = "of 1 person saw clips that training people saw"
    assert notes == [
        ("validation", f"1 {saw} (1 of 1 recording); scores say nothing of unseen clips"),
        ("test", f"0 {saw} (0 of 1 recording); scores are of unseen clips"),
    ]  # fmt: skip
    document = report.to_json()
    assert document["seen"]["validation"]["of_seen_clips"] == 1
    assert document["variance"][0]["between_recordings"] == pytest.approx(
        report.variance[0].between_recordings
    )

"""The audit finds what is wrong, says where, and is silent about what is fine."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_world import edit_and_seal, unseal

from va_search.data import columns as columns_module
from va_search.data.audit import AuditFinding, AuditReport, check
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.data.table import import_table
from va_search.errors import InputError
from va_search.targets import affect

FRAMES = 60
SPLITS = ("train", "train", "validation", "test")


def sources() -> list[Source]:
    return [
        Source(f"r{i}", f"s{i}", f"v{i}", split, None, 20.0, ()) for i, split in enumerate(SPLITS)
    ]


def parts() -> list[Part]:
    made = []
    for index, split in enumerate(SPLITS):
        random = np.random.default_rng(index)
        labels = None if split == "test" else random.uniform(0.5, 9.5, (FRAMES, 2))
        made.append(
            Part(
                {"face": random.normal(size=(FRAMES, 3)), "voice": random.normal(size=(FRAMES, 1))},
                labels,
            )
        )
    return made


def store_of(
    tmp_path: Path, made: Sequence[Part], who: list[Source] | None = None, remarks: Any = ()
) -> Store:
    sets = {"face": ("visual", ("a", "b", "c")), "voice": ("audio", ("v",))}
    draft = Draft(tmp_path / "store", Description("tiny", affect(0.5, 9.5), sets), who or sources())
    draft.remarks = list(remarks)
    for index, part in enumerate(made):
        draft.add(index, part)
    return draft.finish()


def without_missing(store: Store) -> Store:
    """The store as one that says nothing of missing values, as those made before had it."""
    sets = {name: replace(entry, missing=False) for name, entry in store.feature_sets.items()}
    return replace(store, feature_sets=sets)


def found(report: AuditReport, level: str, where: str) -> list[str]:
    return [
        finding.text
        for finding in report.findings
        if (finding.level, finding.where) == (level, where)
    ]


def test_a_clean_store_has_no_findings_and_right_counts(tmp_path: Path) -> None:
    made = parts()
    assert made[0].annotations is not None
    made[0].annotations[:6] = np.nan
    report = check(store_of(tmp_path, made))
    assert [finding.where for finding in report.findings] == ["subjects"]
    assert "recording and subject mean the same here" in report.findings[0].text
    train, validation, test = report.splits
    assert (train.recordings, train.subjects, train.frames, train.labelled) == (2, 2, 120, 114)
    assert (train.shortest, train.median, train.longest) == (60, 60.0, 60)
    assert (validation.labelled, test.labelled) == (60, 0)
    assert train.hours == pytest.approx(120 / 20 / 3600)
    assert report.frame_rates == {20.0: 4}
    valence = report.labels[0]
    assert (valence.split, valence.dimension, valence.labelled) == ("train", "valence", 114)
    assert valence.unlabelled_share == pytest.approx(0.05)
    pair = np.concatenate([made[0].annotations[6:], made[1].annotations])  # type: ignore[list-item]
    assert valence.mean == pytest.approx(pair[:, 0].mean(), abs=1e-5)
    assert sum(valence.histogram) == 114
    assert valence.histogram == tuple(np.histogram(pair[:, 0], 10, (0.5, 9.5))[0])
    assert report.feature_sets[0] == {
        "name": "face",
        "modality": "visual",
        "dim": 3,
        "dtype": "float32",
    }


def test_constant_labels(tmp_path: Path) -> None:
    made = parts()
    assert made[1].annotations is not None
    made[1].annotations[:, 1] = 5.0
    report = check(store_of(tmp_path, made))
    assert found(report, "warning", "recording r1") == [
        "arousal is 5 in all 60 labelled frames; its own CCC is undefined"
    ]
    assert [finding.where for finding in report.findings] == ["recording r1", "subjects"]


def test_unlabelled_recording_outside_test(tmp_path: Path) -> None:
    made = parts()
    made[2] = replace(made[2], annotations=None)
    report = check(store_of(tmp_path, made))
    assert found(report, "warning", "recording r2") == ["in validation, but has no labelled frame"]


def test_labels_outside_the_range(tmp_path: Path) -> None:
    made = parts()
    assert made[0].annotations is not None
    made[0].annotations[5, 0] = 10.0
    (text,) = found(check(store_of(tmp_path, made)), "error", "recording r0")
    assert text.startswith("valence runs from ") and text.endswith(
        "to 10, outside the range [0.5, 9.5]"
    )


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    made = parts()
    made[1].features["face"][3, 1] = np.nan
    made[2].features["face"][:2, 1] = [np.inf, -np.inf]
    report = check(without_missing(store_of(tmp_path, made)))
    text = "column b: 1 NaN and 2 infinite values, the first in recording r1"
    assert found(report, "error", "feature set face") == [text]
    assert [finding.where for finding in report.findings] == ["feature set face", "subjects"]


def test_a_column_of_nan_only(tmp_path: Path) -> None:
    made = parts()
    for part in made:
        part.features["face"][:, 2] = np.nan
    text = "column c: 240 NaN and 0 infinite values, the first in recording r0"
    store = store_of(tmp_path, made)
    assert text in found(check(without_missing(store)), "error", "feature set face")
    # kept as missing values it is no error, but there is nothing in it
    report = check(store)
    assert found(report, "error", "feature set face") == []
    assert "column c has no value in any frame" in found(report, "warning", "feature set face")
    assert found(report, "note", "feature set face") == [
        "240 values are missing (33.3%), in 1 of 3 columns; a model gets 0 there, and a column that "
        "says so"
    ]


def test_frames_of_zeros_are_offered_as_missing(tmp_path: Path) -> None:
    made = parts()
    made[1].features["face"][10:15] = 0.0
    made[1].features["face"][20, :2] = 0.0
    report = check(store_of(tmp_path, made))
    (text,) = found(report, "note", "feature set face")
    assert text.startswith("5 frames (2.1%) are 0 in every column")


def test_constant_column(tmp_path: Path) -> None:
    made = parts()
    for part in made:
        part.features["face"][:, 2] = 7.0
    report = check(store_of(tmp_path, made))
    assert found(report, "warning", "feature set face") == [
        "column c is 7 in every frame of every recording"
    ]


def test_recording_missing_from_a_feature_set(tmp_path: Path) -> None:
    made = parts()
    made[3].features["face"][:] = 0.0
    report = check(store_of(tmp_path, made))
    (text,) = found(report, "warning", "feature set face")
    assert text == "missing or a dead sensor: no value changes in recording r3"


def test_outliers_name_count_column_and_worst(tmp_path: Path) -> None:
    made = parts()
    made[1].features["face"][4, 0] = 60.0
    made[2].features["face"][9, 0] = -700.0
    made[2].features["voice"][9, 0] = 14.0
    report = check(store_of(tmp_path, made))
    (text,) = found(report, "warning", "feature set face")
    assert text.startswith(
        "column a: 2 values beyond 20 MAD, the worst -700 in recording r2 (median "
    )
    values = np.concatenate([part.features["voice"] for part in made])
    mad = np.median(np.abs(values - np.median(values)))
    assert bool(found(report, "warning", "feature set voice")) == bool(
        14.0 - np.median(values) > 20 * mad
    )


def test_a_leaking_subject_is_an_error_and_a_shared_video_a_warning(tmp_path: Path) -> None:
    who = sources()
    who[2] = replace(who[2], subject="s0", video="v1")
    report = check(store_of(tmp_path, parts(), who))
    assert found(report, "error", "subject s0") == [
        "stands in train and validation; leakage: give each subject one split"
    ]
    assert found(report, "warning", "video v1") == [
        "stands in train and validation; its sound and place are in both"
    ]
    assert report.count("error") == 1
    assert report.findings[0].level == "error"


def test_a_subject_in_two_folds_is_a_warning(tmp_path: Path) -> None:
    who = [replace(source, fold=index) for index, source in enumerate(sources())]
    who[1], who[3] = replace(who[1], subject="s0"), replace(who[3], subject="s2")
    report = check(store_of(tmp_path, parts(), who))
    assert found(report, "warning", "subject s0") == [
        "stands in folds 0, 1; leakage as soon as one of them validates"
    ]
    assert (
        found(report, "warning", "subject s2") == []
    )  # r3 is in the test split: its fold is never used


def test_import_warnings_gaps_and_faces_are_told(tmp_path: Path) -> None:
    made = parts()
    made[0] = replace(made[0], gaps=(10, 20), warnings=("odd",))
    made[1] = replace(made[1], valid=np.arange(FRAMES) > 40)
    report = check(store_of(tmp_path, made, remarks=["stranger"]))
    assert found(report, "warning", "import") == ["stranger", "odd"]
    assert found(report, "note", "time") == ["2 gaps in 1 recording, the first in r0"]
    assert found(report, "warning", "recording r1")[0].startswith("68% of its frames have no face")


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("features/face.arrow", "feature set face"),
        ("frames.arrow", "annotations"),
        ("recordings.arrow", "recordings"),
    ],
)
def test_a_store_changed_on_the_disk_is_an_error(tmp_path: Path, file: str, where: str) -> None:
    """By its seal; one from before there were seals by the hashes of its values."""
    store = store_of(tmp_path, parts())
    needle = {
        "features/face.arrow": store.features("face")[17, 1].tobytes(),
        "frames.arrow": store.annotations[70, 1].tobytes(),
        "recordings.arrow": b"s1",
    }[file]
    content = (store.path / file).read_bytes()
    assert needle in content
    other = bytes([needle[0] ^ 1]) + needle[1:]
    (store.path / file).write_bytes(content.replace(needle, other, 1))
    with pytest.raises(InputError, match=f"{file}: changed since it was written"):
        Store.open(store.path)
    unseal(store.path)
    with pytest.raises(InputError) as caught:
        Store.open(store.path)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [where]
    assert "content hash differs" in str(caught.value)
    # Somebody who changes values and seals them is told by the audit.
    edit_and_seal(store.path, lambda document: None)
    report = check(Store.open(store.path))
    assert [finding.where for finding in report.findings if finding.level == "error"] == [where]
    assert "content hash differs" in report.findings[0].text


def test_many_bad_columns_are_summed_up(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(FRAMES, 40))
    values[:, :10] = 1.0
    draft = Draft(
        tmp_path / "wide", Description("wide", affect(-1, 1), {"face": ("visual", ())}), sources()
    )
    for index in range(4):
        draft.add(index, Part({"face": values + 0 * index}, None))
    texts = found(check(draft.finish()), "warning", "feature set face")
    assert texts[-1] == "7 more constant columns" and len(texts) == 4


def test_chunks_change_nothing_and_bound_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, dim = 20_000, 64
    random = np.random.default_rng(1)
    draft = Draft(
        tmp_path / "big", Description("big", affect(-1, 1), {"face": ("visual", ())}), sources()
    )
    for index in range(4):
        values = random.normal(size=(frames, dim)).astype(np.float32)
        values[index * 1000, index] = 100.0
        draft.add(index, Part({"face": values}, None))
    store = draft.finish()
    whole = check(store)
    monkeypatch.setattr(columns_module, "CHUNK_VALUES", 64_000)
    monkeypatch.setattr(columns_module, "SAMPLED_VALUES", 200_000)
    tracemalloc.start()
    chunked = check(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < store.features("face").nbytes / 2  # 20 MB on the disk

    def outliers(report: AuditReport) -> list[str]:
        return [text.split(" (")[0] for text in found(report, "warning", "feature set face")]

    assert sorted(outliers(whole)) == sorted(outliers(chunked)) and len(outliers(whole)) == 4
    assert isinstance(whole.findings[0], AuditFinding)


def test_the_case_recordings(case_folder: Path, tmp_path: Path) -> None:
    report = check(import_table(case_folder, tmp_path / "case"))
    assert report.count("error") == 0
    constant = [
        finding for finding in report.findings if "its own CCC is undefined" in finding.text
    ]
    assert 5 < len(constant) < 60
    (worst,) = found(report, "warning", "feature set respiration")
    assert "column RESP" in worst and "beyond 20 MAD" in worst
    assert [(counts.split, counts.labelled) for counts in report.splits] == [
        ("train", 144 * 601), ("validation", 48 * 601), ("test", 0),
    ]  # fmt: skip

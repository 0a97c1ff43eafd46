"""The audit of a store: what is in it, and what in it would spoil a study.

Conventions: an error must be put right before a search (leaking subjects, a recording under two
names in two splits, values that are not finite, a store changed on the disk); a warning may be
meant (constant labels, outliers); a note is only worth knowing. Every feature value is read once,
in chunks, so memory stays bounded for files larger than it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from va_search.data.columns import ColumnFindings, read_columns
from va_search.data.copies import FrameHashes, copied_recordings
from va_search.data.footage import footage_findings
from va_search.data.problems import exact
from va_search.data.store import SPLITS, Recording, Store
from va_search.errors import counted
from va_search.files import digest, read_json
from va_search.metrics import DIMENSIONS

BINS = 10
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Share of the label range's size by which a label may be outside it, for it was rounded."""
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something found: how bad, where (recording, feature set, split), and what."""

    level: Level
    where: str
    text: str


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split; lengths are frames per recording."""

    split: str
    recordings: int
    subjects: int
    frames: int
    labelled: int
    without_face: int
    gaps: int
    shortest: int
    median: float
    longest: int
    hours: float


@dataclass(frozen=True)
class LabelCounts:
    """Labels of one dimension in one split; `histogram` has 10 equal bins over the label range."""

    split: str
    dimension: str
    labelled: int
    unlabelled_share: float
    lowest: float
    highest: float
    mean: float
    deviation: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """What `check` found; `frame_rates` maps frames per second to recordings, `folds` a fold to its
    labelled recordings."""

    store: str
    name: str
    label_range: tuple[float, float]
    splits: tuple[SplitCounts, ...]
    frame_rates: dict[float, int]
    labels: tuple[LabelCounts, ...]
    feature_sets: tuple[dict[str, object], ...]
    folds: dict[int, int]
    findings: tuple[Finding, ...] = field(default=())

    def count(self, level: Level) -> int:
        """Findings of one level."""
        return sum(finding.level == level for finding in self.findings)


def quiet(feature_set: str) -> None:
    """The progress callback that shows nothing; it is called before each feature set is read."""


def check(store: Store, progress: Callable[[str], None] = quiet) -> Report:
    """Audit the whole store; reads every value once. Findings come errors first."""
    findings = [
        *_store_findings(store),
        *leaks(store),
        *_label_findings(store),
        *_recording_findings(store),
    ]
    findings += _footage_findings(store)
    frames = FrameHashes(np.zeros(store.frames, np.uint64))
    for name in store.feature_sets:
        progress(name)
        findings += _features(store, name, frames)
    findings += _copies(store, frames)
    levels = ("error", "warning", "note")
    findings.sort(key=lambda finding: levels.index(finding.level))
    rates = Counter(recording.frames_per_second for recording in store.recordings)
    return Report(
        store=str(store.path),
        name=store.name,
        label_range=store.label_range,
        splits=split_counts(store),
        frame_rates=dict(sorted(rates.items())),
        labels=tuple(
            _label_counts(store, split, index)
            for split in SPLITS
            if store.split(split)
            for index in (0, 1)
        ),
        feature_sets=tuple(
            {"name": entry.name, "modality": entry.modality, "dim": entry.dim, "dtype": entry.dtype}
            for entry in store.feature_sets.values()
        ),
        folds=dict(
            sorted(Counter(one.fold for one in store.labelled if one.fold is not None).items())
        ),
        findings=tuple(findings),
    )


def split_counts(store: Store) -> tuple[SplitCounts, ...]:
    """Counts of each split that has recordings; reads no features."""
    return tuple(_counts(store, split) for split in SPLITS if store.split(split))


def _counts(store: Store, split: str) -> SplitCounts:
    recordings = store.split(split)
    lengths = [recording.frames for recording in recordings]
    return SplitCounts(
        split=split,
        recordings=len(recordings),
        subjects=len({recording.subject for recording in recordings}),
        frames=sum(lengths),
        labelled=sum(
            int((~np.isnan(_labels(store, recording))).all(axis=1).sum())
            for recording in recordings
        ),
        without_face=sum(int((~store.valid[r.start : r.stop]).sum()) for r in recordings),
        gaps=sum(len(recording.gaps) for recording in recordings),
        shortest=min(lengths),
        median=float(np.median(lengths)),
        longest=max(lengths),
        hours=sum(recording.frames / recording.frames_per_second for recording in recordings)
        / 3600,
    )


def _labels(store: Store, recording: Recording) -> NDArray[np.float32]:
    return store.annotations[recording.start : recording.stop]


def _label_counts(store: Store, split: str, index: int) -> LabelCounts:
    values = np.concatenate(
        [_labels(store, recording)[:, index] for recording in store.split(split)]
    )
    known = values[~np.isnan(values)].astype(np.float64)
    none = float("nan")
    return LabelCounts(
        split=split,
        dimension=DIMENSIONS[index],
        labelled=known.size,
        unlabelled_share=1 - known.size / values.size,
        lowest=float(known.min()) if known.size else none,
        highest=float(known.max()) if known.size else none,
        mean=float(known.mean()) if known.size else none,
        deviation=float(known.std()) if known.size else none,
        histogram=tuple(np.histogram(known, bins=BINS, range=store.label_range)[0].tolist()),
    )


def _store_findings(store: Store) -> Iterator[Finding]:
    """The import's own warnings, and whether recordings and annotations are still what was
    imported."""
    manifest = read_json(store.path / "manifest.json")
    for text in manifest["warnings"]:
        yield Finding("warning", "import", text)
    made = (
        store.folds_hash is not None
    )  # folds that are not the source's: those of labelled recordings
    rows = [
        {
            **vars(one),
            "gaps": list(one.gaps),
            "fold": None if made and one.split != "test" else one.fold,
        }
        for one in store.recordings
    ]
    if digest(rows) != store.hashes["recordings"]:
        yield _changed("recordings")
    pair = np.nan_to_num(store.annotations, nan=1e30)
    if hashlib.sha256(pair.tobytes()).hexdigest() != store.hashes["annotations"]:
        yield _changed("annotations")


def _changed(what: str) -> Finding:
    text = "values on the disk are not those that were imported (content hash differs); import the data again"
    return Finding("error", what, text)


def leaks(store: Store) -> Iterator[Finding]:
    """A subject in two splits or folds leaks; persons of one video in two splits share its sound
    and place.

    Reads no features: cheap enough to be told with every import.
    """
    hints: dict[str, tuple[Level, str]] = {
        "subject": ("error", "leakage: give each subject one split"),
        "video": ("warning", "its sound and place are in both"),
    }
    for kind, (level, hint) in hints.items():
        splits: dict[str, set[str]] = {}
        for recording in store.recordings:
            splits.setdefault(getattr(recording, kind), set()).add(recording.split)
        for name, found in sorted(splits.items()):
            if len(found) > 1:
                where = " and ".join(split for split in SPLITS if split in found)
                yield Finding(level, f"{kind} {name}", f"stands in {where}; {hint}")
    fold_hints = {"subject": "leakage as soon as one of them validates", "video": hints["video"][1]}
    for kind, hint in fold_hints.items():
        folds: dict[str, set[int]] = {}
        for recording in store.labelled:
            if recording.fold is not None:
                folds.setdefault(getattr(recording, kind), set()).add(recording.fold)
        for name, numbers in sorted(folds.items()):
            if len(numbers) > 1:
                text = f"stands in folds {', '.join(map(str, sorted(numbers)))}; {hint}"
                yield Finding("warning", f"{kind} {name}", text)


def _label_findings(store: Store) -> Iterator[Finding]:
    low, high = store.label_range
    for split in ("train", "validation"):
        if not store.split(split):
            yield Finding(
                "warning",
                split,
                "no recording is in this split, so the official split can't be searched",
            )
    for recording in store.recordings:
        pair = _labels(store, recording)
        labelled = pair[~np.isnan(pair).all(axis=1)]
        where = f"recording {recording.name}"
        if not len(labelled):
            if recording.split != "test":
                yield Finding("warning", where, f"in {recording.split}, but has no labelled frame")
            continue
        for index, dimension in enumerate(DIMENSIONS):
            values = labelled[:, index]
            slack = ROUNDING * max(abs(low), abs(high), high - low)
            if np.nanmin(values) < low - slack or np.nanmax(values) > high + slack:
                found = f"{exact(float(np.nanmin(values)))} to {exact(float(np.nanmax(values)))}"
                yield Finding(
                    "error",
                    where,
                    f"{dimension} runs from {found}, outside the range [{exact(low)}, {exact(high)}]",
                )
            if len(values) > 1 and np.nanmin(values) == np.nanmax(values):
                frames = counted(len(values), "labelled frame")
                text = f"{dimension} is {values[0]:g} in all {frames}; its own CCC is undefined"
                yield Finding("warning", where, text)


def _recording_findings(store: Store) -> Iterator[Finding]:
    tests = [r for r in store.split("test") if not np.isnan(_labels(store, r)).all()]
    if tests:
        yield Finding(
            "note",
            "test",
            f"{counted(len(tests), 'test recording')} with labels; no training reads them",
        )
    people = {recording.subject for recording in store.recordings}
    if len(people) == len(store.recordings) > 1:
        text = "each recording has a subject of its own, so that normalise recording and subject mean the same here"
        yield Finding("note", "subjects", text)
    gaps = [recording for recording in store.recordings if recording.gaps]
    if gaps:
        count = sum(len(recording.gaps) for recording in gaps)
        yield Finding(
            "note",
            "time",
            f"{counted(count, 'gap')} in {counted(len(gaps), 'recording')}, the first in {gaps[0].name}",
        )
    for recording in store.recordings:
        share = 1 - float(store.valid[recording.start : recording.stop].mean())
        if share > 0.5:
            text = (
                f"{share:.0%} of its frames have no face and stand for their nearest frame with one"
            )
            yield Finding("warning", f"recording {recording.name}", text)


def _footage_findings(store: Store) -> Iterator[Finding]:
    notes = read_json(store.path / "manifest.json").get("notes", {})
    for level, where, text in footage_findings(store, notes):
        yield Finding(cast(Level, level), where, text)


def _copies(store: Store, frames: FrameHashes) -> Iterator[Finding]:
    """A recording under two names, or a good part of one: an error in two splits, where it leaks,
    else a warning."""
    for leaks, where, text in copied_recordings(store, frames.values):
        yield Finding("error" if leaks else "warning", where, text)


def _features(store: Store, name: str, frames: FrameHashes) -> Iterator[Finding]:
    found = read_columns(store, name, frames)
    where = f"feature set {name}"
    if found.hash != store.feature_sets[name].hash:
        yield _changed(where)
    yield from (Finding("error", where, text) for text in found.not_finite())
    yield from (Finding("warning", where, text) for text in _dirt(found))


def _dirt(found: ColumnFindings) -> Iterator[str]:
    yield from found.copies_of_labels()
    yield from found.constant()
    yield from found.missing()
    yield from found.outliers()

"""The audit of a store: what is in it, and what in it would spoil a study.

Conventions: an error must be put right before a search (leaking subjects, a recording under two
names in two splits, values that are not finite, a store changed on the disk); a warning may be
meant (constant labels, outliers); a note is only worth knowing. Every feature value is read once,
in chunks, so memory stays bounded for files larger than it; what was found in them is kept with the
store (audit_facts.py). Lengths of videos are in seconds, rates
in frames per second."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from va_search.data.agreement import agreements_of, rater_remarks
from va_search.data.audit_facts import FeatureFacts, copies_of, feature_facts, official_baselines
from va_search.data.baselines import Baseline
from va_search.data.generalisation import SeenCounts, VarianceShares, seen_in, variance_shares
from va_search.data.manifest import Manifest
from va_search.data.older_stores import feature_changes, frame_changes
from va_search.data.problems import exact
from va_search.data.raters import Agreement
from va_search.data.store import SPLITS, Recording, Store
from va_search.errors import counted
from va_search.targets import Target, targets_to_json

BINS = 10
APART = 0.5
"""Seconds by which lengths of a video may differ before it is told."""
NOMINAL = 0.001
"""Share by which a measured frame rate may lie away from the declared one."""
VIDEOS_SHOWN = 10
Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class AuditFinding:
    """A remark on the store: how bad, where (recording, feature set, split), and what."""

    level: Level
    where: str
    text: str


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split; lengths are frames per recording, `labelled` the frames with a label for
    any target."""

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
    """Labels of one target in one split; `histogram` has 10 equal bins over the target's range.
    Statistics are NaN without labels."""

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
class AuditReport:
    """Counts and findings of `check`; `frame_rates` maps frames per second to recordings, `folds` a
    fold to its labelled recordings; `raters` are agreements by recording and target, where several
    raters were fused. `seen`: what validation, test and folds share with training. `baselines` are
    of the official split."""

    store: str
    name: str
    targets: tuple[Target, ...]
    splits: tuple[SplitCounts, ...]
    frame_rates: dict[float, int]
    labels: tuple[LabelCounts, ...]
    feature_sets: tuple[dict[str, object], ...]
    folds: dict[int, int]
    findings: tuple[AuditFinding, ...]
    raters: Mapping[str, Mapping[str, Agreement]]
    seen: dict[str, SeenCounts]
    variance: tuple[VarianceShares, ...]
    baselines: tuple[Baseline, ...]

    def count(self, level: Level) -> int:
        """Findings of one level."""
        return sum(finding.level == level for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as `--json` has it: `label_range` for valence and arousal on one range,
        else `targets`; `raters` only where there are several."""
        document: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name == "raters" and not value:
                continue
            document |= targets_to_json(self.targets) if name == "targets" else {name: value}
        return document


def quiet(feature_set: str) -> None:
    """The progress callback that shows nothing; it is called with each feature set's name."""


def check(store: Store, progress: Callable[[str], None] = quiet) -> AuditReport:
    """Audit the whole store; reads every value once, and none of a content that was audited before.
    Findings come errors first."""
    manifest = Manifest.read(store.path).document
    features = feature_facts(store, progress)
    findings = [AuditFinding("warning", "import", text) for text in manifest["warnings"]]
    findings += _changes(store, features)
    findings += leaks(store)
    findings += _label_findings(store)
    findings += target_findings(store)
    findings += _recording_findings(store)
    agreements = agreements_of(store, manifest)
    for level, where, text in rater_remarks(store, agreements):
        findings.append(AuditFinding(level, where, text))
    seen = _seen_by_split(store)
    findings += _seen_findings(seen)
    videos: dict[str, VideoNote] = {}
    for name, note in manifest.get("notes", {}).items():
        if "video_seconds" in note:  # other notes are of imports, which nobody made from videos
            videos[name] = note
    findings += _video_findings(store, videos)
    for name, facts in features.items():
        findings += _feature_findings(name, facts)
    for copy in copies_of(store, features):
        findings.append(AuditFinding("error" if copy.leaks else "warning", copy.where, copy.text))
    # The sort is stable: within a level findings stay in the order of the checks.
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    labels = []
    for split in SPLITS:
        if store.split(split):
            for column, target in enumerate(store.targets):
                labels.append(_count_labels(store, split, column, target))
    rates = Counter(recording.frames_per_second for recording in store.recordings)
    folds = Counter(recording.fold for recording in store.labelled)
    return AuditReport(
        store=str(store.path),
        name=store.name,
        targets=store.targets,
        splits=split_counts(store),
        frame_rates=dict(sorted(rates.items())),
        labels=tuple(labels),
        feature_sets=tuple(entry.summary() for entry in store.feature_sets.values()),
        folds={fold: folds[fold] for fold in store.fold_numbers},
        findings=tuple(findings),
        raters=agreements,
        seen=seen,
        variance=variance_shares(store),
        baselines=official_baselines(store),
    )


def split_counts(store: Store) -> tuple[SplitCounts, ...]:
    """Counts of each split that has recordings; reads no features."""
    return tuple(_count_split(store, split) for split in SPLITS if store.split(split))


def _count_split(store: Store, split: str) -> SplitCounts:
    recordings = store.split(split)
    lengths = [recording.frames for recording in recordings]
    labels = _labels_of(store, recordings)
    valid = np.concatenate([store.valid[recording.span] for recording in recordings])
    seconds = [recording.frames / recording.frames_per_second for recording in recordings]
    return SplitCounts(
        split=split,
        recordings=len(recordings),
        subjects=len({recording.subject for recording in recordings}),
        frames=sum(lengths),
        labelled=int((~np.isnan(labels)).any(axis=1).sum()),
        without_face=int((~valid).sum()),
        gaps=sum(len(recording.gaps) for recording in recordings),
        shortest=min(lengths),
        median=float(np.median(lengths)),
        longest=max(lengths),
        hours=sum(seconds) / 3600,
    )


def _labels_of(store: Store, recordings: Iterable[Recording]) -> NDArray[np.float32]:
    """(frames, targets) labels of these recordings, one after another."""
    return np.concatenate([store.annotations[recording.span] for recording in recordings])


def _count_labels(store: Store, split: str, column: int, target: Target) -> LabelCounts:
    values = _labels_of(store, store.split(split))[:, column]
    labels = values[~np.isnan(values)].astype(np.float64)
    lowest = highest = mean = deviation = float("nan")
    if labels.size:
        lowest, highest = float(labels.min()), float(labels.max())
        mean, deviation = float(labels.mean()), float(labels.std())
    histogram, _ = np.histogram(labels, bins=BINS, range=target.range)
    return LabelCounts(
        split=split,
        dimension=target.name,
        labelled=labels.size,
        unlabelled_share=1 - labels.size / values.size,
        lowest=lowest,
        highest=highest,
        mean=mean,
        deviation=deviation,
        histogram=tuple(histogram.tolist()),
    )


def _changes(store: Store, features: Mapping[str, FeatureFacts]) -> Iterator[AuditFinding]:
    """Values that were sealed and are not those that were imported."""
    manifest = Manifest.read(store.path)
    # As it was imported: without folds that were made since, and with all that was added.
    imported = Store.of_manifest(store.path, manifest, manifest.files or store.files)
    changes = [*frame_changes(imported)]
    for name, facts in features.items():
        changes += feature_changes(store, name, facts.hash)
    for where, text in changes:
        yield AuditFinding("error", where, f"{text}; import the data again")


def leaks(store: Store) -> Iterator[AuditFinding]:
    """A subject in two splits or folds leaks; persons of one video in two splits share its sound
    and place.

    Reads no features: cheap enough to be told with every import.
    """
    kinds: tuple[tuple[str, Level, str, str], ...] = (
        ("subject", "error", "leakage: give each subject one split", "leakage as soon as one of them validates"),
        ("video", "warning", "its sound and place are in both", "its sound and place are in both"),
    )  # fmt: skip
    for kind, level, hint, _ in kinds:
        for name, splits in _in_several(store.recordings, kind, "split"):
            listed = " and ".join(split for split in SPLITS if split in splits)
            yield AuditFinding(level, f"{kind} {name}", f"stands in {listed}; {hint}")
    for kind, _, _, hint in kinds:
        if kind in store.apart:  # folds leave out of training whoever they validate
            continue
        if kind == "subject" and _are_by_stimulus(store):
            seen = len({recording.subject for recording in store.labelled})
            text = (
                f"no two share a stimulus, and {counted(seen, 'person', 'people')} may be in "
                "several: their scores are of unseen clips, and of people whom training saw"
            )
            yield AuditFinding("note", "folds", text)
            continue
        for name, folds in _in_several(store.labelled, kind, "fold"):
            listed = ", ".join(map(str, sorted(folds)))
            yield AuditFinding("warning", f"{kind} {name}", f"stands in folds {listed}; {hint}")


def _are_by_stimulus(store: Store) -> bool:
    """True for folds that `data folds` made, no two of which have a stimulus in common, though some
    have people."""
    stimuli = {recording.stimulus for recording in store.labelled}
    if store.folds_hash is None or None in stimuli or len(stimuli) == len(store.labelled):
        return False
    if any(True for _ in _in_several(store.labelled, "stimulus", "fold")):
        return False
    return any(True for _ in _in_several(store.labelled, "subject", "fold"))


def _in_several(
    recordings: Iterable[Recording], kind: str, part: str
) -> Iterator[tuple[str, set[Any]]]:
    """Each subject or video (`kind`) that is in more than one split or fold (`part`), with
    these."""
    parts: dict[str, set[Any]] = defaultdict(set)
    for recording in recordings:
        if getattr(recording, part) is not None:
            parts[getattr(recording, kind)].add(getattr(recording, part))
    for name in sorted(parts):
        if len(parts[name]) > 1:
            yield name, parts[name]


def _label_findings(store: Store) -> Iterator[AuditFinding]:
    for split in ("train", "validation"):
        if not store.split(split):
            text = "no recording is in this split, so the official split can't be searched"
            yield AuditFinding("warning", split, text)
    for recording in store.recordings:
        where = f"recording {recording.name}"
        annotations = store.annotations[recording.span]
        if np.isnan(annotations).all():
            if recording.split != "test":
                yield AuditFinding(
                    "warning", where, f"in {recording.split}, but has no labelled frame"
                )
            continue
        for target, column in zip(store.targets, annotations.T, strict=True):
            labels = column[~np.isnan(column)]
            for level, text in _label_problems(target, labels):
                yield AuditFinding(level, where, text)


def _label_problems(target: Target, labels: NDArray[np.float32]) -> Iterator[tuple[Level, str]]:
    """Levels and texts of what is wrong with a recording's labels for one target (labelled,)."""
    if not len(labels):
        return
    lowest, highest = float(labels.min()), float(labels.max())
    if lowest < target.low - target.slack or highest > target.high + target.slack:
        yield (
            "error",
            f"{target.name} runs from {exact(lowest)} to {exact(highest)}, outside the range "
            f"[{exact(target.low)}, {exact(target.high)}]",
        )
    if len(labels) > 1 and lowest == highest:
        frames = counted(len(labels), "labelled frame")
        yield (
            "warning",
            f"{target.name} is {lowest:g} in all {frames}; its own CCC is undefined",
        )


def target_findings(store: Store) -> Iterator[AuditFinding]:
    """Targets that can't be learnt or measured: without a label in a split where others have some,
    or with one value there.

    Reads no features: cheap enough to be told with every import.
    """
    for split in ("train", "validation"):
        recordings = store.split(split)
        if not recordings:
            continue
        annotations = _labels_of(store, recordings)
        if np.isnan(annotations).all():
            continue
        consequence = "nothing of it can be learnt"
        if split == "validation":
            consequence = "its CCC is not defined"
        for target, column in zip(store.targets, annotations.T, strict=True):
            where = f"target {target.name}"
            labels = column[~np.isnan(column)]
            if not len(labels):
                text = (
                    f"no frame of {split} has a label, so {consequence}; label some, or import "
                    "without this target"
                )
                yield AuditFinding("error", where, text)
            elif len(labels) > 1 and labels.min() == labels.max():
                frames = counted(len(labels), "labelled frame")
                text = (
                    f"{float(labels[0]):g} in all {frames} of {split}, so {consequence}; if the "
                    "data do not annotate it, import without this target"
                )
                yield AuditFinding("warning", where, text)


def _recording_findings(store: Store) -> Iterator[AuditFinding]:
    tests = [
        recording
        for recording in store.split("test")
        if not np.isnan(store.annotations[recording.span]).all()
    ]
    if tests:
        text = f"{counted(len(tests), 'test recording')} with labels; no training reads them"
        yield AuditFinding("note", "test", text)
    # Without people two normalisations are the same, which would be searched twice.
    people = {recording.subject for recording in store.recordings}
    if len(people) == len(store.recordings) > 1:
        text = (
            "each recording has a subject of its own, so that normalise recording and subject mean "
            "the same here"
        )
        yield AuditFinding("note", "subjects", text)
    broken = [recording for recording in store.recordings if recording.gaps]
    if broken:
        gaps = counted(sum(len(recording.gaps) for recording in broken), "gap")
        text = f"{gaps} in {counted(len(broken), 'recording')}, the first in {broken[0].name}"
        yield AuditFinding("note", "time", text)
    for recording in store.recordings:
        share = 1 - float(store.valid[recording.span].mean())
        if share > 0.5:
            text = (
                f"{share:.0%} of its frames have no face and stand for their nearest frame with one"
            )
            yield AuditFinding("warning", f"recording {recording.name}", text)


def _seen_by_split(store: Store) -> dict[str, SeenCounts]:
    """What the recordings of validation and test, and those of all folds with the folds' own
    training, share with training, where there are some."""
    seen = {}
    train = store.split("train")
    for split in ("validation", "test"):
        recordings = store.split(split)
        if recordings and train:
            seen[split] = SeenCounts.of([(recordings, train)])
    if store.fold_numbers:
        seen["folds"] = seen_in(store, store.fold_numbers)
    return seen


def _seen_findings(seen: dict[str, SeenCounts]) -> Iterator[AuditFinding]:
    """Notes on people who watched a clip that training people watched."""
    for split, counts in seen.items():
        if counts.of_seen_clips is None:
            continue
        meaning = "scores are of unseen clips"
        if counts.of_seen_clips == counts.recordings:
            meaning = "scores say nothing of unseen clips"
        elif counts.of_seen_clips:
            meaning = "scores say little of unseen clips"
        text = (
            f"{counts.people_of_seen_clips} of {counted(counts.people, 'person', 'people')} saw "
            f"clips that training people saw ({counts.of_seen_clips} of "
            f"{counted(counts.recordings, 'recording')}); {meaning}"
        )
        yield AuditFinding("note", split, text)


def _feature_findings(name: str, facts: FeatureFacts) -> Iterator[AuditFinding]:
    where = f"feature set {name}"
    for text in facts.errors:
        yield AuditFinding("error", where, text)
    for text in facts.notes:
        yield AuditFinding("note", where, text)
    for text in facts.warnings:
        yield AuditFinding("warning", where, text)


# Videos: notes that an extraction keeps in the manifest; there are none where a store was imported.


class VideoNote(TypedDict):
    """What an extraction noted of a recording: seconds, frames per second and rows; `audio_seconds`
    is None without sound, `nominal_rate` where the video declares none. Notes of earlier versions
    lack some."""

    video_seconds: float
    video_frames: int
    audio_seconds: float | None
    audio_offset: float
    annotation_seconds: float
    rows: int
    rate: float
    nominal_rate: float | None
    variable_rate: bool
    mean_rate: NotRequired[float]
    missing_without_sound: NotRequired[bool]


Remark = tuple[float, str]  # how far away it is from what is expected, and the text


def _video_findings(store: Store, notes: dict[str, VideoNote]) -> Iterator[AuditFinding]:
    """Lengths that differ, rates, silence, missing faces; of each kind the worst recordings."""
    if not notes:
        return
    for kind in (_silence, _sound_length, _annotation_length, _declared_rate, _varying_rate):
        remarks = [(kind(entry), name) for name, entry in notes.items()]
        worst = [(remark, name) for remark, name in remarks if remark is not None]
        # The farthest from what is expected first, then by name.
        worst.sort(key=lambda pair: (-pair[0][0], pair[1]))
        for (_, text), name in worst[:VIDEOS_SHOWN]:
            yield AuditFinding("warning", f"recording {name}", text)
        if len(worst) > VIDEOS_SHOWN:
            (_, text), name = worst[VIDEOS_SHOWN]
            count = len(worst) - VIDEOS_SHOWN
            yield AuditFinding(
                "note", "videos", f"{count} more recordings of the kind of {name}: {text}"
            )
    faceless = int((~store.valid).sum())
    share = faceless / max(1, store.frames)
    text = f"{faceless:,} of {store.frames:,} frames have no face ({share:.1%})"
    yield AuditFinding("note", "videos", text)


def _silence(entry: VideoNote) -> Remark | None:
    if entry["audio_seconds"] is not None:
        return None
    return 0.0, "its video has no audio track"


def _sound_length(entry: VideoNote) -> Remark | None:
    """Sound that ends before the video, or after it."""
    if entry["audio_seconds"] is None:
        return None
    lacking = entry["video_seconds"] - (entry["audio_seconds"] + entry["audio_offset"])
    if abs(lacking) <= APART:
        return None
    side, consequence = "longer than", ""
    if lacking > 0:
        side, consequence = "shorter than", "; frames after it take its last features"
        if entry.get("missing_without_sound"):
            consequence = "; features of sound are missing after it"
    text = (
        f"its sound is {entry['audio_seconds']:.1f} s, {abs(lacking):.1f} s {side} its video of "
        f"{entry['video_seconds']:.1f} s{consequence}"
    )
    return abs(lacking), text


def _annotation_length(entry: VideoNote) -> Remark | None:
    """Annotations that end before the video (they can't end more than a second after it)."""
    lacking = entry["video_seconds"] - entry["annotation_seconds"]
    if abs(lacking) <= APART:
        return None
    text = (
        f"its annotation is {entry['annotation_seconds']:.1f} s ({entry['rows']} rows), its video "
        f"{entry['video_seconds']:.1f} s ({entry['video_frames']} frames)"
    )
    return abs(lacking), text


def _declared_rate(entry: VideoNote) -> Remark | None:
    """A measured rate that is not the declared one."""
    declared, rate = entry["nominal_rate"], entry["rate"]
    if declared is None or abs(rate / declared - 1) <= NOMINAL:
        return None
    text = f"declares {declared:g} frames per second, has {rate:.3f} by its time stamps"
    return abs(rate / declared - 1), text


def _varying_rate(entry: VideoNote) -> Remark | None:
    """Frames that are not evenly spaced: holes, dropped frames, a camera that slows down."""
    if not entry["variable_rate"]:
        return None
    rate = entry["rate"]
    if "mean_rate" not in entry:  # stores made before rates were those of the regular stretches
        return 0.0, f"its frame rate varies; {rate:.3f} on average"
    text = (
        f"its frames are not evenly spaced: {rate:.3f} per second where they are regular, "
        f"{entry['mean_rate']:.3f} over the whole video"
    )
    return abs(entry["mean_rate"] / rate - 1), text

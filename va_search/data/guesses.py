"""Guesses on files that nobody described: which columns are labels and of which target, the range
of labels, modalities, and the person and the clip in a recording's name.

Conventions: names alone decide, by vocabularies below. What no word tells is left to be said: None,
"" or nothing, never the likeliest of several."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from va_search.data.column_names import words_of
from va_search.data.draft import OTHER_SPLITS
from va_search.targets import name_problem


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LABEL_WORDS = _words(
    "label labels annotation annotations target targets rating ratings gold truth traces"
)
DIMENSIONS = _words(
    "valence arousal dominance engagement liking stress trustworthiness power expectation "
    "anticipation likability pleasure intensity happiness sadness anger fear"
)
SHORT = {
    "val": "valence", "v": "valence", "valenz": "valence", "vale": "valence", "aro": "arousal",
    "ar": "arousal", "a": "arousal", "erregung": "arousal",
}  # fmt: skip
"""Short names, which count only where one for valence and one for arousal are there."""
BESIDE_LABELS = LABEL_WORDS | _words(
    "mean avg average median gt score value continuous smoothed gs y true ground standard final to "
    "scale"
)
"""Words that may stand beside the dimension in the name of a column of labels."""
RATERS = _words("rater annotator coder")
MODALITIES = {
    "audio": "audio voice sound speech egemaps gemaps opensmile compare mfcc wav2vec hubert vggish "
    "ecapa deepspectrum loudness pitch",
    "visual": "visual video face faces faus fau au aus openface vggface facenet farl gaze pose light "
    "vit densenet",
    "text": "text bert transcript words",
    "physiology": "physiology physiological bio biosignals ecg eda gsr bvp bpm resp emg skt heart hr "
    "ihr ptt",
}
SIGNALS = re.compile("EDA|EMG|ECG|EKG|GSR|BVP|PPG|SKT|TEMP|RESP|IBI")
"""Physiological signals, written large, also within a word: `EDATon`, `CEMGEnv`."""
OTHER = "other"
"""The modality where no word tells one."""
RANGES = (
    (-1, 1), (0, 1), (1, 5), (1, 7), (1, 9), (0.5, 9.5), (0, 10), (0, 100), (-100, 100), (0, 1000),
    (-1000, 1000),
)  # fmt: skip
"""Scales that people use, the likelier first."""
SUBJECT = re.compile(
    r"(subject|subj|sub|participant|person|player|user|vp|pp|id|p|s)[-_ ]?\d+", re.IGNORECASE
)
"""How names of recordings begin that name the person."""
SUBJECT_WITHIN = re.compile(
    r"(?<![a-z0-9])(?:(?:subject|subj|sub|participant|person|player|user)[-_ ]?\d+|(?:vp|pp|p)\d{2,})"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
"""A person in the middle of a recording's name: fewer words than at its beginning, since a letter
and a number there may as well be a clip or a session."""
SITTING = re.compile(r"(session|sess|run|trial|part|day|visit|take|rec)[-_ ]?\d*", re.IGNORECASE)
"""Begins what stands behind a person's name and is no clip."""
VALIDATION_EVERY = 5
"""Of labelled people in order of their names, each fifth one validates."""


@dataclass(frozen=True)
class Hints:
    """Facts that the user gives beside the files: frames per second, where no column of times says
    them, and the columns of `labels`, where their names do not."""

    rate: float | None = None
    labels: tuple[str, ...] = ()


NO_HINTS = Hints()


@dataclass(frozen=True)
class LabelColumns:
    """The columns of one target: several where several raters have a column each."""

    target: str
    columns: tuple[str, ...]

    @property
    def is_rated(self) -> bool:
        return len(self.columns) > 1


def labels_in(columns: Sequence[str], named: Sequence[str] = ()) -> list[LabelColumns]:
    """Return the columns of labels among a file's columns of values, by target in their order: those
    that the user `named`, or where none is named those whose names say so."""
    if named:
        return [LabelColumns(target_name(name), (name,)) for name in columns if name in named]
    by_target: dict[str, list[str]] = {}
    for column in columns:
        target = _target_of(column)
        if target is not None:
            by_target.setdefault(target, []).append(column)
    if not by_target:
        for column, target in _short_names(columns).items():
            by_target[target] = [column]
    labels = []
    for target, names in by_target.items():
        # Of several columns that are no raters', nothing says which one is meant.
        raters = [name for name in names if not RATERS.isdisjoint(_letters(name))]
        if len(names) == 1 or raters == names:
            labels.append(LabelColumns(target, tuple(names)))
            continue
        for name in names:
            labels.append(LabelColumns(target_name(name), (name,)))
    return labels


def _target_of(column: str) -> str | None:
    """The target that a column's name tells; None for other columns."""
    words = _letters(column)
    dimensions = words & DIMENSIONS
    if len(dimensions) == 1 and words <= DIMENSIONS | BESIDE_LABELS | RATERS | {""}:
        # What people call a target is kept as they write it: `Valence`, but not `val_mean`.
        return column if column.lower() in DIMENSIONS else next(iter(dimensions))
    if words and words <= LABEL_WORDS:
        return target_name(column)
    return None


def _letters(column: str) -> set[str]:
    """The words of a name without the numbers in them: `rater1` is a rater."""
    return {word.strip("0123456789") for word in words_of(column)} - {""}


def _short_names(columns: Sequence[str]) -> dict[str, str]:
    """Columns that are called `val` and `aro`, or so, with their targets; none where one of the two
    is missing, or is there twice."""
    short = {}
    for column in columns:
        words = _letters(column) - BESIDE_LABELS
        if len(words) == 1 and words <= SHORT.keys():
            short[column] = SHORT[words.pop()]
    return short if sorted(short.values()) == ["arousal", "valence"] else {}


def target_name(name: str) -> str:
    """Return a name that a target can have, as near to this one as may be."""
    safe = re.sub(r"[^\w-]", "_", name, flags=re.ASCII)
    return safe if name_problem(safe) is None else f"target_{safe}"


def range_of(low: float, high: float) -> tuple[float, float]:
    """Return the narrowest usual range that has all labels from the lowest to the highest; a wide
    one where there is none. NaN: no labels are known, and the likeliest range is returned."""
    if not np.isfinite(low):
        return RANGES[0]
    wide = max(high - low, 1e-9)
    fitting = [ends for ends in RANGES if ends[0] <= low and high <= ends[1]]
    return min(fitting, key=lambda ends: ends[1] - ends[0], default=(low - wide, high + wide))


def modality_of(*texts: str) -> str:
    """Return the modality that a word of the texts names, the first text first; `OTHER` without."""
    for text in texts:
        for modality, names in MODALITIES.items():
            for word in names.split():
                # `au` is in AU01_r, and not in audio; `ecg` is in ECG and in ecg_mean
                if re.search(rf"(?<![a-z]){word}(?![a-z])", text.lower()):
                    return modality
        if SIGNALS.search(text):
            return "physiology"
    return OTHER


# -- recordings


def subject_of(name: str) -> str | None:
    """Return the person that a recording's name, or a folder of its path, begins with; None where
    none of them does."""
    for part in name.split("/"):
        match = SUBJECT.match(part)
        if match is not None:
            return match[0]
    return None


def subjects_within(names: Sequence[str]) -> dict[str, str]:
    """Return the person that stands somewhere in each recording's name; none at all where one of the
    names has no such place, or several."""
    people: dict[str, str] = {}
    for name in names:
        candidates = SUBJECT_WITHIN.findall(name)
        if len(candidates) != 1:
            return {}
        people[name] = candidates[0]
    return people


def split_of(name: str) -> str:
    """Return the split that a folder of a recording's path, or the beginning of its name, says; ""
    where nothing does."""
    *folders, stem = name.split("/")
    for folder in folders:
        if folder.lower() in OTHER_SPLITS:
            return OTHER_SPLITS[folder.lower()]
    beginning = re.match(r"[a-z]+", stem.lower())
    return OTHER_SPLITS.get(beginning[0], "") if beginning is not None else ""


def stimuli_of(subjects: dict[str, str]) -> dict[str, str]:
    """Return the clip of each recording, what stands behind the person in its name, where several
    people have the same ones; none where names tell no clips. `subjects`: by recording."""
    clips: dict[str, str] = {}
    for name, subject in subjects.items():
        _, _, behind = name.partition(subject)
        clip = behind.strip("-_ /.")
        if not clip or SITTING.match(clip):
            return {}
        clips[name] = clip
    watched = Counter(clips.values())
    people = len(set(subjects.values()))
    is_shared = people > 1 and all(count > 1 for count in watched.values())
    return clips if is_shared else {}


def validating(subjects: Iterable[str]) -> set[str]:
    """Return the people that validate: each fifth one, none of fewer than five."""
    ordered = sorted(set(subjects))
    return set(ordered[VALIDATION_EVERY - 1 :: VALIDATION_EVERY])

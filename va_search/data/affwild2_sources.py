"""What an Aff-Wild2 import reads: label files of the official folders, the sample's test recordings, feature files.

Conventions: a recording is the stem of its label file; its video is that name without _left or _right. Feature files
are found by name, audio under the recording's name first and then under its video's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from va_search.data.draft import Source, check_sources
from va_search.data.importing import refuse
from va_search.data.sample import read_sample
from va_search.data.sheet import and_more, read_header, read_texts
from va_search.errors import InputError
from va_search.files import checked_name

FRAMES_PER_SECOND = 30.0
FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
SUFFIXES = (".npy", ".csv", ".parquet")
PERSON = re.compile(r"_(left|right)$")

Entry = tuple[str, str, Path, int | None]  # recording, split, where its length comes from, frames if known
Sets = dict[str, tuple[str, Path]]  # feature set -> modality, folder


@dataclass(frozen=True)
class Places:
    """The folders and files the user named; `frame_rates` and `subjects` are CSVs keyed by recording."""

    annotations: Path
    visual: Path | None = None
    audio: Path | None = None
    sample: Path | None = None
    crops: Path | None = None
    frame_rates: Path | None = None
    subjects: Path | None = None


@dataclass(frozen=True)
class Affwild2Source(Source):
    """A recording with its label file (test: the sample file), its feature files by set, and its folder of crops."""

    labels: Path = Path()
    frames: int | None = None  # test: as many as the sample has
    features: tuple[tuple[str, Path], ...] = ()
    crops: Path | None = None


def video_of(recording: str) -> str:
    """The video a recording is one person of: its name without _left or _right."""
    return PERSON.sub("", recording)


def find_sources(places: Places, warnings: list[str]) -> list[Affwild2Source]:
    """Training, validation, then test recordings in the sample's order; InputError with everything missing.

    Feature sets of a recording come in one order, the same for all. `warnings` is added to.
    """
    entries = label_files(places.annotations) + sample_entries(places.sample, warnings)
    sets = feature_sets(places)
    rates = _rates(places.frame_rates, [name for name, *_ in entries], warnings)
    people = {} if places.subjects is None else by_recording(places.subjects, "subject")[0]
    recordings, problems = [], []
    for entry in entries:
        name, split, labels, frames = entry
        try:
            features, crops = _feature_files(name, sets), _crops(name, places.crops)
        except InputError as error:
            problems += error.problems
            continue
        files = (labels, *(file for _, file in features), *([crops] if crops else []))
        source = Source(name, people.get(name, name), video_of(name), split, None, rates[name], files)
        recordings.append(Affwild2Source(**vars(source), labels=labels, frames=frames, features=features, crops=crops))
    refuse(problems + check_sources(recordings))
    return recordings


def feature_sets(places: Places) -> Sets:
    """Name -> (modality, folder) of every feature set; InputError when there are none or a name stands twice."""
    visual, audio = _subfolders(places.visual, "visual"), _subfolders(places.audio, "audio")
    refuse(
        [f"feature set {name!r} stands under visual and audio; names must differ" for name in visual if name in audio]
    )
    if not visual and not audio:
        raise InputError("no features: give --visual or --audio, a folder with one subfolder per feature set")
    return visual | audio


def label_files(annotations: Path) -> list[Entry]:
    """Label files of the official folders, which may lie one level down."""
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder, expected one with {' and '.join(FOLDERS.values())}")
    roots = [annotations, *sorted(path for path in annotations.iterdir() if path.is_dir())]
    roots = [root for root in roots if all((root / folder).is_dir() for folder in FOLDERS.values())]
    if not roots:
        inside = ", ".join(sorted(path.name for path in annotations.iterdir())[:8]) or "nothing"
        raise InputError(f"{annotations}: found {inside}, expected {' and '.join(FOLDERS.values())} here or one below")
    entries: list[Entry] = []
    for split, folder in FOLDERS.items():
        files = sorted((roots[0] / folder).glob("*.txt"))
        if not files:
            raise InputError(f"{roots[0] / folder}: no <recording>.txt in it")
        entries += [(file.stem, split, file.resolve(), None) for file in files]
    return entries


def sample_entries(sample: Path | None, warnings: list[str]) -> list[Entry]:
    """Test recordings in the sample's order; `warnings` is added to."""
    if sample is None:
        warnings.append("no sample file (--sample), so the store has no test recordings")
        return []
    return [(name, "test", sample.resolve(), frames) for name, frames in read_sample(sample, warnings)]


def _subfolders(folder: Path | None, modality: str) -> Sets:
    """Name -> (modality, folder) of the subfolders of `folder`."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one subfolder per {modality} feature set")
    sets = {path.name: (modality, path) for path in sorted(folder.iterdir()) if path.is_dir()}
    if not sets:
        raise InputError(f"{folder}: no subfolder in it, expected one per {modality} feature set")
    return {checked_name(name, "feature set"): entry for name, entry in sets.items()}


def _feature_files(name: str, sets: Sets) -> tuple[tuple[str, Path], ...]:
    """A recording's file in each feature set; InputError naming every set that lacks it."""
    checked_name(name, "recording")
    files, problems = [], []
    for feature_set, (modality, folder) in sets.items():
        names = dict.fromkeys([name, video_of(name)] if modality == "audio" else [name])
        there = [folder / (one + suffix) for one in names for suffix in SUFFIXES]
        there = [file for file in there if file.is_file()]
        of_first = [file for file in there if file.stem == there[0].stem]
        if not there:
            problems.append(
                f"recording {name!r}: missing from feature set {feature_set!r}: no {' or '.join(names)} with "
                f"{', '.join(SUFFIXES)} in {folder}"
            )
        elif len(of_first) > 1:
            problems.append(f"recording {name!r}: {' and '.join(map(str, of_first))}: keep one")
        else:
            files.append((feature_set, there[0].resolve()))
    refuse(problems)
    return tuple(files)


def _crops(name: str, crops: Path | None) -> Path | None:
    if crops is None:
        return None
    if not (crops / name).is_dir():
        raise InputError(f"recording {name!r}: no folder of crops {crops / name}")
    return crops.resolve() / name


def _rates(path: Path | None, names: list[str], warnings: list[str]) -> dict[str, float]:
    known: dict[str, float] = {}
    if path is not None:
        texts, lines = by_recording(path, "frames_per_second")
        problems = []
        for name, text in texts.items():
            try:
                known[name] = float(text)
            except ValueError:
                known[name] = math.nan
            if not 0 < known[name] < math.inf:
                problems.append(f"{path}:{lines[name]}: frames_per_second {text!r}, expected a number above 0")
        refuse(problems)
    rates = {name: known.get(name, known.get(video_of(name), 0.0)) for name in names}
    lacking = [name for name in names if name not in known and video_of(name) not in known]
    if lacking:
        source = f"{path} has no row for" if path else "no file of frame rates (--frame-rates) for"
        warnings.append(
            f"{source} {lacking[0]!r}{and_more(len(lacking) - 1)}; {FRAMES_PER_SECOND:g} frames per second taken, "
            "while true rates run from 6 to 30"
        )
    return rates | dict.fromkeys(lacking, FRAMES_PER_SECOND)


def by_recording(path: Path, column: str) -> tuple[dict[str, str], dict[str, int]]:
    """recording -> `column` of a small CSV, and its line; InputError for missing columns, empty cells, repetitions."""
    missing = [name for name in ("recording", column) if name not in read_header(path)]
    if missing:
        raise InputError(f"{path}: column {missing[0]!r} is missing, expected the header recording,{column}")
    pairs: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems = []
    for row, line in zip(*read_texts(path), strict=True):
        if not row["recording"] or not row[column]:
            problems.append(f"{path}:{line}: empty cell, expected recording and {column}")
        elif row["recording"] in pairs:
            problems.append(f"{path}:{line}: recording {row['recording']!r} stands twice")
        pairs[row["recording"]] = row[column]
        lines[row["recording"]] = line
    refuse(problems)
    return pairs, lines

"""What an Aff-Wild2 import reads: label files of the official folders, the sample's test
recordings, feature files.

Conventions: a recording is the stem of its label file; its video is that name without _left or
_right. Feature files are found by name, audio under the recording's name first and then under its
video's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from va_search.data.dataset import two_spellings
from va_search.data.draft import Source, check_sources
from va_search.data.frame_names import recording_name
from va_search.data.nearby import Nearby, plain
from va_search.data.problems import and_more, not_used, refuse
from va_search.data.readers import read_header, read_texts
from va_search.data.sample import read_sample
from va_search.errors import InputError, counted, nearest_name
from va_search.files import check_regular, checked_name

FRAMES_PER_SECOND = 30.0
FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
SUFFIXES = (".npy", ".csv", ".parquet")
PERSON = re.compile(r"_(left|right)$")

Entry = tuple[
    str, str, Path, int | None
]  # recording, split, where its length comes from, frames if known
Sets = dict[str, tuple[str, Path]]  # feature set -> modality, folder


@dataclass(frozen=True)
class Places:
    """The folders and files the user named; `frame_rates` and `subjects` are CSVs keyed by
    recording."""

    annotations: Path
    visual: Path | None = None
    audio: Path | None = None
    sample: Path | None = None
    crops: Path | None = None
    frame_rates: Path | None = None
    subjects: Path | None = None


@dataclass(frozen=True)
class Affwild2Source(Source):
    """A recording with its label file (test: the sample file), its feature files by set, and its
    folder of crops."""

    labels: Path = Path()
    frames: int | None = None  # test: as many as the sample has
    features: tuple[tuple[str, Path], ...] = ()
    crops: Path | None = None


def video_of(recording: str) -> str:
    """The video a recording is one person of: its name without _left or _right."""
    return PERSON.sub("", recording)


def find_sources(places: Places, warnings: list[str]) -> list[Affwild2Source]:
    """Training, validation, then test recordings in the sample's order; InputError with everything
    missing.

    Feature sets of a recording come in one order, the same for all. `warnings` is added to.
    """
    entries = label_files(places.annotations) + sample_entries(places.sample, warnings)
    sets = feature_sets(places)
    names = [name for name, *_ in entries]
    problems: list[str] = []
    rates: dict[str, float] = {}
    people: dict[str, str] = {}
    try:
        rates = _rates(places.frame_rates, names, warnings)
    except InputError as error:
        problems += error.problems
    try:
        people = {} if places.subjects is None else people_of(places.subjects, names)
        warnings += _other_columns(places.frame_rates, "frames_per_second") + _other_columns(
            places.subjects, "subject"
        )
    except InputError as error:
        problems += error.problems
    folders = {name: Nearby(folder, SUFFIXES, _stems(names)) for name, (_, folder) in sets.items()}
    recordings: list[Affwild2Source] = []
    for entry in entries:
        name, split, labels, frames = entry
        try:
            features, crops = _feature_files(name, sets, folders), _crops(name, places.crops)
        except InputError as error:
            problems += error.problems
            continue
        files = (labels, *(file for _, file in features), *([crops] if crops else []))
        subject, rate = people.get(name, name), rates.get(name, FRAMES_PER_SECOND)
        source = Source(name, subject, video_of(name), split, None, rate, files)
        recordings.append(
            Affwild2Source(
                **vars(source), labels=labels, frames=frames, features=features, crops=crops
            )
        )
    conversions: dict[str, str] = {}
    for feature_set, folder in folders.items():
        warnings += _strangers(feature_set, folder)
        conversions = folder.conversions() | conversions
    refuse([*problems, *check_sources(recordings), *conversions.values()])
    return recordings


def _strangers(feature_set: str, folder: Nearby) -> list[str]:
    """A remark on feature files of no recording."""
    strangers = folder.strangers()
    if not strangers:
        return []
    which = "1 file is" if len(strangers) == 1 else f"{len(strangers)} files are"
    return [
        f"feature set {feature_set!r}: {which} of no recording and not imported: {_first_names(strangers)}"
    ]


def _stems(names: Sequence[str]) -> set[str]:
    """Names that feature files may have: recordings' and their videos'."""
    return {*names, *map(video_of, names)}


def feature_sets(places: Places) -> Sets:
    """Name -> (modality, folder) of every feature set; InputError when there are none or a name
    stands twice."""
    visual, audio = _subfolders(places.visual, "visual"), _subfolders(places.audio, "audio")
    refuse(
        [
            f"feature set {name!r} stands under visual and audio; names must differ"
            for name in visual
            if name in audio
        ]
    )
    if not visual and not audio:
        raise InputError(
            "no features: give --visual or --audio, a folder with one subfolder per feature set"
        )
    return visual | audio


def label_files(annotations: Path) -> list[Entry]:
    """Label files of the official folders, which may lie one level down."""
    if not annotations.is_dir():
        raise InputError(
            f"{annotations}: no such folder, expected one with {' and '.join(FOLDERS.values())}"
        )
    roots = [annotations, *sorted(path for path in annotations.iterdir() if path.is_dir())]
    roots = [root for root in roots if all((root / folder).is_dir() for folder in FOLDERS.values())]
    if not roots:
        inside = ", ".join(sorted(path.name for path in annotations.iterdir())[:8]) or "nothing"
        raise InputError(
            f"{annotations}: found {inside}, expected {' and '.join(FOLDERS.values())} here or one below"
        )
    entries: list[Entry] = []
    for split, folder in FOLDERS.items():
        files = sorted((roots[0] / folder).glob("*.txt"))
        if not files:
            raise InputError(f"{roots[0] / folder}: no <recording>.txt in it")
        for file in files:
            check_regular(file, "a label file")
        entries += [(file.stem, split, file.resolve(), None) for file in files]
    return entries


def sample_entries(sample: Path | None, warnings: list[str]) -> list[Entry]:
    """Test recordings in the sample's order; `warnings` is added to."""
    if sample is None:
        warnings.append("no sample file (--sample), so the store has no test recordings")
        return []
    return [
        (name, "test", sample.resolve(), frames) for name, frames in read_sample(sample, warnings)
    ]


def _subfolders(folder: Path | None, modality: str) -> Sets:
    """Name -> (modality, folder) of the subfolders of `folder`."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder, expected one subfolder per {modality} feature set"
        )
    sets = {path.name: (modality, path) for path in sorted(folder.iterdir()) if path.is_dir()}
    if not sets:
        raise InputError(f"{folder}: no subfolder in it, expected one per {modality} feature set")
    return {checked_name(name, "feature set"): entry for name, entry in sets.items()}


def _feature_files(
    name: str, sets: Sets, folders: dict[str, Nearby]
) -> tuple[tuple[str, Path], ...]:
    """A recording's file in each feature set; InputError naming every set that lacks it."""
    checked_name(name, "recording")
    files, problems = [], []
    for feature_set, (modality, folder) in sets.items():
        names = dict.fromkeys([name, video_of(name)] if modality == "audio" else [name])
        there = [folder / (stem + suffix) for stem in names for suffix in SUFFIXES]
        there = [file for file in there if file.is_file()]
        of_first = [file for file in there if file.stem == there[0].stem]
        if not there:
            problems.append(
                f"recording {name!r}: missing from feature set {feature_set!r}: no {' or '.join(names)} with "
                f"{', '.join(SUFFIXES)} in {folder}{folders[feature_set].instead_of(names)}"
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
        folders = [path.name for path in crops.iterdir() if path.is_dir()] if crops.is_dir() else []
        near = nearest_recording(name, folders)
        hint = f"; {near} is there: is it meant?" if near and plain(near) == plain(name) else ""
        raise InputError(f"recording {name!r}: no folder of crops {crops / name}{hint}")
    return crops.resolve() / name


def _rates(path: Path | None, names: list[str], warnings: list[str]) -> dict[str, float]:
    """Frames per second of each recording; a row may name the video instead, whose persons then
    share its rate."""
    if path is None:
        if names:
            warnings.append(
                f"no file of frame rates (--frame-rates) for {names[0]!r}{and_more(len(names) - 1)}; "
                f"{FRAMES_PER_SECOND:g} frames per second taken, while true rates run from 6 to 30"
            )
        return dict.fromkeys(names, FRAMES_PER_SECOND)
    given, lines, _ = _rows_by_recording(path, "frames_per_second")
    problems = []
    for name, text in given.items():
        if text and not 0 < _number(text) < math.inf:
            problems.append(
                f"{path}:{lines[name]}: frames_per_second {text!r}, expected a number above 0"
            )
    texts: dict[str, str] = {}
    try:
        texts = values_by_recording(path, "frames_per_second", names, videos=True)[0]
    except InputError as error:
        problems += error.problems
    refuse(problems)
    return {name: float(text) for name, text in texts.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def values_by_recording(
    path: Path, column: str, names: Sequence[str], *, videos: bool = False
) -> tuple[dict[str, str], dict[str, int]]:
    """`column` of a small CSV for each of the recordings `names`, and its line.

    Rows name recordings, as paths or media files too (`videos/v1.mp4` is v1); with `videos` a row
    may name the video of several persons. InputError for rows that name no recording, with the
    nearest name, and recordings without a row."""
    texts, lines, problems = _rows_by_recording(path, column)
    wanted = set(names)
    values: dict[str, str] = {}
    of_line: dict[str, int] = {}
    for exact in (True, False):  # a row of a person's own name goes before one of the video
        for given, text in texts.items():
            name = given if given in wanted else recording_name(given)
            own = [name] if name in wanted else []
            persons = (
                [other for other in names if video_of(other) == name and other not in own]
                if videos
                else []
            )
            if exact and not own and not persons:
                near = nearest_recording(name, names)
                hint = (
                    f"; did you mean {near!r}?" if near else f" (recordings: {_first_names(names)})"
                )
                problems.append(f"{path}:{lines[given]}: unknown recording {given!r}{hint}")
            for recording in own if exact else persons:
                if exact and recording in values:
                    problems.append(
                        f"{path}:{lines[given]}: recording {recording!r} is in line {of_line[recording]} already"
                    )
                elif recording not in values:
                    values[recording], of_line[recording] = text, lines[given]
    lacking = [name for name in names if name not in values]
    if lacking:
        problems.append(
            f"{path}: no row for {counted(len(lacking), 'recording')}: {_first_names(lacking)}; expected {column} of "
            "every recording"
        )
    refuse(problems)
    return values, of_line


def people_of(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The subject of each recording; InputError as `values_by_recording`, and where one has two
    spellings."""
    people, lines = values_by_recording(path, "subject", names)
    refuse(
        two_spellings(
            path,
            "subject",
            sorted(zip(people.values(), lines.values(), strict=True), key=itemgetter(1)),
        )
    )
    return people


def nearest_recording(name: str, names: Sequence[str]) -> str | None:
    """The one of `names` that differs in case, zeros or signs only, or is a person of that video,
    else the nearest."""
    same = [other for other in names if plain(other) == plain(name)]
    persons = [other for other in names if video_of(other) == name]
    return next(iter(same or persons), None) or nearest_name(name, names)


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _other_columns(path: Path | None, column: str) -> list[str]:
    """A remark on the columns of a small CSV that are not read."""
    if path is None:
        return []
    return not_used(path, [name for name in read_header(path) if name not in ("recording", column)])


def _rows_by_recording(path: Path, column: str) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """recording -> `column`, its line, and a problem for each empty cell and each repeated
    recording."""
    missing = [name for name in ("recording", column) if name not in read_header(path)]
    if missing:
        raise InputError(
            f"{path}: column {missing[0]!r} is missing, expected the header recording,{column}"
        )
    pairs: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems = []
    for row, line in zip(*read_texts(path), strict=True):
        if not row["recording"] or not row[column]:
            problems.append(f"{path}:{line}: empty cell, expected recording and {column}")
        elif row["recording"] in pairs:
            problems.append(f"{path}:{line}: recording {row['recording']!r} stands twice")
        if row["recording"]:
            pairs[row["recording"]] = row[column]
            lines[row["recording"]] = line
    return pairs, lines, problems

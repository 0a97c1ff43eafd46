"""Sources of an Aff-Wild2 import: which files belong to which recording, its video, its subject and
its frame rate.

Conventions: a recording's video is its name without _left or _right. Feature files are found by
name, audio under the recording's name first and then under its video's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from va_search.data.affwild2_files import official_recordings
from va_search.data.draft import Source, check_sources
from va_search.data.frame_names import recording_name
from va_search.data.listing import two_spellings
from va_search.data.nearby import Nearby, plain
from va_search.data.problems import and_more, not_used, refuse, shortened
from va_search.data.readers import ALL_SUFFIXES, USUAL_SUFFIXES, read_header, read_texts
from va_search.errors import InputError, counted, nearest_name
from va_search.files import checked_name

FRAMES_PER_SECOND = 30.0
PERSON = re.compile(r"_(left|right)$")
NAMES_SHOWN = 5

Sets = dict[str, tuple[str, Path]]
"""Feature set -> modality, folder."""


@dataclass(frozen=True)
class Affwild2Places:
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


def find_sources(places: Affwild2Places, warnings: list[str]) -> list[Affwild2Source]:
    """Training, validation, then test recordings in the sample's order; InputError with everything
    missing.

    Feature sets of a recording come in one order, the same for all. `warnings` is added to.
    """
    official = official_recordings(places.annotations, places.sample, warnings)
    sets = feature_sets(places)
    names = [recording.name for recording in official]
    problems: list[str] = []
    rates: dict[str, float] = {}
    people: dict[str, str] = {}
    try:
        rates = _frame_rates(places.frame_rates, names, warnings)
    except InputError as error:
        problems += error.problems
    try:
        if places.subjects is not None:
            people = people_of(places.subjects, names)
        warnings += _other_columns(places.frame_rates, "frames_per_second")
        warnings += _other_columns(places.subjects, "subject")
    except InputError as error:
        problems += error.problems
    stems = {*names, *map(video_of, names)}
    folders = {name: Nearby(folder, ALL_SUFFIXES, stems) for name, (_, folder) in sets.items()}
    sources: list[Affwild2Source] = []
    for recording in official:
        name = recording.name
        try:
            features = _feature_files(name, sets, folders)
            crops = _crops(name, places.crops)
        except InputError as error:
            problems += error.problems
            continue
        files = [recording.file, *(file for _, file in features)]
        if crops is not None:
            files.append(crops)
        # All files count in the recording's fingerprint: one that changes is read again.
        source = Affwild2Source(
            name=name,
            subject=people.get(name, name),
            video=video_of(name),
            split=recording.split,
            fold=None,
            frames_per_second=rates.get(name, FRAMES_PER_SECOND),
            files=tuple(files),
            labels=recording.file,
            frames=recording.frames,
            features=features,
            crops=crops,
        )
        sources.append(source)
    # Files of no recording may be meant for one, and other formats can be converted.
    conversions: dict[str, str] = {}
    for feature_set, folder in folders.items():
        strangers = folder.strangers()
        if strangers:
            are = "1 file is" if len(strangers) == 1 else f"{len(strangers)} files are"
            warnings.append(
                f"feature set {feature_set!r}: {are} of no recording and not imported: "
                f"{shortened(strangers, NAMES_SHOWN)}"
            )
        conversions = folder.conversions() | conversions
    refuse([*problems, *check_sources(sources), *conversions.values()])
    return sources


def feature_sets(places: Affwild2Places) -> Sets:
    """Modality and folder of every feature set; InputError when there are none or a name stands
    twice."""
    visual = _subfolders(places.visual, "visual")
    audio = _subfolders(places.audio, "audio")
    problems = []
    for name in visual:
        if name in audio:
            problems.append(
                f"feature set {name!r} stands under visual and audio; names must differ"
            )
    if not visual and not audio:
        problems.append(
            "no features: give --visual or --audio, a folder with one subfolder per feature set"
        )
    refuse(problems)
    return visual | audio


def _subfolders(folder: Path | None, modality: str) -> Sets:
    """Modality and path of the subfolders of `folder`, by their names."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder, expected one subfolder per {modality} feature set"
        )
    sets: Sets = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            sets[checked_name(path.name, "feature set")] = (modality, path)
    if not sets:
        raise InputError(f"{folder}: no subfolder in it, expected one per {modality} feature set")
    return sets


def _feature_files(
    name: str, sets: Sets, folders: dict[str, Nearby]
) -> tuple[tuple[str, Path], ...]:
    """A recording's file in each feature set; InputError naming every set that lacks it."""
    checked_name(name, "recording")
    chosen, problems = [], []
    for feature_set, (modality, folder) in sets.items():
        stems = [name]
        if modality == "audio" and video_of(name) != name:
            stems.append(video_of(name))
        files: list[Path] = []
        # Audio of the recording's own name goes before that of its video.
        for stem in stems:
            candidates = [folder / (stem + suffix) for suffix in ALL_SUFFIXES]
            files = [file for file in candidates if file.is_file()]
            if files:
                break
        if not files:
            problems.append(
                f"recording {name!r}: missing from feature set {feature_set!r}: no "
                f"{' or '.join(stems)} with {', '.join(USUAL_SUFFIXES)} in {folder}"
                f"{folders[feature_set].instead_of(stems)}"
            )
        elif len(files) > 1:
            problems.append(f"recording {name!r}: {' and '.join(map(str, files))}: keep one")
        else:
            chosen.append((feature_set, files[0].resolve()))
    refuse(problems)
    return tuple(chosen)


def _crops(name: str, crops: Path | None) -> Path | None:
    """The recording's folder of crops; InputError where it has none."""
    if crops is None:
        return None
    if (crops / name).is_dir():
        return crops.resolve() / name
    folders = []
    if crops.is_dir():
        folders = [path.name for path in crops.iterdir() if path.is_dir()]
    near = nearest_recording(name, folders)
    hint = ""
    if near and plain(near) == plain(name):
        hint = f"; {near} is there: is it meant?"
    raise InputError(f"recording {name!r}: no folder of crops {crops / name}{hint}")


def _frame_rates(path: Path | None, names: list[str], warnings: list[str]) -> dict[str, float]:
    """Frames per second of each recording; a row may name the video instead, whose persons then
    share its rate."""
    if path is None:
        if names:
            warnings.append(
                f"no file of frame rates (--frame-rates) for {names[0]!r}"
                f"{and_more(len(names) - 1)}; {FRAMES_PER_SECOND:g} frames per second taken, while "
                "true rates run from 6 to 30"
            )
        return dict.fromkeys(names, FRAMES_PER_SECOND)
    problems = []
    rows, _ = _rows_by_recording(path, "frames_per_second")
    for text, line in rows.values():
        if text and not 0 < _number(text) < math.inf:
            problems.append(f"{path}:{line}: frames_per_second {text!r}, expected a number above 0")
    texts: dict[str, str] = {}
    try:
        texts, _ = values_by_recording(path, "frames_per_second", names, videos=True)
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
    # Cells may be paths of media files; a row of a video is kept for persons without one.
    rows, problems = _rows_by_recording(path, column)
    recordings = set(names)
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    of_videos: dict[str, tuple[str, int]] = {}
    for cell, (text, line) in rows.items():
        name = cell if cell in recordings else recording_name(cell)
        persons = []
        if videos:
            persons = [
                candidate
                for candidate in names
                if video_of(candidate) == name and candidate != name
            ]
        if name in values:
            problems.append(f"{path}:{line}: recording {name!r} is in line {lines[name]} already")
        elif name in recordings:
            values[name], lines[name] = text, line
        elif not persons:
            near = nearest_recording(name, names)
            hint = f" (recordings: {shortened(names, NAMES_SHOWN)})"
            if near:
                hint = f"; did you mean {near!r}?"
            problems.append(f"{path}:{line}: unknown recording {cell!r}{hint}")
        for person in persons:
            of_videos.setdefault(person, (text, line))
    # A row of a person's own name goes before one of the video.
    for name, (text, line) in of_videos.items():
        if name not in values:
            values[name], lines[name] = text, line
    lacking = [name for name in names if name not in values]
    if lacking:
        problems.append(
            f"{path}: no row for {counted(len(lacking), 'recording')}: "
            f"{shortened(lacking, NAMES_SHOWN)}; expected {column} of every recording"
        )
    refuse(problems)
    return values, lines


def _rows_by_recording(path: Path, column: str) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """recording -> (`column`, its line), and a problem for each empty cell and each repeated
    recording."""
    header = read_header(path)
    for name in ("recording", column):
        if name not in header:
            raise InputError(
                f"{path}: column {name!r} is missing, expected the header recording,{column}"
            )
    values: dict[str, tuple[str, int]] = {}
    problems = []
    for row, line in zip(*read_texts(path), strict=True):
        name = row["recording"]
        if not name or not row[column]:
            problems.append(f"{path}:{line}: empty cell, expected recording and {column}")
        elif name in values:
            problems.append(f"{path}:{line}: recording {name!r} stands twice")
        if name:
            values[name] = row[column], line
    return values, problems


def people_of(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The subject of each recording; InputError as `values_by_recording`, and where one has two
    spellings."""
    people, lines = values_by_recording(path, "subject", names)
    cells = zip(people.values(), lines.values(), strict=True)
    refuse(two_spellings(path, "subject", sorted(cells, key=itemgetter(1))))
    return people


def nearest_recording(name: str, names: Sequence[str]) -> str | None:
    """The one of `names` that differs in case, zeros or signs only, or is a person of that video,
    else the nearest."""
    alike = [candidate for candidate in names if plain(candidate) == plain(name)]
    # A person of that video is nearer than any other name.
    alike += [candidate for candidate in names if video_of(candidate) == name]
    return alike[0] if alike else nearest_name(name, names)


def _other_columns(path: Path | None, column: str) -> list[str]:
    """A remark on the columns of a small CSV that are not read."""
    if path is None:
        return []
    return not_used(path, [name for name in read_header(path) if name not in ("recording", column)])

"""Frames by their names: numbers (`frame`) and images (`image_location`, such as v1/00001.jpg) in
a column of a file.

Conventions: frames count from 1 in files (frame i is image `{i:05d}.jpg`), or from 0 where every
file says so (`first_number`), and from 0 in arrays."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from va_search.data.arrays import EXACT, Floats
from va_search.data.clock import Frames, RecordingTimes, Times
from va_search.data.column_names import (
    FRAME,
    IMAGE,
    NUMBERING,
    Roles,
    is_session,
    roles_of,
    words_of,
)
from va_search.data.readers import (
    is_number,
    read_header,
    read_numbers,
    read_strings,
    where,
    wrong_rows,
)
from va_search.data.store import Recording, Store
from va_search.errors import InputError

CROP = re.compile(r"(\d+)\.(jpg|jpeg|png)", re.IGNORECASE)
IMAGE_NAME = re.compile(
    r"(?P<prefix>.*?)[ _.-]*(?P<number>\d{1,9})(?P<ending>\.(jpg|jpeg|png|bmp|webp))?",
    re.IGNORECASE,
)
IMAGE_PREFIXES = {"", "frame", "frames", "img", "image", "crop", "face"}
MEDIA = re.compile(
    r"\.(mp4|avi|mkv|mov|webm|m4v|mpg|mpeg|wmv|flv|wav|mp3|flac|m4a|ogg"
    r"|(csv|tsv|arff)(\.gz)?|txt|npy|npz|parquet|arrow|feather|h5|hdf5|mat|eaf)$",
    re.IGNORECASE,
)
NO_NAME = {"unknown", "'unknown'"}
"""How openSMILE writes the name of a recording that it was not told."""
GENERAL_FOLDERS = (
    "frames",
    "images",
    "faces",
    "crops",
    "cropped",
    "aligned",
    "cropped_aligned",
    ".",
)

Numbers = Floats


@dataclass(frozen=True)
class RecordingFrames:
    """The frames of one recording, as the rows of a file may name them.

    `names` are what rows may call the recording, its own name first. `source` says in messages
    where `frames` is from. `times` is the store's time column, (frames,) as it stood at the source,
    None where there is none; frame i is then at i / frames_per_second seconds. `people` are all of
    the data's people: rows of others than `person` are refused. `recordings` are the names of all
    recordings, as far as they are known."""

    names: tuple[str, ...]
    frames: int
    frames_per_second: float
    source: str = "the store"
    times: Times | None = None
    time_column: str | None = None
    person: str = ""
    people: frozenset[str] = frozenset()
    recordings: frozenset[str] = frozenset()

    @classmethod
    def of(cls, recording: Recording, store: Store) -> RecordingFrames:
        """The frames of one of a store's recordings."""
        return cls(
            names=(recording.name,),
            frames=recording.frames,
            frames_per_second=recording.frames_per_second,
            source=str(store.path),
            times=store.times[recording.start : recording.stop],
            time_column=store.time_column,
            person=recording.subject,
            people=frozenset(recording.subject for recording in store.recordings),
            recordings=frozenset(recording.name for recording in store.recordings),
        )

    @property
    def own_clock(self) -> str | None:
        """The store's time column, where it has a time for every frame."""
        if self.times is None or np.isnan(self.times).any():
            return None
        return self.time_column

    @property
    def frame_times(self) -> RecordingTimes:
        if self.times is None or self.own_clock is None:
            return RecordingTimes.of_rate(self.frames, self.frames_per_second)
        return RecordingTimes.of_store(self.times, self.own_clock, self.frames_per_second)

    def roles_of(self, file: Path, values: Iterable[str] = ()) -> Roles:
        """The roles of a file's columns, where the store's own time column is a clock whatever its
        name; see `with_sessions`."""
        roles = roles_of(read_header(file), values, self.own_clock)
        return with_sessions(file, roles, self.recordings.union(self.names), own=self.names)


def with_sessions(
    file: Path, roles: Roles, recordings: Collection[str], own: Collection[str] = ()
) -> Roles:
    """The roles of a file's columns, its `session` columns among the parts where they hold numbers
    that name none of `recordings`, or where another column names the recording.

    InputError for numbers of which some are recordings' names and not the file's `own`: they may
    name recordings as well as count parts."""
    sessions = tuple(name for name in roles.texts if is_session(name))
    naming = tuple(name for name in roles.texts if name not in sessions)
    parts = []
    for column in sessions:
        cells = list(dict.fromkeys(read_strings(file, column)))
        if not all(map(is_number, cells)):
            continue
        named = [cell for cell in cells if cell in recordings]
        if naming or not named:
            parts.append(column)
        elif set(cells) != set(own):
            raise InputError(
                f"{file}: column {column!r} holds numbers, and {named[0]!r} is a recording's name "
                "too: call the column `recording` where it names the recording of each row, "
                "`segment` where it counts parts of a recording"
            )
    texts = tuple(name for name in roles.texts if name not in parts)
    return replace(roles, texts=texts, parts=(*roles.parts, *parts))


def recording_name(text: str) -> str:
    """A recording's name out of a path or a media file's name: `/data/v1.mp4` is v1."""
    path = text.strip().strip("'").replace("\\", "/").rstrip("/")  # openSMILE writes 'v1'
    return unicodedata.normalize("NFC", MEDIA.sub("", path.rpartition("/")[2]))


def nearest(known: Frames, frames: int) -> Frames:
    """(frames,) for each frame the position in `known` (increasing frame numbers) of the nearest;
    the earlier where two are equally near."""
    numbers = np.arange(frames)
    right = np.searchsorted(known, numbers).clip(0, len(known) - 1)
    left = (right - 1).clip(0)
    is_left = np.abs(numbers - known[left]) <= np.abs(known[right] - numbers)
    return np.where(is_left, left, right)


def first_number(files: Mapping[Path, RecordingFrames]) -> int:
    """0 where every file that numbers frames begins at 0; else 1, as the challenge counts.

    One file alone can't tell: where frame 0 is left out, 1 to n − 1 are frames counted from either.
    So one file without a frame 0 makes it 1 for all, and those with a frame 0 are then refused."""
    numbered = False
    for file, recording in files.items():
        try:
            # Frames are read as if they counted from 0, so that a 0 is seen.
            roles = recording.roles_of(file)
            for column in (*roles.frames, *roles.texts):
                frames = frames_of_column(file, column, recording, 0)
                if frames is None:
                    continue
                if not len(frames) or frames.min() != 0:
                    return 1
                numbered = True
        except InputError:  # what is wrong with the file is told where it is read
            return 1
    return 0 if numbered else 1


def numbers_or_none(file: Path, column: str) -> Numbers | None:
    """(rows,) of a column; None where it holds text."""
    try:
        return read_numbers(file, [column])[:, 0]
    except InputError:
        return None


def frames_of_column(
    file: Path, column: str, recording: RecordingFrames, first: int
) -> Frames | None:
    """(rows,) frames from 0 by a column of numbers or images; None where it names the recording and
    no frame. InputError for rows that name neither, or another recording."""
    words = set(words_of(column))
    is_numbering = bool(words & FRAME) or bool(words & IMAGE and words <= IMAGE | NUMBERING)
    # A column of frames may hold numbers or images; one of images or files holds names only.
    if is_numbering:
        numbers = numbers_or_none(file, column)
        if numbers is not None:
            return _frames_of_numbers(file, column, numbers, first)
    return _frames_of_images(file, column, recording, first, needs_frames=is_numbering)


def _frames_of_numbers(file: Path, column: str, numbers: Numbers, first: int) -> Frames:
    is_frame = (numbers >= first) & (numbers == np.floor(numbers)) & (numbers < EXACT)
    if wrong := wrong_rows(file, ~is_frame):
        number = numbers[wrong.row]
        hint = ""
        if number == 0:
            hint = (
                "; frame 1 is the first (image 00001.jpg): if these count from 0, add 1 to each, "
                "in all files"
            )
        raise InputError(
            f"{wrong.position}: {column} {number:g}{wrong.more}, expected a whole number from "
            f"{first}{hint}"
        )
    return numbers.astype(np.int64) - first


def _frames_of_images(
    file: Path, column: str, recording: RecordingFrames, first: int, *, needs_frames: bool
) -> Frames | None:
    """(rows,) frames by images such as v1/00001.jpg; None where all rows name the recording
    itself, unless the column `needs_frames`."""
    texts = read_strings(file, column)
    own = {unicodedata.normalize("NFC", name) for name in recording.names}
    numbers = np.zeros(len(texts), dtype=np.int64)
    is_named = np.zeros(len(texts), dtype=bool)
    expected = "an image such as 00001.jpg"
    if not needs_frames:
        expected = f"the recording's name or {expected}"
    for row, text in enumerate(texts):
        names = {recording_name(text), unicodedata.normalize("NFC", text)}
        if text in NO_NAME or (not needs_frames and names & own):
            continue
        # The recording's own name may stand in the folder or before the number.
        image = _parse_image(text, own, needs_frames=needs_frames)
        stranger = image.stranger
        if image.number is None and not needs_frames and text:
            stranger = recording_name(text)
        if stranger is not None:
            hint = ""
            if is_session(column):
                hint = "; if it tells parts of the recording apart, call it `segment`"
            raise InputError(
                f"{where(file, row)}: column {column!r} names {stranger!r} ({text!r}), but the "
                f"file is of recording {recording.names[0]!r}; expected rows of one recording, the "
                f"file's own{hint}"
            )
        if image.number is None or image.number < first:
            raise InputError(f"{where(file, row)}: {column} {text!r}, expected {expected}")
        numbers[row] = image.number - first
        is_named[row] = True
    # Either every row names a frame or none does.
    if not is_named.any() and not needs_frames:
        return None
    if not is_named.all():
        row = int(np.argmin(is_named))
        raise InputError(
            f"{where(file, row)}: {column} {texts[row]!r}, expected {expected} as in other rows"
        )
    return numbers


@dataclass(frozen=True)
class _Image:
    """The frame number in an image's path, and the name of another recording in it; None where
    there is none."""

    number: int | None
    stranger: str | None


def _parse_image(text: str, own: set[str], *, needs_frames: bool) -> _Image:
    *folders, name = [part for part in text.replace("\\", "/").split("/") if part] or [""]
    telling = [recording_name(part) for part in folders if part.lower() not in GENERAL_FOLDERS]
    folder = telling[-1] if telling else None
    stranger = None if folder in own else folder
    match = IMAGE_NAME.fullmatch(name)
    if match is None:
        return _Image(None, stranger)
    number = int(match["number"])
    prefix = unicodedata.normalize("NFC", match["prefix"])
    if prefix in own:
        return _Image(number, stranger)
    # v1_0012.jpg names a recording, frame_0012.jpg none.
    is_plain = prefix.lower() in IMAGE_PREFIXES
    if match["ending"] is None and not (is_plain and (needs_frames or folder is not None)):
        # A bare number in a column such as `video` is a recording's name.
        return _Image(None, stranger)
    return _Image(number, stranger if is_plain else prefix)

"""Which row of a file is which frame of a recording: the one reader for features, predictions,
labels and samples.

A file's own columns say it (column_roles.py): a number of the frame (`frame`), an image
(`image_location`, such as v1/00001.jpg), or a time (`timestamp`, `Time (s)`). Where it has several
they must agree. Where it has none the caller may go by row counts, once `refuse_shuffled` has seen
no sign of another order.

Conventions: frames count from 1 in files (frame i is image `{i:05d}.jpg`) and from 0 in arrays.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.column_roles import FRAME, IMAGE, NUMBERING, SUBJECT, Roles, roles_of, words_of
from va_search.data.frame_times import (
    FrameTimes,
    Times,
    frames_at,
    rate_of,
    times_of_rate,
    times_of_store,
)
from va_search.data.importing import refuse
from va_search.data.sheet import (
    and_more,
    empty_lines,
    exact,
    first_cells,
    is_number,
    read_header,
    read_numbers,
    read_strings,
    seconds_of,
    where,
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
    r"\.(mp4|avi|mkv|mov|webm|m4v|mpg|mpeg|wmv|flv|wav|mp3|flac|m4a|ogg|csv|txt|npy|parquet)$",
    re.IGNORECASE,
)
NO_NAME = {"unknown", "'unknown'"}
"""How openSMILE writes the name of a recording that it was not told."""
GENERAL_FOLDERS = {
    "frames",
    "images",
    "faces",
    "crops",
    "cropped",
    "aligned",
    "cropped_aligned",
    ".",
}
RATE_APART = 0.005
"""Share by which a clock's rate may lie away from the recording's before it is reported."""
REACHED = 0.98
"""Share of a recording that frames must reach which a clock of another rate names."""
FEW_ROWS = 3
MOST_HOLES = 3
"""So many times as long as its rows take may a column run that is seen as evenly spaced."""
EVEN = 0.1
MOST_COLUMNS = 50
"""Beyond so many columns that have no role, they are the file's values and not looked at."""

Frames = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RecordingFrames:
    """The frames of one recording, as the rows of a file may name them.

    `names` are what rows may call the recording, its own name first. `source` says in messages
    where `frames` is from. `times` is the store's time column, (frames,) as it stood at the source,
    None where there is none; frame i is then at i / frames_per_second seconds. `people` are all of
    the data's people: rows of others than `person` are refused."""

    names: tuple[str, ...]
    frames: int
    frames_per_second: float
    source: str = "the store"
    times: Times | None = None
    time_column: str | None = None
    person: str = ""
    people: frozenset[str] = frozenset()

    @classmethod
    def of(cls, recording: Recording, store: Store) -> RecordingFrames:
        """The frames of one of a store's recordings."""
        times = store.times[recording.start : recording.stop]
        people = frozenset(other.subject for other in store.recordings)
        return cls(
            (recording.name,), recording.frames, recording.frames_per_second, str(store.path), times,
            store.time_column, recording.subject, people,
        )  # fmt: skip

    @property
    def has_times(self) -> bool:
        """True when the store has a time for every frame."""
        return (
            self.times is not None
            and self.time_column is not None
            and not np.isnan(self.times).any()
        )

    @property
    def frame_times(self) -> FrameTimes:
        if self.times is None or self.time_column is None or not self.has_times:
            return times_of_rate(self.frames, self.frames_per_second)
        return times_of_store(self.times, self.time_column, self.frames_per_second)

    def roles_of(self, header: Iterable[str], values: Iterable[str] = ()) -> Roles:
        """The roles of a file's columns, where the store's own time column is a clock whatever its
        name."""
        return roles_of(header, values, self.time_column if self.has_times else None)


@dataclass(frozen=True)
class NamedRows:
    """`frames` (rows,) from 0 as the columns `by` name them, None where nothing does; `unused` are
    the other columns that are no values, `remarks` what a reader of the result should know."""

    frames: Frames | None
    by: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlacedRows:
    """`frames` (rows,) of the recording from 0, each once; `unused` columns, and remarks on the
    file."""

    frames: Frames
    unused: tuple[str, ...]
    remarks: tuple[str, ...]


def name_rows(file: Path, roles: Roles, recording: RecordingFrames, *, first: int = 1) -> NamedRows:
    """The frame of each row of a CSV or Parquet file, by every column of it that names frames.

    Frames may lie outside the recording; whether that is an error is the caller's business. `first`
    is the number of the first frame. InputError for rows of another recording, of several people,
    columns that contradict each other, a time that is no frame's."""
    named: dict[str, Frames] = {}
    problems: list[str] = []
    for column in (*roles.frames, *roles.texts):
        try:
            frames = _numbered(file, column, recording, first)
        except InputError as error:
            problems += error.problems
            continue
        if frames is not None:
            named[column] = frames
    refuse(problems)
    _refuse_contradictions(file, named, first)
    known = next(iter(named.values()), None)
    clocks, remarks = _clocks(file, roles.clocks, recording, known)
    named |= clocks
    _refuse_contradictions(file, named, first)
    frames = next(iter(named.values()), None)
    _refuse_several_people(file, roles.people, frames)
    refuse(
        _rows_of_another(file, _subjects(roles), recording, {recording.person}, recording.people)
    )
    rest = (
        *roles.frames,
        *roles.clocks,
        *roles.people,
        *roles.success,
        *roles.rows,
        *roles.parts,
        *roles.others,
    )
    unused = tuple(
        name for name in rest if name not in named
    )  # texts that are no images name the recording
    return NamedRows(frames, tuple(named), unused, tuple(remarks))


def place_rows(
    file: Path,
    recording: RecordingFrames,
    values: Sequence[str],
    by_count: Callable[[], Frames],
    *,
    first: int = 1,
) -> PlacedRows:
    """The frame of each row of a sheet of the columns `values`.

    `by_count` is asked where no column names frames. InputError for frames outside the recording,
    frames with two rows, and whatever `name_rows` and `refuse_shuffled` refuse."""
    roles = recording.roles_of(read_header(file), values)
    named = name_rows(file, roles, recording, first=first)
    unused = (*(name for name in roles.values if name not in values), *named.unused)
    if named.frames is None:
        numbered = refuse_shuffled(file, roles, values)
        refuse(empty_lines(file) if file.suffix == ".csv" else [])
        frames = by_count()
        _refuse_other_rows(file, numbered, frames, recording)
        return PlacedRows(frames, unused, named.remarks)
    refuse_outside(file, named.frames, recording, first=first)
    refuse_repeated(file, named.frames, named.by)
    return PlacedRows(named.frames, unused, named.remarks)


def refuse_repeated(file: Path, frames: Frames, by: tuple[str, ...]) -> None:
    """InputError where a frame has two rows."""
    order = np.argsort(frames, kind="stable")
    twice = np.flatnonzero(np.diff(frames[order]) == 0)
    if twice.size:
        row = int(order[twice[0] + 1])
        named = f", by column {by[0]!r}" if by else ""
        raise InputError(
            f"{where(file, row)}: frame {frames[row] + 1} has two rows{and_more(twice.size - 1)}{named}; expected one "
            "row a frame"
        )


def refuse_outside(
    file: Path, frames: Frames, recording: RecordingFrames, *, first: int = 1
) -> None:
    """InputError where rows name frames before the first of the recording or behind its last."""
    outside = np.flatnonzero((frames < 0) | (frames >= recording.frames))
    if outside.size:
        row = int(outside[0])
        raise InputError(
            f"{where(file, row)}: frame {frames[row] + first}{and_more(outside.size - 1)}, but the recording has "
            f"{recording.frames} frames, numbered from {first} to {recording.frames + first - 1}"
        )


def refuse_shuffled(file: Path, roles: Roles, values: Sequence[str]) -> dict[str, Numbers]:
    """InputError where a column that nobody uses shows that rows do not stand in the frames' order.

    A column that numbers rows or segments by its name must not go back from row to row, nor must
    any other that is not in `values` and runs in equal steps: it names something that row counts
    would ignore. Those that number rows are returned, (rows,) each."""
    problems = []
    numbered = {}
    others = [name for name in roles.values if name not in values][:MOST_COLUMNS]
    for column in (*roles.rows, *roles.parts, *others):
        numbers = _ordering(file, column)
        if numbers is None or not (column not in others or runs_evenly(numbers)):
            continue
        if column not in roles.parts:
            numbered[column] = numbers
        back = np.flatnonzero(np.diff(numbers) < 0)
        if back.size:
            row = int(back[0]) + 1
            problems.append(
                f"{where(file, row)}: column {column!r} is not used, but by its numbers the rows are in another order "
                f"({exact(numbers[row])} after {exact(numbers[row - 1])}): does it name frames? Then call it `frame` "
                "(numbers from 1) or `time`; otherwise sort the rows by frame and remove it"
            )
    refuse(problems)
    return numbered


def refuse_ignored(
    file: Path,
    columns: Sequence[str],
    recording: RecordingFrames,
    recordings: Collection[str],
    *,
    ordered: bool,
) -> None:
    """InputError where columns that are to be ignored show that rows are not the recording's
    frames, one by one.

    Rows of another of `recordings`, of another person or of several are refused, and, unless the
    rows are `ordered` by a time anyway, numbers that are all different and go back: frames, times
    or row numbers of rows in another order."""
    roles = roles_of(columns)
    cells = first_cells(file, columns)
    people = tuple(
        name for name in roles.people if "speaker" not in words_of(name)
    )  # who speaks may change
    texts = [name for name in (*roles.texts, *roles.frames) if not is_number(cells.get(name, ""))]
    problems = _rows_of_another(
        file, _subjects(roles), recording, {recording.person}, recording.people
    )
    problems += _rows_of_another(file, texts, recording, recording.names, recordings)
    try:
        _refuse_several_people(file, people, None)
    except InputError as error:
        problems += error.problems
    by_name = (*roles.clocks, *roles.frames, *roles.texts, *roles.rows)
    candidates = () if ordered else (*by_name, *roles.values[:MOST_COLUMNS])
    for column, numbers in _orderings(file, candidates, cells, by_name).items():
        if len(np.unique(numbers)) < len(numbers) or not (np.diff(numbers) < 0).any():
            continue
        if column not in by_name and not runs_evenly(numbers):
            continue
        row = int(np.argmax(np.diff(numbers) < 0)) + 1
        problems.append(
            f"{where(file, row)}: column {column!r} is ignored, but by its numbers the rows are in another order "
            f"({exact(numbers[row])} after {exact(numbers[row - 1])}), and rows are taken as frames one after another; "
            "sort the rows by it, or take it out of the files if it numbers nothing"
        )
    refuse(problems)


def _subjects(roles: Roles) -> list[str]:
    """The columns that name subjects as recordings do: a `face_id` or a `speaker` may have numbers
    of its own."""
    return [name for name in roles.people if set(words_of(name)) & SUBJECT]


def _rows_of_another(
    file: Path,
    columns: Iterable[str],
    recording: RecordingFrames,
    own: Collection[str],
    known: Collection[str],
) -> list[str]:
    """A problem for each column with a row that names one of the `known` people or recordings that
    is not an `own`.

    The name may be a part of a path.
    """
    problems = []
    for column in columns:
        for row, text in enumerate(read_strings(file, column) if known else ()):
            parts = [text, *(recording_name(part) for part in re.split(r"[/\\]", text))]
            others = [part for part in parts if part in known]
            if others and not set(parts).intersection(own):
                problems.append(
                    f"{where(file, row)}: column {column!r} names {others[0]!r}, but the file is of recording "
                    f"{recording.names[0]!r}; expected rows of one recording and its own person"
                )
                break
    return problems


def _refuse_other_rows(
    file: Path, numbered: Mapping[str, Numbers], frames: Frames, recording: RecordingFrames
) -> None:
    """InputError where rows laid by their count on some of the frames have numbers that tell of
    other frames.

    Numbers in steps of 1 from 0 or 1, or beyond the recording's frames (of a table of several
    recordings), only count the rows; all others must go with the frames."""
    if len(frames) == recording.frames or len(frames) < FEW_ROWS:
        return
    for column, numbers in numbered.items():
        counts = bool((np.diff(numbers) == 1).all()) and (
            numbers[0] in (0, 1) or numbers[-1] > recording.frames
        )
        apart = numbers - frames
        goes_along = bool((apart == apart[0]).all()) and (
            apart[0] in (0, 1) or numbers[-1] > recording.frames
        )
        if not (counts or goes_along):
            raise InputError(
                f"{file}: {len(numbers)} rows, as many as frames have a label, but column {column!r}, which is not "
                f"used, numbers them {numbers[0]:g} to {numbers[-1]:g} and those frames are {frames[0] + 1} to "
                f"{frames[-1] + 1}: does it name frames? Then call it `frame` (numbers from 1); otherwise remove it"
            )


def _orderings(
    file: Path, columns: Sequence[str], cells: Mapping[str, str], by_name: Sequence[str]
) -> dict[str, Numbers]:
    """What `_ordering` finds of each column, those of numbers read at once; `cells` are those of
    the first row.

    Texts of columns that are not `by_name` bookkeeping are looked at only where they begin with a
    time."""
    numeric = [name for name in columns if is_number(cells.get(name, ""))]
    texts = [name for name in columns if name not in numeric]
    orderings: dict[str, Numbers | None] = {}
    try:
        sheet = read_numbers(file, numeric) if numeric else np.empty((0, 0))
        orderings = {
            name: None if np.isnan(column).any() else column
            for name, column in zip(numeric, sheet.T, strict=True)
        }
    except InputError:  # some column has a text further down
        texts += [name for name in numeric if name in by_name]
    for name in texts:
        if name in by_name or seconds_of(cells.get(name, "")) is not None:
            orderings[name] = (
                _ordering(file, name) if name in numeric else _ordering_of_texts(file, name)
            )
    return {name: numbers for name, numbers in orderings.items() if numbers is not None}


def _ordering(file: Path, column: str) -> Numbers | None:
    """(rows,) the numbers of a column, or of its texts; None where some cell has none."""
    numbers = _as_numbers(file, column)
    if numbers is not None:
        return None if np.isnan(numbers).any() else numbers
    return _ordering_of_texts(file, column)


def _ordering_of_texts(file: Path, column: str) -> Numbers | None:
    """(rows,) the seconds of times of day, or the numbers at the end of texts: `x_0012` is 12."""
    texts = read_strings(file, column)
    seconds = [seconds_of(text) for text in texts]
    if all(second is not None for second in seconds):
        return np.array(seconds, dtype=np.float64)
    ends = [re.search(r"(\d{1,15})\D*$", text) for text in texts]
    return np.array([float(end[1]) for end in ends if end]) if all(ends) else None


def runs_evenly(numbers: Numbers) -> bool:
    """True for values that, sorted, are all different and in equal steps but for holes: row numbers
    or a clock."""
    if len(numbers) < FEW_ROWS or not np.isfinite(numbers).all():
        return False
    steps = np.diff(np.sort(numbers))
    step = float(steps.min())
    if step <= 0 or steps.sum() > MOST_HOLES * len(numbers) * step:
        return False
    multiples = steps / step  # of a rounded clock (0.033, 0.067, 0.1) they are not quite whole
    return bool((np.abs(multiples - np.round(multiples)) <= EVEN * multiples).all())


def first_number(files: Mapping[Path, RecordingFrames]) -> int:
    """0 where every file that numbers frames begins at 0; else 1, as the challenge counts.

    One file alone can't tell: where frame 0 is left out, 1 to n − 1 are frames counted from either.
    So one file without a frame 0 makes it 1 for all, and those with a frame 0 are then refused."""
    numbered = False
    for file, recording in files.items():
        try:
            roles = recording.roles_of(read_header(file))
            columns = [
                _numbered(file, column, recording, 0) for column in (*roles.frames, *roles.texts)
            ]
        except InputError:  # what is wrong with the file is told where it is read
            return 1
        for frames in columns:
            if frames is None:
                continue
            if not len(frames) or frames.min() != 0:
                return 1
            numbered = True
    return 0 if numbered else 1


def recording_name(text: str) -> str:
    """A recording's name out of a path or a media file's name: `/data/v1.mp4` is v1."""
    last = (
        text.strip().strip("'").replace("\\", "/").rstrip("/").rpartition("/")[2]
    )  # openSMILE writes 'v1'
    return unicodedata.normalize("NFC", MEDIA.sub("", last))


def frame_numbers(file: Path, column: str) -> list[float]:
    """The numbers of a column, NaN where there is none; InputError where it holds text."""
    return [float(number) for number in read_numbers(file, [column])[:, 0]]


def nearest(known: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    """For each of `frames` frames, the position in `known` (increasing frame numbers) of the
    nearest; ties go back."""
    wanted = np.arange(frames)
    after = np.searchsorted(known, wanted).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    earlier = np.abs(wanted - known[before]) <= np.abs(known[after] - wanted)
    return np.where(earlier, before, after)


def _numbered(file: Path, column: str, recording: RecordingFrames, first: int) -> Frames | None:
    """(rows,) frames from 0 by a column of numbers or images; None where it names the recording and
    no frame."""
    words = set(words_of(column))
    counts_frames = bool(words & FRAME) or bool(words & IMAGE and words <= IMAGE | NUMBERING)
    if counts_frames:
        numbers = _as_numbers(file, column)
        if numbers is not None:
            return _whole_numbers(file, column, numbers, first)
    return _images(file, column, recording, first, needs_frames=counts_frames)


def _whole_numbers(file: Path, column: str, numbers: Numbers, first: int) -> Frames:
    bad = np.flatnonzero(
        ~(numbers >= first) | (numbers != np.floor(numbers)) | (numbers >= 2.0**53)
    )
    if bad.size:
        row = int(bad[0])
        hint = ""
        if numbers[row] == 0:
            hint = "; frame 1 is the first (image 00001.jpg): if these count from 0, add 1 to each, in all files"
        raise InputError(
            f"{where(file, row)}: {column} {numbers[row]:g}{and_more(bad.size - 1)}, expected a whole number from "
            f"{first}{hint}"
        )
    return numbers.astype(np.int64) - first


def _images(
    file: Path, column: str, recording: RecordingFrames, first: int, *, needs_frames: bool
) -> Frames | None:
    """(rows,) frames by images such as v1/00001.jpg; None where all rows name the recording
    itself."""
    texts = read_strings(file, column)
    own = {unicodedata.normalize("NFC", name) for name in recording.names}
    numbers = np.zeros(len(texts), dtype=np.int64)
    named = np.zeros(len(texts), dtype=bool)
    expected = (
        "an image such as 00001.jpg"
        if needs_frames
        else "the recording's name or an image such as 00001.jpg"
    )
    for row, text in enumerate(texts):
        if text in NO_NAME:
            continue
        if not needs_frames and (
            recording_name(text) in own or unicodedata.normalize("NFC", text) in own
        ):
            continue
        folder, number, other = _parse_image(text, own, needs_frames=needs_frames)
        if number is None and not needs_frames and text:
            other = recording_name(text)
        stranger = (
            other
            if other is not None
            else folder
            if folder is not None and folder not in own
            else None
        )
        if stranger is not None:
            raise InputError(
                f"{where(file, row)}: column {column!r} names {stranger!r} ({text!r}), but the file is of recording "
                f"{recording.names[0]!r}; expected rows of one recording, the file's own"
            )
        if number is None or number < first:
            raise InputError(f"{where(file, row)}: {column} {text!r}, expected {expected}")
        numbers[row], named[row] = number - first, True
    if not named.any() and not needs_frames:
        return None
    if not named.all():
        row = int(np.argmin(named))
        raise InputError(
            f"{where(file, row)}: {column} {texts[row]!r}, expected {expected} as in other rows"
        )
    return numbers


def _parse_image(
    text: str, own: set[str], *, needs_frames: bool
) -> tuple[str | None, int | None, str | None]:
    """(folder, frame number, another recording's name) of an image's path, each None where it is
    not told."""
    *folders, last = [part for part in text.replace("\\", "/").split("/") if part] or [""]
    telling = [recording_name(part) for part in folders if part.lower() not in GENERAL_FOLDERS]
    folder = telling[-1] if telling else None
    match = IMAGE_NAME.fullmatch(last)
    if match is None:
        return folder, None, None
    prefix = unicodedata.normalize("NFC", match["prefix"])
    if prefix in own:
        return folder, int(match["number"]), None
    plain = prefix.lower() in IMAGE_PREFIXES
    if match["ending"] is None and not (plain and (needs_frames or folder is not None)):
        return folder, None, None  # a bare number in a column such as `video` is a recording's name
    return folder, int(match["number"]), None if plain else prefix


def _clocks(
    file: Path, columns: tuple[str, ...], recording: RecordingFrames, known: Frames | None
) -> tuple[dict[str, Frames], list[str]]:
    """(rows,) frames by each column of times that fits the frames' times, and remarks on those that
    do not.

    The store's own time column must fit, and so must one clock where no `known` frames are named by
    other columns. Beside known frames another clock, of another beginning or a rate that is not
    exactly known, only has to increase."""
    own = recording.time_column if recording.has_times else None
    if own in columns:  # whatever other clocks say
        columns = tuple(name for name in columns if name == own)
    fitting: dict[str, Frames] = {}
    remarks: list[str] = []
    problems: list[str] = []
    for column in columns:
        given = None
        try:
            given = read_numbers(file, [column])[:, 0]
            fitting[column] = frames_at(file, column, given, recording.frame_times)
        except InputError as error:
            if known is None or column == own:
                problems += error.problems
            elif given is not None:
                remarks += _other_rate(file, column, rate_of(given, known, column), recording)
                problems += _ends_early(known, recording, remarks)
        if known is not None and given is not None:
            problems += _backward(file, column, given, known)
    if known is not None or not fitting:
        refuse(problems)
    return fitting, remarks


def _other_rate(
    file: Path, column: str, rate: float | None, recording: RecordingFrames
) -> list[str]:
    """A remark where the times of frames are at another rate than the recording's."""
    if rate is None or abs(rate / recording.frames_per_second - 1) <= RATE_APART:
        return []
    return [
        f"{file}: its column {column!r} steps as {rate:.4g} frames per second do, but "
        f"{recording.frames_per_second:g} are taken"
    ]


def _ends_early(known: Frames, recording: RecordingFrames, remarks: list[str]) -> list[str]:
    """A problem where frames of another rate, on which there are `remarks`, end before the
    recording does.

    Numbers of rows at another rate (openSMILE's frameIndex) do; numbers of frames of a video whose
    rate was not given reach the recording's end."""
    last = int(known.max()) + 1
    if not remarks or last >= min(REACHED * recording.frames, recording.frames - 2):
        return []
    return [
        f"{remarks[-1]}, and its frames end at {last} of {recording.frames}: are they frames of the recording? Correct "
        "the recording's frame rate, or the numbers"
    ]


def _backward(file: Path, column: str, given: Times, known: Frames) -> list[str]:
    """A problem where times do not increase with the frames that other columns name."""
    order = np.argsort(known, kind="stable")
    back = np.flatnonzero(~(np.diff(given[order]) > 0) & (np.diff(known[order]) > 0))
    if not back.size:
        return []
    before, row = int(order[back[0]]), int(order[back[0] + 1])
    return [
        f"{where(file, row)}: {column} {given[row]:g} of frame {known[row] + 1} after {given[before]:g} of frame "
        f"{known[before] + 1}{and_more(back.size - 1)}; times must increase with the frames"
    ]


def _refuse_contradictions(file: Path, named: dict[str, Frames], first: int) -> None:
    """InputError where two columns put a row on different frames."""
    columns = list(named)
    for other in columns[1:]:
        apart = np.flatnonzero(named[columns[0]] != named[other])
        if apart.size:
            row = int(apart[0])
            raise InputError(
                f"{where(file, row)}: column {columns[0]!r} says frame {named[columns[0]][row] + first} and column "
                f"{other!r} frame {named[other][row] + first}{and_more(apart.size - 1)}; remove the wrong one"
            )


def _refuse_several_people(file: Path, people: tuple[str, ...], frames: Frames | None) -> None:
    """InputError where a column tells several people or faces apart: one file is of one person."""
    for column in people:
        texts = read_strings(file, column)
        different = list(dict.fromkeys(texts))
        if len(different) < 2:
            continue
        row = next(row for row, text in enumerate(texts) if text != texts[0])
        twice = ""
        if frames is not None and len(np.unique(frames)) < len(frames):
            twice = ", several of them in one frame"
        names = ", ".join(map(repr, different[:4])) + (", …" if len(different) > 4 else "")
        raise InputError(
            f"{where(file, row)}: column {column!r} tells {len(different)} people apart ({names}){twice}; keep the "
            "rows of the recording's own person, or remove the column where all are the same person"
        )


def _as_numbers(file: Path, column: str) -> Numbers | None:
    """(rows,) of a column; None where it holds text."""
    try:
        return read_numbers(file, [column])[:, 0]
    except InputError:
        return None

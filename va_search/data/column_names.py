"""Columns by their names: values, or bookkeeping that numbers a frame, tells a time, names a
recording; and which columns of a file a list of names and patterns means.

Conventions: a name is cut into lower-case words at camelCase, digits and signs, and run-together
words of the vocabulary are cut apart (`frameTime`, `Time (s)`, `image_location`, `timestamp_ms`,
`face id`). A column has a role only where every word of its name belongs to that role's vocabulary:
`image_17` and `MeanVoicedSegmentLengthSec` are values. A `(s)` behind a countable noun is its
plural: `frame(s)` counts frames."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from va_search.data.problems import near_name, unknown_column
from va_search.errors import InputError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SPELLINGS = {
    "seconds": "seconds second secs sec s",
    "milliseconds": "milliseconds millisecond millis msecs msec ms",
    "microseconds": "microseconds microsecond micros usecs usec us µs μs",
    "nanoseconds": "nanoseconds nanosecond nanos nsecs nsec ns",
    "frames": "frames frame",
}
"""Units of a time column, as people write them."""
UNITS: dict[str, str] = {}
"""The unit of each spelling."""
for _unit, _spellings in SPELLINGS.items():
    UNITS |= dict.fromkeys(_spellings.split(), _unit)

FRAME = _words(SPELLINGS["frames"])
TIME_UNITS = frozenset(UNITS) - FRAME
IMAGE = _words("image images img imgs picture photo crop jpg png")
FILE = _words("file files name names path location url")
STIMULUS = _words("stimulus stimuli clip clips film films movie movies song songs excerpt excerpts")
SESSION = _words("session sessions sequence")
RECORDING = SESSION | _words("recording recordings video videos vid clip movie")
SUBJECT = _words("subject participant")
PERSON = SUBJECT | _words("person speaker")
TRACK = _words("face track person")
TIME = _words("time times timestamp timestamps stamp clock timecode pts datetime onset t ts")
ENDS = _words("start begin end stop onset")
TIME_QUALIFIERS = _words(
    "in mid middle center centre elapsed relative rel abs absolute since from the of media audio "
    "video frame daq sample unix epoch utc local system stream recording clip window segment"
)
NUMBERING = _words("id ids index idx ix number num no nr n count counter")
ROW = _words("row rows line lines index idx id ids key")
SUCCESS = _words("success valid detected")
CONFIDENCE = _words("confidence conf")
FACE_QUALIFIERS = _words("is has face detection ok")
PART = _words("segment chunk split fold partition subset fps")
ROW_NUMBERS = re.compile(
    r"|#|Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+|\.\.\.\d+|X\.\d+"
)
"""How pandas and R write row numbers that have no name."""

PLURAL = re.compile(r"(frame|image|face|row|line|sample)\(s\)", re.IGNORECASE)
ALL_OTHERS = "all others"
"""Stands in a list of columns for every column of values that nothing else uses."""
RANGE = ".."
"""Stands between the first and the last of neighbouring columns: `AU01_r..AU45_r`."""

VOCABULARY = frozenset().union(
    FRAME, IMAGE, FILE, RECORDING, PERSON, TRACK, TIME, ENDS, TIME_QUALIFIERS, TIME_UNITS,
    NUMBERING, ROW, SUCCESS, CONFIDENCE, FACE_QUALIFIERS, PART,
)  # fmt: skip
RULES: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("clocks", TIME | TIME_UNITS - _words("s us ns"), TIME | ENDS | TIME_QUALIFIERS | TIME_UNITS),
    ("clocks", ENDS, ENDS | TIME_UNITS | _words("segment window")),
    ("parts", ENDS, ENDS | FRAME | NUMBERING),
    ("frames", FRAME, FRAME | NUMBERING | RECORDING | IMAGE | FILE),
    ("success", SUCCESS, SUCCESS | FACE_QUALIFIERS),
    ("others", CONFIDENCE, CONFIDENCE | FACE_QUALIFIERS),
    ("people", PERSON, PERSON | NUMBERING | FILE),
    ("texts", IMAGE | FILE | RECORDING, IMAGE | FILE | RECORDING | NUMBERING),
    ("parts", PART, PART | NUMBERING | FILE),
    ("rows", ROW, ROW | NUMBERING),
)
"""(role, words of which the name must have one, words that it may have); the first that fits."""


@dataclass(frozen=True)
class Roles:
    """The columns of one file: `values` are those of no other role, the others in the file's order.

    `frames` number frames (or name images), `texts` name images or the recording, `clocks` are
    times, `people` tell faces or persons apart, `success` is 0 where no face was found, `rows`
    number rows, `parts` are segments, splits or bounds of them, and `others` are confidences."""

    values: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    clocks: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    success: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def subjects(self) -> list[str]:
        """The `people` that are subjects as recordings have them: a `face_id` or a `speaker` may
        have numbers of its own."""
        return [name for name in self.people if not SUBJECT.isdisjoint(words_of(name))]


def roles_of(header: Iterable[str], values: Iterable[str] = (), clock: str | None = None) -> Roles:
    """The roles of a header's columns; those in `values` are values and `clock` is a time, whatever
    they are called."""
    return _roles_of(tuple(header), tuple(values), clock)


@lru_cache(maxsize=64)
def _roles_of(header: tuple[str, ...], values: tuple[str, ...], clock: str | None) -> Roles:
    declared: dict[str | None, str] = {clock: "clocks"} | dict.fromkeys(values, "values")
    columns: dict[str, list[str]] = {}
    for name in header:
        role = declared.get(name) or role_of(name)
        columns.setdefault(role, []).append(name)
    return Roles(**{role: tuple(names) for role, names in columns.items()})


@cache
def role_of(name: str) -> str:
    """The name of the field of `Roles` that a column belongs to."""
    if ROW_NUMBERS.fullmatch(name.strip()):
        return "rows"
    words = set(words_of(name))
    if not words:
        return "values"
    # `face` alone may well be a value, `face_id` is none.
    if words & TRACK and words & NUMBERING and words <= TRACK | NUMBERING:
        return "people"
    for role, needed, allowed in RULES:
        if words & needed and words <= allowed:
            return role
    return "values"


def names_a_stimulus(name: str) -> bool:
    """True for a column of a table of recordings that names what was watched or heard: `stimulus`,
    `clip`, `film_id`, `video_id`; a `video` alone is that of several persons."""
    words = set(words_of(name))
    named = words & STIMULUS or (words & {"video"} and words & NUMBERING)
    return bool(named) and words <= STIMULUS | {"video"} | NUMBERING | FILE


def unit_of(name: str) -> str | None:
    """The unit that a column's name has: seconds, milliseconds, microseconds or nanoseconds;
    frames where it has a frame and no time (`frameTime` is a time); else None.

    A frame beside a unit and no time has None: `frame_ms` may be a frame's number at a step of some
    milliseconds as well as its time."""
    words = set(words_of(name))
    units = {UNITS[word] for word in words & TIME_UNITS}
    is_time = any(word.startswith("time") for word in words)
    counts_frames = bool(words & FRAME) and not is_time
    if counts_frames:
        return None if units else "frames"
    return units.pop() if len(units) == 1 else None


def is_clock(name: str) -> bool:
    """True for columns that are times or numbers of frames by their names."""
    return role_of(name) in {"clocks", "frames"}


def is_session(name: str) -> bool:
    """True for names such as `session_id`, which name a recording or number its parts: their cells
    tell which."""
    return not SESSION.isdisjoint(words_of(name))


@cache
def is_like_a_time(name: str) -> bool:
    """True for names that have a time among other words: `reaction_time`, `time_1`."""
    return not (TIME - {"t", "ts", "onset"}).isdisjoint(words_of(name))


@cache
def words_of(name: str) -> tuple[str, ...]:
    """The words of a column's name, lower case; remembered, since wide files have the same
    thousands of names."""
    text = PLURAL.sub(r"\1s", name.strip())
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower().replace("μ", "µ")
    words: list[str] = []
    for word in re.split(r"[^a-z0-9µ]+", text):
        if word:
            words += _cut_apart(word)
    return tuple(words)


def _cut_apart(word: str) -> list[str]:
    """`frametime` as frame, time; a word of the vocabulary, or of other letters, as it stands."""
    if word in VOCABULARY:
        return [word]
    for end in range(len(word) - 2, 1, -1):
        if word[:end] in VOCABULARY and word[end:] in VOCABULARY:
            return [word[:end], word[end:]]
    return [word]


def is_pattern(name: str) -> bool:
    """True for an entry of a list of columns that may stand for several: `AU*_r`, `AU01_r..AU45_r`,
    `all others`."""
    return name == ALL_OTHERS or RANGE in name or "*" in name or "?" in name


def select_columns(
    header: Sequence[str], wanted: Iterable[str], taken: Collection[str] = ()
) -> list[str]:
    """The columns of `header` that the entries of `wanted` mean, each once, in the entries' order.

    An entry is a column's name; a pattern (`*` for any letters, `?` for one; brackets are letters);
    a range of neighbours in the header, `first..last`; or `all others`. Names go before patterns.
    Patterns, ranges and `all others` leave out bookkeeping (`frame`, `timestamp`, `confidence`) and
    the columns `taken` for something else (labels, the time, other feature sets), which only their
    full names choose. InputError with a problem for each entry that means no column."""
    present = set(header)
    selected: dict[str, None] = {}
    problems = []
    for entry in wanted:
        columns: Sequence[str] = ()
        if entry in present:
            columns = (entry,)
        elif not is_pattern(entry):
            problems.append(unknown_column(entry, present))
        else:
            try:
                columns = _columns_of_pattern(header, entry, {*taken, *selected})
            except InputError as error:
                problems += error.problems
        selected |= dict.fromkeys(columns)
    if problems:
        raise InputError(*problems)
    return list(selected)


def _columns_of_pattern(header: Sequence[str], entry: str, taken: Collection[str]) -> list[str]:
    """The columns of values that one pattern means; InputError where there are none but `taken`
    ones."""
    if entry == ALL_OTHERS:
        matching = list(header)
    elif RANGE in entry and not {"*", "?"} & set(entry):
        matching = _columns_of_range(header, entry)
    else:
        parts = [re.escape(part) for part in re.split(r"([*?])", entry)]
        expression = "".join(parts).replace(r"\*", ".*").replace(r"\?", ".")
        pattern = re.compile(expression, re.DOTALL)
        matching = [name for name in header if pattern.fullmatch(name)]
    columns = [name for name in matching if name not in taken and role_of(name) == "values"]
    if columns:
        return columns
    if not matching:
        plain = entry.replace("*", "").replace("?", "")
        hint = near_name(plain, header)
        raise InputError(f"no column matches {entry!r}{hint}; the first is {header[0]!r}")
    if any(name in taken for name in matching):
        raise InputError(f"{entry!r} matches only columns that are used already: {matching[0]!r}")
    raise InputError(
        f"{entry!r} matches only columns that are no values by their names ({matching[0]!r}); "
        "to take one as a value, write its full name"
    )


def _columns_of_range(header: Sequence[str], entry: str) -> list[str]:
    """The columns from the first to the last of `first..last`, in the header's order."""
    first, last = (name.strip() for name in entry.split(RANGE, 1))
    unknown = [name for name in (first, last) if name not in header]
    if unknown:
        raise InputError(*(f"range {entry!r}: {unknown_column(name, header)}" for name in unknown))
    start, stop = header.index(first), header.index(last)
    if start > stop:
        raise InputError(
            f"range {entry!r}: column {last!r} stands before {first!r} in the file; write "
            f"{last}..{first}"
        )
    return list(header[start : stop + 1])

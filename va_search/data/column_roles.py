"""What the columns of a sheet are by their names: values, or bookkeeping that names a frame, a
time, a recording.

Conventions: a name is cut into lower-case words at camelCase, digits and signs, and run-together
words of the vocabulary are cut apart (`frameTime`, `Time (s)`, `image_location`, `timestamp_ms`,
`face id`). A column has a role only where every word of its name belongs to that role's vocabulary:
`image_17` and `MeanVoicedSegmentLengthSec` are values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

FRAME = {"frame", "frames"}
IMAGE = {"image", "images", "img", "imgs", "picture", "photo", "crop", "jpg", "png"}
FILE = {"file", "files", "name", "names", "path", "location", "url"}
RECORDING = {
    "recording",
    "recordings",
    "video",
    "videos",
    "vid",
    "clip",
    "movie",
    "session",
    "sequence",
}
SUBJECT = {"subject", "participant"}
PERSON = SUBJECT | {"person", "speaker"}
TRACK = {"face", "track", "person"}
TIME = {
    "time",
    "times",
    "timestamp",
    "timestamps",
    "stamp",
    "clock",
    "timecode",
    "pts",
    "datetime",
    "onset",
    "t",
    "ts",
}
ENDS = {"start", "begin", "end", "stop", "onset"}
TIME_QUALIFIERS = {
    "in", "mid", "middle", "center", "centre", "elapsed", "relative", "rel", "abs", "absolute", "since", "from", "the",
    "of", "media", "audio", "video", "frame", "daq", "sample", "unix", "epoch", "utc", "local", "system", "stream",
    "recording", "clip", "window", "segment",
}  # fmt: skip
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("us", "µs", "usec", "usecs", "micros", "microsecond", "microseconds"), "µs"),
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"), "ns"),
}
NUMBERING = {
    "id",
    "ids",
    "index",
    "idx",
    "ix",
    "number",
    "num",
    "no",
    "nr",
    "n",
    "count",
    "counter",
}
ROW = {"row", "rows", "line", "lines", "index", "idx", "id", "ids", "key"}
SUCCESS = {"success", "valid", "detected"}
CONFIDENCE = {"confidence", "conf"}
FACE_QUALIFIERS = {"is", "has", "face", "detection", "ok"}
PART = {"segment", "chunk", "split", "fold", "partition", "subset", "fps"}
ROW_NUMBERS = re.compile(
    r"|#|Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+|\.\.\.\d+|X\.\d+"
)
"""How pandas and R write row numbers that have no name."""

VOCABULARY = (
    FRAME | IMAGE | FILE | RECORDING | PERSON | TRACK | TIME | ENDS | TIME_QUALIFIERS | set(UNITS) | NUMBERING
    | ROW | SUCCESS | CONFIDENCE | FACE_QUALIFIERS | PART
)  # fmt: skip


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


def roles_of(header: Iterable[str], values: Iterable[str] = (), clock: str | None = None) -> Roles:
    """The roles of a header's columns; those in `values` are values and `clock` is a time, whatever
    they are called."""
    wanted = set(values)
    columns: dict[str, list[str]] = {}
    for name in header:
        role = "values" if name in wanted else "clocks" if name == clock else role_of(name)
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
    if (
        words & TRACK and words & NUMBERING and words <= TRACK | NUMBERING
    ):  # `face` alone may well be a value
        return "people"
    for role, needed, allowed in _RULES:
        if words & needed and words <= allowed:
            return role
    return "values"


def unit_of(name: str) -> str | None:
    """The unit of time that a column's name tells (s, ms, µs, ns), or None."""
    units = {UNITS[word] for word in words_of(name) if word in UNITS}
    return units.pop() if len(units) == 1 else None


def is_like_a_time(name: str) -> bool:
    """True for names that have a time among other words: `reaction_time`, `time_1`."""
    return bool(set(words_of(name)) & (TIME - {"t", "ts", "onset"}))


@cache
def words_of(name: str) -> tuple[str, ...]:
    """The words of a column's name, lower case; kept, since wide files have the same thousands of
    names."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    words: list[str] = []
    for word in re.split(r"[^a-z0-9µ]+", apart.lower()):
        if word:
            words += _cut(word)
    return tuple(words)


def _cut(word: str) -> list[str]:
    """`frametime` as frame, time; a word of the vocabulary, or of other letters, as it stands."""
    if word in VOCABULARY:
        return [word]
    for split in range(len(word) - 2, 1, -1):
        first, rest = word[:split], word[split:]
        if first in VOCABULARY and rest in VOCABULARY:
            return [first, rest]
    return [word]


_BARE_UNITS = set(UNITS) - {"s", "us", "ns"}
_RULES: tuple[tuple[str, set[str], set[str]], ...] = (
    ("clocks", TIME | _BARE_UNITS, TIME | ENDS | TIME_QUALIFIERS | set(UNITS)),
    ("clocks", ENDS, ENDS | set(UNITS) | {"segment", "window"}),
    ("parts", ENDS, ENDS | FRAME | NUMBERING),
    ("frames", FRAME, FRAME | NUMBERING | RECORDING | IMAGE | FILE),
    ("success", SUCCESS, SUCCESS | FACE_QUALIFIERS),
    ("others", CONFIDENCE, CONFIDENCE | FACE_QUALIFIERS),
    ("people", PERSON, PERSON | NUMBERING | FILE),
    ("texts", IMAGE | FILE | RECORDING, IMAGE | FILE | RECORDING | NUMBERING),
    ("parts", PART, PART | NUMBERING | FILE),
    ("rows", ROW, ROW | NUMBERING),
)
"""(role, words of which one must stand in the name, words that may), the first that fits."""

"""Problems and remarks on files: how many are shown, and how names and numbers are written in them.

Conventions: a problem is one line, `file:line: what it is, what was expected`. A message shows the
first few of a long list and says how many more there are."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from va_search.errors import InputError, counted, nearest_name

PROBLEMS_SHOWN = 50
PROBLEMS_OF_A_FILE = 8
NAMES_SHOWN = 40
NAMES_COMPARED = 2_000
"""More known names than these are not searched for one that is alike: that takes seconds."""
FILES_SHOWN = 4
"""Files named in a problem that several have."""
POSITION = re.compile(
    r".+?\.(csv|tsv|txt|arff|parquet|pq|arrow|feather|ipc|npy|npz|mat|h5|hdf5?|eaf)(\.gz)?(/[^:]+?)?"
    r"(:\d+| row \d+| at \d+ ms)?: "
)
"""The beginning of a problem: a file, perhaps a name in it, and its line or row."""


def refuse(problems: list[str]) -> None:
    """Raise one InputError with the first 50 problems and the number of the others, if there are
    any.

    A problem that several files have is written once.
    """
    if problems:
        raise InputError(*first_few(join_alike(problems), PROBLEMS_SHOWN))


def join_alike(problems: Sequence[str]) -> list[str]:
    """The problems in their order; those with the same text become one that names a few files."""
    # The text behind the position is the problem; equal texts are one.
    positions: dict[str, list[str]] = {}
    for problem in problems:
        match = POSITION.match(problem)
        if match is None:
            positions.setdefault(problem, []).append("")
        else:
            text = problem[match.end() :]
            positions.setdefault(text, []).append(match[0].removesuffix(": "))
    joined = []
    for text, files in positions.items():
        if not files[0]:
            joined.append(text)
            continue
        names = [re.sub(r".*/", "", file) for file in files[1:FILES_SHOWN]]
        if len(files) > FILES_SHOWN:
            names[-1] += f" and {len(files) - FILES_SHOWN} more"
        same = f" (the same at {', '.join(names)})" if names else ""
        joined.append(f"{files[0]}: {text}{same}")
    return joined


def first_few(problems: Sequence[str], limit: int) -> list[str]:
    """At most `limit` problems, and a line that says how many more there are."""
    return [*problems[:limit], *more_problems(len(problems) - limit)]


def more_problems(count: int) -> list[str]:
    """A line that says how many more problems there are; none where there are none."""
    return [f"… and {counted(count, 'more problem')}"] if count > 0 else []


def and_more(count: int) -> str:
    """ " (and n more)", or nothing."""
    return f" (and {count} more)" if count > 0 else ""


def listed(names: Sequence[str], limit: int, *, quoted: bool = True) -> str:
    """At most `limit` names, and how many more there are."""
    shown = names[:limit]
    if quoted:
        shown = [repr(name) for name in shown]
    text = ", ".join(shown)
    if len(names) > limit:
        text += f", … and {len(names) - limit} more"
    return text


def shortened(names: Sequence[str], limit: int) -> str:
    """At most `limit` names, and ", …" where there are more."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def not_used(file: Path, columns: Sequence[str]) -> list[str]:
    """A remark on the columns of a file or folder that nobody read; none where there are none."""
    if not columns:
        return []
    # pandas writes row numbers under an empty name.
    names = [name or "without a name" for name in columns]
    subject = f"column {names[0]} is"
    if len(names) > 1:
        subject = f"columns {listed(names, NAMES_SHOWN, quoted=False)} are"
    return [f"{file}: {subject} not used"]


def near_name(name: str, known: Collection[str]) -> str:
    """ " (did you mean …?)" where a known name is much alike, or nothing."""
    near = nearest_name(name, known, most=NAMES_COMPARED)
    return "" if near is None else f" (did you mean {near!r}?)"


def unknown_column(name: str, known: Collection[str]) -> str:
    """Message for a column that is not known: the nearest name and the first of the known ones."""
    near = nearest_name(name, known, most=NAMES_COMPARED)
    hint = "" if near is None else f"; did you mean {near!r}?"
    names = listed(sorted(known), NAMES_SHOWN, quoted=False)
    return f"unknown column {name!r}{hint} (known: {names})"


def exact(value: float) -> str:
    """A number in the fewest digits that are still this very number: 1.0000000000000002, but 0.5
    and 1e+06."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))

"""ELAN's .eaf files: annotations with a start and an end on tiers.

An annotation's value holds from its start to its end. A stream has a value per time, so tiers are
sampled every 10 ms: the columns are `time_ms` and one per tier, missing where a tier has no
annotation. Annotations of a tier that refers to another take the times of those they refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from va_search.data.array_readers import RowReader
from va_search.data.arrays import Floats, allocate
from va_search.data.csv_reader import number_in
from va_search.data.problems import PROBLEMS_OF_A_FILE, and_more, first_few
from va_search.errors import InputError
from va_search.files import check_regular

CLOCK = "time_ms"
STEP_MS = 10
LONGEST_MS = 24 * 3_600_000


@dataclass(frozen=True)
class Annotation:
    """A value on a tier, from `start` to `end` in ms."""

    start: int
    end: int
    text: str


@dataclass
class Tiers:
    """The annotations of each tier, in the order of time."""

    annotations: dict[str, list[Annotation]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Samples until the last annotation's end."""
        last = 0
        for entries in self.annotations.values():
            last = max([last, *(entry.end for entry in entries)])
        return -(-last // STEP_MS)


class EafReader(RowReader):
    """ELAN's files."""

    suffixes: tuple[str, ...] = (".eaf",)
    has_names = True

    def header(self, file: Path) -> list[str]:
        """`time_ms`, and the tiers in the file's order."""
        return [CLOCK, *_read_tiers(file).annotations]

    def numbers(self, file: Path, columns: Sequence[str]) -> Floats:
        """(rows, len(columns)), NaN where a tier has no annotation; InputError for annotations that
        are no numbers."""
        tiers = _read_tiers(file)
        numbers = allocate(file, tiers.rows, len(columns))
        numbers[:] = np.nan
        problems = []
        for index, name in enumerate(columns):
            if name == CLOCK:
                numbers[:, index] = np.arange(tiers.rows) * STEP_MS
                continue
            wrong = []
            for entry in tiers.annotations[name]:
                value = number_in(entry.text)
                if value is None:
                    wrong.append(entry)
                else:
                    numbers[_samples(entry), index] = value
            if wrong:
                problems.append(
                    f"{file}: tier {name!r} at {wrong[0].start} ms: {wrong[0].text!r} is not a "
                    f"number{and_more(len(wrong) - 1)}"
                )
        if problems:
            raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
        return numbers

    def strings(self, file: Path, column: str) -> list[str]:
        """The tier's annotation at each time, "" where there is none."""
        tiers = _read_tiers(file)
        if column == CLOCK:
            return [str(row * STEP_MS) for row in range(tiers.rows)]
        texts = [""] * tiers.rows
        for entry in tiers.annotations[column]:
            samples = _samples(entry)
            texts[samples] = [entry.text] * len(range(*samples.indices(tiers.rows)))
        return texts

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """The annotations at 0 ms, by tier."""
        cells = {name: self.strings(file, name)[:1] for name in columns}
        return {name: texts[0] for name, texts in cells.items() if texts}

    def position(self, file: Path, row: int) -> str:
        """The time of data row `row`, from 0."""
        return f"{file} at {row * STEP_MS} ms"

    def remarks(self, file: Path) -> tuple[str, ...]:
        """A remark on the sampling."""
        return (f"tiers are sampled every {STEP_MS} ms",)


def _samples(entry: Annotation) -> slice:
    """The rows whose times lie in [start, end)."""
    return slice(-(-entry.start // STEP_MS), -(-entry.end // STEP_MS))


def _read_tiers(file: Path) -> Tiers:
    """All tiers of a file; InputError for what is no .eaf file."""
    check_regular(file, "an .eaf file")
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{file}: not an .eaf file, or cut short ({error})") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{file}: begins with <{root.tag}>, expected ELAN's <ANNOTATION_DOCUMENT>")
    slots = _read_slots(file, root)
    tiers = Tiers()
    spans: dict[str, tuple[int, int]] = {}
    for tier in root.iter("TIER"):
        name = tier.get("TIER_ID", "")
        entries: list[Annotation] = []
        for element in tier.iter("ALIGNABLE_ANNOTATION"):
            refs = (element.get("TIME_SLOT_REF1", ""), element.get("TIME_SLOT_REF2", ""))
            if not slots.keys() >= set(refs):
                raise InputError(f"{file}: tier {name!r}: an annotation without a start or an end")
            start, end = slots[refs[0]], slots[refs[1]]
            if not 0 <= start <= end <= LONGEST_MS:
                raise InputError(
                    f"{file}: tier {name!r}: an annotation from {start} to {end} ms; expected an end "
                    "behind its start, within a day"
                )
            spans[element.get("ANNOTATION_ID", "")] = start, end
            entries.append(Annotation(start, end, _text_of(element)))
        tiers.annotations[name] = entries
    _add_referring(root, tiers, spans)
    if tiers.rows == 0:
        raise InputError(f"{file}: no annotation in it")
    for entries in tiers.annotations.values():
        entries.sort(key=lambda entry: entry.start)
    return tiers


def _add_referring(
    root: ElementTree.Element, tiers: Tiers, spans: dict[str, tuple[int, int]]
) -> None:
    """Add annotations that refer to others, which may refer to others again."""
    waiting = []
    for tier in root.iter("TIER"):
        elements = tier.iter("REF_ANNOTATION")
        waiting += [(tier.get("TIER_ID", ""), element) for element in elements]
    while waiting:
        later = []
        for name, element in waiting:
            span = spans.get(element.get("ANNOTATION_REF", ""))
            if span is None:
                later.append((name, element))
                continue
            spans[element.get("ANNOTATION_ID", "")] = span
            tiers.annotations[name].append(Annotation(*span, _text_of(element)))
        if len(later) == len(waiting):  # what they refer to is not there
            return
        waiting = later


def _text_of(element: ElementTree.Element) -> str:
    return (element.findtext("ANNOTATION_VALUE") or "").strip()


def _read_slots(file: Path, root: ElementTree.Element) -> dict[str, int]:
    """ms of each time slot; one without a time lies evenly between its neighbours, as ELAN has
    it."""
    slots = list(root.iter("TIME_SLOT"))
    times = np.full(len(slots), np.nan)
    for index, slot in enumerate(slots):
        text = slot.get("TIME_VALUE")
        if text is not None:
            if not text.isascii() or not text.isdigit():
                raise InputError(f"{file}: time slot {text!r}, expected whole milliseconds")
            times[index] = int(text)
    known = np.flatnonzero(~np.isnan(times))
    if not known.size:
        return {}
    between = np.interp(np.arange(len(slots)), known, times[known])
    names = [slot.get("TIME_SLOT_ID", "") for slot in slots]
    return dict(zip(names, np.rint(between).astype(int).tolist(), strict=True))

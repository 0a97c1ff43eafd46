"""The organisers' sample submission: which test recordings there are, in which order, and how long
each is.

Conventions: header image_location,valence,arousal; rows `<recording>/00001.jpg,…`, frames from 1,
the rows of a recording together. A recording is as long as its last frame; frames the sample leaves
out are a warning."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from va_search.data.column_names import roles_of
from va_search.data.problems import not_used, refuse
from va_search.data.readers import read_header, read_numbers, read_strings, where
from va_search.errors import InputError
from va_search.metrics import DIMENSIONS

COLUMN = "image_location"
MOST_FRAMES = 10_000_000
"""More than a day at 100 frames per second: a number beyond it is a mistake, and would take that
much memory."""


def read_sample(file: Path, warnings: list[str]) -> list[tuple[str, int]]:
    """(recording, frames) in the sample's order; InputError with file and line for rows that name
    no image."""
    images = sample_images(file)
    warnings += unused_columns(file)
    problems: list[str] = []
    seen: set[str] = set()
    found: list[tuple[str, int]] = []
    row = 0
    for recording, group in groupby(images, key=lambda image: image[0]):
        frames = [frame for _, frame in group]
        if recording in seen:
            problems.append(
                f"{where(file, row)}: rows of {recording!r} begin again, expected them together"
            )
        problems += _order_problem(file, row, frames)
        if frames and frames[-1] != len(frames):
            warnings.append(
                f"{file}: {recording!r} has {len(frames)} rows up to frame {frames[-1]}; some are left out"
            )
        seen.add(recording)
        found.append((recording, frames[-1]))
        row += len(frames)
    refuse(problems)
    return found


def sample_images(file: Path) -> list[tuple[str, int]]:
    """(recording, frame from 1) of each row."""
    header = read_header(file)
    if COLUMN not in header:
        raise InputError(
            f"{file}:1: header {','.join(header)!r}, expected image_location,valence,arousal"
        )
    texts = read_strings(file, COLUMN)
    if not texts:
        raise InputError(f"{file}: a header and no rows, expected one row per test frame")
    images, problems = [], []
    for row, text in enumerate(texts):
        recording, _, image = text.strip().rpartition("/")
        number = image.partition(".")[0]
        if (
            not recording
            or not number.isdecimal()
            or len(number) > 9
            or not 1 <= int(number) <= MOST_FRAMES
        ):
            problems.append(
                f"{where(file, row)}: {COLUMN} {text!r}, expected <recording>/00001.jpg"
            )
            if len(problems) > 50:  # looking up a line reads the file
                break
            continue
        images.append((recording, int(number)))
    refuse(problems or _other_numbers(file, header, images))
    return images


def unused_columns(file: Path) -> list[str]:
    """A remark on columns of the sample that are not read."""
    roles = roles_of(read_header(file), (COLUMN, *DIMENSIONS))
    unused = [
        name for name in read_header(file) if name not in (COLUMN, *DIMENSIONS, *roles.frames)
    ]
    return not_used(file, unused)


def _other_numbers(file: Path, header: list[str], images: list[tuple[str, int]]) -> list[str]:
    """A problem for each column of frame numbers that contradicts the images."""
    problems = []
    for column in roles_of(header, (COLUMN, *DIMENSIONS)).frames:
        for row, (number, (_, frame)) in enumerate(
            zip(read_numbers(file, [column])[:, 0].tolist(), images, strict=True)
        ):
            if number != frame:
                problems.append(
                    f"{where(file, row)}: column {column!r} says {number:g}, but {COLUMN} frame {frame}"
                )
                break
    return problems


def _order_problem(file: Path, first: int, frames: list[int]) -> list[str]:
    for index in range(1, len(frames)):
        if frames[index] <= frames[index - 1]:
            line = where(file, first + index)
            return [
                f"{line}: frame {frames[index]} after {frames[index - 1]}, expected frames in increasing order"
            ]
    return []

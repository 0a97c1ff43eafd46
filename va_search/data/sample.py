"""The organisers' sample submission: which test recordings there are, in which order, and how long each is.

Conventions: header image_location,valence,arousal; rows `<recording>/00001.jpg,…`, frames from 1, the rows of a
recording together. A recording is as long as its last frame; frames the sample leaves out are a warning.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from va_search.data.importing import refuse
from va_search.data.sheet import read_header, where
from va_search.errors import InputError

COLUMN = "image_location"


def read_sample(file: Path, warnings: list[str]) -> list[tuple[str, int]]:
    """(recording, frames) in the sample's order; InputError with file and line for rows that name no image."""
    images = sample_images(file)
    problems: list[str] = []
    seen: set[str] = set()
    found: list[tuple[str, int]] = []
    row = 0
    for recording, group in groupby(images, key=lambda image: image[0]):
        frames = [frame for _, frame in group]
        if recording in seen:
            problems.append(f"{where(file, row)}: rows of {recording!r} begin again, expected them together")
        problems += _order_problem(file, row, frames)
        if frames and frames[-1] != len(frames):
            warnings.append(f"{file}: {recording!r} has {len(frames)} rows up to frame {frames[-1]}; some are left out")
        seen.add(recording)
        found.append((recording, frames[-1]))
        row += len(frames)
    refuse(problems)
    return found


def sample_images(file: Path) -> list[tuple[str, int]]:
    """(recording, frame from 1) of each row."""
    header = read_header(file)
    if COLUMN not in header:
        raise InputError(f"{file}:1: header {','.join(header)!r}, expected image_location,valence,arousal")
    convert = pyarrow.csv.ConvertOptions(include_columns=[COLUMN], column_types={COLUMN: pa.string()})
    read = pyarrow.csv.ReadOptions(column_names=header, skip_rows=1)
    try:
        texts = pyarrow.csv.read_csv(file, read_options=read, convert_options=convert).column(COLUMN).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{file}: {error}") from error
    if not texts:
        raise InputError(f"{file}: a header and no rows, expected one row per test frame")
    images, problems = [], []
    for row, text in enumerate(texts):
        recording, _, image = text.strip().rpartition("/")
        number = image.partition(".")[0]
        if not recording or not number.isdecimal() or int(number) < 1:
            problems.append(f"{where(file, row)}: {COLUMN} {text!r}, expected <recording>/00001.jpg")
            if len(problems) > 50:  # looking up a line reads the file
                break
            continue
        images.append((recording, int(number)))
    refuse(problems)
    return images


def _order_problem(file: Path, first: int, frames: list[int]) -> list[str]:
    for index in range(1, len(frames)):
        if frames[index] <= frames[index - 1]:
            line = where(file, first + index)
            return [f"{line}: frame {frames[index]} after {frames[index - 1]}, expected frames in increasing order"]
    return []

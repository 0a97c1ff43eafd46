"""Files that Aff-Wild2's organisers give out: label files of the official folders, and the sample
submission.

    Train_Set/<recording>.txt, Validation_Set/<recording>.txt    header valence,arousal; a row per frame
    SAMPLE    header image_location,valence,arousal; rows `<recording>/00001.jpg,…`

Conventions: labels are in [-1, 1]; -5,-5 is an unlabelled frame. Frames count from 1; a recording's
rows of the sample stand together, it is as long as its last frame there, and frames that the sample
leaves out are a warning. A recording is the stem of its label file."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.column_names import roles_of
from va_search.data.problems import not_used, refuse
from va_search.data.readers import (
    empty_lines,
    read_header,
    read_numbers,
    read_strings,
    where,
    wrong_rows,
)
from va_search.data.table import label_problems
from va_search.errors import InputError
from va_search.files import check_regular
from va_search.targets import AFFECT, affect

LABEL_RANGE = (-1.0, 1.0)
UNLABELLED = -5.0
FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
COLUMN = "image_location"
MOST_FRAMES = 10_000_000
"""More than a day at 100 frames per second: a number beyond it is a mistake, and would take that
much memory."""
MOST_PROBLEMS = 50


class OfficialRecording(NamedTuple):
    """A recording as the organisers' files have it: `file` has its labels, or is the sample, which
    alone tells the number of frames without being read again."""

    name: str
    split: str
    file: Path
    frames: int | None = None


def official_recordings(
    annotations: Path, sample: Path | None, warnings: list[str]
) -> list[OfficialRecording]:
    """Recordings with labels, then those of the sample; `warnings` is added to."""
    recordings = _find_label_files(annotations)
    if sample is None:
        warnings.append("no sample file (--sample), so the store has no test recordings")
        return recordings
    return recordings + read_sample(sample, warnings)


def _find_label_files(annotations: Path) -> list[OfficialRecording]:
    """Label files of the official folders, which may lie one level down."""
    expected = " and ".join(FOLDERS.values())
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder, expected one with {expected}")
    content = sorted(annotations.iterdir())
    for root in (annotations, *content):
        if all((root / folder).is_dir() for folder in FOLDERS.values()):
            break
    else:
        names = ", ".join(path.name for path in content[:8]) or "nothing"
        raise InputError(f"{annotations}: found {names}, expected {expected} here or one below")
    recordings = []
    for split, folder in FOLDERS.items():
        files = sorted((root / folder).glob("*.txt"))
        if not files:
            raise InputError(f"{root / folder}: no <recording>.txt in it")
        for file in files:
            check_regular(file, "a label file")
            recordings.append(OfficialRecording(file.stem, split, file.resolve()))
    return recordings


def read_labels(file: Path) -> Floats:
    """(frames, 2) of an official label file, NaN where it says -5,-5; InputError with file and line
    otherwise."""
    header = read_header(file)
    if header != list(AFFECT):
        raise InputError(f"{file}:1: header {','.join(header)!r}, expected 'valence,arousal'")
    pair = read_numbers(file, AFFECT)
    problems = empty_lines(file)
    if empty := wrong_rows(file, np.any(np.isnan(pair), axis=1)):
        problems.append(f"{empty.position}: empty label{empty.more}; unlabelled is -5,-5")
    unlabelled = np.asarray(pair == UNLABELLED)
    if halves := wrong_rows(file, np.logical_xor(unlabelled[:, 0], unlabelled[:, 1])):
        problems.append(
            f"{halves.position}: one label is -5 and the other is not{halves.more}; an unlabelled "
            "frame is -5,-5"
        )
    pair[unlabelled.any(axis=1)] = np.nan
    problems += label_problems(file, pair, affect(*LABEL_RANGE), AFFECT)
    refuse(problems)
    return pair


def read_sample(file: Path, warnings: list[str]) -> list[OfficialRecording]:
    """Test recordings in the sample's order; `warnings` is added to. InputError with file and line
    for rows that name no image."""
    images = sample_images(file)
    warnings += unused_columns(file)
    problems: list[str] = []
    recordings: dict[str, OfficialRecording] = {}
    start = 0
    # Rows of a recording must be neighbours: the submission is written in this order.
    for name, group in groupby(images, key=lambda image: image[0]):
        frames = [frame for _, frame in group]
        if name in recordings:
            problems.append(
                f"{where(file, start)}: rows of {name!r} begin again, expected them together"
            )
        for row in range(1, len(frames)):
            if frames[row] <= frames[row - 1]:
                problems.append(
                    f"{where(file, start + row)}: frame {frames[row]} after {frames[row - 1]}, "
                    "expected frames in increasing order"
                )
                break
        if frames[-1] != len(frames):
            warnings.append(
                f"{file}: {name!r} has {len(frames)} rows up to frame {frames[-1]}; some are left "
                "out"
            )
        recordings[name] = OfficialRecording(name, "test", file.resolve(), frames[-1])
        start += len(frames)
    refuse(problems)
    return list(recordings.values())


def sample_images(file: Path) -> list[tuple[str, int]]:
    """(recording, frame from 1) of each row of the sample."""
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
        is_frame = number.isdecimal() and len(number) <= 9 and 1 <= int(number) <= MOST_FRAMES
        if recording and is_frame:
            images.append((recording, int(number)))
            continue
        problems.append(f"{where(file, row)}: {COLUMN} {text!r}, expected <recording>/00001.jpg")
        if len(problems) > MOST_PROBLEMS:  # looking up a line reads the file
            break
    refuse(problems)
    frames = np.array([frame for _, frame in images])
    for column in roles_of(header, (COLUMN, *AFFECT)).frames:
        numbers = read_numbers(file, [column])[:, 0]
        if contradiction := wrong_rows(file, numbers != frames):
            problems.append(
                f"{contradiction.position}: column {column!r} says {numbers[contradiction.row]:g}, but {COLUMN} "
                f"frame {frames[contradiction.row]}"
            )
    refuse(problems)
    return images


def unused_columns(file: Path) -> list[str]:
    """A remark on columns of the sample that are not read."""
    header = read_header(file)
    read = (COLUMN, *AFFECT, *roles_of(header, (COLUMN, *AFFECT)).frames)
    return not_used(file, [name for name in header if name not in read])

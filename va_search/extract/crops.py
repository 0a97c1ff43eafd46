"""Crops found in a video, written as `cropped_aligned` has them: {i:05d}.jpg, from 1, where frame i
has a face.

Conventions: the folder of a recording appears whole, by one rename, so a killed run leaves no half
of it. `video.json` in it tells which video the crops are of: where another has taken its place,
they are found anew."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image as Pictures

from va_search.errors import InputError, JobError
from va_search.extract.extractor import FaceFinder
from va_search.extract.media import video_frames
from va_search.extract.timeline import Timeline
from va_search.files import read_json, remove_folder, write_json

QUALITY = 95
NOTE = "video.json"


def find_crops(video: Path, timeline: Timeline, to: Path, finder: FaceFinder) -> None:
    """Write the crops of a video to the folder `to`, unless they are there; InputError when no
    frame has a face."""
    stat = video.stat()
    identity = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
    if (to / NOTE).is_file() and read_json(to / NOTE) == identity:
        return
    beside = to.with_name(f".{to.name}.partial")
    remove_folder(beside)
    beside.mkdir(parents=True)
    finder.begin()
    found = 0
    try:
        for place, image in video_frames(video, timeline):
            face = finder.crop(image)
            if face is not None:
                Pictures.fromarray(face).save(beside / f"{place + 1:05d}.jpg", quality=QUALITY)
                found += 1
        if not found:
            raise InputError(f"{video}: no face found in any of {len(timeline.frames)} frames")
        write_json(beside / NOTE, identity)
        remove_folder(to)
        os.replace(beside, to)
    except OSError as error:
        raise JobError(f"{beside}: crops can't be written ({error.strerror or error})") from error
    finally:
        remove_folder(beside)

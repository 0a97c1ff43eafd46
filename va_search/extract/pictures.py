"""Frames of a video and crops of faces, read one by one, and the crops that a detector finds.

Conventions: pictures are RGB uint8 (height, width, 3); frame i (from 0) is crop `{i + 1:05d}.jpg`.
Crops are written as `cropped_aligned` has them. The folder of a recording's crops appears whole, by
one rename, so a killed run leaves no half of it. `video.json` in it tells which video the crops are
of: where another has taken its place, they are made anew."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread

import av
import numpy as np
from PIL import Image as Pictures

from va_search.data.frame_names import CROP
from va_search.data.resampling import nearest
from va_search.errors import InputError, JobError
from va_search.extract.extractor import FaceFinder, Image
from va_search.extract.timeline import BROKEN, Timeline, opened
from va_search.files import read_json, remove_folder, write_json

PIXELS = 1 << 24
"""The largest crop that is opened: a small file can unfold to any size."""
AHEAD = 1 << 28
"""Bytes of pictures that wait for their reader."""
QUALITY = 95
NOTE = "video.json"


def video_frames(video: Path, timeline: Timeline) -> Iterator[tuple[int, Image]]:
    """(frame from 0, picture) of every frame that can be decoded, in the order of display.

    InputError at the end when more than one in a hundred could not; or any, where nothing but its
    number tells which frame it is (`Timeline.stamped`)."""
    decoded = 0
    total = len(timeline.frames)
    with opened(video) as container:
        stream = container.streams[timeline.stream]
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                # A decoder gives its frames in the order of display, whatever their times say.
                index = _nearest(timeline, frame.time) if timeline.stamped else decoded
                if index is None:
                    continue
                decoded += 1
                if index < total:
                    yield index, upright(frame.to_ndarray(format="rgb24"), frame.rotation)
    if not timeline.stamped and decoded != total:
        raise InputError(
            f"{video}: {decoded} of {total} frames can be decoded, and its container doesn't tell "
            "which; convert it: ffmpeg -i IN OUT.mp4"
        )
    if decoded < (1 - BROKEN) * total:
        raise InputError(
            f"{video}: {decoded} of {total} frames can be decoded; copy or convert it again"
        )


def ahead(pictures: Iterator[tuple[int, Image]], most: int) -> Iterator[tuple[int, Image]]:
    """Pass on pictures that are made by a thread of its own while the reader looks at earlier ones:
    up to `most` wait, or as many as `AHEAD` bytes hold. Errors come where they would have come."""
    first = next(pictures, None)
    if first is None:
        return
    yield first
    waiting: Queue[tuple[int, Image] | BaseException | None] = Queue(
        max(2, min(most, AHEAD // first[1].nbytes))
    )
    is_over = Event()

    def hand_on(item: tuple[int, Image] | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except Full:
                continue
            return

    def make() -> None:
        last: BaseException | None = None
        try:
            for picture in pictures:
                hand_on(picture)
                if is_over.is_set():
                    break
        except BaseException as error:  # raised again by the reader
            last = error
        hand_on(last)

    thread = Thread(target=make, name="pictures", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_over.set()
        thread.join()


def _nearest(timeline: Timeline, time: float | None) -> int | None:
    """The frame whose stamp is nearest, be it in a burst of many; None where none is near."""
    if time is None:
        return None
    index = int(nearest(timeline.frames, np.array([time]))[0])
    if abs(timeline.frames[index] - time) >= timeline.step / 4:
        return None
    return index


def upright(picture: Image, degrees: float) -> Image:
    """The picture turned counterclockwise by quarters, as the video's header asks for (a phone held
    upright)."""
    return np.ascontiguousarray(np.rot90(picture, round(degrees / 90)))


def crop_files(folder: Path, rows: int, frames: int, video: Path) -> list[tuple[int, Path]]:
    """(frame from 0, file) of the crops of annotation rows, by number.

    InputError for a crop beyond both the annotation's `rows` and the video's `frames` (one more is
    left out: both are often cut so), for two of one frame, or for none at all."""
    crops: list[tuple[int, Path]] = []
    for path in folder.iterdir():
        match = CROP.fullmatch(path.name)
        if match is not None:
            crops.append((int(match[1]) - 1, path))
    # By frame, whatever the order in the folder.
    crops.sort()
    if not crops:
        raise InputError(
            f"{folder}: no crop in it, expected 00001.jpg and so on, one for each frame with a face"
        )
    if crops[0][0] < 0:
        raise InputError(f"{crops[0][1]}: crops count from 00001.jpg, which is the first frame")
    beyond = [path for frame, path in crops if frame > max(rows, frames)]
    if beyond:
        raise InputError(
            f"{beyond[0]}: a crop beyond the video's end, {len(beyond)} such; {video} has {frames} "
            f"frames, its annotation {rows} rows. Are the crops of another recording, or cut at "
            "another frame rate?"
        )
    for (frame, path), (next_frame, _) in pairwise(crops):
        if frame == next_frame:
            number = CROP.sub(r"\1", path.name)
            raise InputError(f"{path}: frame {number} has two crops; keep one")
    return [(frame, path) for frame, path in crops if frame < rows]


def read_crop(path: Path) -> Image:
    """(height, width, 3) RGB uint8; InputError, naming the file, for one that is empty, cut short,
    no JPEG or PNG whatever its name (other formats of Pillow's run programs), or of more than
    `PIXELS`."""
    try:
        with Pictures.open(path, formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > PIXELS:
                raise ValueError(
                    f"{picture.width} × {picture.height} pixels, at most {PIXELS:,} are taken"
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise InputError(
            f"{path}: {size:,} bytes that are no whole image ({error}); cut it again or remove it"
        ) from None


def has_crops(video: Path, folder: Path) -> bool:
    """True where the folder has the crops of this very video."""
    return (folder / NOTE).is_file() and read_json(folder / NOTE) == _identity(video)


def _identity(video: Path) -> dict[str, int]:
    stat = video.stat()
    return {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def find_crops(
    pictures: Iterable[tuple[int, Image]], video: Path, to: Path, finder: FaceFinder
) -> Iterator[tuple[int, Image]]:
    """Pass on the (frame, picture) of all of a video, and write its crops to the folder `to`, which
    is there once the last one was passed on; InputError when no frame has a face, JobError when
    crops can't be written."""
    identity = _identity(video)
    beside = to.with_name(f".{to.name}.partial")
    remove_folder(beside)
    beside.mkdir(parents=True)
    # Crops are found in the whole video, beyond the annotated frames too.
    finder.begin()
    count = faces = 0
    try:
        for index, picture in pictures:
            count += 1
            face = finder.crop(picture)
            if face is not None:
                Pictures.fromarray(face).save(beside / f"{index + 1:05d}.jpg", quality=QUALITY)
                faces += 1
            yield index, picture
        if not faces:
            raise InputError(f"{video}: no face found in any of {count} frames")
        write_json(beside / NOTE, identity)
        remove_folder(to)
        os.replace(beside, to)
    except OSError as error:
        raise JobError(f"{beside}: crops can't be written ({error.strerror or error})") from error
    finally:
        remove_folder(beside)

"""Values of feature sets as an import writes them, once: recordings one behind another, in a file
that becomes the store's.

    STORE.partial/values/<run>/<feature set>.<dtype>     room for an Arrow file's head, values by row

A run is one writer, with files that nobody else writes to. Where a run wrote all recordings in the
store's order, its file gets the head and the tail of an Arrow file and is linked into the store.
Otherwise (goes on after a kill, several writers, a type that only all recordings together decide)
the values are copied in order into a new file.

Conventions: values are (frames, dim), one recording at a `ValuePlace`, which counts in bytes. What lies
behind the last place that a part names was cut short by a kill, and is never read."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.errors import InputError
from va_search.files import checked_name, saying_when_full

COPIED_BYTES = 1 << 20
"""Bytes that are copied at once, at least a row."""


@dataclass(frozen=True)
class ValuePlace:
    """Values of one recording in a file of a run: `frames` rows of `dim` values from byte `start`
    on."""

    run: str
    dtype: str
    start: int
    frames: int
    dim: int

    @property
    def stop(self) -> int:
        """The byte behind the last value."""
        return self.start + self.frames * self.dim * np.dtype(self.dtype).itemsize

    def file(self, folder: Path, name: str) -> Path:
        """The file, in the `folder` of all runs, of the feature set `name`."""
        return folder / checked_name(self.run, "run") / f"{name}.{np.dtype(self.dtype)}"

    def is_written(self, folder: Path, name: str) -> bool:
        """True where the file is long enough to have the values."""
        try:
            return self.file(folder, name).stat().st_size >= self.stop
        except OSError:
            return False


class RunWriter:
    """One writer of values below `folder`. A copy in another process is another run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = uuid.uuid4().hex
        self._stops: dict[Path, int] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[RunWriter], tuple[Path]]:
        return RunWriter, (self.folder,)

    def append(self, name: str, values: NDArray[Any]) -> ValuePlace:
        """Write the values (frames, dim) of a recording behind those before it, onto the disk.

        JobError on a full disk; what was written of them is overwritten by the next."""
        frames, dim = values.shape
        with self._lock:
            place = ValuePlace(self.name, str(values.dtype), 0, frames, dim)
            file = place.file(self.folder, name)
            start = self._stops.get(file)
            if start is None:
                start = _room(name, values.dtype, dim)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            place = ValuePlace(self.name, str(values.dtype), start, frames, dim)
            if values.size:
                with saying_when_full(file), open(file, "r+b") as handle:
                    handle.seek(start)
                    handle.write(np.ascontiguousarray(values).data)
                    handle.flush()
                    # A part that names the values must not reach the disk before them.
                    os.fsync(handle.fileno())
            self._stops[file] = place.stop
        return place


def lay(
    folder: Path, name: str, places: Sequence[ValuePlace], dtype: np.dtype[Any], to: Path
) -> int:
    """Make the Arrow file `to` of a feature set's values, in `dtype` and in the order of these
    places; return the byte at which they begin.

    InputError where recordings differ in their number of columns; JobError on a full disk."""
    dims = sorted({place.dim for place in places})
    if len(dims) > 1:
        raise InputError(f"feature set {name!r}: recordings of {dims[0]} and of {dims[-1]} columns")
    shape = (sum(place.frames for place in places), dims[0])
    with saying_when_full(to):
        if not _link_whole(folder, name, places, dtype, to):
            _copy(folder, name, places, dtype, to)
        head, tail = _arrow_frame(name, _map(to, name, dtype, shape))
        with open(to, "r+b") as handle:
            handle.write(head)
            handle.seek(len(head) + shape[0] * shape[1] * dtype.itemsize)
            handle.write(tail)
            handle.truncate()
            handle.flush()
            os.fsync(handle.fileno())
    return len(head)


def _link_whole(
    folder: Path, name: str, places: Sequence[ValuePlace], dtype: np.dtype[Any], to: Path
) -> bool:
    """Link to `to` the one file that has all places in order and nothing else; False where there is
    none, or the disk has no links."""
    stop = _room(name, dtype, places[0].dim)
    for place in places:
        is_next = place.run == places[0].run and place.start == stop
        if not is_next or place.dtype != str(dtype):
            return False
        stop = place.stop
    file = places[0].file(folder, name)
    shape = (sum(place.frames for place in places), places[0].dim)
    _, tail = _arrow_frame(name, _map(file, name, dtype, shape))
    with open(file, "rb") as handle:
        handle.seek(stop)
        behind = handle.read(len(tail) + 1)
    # A finish that was killed may have left the tail, or its beginning.
    if not tail.startswith(behind):
        return False
    try:
        os.link(file, to)
    except OSError:
        return False
    return True


def _copy(
    folder: Path, name: str, places: Sequence[ValuePlace], dtype: np.dtype[Any], to: Path
) -> None:
    """Write the values of all places to `to`, in `dtype`, behind the room for the head."""
    with open(to, "wb") as target:
        target.write(bytes(_room(name, dtype, places[0].dim)))
        for place in places:
            with open(place.file(folder, name), "rb") as source:
                source.seek(place.start)
                remaining = place.stop - place.start
                while remaining:
                    content = source.read(min(COPIED_BYTES, remaining))
                    if not content:
                        raise InputError(f"{source.name}: cut short; remove {folder.parent}")
                    block = np.frombuffer(content, place.dtype)
                    target.write(np.ascontiguousarray(block, dtype=dtype).data)
                    remaining -= len(content)


def _room(name: str, dtype: np.dtype[Any], dim: int) -> int:
    """Bytes of the head of a feature set's Arrow file, whatever its number of rows is."""
    return len(_arrow_frame(name, np.zeros((1, dim), dtype))[0])


def _map(file: Path, name: str, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """The values (rows, dim) of a file behind the room for its head, mapped."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", _room(name, dtype, shape[1]), shape)


def _arrow_frame(name: str, values: NDArray[Any]) -> tuple[bytes, bytes]:
    """The bytes before and behind the values (rows, dim) in the Arrow file that has them as its one
    column `name`, in one batch; the values are not read."""
    rows, dim = values.shape
    buffers = [None, pa.py_buffer(values)]
    flat = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), rows * dim, buffers)
    table = pa.table({name: pa.FixedSizeListArray.from_arrays(flat, dim)})
    sink = _Frame()
    # Frames times columns may be more than 2^31: three million frames of 768 columns are.
    options = pa.ipc.IpcWriteOptions(allow_64bit=True)
    with pa.ipc.new_file(pa.PythonFile(sink, "w"), table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.head), bytes(sink.tail)


class _Frame(io.RawIOBase):
    """A file to write to, of which only what is not values stays."""

    def __init__(self) -> None:
        self.head, self.tail = bytearray(), bytearray()
        self._is_behind = False

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, content: Any) -> int:
        """Take the next bytes. Arrow passes on the buffer of values as it is, and all else as
        bytes."""
        if isinstance(content, pa.Buffer):
            self._is_behind = True
        elif self._is_behind:
            self.tail += content
        else:
            self.head += content
        return len(content)

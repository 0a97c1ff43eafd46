"""Bytes that an Arrow IPC file or stream unpacks to, known before anything is unpacked.

A stream is a row of messages; the body of a block of rows is a row of buffers, and each compressed
buffer begins with the bytes that it unpacks to. PyArrow shows a message's header as bytes only,
which are read here: a table of FlatBuffers, whose fields are found by offsets.

Conventions: "Encapsulated message format" of the Arrow columnar format, version 1.5. What does not
fit together raises ValueError."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc

FILE_BEGINNING = 8
"""Bytes before the stream in a file: ARROW1 and padding."""
HEADER, BUFFERS, COMPRESSION, DICTIONARY = 2, 2, 3, 1
"""Fields: the header of a message; buffers and compression of a block; the block of a dictionary."""
NOT_COMPRESSED = -1
"""In place of a buffer's size: it lies there as it is."""


def ipc_bytes(content: pa.NativeFile, *, is_stream: bool) -> int:
    """Bytes of all blocks of rows and dictionaries, unpacked. `content` is mapped into memory."""
    content.seek(0 if is_stream else FILE_BEGINNING)
    size = 0
    for message in _messages(content):
        if message.type == "schema" or message.body is None:
            continue
        try:
            size += _block_bytes(message)
        except struct.error as error:
            raise ValueError(f"a block of rows has a damaged header ({error})") from error
    return size


def _messages(content: pa.NativeFile) -> Iterator[pa.ipc.Message]:
    reader = pa.ipc.MessageReader.open_stream(content)
    try:
        yield from reader
    except pa.ArrowInvalid:
        # Behind the last block of a file stands its footer.
        return


def _block_bytes(message: pa.ipc.Message) -> int:
    """Bytes of one block, unpacked."""
    header = _Table(memoryview(message.metadata), None).table(HEADER)
    if header is not None and message.type == "dictionary":
        header = header.table(DICTIONARY)
    if header is None or header.table(COMPRESSION) is None:
        return int(message.body.size)
    body = memoryview(message.body)
    size = 0
    for start, length in header.pairs(BUFFERS):
        if length == 0:
            continue
        (unpacked,) = struct.unpack_from("<q", body, start)
        size += length if unpacked == NOT_COMPRESSED else abs(unpacked)
    return size


class _Table:
    """A table of FlatBuffers: it begins with the distance back to the list of its fields' places."""

    def __init__(self, content: memoryview, start: int | None) -> None:
        self.content = content
        self.start = self._number("<I", 0) if start is None else start

    def table(self, field: int) -> _Table | None:
        """The table that a field refers to; None where it has none."""
        start = self._reference(field)
        return None if start is None else _Table(self.content, start)

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """The pairs of 64-bit numbers in a field's list."""
        start = self._reference(field)
        if start is not None:
            for index in range(self._number("<I", start)):
                first = start + 4 + 16 * index
                yield self._number("<q", first), self._number("<q", first + 8)

    def _reference(self, field: int) -> int | None:
        places = self.start - self._number("<i", self.start)
        place = 4 + 2 * field
        if place >= self._number("<H", places):
            return None
        offset = self._number("<H", places + place)
        if offset == 0:
            return None
        position = self.start + offset
        return position + self._number("<I", position)

    def _number(self, kind: str, start: int) -> int:
        if start < 0:
            raise struct.error(f"offset {start}")
        number: int = struct.unpack_from(kind, self.content, start)[0]
        return number

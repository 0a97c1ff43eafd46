"""MATLAB's .mat files of numbers. Those of version 5 to 7.2 are read here, those of 7.3 are HDF5.

The format is that of MathWorks' "MAT-File Format": a header of 128 bytes, then elements, each with
a tag (type, number of bytes) and padded to 8 bytes; a matrix is an element of elements (flags,
dimensions, name, values), usually compressed. SciPy's reader is not used: a damaged file can crash
the whole process in it.

Conventions: a matrix of (frames, 1) or (1, frames) beside others is a column of its name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.bundles import Array, Bundle, BundleReader, NamedArray, chosen
from va_search.errors import InputError

HEADER_BYTES = 128
MOST_PACKED = 1_100
"""Bytes at most that one byte of a compressed matrix may unpack to."""
BEGINNING_BYTES = 1 << 12
"""So many bytes of a matrix hold its flags, dimensions and name."""
MATRIX, COMPRESSED = 14, 15
STORED_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""Types of values as they lie in the file; MATLAB keeps whole numbers of a double in fewer bytes."""
CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
"""Classes of numbers, and the types that they mean."""
OTHER_CLASSES = {
    1: "cell",
    2: "struct",
    3: "object",
    4: "char",
    5: "sparse",
    16: "function",
    17: "opaque",
}
LOGICAL, COMPLEX = 0x0200, 0x0800


class MatReader(BundleReader):
    """MATLAB's files; see above."""

    suffixes: tuple[str, ...] = (".mat",)
    kind = "a MATLAB"

    def bundle(self, file: Path, member: str) -> Bundle:
        """Matrices of real numbers."""
        with open(file, "rb") as handle:
            header = handle.read(HEADER_BYTES)
        if header.startswith((b"MATLAB 7.3", b"\x89HDF")):
            from va_search.data.hdf5_reader import matlab_bundle

            return matlab_bundle(file, member)
        if header[126:128] not in (b"IM", b"MI"):
            raise InputError(
                f"{file}: not a MATLAB file of version 5 or later; in MATLAB: save('{file.name}', "
                "'-v7')"
            )
        matrices = [_Matrix.of(content) for content in _matrices(file)]
        most = MOST_PACKED * file.stat().st_size
        for matrix in matrices:
            if math.prod(matrix.shape) > most:
                raise ValueError(f"{matrix.name} of shape {matrix.shape} in so small a file")
        numeric = {matrix.name: matrix for matrix in matrices if matrix.kind in CLASSES.values()}
        arrays = []
        for name in chosen(file, list(numeric), member):
            matrix = numeric[name]
            read = _values_of(file, name)
            arrays.append(NamedArray(name, matrix.shape, np.dtype(matrix.kind), read))
        skipped = [
            f"{matrix.name} ({matrix.kind})" for matrix in matrices if matrix.name not in numeric
        ]
        return Bundle(upright(arrays), skipped=skipped)


def _values_of(file: Path, name: str) -> Callable[[], Array]:
    def read() -> Array:
        for content in _matrices(file, name):
            return _Matrix.of(content).values()
        raise ValueError(f"no {name}")

    return read


@dataclass(frozen=True)
class _Elements:
    """The bytes of some elements one after another, and their byte order ("<" or ">")."""

    content: memoryview
    order: str

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        """(type, bytes) of each element, the last as far as it is there."""
        start = 0
        while start + 8 <= len(self.content):
            kind, size = (
                int(part) for part in np.frombuffer(self.content, f"{self.order}u4", 2, start)
            )
            begin = start + 8
            if kind >> 16:  # up to four bytes stand in the tag itself
                kind, size, begin = kind & 0xFFFF, min(kind >> 16, 4), start + 4
            yield kind, self.content[begin : begin + size]
            # Compressed elements are not padded.
            padding = 0 if kind == COMPRESSED else -(begin + size) % 8
            start = begin + size + padding


def _matrices(file: Path, name: str | None = None) -> Iterator[_Elements]:
    """The first elements of each matrix in the file; with a `name`, all elements of the matrix that
    is called so."""
    content = memoryview(file.read_bytes())
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    for kind, element in _Elements(content[HEADER_BYTES:], order):
        if kind == MATRIX:
            elements = _Elements(element, order)
        elif kind == COMPRESSED:
            elements = _unpacked(element, order, BEGINNING_BYTES)
        else:
            continue
        if name is None:
            yield elements
            continue
        matrix = _Matrix.of(elements)
        if matrix.name == name:
            if kind == COMPRESSED:
                # No more is unpacked than its shape has room for, whatever the file holds.
                most = BEGINNING_BYTES + 8 * math.prod(matrix.shape)
                elements = _unpacked(element, order, most)
            yield elements


def _unpacked(element: memoryview, order: str, most: int) -> _Elements:
    """The elements in the first `most` bytes of a compressed matrix."""
    unpacked = zlib.decompressobj().decompress(element, most)
    for _, matrix in _Elements(memoryview(unpacked), order):
        return _Elements(matrix, order)
    return _Elements(memoryview(b""), order)


@dataclass(frozen=True)
class _Matrix:
    """A matrix: its name, shape, the NumPy type that its class means (or the class's name), and its
    values as they lie in the file, as far as they are there."""

    name: str
    shape: tuple[int, ...]
    kind: str
    stored: str
    content: memoryview

    @classmethod
    def of(cls, elements: _Elements) -> _Matrix:
        """The matrix of these elements: flags, dimensions, name, values."""
        parts = iter(elements)
        _, flags = next(parts)
        flag = int(np.frombuffer(flags, f"{elements.order}u4", 1)[0])
        number = flag & 0xFF
        kind = CLASSES.get(number, OTHER_CLASSES.get(number, "unknown"))
        if flag & COMPLEX:
            kind = "complex"
        elif flag & LOGICAL:
            kind = "u1"
        _, dims = next(parts)
        _, name = next(parts)
        shape = tuple(int(length) for length in np.frombuffer(dims, f"{elements.order}i4"))
        text = bytes(name).decode("latin-1").rstrip("\0")
        if kind not in CLASSES.values():
            return cls(text, shape, kind, "", memoryview(b""))
        stored, content = next(parts)
        return cls(text, shape, kind, elements.order + STORED_TYPES[stored], content)

    def values(self) -> Array:
        """The values, in the type of the matrix's class."""
        values = np.frombuffer(self.content, self.stored, math.prod(self.shape))
        matrix: Array = values.reshape(self.shape, order="F").astype(self.kind)
        return matrix


def upright(arrays: Sequence[NamedArray]) -> list[NamedArray]:
    """The arrays, with rows of as many numbers as another array has frames as columns: (1, frames)
    becomes (frames,)."""
    lengths = {array.shape[0] for array in arrays if array.shape[0] > 1}
    stood_up = []
    for array in arrays:
        is_row = len(array.shape) == 2 and array.shape[0] == 1
        if is_row and (lengths == {array.shape[1]} or (not lengths and len(arrays) > 1)):
            stood_up.append(NamedArray(array.name, array.shape[1:], array.dtype, _raveled(array)))
        else:
            stood_up.append(array)
    return stood_up


def _raveled(array: NamedArray) -> Callable[[], Array]:
    return lambda: array.read().ravel()

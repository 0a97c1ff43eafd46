"""Files of several named arrays: .npz, MATLAB's .mat, HDF5.

Conventions: the arrays of one recording become columns: an array of one dimension is a column of
its name; one of (frames, dim) is the columns "0", "1", … if it stands alone, else `name_0`,
`name_1`, …. (frames, 1, dim) is read as (frames, dim). All have a row per frame. Where a file holds
more than that (several recordings, or several arrays of features), a path below the file names one:
`voices.h5/v1`, `v1.npz/face`."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from va_search.data.array_readers import SQUEEZED, RowReader
from va_search.data.arrays import Values, check_budget, squeezed
from va_search.data.problems import NAMES_SHOWN, PROBLEMS_OF_A_FILE, listed, near_name, shortened
from va_search.errors import InputError
from va_search.files import check_regular

Array = NDArray[Any]
Read = TypeVar("Read")
MOST_COLUMNS = 1_000_000
NUMBERS, TEXTS = "fiub", "OSU"
"""Kinds of dtypes that are numbers, and those that are texts."""


class SeveralTables(InputError):
    """A file holds several tables, of which a path must name one; `members` are their names."""

    def __init__(self, problem: str, members: Sequence[str]) -> None:
        super().__init__(problem)
        self.members = list(members)


@dataclass(frozen=True)
class NamedArray:
    """An array of a file: its shape and type are known before it is read. A `name` of "" is that of
    the only array, whose columns are called by their numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]

    @property
    def dims(self) -> int:
        """Dimensions, without the axis that is left out."""
        return 2 if self.is_squeezed else len(self.shape)

    @property
    def is_squeezed(self) -> bool:
        """True for a shape (frames, 1, dim)."""
        return len(self.shape) == 3 and self.shape[1] == 1

    @property
    def size(self) -> int:
        """Bytes of its values; a text that lies elsewhere in the file counts as a pointer."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def columns(self) -> list[str]:
        """Names of its columns."""
        width = self.shape[-1] if len(self.shape) > 1 else 1
        if self.name == "":
            return [str(index) for index in range(width)]
        if self.dims == 1 or width == 1:
            return [self.name]
        return [f"{self.name}_{index}" for index in range(width)]

    def __str__(self) -> str:
        return f"{self.name or 'array'} {self.shape}"


@dataclass(frozen=True)
class Bundle:
    """Everything in a file, or below a path in it: arrays, names of tables to choose from where
    there are `several`, and names of things that are no arrays of numbers or texts."""

    arrays: list[NamedArray]
    several: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class BundleReader(RowReader, ABC):
    """Formats of named arrays; `kind` is the format in words."""

    has_names = True
    suffixes: tuple[str, ...]
    kind: str

    @abstractmethod
    def bundle(self, file: Path, member: str) -> Bundle:
        """The arrays of the file, or of what `member` names in it. Anything may be raised for a
        damaged file."""

    def header(self, file: Path) -> list[str]:
        """Names of the columns; SeveralTables where the file holds more than one table."""
        names: list[str] = []
        for array in self._arrays(file):
            names += array.columns
        return names

    def numbers(self, file: Path, columns: Sequence[str]) -> Values:
        """(rows, len(columns)) in the file's own type, or float64 for columns of several arrays."""
        requested = set(columns)
        parts: dict[str, Array] = {}
        for array in self._arrays(file):
            if requested.isdisjoint(array.columns):
                continue
            if array.dtype.kind not in NUMBERS:
                raise InputError(
                    f"{file}: array {array.name!r} holds {array.dtype}, expected numbers"
                )
            values = self._read(file, array)
            if values.dtype.kind in "iu":
                own = [index for index, name in enumerate(array.columns) if name in requested]
                names = [array.columns[index] for index in own]
                self.refuse_rounded(file, values[:, own], names)
            if array.columns == list(columns):  # nothing to put together
                return values.astype(np.float64) if values.dtype.kind == "b" else values
            parts |= dict(zip(array.columns, values.T, strict=True))
        return np.stack([parts[name] for name in columns], axis=1, dtype=np.float64)

    def strings(self, file: Path, column: str) -> list[str]:
        """Cells of one column as texts without surrounding spaces."""
        array = next(array for array in self._arrays(file) if column in array.columns)
        cells = self._read(file, array)[:, array.columns.index(column)].tolist()
        texts = [
            cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in cells
        ]
        return [str(text).strip() for text in texts]

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """Texts of the first row's cells by column."""
        cells: dict[str, str] = {}
        for name in columns:
            texts = self.strings(file, name)
            if texts:
                cells[name] = texts[0]
        return cells

    def remarks(self, file: Path) -> tuple[str, ...]:
        """Remarks on an axis that is left out, and on what is not read."""
        bundle = self._bundle(file)
        remarks = []
        if any(array.is_squeezed for array in bundle.arrays):
            remarks.append(SQUEEZED)
        if bundle.skipped:
            remarks.append(f"not read, being no columns: {shortened(bundle.skipped, NAMES_SHOWN)}")
        return tuple(remarks)

    def members(self, file: Path) -> list[str]:
        """Names of the tables of a file of several; none where it holds one."""
        try:
            self._arrays(file)
        except SeveralTables as error:
            return error.members
        return self._bundle(file).several

    def _arrays(self, file: Path) -> list[NamedArray]:
        """The arrays that make one table; InputError where they do not fit together."""
        bundle = self._bundle(file)
        arrays = bundle.arrays
        if not arrays and bundle.several:
            shown = shortened(bundle.several, PROBLEMS_OF_A_FILE)
            raise SeveralTables(
                f"{file}: holds several recordings or arrays ({shown}); name one of them behind the "
                f"file: {file.name}/{bundle.several[0]}",
                bundle.several,
            )
        if not arrays:
            skipped = (
                f" (found: {shortened(bundle.skipped, NAMES_SHOWN)})" if bundle.skipped else ""
            )
            raise InputError(f"{file}: no array of numbers in it{skipped}")
        shapes = listed([str(array) for array in arrays], PROBLEMS_OF_A_FILE, quoted=False)
        for array in arrays:
            # A damaged file may have any shape, and names of a billion columns take all memory.
            is_table = 1 <= array.dims <= 2 and min(array.shape) > 0
            if not is_table or (array.dims == 2 and array.shape[-1] > MOST_COLUMNS):
                raise InputError(
                    f"{file}: shape {array.shape} of {array.name or 'the array'}; expected "
                    "(frames, dim) or (frames,), neither of them 0"
                )
        lengths = {array.shape[0] for array in arrays}
        if len(lengths) > 1 or sum(array.dims == 2 and array.shape[-1] > 1 for array in arrays) > 1:
            names = [array.name for array in arrays]
            raise SeveralTables(
                f"{file}: holds several arrays: {shapes}; name one of them behind the file: "
                f"{file.name}/{names[0]}",
                names,
            )
        return arrays

    def _bundle(self, file: Path) -> Bundle:
        path, member = split_member(file)
        check_regular(path, f"{self.kind} file")
        try:
            bundle = _read_surely(lambda: self.bundle(path, member))
        except InputError:
            raise
        except Exception as error:  # damaged files make these libraries raise all there is
            raise self._unreadable(path, error) from error
        is_matrix = [array.dims == 2 and array.shape[-1] > 1 for array in bundle.arrays]
        if is_matrix == [True]:
            (array,) = bundle.arrays
            nameless = NamedArray("", array.shape, array.dtype, array.read)
            return Bundle([nameless], bundle.several, bundle.skipped)
        return bundle

    def _read(self, file: Path, array: NamedArray) -> Array:
        """(frames, dim) the values of one array."""
        check_budget(split_member(file)[0], array.size, f"{array} takes")
        try:
            values = squeezed(_read_surely(array.read))
        except Exception as error:
            raise self._unreadable(split_member(file)[0], error) from error
        if values.shape[:1] != array.shape[:1] or values.dtype.kind not in NUMBERS + TEXTS:
            raise InputError(f"{file}: array {array.name!r} holds {values.dtype} {values.shape}")
        return values.reshape(len(values), -1)

    def _unreadable(self, file: Path, error: Exception) -> InputError:
        reason = re.sub(r"\s+", " ", str(error)) or type(error).__name__
        return InputError(f"{file}: not {self.kind} file, or cut short ({reason})")


def _read_surely(read: Callable[[], Read]) -> Read:
    """Return what `read` gives; read again where Python itself failed.

    The parser of Python before 3.11.9, which NumPy reads headers with, raises SystemError now and
    then where several threads parse."""
    try:
        return read()
    except SystemError:
        return read()


def split_member(file: Path) -> tuple[Path, str]:
    """The file on the disk and the name behind it: `voices.h5/v1` is voices.h5 and v1; "" where the
    path is that of a file, or of nothing."""
    if not file.exists():
        for parent in file.parents:
            if parent.is_file():
                return parent, file.relative_to(parent).as_posix()
    return file, ""


def chosen(file: Path, names: Sequence[str], member: str) -> list[str]:
    """`names`, or the one that is the `member`; InputError where none is, with the nearest."""
    if not member:
        return list(names)
    if member not in names:
        known = listed(sorted(names), NAMES_SHOWN, quoted=False)
        raise InputError(f"{file}: no {member!r} in it{near_name(member, names)} (found: {known})")
    return [member]


class NpzReader(BundleReader):
    """NumPy's archives of named arrays."""

    suffixes: tuple[str, ...] = (".npz",)
    kind = "an .npz"

    def bundle(self, file: Path, member: str) -> Bundle:
        """Arrays of numbers and texts; headers are read, values later."""
        arrays, skipped = [], []
        with zipfile.ZipFile(file) as archive:
            entries = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for name in chosen(file, list(entries), member):
                with archive.open(entries[name]) as handle:
                    shape, dtype = _npy_header(handle)
                    size = handle.tell() + math.prod(shape) * dtype.itemsize
                if dtype.kind not in NUMBERS + "SU" or shape == ():
                    skipped.append(name)
                    continue
                if size != archive.getinfo(entries[name]).file_size:
                    raise ValueError(f"{name} has other bytes than shape {shape} takes")
                arrays.append(NamedArray(name, shape, dtype, _npz_array(file, entries[name])))
        return Bundle(arrays, skipped=skipped)


def _npy_header(handle: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in .npy format."""
    version = np.lib.format.read_magic(handle)
    read_header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read_header = np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, _, dtype = read_header(handle)
    return shape, dtype


def _npz_array(file: Path, entry: str) -> Callable[[], Array]:
    def read() -> Array:
        # Read from the archive into the array: the packed bytes are never all there at once.
        with zipfile.ZipFile(file) as archive, archive.open(entry) as handle:
            values: Array = np.lib.format.read_array(handle, allow_pickle=False)
        return values

    return read

"""Files that are small and claim or unpack to much, by the ending of the file whose place they
take; HDF5 files that lead to others.

Conventions: a bomb unpacks to about `BOMB` bytes, more than any file of its size may hold (512
MiB); a reader that lets it through takes twice as much or more."""

from __future__ import annotations

import gzip
import random
import struct
import tempfile
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

BOMB = 600 << 20
NOUGHTS = 1 << 20
"""Bytes written at a time."""


def bomb(file: Path, rng: random.Random) -> None:
    """A file that unpacks to 600 MiB, or says that it does."""
    name = "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
    file.write_bytes(bomb_of(name))


@cache
def bomb_of(suffix: str) -> bytes:
    """The bytes of a bomb of one format; noughts, compressed, where the format is no archive."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"bomb{suffix}"
        {
            ".parquet": _parquet,
            ".feather": _feather,
            ".npz": _npz,
            ".npy": _npy,
            ".h5": _hdf5,
            ".mat": _mat,
        }.get(suffix, _text)(file)
        return file.read_bytes()


def _parquet(file: Path) -> None:
    noughts = pa.array(np.zeros(BOMB // 8 // 16))
    table = pa.table({"p": pa.chunked_array([noughts] * 16)})
    pyarrow.parquet.write_table(table, file, compression="zstd")


def _feather(file: Path) -> None:
    noughts = pa.array(np.zeros(BOMB // 8 // 16))
    table = pa.table({"rate": pa.chunked_array([noughts] * 16)})
    pyarrow.feather.write_feather(table, file, compression="zstd", chunksize=len(noughts))


def _npz(file: Path) -> None:
    header = {"descr": "<f8", "fortran_order": False, "shape": (BOMB // 16, 2)}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("a.npy", "w", force_zip64=True) as handle:
            np.lib.format.write_array_header_1_0(handle, header)
            for _ in range(BOMB // NOUGHTS):
                handle.write(bytes(NOUGHTS))


def _npy(file: Path) -> None:
    with open(file, "wb") as handle:
        header = {"descr": "<f8", "fortran_order": False, "shape": (BOMB // 8, 3)}
        np.lib.format.write_array_header_1_0(handle, header)
        handle.write(bytes(800))


def _hdf5(file: Path) -> None:
    """Chunks that were never written, which read as noughts."""
    import h5py

    with h5py.File(file, "w") as root:
        root.create_dataset("v", shape=(BOMB // 16, 2), chunks=(1000, 2), dtype="f8", fillvalue=0)


def _mat(file: Path) -> None:
    """A compressed matrix, put together here: SciPy would compress it thoroughly."""
    shape = struct.pack("<IIii", 5, 8, BOMB // 16, 2)
    parts = struct.pack("<IIII", 6, 8, 6, 0) + shape + struct.pack("<HHi", 1, 1, ord("v"))
    matrix = parts + struct.pack("<II", 9, BOMB)
    packer = zlib.compressobj(1)
    packed = packer.compress(struct.pack("<II", 14, len(matrix) + BOMB) + matrix)
    for _ in range(BOMB // NOUGHTS):
        packed += packer.compress(bytes(NOUGHTS))
    packed += packer.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    file.write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)


def _text(file: Path) -> None:
    line = b"0,0,0,0\n" * (NOUGHTS // 8)
    with gzip.open(file, "wb", compresslevel=1) as handle:
        handle.write(b"a,b,c,d\n")
        for _ in range(BOMB // NOUGHTS):
            handle.write(line)


def hdf5_elsewhere(file: Path, rng: random.Random) -> None:
    """An HDF5 file whose values lie in another file: a link, raw values, or a virtual dataset."""
    import h5py

    other = rng.choice(["/dev/zero", "/etc/passwd", "/proc/self/mem", "nothing", file.name])
    with h5py.File(file, "w") as root:
        kind = rng.randrange(3)
        if kind == 0:
            root["v"] = h5py.ExternalLink(other, "/v")
        elif kind == 1:
            root.create_dataset("v", (12, 2), dtype="f8", external=[(other, 0, 192)])
        else:
            layout = h5py.VirtualLayout((12, 2), "f8")
            layout[:] = h5py.VirtualSource(other, "v", (12, 2))
            root.create_virtual_dataset("v", layout)

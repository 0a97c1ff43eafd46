"""Files that claim or unpack to far more than they are, or that lead to others, are refused before
anything is decoded."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from va_search.data import arrays
from va_search.data.arrow_bytes import ipc_bytes
from va_search.data.readers import read_features, read_header, read_strings
from va_search.errors import InputError

ROWS = 400_000
NOUGHTS = np.zeros((ROWS, 1))


def parquet(file: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"a": NOUGHTS[:, 0]}), file)


def feather(file: Path) -> None:
    pyarrow.feather.write_feather(
        pa.table({"a": NOUGHTS[:, 0]}), file, compression="zstd", chunksize=ROWS
    )


def arrow_stream(file: Path) -> None:
    table = pa.table({"a": NOUGHTS[:, 0]})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(file, table.schema, options=options) as writer:
        writer.write_table(table)


def npz(file: Path) -> None:
    np.savez_compressed(file, a=NOUGHTS)


def npz_of_other_bytes(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as handle:
            header = {"descr": "<f8", "fortran_order": False, "shape": (10, 3)}
            np.lib.format.write_array_header_1_0(handle, header)
            handle.write(bytes(8 * ROWS))


def hdf5_without_values(file: Path) -> None:
    import h5py

    with h5py.File(file, "w") as root:
        root.create_dataset("v", shape=(ROWS, 1), chunks=(1000, 1), dtype="f8", fillvalue=0)


def mat(file: Path) -> None:
    import scipy.io

    scipy.io.savemat(file, {"v": NOUGHTS}, do_compression=True)


def csv(file: Path) -> None:
    file.write_bytes(gzip.compress(b"a,b\n" + b"0,0\n" * ROWS))


def arff(file: Path) -> None:
    beginning = b"@relation x\n@attribute a numeric\n@data\n"
    file.write_bytes(gzip.compress(beginning + b"0\n" * 2 * ROWS))


BOMBS = {
    "a.parquet": parquet,
    "a.feather": feather,
    "a.arrow": arrow_stream,
    "a.npz": npz,
    "b.npz": npz_of_other_bytes,
    "a.h5": hdf5_without_values,
    "a.mat": mat,
    "a.csv.gz": csv,
    "a.arff.gz": arff,
}


@pytest.mark.parametrize(("name", "write"), BOMBS.items(), ids=list(BOMBS))
def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None]
) -> None:
    file = tmp_path / name
    write(file)
    if name != "b.npz":
        assert read_features(file, read_header(file)).shape[0] in (ROWS, 2 * ROWS)
    monkeypatch.setattr(arrays, "UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(arrays, "UNPACKED_TIMES", 10)
    with pytest.raises(InputError, match=r"made to fill the memory|other bytes than shape"):
        read_features(file, read_header(file))


def test_what_needs_more_than_the_free_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz(tmp_path / "a.npz")
    monkeypatch.setattr(arrays, "_free_memory", lambda: 1 << 20)
    with pytest.raises(InputError, match=r"0.0 GiB of memory are free; cut the recording"):
        read_features(tmp_path / "a.npz", ["a"])


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
@pytest.mark.parametrize("ending", ["feather", "arrow"])
def test_bytes_of_arrow_files_are_known_before_they_are_unpacked(
    tmp_path: Path, compression: str, ending: str
) -> None:
    words = pa.array(["x", "yy", None] * 1000).dictionary_encode()
    table = pa.table({"a": np.arange(3000.0), "b": words, "c": ["z" * 9] * 3000})
    file = tmp_path / f"a.{ending}"
    codec = None if compression == "uncompressed" else compression
    options = pa.ipc.IpcWriteOptions(compression=codec)
    kind = pa.ipc.new_file if ending == "feather" else pa.ipc.new_stream
    with kind(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=700)
    with pa.memory_map(str(file)) as content:
        size = ipc_bytes(content, is_stream=ending == "arrow")
    # Buffers are padded to 8 or 64 bytes where they are not compressed.
    assert table.nbytes <= size + 1000
    assert size <= 1.2 * table.nbytes + 3000


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_text_that_all_rows_share_is_kept_once(tmp_path: Path, ending: str) -> None:
    long = "x" * 100_000
    texts = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None] * 10_000, pa.int32()), [long, " y "]
    )
    table = pa.table({"name": texts})
    file = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    cells = read_strings(file, "name")
    assert cells[:4] == [long, "y", "", long]
    assert len({id(cell) for cell in cells}) < 10
    plain = tmp_path / "plain.parquet"
    pyarrow.parquet.write_table(pa.table({"name": ["v1", None, " v2"]}), plain)
    assert read_strings(plain, "name") == ["v1", "", "v2"]


@pytest.mark.parametrize("kind", ["link", "soft link", "external", "virtual", "frames"])
def test_hdf5_files_that_lead_to_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    values = np.arange(30.0).reshape(10, 3)
    with h5py.File(tmp_path / "other.h5", "w") as root:
        root["v"] = values
    (tmp_path / "raw").write_bytes(values.tobytes())
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as root:
        if kind == "link":
            root["v"] = h5py.ExternalLink("other.h5", "/v")
        elif kind == "soft link":
            root["x"] = h5py.ExternalLink("other.h5", "/")
            root["v"] = h5py.SoftLink("/x/v")
        elif kind == "external":
            root.create_dataset("v", (10, 3), dtype="f8", external=[("raw", 0, 240)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((10, 3), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "v", (10, 3))
            root.create_virtual_dataset("v", layout)
        else:
            root["v/00001"] = values[0]
            root["v/00002"] = h5py.ExternalLink("other.h5", "/v")
    with pytest.raises(InputError, match=r"another file|is a link"):
        read_features(file / "v", read_header(file / "v"))


def test_links_within_an_hdf5_file_are_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as root:
        root["group/v"] = np.arange(6.0).reshape(3, 2)
        root["w"] = h5py.SoftLink("/group/v")
    assert read_features(file / "w", ["0", "1"]).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_damaged_headers_of_arrays_are_refused(tmp_path: Path) -> None:
    for number, shape in enumerate(["(10**12, 3)", "(2**62, 2**62)", "(" * 4000, "(0, 10**30)"]):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        file = tmp_path / f"{number}.npy"
        file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        with pytest.raises(InputError):
            read_header(file)


def test_a_column_that_stands_twice_is_told_of_parquet_with_texts_too(tmp_path: Path) -> None:
    columns = [pa.array([1.0]), pa.array(["x"]), pa.array([2.0])]
    table = pa.Table.from_arrays(columns, names=["a", "b", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'a' stands twice"):
        read_header(tmp_path / "a.parquet")


def test_a_first_line_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"0" * (17 << 20)))
    with pytest.raises(InputError, match="a line of more than 16 million letters"):
        read_header(file)

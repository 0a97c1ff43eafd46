"""HDF5, .npz, MATLAB, Arrow and ELAN files of the shapes that people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import scipy.io
from numpy.typing import NDArray

from va_search.data import bundles
from va_search.data.readers import (
    members_of,
    read_header,
    read_numbers,
    read_strings,
    reader_of,
    where,
)
from va_search.errors import InputError

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
TIMES = np.arange(4) / 25


def h5(file: Path, **datasets: Any) -> Path:
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    with h5py.File(file, "w") as root:
        for name, values in datasets.items():
            root[name] = values
    return file


# HDF5


def test_recordings_of_one_hdf5_file_are_named_behind_it(tmp_path: Path) -> None:
    file = h5(tmp_path / "face.h5", **{"v1/fts": VALUES, "-v 2/fts": VALUES[:2] + 1})
    assert members_of(file) == ["-v 2", "v1"]
    assert read_header(file / "v1") == ["0", "1", "2"]
    np.testing.assert_array_equal(read_numbers(file / "-v 2", ["0", "2"]), [[1, 3], [4, 6]])
    assert where(file / "v1", 2) == f"{file}/v1 row 3"
    with pytest.raises(
        InputError, match=r"several recordings or arrays \(-v 2, v1\); name one .* face\.h5/-v 2"
    ):
        read_header(file)
    with pytest.raises(
        InputError, match=r"no '-v2' in it \(did you mean '-v 2'\?\) \(found: -v 2, v1\)"
    ):
        read_header(file / "-v2")


def test_a_dataset_per_frame_names_its_frame(tmp_path: Path) -> None:
    datasets = {f"v1/{frame:05d}": VALUES[frame] for frame in (3, 0, 2)}
    file = h5(
        tmp_path / "face.h5",
        **datasets,
        **{"v2/1": VALUES[:1], "v2/10": VALUES[1:2], "v2/9": VALUES[2:3]},
    )
    assert read_header(file / "v1") == ["frame", "0", "1", "2"]
    np.testing.assert_array_equal(
        read_numbers(file / "v1", ["frame", "1"]), [[0, 1], [2, 7], [3, 10]]
    )
    np.testing.assert_array_equal(
        read_numbers(file / "v2", ["frame", "0"]), [[1, 0], [9, 6], [10, 3]]
    )


def test_columns_of_one_recording_may_be_datasets_or_a_table(tmp_path: Path) -> None:
    file = h5(
        tmp_path / "v1.h5", timestamp=TIMES, fts=VALUES[:, None, :], valid=TIMES > 0, fps=25.0
    )
    assert read_header(file) == ["fts_0", "fts_1", "fts_2", "timestamp", "valid"]
    np.testing.assert_array_equal(
        read_numbers(file, ["timestamp", "fts_1", "valid"])[1], [0.04, 4, 1]
    )
    assert reader_of(file).remarks(file) == (
        "arrays of shape (frames, 1, dim) are read as (frames, dim)", "not read, being no columns: fps",
    )  # fmt: skip
    table = np.array([(0.0, 1), (0.5, 2)], dtype=[("time", "f8"), ("label", "i4")])
    file = h5(tmp_path / "v2.h5", table=table)
    assert read_header(file) == ["time", "label"]
    np.testing.assert_array_equal(read_numbers(file, ["label", "time"]), [[1, 0], [2, 0.5]])
    file = h5(tmp_path / "v3.h5", name=["a", "b"], x=[1.0, 2.0])
    assert read_strings(file, "name") == ["a", "b"]
    with pytest.raises(InputError, match="array 'name' holds object, expected numbers"):
        read_numbers(file, ["name"])


def test_a_recording_alone_in_a_file_is_read_and_has_its_name(tmp_path: Path) -> None:
    file = h5(tmp_path / "x.h5", **{"v1/fts": VALUES})
    assert read_header(file) == ["0", "1", "2"]
    assert members_of(file) == ["v1"]
    np.testing.assert_array_equal(read_numbers(file / "v1", ["0"]), VALUES[:, :1])


def test_a_file_without_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no array of numbers in it \(found: fps\)"):
        read_header(h5(tmp_path / "v1.h5", fps=25.0))
    with pytest.raises(
        InputError, match=r"shape \(2, 3, 4\) of fts; expected \(frames, dim\) or \(frames,\)"
    ):
        read_header(h5(tmp_path / "v2.h5", fts=np.zeros((2, 3, 4))))


def test_hdf5_without_h5py_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "v1.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(
        InputError, match=r"v1\.h5: reading HDF5 files needs h5py, .*: pip install h5py"
    ):
        read_header(file)


# .npz


def test_arrays_of_an_archive_are_columns_or_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "v1.npz"
    np.savez(file, features=VALUES, time=TIMES, name=["v1"] * 4, fps=25)
    assert read_header(file) == ["features_0", "features_1", "features_2", "time", "name"]
    np.testing.assert_array_equal(
        read_numbers(file, ["time", "features_2"]), np.stack([TIMES, VALUES[:, 2]], 1)
    )
    assert read_strings(file, "name") == ["v1"] * 4
    assert reader_of(file).remarks(file) == ("not read, being no columns: fps",)
    np.savez(file, face=VALUES, voice=VALUES[:2])
    assert members_of(file) == ["face", "voice"]
    np.testing.assert_array_equal(read_numbers(file / "voice", ["0"]), VALUES[:2, :1])
    with pytest.raises(
        InputError, match=r"several arrays: face \(4, 3\), voice \(2, 3\); name one .* v1\.npz/face"
    ):
        read_header(file)
    np.savez(file, face=VALUES, pose=VALUES)
    with pytest.raises(InputError, match="several arrays"):
        read_header(file)


def test_pickled_arrays_in_an_archive_are_no_arrays(tmp_path: Path) -> None:
    file = tmp_path / "v1.npz"
    np.savez(file, allow_pickle=True, a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"no array of numbers in it \(found: a\)"):
        read_header(file)


# MATLAB


def test_vectors_of_matlab_are_columns_however_they_lie(tmp_path: Path) -> None:
    file = tmp_path / "v1.mat"
    content = {
        "features": VALUES,
        "time": TIMES[None, :],
        "valid": (TIMES > 0)[:, None],
        "note": "text",
    }
    scipy.io.savemat(file, content)
    assert read_header(file) == ["features_0", "features_1", "features_2", "time", "valid"]
    np.testing.assert_array_equal(
        read_numbers(file, ["time", "valid"]), [[0, 0], [0.04, 1], [0.08, 1], [0.12, 1]]
    )
    assert reader_of(file).remarks(file) == ("not read, being no columns: note (char)",)
    scipy.io.savemat(file, {"s": {"a": VALUES}})
    with pytest.raises(InputError, match=r"no array of numbers in it \(found: s \(struct\)\)"):
        read_header(file)
    scipy.io.savemat(file, {"a": VALUES}, format="4")
    with pytest.raises(
        InputError, match=r"not a MATLAB file of version 5 or later; in MATLAB: save"
    ):
        read_header(file)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("compressed", [True, False])
def test_matrices_of_every_type_read_as_scipy_wrote_them(
    tmp_path: Path, dtype: str, compressed: bool
) -> None:
    file = tmp_path / "v1.mat"
    matrix = np.random.default_rng(0).integers(0, 100, (7, 5)).astype(dtype)
    scipy.io.savemat(file, {"a_long_name": matrix, "b": matrix[:3]}, do_compression=compressed)
    for name, expected in (("a_long_name", matrix), ("b", matrix[:3])):
        values = read_numbers(file / name, list("01234"))
        np.testing.assert_array_equal(values, expected)


def test_matlab_files_of_version_7_3_are_hdf5_and_transposed(tmp_path: Path) -> None:
    file = tmp_path / "v1.mat"
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    with h5py.File(file, "w", userblock_size=512) as root:
        root["features"] = VALUES.T
        root["features"].attrs["MATLAB_class"] = np.bytes_("single")
        root["note"] = np.frombuffer(b"hi", np.uint8)[None]
        root["note"].attrs["MATLAB_class"] = np.bytes_("char")
    with open(file, "r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    assert read_header(file) == ["0", "1", "2"]
    np.testing.assert_array_equal(read_numbers(file, ["0", "1", "2"]), VALUES)


# Arrow


def test_columns_of_arrow_and_parquet_of_other_types_are_named(tmp_path: Path) -> None:
    table = pa.table(
        {
            "x": [1, None],
            "ok": [True, False],
            "name": ["a", None],
            "t": pa.array([0, 1], pa.timestamp("ms")),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "v1.parquet")
    with (
        pa.OSFile(str(tmp_path / "v1.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    for file in (tmp_path / "v1.parquet", tmp_path / "v1.arrow"):
        np.testing.assert_array_equal(read_numbers(file, ["x", "ok"]), [[1, 1], [np.nan, 0]])
        assert read_strings(file, "name") == ["a", ""]
        with pytest.raises(
            InputError, match=r"column 't' holds timestamp\[ms\], expected numbers; write seconds"
        ):
            read_numbers(file, ["t"])


def test_shapes_of_npy_files_that_are_no_table_are_told(tmp_path: Path) -> None:
    file = tmp_path / "v1.npy"
    for shape in ((4,), (4, 2, 3), (1, 4, 3), (0, 3)):
        np.save(file, np.zeros(shape))
        with pytest.raises(InputError) as refused:
            read_header(file)
        assert f"shape {shape}, float64; expected numbers of shape (frames, dim)" in str(
            refused.value
        )


# ELAN

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-11-30T10:00:00+00:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="15"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="40"/>
    <TIME_SLOT TIME_SLOT_ID="ts4"/>
    <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="80"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="value" TIER_ID="valence">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>-0.5</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE> 0.5 </ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="text" TIER_ID="words" PARENT_REF="valence">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>hello</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="value" TIER_ID="arousal">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
      <ANNOTATION_VALUE>1</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


def test_annotations_of_elan_hold_from_their_start_to_their_end(tmp_path: Path) -> None:
    file = tmp_path / "v1.eaf"
    file.write_text(EAF)
    nan = np.nan
    assert read_header(file) == ["time_ms", "valence", "words", "arousal"]
    numbers = read_numbers(file, ["time_ms", "valence", "arousal"])
    np.testing.assert_array_equal(numbers[:, 0], np.arange(8) * 10)
    np.testing.assert_array_equal(numbers[:, 1], [0.5, 0.5, nan, nan, -0.5, -0.5, nan, nan])
    np.testing.assert_array_equal(numbers[:, 2], [nan] * 6 + [1, 1])
    assert read_strings(file, "words") == ["hello", "hello", *[""] * 6]
    assert where(file, 3) == f"{file} at 30 ms"
    with pytest.raises(InputError, match=r"v1\.eaf: tier 'words' at 0 ms: 'hello' is not a number"):
        read_numbers(file, ["words"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('TIME_VALUE="15"', 'TIME_VALUE="x"', "time slot 'x', expected whole milliseconds"),
        (
            'TIME_SLOT_REF1="ts3"',
            'TIME_SLOT_REF1="ts9"',
            "tier 'valence': an annotation without a start",
        ),
        (
            'TIME_SLOT_REF1="ts3"',
            'TIME_SLOT_REF1="ts5"',
            "an annotation from 80 to 60 ms; expected an end",
        ),
        ("</TIME_ORDER>", "", r"not an \.eaf file, or cut short"),
        ("ANNOTATION_DOCUMENT", "html", "begins with <html>, expected ELAN's"),
    ],
)
def test_bad_elan_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "v1.eaf"
    file.write_text(EAF.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_header(file)


@pytest.mark.parametrize("name", ["v1.npy", "v1.npz", "v1.h5", "v1.parquet", "v1.arrow", "v1.mat"])
def test_whole_numbers_that_float64_does_not_hold_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    rounded = np.array([[1, 2**53], [2, 2**53 + 1], [3, 2**63 - 1]])
    write_integers(file, rounded)
    _, last = read_header(file)
    message = (
        rf"{name} row 2: column '.+' is 9007199254740993, of which float64 keeps 9007199254740992"
    )
    with pytest.raises(InputError, match=message):
        read_numbers(file, [last])
    write_integers(file, rounded[:1])
    assert read_numbers(file, [last]).tolist() == [[2.0**53]]


def write_integers(file: Path, values: NDArray[np.int64]) -> None:
    """One array of integers in the format of the file's ending."""
    columns = {"a": values[:, 0], "b": values[:, 1]}
    match file.suffix:
        case ".npy":
            np.save(file, values)
        case ".npz":
            np.savez(file, values)
        case ".h5":
            h5(file, **{"v1/fts": values})
        case ".parquet":
            pyarrow.parquet.write_table(pa.table(columns), file)
        case ".arrow":
            pyarrow.feather.write_feather(pa.table(columns), str(file))
        case ".mat":
            scipy.io.savemat(file, {"x": values})


def test_a_failure_of_pythons_parser_is_no_damage() -> None:
    """Before Python 3.11.9 it raises SystemError now and then where several threads parse."""
    outcomes: list[object] = [SystemError("AST constructor recursion depth mismatch"), 7]

    def read() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert bundles._read_surely(read) == 7

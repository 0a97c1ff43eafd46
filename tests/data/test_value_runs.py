"""Values that an import writes once: whatever the order, the writers and the kills, the store has
them bit for bit, in the file that Arrow itself would write."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from va_search.arrow_files import open_arrow
from va_search.data import value_runs
from va_search.data.affwild2 import import_affwild2
from va_search.data.draft import Description, Draft, Part, Source, write_arrow
from va_search.data.importing import read_all
from va_search.data.manifest import feature_file
from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.targets import affect

Arrays = list[dict[str, NDArray[Any]]]
SETS = {"face": ("visual", ("a", "b", "c")), "voice": ("audio", ("0",))}


def sources_of(folder: Path, count: int) -> list[Source]:
    file = folder / "source.csv"
    file.write_text("x")
    splits = ["train", "validation", "test"]
    return [
        Source(f"r{index}", f"s{index}", f"v{index}", splits[index % 3], None, 25.0, (file,))
        for index in range(count)
    ]


def random_features(random: np.random.Generator, count: int) -> Arrays:
    """Recordings of 0, 1 or some frames, in any type; some values are NaN, some need float64."""
    arrays: Arrays = []
    lengths = random.choice([0, 1, 2, 7, 40], count)
    lengths[random.integers(count)] = 3
    for frames in lengths.tolist():
        features = {}
        for name, (_, columns) in SETS.items():
            values = random.normal(size=(frames, len(columns)))
            dtype = random.choice(np.array(["float16", "float32", "float64", "int16"]))
            values = (100 * values).astype(dtype)
            if dtype != "int16" and frames and random.random() < 0.3:
                values[random.integers(frames), 0] = np.nan
            if name == "voice" and dtype == "float64" and random.random() < 0.2:
                values += 1e9
            features[name] = values
        arrays.append(features)
    return arrays


def check_store(store: Store, arrays: Arrays, folder: Path) -> None:
    """Compare values, hash and file of each feature set with those made the obvious way."""
    for name, feature_set in store.feature_sets.items():
        dtype = np.dtype(feature_set.dtype)
        expected = np.concatenate([features[name].astype(dtype) for features in arrays])
        np.testing.assert_array_equal(store.features(name), expected)
        prefix = f"{expected.shape[1]}:{dtype}".encode()
        assert feature_set.hash == hashlib.sha256(prefix + expected.tobytes()).hexdigest()
        assert feature_set.missing == bool(np.isnan(expected).any())
        flat = pa.array(expected.ravel())
        rows = pa.FixedSizeListArray.from_arrays(flat, expected.shape[1])
        write_arrow(folder / "expected.arrow", pa.table({name: rows}))
        file = store.path / feature_file(name)
        assert file.read_bytes() == (folder / "expected.arrow").read_bytes()
        assert file.stat().st_nlink == 1


@pytest.mark.parametrize("seed", range(12))
def test_any_order_and_any_writers_make_the_same_store(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 9))
    sources = sources_of(tmp_path, count)
    arrays = random_features(random, count)
    dtype = ["float32", "float16"][seed % 2]
    if dtype == "float16":
        arrays = [{n: np.clip(v, -999, 999) for n, v in features.items()} for features in arrays]
    description = Description("d", affect(-1, 1), SETS, dtype=dtype)
    draft = Draft(tmp_path / "store", description, sources)
    for index in random.permutation(count).tolist():
        if random.random() < 0.3:  # as after a kill, or by another process
            draft = Draft(tmp_path / "store", description, sources)
        draft.add(index, Part(arrays[index]))
    check_store(draft.finish(), arrays, tmp_path)


def in_order(tmp_path: Path, count: int = 4) -> tuple[Draft, Arrays]:
    """A draft of float32 values, to which nothing was added yet."""
    random = np.random.default_rng(5)
    arrays: Arrays = []
    for index in range(count):
        features = {}
        for name, (_, columns) in SETS.items():
            shape = (4 + index, len(columns))
            features[name] = random.normal(size=shape).astype(np.float32)
        arrays.append(features)
    description = Description("d", affect(-1, 1), SETS)
    return Draft(tmp_path / "store", description, sources_of(tmp_path, count)), arrays


def test_recordings_in_order_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first is read last."""
    draft, arrays = in_order(tmp_path)
    monkeypatch.delattr(value_runs, "_copy")

    def read(index: int) -> Part:
        time.sleep(0.2 if index == 0 else 0)
        return Part(arrays[index])

    check_store(read_all(draft, read, workers=3), arrays, tmp_path)


def test_a_disk_without_links_has_the_values_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, arrays = in_order(tmp_path)
    for index, features in enumerate(arrays):
        draft.add(index, Part(features))

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refused)
    check_store(draft.finish(), arrays, tmp_path)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_finish_that_was_killed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, arrays = in_order(tmp_path)
    for index, features in enumerate(arrays):
        draft.add(index, Part(features))
    with monkeypatch.context() as patch:
        patch.setattr(Draft, "_write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            draft.finish()
    again = Draft(draft.to, draft.description, draft.recordings)
    assert again.missing() == []
    monkeypatch.delattr(value_runs, "_copy")
    check_store(again.finish(), arrays, tmp_path)


def test_values_behind_the_last_part_are_never_read(tmp_path: Path) -> None:
    """A kill between the values and the part that names them."""
    draft, arrays = in_order(tmp_path)
    for index, features in enumerate(arrays):
        draft.add(index, Part(features))
    for file in (draft.folder / "values").rglob("face.float32"):
        with open(file, "ab") as handle:
            handle.write(b"cut short")
    check_store(draft.finish(), arrays, tmp_path)


def test_a_part_without_its_values_is_read_again(tmp_path: Path) -> None:
    draft, arrays = in_order(tmp_path)
    for index, features in enumerate(arrays):
        draft.add(index, Part(features))
    (file,) = (draft.folder / "values").rglob("face.float32")
    os.truncate(file, file.stat().st_size - 1)
    again = Draft(draft.to, draft.description, draft.recordings)
    assert again.missing() == [3]
    again.add(3, Part(arrays[3]))
    check_store(again.finish(), arrays, tmp_path)


def test_a_draft_sent_to_another_process_writes_files_of_its_own(tmp_path: Path) -> None:
    draft, arrays = in_order(tmp_path)
    draft.add(0, Part(arrays[0]))
    copy = pickle.loads(pickle.dumps(draft))
    for index in (3, 1, 2):
        (copy if index % 2 else draft).add(index, Part(arrays[index]))
    assert len(list((draft.folder / "values").iterdir())) == 2
    check_store(draft.finish(), arrays, tmp_path)


def test_a_full_disk_is_said_and_the_recording_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, arrays = in_order(tmp_path)
    draft.add(0, Part(arrays[0]))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(value_runs.os, "fsync", full)
        with pytest.raises(JobError, match=r"face\.float32: no space left on the disk; free some"):
            draft.add(1, Part(arrays[1]))
    assert draft.missing() == [1, 2, 3]
    for index in (1, 2, 3):
        draft.add(index, Part(arrays[index]))
    check_store(draft.finish(), arrays, tmp_path)


def test_recordings_of_unequal_width_are_refused(tmp_path: Path) -> None:
    draft, arrays = in_order(tmp_path, 2)
    draft.add(0, Part(arrays[0]))
    draft.add(1, Part({**arrays[1], "face": np.zeros((5, 2), np.float32)}))
    with pytest.raises(InputError, match="feature set 'face': recordings of 2 and of 3 columns"):
        draft.finish()


# A real process, killed.

IMPORT = """
import sys, time
from pathlib import Path
from va_search.data.affwild2 import import_affwild2
def tell(done, total, name):
    print(done, flush=True)
    time.sleep(float(sys.argv[3]))
source = Path(sys.argv[1])
import_affwild2(source / "annotations", Path(sys.argv[2]), visual=source / "visual", workers=2, progress=tell)
"""


def write_arrays(source: Path, recordings: int = 5, frames: int = 30) -> None:
    """An Aff-Wild2 source with one feature set of .npy files."""
    random = np.random.default_rng(0)
    for index in range(recordings):
        split = "Validation_Set" if index == 0 else "Train_Set"
        labels = source / "annotations" / split / f"v{index}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        rows = random.uniform(-1, 1, (frames, 2))
        np.savetxt(labels, rows, "%.3f", ",", header="valence,arousal", comments="")
        face = source / "visual/face" / f"v{index}.npy"
        face.parent.mkdir(parents=True, exist_ok=True)
        np.save(face, random.normal(size=(frames, 4)).astype(np.float32))


def content_of(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_import_killed_in_the_middle_goes_on(tmp_path: Path, is_changed: bool) -> None:
    source, to = tmp_path / "source", tmp_path / "store"
    write_arrays(source)
    program = [sys.executable, "-c", IMPORT, str(source), str(to)]
    with subprocess.Popen([*program, "0.5"], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        while killed.stdout.readline().strip() != "2":
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
    assert not to.exists()
    written = list((tmp_path / "store.partial/parts").glob("*.npz"))
    assert 2 <= len(written) < 5
    read_again = 0
    if is_changed:
        file = source / "visual/face/v1.npy"  # among the first two, which had been read
        np.save(file, np.load(file) + 1)
        read_again = 1
    result = subprocess.run([*program, "0"], capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[0]) == len(written) - read_again
    whole = import_affwild2(source / "annotations", tmp_path / "whole", visual=source / "visual")
    assert content_of(to) == content_of(whole.path)
    assert not to.with_name("store.partial").exists()


def test_a_feature_set_of_more_values_than_32_bits_count_is_laid(tmp_path: Path) -> None:
    dtype = np.dtype(np.float16)
    start = value_runs._room("face", dtype, 768)
    place = value_runs.ValuePlace("run", "float16", start, 2**31 // 768 + 3, 768)
    file = place.file(tmp_path, "face")
    file.parent.mkdir()
    with open(file, "wb") as handle:
        handle.truncate(place.stop)  # a hole: nothing is on the disk
    value_runs.lay(tmp_path, "face", [place], dtype, tmp_path / "face.arrow")
    schema = pa.schema({"face": pa.list_(pa.float16(), 768)})
    column = open_arrow(tmp_path / "face.arrow", schema, place.frames, is_mapped=True).column(0)
    assert column.num_chunks == 1
    assert column[-1].as_py() == [0.0] * 768

"""Times come back as they were written: from tables and streams, in every way of writing them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from streams_world import write_csv, write_source

from va_search.data.audit import check
from va_search.data.frame_names import RecordingFrames
from va_search.data.frame_rows import name_rows
from va_search.data.importing import add_feature_sets
from va_search.data.row_times import rows_by_time
from va_search.data.store import Store
from va_search.data.streams import import_streams
from va_search.data.table import import_table
from va_search.data.time_texts import example_of, read_times, time_examples, written_times
from va_search.errors import InputError
from va_search.submission.formats import recording_sheets

WAYS = {
    "python": ["2024-05-01 10:01:02", "2024-05-01 10:01:02.500000", "2024-05-01 10:01:03"],
    "ISO": ["2024-12-31T23:59:59.500", "2025-01-01T00:00:00.000", "2025-01-01T00:00:00.500"],
    "whole": ["2024-02-28 23:59:59", "2024-02-29 00:00:00", "2024-02-29 00:00:01"],
    "time of day": ["09:59:59.5", "10:00:00.0", "10:00:00.5"],
    "short hours": ["9:59:59", "10:00:00", "10:00:01"],
    "nanoseconds": ["10:01:02.123456789", "10:01:02.500000000", "10:01:03.000000001"],
    "pandas with nanoseconds": ["0 days 23:59:59.000000001", "1 days 00:00:00.500000"],
    "zeros": ["2024-05-01 10:01:02.500000", "2024-05-01 10:01:03.000000"],
    "pandas": ["0 days 23:59:59.500000", "1 days 00:00:00", "1 days 00:00:00.500000"],
    "decimals": ["0.00", "0.50", "1.00"],
    "six decimals": ["0.000000", "0.033333", "0.066667"],
    "shortest": ["0", "0.5", "1"],
    "floats": ["0.0", "0.5", "1.0"],
    "whole floats": ["0.0", "1.0", "2.0"],
    "whole numbers": ["0", "500", "1000"],
    "digits": ["0.1", "0.30000000000000004", "0.5"],
}


@pytest.mark.parametrize("way", WAYS)
def test_times_are_written_as_they_stood(tmp_path: Path, way: str) -> None:
    file = tmp_path / "v1.csv"
    file.write_text("\n".join(["time", *WAYS[way]]) + "\n")
    times = read_times(file, "time")
    assert written_times(times, example_of(file, "time", times)) == WAYS[way]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("2024-05-01 10:01:02.123456789", 6),
        ("2024-05-01T10:01:02.1234567", 6),
        ("10:01:02.1234567891", 9),
        ("49 days 10:01:02.123456789", 6),
    ],
)
def test_digits_that_would_not_come_back_are_refused(tmp_path: Path, text: str, kept: int) -> None:
    file = tmp_path / "v1.csv"
    file.write_text(f"time\n{text.split('.', maxsplit=1)[0]}\n{text}\n")
    times = read_times(file, "time")
    with pytest.raises(InputError, match=rf":3: column 'time': '{re.escape(text)}' .* {kept} here"):
        example_of(file, "time", times)
    zeros = text[: -len(text.split(".")[1][kept:])]
    file.write_text(f"time\n{zeros}000\n")
    assert example_of(file, "time", read_times(file, "time")) == f"{zeros}000"


def test_dates_with_nanoseconds_in_a_parquet_file_are_refused_on_import(tmp_path: Path) -> None:
    ends = {"range": [-1, 1], "files": "labels/{recording}.parquet"}
    face = {"modality": "visual", "files": "face/{recording}.csv"}
    document = {"name": "s", "targets": {"valence": ends}, "features": {"face": face}}
    rows = [("a", "1", "train"), ("b", "2", "validation")]
    folder = write_source(tmp_path / "s", document, rows)
    start = np.datetime64("2024-05-01T10:01:02.000000001", "ns")
    for name, _, _ in rows:
        times = start + np.arange(20) * np.timedelta64(40, "ms")
        (folder / "labels").mkdir(exist_ok=True)
        table = pa.table({"time": times, "valence": np.linspace(0, 1, 20)})
        pq.write_table(table, folder / f"labels/{name}.parquet")
        cells = [(f"{time}"[:-3].replace("T", " "), 1.0) for time in times]
        write_csv(folder / f"face/{name}.csv", ["time", "x"], cells)
    with pytest.raises(InputError, match=r"\.dt\.round\('us'\)`\), or .*\(the same at b.parquet"):
        import_streams(folder, tmp_path / "store")


def times_of(way: str, rows: int) -> list[str]:
    """The way's times, and more of them at its last step."""
    example = min(WAYS[way], key=len)
    step = {"whole": 1.0, "short hours": 1.0, "whole floats": 1.0, "whole numbers": 500.0}
    step |= {"six decimals": 1 / 30}
    times = np.round(START[way] + np.arange(rows) * step.get(way, 0.5), 6)
    return written_times(times, example)


DAY = 86_400.0
START = {
    "python": 19_844 * DAY + 36_062, "ISO": 20_088 * DAY - 0.5, "whole": 19_782 * DAY - 1,
    "time of day": 35_999.5, "short hours": 35_999.0, "pandas": DAY - 0.5, "decimals": 0.0,
    "six decimals": 0.0, "shortest": 0.0, "floats": 0.0, "whole floats": 0.0, "whole numbers": 0.0,
}  # fmt: skip


def keys_of(store: Store) -> list[str]:
    """The times of the first recording in a submission."""
    values = np.zeros((store.recordings[0].frames, 1))
    (sheet,) = recording_sheets(values, store.recordings[:1], store, ["valence"])
    assert sheet.keys is not None
    return sheet.keys


@pytest.mark.parametrize("way", START)
def test_streams_give_times_back_as_their_labels_had_them(tmp_path: Path, way: str) -> None:
    texts = times_of(way, 30)
    ends = {"range": [-1, 1], "files": "labels/{recording}.csv"}
    face = {"modality": "visual", "files": "face/{recording}.csv"}
    document = {"name": "s", "targets": {"valence": ends}, "features": {"face": face}}
    rows = [("a", "1", "train"), ("b", "2", "validation"), ("c", "3", "test")]
    folder = write_source(tmp_path / "s", document, rows)
    for name, _, split in rows:
        header = ["time", "valence"]
        write_csv(
            folder / f"labels/{name}.csv",
            header,
            [(t, "" if split == "test" else 0.5) for t in texts],
        )
        write_csv(folder / f"face/{name}.csv", ["time", "x"], [(t, 1.0) for t in texts])
    store, _ = import_streams(folder, tmp_path / "store")
    assert keys_of(store) == texts

    # What was written finds its frames again.
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["time", *texts]) + "\n")
    frames = RecordingFrames.of(store.recordings[0], store)
    named = name_rows(file, frames.roles_of(file), frames)
    assert named.frames is not None
    assert named.frames.tolist() == list(range(30))
    assert rows_by_time(file, "time", frames.frame_times).frames.tolist() == list(range(30))


@pytest.mark.parametrize("way", ["decimals", "six decimals", "shortest", "floats", "whole floats"])
def test_tables_give_times_back_as_they_had_them(tmp_path: Path, way: str) -> None:
    texts = times_of(way, 20)
    for name in ("a", "b"):
        rows = [(t, 1.0, 0.5) for t in texts]
        write_csv(tmp_path / f"t/recordings/{name}.csv", ["time", "x", "valence"], rows)
    listing = [("a", "1", "train"), ("b", "2", "validation")]
    write_csv(tmp_path / "t/recordings.csv", ["recording", "subject", "split"], listing)
    rate = {"six decimals": 30, "whole floats": 1}.get(way, 2)
    document = {
        "name": "t", "targets": {"valence": [-1, 1]}, "frames_per_second": rate, "time_unit": "s",
        "time_column": "time", "features": {"f": {"modality": "m", "columns": ["x"]}},
    }  # fmt: skip
    (tmp_path / "t/dataset.yaml").write_text(yaml.safe_dump(document))
    store = import_table(tmp_path / "t", tmp_path / "store")
    assert keys_of(store) == texts
    assert bool(time_examples(store)) == (way != "floats")
    # Its notes are no notes of videos.
    assert check(store).count("error") == 0


def test_feature_sets_that_come_later_leave_the_times_as_they_are(tmp_path: Path) -> None:
    listing = [("a", "1", "train"), ("b", "2", "validation")]
    stores = []
    for feature_set in ("f", "g"):
        folder = tmp_path / feature_set
        for name in ("a", "b"):
            rows = [(f"{t / 2:.2f}", 1.0, 0.5) for t in range(20)]
            write_csv(folder / f"recordings/{name}.csv", ["time", "x", "valence"], rows)
        write_csv(folder / "recordings.csv", ["recording", "subject", "split"], listing)
        document = {
            "name": "t", "targets": {"valence": [-1, 1]}, "frames_per_second": 2,
            "time_column": "time", "features": {feature_set: {"modality": "m", "columns": ["x"]}},
        }  # fmt: skip
        (folder / "dataset.yaml").write_text(yaml.safe_dump(document))
        stores.append(import_table(folder, tmp_path / f"store-{feature_set}"))
    merged = add_feature_sets(stores[0].path, stores[1].path)
    assert time_examples(merged) == {"a": "0.00", "b": "0.00"}

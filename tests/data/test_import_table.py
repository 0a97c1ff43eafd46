"""The table importer: what it reads, everything it refuses, and what a killed import leaves."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from va_search.data import draft as draft_module
from va_search.data.store import Store
from va_search.data.table import import_table
from va_search.errors import InputError, JobError
from va_search.files import read_json

DATASET = """\
name: mine
label_range: [0, 10]
frames_per_second: 20
time_column: time
features:
  heart: {modality: body, columns: [rate, pulse]}
  skin:
    modality: body
    columns: [level]
"""
HEADER = "time,rate,pulse,level,valence,arousal"
RECORDINGS = [("a", "s1", "train", 8), ("b", "s2", "validation", 6), ("c", "s3", "test", 5)]


def rows(frames: int, labels: bool = True, seed: int = 0) -> list[list[Any]]:
    random = np.random.default_rng(seed)
    made = []
    for frame in range(frames):
        made.append([frame * 50, *np.round(random.normal(size=3), 4).tolist()])
        if labels:
            made[-1] += ["", ""] if frame == 0 else [5.5, 10]
    return made


def write(file: Path, table: list[list[Any]], header: str = HEADER) -> None:
    lines = [header, *(",".join(map(str, row)) for row in table)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A good source: a with 8 frames, b with 6, and c, a test recording without labels, with 5."""
    folder = tmp_path / "my source"
    (folder / "recordings").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(DATASET)
    lines = ["recording,subject,stimulus,fold,split,rows"]
    for index, (name, subject, split, frames) in enumerate(RECORDINGS):
        lines.append(f"{name},{subject},clip,{index},{split},{frames}")
        labels = split != "test"
        header = HEADER if labels else HEADER.removesuffix(",valence,arousal")
        write(folder / "recordings" / f"{name}.csv", rows(frames, labels, index), header)
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    return folder


def problems(source: Path, to: Path | None = None) -> str:
    """The refusal, which must leave no store."""
    to = to or source.parent / "store"
    with pytest.raises(InputError) as refused:
        import_table(source, to)
    assert not to.exists()
    return str(refused.value)


def spoil(source: Path, name: str, row: int, column: int, cell: object) -> None:
    file = source / "recordings" / f"{name}.csv"
    lines = file.read_text().splitlines()
    cells = lines[row].split(",")
    cells[column] = str(cell)
    lines[row] = ",".join(cells)
    file.write_text("\n".join(lines) + "\n")


def test_reads_a_source(source: Path, tmp_path: Path) -> None:
    store = import_table(source, tmp_path / "store")
    assert [r.name for r in store.recordings] == ["a", "b", "c"]
    assert [r.frames for r in store.recordings] == [8, 6, 5]
    assert [r.fold for r in store.recordings] == [0, 1, 2]
    assert [r.video for r in store.recordings] == ["a", "b", "c"]  # a stimulus is not a video
    assert store.feature_sets["heart"].columns == ("rate", "pulse")
    expected = np.array([row[1:3] for row in rows(6, True, 1)], dtype=np.float32)
    np.testing.assert_array_equal(store.features("heart")[8:14], expected)
    assert np.isnan(store.annotations[0]).all()
    np.testing.assert_array_equal(store.annotations[1], [5.5, 10])
    assert np.isnan(store.annotations[14:]).all()
    np.testing.assert_array_equal(store.times[14:], np.arange(5) * 50)
    assert (store.name, store.targets[0].range, store.time_column) == ("mine", (0.0, 10.0), "time")


def test_same_import_twice_opens_the_store_and_reads_nothing(source: Path, tmp_path: Path) -> None:
    import_table(source, tmp_path / "store")
    before = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    read: list[str] = []
    store = import_table(
        source, tmp_path / "store", progress=lambda done, total, what: read.append(what)
    )
    assert read == [] and (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == before
    assert store.frames == 19
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "my source",
        "store",
    ]  # no lock, no draft


def test_relative_and_absolute_source_are_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_table(source, tmp_path / "store")
    monkeypatch.chdir(source)
    assert import_table(Path(), tmp_path / "store").frames == 19


def test_changed_source_is_not_mixed_with_a_finished_store(source: Path, tmp_path: Path) -> None:
    import_table(source, tmp_path / "store")
    spoil(source, "a", 3, 1, 99)
    with pytest.raises(InputError, match="made from other sources or options"):
        import_table(source, tmp_path / "store")
    assert Store.open(tmp_path / "store").features("heart").max() < 99


def test_parquet_reads_as_csv_does(source: Path, tmp_path: Path) -> None:
    of_csv = import_table(source, tmp_path / "csv")
    file = source / "recordings" / "a.csv"
    table = pyarrow.csv.read_csv(file)
    pa.parquet.write_table(table, file.with_suffix(".parquet"))
    assert "there are a.csv and a.parquet; keep one" in problems(source, tmp_path / "both")
    file.unlink()
    of_parquet = import_table(source, tmp_path / "parquet")
    assert of_parquet.hashes == of_csv.hashes
    assert of_parquet.feature_sets == of_csv.feature_sets


def test_float16(source: Path, tmp_path: Path) -> None:
    store = import_table(source, tmp_path / "store", dtype="float16")
    assert store.features("heart").dtype == np.float16
    spoil(source, "a", 3, 1, 1e6)
    with pytest.raises(InputError, match=r"recording 'a'.*'heart'.*1e\+06 does not fit float16"):
        import_table(source, tmp_path / "other", dtype="float16")


def test_all_problems_of_all_recordings_at_once(source: Path) -> None:
    spoil(source, "a", 3, 1, "n/k")
    spoil(source, "a", 4, 2, "")
    spoil(source, "b", 2, 4, 10.5)
    spoil(source, "b", 3, 3, "inf")
    spoil(source, "c", 5, 2, "-inf")
    found = problems(source)
    assert "a.csv:4: column 'rate': 'n/k' is not a number" in found
    assert "b.csv:3: valence 10.5 is outside the label range [0, 10]" in found
    assert "b.csv:4: column 'level' is infinite" in found
    assert "c.csv:6: column 'pulse' is infinite" in found


def test_many_problems_are_capped_and_counted(source: Path) -> None:
    lines = ["recording,subject,split"]
    for index in range(70):
        write(source / "recordings" / f"x{index}.csv", rows(3))
        spoil(source, f"x{index}", 1, 1, f"bad{index}")
        lines.append(f"x{index},s{index},train")
    (source / "recordings.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as refused:
        import_table(source, source.parent / "store")
    assert len(refused.value.problems) == 51
    assert refused.value.problems[-1] == "… and 20 more problems"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("\n\n", "empty file"),
        (HEADER + "\n", "a header and no rows"),
        (HEADER + "\n0,1,2,3,4,5\n50,1,2", "a.csv:3: 3 cells, expected 6 as in the header"),
        (HEADER.replace("pulse", "rate") + "\n0,1,2,3,4,5\n", "column 'rate' stands twice"),
        (HEADER.replace("pulse", "puls") + "\n0,1,2,3,4,5\n", "column 'pulse' is missing"),
        (
            HEADER.replace("pulse", "puls") + "\n0,1,2,3,4,5\n",
            "unknown column 'puls'; did you mean 'pulse'?",
        ),
        (HEADER + ",mood\n0,1,2,3,4,5,6\n", "unknown column 'mood'"),
        (
            HEADER.removesuffix(",valence,arousal") + "\n0,1,2,3\n",
            "columns 'valence', 'arousal' are missing",
        ),
        (HEADER.removesuffix(",arousal") + "\n0,1,2,3,4\n", "column 'arousal' is missing"),
        (HEADER + "\n0,1,2,3,4,5\n50,1,2,3,4,5\n50,1,2,3,4,5\n", "a.csv:4: time 50 after 50"),
        (HEADER + "\n0,1,2,3,4,5\n,1,2,3,4,5\n", "a.csv:3: time is empty"),
        (
            HEADER + "\n0,1,2,3,4,5\n90,1,2,3,4,5\n",
            "time steps by 90, which fits 20 frames per second in no unit",
        ),
        (HEADER + "\n0,1,2,3,4,5\n\n50,1,2,3,-1,5\n", "a.csv:3: empty line"),
    ],
)
def test_bad_files(source: Path, content: str, message: str) -> None:
    (source / "recordings" / "a.csv").write_text(content)
    assert message in problems(source)


def test_an_empty_cell_of_the_only_column_is_not_passed_over(source: Path) -> None:
    dataset = DATASET[: DATASET.index("time_column")] + "ignored_columns: [time, rate, pulse]\n"
    (source / "dataset.yaml").write_text(
        dataset + "features: {skin: {modality: body, columns: [level]}}\n"
    )
    (source / "recordings.csv").write_text(
        "recording,subject,split\na,s1,train\nb,s2,validation\nc,s3,test\n"
    )
    cells = ["" if frame == 20 else str(frame) for frame in range(40)]
    (source / "recordings" / "c.csv").write_text("\n".join(["level", *cells]) + "\n")
    assert "c.csv:22: empty line; every row is a frame" in problems(source)


def test_binary_and_broken_files(source: Path) -> None:
    (source / "recordings" / "a.csv").write_bytes(b"\xff\xfe\x00x\n\x00")
    (source / "recordings" / "b.csv").rename(source / "recordings" / "b.parquet")
    found = problems(source)
    assert "a.csv: not a UTF-8 text file" in found
    assert "b.parquet: not a Parquet file, or cut short" in found


def test_byte_order_mark_and_windows_lines_are_fine(source: Path, tmp_path: Path) -> None:
    plain = import_table(source, tmp_path / "plain")
    file = source / "recordings" / "a.csv"
    file.write_bytes(
        b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n").replace(b",rate", b", rate")
    )
    assert import_table(source, tmp_path / "dressed").hashes == plain.hashes


def test_ignored_columns(source: Path, tmp_path: Path) -> None:
    (source / "dataset.yaml").write_text(DATASET + "ignored_columns: [mood]\n")
    write(source / "recordings" / "a.csv", [[*row, "fine"] for row in rows(8)], HEADER + ",mood")
    assert import_table(source, tmp_path / "store").frames == 19


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: mine", "nam: mine", "dataset.yaml:1: nam: unknown key 'nam'; did you mean 'name'?"),
        ("name: mine", "nam: mine", "dataset.yaml:1: name: missing; expected a text"),
        (
            "[0, 10]",
            "[10, 0]",
            "dataset.yaml:2: label_range: `low < high` must hold, but got [10, 0]",
        ),
        ("[0, 10]", "[0, ten]", "dataset.yaml:2: label_range[1]: expected a number, found 'ten'"),
        ("frames_per_second: 20", "frames_per_second: -1", "dataset.yaml:3: frames_per_second"),
        ("frames_per_second: 20", "", "no frames_per_second here nor in dataset.yaml"),
        (
            "columns: [level]",
            "column: [level]",
            "dataset.yaml:9: features.skin.column: unknown key 'column'; did you mean 'columns'?",
        ),
        ("columns: [level]", "columns: [rate]", "column 'rate' is in two places"),
        ("columns: [level]", "columns: [valence]", "column 'valence' is in two places"),
        ("heart:", "../heart:", "feature set '../heart' can't be used as a file name"),
        ("name: mine", "name: mine\nname: yours", "dataset.yaml:2: key 'name' is given twice"),
    ],
)
def test_bad_dataset(source: Path, old: str, new: str, message: str) -> None:
    assert old in DATASET
    (source / "dataset.yaml").write_text(DATASET.replace(old, new))
    assert message in problems(source)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,s1,clip,0,train,8", "recordings.csv:5: recording 'a' is in line 2 already"),
        ("d,s1,clip,0,train,8", "recordings.csv:5: recording 'd': expected d.csv (or "),
        ("../c,s1,clip,0,train,8", "recordings.csv:5: recording '../c': expected ../c.csv (or "),
        (",s1,clip,0,train,8", "recordings.csv:5: recording is empty"),
        ("x,s1,clip,first,train,8", "recordings.csv:5: fold 'first', expected a whole number"),
        (
            "x,s1,clip,0,dev,8",
            "recordings.csv:5: recording 'x': split 'dev', allowed: train, validation, test",
        ),
        ("x,s1,clip,0,train,9", "x.csv: 8 rows, but recordings.csv says rows = 9"),
        ("x,s1,clip,0,train", "recordings.csv:5: 5 cells, expected 6"),
    ],
)
def test_bad_recordings(source: Path, line: str, message: str) -> None:
    write(source / "recordings" / "x.csv", rows(8))
    with open(source / "recordings.csv", "a", encoding="utf-8") as handle:
        handle.write(line + "\n")
    assert message in problems(source)


def test_wrong_place(source: Path) -> None:
    assert "no such folder" in problems(source / "nowhere")
    assert "it is a file" in problems(source / "dataset.yaml")
    assert "dataset.yaml: no such file" in problems(source / "recordings", source.parent / "x")


def test_file_without_a_row_is_a_warning(source: Path, tmp_path: Path) -> None:
    write(source / "recordings" / "z.csv", rows(3))
    store = import_table(source, tmp_path / "store")
    assert len(store.recordings) == 3
    assert (
        "z.csv: no row in recordings.csv, so not imported"
        in (tmp_path / "store" / "manifest.json").read_text()
    )


def test_empty_cells_of_features_are_missing_values(source: Path, tmp_path: Path) -> None:
    whole = import_table(source, tmp_path / "whole")
    spoil(source, "a", 3, 1, "")
    spoil(source, "a", 5, 2, "NaN")
    store = import_table(source, tmp_path / "store")
    values, expected = store.features("heart"), np.array(whole.features("heart"))
    expected[2, 0] = expected[4, 1] = np.nan
    np.testing.assert_array_equal(values, expected)
    assert np.flatnonzero(~store.valid_of("heart")).tolist() == [2, 4]
    others = [name for name in store.feature_sets if name != "heart"]
    assert all(store.valid_of(name).all() for name in others)
    entries = read_json(tmp_path / "store" / "manifest.json")["feature_sets"]
    assert [entry["name"] for entry in entries if "missing" in entry] == ["heart"]
    warnings = read_json(tmp_path / "store" / "manifest.json")["warnings"]
    assert warnings == ["feature values are empty or NaN, kept as missing, in 1 of 3 recordings"]


def test_frame_labelled_for_one_target_keeps_that_label(source: Path, tmp_path: Path) -> None:
    spoil(source, "a", 4, 5, "")
    store = import_table(source, tmp_path / "store")
    assert np.isnan(store.annotations[3]).tolist() == [False, True]
    assert not np.isnan(store.annotations[4]).any()
    assert read_json(tmp_path / "store" / "manifest.json")["warnings"] == []


@pytest.mark.parametrize("unit", [50, 0.05, 50_000, 5e7])
def test_gaps_in_any_unit(source: Path, tmp_path: Path, unit: float) -> None:
    table = rows(8)
    for frame, row in enumerate(table):
        row[0] = round(
            (frame + (3 if frame >= 5 else 0) + (0.4 if frame >= 2 else 0)) * unit, 5
        )  # 1.4 is no gap
    write(source / "recordings" / "a.csv", table)
    store = import_table(source, tmp_path / "store")
    assert store.recordings[0].gaps == (5,)
    assert store.recordings[1].gaps == ()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_times_that_would_lose_digits_are_refused(
    source: Path, tmp_path: Path, format: str
) -> None:
    epoch = 1_690_000_000_123_456_789
    file = source / "recordings" / "a.csv"
    write(file, [[epoch + 50_000_000 * frame, *row[1:]] for frame, row in enumerate(rows(8))])
    place = f"{file}:2"
    if format == "parquet":
        pa.parquet.write_table(pyarrow.csv.read_csv(file), file.with_suffix(".parquet"))
        file.unlink()
        place = f"{file.with_suffix('.parquet')} row 1"
    said = f"{place}: time 1.69e+18 (and 7 more) would not come back exactly"
    assert said in problems(source)
    file.with_suffix(".parquet").unlink(missing_ok=True)
    exact = [2**53 - 1 - 50 * (7 - frame) for frame in range(8)]
    write(file, [[time, *row[1:]] for time, row in zip(exact, rows(8), strict=True)])
    assert import_table(source, tmp_path / "store").times[:8].astype(int).tolist() == exact


def test_frame_rate_of_a_recording_overrides_the_dataset(source: Path, tmp_path: Path) -> None:
    lines = [
        "recording,subject,split,frames_per_second,video",
        "a,s1,train,25,film",
        "b,s2,validation,,film",
    ]
    (source / "recordings.csv").write_text("\n".join(lines) + "\n")
    contradiction = "a.csv: column 'time' steps by 50 milliseconds, 20 frames per second, but 25 are declared; write"
    assert contradiction in problems(source)
    write(
        source / "recordings" / "a.csv",
        [[frame * 40, *row[1:]] for frame, row in enumerate(rows(8))],
    )
    store = import_table(source, tmp_path / "store")
    assert [r.frames_per_second for r in store.recordings] == [25.0, 20.0]
    assert {r.video for r in store.recordings} == {"film"}


def clocked(source: Path, times: list[float], more: str = "", column: str = "time") -> None:
    """Give recording a these times, and dataset.yaml more lines; the other recordings go."""
    (source / "recordings.csv").write_text("recording,subject,split\na,s1,train\n")
    (source / "dataset.yaml").write_text(
        DATASET.replace("time_column: time", f"time_column: {column}") + more
    )
    table = [[time, *row[1:]] for time, row in zip(times, rows(len(times)), strict=True)]
    write(source / "recordings" / "a.csv", table, HEADER.replace("time", column, 1))


@pytest.mark.parametrize("first", [0, 1])
def test_steps_of_one_are_taken_for_frames_only_when_that_is_said(
    source: Path, tmp_path: Path, first: int
) -> None:
    times = [first + frame + (3 if frame >= 5 else 0) for frame in range(8)]
    clocked(source, times)
    found = problems(source)
    assert (
        "a.csv: column 'time' steps by 1, and nothing says in what: as frame numbers it fits 20 frames"
        in found
    )
    clocked(source, times, "time_unit: frames\n")
    assert import_table(source, tmp_path / "declared").recordings[0].gaps == (5,)
    clocked(source, times, column="frame_id")
    assert import_table(source, tmp_path / "named").recordings[0].gaps == (5,)
    clocked(source, times, "time_unit: seconds\n")
    assert "1 frames per second, but 20 are declared; write `frames_per_second: 1` in" in problems(
        source
    )
    text = (
        (source / "dataset.yaml")
        .read_text()
        .replace("frames_per_second: 20", "frames_per_second: 1")
    )
    (source / "dataset.yaml").write_text(text)  # as advised
    assert import_table(source, tmp_path / "advised").recordings[0].gaps == (5,)


@pytest.mark.parametrize(
    ("times", "more", "message"),
    [
        ([0, 2, 4, 6], "time_unit: frames\n", "frame numbers step by 2, expected 1"),
        (
            [0, 1, 2.5, 3],
            "time_unit: frames\n",
            "a.csv:4: column 'time' is 2.5, expected whole frame numbers",
        ),
        (
            [0, 40, 80],
            "",
            "column 'time' steps by 40 milliseconds, 25 frames per second, but 20 are declared",
        ),
        (
            [0, 50, 100],
            "time_unit: seconds\n",
            "column 'time' steps by 50 seconds, 0.02 frames per second, but 20",
        ),
        (
            [0, 50, 100],
            "time_unit: sek\n",
            "dataset.yaml:10: time_unit: expected one of seconds, milliseconds",
        ),
    ],
)
def test_clocks_that_contradict_what_is_declared(
    source: Path, times: list[float], more: str, message: str
) -> None:
    clocked(source, times, more)
    assert message in problems(source)


def test_a_rounded_or_unsteady_clock_is_no_contradiction(source: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rounded = [round(frame / 30, 2) for frame in range(60)]
    unsteady = np.cumsum(random.uniform(0.7, 1.3, 400) / 20).round(4).tolist()
    for index, (times, rate) in enumerate([(rounded, 30), (unsteady, 20)]):
        clocked(source, times)
        text = (
            (source / "dataset.yaml")
            .read_text()
            .replace("frames_per_second: 20", f"frames_per_second: {rate}")
        )
        (source / "dataset.yaml").write_text(text)
        assert import_table(source, tmp_path / f"store{index}").recordings[0].gaps == ()


def test_after_a_refusal_only_the_bad_recordings_are_read_again(
    source: Path, tmp_path: Path
) -> None:
    spoil(source, "b", 2, 4, 99)
    problems(source)
    spoil(source, "b", 2, 4, 9)
    seen: list[tuple[int, int, str]] = []
    import_table(source, tmp_path / "store", progress=lambda *step: seen.append(step))
    assert seen == [(2, 3, ""), (3, 3, "b")]


def test_changed_frame_rate_or_rows_is_not_taken_from_an_old_draft(
    source: Path, tmp_path: Path
) -> None:
    spoil(source, "b", 2, 4, 99)
    problems(source)
    text = (source / "recordings.csv").read_text()
    (source / "recordings.csv").write_text(text.replace("train,8", "train,9"))
    assert "a.csv: 8 rows, but recordings.csv says rows = 9" in problems(source)


def test_full_disk_leaves_no_store_and_the_next_import_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(draft_module.np, "savez", full)
        with pytest.raises(JobError, match="no space left"):
            import_table(source, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert import_table(source, tmp_path / "store").frames == 19


CHILD = """
import sys
from pathlib import Path
from va_search.data.table import import_table
import_table(Path(sys.argv[1]), Path(sys.argv[2]), workers=1, progress=lambda *step: print(*step, flush=True))
print("done", flush=True)
"""


def many(folder: Path, count: int) -> None:
    lines = ["recording,subject,split"]
    for index in range(count):
        split = ("train", "train", "validation", "test")[index % 4]
        write(folder / "recordings" / f"m{index:03d}.csv", rows(40, seed=index))
        lines.append(f"m{index:03d},s{index},{split}")
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")


def test_killed_import_goes_on_and_ends_as_if_nothing_had_been(
    source: Path, tmp_path: Path
) -> None:
    many(source, 200)
    whole = import_table(source, tmp_path / "whole")
    to = tmp_path / "store"
    command = [sys.executable, "-c", CHILD, str(source), str(to)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("20 "):
            break
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert not to.exists()
    seen: list[int] = []
    store = import_table(source, to, progress=lambda done, total, what: seen.append(done))
    assert 20 <= seen[0] < 200 and seen[-1] == 200 and len(seen) == 200 - seen[0] + 1
    assert store.hashes == whole.hashes and store.feature_sets == whole.feature_sets
    assert not to.with_name("store.partial").exists()


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.01, 0.03])
def test_kill_while_the_store_is_laid_leaves_none_or_a_whole_one(
    source: Path, tmp_path: Path, delay: float
) -> None:
    many(source, 24)
    whole = import_table(source, tmp_path / "whole")
    to = tmp_path / "store"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(source), str(to)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("24 "):
            break
    time.sleep(delay)
    child.kill()
    child.wait()
    child.stdout.close()
    if to.exists():
        assert Store.open(to).hashes == whole.hashes
    assert import_table(source, to).hashes == whole.hashes
    assert not to.with_name("store.partial").exists()


def test_two_imports_at_once_into_one_store_are_refused(source: Path, tmp_path: Path) -> None:
    many(source, 200)
    to = tmp_path / "store"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(source), str(to)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    os.kill(child.pid, signal.SIGSTOP)
    try:
        with pytest.raises(InputError, match=f"in use by process {child.pid}"):
            import_table(source, to)
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.stdout.read()
        assert child.wait() == 0
    assert Store.open(to).frames == 200 * 40


def test_the_case_recordings(case_folder: Path, tmp_path: Path) -> None:
    store = import_table(case_folder, tmp_path / "case")
    assert [len(store.split(split)) for split in ("train", "validation", "test")] == [144, 48, 48]
    dims = {name: entry.dim for name, entry in store.feature_sets.items()}
    assert dims == {
        "cardiac": 2, "electrodermal": 2, "respiration": 1, "temperature": 1,
        "trapezius": 1, "zygomaticus": 1, "corrugator": 1,
    }  # fmt: skip
    assert store.frames == 240 * 1001
    for recording in store.recordings:
        labelled = int(
            (~np.isnan(store.annotations[recording.start : recording.stop])).all(axis=1).sum()
        )
        assert labelled == (0 if recording.split == "test" else 601)
        assert recording.gaps == ()
    first = store.recordings[0]
    assert store.features("cardiac")[first.start].tolist() == pytest.approx([64.21748, 14.90939])


@pytest.mark.parametrize(
    ("separator", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "'|'")]
)
def test_other_separators_are_used_and_reported_once(
    source: Path, tmp_path: Path, separator: str, words: str
) -> None:
    plain = import_table(source, tmp_path / "plain")
    for file in [source / "recordings.csv", *(source / "recordings").iterdir()]:
        file.write_text(file.read_text().replace(",", separator))
    store = import_table(source, tmp_path / "other")
    assert store.hashes == plain.hashes and store.feature_sets == plain.feature_sets
    warnings = read_json(tmp_path / "other" / "manifest.json")["warnings"]
    assert f"cells are separated by {words} in 3 of 3 recordings" in warnings
    assert f"{source / 'recordings.csv'}: cells are separated by {words}" in warnings


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "mixed"])
def test_line_ends_of_all_systems_are_fine(source: Path, tmp_path: Path, line_end: str) -> None:
    plain = import_table(source, tmp_path / "plain")
    file = source / "recordings" / "a.csv"
    lines = file.read_text().splitlines()
    ends = ["\r", "\n", "\r\n"] * 4 if line_end == "mixed" else [line_end] * 12
    file.write_bytes("".join(line + end for line, end in zip(lines, ends, strict=False)).encode())
    assert import_table(source, tmp_path / "other").feature_sets == plain.feature_sets


def test_decimal_commas_are_read_and_told(source: Path, tmp_path: Path) -> None:
    plain = import_table(source, tmp_path / "plain")
    file = source / "recordings" / "a.csv"
    file.write_text(file.read_text().replace(",", ";").replace(".", ","))
    store = import_table(source, tmp_path / "other")
    assert store.hashes == plain.hashes
    warnings = read_json(tmp_path / "other" / "manifest.json")["warnings"]
    assert "numbers have a decimal comma in 1 of 3 recordings" in warnings


def test_decimal_commas_beside_points_are_named(source: Path) -> None:
    file = source / "recordings" / "a.csv"
    lines = file.read_text().replace(",", ";").splitlines()
    lines[3] = lines[3].replace(".", ",")
    file.write_text("\n".join(lines) + "\n")
    assert re.search(
        r"a\.csv:4: column 'rate': '-?\d,\d+' is not a number; a decimal comma\? Write all numbers",
        problems(source),
    )


@pytest.mark.parametrize(
    "spelling", ["", " ", "   ", "NA", "nan", "NaN", "null", "-", "N/A", " NaN", "None"]
)
def test_known_spellings_of_a_missing_label_are_alike(
    source: Path, tmp_path: Path, spelling: str
) -> None:
    spoil(source, "a", 4, 4, spelling)
    spoil(source, "a", 4, 5, spelling)
    store = import_table(source, tmp_path / "store")
    assert (
        np.isnan(store.annotations[:8]).all(axis=1).tolist()
        == [True, False, False, True] + [False] * 4
    )


@pytest.mark.parametrize(
    "spelling", ["n.a.", "missing", "?", "1_0", "0x10", "12:30:01", "2024-05-01"]
)
def test_other_texts_are_no_numbers(source: Path, spelling: str) -> None:
    spoil(source, "a", 4, 4, spelling)
    assert f"a.csv:5: column 'valence': {spelling!r} is not a number" in problems(source)


def test_labels_that_rounding_put_outside_are_clipped(source: Path, tmp_path: Path) -> None:
    (source / "dataset.yaml").write_text(DATASET.replace("[0, 10]", "[-1, 1]"))
    for name in "ab":
        file = source / "recordings" / f"{name}.csv"
        file.write_text(file.read_text().replace(",5.5,10", ",1.0000000000000002,-1.0000001"))
    store = import_table(source, tmp_path / "store")
    assert np.nanmax(store.annotations) == 1 and np.nanmin(store.annotations) == -1
    spoil(source, "a", 3, 4, 1.00002)
    assert "a.csv:4: valence 1.00002 is outside the label range [-1, 1]" in problems(
        source, tmp_path / "other"
    )


def test_whole_numbers_as_pandas_writes_them(source: Path, tmp_path: Path) -> None:
    plain = import_table(source, tmp_path / "plain")
    lines = [
        "recording,subject,split,fold,rows",
        "a,s1,train,0.0,8.0",
        "b,s2,validation,1.,6.00",
        "c,s3,test,nan,",
    ]
    (source / "recordings.csv").write_text("\n".join(lines) + "\n")
    store = import_table(source, tmp_path / "store")
    assert [r.fold for r in store.recordings] == [0, 1, None] and store.frames == plain.frames
    (source / "recordings.csv").write_text("\n".join(lines).replace("0.0,8.0", "0.5,8.5") + "\n")
    found = problems(source, tmp_path / "other")
    assert "recordings.csv:2: fold '0.5', expected a whole number" in found
    assert "recordings.csv:2: rows '8.5', expected a whole number" in found


@pytest.mark.parametrize(
    ("files", "written", "message"),
    [
        (
            ["001"],
            "1",
            "there is none, but 001.csv: a spreadsheet or pandas reads 001 as a number and writes 1; write",
        ),
        (["7"], "7.0", "there is none, but 7.csv"),
        (["S01"], "s01", "there is none, but S01.csv: write S01 in recordings.csv"),
        (["talk_left"], "talk_lft", "there is none; did you mean 'talk_left'?"),
    ],
)
def test_files_under_a_like_name_are_named(
    source: Path, files: list[str], written: str, message: str
) -> None:
    for name in files:
        write(source / "recordings" / f"{name}.csv", rows(8))
    (source / "recordings.csv").write_text(f"recording,subject,split\n{written},s1,train\n")
    assert message in problems(source)


def test_a_file_of_another_format_is_named(source: Path) -> None:
    (source / "recordings" / "d.xlsx").write_bytes(b"x")
    (source / "recordings.csv").write_text("recording,subject,split\nd,s1,train\n")
    assert (
        "there is none; d.xlsx is there, which is not read: write it as CSV or Parquet"
        in problems(source)
    )


def test_media_endings_are_understood(source: Path, tmp_path: Path) -> None:
    (source / "recordings.csv").write_text(
        "recording,subject,split\na.mp4,s1,train\nb.WAV,s2,validation\n"
    )
    assert [r.name for r in import_table(source, tmp_path / "store").recordings] == ["a", "b"]
    (source / "recordings.csv").write_text(
        "recording,subject,split\na.mp4,s1,train\na,s2,validation\n"
    )
    assert "recordings.csv:3: recording 'a' is in line 2 already" in problems(
        source, tmp_path / "other"
    )


@pytest.mark.parametrize(("one", "two"), [("1", "1.0"), ("01", "1"), ("Anna", "anna")])
def test_one_person_under_two_spellings_is_refused(source: Path, one: str, two: str) -> None:
    (source / "recordings.csv").write_text(
        f"recording,subject,split\na,{one},train\nb,{two},validation\n"
    )
    assert (
        f"recordings.csv:3: subject {two!r}, but {one!r} in line 2; the same subject?"
        in problems(source)
    )


def test_names_that_yaml_reads_otherwise_are_refused(source: Path) -> None:
    (source / "dataset.yaml").write_text(DATASET.replace("[level]", "[010, no, 1:30, 2.0]"))
    found = problems(source)
    for value in ("8", "false", "90", "2.0"):
        assert f"expected a text, found {value}; put it in quotes" in found


def test_everything_wrong_with_a_first_folder_is_reported_at_once(source: Path) -> None:
    (source / "dataset.yaml").write_text(DATASET.replace("frames_per_second", "fps"))
    lines = ["recording,subject,split", "a,s1,training", "b,s2,val", "x,s3,test"]
    (source / "recordings.csv").write_text("\n".join(lines) + "\n")
    found = problems(source)
    assert "dataset.yaml:3: fps: unknown key 'fps'; did you mean 'frames_per_second'?" in found
    assert (
        "recording 'a': split 'training', allowed: train, validation, test; did you mean 'train'?"
        in found
    )
    assert (
        "recording 'b': split 'val', allowed: train, validation, test; did you mean 'validation'?"
        in found
    )
    assert "recordings.csv:4: recording 'x': expected x.csv (or .csv, .parquet," in found
    (source / "dataset.yaml").unlink()
    (source / "recordings.csv").unlink()
    found = problems(source)
    assert "dataset.yaml: no such file" in found and "recordings.csv: no such file" in found


def test_a_wrong_list_of_recordings_and_wrong_columns_are_reported_together(source: Path) -> None:
    (source / "dataset.yaml").write_text(DATASET.replace("frames_per_second: 20\n", ""))
    names = [f"extra{index}" for index in range(8)]
    for name in "abc":
        file = source / "recordings" / f"{name}.csv"
        head, *body = file.read_text().splitlines()
        cells = [
            head.replace("pulse", "puls") + "," + ",".join(names),
            *(line + ",0" * 8 for line in body),
        ]
        file.write_text("\n".join(cells) + "\n")
    with pytest.raises(InputError) as refused:
        import_table(source, source.parent / "store")
    found = refused.value.problems
    assert (
        "recordings.csv:2: no frames_per_second here nor in dataset.yaml (and 2 more rows)"
        in found[0]
    )
    assert len(found) == 4  # columns of a and b are alike, c has no labels
    assert (
        "9 columns that dataset.yaml does not name: 'puls' (did you mean 'pulse'?), 'extra0'"
        in "\n".join(found)
    )
    assert all(f"'{name}'" in "\n".join(found) for name in names)


def test_a_place_that_is_no_store_is_never_to_be_removed(source: Path, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    import_table(source, stores / "first")
    with pytest.raises(
        InputError, match="is a folder with other things in it and not a store; choose a new path"
    ):
        import_table(source, stores)
    (tmp_path / "empty").mkdir()
    assert import_table(source, tmp_path / "empty").frames == 19
    with pytest.raises(InputError, match=r"stores are in it; give one of them: .*first"):
        Store.open(stores)
    with pytest.raises(
        InputError, match=r"folder of source files; import it with `va-search data import table .*"
    ):
        Store.open(source)
    with pytest.raises(InputError, match="if the store was moved, give the folder where it is now"):
        Store.open(tmp_path / "gone")


def test_an_ignored_clock_is_reported(source: Path, tmp_path: Path) -> None:
    text = DATASET.replace("time_column: time\n", "") + "ignored_columns: [time]\n"
    (source / "dataset.yaml").write_text(text)
    import_table(source, tmp_path / "store")
    (warning,) = read_json(tmp_path / "store" / "manifest.json")["warnings"]
    assert (
        "column 'time' is ignored" in warning and "`time_column: time` would find gaps" in warning
    )


@pytest.mark.parametrize(
    ("column", "meant"), [("fps", "frames_per_second"), ("Fold", "fold"), ("VIDEO", "video")]
)
def test_a_column_of_recordings_csv_in_another_spelling_is_refused(
    tmp_path: Path, column: str, meant: str
) -> None:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "r.csv").write_text("a,valence,arousal\n1,0,0\n2,0,0\n")
    (tmp_path / "recordings.csv").write_text(f"recording,subject,split,{column}\nr,s,train,50\n")
    (tmp_path / "dataset.yaml").write_text(
        "name: d\nlabel_range: [-1, 1]\nframes_per_second: 25\nfeatures: {f: {modality: m, columns: [a]}}\n"
    )
    with pytest.raises(
        InputError, match=f"recordings.csv:1: column '{column}' is not read; did you mean '{meant}'"
    ):
        import_table(tmp_path, tmp_path / "store")


def test_problems_of_keys_rows_and_columns_are_reported_in_one_round(source: Path) -> None:
    """A misspelt key does not keep wrong columns from being told, and a split that all rows call
    alike is one line."""
    description = source / "dataset.yaml"
    text = description.read_text().replace("frames_per_second", "fps")
    description.write_text(text.replace("time_column: time", "time_column: tme"))
    listing = source / "recordings.csv"
    listing.write_text(
        listing.read_text().replace("validation", "train").replace("train", "training")
    )
    message = problems(source)
    assert "unknown key 'fps'; did you mean 'frames_per_second'?" in message
    assert "did you mean 'train'? (and " in message
    assert message.count("split 'training'") == 1
    assert "column 'tme' is missing" in message

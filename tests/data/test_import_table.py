"""The table importer: what it reads, everything it refuses, and what a killed import leaves."""

from __future__ import annotations

import errno
import os
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
    assert (store.name, store.label_range, store.time_column) == ("mine", (0.0, 10.0), "time")


def test_same_import_twice_opens_the_store_and_reads_nothing(source: Path, tmp_path: Path) -> None:
    import_table(source, tmp_path / "store")
    before = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    read: list[str] = []
    store = import_table(source, tmp_path / "store", progress=lambda done, total, what: read.append(what))
    assert read == [] and (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == before
    assert store.frames == 19
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my source", "store"]  # no lock, no draft


def test_relative_and_absolute_source_are_one(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "there are both; keep one" in problems(source, tmp_path / "both")
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
    spoil(source, "c", 5, 2, "NaN")
    found = problems(source)
    assert "a.csv:4: column 'rate': 'n/k' is not a number" in found
    assert "b.csv:3: valence 10.5 is outside the label range [0, 10]" in found
    assert "b.csv:4: column 'level' is infinite" in found
    assert "c.csv:6: column 'pulse' is empty or NaN" in found


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
        (HEADER.replace("pulse", "puls") + "\n0,1,2,3,4,5\n", "unknown column 'puls'; did you mean 'pulse'?"),
        (HEADER + "\n0,1,2,3,4,5\n50, ,2,3,4,5\n", "a.csv:3: column 'rate' is empty or NaN"),
        (HEADER + ",mood\n0,1,2,3,4,5,6\n", "unknown column 'mood'"),
        (HEADER.removesuffix(",valence,arousal") + "\n0,1,2,3\n", "columns 'valence', 'arousal' are missing"),
        (HEADER.removesuffix(",arousal") + "\n0,1,2,3,4\n", "column 'arousal' is missing"),
        (HEADER + "\n0,1,2,3,4,5\n50,1,2,3,4,5\n50,1,2,3,4,5\n", "a.csv:4: time 50 after 50"),
        (HEADER + "\n0,1,2,3,4,5\n,1,2,3,4,5\n", "a.csv:3: time is empty"),
        (HEADER + "\n0,1,2,3,4,5\n90,1,2,3,4,5\n", "time steps by 90, which fits 20 frames per second in no unit"),
        (HEADER + "\n0,1,2,3,4,5\n\n50,1,2,3,-1,5\n", "a.csv:3: empty line"),
    ],
)
def test_bad_files(source: Path, content: str, message: str) -> None:
    (source / "recordings" / "a.csv").write_text(content)
    assert message in problems(source)


def test_an_empty_cell_of_the_only_column_is_not_passed_over(source: Path) -> None:
    dataset = DATASET[: DATASET.index("time_column")] + "ignored_columns: [time, rate, pulse]\n"
    (source / "dataset.yaml").write_text(dataset + "features: {skin: {modality: body, columns: [level]}}\n")
    (source / "recordings.csv").write_text("recording,subject,split\na,s1,train\nb,s2,validation\nc,s3,test\n")
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
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n").replace(b",rate", b", rate"))
    assert import_table(source, tmp_path / "dressed").hashes == plain.hashes


def test_ignored_columns(source: Path, tmp_path: Path) -> None:
    (source / "dataset.yaml").write_text(DATASET + "ignored_columns: [mood]\n")
    write(source / "recordings" / "a.csv", [[*row, "fine"] for row in rows(8)], HEADER + ",mood")
    assert import_table(source, tmp_path / "store").frames == 19


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: mine", "nam: mine", "dataset.yaml:1: unknown key 'nam'; did you mean 'name'?"),
        ("name: mine", "nam: mine", "key 'name' is missing"),
        ("[0, 10]", "[10, 0]", "dataset.yaml:2: label_range: `low < high` must hold, but got [10, 0]"),
        ("[0, 10]", "[0, ten]", "dataset.yaml:2: label_range.1"),
        ("frames_per_second: 20", "frames_per_second: -1", "dataset.yaml:3: frames_per_second"),
        ("frames_per_second: 20", "", "no frames_per_second here nor in dataset.yaml"),
        ("columns: [level]", "column: [level]", "dataset.yaml:9: unknown key 'column'; did you mean 'columns'?"),
        ("columns: [level]", "columns: [rate]", "column 'rate' stands in two places"),
        ("columns: [level]", "columns: [valence]", "column 'valence' stands in two places"),
        ("heart:", "../heart:", "feature set '../heart' can't be used as a file name"),
        ("name: mine", "name: mine\nname: yours", "dataset.yaml:2: key 'name' stands twice"),
    ],
)
def test_bad_dataset(source: Path, old: str, new: str, message: str) -> None:
    assert old in DATASET
    (source / "dataset.yaml").write_text(DATASET.replace(old, new))
    assert message in problems(source)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,s1,clip,0,train,8", "recordings.csv:5: recording 'a' stands in line 2 already"),
        ("d,s1,clip,0,train,8", "recordings.csv:5: recording 'd': expected d.csv or d.parquet in"),
        ("../c,s1,clip,0,train,8", "recordings.csv:5: recording '../c' can't be used as a file name"),
        (",s1,clip,0,train,8", "recordings.csv:5: recording is empty"),
        ("x,s1,clip,first,train,8", "recordings.csv:5: fold 'first', expected a whole number"),
        ("x,s1,clip,0,dev,8", "recordings.csv:5: recording 'x': split 'dev', allowed: train, validation, test"),
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
    assert "z.csv: no row in recordings.csv, so not imported" in (tmp_path / "store" / "manifest.json").read_text()


def test_frame_labelled_in_one_dimension_counts_as_unlabelled(source: Path, tmp_path: Path) -> None:
    spoil(source, "a", 4, 5, "")
    store = import_table(source, tmp_path / "store")
    assert np.isnan(store.annotations[3]).all() and not np.isnan(store.annotations[4]).any()
    assert "recording 'a': 1 frame labelled in one dimension only" in (tmp_path / "store/manifest.json").read_text()


@pytest.mark.parametrize("unit", [50, 0.05, 1, 50_000])
def test_gaps_in_any_unit(source: Path, tmp_path: Path, unit: float) -> None:
    table = rows(8)
    for frame, row in enumerate(table):
        row[0] = round((frame + (3 if frame >= 5 else 0) + (0.4 if frame >= 2 else 0)) * unit, 5)  # 1.4 is no gap
    write(source / "recordings" / "a.csv", table)
    store = import_table(source, tmp_path / "store")
    assert store.recordings[0].gaps == (5,)
    assert store.recordings[1].gaps == ()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_times_that_would_lose_digits_are_refused(source: Path, tmp_path: Path, format: str) -> None:
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
    lines = ["recording,subject,split,frames_per_second,video", "a,s1,train,25,film", "b,s2,validation,,film"]
    (source / "recordings.csv").write_text("\n".join(lines) + "\n")
    store = import_table(source, tmp_path / "store")
    assert [r.frames_per_second for r in store.recordings] == [25.0, 20.0]
    assert {r.video for r in store.recordings} == {"film"}
    assert "time steps by 50 ms, 20 frames per second, but 25 are declared" in (
        tmp_path / "store" / "manifest.json"
    ).read_text(encoding="utf-8")


def test_after_a_refusal_only_the_bad_recordings_are_read_again(source: Path, tmp_path: Path) -> None:
    spoil(source, "b", 2, 4, 99)
    problems(source)
    spoil(source, "b", 2, 4, 9)
    seen: list[tuple[int, int, str]] = []
    import_table(source, tmp_path / "store", progress=lambda *step: seen.append(step))
    assert seen == [(2, 3, ""), (3, 3, "b")]


def test_changed_frame_rate_or_rows_is_not_taken_from_an_old_draft(source: Path, tmp_path: Path) -> None:
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


def test_killed_import_goes_on_and_ends_as_if_nothing_had_been(source: Path, tmp_path: Path) -> None:
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
def test_kill_while_the_store_is_laid_leaves_none_or_a_whole_one(source: Path, tmp_path: Path, delay: float) -> None:
    many(source, 24)
    whole = import_table(source, tmp_path / "whole")
    to = tmp_path / "store"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(source), str(to)], stdout=subprocess.PIPE, text=True)
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
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(source), str(to)], stdout=subprocess.PIPE, text=True)
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
        labelled = int((~np.isnan(store.annotations[recording.start : recording.stop])).all(axis=1).sum())
        assert labelled == (0 if recording.split == "test" else 601)
        assert recording.gaps == ()
    first = store.recordings[0]
    assert store.features("cardiac")[first.start].tolist() == pytest.approx([64.21748, 14.90939])

"""The fuzz run itself: inputs that come again, changes that mean nothing, and processes that hang
or die."""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _fuzz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(BENCHMARKS), *sys.path[1:2]])
    )  # for processes begun here


def spoiled(folder: Path, seed: str, *, suffix: str = "csv") -> tuple[bytes | None, str]:
    """What stands in a file after it was spoiled, None where that is no file, and what was done to
    it."""
    from fuzz.mutations import spoil
    from fuzz.valid import RECIPE, write_labels

    folder.mkdir(parents=True)
    write_labels(folder)
    file = folder / "c.csv"
    if suffix == "yaml":
        file = folder / "file.yaml"
        file.write_text(RECIPE)
    done, _ = spoil(file, random.Random(seed), ())
    is_file = file.is_file() and not file.is_symlink()
    return (file.read_bytes() if is_file else None), done


@pytest.mark.parametrize("suffix", ["csv", "yaml"])
def test_the_same_number_gives_the_same_input_and_others_give_others(
    tmp_path: Path, suffix: str
) -> None:
    first = [spoiled(tmp_path / f"a{number}", str(number), suffix=suffix) for number in range(50)]
    again = [spoiled(tmp_path / f"b{number}", str(number), suffix=suffix) for number in range(50)]
    # Compressed files hold the time at which they were made.
    assert [one for one in first if "gzip" not in one[1]] == [
        one for one in again if "gzip" not in one[1]
    ]
    assert len({done.split(" + ")[0] for _, done in first}) > 10
    assert len({content for content, _ in first}) > 40


@pytest.mark.parametrize(
    "name", ["crlf", "bom", "no_last_newline", "more_newlines", "quoted", "columns", "rows"]
)
def test_changes_that_mean_nothing_leave_the_same_cells(tmp_path: Path, name: str) -> None:
    from fuzz.mutations import NEUTRAL
    from fuzz.valid import write_labels

    def cells() -> list[dict[str, str]]:
        with open(tmp_path / "c.csv", encoding="utf-8-sig", newline="") as handle:
            return list(csv.DictReader(handle))

    write_labels(tmp_path)
    before, content = cells(), (tmp_path / "c.csv").read_bytes()
    NEUTRAL[name](tmp_path / "c.csv", random.Random(1))
    after = cells()
    assert (tmp_path / "c.csv").read_bytes() != content
    if name == "rows":
        assert sorted(map(repr, after)) == sorted(map(repr, before))
    else:
        assert after == before


@pytest.mark.slow
def test_every_reader_gives_a_result_for_what_is_not_spoiled() -> None:
    from fuzz.process import Reader
    from fuzz.targets import TARGETS

    reader = Reader(0)
    try:
        results = {name: reader.expected(target) for name, target in TARGETS.items()}
    finally:
        reader.close()
    assert all(results.values())
    assert results["recordings.csv"] == results["table"]


def test_the_table_counts_what_came_of_each_reader_and_of_all() -> None:
    from fuzz.__main__ import table
    from fuzz.process import Outcome

    ends = ["refused", "refused", "same", "other", "crash", "hang"]
    outcomes = [
        Outcome("labels", number, end, "", seconds=number / 10) for number, end in enumerate(ends)
    ]
    outcomes.append(Outcome("spaces", 0, "same", "", mebibytes=12.4))
    rows = table(outcomes).splitlines()
    assert rows[2] == "| labels | 6 | 2 | 1 | 1 | 2 | 0.50 | 0 |"
    assert rows[-1] == "| all | 7 | 2 | 2 | 1 | 2 | 0.50 | 12 |"


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_is_named_and_followed_by_another() -> None:
    from fuzz.process import BAD, Guarded

    reader: Any = Guarded(0, patience=3.0)
    first = reader.process.pid
    os.kill(first, signal.SIGKILL)
    assert reader("labels", 0).end == "died"
    second = reader.process.pid
    assert second != first
    os.kill(second, signal.SIGSTOP)
    assert reader("labels", 0).end == "hang"
    assert not Path(f"/proc/{second}").exists()
    outcomes = [reader("subjects", number) for number in range(3)]
    reader.close()
    assert not {outcome.end for outcome in outcomes} & {*BAD} and not reader.process.is_alive()


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".json", ".onnx"])
def test_files_of_no_lines_are_spoiled_the_same_way_again(tmp_path: Path, suffix: str) -> None:
    from fuzz.mutations import of_kind

    def spoiled_again(folder: Path, number: int) -> bytes:
        file = folder / "input" / f"file{suffix}"
        file.parent.mkdir(parents=True)
        file.write_bytes(b'{"a": [1, {"b": "c"}], "d": null}' + b" " * 500)
        (file.parent / f"other{suffix}").write_bytes(b'{"other": 1}')
        kinds = [kind for kind in of_kind(file) if kind.__name__ not in ("bomb", "hdf5_elsewhere")]
        random.Random(number).choice(kinds)(file, random.Random(number))
        return file.read_bytes() if file.is_file() else b""

    contents = []
    for number in range(30):
        content = spoiled_again(tmp_path / f"a{number}", number)
        assert content == spoiled_again(tmp_path / f"b{number}", number)
        contents.append(content)
    assert len(set(contents)) > 10


@pytest.mark.parametrize(("sealed", "end"), [(True, "silent"), (False, "other")])
def test_another_result_of_a_file_that_only_va_search_writes_is_wrong(
    tmp_path: Path, *, sealed: bool, end: str
) -> None:
    from fuzz.process import BAD, Reader
    from fuzz.targets import Target

    target = Target("x", lambda folder: None, (), lambda *_: "another", sealed=sealed)
    reader = object.__new__(Reader)
    reader.root = tmp_path
    assert reader._read(target, tmp_path, "expected", neutral=False) == (end, "another")
    assert (end in BAD) is sealed


def test_a_run_that_names_no_reader_has_20_000_inputs_and_more() -> None:
    from fuzz.__main__ import EACH
    from fuzz.targets import TARGETS

    assert EACH * len(TARGETS) >= 20_000

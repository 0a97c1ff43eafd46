"""Seals: what was sealed is what is read, hashed once, and told in our words where it is not."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from va_search import seals, verified
from va_search.arrow_files import open_arrow
from va_search.errors import InputError
from va_search.files import read_json, write_json
from va_search.seals import damages, read_seal, seal_files, sealed, verify

NAMES = ["a.bin", "deep/b.bin"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and files that count as settled at once."""
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(verified, "SETTLED", 0.0)
    forget(monkeypatch)
    return tmp_path / "cache" / "verified"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process."""
    monkeypatch.setattr(seals, "VERIFIED", verified.Verified())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    (path / "deep").mkdir(parents=True)
    (path / "a.bin").write_bytes(b"a" * 3_000_000)
    (path / "deep" / "b.bin").write_bytes(b"b")
    return path


def hashed(folder: Path, files: seals.FileSeals) -> int:
    """Bytes that a verification hashes."""
    totals = [0]
    assert damages(folder, files, lambda _, total: totals.append(total)) == {}
    return totals[-1]


def test_a_file_is_hashed_once_in_all_processes(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = seal_files(folder, NAMES)
    assert hashed(folder, files) == 0
    forget(monkeypatch)
    assert hashed(folder, files) == 0
    assert cache.stat().st_mode & 0o777 == 0o600
    cache.unlink()
    forget(monkeypatch)
    assert hashed(folder, files) == 3_000_001
    (folder / "deep" / "b.bin").write_bytes(b"b")
    assert hashed(folder, files) == 1


def test_a_process_knows_its_files_where_inode_numbers_do_not_last(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on buckets that are mounted as folders."""
    identity_of, numbers = verified.Identity.of, itertools.count()

    def fleeting(state: os.stat_result) -> verified.Identity:
        return replace(identity_of(state), inode=next(numbers) // 2)

    monkeypatch.setattr(verified.Identity, "of", fleeting)
    files = seal_files(folder, ["a.bin"])
    assert hashed(folder, files) == 0
    flip(folder / "a.bin")
    assert "a.bin" in damages(folder, files)


def test_progress_ends_at_the_total(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    seal_files(folder, NAMES, lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 3_000_001) and calls[-1] == (3_000_001, 3_000_001)
    assert calls == sorted(calls)


def test_a_file_that_was_just_written_is_hashed_again(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "SETTLED", 2.0)
    files = seal_files(folder, NAMES)
    assert hashed(folder, files) == 3_000_001
    assert not cache.exists()


def homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")


CACHE_DAMAGES = ["lines", "binary", "others", "folder", "link", "unwritable", "homeless"]


@pytest.mark.parametrize("damage", CACHE_DAMAGES)
def test_a_cache_that_is_no_good_costs_another_hashing_only(
    damage: str, folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = seal_files(folder, NAMES)
    content = cache.read_bytes()
    cache.unlink()
    match damage:
        case "lines":
            cache.write_bytes(content.replace(b" ", b"x", 2)[:-30])
        case "binary":
            cache.write_bytes(bytes(range(256)) * 100)
        case "others":
            cache.write_bytes(content)
            cache.chmod(0o666)
        case "folder":
            cache.mkdir()
        case "link":
            (tmp_path / "elsewhere").write_bytes(content)
            cache.symlink_to(tmp_path / "elsewhere")
        case "unwritable":
            monkeypatch.setenv("VA_SEARCH_CACHE", "/proc/none")
        case "homeless":
            monkeypatch.delenv("VA_SEARCH_CACHE")
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
            monkeypatch.setattr(Path, "home", homeless)
            with pytest.raises(InputError, match="set VA_SEARCH_CACHE"):
                verified.user_cache()
    forget(monkeypatch)
    assert hashed(folder, files) >= 3_000_000


def test_the_cache_is_bounded(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = seal_files(folder, NAMES)
    monkeypatch.setattr(verified, "MOST_REMEMBERED", 2000)
    for count in range(30):
        (folder / "deep" / "b.bin").write_bytes(b"%d" % count)
        files = seal_files(folder, NAMES)
        assert cache.stat().st_size <= 2000
    forget(monkeypatch)
    assert hashed(folder, files) == 0
    assert [path.name for path in cache.parent.iterdir()] == ["verified"]


def test_several_processes_remember_at_once(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import sys
from pathlib import Path
from va_search import seals, verified
verified.SETTLED = 0.0
folder = Path(sys.argv[1])
for index in range(50):
    name = f"{sys.argv[2]}-{index}"
    (folder / name).write_bytes(name.encode())
    seals.seal_files(folder, [name])
"""
    processes = []
    for number in range(3):
        command = [sys.executable, "-c", program, str(folder), str(number)]
        processes.append(subprocess.Popen(command))
    assert [process.wait() for process in processes] == [0, 0, 0]
    names = [f"{number}-{index}" for number in range(3) for index in range(50)]
    lines = [line for line in cache.read_bytes().split(b"\n") if line]
    assert len(lines) == 150 and {len(line.split()) for line in lines} == {6}
    files = seal_files(folder, names)
    forget(monkeypatch)
    assert hashed(folder, files) == 0


def test_threads_verify_at_once(folder: Path) -> None:
    files = seal_files(folder, NAMES)
    results: list[dict[str, str]] = []
    threads = []
    for _ in range(8):
        thread = threading.Thread(target=lambda: results.append(damages(folder, files)))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    assert results == [{}] * 8


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def in_place(path: Path, make: Callable[[], None]) -> None:
    path.unlink()
    make()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip, "a.bin: changed since it was written: its SHA-256 is "),
        (lambda path: os.truncate(path, 10), "a.bin: 10 bytes, expected 3000000 bytes; do it"),
        (lambda path: path.unlink(), "a.bin: missing; do it"),
        (lambda path: in_place(path, path.mkdir), "a.bin: not a regular file"),
        (lambda path: in_place(path, lambda: os.mkfifo(path)), "a.bin: not a regular file"),
        (
            lambda path: in_place(path, lambda: path.symlink_to("/etc/hostname")),
            "a.bin: a link that leads out of ",
        ),
        (lambda path: in_place(path, lambda: path.symlink_to(path)), "a.bin: can't be read"),
    ],
)
def test_a_file_that_is_not_as_sealed_is_told(
    folder: Path, change: Callable[[Path], None], words: str
) -> None:
    files = seal_files(folder, NAMES)
    change(folder / "a.bin")
    with pytest.raises(InputError) as caught:
        verify(folder, files, "do it again")
    assert len(caught.value.problems) == 1
    assert words in str(caught.value)


def test_links_within_a_folder_and_to_it_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "c.bin").symlink_to(folder / "deep" / "b.bin")
    (tmp_path / "link").symlink_to(folder)
    files = seal_files(tmp_path / "link", [*NAMES, "c.bin"])
    verify(folder, files, "")


def test_a_document_is_sealed_with_itself(tmp_path: Path) -> None:
    path = tmp_path / "trial.json"
    files = {"a": seals.FileSeal(1, "0" * 64)}
    document: dict[Any, Any] = {
        "score": 0.5,
        "é": [1, None],
        2: {10: "x", 9: "y"},
    }  # numbers become texts
    write_json(path, sealed(document, files))
    content = read_json(path)
    assert read_seal(path, content, "") == files
    assert sealed(content, files) == content
    assert read_seal(path, {"score": 0.5}, "") is None
    changed: list[dict[str, object]] = [{**content, "score": 0.25}, {**content, "new": 1}]
    changed += [{key: value for key, value in content.items() if key != "score"}]
    other = json.loads(json.dumps(content))
    other["seal"]["files"]["a"]["bytes"] = 2
    for edited in [*changed, other]:
        with pytest.raises(InputError, match=r"trial.json: changed since .*; train it again"):
            read_seal(path, edited, "train it again")


@pytest.mark.parametrize(
    "entry",
    [
        None, [], {}, {"files": {}}, {"files": {}, "document": None}, {"files": []},
        {"files": {"../up": {"bytes": 1, "sha256": "0"}}, "document": ""},
        {"files": {"/etc/passwd": {"bytes": 1, "sha256": "0"}}, "document": ""},
        {"files": {"a": {"bytes": "many", "sha256": "0"}}, "document": ""},
        {"files": {"a": {"bytes": float("inf"), "sha256": "0"}}, "document": ""},
    ],
)  # fmt: skip
def test_a_broken_seal_is_told(tmp_path: Path, entry: object) -> None:
    with pytest.raises(InputError, match=r"trial\.json: "):
        read_seal(tmp_path / "trial.json", {"seal": entry}, "")


SCHEMA = pa.schema({"name": pa.string(), "gaps": pa.list_(pa.int64()), "fold": pa.int32()})


def write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def table(**columns: object) -> pa.Table:
    full = {"name": ["x", "yy"], "gaps": [[1, 2], []], "fold": [None, 1], **columns}
    return pa.table(full, schema=SCHEMA)


@pytest.mark.parametrize("is_mapped", [True, False])
def test_an_arrow_file_comes_back(tmp_path: Path, is_mapped: bool) -> None:
    write_table(tmp_path / "a.arrow", table())
    read = open_arrow(tmp_path / "a.arrow", SCHEMA, 2, nulls=["fold"], is_mapped=is_mapped)
    assert read.equals(table())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (table(name=["x", None]), "column 'name' has nulls"),
        (table(gaps=[[1, None], []]), "column 'gaps' has nulls"),
        (table().slice(1), "1 rows, expected 2"),
        (
            table().drop_columns(["fold"]),
            r"columns name: string, gaps: list<item: int64>, expected",
        ),
        (table().select(["gaps", "name", "fold"]), "columns gaps"),
        (pa.table({**table().to_pydict(), "fold": [1.5, 2.5]}), "fold: double, expected"),
    ],
)
def test_an_arrow_file_of_another_form_is_told(
    tmp_path: Path, content: pa.Table, words: str
) -> None:
    write_table(tmp_path / "a.arrow", content)
    with pytest.raises(InputError, match=words):
        open_arrow(tmp_path / "a.arrow", SCHEMA, 2, nulls=["fold"])


def test_offsets_that_lead_out_of_a_buffer_are_told(tmp_path: Path) -> None:
    """They are read without a seal here: whoever writes a file may write a seal as well."""
    path = tmp_path / "a.arrow"
    write_table(path, table())
    content = path.read_bytes()
    offsets = np.array([0, 1, 3], np.int32).tobytes()
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, np.array([0, 1, 1 << 30], np.int32).tobytes()))
    with pytest.raises(InputError, match=r"a\.arrow: not a readable Arrow file"):
        open_arrow(path, SCHEMA, 2, nulls=["fold"])


def test_no_damage_to_an_arrow_file_ends_the_process(tmp_path: Path) -> None:
    """Without a seal a flipped bit may go unseen, but nothing dies of it."""
    write_table(tmp_path / "a.arrow", table())
    program = f"""
import numpy as np
import pyarrow as pa
from pathlib import Path
from va_search.errors import InputError
from va_search.arrow_files import open_arrow
schema = pa.schema({{"name": pa.string(), "gaps": pa.list_(pa.int64()), "fold": pa.int32()}})
path = Path({str(tmp_path / "a.arrow")!r})
content = path.read_bytes()
rng = np.random.default_rng(0)
told = 0
for index in range(len(content)):
    damaged = bytearray(content)
    damaged[index] ^= 1 << int(rng.integers(8))
    path.write_bytes(damaged if index % 10 else damaged[:index])
    try:
        open_arrow(path, schema, 2, nulls=["fold"], is_mapped=bool(index % 2)).to_pylist()
    except InputError:
        told += 1
    except UnicodeDecodeError:
        raise SystemExit("not validated")
print(told > 100)
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr


def test_a_missing_or_irregular_arrow_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_arrow(tmp_path / "none.arrow", SCHEMA, 2)
    os.mkfifo(tmp_path / "pipe.arrow")
    with pytest.raises(InputError, match="not an Arrow file: it is a pipe"):
        open_arrow(tmp_path / "pipe.arrow", SCHEMA, 2)

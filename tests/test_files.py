"""Whole files, safe names, YAML with lines, locks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from va_search import home as home_module
from va_search.document import read_yaml
from va_search.errors import InputError, JobError, unknown_name
from va_search.files import (
    checked_name,
    digest,
    file_name_of,
    read_json,
    recording_of,
    share_with_group,
    whole_file,
    write_json,
)
from va_search.home import Home


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), whole_file(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    code = (
        "import sys, time; from pathlib import Path; from va_search.files import whole_file\n"
        f"with whole_file(Path({str(path)!r})) as beside:\n"
        "    beside.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()


def test_a_full_disk_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"a\.json: no space left"), whole_file(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_really_full_disk(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(JobError, match="no space left"), whole_file(tmp_path / "a.json") as beside:
        beside.unlink()
        beside.symlink_to(full)
        beside.write_text("x" * 100_000)


def test_what_a_writer_makes_private_gets_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with whole_file(tmp_path / "weights") as beside:
        beside.unlink()
        beside.touch(mode=0o600)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("home", "parent", "shared"),
    [
        (0o770, 0o755, True),
        (0o755, 0o2775, False),
        (None, 0o2775, True),
        (None, 0o1777, False),
        (None, 0o775, False),
    ],
)
def test_a_groups_home_is_written_for_the_group(
    tmp_path: Path, home: int | None, parent: int, shared: bool
) -> None:
    folder = tmp_path / "group"
    folder.mkdir()
    folder.chmod(parent)
    root = folder / "home"
    if home is not None:
        root.mkdir()
        root.chmod(home)
    before = os.umask(0o077)
    try:
        share_with_group(root)
        write_json(root / "studies" / "a.json", {})
        modes = [
            path.stat().st_mode & 0o070 for path in (root / "studies", root / "studies" / "a.json")
        ]
    finally:
        os.umask(before)
    assert modes == ([0o070, 0o060] if shared else [0, 0])


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 128, "a\nb", "a\x00"])
def test_names_that_are_no_file_name_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="allowed: letters, digits"):
        checked_name(name, "study name")


def test_hostile_study_names_never_become_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Home(tmp_path).study("../../etc")


def test_yaml_tells_lines_and_repeated_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb:\n  - x\n  - {c: 2}\n")
    data, lines = read_yaml(path)
    assert data == {"a": 1, "b": ["x", {"c": 2}]}
    assert (lines["a",], lines["b", 0], lines["b", 1, "c"]) == (1, 3, 4)
    path.write_text("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert caught.value.problems == [
        f"{path}:2: key 'a' is given twice; keep one",
        f"{path}:3: key 'c' is given twice; keep one",
    ]


@pytest.mark.parametrize(
    "text", ["a: [1", "a: !!python/object/apply:os.system ['true']", "a: b: c"]
)
def test_yaml_that_is_broken_or_unsafe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="not YAML"):
        read_yaml(path)


def test_missing_and_broken_json_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(InputError, match="not a JSON document"):
        read_json(tmp_path / "half.json")
    for name, text in (("deep", "[" * 100_000), ("long", "9" * 5_000), ("bytes", "\udcff")):
        (tmp_path / name).write_text(text, errors="surrogateescape")
        with pytest.raises(InputError, match="not a JSON document"):
            read_json(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe, socket or device"):
        read_json(tmp_path / "pipe")


def test_nan_never_reaches_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_digest_ignores_key_order() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest(json.loads('{"b": [1, 2], "a": 1}'))
    assert digest({"a": 1}) != digest({"a": 2})


def test_unknown_names_are_answered_with_the_known_and_the_nearest() -> None:
    text = unknown_name("encoder", "lsmt", ["gru", "lstm"])
    assert text == "unknown encoder 'lsmt'; did you mean 'lstm'? (known: gru, lstm)"


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a#b"])
def test_a_home_that_would_put_its_database_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="can't hold"):
        _ = Home(tmp_path / name).tracking_uri


@pytest.mark.parametrize("has_links", [True, False])
def test_of_two_processes_that_make_a_homes_identity_the_first_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no hard links here")

    if not has_links:
        monkeypatch.setattr("os.link", refused)
    home, write = Home(tmp_path / "home"), home_module.write_json

    def after_another(path: Path, document: object) -> None:
        if has_links:
            write(home.root / "home.json", {"identity": "of the other process"})
        write(path, document)

    monkeypatch.setattr(home_module, "write_json", after_another)
    made = home.identity()
    assert made == home.identity() and (made == "of the other process") == has_links
    assert [path.name for path in home.root.iterdir()] == ["home.json"]


@pytest.mark.parametrize(
    "name",
    [
        "v1",
        "10-60-1280x720",
        "-3g5yACwYnA",
        "_0eJ",
        "Zoë 1",
        "录音 一",
        "v1.left",
        "a'b (2)",
        "v1.mp4",
        "~x",
        "#1",
    ],
)
def test_ordinary_names_of_recordings_are_their_files_names(name: str) -> None:
    assert file_name_of(name) == name
    assert recording_of(name) == name


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("..", "%2E%2E"), (".hidden", "%2Ehidden"), ("a/b", "a%2Fb"), ("50%", "50%25"), ("a ", "a%20"), ("con", "%63on"),
        ("NUL.x", "%4EUL.x"), ("12:30", "12%3A30"), ("a\nb", "a%0Ab"), ("%2F", "%252F"), ("consul", "consul"),
    ],
)  # fmt: skip
def test_unsafe_signs_of_names_are_written_in_hex(name: str, file: str) -> None:
    assert file_name_of(name) == file
    assert recording_of(file) == name


@given(st.text(st.characters() | st.sampled_from("%./\\ :*con"), min_size=1, max_size=16))
def test_every_name_comes_back_from_its_file_name(name: str) -> None:
    file = file_name_of(name)
    assert recording_of(file) == name
    assert Path(file).name == file
    file.encode()  # a file system can write it


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
def test_two_names_have_two_file_names(one: str, other: str) -> None:
    assume(one != other)
    assert file_name_of(one) != file_name_of(other)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(InputError, match="too long for a file name: 201 bytes, allowed: 200"):
        file_name_of("a" * 201)
    with pytest.raises(InputError, match="empty name"):
        file_name_of("")

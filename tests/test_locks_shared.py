"""Locks on file systems that machines share: where flock holds for all of them, and where not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_world import wait_for

from va_search import locks
from va_search.locks import flock_holds_for_all, is_on_one_machine, mount_of

LINE = "36 25 0:52 / {point} rw,relatime shared:1 - {kind} server:/export {options}\n"
ROOT = "25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    mount_of.cache_clear()
    yield
    mount_of.cache_clear()


@pytest.mark.parametrize(
    ("kind", "options", "holds"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", True),
        ("nfs", "rw,vers=3,local_lock=none", True),
        ("nfs", "rw,vers=3,local_lock=all", False),
        ("nfs4", "rw,local_lock=flock", False),
        ("nfs", "rw,nolock", False),
        ("lustre", "rw,flock", True),
        ("lustre", "rw,localflock", False),
        ("lustre", "rw", False),
        ("ceph", "rw", True),
        ("fuse.sshfs", "rw", False),
        ("beegfs", "rw", False),
        ("ext4", "rw", True),
    ],
)
def test_the_mount_says_whether_flock_holds_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str, holds: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(ROOT + LINE.format(point=tmp_path, kind=kind, options=options))
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    assert flock_holds_for_all(tmp_path / "home" / "lock") is holds
    assert is_on_one_machine(tmp_path / "home") is (kind == "ext4")
    # A folder beside it, whose name begins alike, is on another mount.
    assert flock_holds_for_all(Path(f"{tmp_path}-2") / "lock")


def test_of_mounts_at_one_place_the_last_counts_and_blanks_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts, folder = tmp_path / "mountinfo", tmp_path / "a b"
    folder.mkdir()
    written = str(folder).replace(" ", "\\040")
    lines = [LINE.format(point=written, kind=kind, options="rw") for kind in ("ext4", "beegfs")]
    mounts.write_text(ROOT + "".join(lines))
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    mount = mount_of(folder / "studies")
    assert mount is not None and mount.kind == "beegfs"


def test_where_the_system_does_not_say_flock_is_taken_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "nowhere")
    assert flock_holds_for_all(tmp_path / "lock") and is_on_one_machine(tmp_path)


NODE = """
import fcntl, sys
from pathlib import Path
from va_search import locks
from va_search.search.saves import Claims
locks.MOUNTS = Path({mounts!r})
locks.BEAT, locks.SILENCE = 0.2, 2.0
# As on another machine: every flock is granted, whoever has one elsewhere.
fcntl.flock = lambda file, operation: None
claims = Claims(Path({folder!r}))
for line in sys.stdin:
    word, trial = line.split()
    print(getattr(claims, word)(trial), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another host's name needs root")
def test_two_hosts_whose_flock_is_local_share_claims(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(ROOT + LINE.format(point=tmp_path, kind="nfs", options="rw,local_lock=all"))
    code = NODE.format(mounts=str(mounts), folder=str(tmp_path / "claims"))
    nodes = []
    for host in ("node1", "node2"):
        words = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$0" -c "$1"']
        node = subprocess.Popen(
            [*words, sys.executable, code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        nodes.append(node)

    def ask(node: subprocess.Popen[str], word: str, trial: str) -> str:
        assert node.stdin is not None and node.stdout is not None
        node.stdin.write(f"{word} {trial}\n")
        node.stdin.flush()
        return node.stdout.readline().strip()

    first, second = nodes
    try:
        if ask(first, "take", "a") == "":
            pytest.skip("no namespaces here")
        assert ask(second, "take", "a") == "False" and ask(second, "is_held", "a") == "True"
        assert ask(second, "take", "b") == "True"
        assert ask(first, "release", "a") == "None" and ask(second, "take", "a") == "True"
        # What a killed host held is free once it was silent for long enough.
        second.kill()
        second.wait()
        assert ask(first, "take", "b") == "False"
        wait_for(lambda: ask(first, "take", "b") == "True", 60)
        assert ask(first, "holds", "b") == "True"
    finally:
        for node in nodes:
            node.kill()
            node.wait()

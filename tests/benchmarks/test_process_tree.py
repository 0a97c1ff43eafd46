"""What benchmarks/search.py reads of processes."""

import importlib.util
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc"
)

SMAPS = """7f0000000000-7f0000400000 r--s 00000000 fe:00 12                      /tmp/a store/features/face.arrow
Size:               4096 kB
Rss:                2048 kB
Pss:                1024 kB
Pss_Dirty:           512 kB
7f0000400000-7f0000800000 r--s 00000000 fe:00 13                      /tmp/a store/frames.arrow
Pss:                   8 kB
7f0000800000-7f0000c00000 r--s 00000000 fe:00 14                      /tmp/a store2/features/face.arrow
Pss:                4096 kB
7f0000c00000-7f0001000000 rw-p 00000000 00:00 0
Pss:                  64 kB
7ffc45cdf000-7ffc45ce0000 rw-p 00000000 00:00 0                       [stack]
Pss:                  12 kB
"""


@pytest.fixture(scope="module")
def tree() -> Iterator[ModuleType]:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "process_tree.py"
    spec = importlib.util.spec_from_file_location("process_tree", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_rollup_in_bytes(tree: ModuleType) -> None:
    text = "55bdf0222000-7ffc45cdf000 ---p 00000000 00:00 0  [rollup]\nRss: 1752 kB\nPss: 237 kB\nPss_Anon: 112 kB\n"
    assert tree.parse_rollup(text) == {
        "Rss": 1752 * 1024,
        "Pss": 237 * 1024,
        "Pss_Anon": 112 * 1024,
    }


def test_only_mappings_of_files_below_the_folder_count(tree: ModuleType) -> None:
    assert tree.parse_mapped(SMAPS, "/tmp/a store") == (1024 + 8) * 1024
    assert tree.parse_mapped(SMAPS, "/tmp/a store/") == (1024 + 8) * 1024
    assert tree.parse_mapped(SMAPS, "/tmp/other") == 0


def test_a_process_name_with_spaces_and_brackets(tree: ModuleType) -> None:
    fields = ["S", "17", *["0"] * 9, "250", "50", *["0"] * 6, "987"]
    parent, start, seconds = tree.parse_stat(f"42 (a) (b c) {' '.join(fields)} 0 0\n")
    assert (parent, start, seconds) == (17, 987, 300 / tree.TICKS)


def test_own_memory_and_files_are_told_apart(tree: ModuleType, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(2**20))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    before = tree.memory(os.getpid())["Pss_Anon"]
    assert mapped.sum() == 2**20
    block = mmap.mmap(
        -1, 2**24, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )  # malloc might reuse what it has
    own = np.frombuffer(block, dtype=np.uint8)
    own[:] = 1
    grown = tree.memory(os.getpid())["Pss_Anon"] - before
    assert own.nbytes * 0.9 < grown < own.nbytes * 1.2
    held = tree.parse_mapped(Path("/proc/self/smaps").read_text(), str(tmp_path))
    assert held >= mapped.nbytes * 0.9


def test_what_a_tree_took_and_that_none_of_it_stays(tree: ModuleType, tmp_path: Path) -> None:
    """The parent ends at once; its child works on for a second and is not lost, though another
    adopts it."""
    (tmp_path / "busy.py").write_text(
        "import time\nblock = b'x' * 2**26\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass\n"
    )
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, {str(tmp_path / 'busy.py')!r}]).wait()\n"
        f"sleeper = subprocess.Popen(['sleep', '60'])\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(sleeper.pid))\n"
        "import time; time.sleep(1)\n"
    )
    taken = tree.watch(
        [sys.executable, str(tmp_path / "parent.py")], dict(os.environ), tmp_path / "log"
    )
    assert 0.4 < taken.core_seconds < 3
    assert taken.peak > 2**26
    assert taken.seconds >= 1.7
    left = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while alive(left) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(left)


def alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_a_command_that_fails_says_how(tree: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        tree.watch(
            [sys.executable, "-c", "raise SystemExit('no such thing')"],
            dict(os.environ),
            tmp_path / "log",
        )

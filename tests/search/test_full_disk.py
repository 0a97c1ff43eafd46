"""A home on a full disk: a real one, of a few megabytes (needs root to mount it; skips, visibly,
without)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from va_search.data.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = """sampler: grid
settings:
  features: [face]
  encoder: gru
  learning_rate: {choice: [0.001, 0.002, 0.003, 0.004]}
  width: 64
  hidden_size: 256
  head_sizes: [64]
  segment_length: 50
  epochs: 1
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def test_a_full_disk_is_said_and_after_making_room_the_study_goes_on(
    small_disk: Path, tiny_store: Store, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)  # a trial's two weight files take over 2 MB
    log = f"sqlite:///{tmp_path / 'mlflow.db'}"
    where = [
        "--data",
        str(tiny_store.path),
        "--study",
        "s",
        "--home",
        str(small_disk / "home"),
        "--tracking-uri",
        log,
    ]
    command = [
        sys.executable,
        "-m",
        "va_search.cli.main",
        "search",
        str(space),
        *where,
        "--json",
        "--concurrent",
        "1",
        "--patience",
        "0",
    ]

    early = subprocess.run(command, capture_output=True, text=True, check=False)
    assert early.returncode == 2 and "4 trials do not fit; make room" in early.stderr, early.stderr
    assert not (small_disk / "home" / "studies").exists()

    # Large enough when the search looks, and full soon after: somebody else wrote there.
    resize(small_disk, "32m")
    search = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while (
        not (small_disk / "home" / "studies" / "s" / "asked.jsonl").exists()
        and time.monotonic() < until
    ):
        time.sleep(0.05)
    resize(small_disk, "4m")
    _, said = search.communicate()
    assert search.returncode == 1, said
    assert "no space left" in said.lower()
    complete = {path.parent.name for path in (small_disk / "home").glob("bank/s/*/trial.json")}
    assert len(complete) < 4
    assert not list((small_disk / "home" / "bank").rglob(".*.partial"))

    resize(small_disk, "100m")
    roomy = subprocess.run(command, capture_output=True, text=True, check=False)
    assert roomy.returncode == 0, roomy.stderr
    summary = json.loads(roomy.stdout)
    assert (summary["complete"], summary["found"]) == (4, len(complete))

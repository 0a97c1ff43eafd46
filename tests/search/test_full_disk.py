"""A home on a full disk: a real one, of a few megabytes (needs root to mount it; skips, visibly, without)."""

from __future__ import annotations

import json
import subprocess
import sys
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
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_and_after_making_room_the_study_goes_on(
    small_disk: Path, tiny_store: Store, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)  # a trial's two weight files take over 2 MB
    log = f"sqlite:///{tmp_path / 'mlflow.db'}"
    where = ["--data", str(tiny_store.path), "--study", "s", "--home", str(small_disk / "home"), "--tracking-uri", log]
    command = [sys.executable, "-m", "va_search.cli.main", "search", str(space), *where, "--json", "--concurrent", "1"]

    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 1, full.stderr
    assert "no space left" in full.stderr.lower()
    complete = {path.parent.name for path in (small_disk / "home").glob("bank/s/*/trial.json")}
    assert len(complete) < 4
    assert not list((small_disk / "home" / "bank").rglob(".*.partial"))

    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    roomy = subprocess.run(command, capture_output=True, text=True, check=False)
    assert roomy.returncode == 0, roomy.stderr
    summary = json.loads(roomy.stdout)
    assert (summary["complete"], summary["found"]) == (4, len(complete))

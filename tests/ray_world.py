"""What the tests of real searches share: a small space, the command in its own process, a look at
processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from va_search.home import Home
from va_search.tracking.door import every_run, open_client

SPACE = """
sampler: grid
objective: score
settings:
  features: {choice: [[NAME]]}
  encoder: {choice: [gru, transformer]}
  learning_rate: {choice: RATES}
  width: 8
  layers: 1
  attention_heads: 2
  feed_forward: 8
  hidden_size: 8
  head_sizes: [8]
  segment_length: 50
  epochs: EPOCHS
"""


def write_space(path: Path, store: Path, *, rates: str, epochs: int, extra: str = "") -> Path:
    """A grid of two encoders and these learning rates, over one feature set of the store."""
    name = sorted(one.stem for one in (store / "features").glob("*.arrow"))[0]
    text = SPACE.replace("NAME", name).replace("RATES", rates).replace("EPOCHS", str(epochs))
    path.write_text(text + extra)
    return path


def command(space: Path, store: Path, home: Path, study: str = "s", *more: str) -> list[str]:
    where = [
        "--data",
        str(store),
        "--study",
        study,
        "--home",
        str(home),
        "--json",
        "--concurrent",
        "2",
    ]
    return [sys.executable, "-m", "va_search.cli.main", "search", str(space), *where, *more]


def run(*arguments: Any) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=400
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def trials(home: Path, study: str = "s") -> dict[str, dict[str, Any]]:
    found = sorted((home / "bank" / study).glob("*/trial.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def wait_for(what: Callable[[], Any], seconds: float = 240.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def children(pid: int, name: str) -> list[int]:
    """Process ids below `pid` whose title starts with `name` (Ray names its workers after what they
    run)."""
    below: dict[int, list[int]] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError, IndexError):
            continue
        below.setdefault(parent, []).append(int(folder.name))
    found, to_do = [], [pid]
    while to_do:
        for child in below.get(to_do.pop(), []):
            to_do.append(child)
            if titles[child].startswith(name):
                found.append(child)
    return found


def assert_tracked_once(home: Path, records: dict[str, dict[str, Any]]) -> None:
    """One finished run for each trial, with one point of each metric for each of its epochs."""
    client = open_client(Home(home).tracking_uri)
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = [
        run
        for run in every_run(client, experiment.experiment_id)
        if "va_search.trial" in run.data.tags
    ]
    assert sorted(run.data.tags["va_search.trial"] for run in runs) == sorted(records)
    for one in runs:
        epochs = records[one.data.tags["va_search.trial"]]["epochs"]
        for name in ("loss", "ccc_valence", "ccc_arousal"):
            steps = [point.step for point in client.get_metric_history(one.info.run_id, name)]
            assert steps == list(range(1, epochs + 1)), (one.info.run_id, name)
        assert one.info.status == "FINISHED"


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False

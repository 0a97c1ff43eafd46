"""Stop and retry on real Ray, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_world import command, run, trials, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def other(*arguments: Any) -> tuple[int, dict[str, Any], str]:
    """Another command than search."""
    line = [sys.executable, "-m", "va_search.cli.main", *map(str, arguments), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=200)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_stop_from_another_shell_saves_everything_and_an_old_request_stops_nothing(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001]", epochs=400)
    process = started(file, store, home, "s", "--checkpoint-seconds", "0.5")
    running = home / "studies" / "s" / "running"
    wait_for(lambda: len(list(running.glob("*/checkpoint.safetensors"))) == 2)
    code, document, text = other("stop", "s", "--home", home)
    assert (code, document["searching"]) == (0, True), text
    out, text = process.communicate(timeout=200)
    assert (process.returncode, json.loads(out)["exit_code"]) == (130, 130), text
    assert "stopped by `va-search stop s`" in text
    assert len(list(running.glob("*/checkpoint.safetensors"))) == 2, text
    assert not (home / "studies" / "s" / "stop").exists()
    assert other("stop", "s", "--home", home)[1]["searching"] is False
    (home / "studies" / "s" / "stop").write_text(
        "{}"
    )  # as if it had come when the search had just ended
    code, document, text = other("retry", "s", "--home", home)
    assert (code, document["trained"], document["failed"]) == (0, 2, 0), text
    assert all(record["resumed_at"] for record in trials(home).values())


def test_retry_trains_what_could_not_be_trained_without_the_space(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home, file = tmp_path / "home", space()
    done = subprocess.run(
        [*command(file, store, home), "--dry-run"], capture_output=True, text=True, check=True
    )
    planned = [one["trial"] for one in json.loads(done.stdout)["next"]]
    assert len(planned) == 4 and not home.exists()
    in_the_way = home / "bank" / "s" / planned[1]
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the trial's folder should be")
    code, summary, text = run(file, store, home)
    assert (code, summary["trained"], summary["failed"], summary["missing"]) == (1, 3, 0, 1), text
    assert str(in_the_way) in text, "the disk is to blame, and not the trial"
    file.unlink()
    in_the_way.unlink()
    code, summary, text = other("retry", "s", "--failed", "--home", home)
    assert (code, summary["trained"], summary["failed"]) == (0, 0, 0) and "nothing to retry" in text
    code, summary, text = other("retry", "s", "--home", home)
    assert (code, summary["trained"], summary["failed"], summary["complete"]) == (0, 1, 0, 4), text
    code, summary, text = other("retry", "s", "--home", home)
    assert (code, summary["trained"], summary["failed"]) == (0, 0, 0) and "nothing to retry" in text

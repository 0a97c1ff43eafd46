"""Fused seeds on real Ray: the same study as without, also when its worker is killed in the
middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ray_world import children, run, trials, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SEEDS = "seeds: [0, 1, 2]\n"


def test_a_fused_study_is_the_one_trained_alone(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    file = space(rates="[0.001]", epochs=100, extra=SEEDS)  # gru and transformer, three seeds each
    alone, fused = tmp_path / "alone", tmp_path / "fused"
    code, summary, text = run(file, store, alone, "s")
    assert (code, summary["complete"]) == (0, 6), text
    process = started(file, store, fused, "s", "--fuse-seeds", "3", "--checkpoint-seconds", "0")
    running = fused / "studies" / "s" / "running"
    transformers = {
        trial for trial, one in trials(alone).items() if one["settings"]["encoder"] == "transformer"
    }
    wait_for(
        lambda: all((running / trial / "checkpoint.safetensors").exists() for trial in transformers)
    )
    lock = fused / "claims" / "training" / f"{min(transformers)}.lock"
    holders = [pid for pid in children(process.pid, "ray::") if holds(pid, lock)]
    os.kill(holders[0], signal.SIGKILL)
    out, text = process.communicate(timeout=200)
    assert process.returncode == 0, text
    summary = json.loads(out)
    assert (summary["complete"], summary["trained"], summary["failed"], summary["recovered"]) == (
        6,
        6,
        0,
        1,
    ), text
    assert trials(fused).keys() == trials(alone).keys()
    for trial, expected in trials(alone).items():
        found = trials(fused)[trial]
        assert [epoch["epoch"] for epoch in found["history"]] == list(range(1, 101)), trial
        assert bool(found.get("resumed_at")) == (trial in transformers)
        assert ("one model with 2 other seeds" in " ".join(found["remarks"])) == (
            trial in transformers
        )
        for dimension in ("valence", "arousal"):
            assert found["best"][dimension]["ccc"] == pytest.approx(
                expected["best"][dimension]["ccc"], abs=2e-3
            )
    code, summary, text = run(file, store, fused, "s", "--fuse-seeds", "3")
    assert (code, summary["complete"], summary["trained"]) == (0, 6, 0), text


def holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        return any(
            os.path.realpath(one) == str(path.resolve())
            for one in Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:
        return False

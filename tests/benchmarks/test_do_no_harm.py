"""benchmarks/do_no_harm.py prints what it says, on few worlds and on entries that the test
makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS, FRAMES = 9, 12


def run(*arguments: str | Path) -> str:
    command = [
        sys.executable,
        ROOT / "benchmarks" / "do_no_harm.py",
        "--worlds",
        "1",
        "--people",
        "3",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def make_entries(folder: Path) -> None:
    """One recording a subject, the first two frames without label; entry `good` is the annotation
    and little noise."""
    rng = np.random.default_rng(0)
    (folder / "recordings").mkdir()
    rows = ["recording,subject,split"]
    for subject in range(SUBJECTS):
        rows.append(f"r{subject},{subject},{'test' if subject == 0 else 'train'}")
        pairs = rng.normal(5.0, 1.0, (FRAMES, 2))
        lines = [
            ",".join(("", "") if i < 2 else (f"{v:.4f}", f"{a:.4f}"))
            for i, (v, a) in enumerate(pairs)
        ]
        (folder / "recordings" / f"r{subject}.csv").write_text(
            "\n".join(["valence,arousal", *lines]) + "\n"
        )
        for entry, noise in (("good", 0.2), ("poor", 2.0)):
            at = folder / "team_predictions" / entry
            at.mkdir(parents=True, exist_ok=True)
            predicted = pairs[2:] + rng.normal(0.0, noise, (FRAMES - 2, 2))
            lines = [f"{v:.4f},{a:.4f}" for v, a in predicted]
            (at / f"r{subject}.csv").write_text("\n".join(["valence,arousal", *lines]) + "\n")
    (folder / "recordings.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.slow
def test_the_tables_are_printed_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    make_entries(tmp_path)
    shown = run("--case", tmp_path, "--draws", "2")
    assert (
        "| test CCC | worlds | best | mean | top_k | greedy | exact | nnls_matched | old default | default |"
        in shown
    )
    for family in ("all good", "all flipped", "near-copies", "between recordings"):
        assert shown.count(f"\n| {family} | ") == 4
    assert "| default less oracle | 3 people | all |" in shown
    assert "Within .01 of the best recipe on average over worlds: " in shown
    case = {row.split(" | ")[0]: row.split(" | ") for row in shown.splitlines() if "| 2 |" in row}
    assert set(case) == {"| valence", "| arousal", "| both"}
    assert all(
        float(cells[column].split()[0]) > 0.9 for cells in case.values() for column in (2, 9)
    )
    assert "left out (--case DIR" in run()
    assert "team_predictions is no folder" in run("--case", tmp_path / "nowhere")
